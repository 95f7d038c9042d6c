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
    """Return a client of somebody who may do everything."""
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
    def test_cost_the_same_for_one_row_and_for_fifty(self, boss, model):
        """No query a row, and no query that reads an image or a thumbnail."""
        counts = []
        for number in (1, 49):
            for seed in range(number):
                make_image(draw(seed=seed), error_type="e", endpoint="solve")
            with capture_queries() as queries:
                response = boss.get(url_of(f"{model}_changelist"))
            assert len(listed(response)) == RequestImage.objects.count()
            assert loading_bytes(queries) == []
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 15

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_cost_the_same_for_old_rows(self, boss, model):
        """Whether an image is expired depends on its log, which came along."""
        counts = []
        for number in (1, 20):
            for seed in range(number):
                make_image(draw(seed=seed), days_old=40, is_pinned=seed % 2)
            with capture_queries() as queries:
                boss.get(url_of(f"{model}_changelist"))
            counts.append(len(queries))
        assert counts[0] == counts[1]

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_hold_no_picture_in_the_page(self, boss, model):
        """Thumbnails have their own URLs; the page has only those."""
        image = make_image()
        page = boss.get(url_of(f"{model}_changelist")).content.decode()
        assert f'src="{url_of("requestimage_thumbnail", image.pk)}"' in page
        assert "data:image" not in page

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_have_no_style_and_no_script_of_ours_inline(self, boss, model):
        """They work under a content security policy of ``default-src 'self'``."""
        make_image()
        page = boss.get(url_of(f"{model}_changelist")).content.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert re.findall(r"<script(?![^>]* src=)[^>]*>", page) == []
        assert "/static/request_images/admin.css" in page

    def test_of_images_show_what_one_looks_for(self, boss):
        """Dimensions, readable size, type, endpoint, status, duration, fate."""
        make_image(
            draw(size=(640, 480)),
            endpoint="solve",
            status_code=422,
            error_type="no_barcode",
            duration_ms=1234.5,
            image={"file_size": 1_500_000},
        )
        text = text_of(boss.get(url_of("requestimage_changelist")))
        for part in ("640 × 480", "1.4 MB", "image/png", "solve", "422 no_barcode"):  # noqa: RUF001
            assert part in text
        assert "1234 ms" in text or "1235 ms" in text
        assert " Stored " in text

    def test_of_logs_show_what_one_looks_for(self, boss):
        """Endpoint, method, status, duration, error, fate, request id."""
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
    def test_can_be_sorted(self, boss, model, columns):
        """By every column that has an order, both ways, without loading bytes."""
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
    def test_have_dates(self, boss, model):
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
        """MariaDB without its time zone tables gives a list without them, no error."""
        make_image()
        monkeypatch.setattr(connection.features, "has_zoneinfo_database", False)
        page = boss.get(url_of(f"{model}_changelist"))
        assert len(listed(page)) == 1
        assert page.context["cl"].date_hierarchy is None

    def test_say_when_there_is_no_picture(self, boss):
        """Not kept, or expired: words in the place of a broken picture."""
        make_image(kept=False)
        make_image(days_old=31)
        text = text_of(boss.get(url_of("requestimage_changelist")))
        assert text.count("no picture") == 2
        make_log()
        page = boss.get(url_of("requestlog_changelist"))
        assert len(listed(page)) == 3

    def test_of_what_is_unknown(self, boss):
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
    def test_by_anything_else(self, boss, term):
        """The middle of an id, patterns, and quotes find nothing."""
        assert self.found(boss, IMAGES, term) == self.found(boss, LOGS, term) == set()

    @pytest.mark.parametrize("term", ["", "  "])
    def test_for_nothing(self, boss, term):
        """An empty search is no search."""
        assert self.found(boss, IMAGES, term) == {self.image, self.other}
        assert len(self.found(boss, LOGS, term)) == 3

    def test_with_nul(self, boss):
        """What no database can look for is told by the admin itself."""
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
    def test_of_images(self, boss, name, value):
        """Each filter finds the one image it fits."""
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
    def test_of_logs(self, boss, name, value):
        """Each filter finds the one log it fits."""
        page = boss.get(url_of("requestlog_changelist"), {name: value})
        assert listed(page) == [self.bad.log]

    def test_of_success(self, boss):
        """Success is what did not fail."""
        asked = {"outcome": "succeeded"}
        assert listed(boss.get(url_of("requestimage_changelist"), asked)) == [self.good]
        assert listed(boss.get(url_of("requestlog_changelist"), asked)) == [
            self.good.log
        ]

    def test_of_an_unknown_outcome(self, boss):
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
    def test_of_an_image(self, boss):
        """The thumbnail by its URL, and everything that is known."""
        image = make_image(request_id="trace-7", duration_ms=5)
        page = boss.get(url_of("requestimage_change", image.pk))
        html, text = page.content.decode(), text_of(page)
        assert f'src="{url_of("requestimage_thumbnail", image.pk)}"' in html
        assert 'alt="32 × 24 image/png"' in html  # noqa: RUF001
        assert f'href="{url_of("requestlog_change", image.log_id)}">trace-7' in html
        for part in (image.image_hash, "files.image", "5.00 ms", "200", "32 × 24"):  # noqa: RUF001
            assert part in text

    def test_loads_no_bytes(self, boss):
        """Neither page reads an image to show its fields."""
        image = make_image()
        with capture_queries() as queries:
            boss.get(url_of("requestimage_change", image.pk))
            boss.get(url_of("requestlog_change", image.log_id))
        assert loading_bytes(queries) == []

    def test_says_how_often_the_image_was_seen(self, boss):
        """The same bytes in other requests, and how many of those failed."""
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
    def test_of_an_image_that_is_not_there(self, boss, values):
        """Not kept, half seen, expired: said in words, on both pages."""
        image = make_image(**values)
        text = text_of(boss.get(url_of("requestimage_change", image.pk)))
        assert "no picture" in text
        assert "None" not in text
        text = text_of(boss.get(url_of("requestlog_change", image.log_id)))
        assert "no picture" in text

    def test_of_a_log(self, boss):
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

    def test_of_a_log_of_which_little_is_known(self, boss):
        """No image, no user, no link, no upload: dashes."""
        log = make_log(status_code=None)
        text = text_of(boss.get(url_of("requestlog_change", log.pk)))
        assert "No image" in text
        assert "None" not in text


