"""The statistics endpoint, tested by HTTP requests."""

from __future__ import annotations

import datetime
import os
from urllib.parse import urlencode

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import reverse

from request_images import health, views
from request_images.exceptions import TooManyRequests
from request_images.query.fields import CRITERIA
from request_images.statistics import live
from request_images.views import image_performance_stats
from tests.factories import (
    PICTURE,
    capture_queries,
    loading_bytes,
    make_image,
    make_log,
    make_superuser,
    make_user,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db
URL = "/api/usage/image-performance-stats"


@pytest.fixture
def ask(client):
    """Return a function that requests the statistics as a user who may see them."""
    client.force_login(make_user("view_requestlog"))

    def ask(**parameters):
        return client.get(f"{URL}?{urlencode(parameters, doseq=True)}")

    return ask


class TestPermissions:
    def check(self, response, status):
        assert response.status_code == status
        assert response["Content-Type"] == "application/json"
        assert list(response.json()) == ["error"]
        assert "no-store" in response["Cache-Control"]

    def test_anonymous_user_gets_401(self, client):
        """Without a login the response is a 401 in JSON, not a redirect."""
        self.check(client.get(URL), 401)

    def test_project_without_users_gets_401(self):
        """Without the authentication middleware the response is a 401."""
        request = RequestFactory().get(URL)
        assert not hasattr(request, "user")
        self.check_plain(request)

    def check_plain(self, request: HttpRequest):
        assert image_performance_stats(request).status_code == 401

    @pytest.mark.parametrize(
        ("permissions", "values"),
        [
            ((), {"is_staff": False}),
            (("view_requestlog",), {"is_staff": False}),
            ((), {"is_staff": True}),
            (("view_requestimage", "view_image_content"), {"is_staff": True}),
            ((), {"is_staff": False, "is_superuser": True}),
        ],
    )
    def test_user_without_staff_status_or_permission_gets_403(
        self, client, permissions, values
    ):
        """Staff status and the permission to see logs are both needed."""
        client.force_login(make_user(*permissions, **values))
        self.check(client.get(URL), 403)

    def test_inactive_user_gets_no_statistics(self):
        """An inactive user gets no statistics, however it logs in (here by a token)."""
        request = RequestFactory().get(URL)
        request.user = make_user("view_requestlog", is_active=False)
        assert image_performance_stats(request).status_code == 403

    def test_staff_user_with_the_permission_gets_statistics(self, ask):
        """Staff status with the permission to see logs is enough."""
        response = ask()
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]

    def test_superuser_gets_statistics(self, client):
        """A superuser has every permission."""
        client.force_login(make_superuser())
        assert client.get(URL).status_code == 200


class TestRequest:
    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
    def test_writing_methods_are_refused(self, client, method):
        """The endpoint changes nothing."""
        response = getattr(client, method)(URL)
        assert response.status_code == 405
        assert response["Allow"] == "GET, HEAD"

    def test_head_has_no_body(self, ask, client):
        """HEAD is GET without a body."""
        response = client.head(URL)
        assert response.status_code == 200
        assert response.content == b""

    def test_url_can_be_reversed(self):
        """The URL can be reversed, below any prefix."""
        assert reverse("request_images:image-performance-stats") == URL

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(
                ("days", value)
                for value in (
                    *("0", "-1", "3651", "1.5", "ten", " 7", "٣", "7 ", "1e1"),
                    *("9" * 20, "9" * 5000, "0" * 17 + "3650"),
                )
            ),
            ("days", ["7", "7"]),
            ("endpoint", ["solve", "solve"]),
            *(("mime_type", value) for value in ("image/PNG", "text/html", "\0")),
            *(("endpoint", value) for value in ("nowhere", "solve\0", "\0")),
            *((name, "1") for name in ("day", "Days", "status", "self", "apply", "")),
        ],
    )
    def test_wrong_parameter_is_named(self, ask, name, value):
        """Each wrong value and each unknown parameter is a 400 that names it."""
        make_log(endpoint="solve")
        response = ask(**{name: value})
        assert response.status_code == 400
        body = response.json()
        assert body["parameter"] == name
        assert body["error"].startswith(f"{name}: ")
        assert "no-store" in response["Cache-Control"]

    @pytest.mark.parametrize("days", ["1", "30", "0030", "3650"])
    def test_days_from_one_to_ten_years(self, ask, days):
        """The range is one day to ten years."""
        body = ask(days=days).json()
        assert body["filters"]["days"] == int(days)
        since, until = (
            datetime.datetime.fromisoformat(body[name].replace("Z", "+00:00"))
            for name in ("since", "until")
        )
        assert (since.minute, since.second, since.microsecond) == (0, 0, 0)
        rest = until - since - datetime.timedelta(days=int(days))
        assert rest == datetime.timedelta(hours=1)  # the one that goes on


