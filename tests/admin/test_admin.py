"""The admin, through its front door: what is listed, shown, guarded, and not loaded."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from request_images.admin import actions
from request_images.contents import thumbnails
from request_images.models import ImageContent, RequestImage, RequestLog, querysets
from request_images.outcome import CaptureStatus
from tests.factories import (
    PICTURE,
    capture_queries,
    loading_bytes,
    make_image,
    make_images,
    make_log,
    make_superuser,
    make_user,
)
from tests.image_files import draw
from tests.traps import trap

pytestmark = pytest.mark.django_db
IMAGES, LOGS = "requestimage", "requestlog"


def url_of(page: str, *args: object) -> str:
    return reverse(f"admin:request_images_{page}", args=args)


@pytest.fixture
def boss(client):
    """Return a client of a superuser."""
    client.force_login(make_superuser())
    return client


def listed(response) -> list[object]:
    """Return the rows of a list, in order."""
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def text_of(response) -> str:
    """Return a page's text, without its tags and its surplus blanks."""
    assert response.status_code == 200
    text = re.sub(r"<[^>]*>", " ", response.content.decode()).replace("\xa0", " ")
    return " ".join(text.split()).replace("&nbsp;", " ")


class TestLists:
    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_lists_have_a_constant_number_of_queries(self, boss, model):
        """No query per row, and none that reads an image or a thumbnail."""
        counts = []
        for number in (1, 49):
            make_images(
                {"data": draw(seed=seed), "error_type": "e", "endpoint": "solve"}
                for seed in range(number)
            )
            with capture_queries() as queries:
                response = boss.get(url_of(f"{model}_changelist"))
            assert len(listed(response)) == RequestImage.objects.count()
            assert loading_bytes(queries) == []
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 15

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_expired_rows_cost_no_extra_query(self, boss, model):
        """The log is loaded with its image."""
        counts = []
        for number in (1, 20):
            make_images(
                {"data": draw(seed=seed), "days_old": 40, "is_pinned": seed % 2}
                for seed in range(number)
            )
            with capture_queries() as queries:
                boss.get(url_of(f"{model}_changelist"))
            counts.append(len(queries))
        assert counts[0] == counts[1]

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_lists_contain_no_picture_data(self, boss, model):
        """Thumbnails have URLs of their own."""
        image = make_image()
        page = boss.get(url_of(f"{model}_changelist")).content.decode()
        assert f'src="{url_of("requestimage_thumbnail", image.pk)}"' in page
        assert "data:image" not in page

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_lists_work_under_a_strict_csp(self, boss, model):
        """The policy is ``default-src 'self'``."""
        make_image()
        page = boss.get(url_of(f"{model}_changelist")).content.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert re.findall(r"<script(?![^>]* src=)[^>]*>", page) == []
        assert "/static/request_images/admin.css" in page

    def test_list_of_images_has_its_columns(self, boss):
        """Dimensions, readable size, type, endpoint, status and duration."""
        make_image(
            draw(size=(640, 480)),
            endpoint="solve",
            status_code=422,
            error_type="no_barcode",
            duration_ms=1234.5,
            image={"file_size": 1_500_000},
        )
        text = text_of(boss.get(url_of("requestimage_changelist")))
        for part in ("640 × 480", "1.4 MB", "image/png", "solve", "422 no_barcode"):
            assert part in text
        assert "1234 ms" in text or "1235 ms" in text
        assert " Stored " in text

    def test_list_of_logs_has_its_columns(self, boss):
        """Endpoint, method, status, duration, error and request id."""
        make_log(
            request_id="trace-7",
            method="PATCH",
            status_code=None,
            error_type="ValueError",
            duration_ms=12.345,
            capture_status=CaptureStatus.TRUNCATED,
            capture_detail="7 of 9 bytes",
        )
        text = text_of(boss.get(url_of("requestlog_changelist")))
        for part in ("PATCH", "? ValueError", "12.3 ms", "Truncated (7 of 9 bytes)"):
            assert part in text
        assert "trace-7" in text

    @pytest.mark.parametrize(
        ("model", "columns"), [(IMAGES, range(2, 10)), (LOGS, range(1, 9))]
    )
    def test_lists_can_be_sorted(self, boss, model, columns):
        """By every column with an order, in both directions, without bytes."""
        for seed in range(3):
            make_image(draw(seed=seed))
        for column in columns:
            for sign in ("", "-"):
                with capture_queries() as queries:
                    page = boss.get(
                        url_of(f"{model}_changelist"), {"o": f"{sign}{column}"}
                    )
                assert len(listed(page)) == 3
                assert loading_bytes(queries) == []

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_date_hierarchy_narrows_the_list(self, boss, model):
        """The date hierarchy narrows the list to a day."""
        now = timezone.localtime()
        make_image()
        make_image(draw(seed=1), days_old=400)
        asked = {"created_at__year": now.year}
        assert len(listed(boss.get(url_of(f"{model}_changelist"), asked))) == 1
        assert len(listed(boss.get(url_of(f"{model}_changelist")))) == 2

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_without_time_zones_in_the_database_have_no_dates(
        self, boss, model, monkeypatch
    ):
        """MariaDB without its time zone tables gives a list without them."""
        make_image()
        monkeypatch.setattr(connection.features, "has_zoneinfo_database", False)
        page = boss.get(url_of(f"{model}_changelist"))
        assert len(listed(page)) == 1
        assert page.context["cl"].date_hierarchy is None

    def test_missing_pictures_have_a_text(self, boss):
        """A picture that was not stored, or expired, is replaced by a text."""
        make_image(kept=False)
        make_image(days_old=31)
        text = text_of(boss.get(url_of("requestimage_changelist")))
        assert text.count("no picture") == 2
        make_log()
        page = boss.get(url_of("requestlog_changelist"))
        assert len(listed(page)) == 3

    def test_unknown_values_are_dashes(self, boss):
        """A dash where nothing is known."""
        unknown = {"file_size": None, "width": None, "height": None, "mime_type": ""}
        make_image(kept=False, image=unknown | {"image_hash": ""})
        assert "None" not in text_of(boss.get(url_of("requestimage_changelist")))