def permitted(client, *permissions: str):
    client.force_login(make_user(*permissions))
    return client


class TestPermissions:
    # `test_who_may_see` asks for each page, with each permission.

    def test_who_may_not_see_originals_is_shown_the_thumbnail(self, client):
        """The page of an image works without the permission for its bytes."""
        permitted(client, "view_requestimage")
        image = make_image()
        html = client.get(url_of("requestimage_change", image.pk)).content.decode()
        assert f'src="{url_of("requestimage_thumbnail", image.pk)}"' in html
        assert url_of("requestimage_original", image.pk) not in html

    def test_who_may_not_see_images_sees_none_beside_a_log(self, client):
        """Neither a broken picture nor what it would show in words."""
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

    def test_are_asked_before_the_row(self, client):
        """Who may see nothing cannot find out what there is."""
        permitted(client)
        for kind in ("thumbnail", "original"):
            url = url_of(f"requestimage_{kind}", 10**6)
            assert client.get(url).status_code == 403


class TestThumbnailView:
    @pytest.fixture
    def made(self, monkeypatch):
        """Count the thumbnails that are really made."""
        make, calls = thumbnails.make_thumbnail, []

        def counted(data, **limits):
            calls.append(len(data))
            return make(data, **limits)

        monkeypatch.setattr(thumbnails, "make_thumbnail", counted)
        return calls

    def get(self, client, image):
        return client.get(url_of("requestimage_thumbnail", image.pk))

    @trap("HOSTILE11")
    def test_is_made_once_for_each_content(self, boss, made):
        """HOSTILE11: however often, and in however many requests, it is shown."""
        images = [make_image(), make_image()]
        for image in images * 2:
            response = self.get(boss, image)
            assert response["Content-Type"] == "image/webp"
        assert made == [len(PICTURE)]

    def test_that_cannot_be_made_is_tried_once(self, boss, made):
        """The refusal is remembered, and a picture that says so is shown."""
        image = make_image(PICTURE[:60])
        for _ in range(3):
            response = self.get(boss, image)
            assert response.status_code == 302
            assert response["Location"].endswith("no-thumbnail.svg")
        assert made == [60]

    @trap("HOSTILE8")
    def test_of_a_bomb_decodes_nothing(self, boss, settings, monkeypatch):
        """HOSTILE8: what unfolds to more pixels than allowed is refused unseen."""
        settings.REQUEST_IMAGES_THUMBNAIL_MAX_PIXELS = 32 * 24 - 1
        monkeypatch.setattr(Image.Image, "resize", None)
        assert self.get(boss, make_image()).status_code == 302
        assert ImageContent.objects.get().thumbnail_error == "32 x 24 pixels"

    @trap("HOSTILE11")
    def test_is_not_made_by_a_list(self, boss, made):
        """HOSTILE11: a page of fifty waits for none of them."""
        make_image()
        boss.get(url_of("requestimage_changelist"))
        assert made == []

    @pytest.mark.parametrize("values", [{"kept": False}, {"days_old": 31}])
    def test_of_what_is_not_there(self, boss, made, values):
        """Not kept, or expired: 404."""
        assert self.get(boss, make_image(**values)).status_code == 404
        assert made == []

    @pytest.mark.parametrize("pk", [10**6, 10**30])
    @pytest.mark.parametrize("kind", ["thumbnail", "original"])
    def test_of_no_row(self, boss, kind, pk):
        """Any number that is no image's is 404, beyond every column too."""
        assert boss.get(url_of(f"requestimage_{kind}", pk)).status_code == 404