class TestAnswer:
    def test_answer_has_the_documented_fields(self, ask):
        """Each field is as the reference documents it."""
        make_image(status_code=422, error_type="no_barcode", duration_ms=40)
        body = ask().json()
        durations = {
            "average": 40.0,
            "p50": pytest.approx(40, rel=0.01),
            "p95": pytest.approx(40, rel=0.01),
            "p99": pytest.approx(40, rel=0.01),
        }
        figures = {"request_count": 1, "failed_count": 1, "duration_ms": durations}
        size = len(PICTURE)
        assert {name for name in body if not name.startswith("by_")} == {
            "since",
            "until",
            "filters",
            "missing_hours",
            "overall",
            "health",
        }
        assert body["missing_hours"] == 0
        assert body["filters"] == dict.fromkeys(CRITERIA) | {"days": 30}
        assert body["overall"] == figures | {
            "storage_bytes": {"received": size, "stored": size}
        }
        assert body["by_dimensions"] == [{"width": 32, "height": 24} | figures]
        assert body["by_mime_type"] == [{"mime_type": "image/png"} | figures]
        assert body["by_endpoint"] == [{"endpoint": "solve"} | figures]
        assert body["by_release"] == [{"release": ""} | figures]
        bounds = {"megapixels_from": 0, "megapixels_below": 0.5}
        assert body["by_megapixels"] == [bounds | figures]
        bounds = {"file_size_from": 0, "file_size_below": 102_400}
        assert body["by_file_size"] == [bounds | figures]
        bounds = {"aspect_from": 1.25, "aspect_below": 2}
        assert body["by_aspect"] == [bounds | figures]
        [bits] = body["by_bits_per_pixel"]
        assert bits["bits_per_pixel_from"] <= 8 * size / (32 * 24)
        assert bits["bits_per_pixel_below"] > 8 * size / (32 * 24)
        assert body["by_color_mode"] == [{"color_mode": "RGB"} | figures]
        assert body["by_animated"] == [{"animated": False} | figures]
        assert body["by_orientation"] == [{"orientation": False} | figures]
        assert body["by_declared"] == [{"declared": ""} | figures]
        assert body["by_seen_before"] == [{"seen_before": False} | figures]
        assert len(body["by_hour"]) == 24
        assert body["by_hour"][-1].pop("hour")
        assert body["by_hour"][-1] == figures
        error = {"error_type": "no_barcode", "status_code": 422}
        assert body["by_error_type"] == [error | figures]
        assert len(body["by_day"]) == 7
        date = body["by_day"][-1].pop("date")
        assert datetime.date.fromisoformat(date)
        assert body["by_day"][-1] == figures
        assert body["by_day"][0]["request_count"] == 0
        assert body["by_day"][0]["duration_ms"]["p50"] is None

    def test_empty_database_is_no_error(self, ask):
        """An empty database is not an error."""
        body = ask().json()
        assert body["overall"]["request_count"] == 0
        assert body["overall"]["duration_ms"]["average"] is None
        assert body["by_dimensions"] == body["by_mime_type"] == []
        assert body["by_error_type"] == []
        assert [day["request_count"] for day in body["by_day"]] == [0] * 7

    def test_requests_without_an_image_are_in_no_image_group(self, ask):
        """They count, but are in no group by image properties."""
        make_log()
        make_image()
        body = ask().json()
        assert body["overall"]["request_count"] == 2
        assert [group["request_count"] for group in body["by_dimensions"]] == [1]
        assert [group["request_count"] for group in body["by_mime_type"]] == [1]

    def test_only_failed_requests_have_an_error_type(self, ask):
        """A failed status without a type is an error too; a success is not."""
        make_log()
        make_log(status_code=500)
        [group] = ask().json()["by_error_type"]
        assert (group["error_type"], group["status_code"]) == ("", 500)