class TestSearch:
    @pytest.fixture(autouse=True)
    def _rows(self):
        self.image = make_image(request_id="Trace-7_a")
        self.other = make_image(draw(seed=1), request_id="trace-8")
        self.log = make_log(request_id="trace-70")

    def found(self, client, model, term):
        return set(listed(client.get(url_of(f"{model}_changelist"), {"q": term})))

    @pytest.mark.parametrize("term", ["Trace-7_a", "Trace-7_", " Trace-7 "])
    def test_by_the_beginning_of_a_request_id(self, boss, term):
        """A prefix serves, with blanks around it or not."""
        assert self.image in self.found(boss, IMAGES, term)
        assert self.other not in self.found(boss, IMAGES, term)
        assert self.image.log in self.found(boss, LOGS, term)

    @pytest.mark.parametrize("length", [8, 64])
    @pytest.mark.parametrize("change", [str.lower, str.upper])
    def test_by_the_beginning_of_a_hash(self, boss, length, change):
        """A prefix serves, in upper case too."""
        term = change(self.image.image_hash[:length])
        assert self.found(boss, IMAGES, term) == {self.image}
        assert self.found(boss, LOGS, term) == {self.image.log}

    @pytest.mark.parametrize(
        "term", ["race-7", "%", "_", "nothing", "trace-7 x", "'\"\\"]
    )
    def test_search_finds_only_prefixes(self, boss, term):
        """The middle of an id, patterns and quotes find nothing."""
        assert self.found(boss, IMAGES, term) == self.found(boss, LOGS, term) == set()

    @pytest.mark.parametrize("term", ["", "  "])
    def test_empty_search_shows_all_rows(self, boss, term):
        """An empty search is no search."""
        assert self.found(boss, IMAGES, term) == {self.image, self.other}
        assert len(self.found(boss, LOGS, term)) == 3

    def test_search_for_nul_is_refused(self, boss):
        """The admin itself reports the invalid character."""
        assert (
            boss.get(url_of("requestlog_changelist"), {"q": "a\0b"}).status_code == 200
        )

    def test_loads_no_bytes(self, boss):
        """A search looks at ids and hashes only."""
        with capture_queries() as queries:
            self.found(boss, IMAGES, "Trace")
            self.found(boss, LOGS, "Trace")
        assert loading_bytes(queries) == []