class TestOriginalView:
    def get(self, client, image):
        return client.get(url_of("requestimage_original", image.pk))

    def test_serves_the_bytes_safely(self, boss):
        """As received, with the headers of `serving`."""
        response = self.get(boss, make_image())
        assert response.content == PICTURE
        assert response["Content-Type"] == "image/png"
        assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]

    def test_of_a_page_is_a_download(self, boss):
        """HTML in the place of an image runs nowhere."""
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
        """Of the chosen rows only; told on the page, in the list and in the history."""
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
    def test_many_at_once(self, boss, model, monkeypatch):
        """Some hundred at a time, and counted in the plural."""
        monkeypatch.setattr(querysets, "_PINNED_AT_ONCE", 2)
        rows = [self.row(model) for _ in range(5)]
        assert "5 requests were pinned." in text_of(act(boss, model, "pin", *rows))
        assert "0 requests were pinned." in text_of(act(boss, model, "pin", *rows))
        assert RequestLog.objects.filter(is_pinned=True).count() == 5
        text = text_of(act(boss, model, "unpin", *rows))
        assert "5 requests were unpinned." in text

    def test_many_cost_what_few_do(self, boss, monkeypatch):
        """Also the history, in which each is told."""
        monkeypatch.setattr(actions, "_AT_ONCE", 3)
        counts = []
        for number in (2, 3, 5):
            rows = [self.row(LOGS) for _ in range(number)]
            with capture_queries() as queries:
                act(boss, LOGS, "pin", *rows)
            counts.append(sum("INSERT" in sql for sql in queries))
        assert counts == [1, 1, 2]
        assert LogEntry.objects.count() == 10

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_what_a_search_found(self, boss, model):
        """The list may be narrowed by a search, which asks two tables."""
        row = self.row(model)
        self.row(model)
        data = {"action": "pin", "_selected_action": [row.pk], "select_across": "1"}
        address = f"{url_of(f'{model}_changelist')}?q={self.log(row).request_id}"
        boss.post(address, data)
        assert list(RequestLog.objects.filter(is_pinned=True)) == [self.log(row)]

    @pytest.mark.parametrize("model", [IMAGES, LOGS])
    def test_need_a_permission(self, client, model):
        """Who may only look is offered nothing, and is refused."""
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

    def test_change_nothing_else(self, client):
        """The permission to change makes no row editable."""
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
    def test_are_filtered_by(self, boss, model, field):
        """Those that stay, or those that do not."""
        pinned, other = self.row(model, is_pinned=True), self.row(model)
        for value, row in ((1, pinned), (0, other)):
            asked = {f"{field}__exact": value}
            assert listed(boss.get(url_of(f"{model}_changelist"), asked)) == [row]

    def test_show_old_pictures(self, boss):
        """A pinned picture is shown past its retention; another is not."""
        pinned = make_image(days_old=40, is_pinned=True)
        other = make_image(draw(seed=1), days_old=40)
        for image, status in ((pinned, 200), (other, 404)):
            for kind in ("thumbnail", "original"):
                address = url_of(f"requestimage_{kind}", image.pk)
                assert boss.get(address).status_code == status