class TestHealth:
    def test_health_of_the_database_ignores_the_parameters(self, ask):
        """Health covers the last day, whatever the parameters are."""
        log = make_log(endpoint="solve", capture_status="stored")
        make_log(endpoint="upload", capture_status="stored")
        make_log(capture_status="too_large", days_old=2)
        told = ask(endpoint="solve", days=7).json()["health"]
        last = datetime.datetime.fromisoformat(
            told.pop("last_recorded").replace("Z", "+00:00")
        )
        assert abs(last - log.created_at) < datetime.timedelta(seconds=5)
        del told["process"]
        assert told == {
            "enabled": True,
            "hours": 24,
            "capture_status": {"stored": 2},
            "database_error": "",
            "write_error": "",
            "spooled": 0,
            "spooled_since": None,
            "spool_bad": 0,
            "spool_full_at": None,
            "spool_error": "",
            "pending": 0,
            "pending_since": None,
            "pending_tries": 0,
            "losses": [],
            "spool_problems": [],
        }

    def test_health_has_the_counters_of_the_process(self, ask):
        """Health has the counters of the process that answers."""
        health.count("stored")
        health.count("rescued", 2)
        health.report("store", OSError("disk full"))
        told = ask().json()["health"]["process"]
        health.reset()
        assert datetime.datetime.fromisoformat(told.pop("since").replace("Z", "+00:00"))
        assert told == {
            "pid": os.getpid(),
            "counts": {"stored": 1, "rescued": 2},
            "faults": {"store:OSError": 1},
        }


class TestFilters:
    @pytest.fixture(autouse=True)
    def _requests(self):
        make_image(endpoint="solve")
        make_image(draw("JPEG"), endpoint="solve")
        make_image(endpoint="upload", days_old=1.5)
        make_log(endpoint="upload", days_old=40)

    @pytest.mark.parametrize(
        ("parameters", "count"),
        [
            ({}, 3),
            ({"days": 1}, 2),
            ({"days": 41}, 4),
            ({"endpoint": "solve"}, 2),
            ({"endpoint": "upload"}, 1),
            ({"mime_type": "image/png"}, 2),
            ({"mime_type": "image/gif"}, 0),
            ({"mime_type": "image/jpeg", "endpoint": "upload"}, 0),
            ({"mime_type": "image/png", "endpoint": "solve", "days": 1}, 1),
        ],
    )
    def test_filters_apply_to_every_part_of_the_answer(self, ask, parameters, count):
        """Filters apply alone and together, in every part of the response."""
        body = ask(**parameters).json()
        assert body["overall"]["request_count"] == count
        unnamed = dict.fromkeys(CRITERIA) | {"days": 30}
        assert body["filters"] == unnamed | parameters
        with_image = count - (parameters == {"days": 41})
        for part in ("by_mime_type", "by_dimensions"):
            assert sum(group["request_count"] for group in body[part]) == with_image

    def test_by_day_covers_seven_days_whatever_the_period(self, ask):
        """`days` selects the totals; `by_day` always covers the last week."""
        assert sum(d["request_count"] for d in ask(days=1).json()["by_day"]) == 3
        trend = ask(endpoint="upload").json()["by_day"]
        assert sum(day["request_count"] for day in trend) == 1


class TestLimits:
    def test_too_many_requests_for_a_filter_get_400(self, ask, monkeypatch):
        """The error proposes a shorter period; the filter is the reason."""
        for _ in range(3):
            make_image()
        monkeypatch.setattr(live, "MOST_ROWS", 2)
        response = ask(mime_type="image/png")
        assert response.status_code == 400
        assert response.json()["parameter"] == "days"
        assert "a shorter period" in response.json()["error"]

    def test_stored_bytes_are_null_if_too_slow(self, ask, monkeypatch):
        """Only that figure is missing then."""
        make_image()

        def refuse(rows):
            raise TooManyRequests

        monkeypatch.setattr(views, "stored_by", refuse)
        sizes = ask(endpoint="solve").json()["overall"]["storage_bytes"]
        assert sizes == {"received": len(PICTURE), "stored": None}


def test_number_of_queries_is_constant(ask):
    """Ten requests need as many queries as one, and no query loads an image."""
    counts = []
    make_log(endpoint="solve")
    ask()  # adds up what there is
    for number in (1, 9):
        for seed in range(number):
            make_image(draw(seed=seed), endpoint="solve")
        with capture_queries() as queries:
            assert ask(endpoint="solve").status_code == 200
        assert loading_bytes(queries) == []
        # How long a query may take is said to the database, which asks it nothing.
        counts.append(sum("statement_t" not in sql for sql in queries))
    # Session, user, two of permissions; does the endpoint exist; of statistics the
    # state, the open hour, three periods; what is stored; health.
    assert counts[0] == counts[1] <= 30