class TestFilters:
    @pytest.fixture(autouse=True)
    def _rows(self):
        self.good = make_image(method="PUT")
        self.bad = make_image(
            draw("GIF"),
            kept=False,
            endpoint="upload",
            status_code=500,
            error_type="OSError",
        )

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("outcome", "failed"),
            ("mime_type", "image/gif"),
            ("log__capture_status__exact", "too_large"),
            ("log__status_code", "500"),
            ("log__endpoint", "upload"),
            ("log__error_type", "OSError"),
        ],
    )
    def test_filters_of_images(self, boss, name, value):
        """Each filter finds the one matching image."""
        page = boss.get(url_of("requestimage_changelist"), {name: value})
        assert listed(page) == [self.bad]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("outcome", "failed"),
            ("endpoint", "upload"),
            ("method", "POST"),
            ("status_code", "500"),
            ("error_type", "OSError"),
            ("capture_status__exact", "too_large"),
        ],
    )
    def test_filters_of_logs(self, boss, name, value):
        """Each filter finds the one matching log."""
        page = boss.get(url_of("requestlog_changelist"), {name: value})
        assert listed(page) == [self.bad.log]

    def test_filter_of_success(self, boss):
        """Requests that did not fail succeeded."""
        asked = {"outcome": "succeeded"}
        assert listed(boss.get(url_of("requestimage_changelist"), asked)) == [self.good]
        assert listed(boss.get(url_of("requestlog_changelist"), asked)) == [
            self.good.log
        ]

    def test_unknown_outcome_is_ignored(self, boss):
        """A value that nobody offers filters nothing."""
        asked = {"outcome": "else"}
        assert len(listed(boss.get(url_of("requestlog_changelist"), asked))) == 2

    def test_are_offered(self, boss):
        """Each filter is one heading in the sidebar."""
        for model, number in ((IMAGES, 7), (LOGS, 7)):
            page = boss.get(url_of(f"{model}_changelist"))
            assert len(page.context["cl"].filter_specs) == number


class TestReadOnly:
    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_nobody_adds_changes_or_deletes(self, boss, model):
        """Not even a superuser, neither alone nor by an action."""
        image = make_image()
        row = image if model == IMAGES else image.log
        assert boss.get(url_of(f"{model}_add")).status_code == 403
        assert boss.post(url_of(f"{model}_add"), {}).status_code == 403
        assert boss.post(url_of(f"{model}_change", row.pk), {}).status_code == 403
        assert boss.get(url_of(f"{model}_delete", row.pk)).status_code == 403
        delete = {"post": "yes"}
        assert boss.post(url_of(f"{model}_delete", row.pk), delete).status_code == 403
        action = {"action": "delete_selected", "_selected_action": [row.pk]} | delete
        boss.post(url_of(f"{model}_changelist"), action)
        assert RequestImage.objects.get().image_data == PICTURE


