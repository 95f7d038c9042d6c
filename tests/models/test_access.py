"""The log of who opened which original."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.http import HttpResponse
from django.urls import reverse

from request_images import health
from request_images.decorators import capture_images
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.models.access import OriginalAccess, record_access
from tests.factories import PICTURE, make_image, make_superuser, make_user
from tests.image_files import draw

pytestmark = pytest.mark.django_db
LIST = reverse("admin:request_images_originalaccess_changelist")


def open_it(client, image, kind: str = "original"):
    return client.get(
        reverse(f"admin:request_images_requestimage_{kind}", args=[image.pk])
    )


@pytest.fixture
def boss(client):
    client.force_login(make_superuser())
    return client


class Apart:
    """A router of a project with its users in another database."""

    def allow_relation(self, one, other, **hints):
        """Refuse what would be a relation between two databases."""
        return one._meta.app_label == other._meta.app_label


class Person:
    """A user of a project whose model is none of Django's kind."""

    is_authenticated, pk = True, 7

    def __str__(self):
        return "anna"


@pytest.mark.parametrize("user", [Person(), SimpleNamespace(pk=7), None, "anna", 5])
def test_user_without_get_username(rf, user):
    """Kind: a user need not be one of Django's; the row has what there is."""

    def view(request):
        request.user = user
        return HttpResponse(request.body)

    request = rf.post("/", draw(), content_type="image/png")
    assert capture_images(view)(request).status_code == 200
    log = RequestLog.objects.get()
    assert log.username == ("anna" if isinstance(user, Person) else "")
    assert (log.user_id, log.capture_status) == (None, "stored")


def test_access_of_a_user_without_get_username():
    """The original is shown all the same."""
    record_access(make_image(), Person(), OriginalAccess.Action.VIEWED)
    entry = OriginalAccess.objects.get()
    assert (entry.username, entry.user_id) == ("anna", 7)


class TestEntry:
    @pytest.mark.parametrize(
        ("kind", "action"), [("original", "viewed"), ("body", "downloaded")]
    )
    def test_is_written_for_each_view_and_download(self, client, kind, action):
        user = make_user("view_requestimage", "view_image_content", username="anna")
        client.force_login(user)
        image = make_image(request_id="trace-7")
        assert open_it(client, image, kind).content == PICTURE
        entry = OriginalAccess.objects.get()
        assert (entry.user, entry.username, entry.action) == (user, "anna", action)
        assert (entry.image_hash, entry.request_id) == (image.image_hash, "trace-7")
        assert str(entry) == f"anna: {image.image_hash[:12]}"

    def test_is_written_with_users_in_another_database(self, boss, settings):
        """The router forbids relations between users and images."""
        settings.DATABASE_ROUTERS = ["tests.models.test_access.Apart"]
        assert open_it(boss, make_image()).status_code == 200
        assert OriginalAccess.objects.get().user_id is not None

    @pytest.mark.parametrize("kind", ["thumbnail", "change"])
    def test_is_not_written_for_the_detail_page(self, boss, kind):
        """The page of an image loads only its thumbnail."""
        image = make_image()
        response = open_it(boss, image, kind)
        assert response.status_code == 200
        original = reverse(
            "admin:request_images_requestimage_original", args=[image.pk]
        )
        assert f'src="{original}"' not in str(response.content)
        assert not OriginalAccess.objects.exists()

    @pytest.mark.parametrize("kind", ["original", "body"])
    @pytest.mark.parametrize("values", [{"kept": False}, {"days_old": 31}])
    def test_is_not_written_for_missing_images(self, boss, kind, values):
        assert open_it(boss, make_image(**values), kind).status_code == 404
        assert not OriginalAccess.objects.exists()

    def test_is_not_written_for_refused_requests(self, client):
        client.force_login(make_user("view_requestimage"))
        assert open_it(client, make_image()).status_code == 403
        assert not OriginalAccess.objects.exists()

    def test_outlives_the_image_and_the_user(self, boss):
        image = make_image()
        open_it(boss, image)
        get_user_model().objects.all().delete()
        RequestImage.objects.all().delete()
        RequestLog.objects.all().delete()
        ImageContent.objects.all().delete()
        entry = OriginalAccess.objects.get()
        assert entry.username.startswith("user-")
        assert entry.image_hash == image.image_hash
        boss.force_login(make_superuser())
        assert entry.username in boss.get(LIST).content.decode()

    @pytest.mark.parametrize("kind", ["original", "body"])
    @pytest.mark.parametrize("atomic", [False, True])
    def test_failed_write_shows_no_original(
        self, boss, kind, atomic, monkeypatch, request
    ):
        """The response is 503, and the fault is counted."""
        if atomic:
            request.getfixturevalue("atomic_requests")
        image = make_image()

        def fail(**values: object) -> None:
            raise DatabaseError("no room")

        monkeypatch.setattr(OriginalAccess.objects, "create", fail)
        response = open_it(boss, image, kind)
        assert response.status_code == 503
        assert b"access log cannot be written" in response.content
        assert PICTURE not in response.content
        assert health.faults() == {"access:DatabaseError": 1}
        health.reset()


class TestDownload:
    def test_is_always_a_file(self, boss):
        """Types that browsers show are downloads, too."""
        image = make_image()
        response = open_it(boss, image, "body")
        name = f"{image.image_hash[:16]}.png"
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response["Content-Type"] == "application/octet-stream"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in response["Cache-Control"]


class TestPage:
    @pytest.fixture
    def entries(self, boss):
        for seed in range(2):
            open_it(boss, make_image(draw(seed=seed), request_id=f"trace-{seed}"))
        return list(OriginalAccess.objects.order_by("pk"))

    def found(self, client, query: str) -> list[OriginalAccess]:
        response = client.get(f"{LIST}{query}")
        assert response.status_code == 200
        return list(response.context["cl"].result_list)

    def test_lists_the_latest_first(self, boss, entries):
        assert self.found(boss, "") == entries[::-1]
        html = boss.get(LIST).content.decode()
        assert "viewed" in html
        assert f'href="?q={entries[0].image_hash}"' in html

    def test_can_be_searched(self, boss, entries):
        """The search finds names, requests and images."""
        assert self.found(boss, "?q=trace-1") == [entries[1]]
        assert self.found(boss, f"?q={entries[0].image_hash[:9]}") == [entries[0]]
        assert self.found(boss, f"?q={entries[0].username}") == entries[::-1]
        assert self.found(boss, "?q=nobody") == []

    def test_is_read_only(self, boss, entries):
        """Not even a superuser changes or deletes an entry."""
        [entry, _] = entries
        name = "admin:request_images_originalaccess"
        assert boss.get(reverse(f"{name}_add")).status_code == 403
        change = reverse(f"{name}_change", args=[entry.pk])
        assert boss.get(change).status_code == 200
        assert boss.post(change, {"username": "x"}).status_code == 403
        delete = reverse(f"{name}_delete", args=[entry.pk])
        assert boss.post(delete, {"post": "yes"}).status_code == 403
        action = {"action": "delete_selected", "_selected_action": [entry.pk]}
        boss.post(LIST, action | {"post": "yes"})
        assert OriginalAccess.objects.count() == 2

    def test_is_linked_from_the_image(self, boss, entries):
        image = RequestImage.objects.get(image_hash=entries[0].image_hash)
        html = open_it(boss, image, "change").content.decode()
        assert f'href="{LIST}?q={image.image_hash}"' in html