class TestDetail:
    def test_page_of_an_image(self, boss):
        """The page has the thumbnail's URL and all fields."""
        image = make_image(request_id="trace-7", duration_ms=5)
        page = boss.get(url_of("requestimage_change", image.pk))
        html, text = page.content.decode(), text_of(page)
        assert f'src="{url_of("requestimage_thumbnail", image.pk)}"' in html
        assert 'alt="32 × 24 image/png"' in html
        assert f'href="{url_of("requestlog_change", image.log_id)}">trace-7' in html
        for part in (image.image_hash, "files.image", "5.00 ms", "200", "32 × 24"):
            assert part in text

    def test_loads_no_bytes(self, boss):
        """Neither page reads an image to show its fields."""
        image = make_image()
        with capture_queries() as queries:
            boss.get(url_of("requestimage_change", image.pk))
            boss.get(url_of("requestlog_change", image.log_id))
        assert loading_bytes(queries) == []

    def test_page_counts_requests_with_the_same_image(self, boss):
        """The number of failed ones is shown, too."""
        image = make_image()
        make_image(status_code=500)
        make_image(kept=False, error_type="no_barcode")
        make_image(draw(seed=1))
        page = boss.get(url_of("requestimage_change", image.pk))
        assert "seen 3 times, failed 2" in text_of(page)
        alone = RequestImage.objects.latest("pk")
        page_of_it = boss.get(url_of("requestimage_change", alone.pk))
        assert "seen once, failed 0" in text_of(page_of_it)
        link = f"{url_of('requestimage_changelist')}?q={image.image_hash}"
        assert f'href="{link}"' in page.content.decode()
        assert boss.get(link).context["cl"].result_count == 3

    @pytest.mark.parametrize(
        "values",
        [
            {"kept": False},
            {"kept": False, "image": {"image_hash": "", "file_size": None}},
            {"kept": False, "image": {"width": None, "height": None, "mime_type": ""}},
            {"days_old": 31},
        ],
    )
    def test_page_of_a_missing_image(self, boss, values):
        """Both pages say that it was not stored, incomplete, or expired."""
        image = make_image(**values)
        text = text_of(boss.get(url_of("requestimage_change", image.pk)))
        assert "no picture" in text
        assert "None" not in text
        text = text_of(boss.get(url_of("requestlog_change", image.log_id)))
        assert "no picture" in text

    def test_page_of_a_log(self, boss):
        """Everything that is known of the request."""
        image = make_image(
            error_message="There is <b>none</b>.",
            metadata={"score": 0.5},
            username="anna",
            upload_ms=250.4,
            link_model="host.note",
            link_pk="17",
            path="/solve/it/",
        )
        page = boss.get(url_of("requestlog_change", image.log_id))
        text = text_of(page)
        for part in ("anna", "250 ms", "host.note 17", "/solve/it/", "score", "0.5"):
            assert part in text
        assert "There is &lt;b&gt;none&lt;/b&gt;." in text
        html = page.content.decode()
        assert f'href="{url_of("requestimage_change", image.pk)}"' in html

    def test_page_of_a_log_with_unknown_values(self, boss):
        """A missing image, user, link or upload is a dash."""
        log = make_log(status_code=None)
        text = text_of(boss.get(url_of("requestlog_change", log.pk)))
        assert "No image" in text
        assert "None" not in text


def permitted(client, *permissions: str):
    client.force_login(make_user(*permissions))
    return client


class TestPermissions:
    # `test_who_may_see` asks for each page, with each permission.

    def test_thumbnail_needs_no_permission_for_originals(self, client):
        """The page of an image works without the permission for its bytes."""
        permitted(client, "view_requestimage")
        image = make_image()
        html = client.get(url_of("requestimage_change", image.pk)).content.decode()
        assert f'src="{url_of("requestimage_thumbnail", image.pk)}"' in html
        assert url_of("requestimage_original", image.pk) not in html

    def test_log_hides_the_image_without_permission(self, client):
        """Neither a picture nor its description is shown."""
        permitted(client, "view_requestlog")
        image = make_image()
        for url in (
            url_of("requestlog_changelist"),
            url_of("requestlog_change", image.log_id),
        ):
            html = client.get(url).content.decode()
            assert "request-images-thumbnail" not in html
            assert url_of("requestimage_thumbnail", image.pk) not in html
            assert "image/png" not in html

    def test_permission_is_checked_before_the_row(self, client):
        """A refusal does not reveal which rows exist."""
        permitted(client)
        for kind in ("thumbnail", "original"):
            url = url_of(f"requestimage_{kind}", 10**6)
            assert client.get(url).status_code == 403


class TestThumbnailView:
    @pytest.fixture
    def made(self, monkeypatch):
        """Count the thumbnails that are really made."""
        decode, calls = thumbnails.decode, []

        def counted(work, data, **options):
            calls.append(len(data))
            return decode(work, data, **options)

        monkeypatch.setattr(thumbnails, "decode", counted)
        return calls

    def get(self, client, image):
        return client.get(url_of("requestimage_thumbnail", image.pk))

    @trap("HOSTILE11")
    def test_is_made_once_for_each_content(self, boss, made):
        """HOSTILE11: many requests and views draw it once."""
        images = [make_image(), make_image()]
        for image in images * 2:
            response = self.get(boss, image)
            assert response["Content-Type"] == "image/webp"
        assert made == [len(PICTURE)]

    def test_failed_thumbnail_is_tried_once(self, boss, made):
        """The failure is stored, and a placeholder is shown."""
        image = make_image(PICTURE[:60])
        for _ in range(3):
            response = self.get(boss, image)
            assert response.status_code == 302
            assert response["Location"].endswith("no-thumbnail.svg")
        assert made == [60]

    @trap("HOSTILE8")
    def test_bomb_is_not_decoded(self, boss, settings, monkeypatch):
        """HOSTILE8: an image with too many pixels is refused by its header."""
        settings.REQUEST_IMAGES_THUMBNAIL_MAX_PIXELS = 32 * 24 - 1
        settings.REQUEST_IMAGES_DECODER = "inline"
        monkeypatch.setattr(Image.Image, "resize", None)
        assert self.get(boss, make_image()).status_code == 302
        assert ImageContent.objects.get().thumbnail_error == "32 x 24 pixels"

    @trap("HOSTILE11")
    def test_list_draws_no_thumbnail(self, boss, made):
        """HOSTILE11: a page of fifty images does not wait for thumbnails."""
        make_image()
        boss.get(url_of("requestimage_changelist"))
        assert made == []

    @pytest.mark.parametrize("values", [{"kept": False}, {"days_old": 31}])
    def test_missing_image_is_a_404(self, boss, made, values):
        """The image was not stored, or has expired."""
        assert self.get(boss, make_image(**values)).status_code == 404
        assert made == []

    @pytest.mark.parametrize("pk", [10**6, 10**30])
    @pytest.mark.parametrize("kind", ["thumbnail", "original"])
    def test_unknown_key_is_a_404(self, boss, kind, pk):
        """The key may be larger than the column."""
        assert boss.get(url_of(f"requestimage_{kind}", pk)).status_code == 404


class TestOriginalView:
    def get(self, client, image):
        return client.get(url_of("requestimage_original", image.pk))

    def test_serves_the_bytes_safely(self, boss):
        """The response has the bytes as received and the safe headers."""
        response = self.get(boss, make_image())
        assert response.content == PICTURE
        assert response["Content-Type"] == "image/png"
        assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]

    def test_html_is_a_download(self, boss):
        """HTML sent as an image does not run."""
        response = self.get(boss, make_image(b"<script>alert(1)</script>"))
        assert response["Content-Disposition"].startswith("attachment")


def act(client, model: str, action: str, *rows) -> object:
    """Choose an action for some rows of a list."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(url_of(f"{model}_changelist"), data, follow=True)


class TestPins:
    """Keeping single requests from cleanup."""

    def row(self, model: str, **values):
        image = make_image(draw(seed=len(RequestImage.objects.all())), **values)
        return image if model == IMAGES else image.log

    def log(self, row) -> RequestLog:
        return RequestLog.objects.get(pk=getattr(row, "log_id", row.pk))

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_pin_and_unpin(self, boss, model):
        """Only the chosen rows change, in the list and in the history."""
        one, other = self.row(model), self.row(model)
        assert "1 request was pinned." in text_of(act(boss, model, "pin", one))
        assert self.log(one).is_pinned
        assert not self.log(other).is_pinned
        assert text_of(boss.get(url_of(f"{model}_changelist"))).count(", pinned") == 1
        text = text_of(act(boss, model, "unpin", one, other))
        assert "1 request was unpinned." in text
        assert not self.log(one).is_pinned
        history = LogEntry.objects.order_by("pk")
        assert [entry.change_message for entry in history] == ["Pinned.", "Unpinned."]
        assert {entry.object_id for entry in history} == {str(self.log(one).pk)}

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_many_rows_can_be_pinned(self, boss, model, monkeypatch):
        """Several hundred at once, and the message is plural."""
        monkeypatch.setattr(querysets, "_PINNED_AT_ONCE", 2)
        rows = [self.row(model) for _ in range(5)]
        assert "5 requests were pinned." in text_of(act(boss, model, "pin", *rows))
        assert "0 requests were pinned." in text_of(act(boss, model, "pin", *rows))
        assert RequestLog.objects.filter(is_pinned=True).count() == 5
        text = text_of(act(boss, model, "unpin", *rows))
        assert "5 requests were unpinned." in text

    def test_query_count_of_pins_is_constant(self, boss, monkeypatch):
        """The history has an entry for each row."""
        monkeypatch.setattr(actions, "_BATCH_SIZE", 3)
        counts = []
        for number in (2, 3, 5):
            rows = [self.row(LOGS) for _ in range(number)]
            with capture_queries() as queries:
                act(boss, LOGS, "pin", *rows)
            counts.append(sum("INSERT" in sql for sql in queries))
        assert counts == [1, 1, 2]
        assert LogEntry.objects.count() == 10

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_search_results_can_be_pinned(self, boss, model):
        """A search queries two tables."""
        row = self.row(model)
        self.row(model)
        data = {"action": "pin", "_selected_action": [row.pk], "select_across": "1"}
        address = f"{url_of(f'{model}_changelist')}?q={self.log(row).request_id}"
        boss.post(address, data)
        assert list(RequestLog.objects.filter(is_pinned=True)) == [self.log(row)]

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_pins_need_a_permission(self, client, model):
        """Without it the action is missing, and refused."""
        looks = ("view_requestimage", "view_requestlog")
        row = self.row(model)
        client.force_login(make_user(*looks))
        address = url_of(f"{model}_changelist")
        assert "unpin" not in client.get(address).content.decode()
        act(client, model, "pin", row)
        assert not self.log(row).is_pinned
        client.force_login(make_user(*looks, "change_requestlog"))
        assert "unpin" in client.get(address).content.decode()
        act(client, model, "pin", row)
        assert self.log(row).is_pinned

    def test_permission_to_pin_edits_nothing(self, client):
        """No row becomes editable."""
        image = make_image()
        client.force_login(
            make_user("view_requestlog", "change_requestlog", "change_requestimage")
        )
        address = url_of("requestlog_change", image.log_id)
        assert "_save" not in client.get(address).content.decode()
        assert client.post(address, {"path": "/other/"}).status_code == 403

    @pytest.mark.parametrize(
        ("model", "field"), [(IMAGES, "log__is_pinned"), (LOGS, "is_pinned")]
    )
    def test_lists_filter_by_pin(self, boss, model, field):
        """Those that stay, or those that do not."""
        pinned, other = self.row(model, is_pinned=True), self.row(model)
        for value, row in ((1, pinned), (0, other)):
            asked = {f"{field}__exact": value}
            assert listed(boss.get(url_of(f"{model}_changelist"), asked)) == [row]

    def test_pinned_picture_does_not_expire(self, boss):
        """Another picture of that age expires."""
        pinned = make_image(days_old=40, is_pinned=True)
        other = make_image(draw(seed=1), days_old=40)
        for image, status in ((pinned, 200), (other, 404)):
            for kind in ("thumbnail", "original"):
                address = url_of(f"requestimage_{kind}", image.pk)
                assert boss.get(address).status_code == status
