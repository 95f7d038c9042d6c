"""Each page for each set of permissions, and for users who are not staff."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from django.urls import reverse

from request_images.models.access import OriginalAccess, record_access
from tests.factories import make_image, make_superuser, make_user

pytestmark = pytest.mark.django_db
IMAGES, LOGS = "view_requestimage", "view_requestlog"
ORIGINALS, ACCESSES = "view_image_content", "view_originalaccess"
ALL = (IMAGES, LOGS, ORIGINALS, ACCESSES)
# What each page needs; its argument is the image, the log or the access.
PAGES = {
    "requestimage_changelist": {IMAGES},
    "requestimage_gallery": {IMAGES},
    "requestimage_change": {IMAGES},
    "requestimage_thumbnail": {IMAGES},
    "requestimage_original": {IMAGES, ORIGINALS},
    "requestimage_body": {IMAGES, ORIGINALS},
    "requestimage_history": {IMAGES},
    "requestlog_changelist": {LOGS},
    "requestlog_change": {LOGS},
    "requestlog_health": {LOGS},
    "requestlog_csv": {LOGS},
    "originalaccess_changelist": {ACCESSES},
    "originalaccess_change": {ACCESSES},
}
WITHOUT_ROW = ("changelist", "gallery", "health", "csv")


@pytest.fixture
def urls():
    """Return the URL of each page, with existing rows."""
    image = make_image()
    record_access(image, make_superuser(), OriginalAccess.Action.VIEWED)
    pks = {
        "requestimage": image.pk,
        "requestlog": image.log_id,
        "originalaccess": OriginalAccess.objects.get().pk,
    }
    found = {}
    for page in PAGES:
        model, kind = page.split("_")
        args = () if kind in WITHOUT_ROW else (pks[model],)
        found[page] = reverse(f"admin:request_images_{page}", args=args)
    return found


def statuses(client, urls) -> dict[str, int]:
    return {page: client.get(url).status_code for page, url in urls.items()}


@pytest.mark.parametrize(
    "permissions",
    [*chain.from_iterable(combinations(ALL, size) for size in range(len(ALL) + 1))],
    ids=lambda names: "+".join(names) or "none",
)
def test_each_permission_opens_its_own_pages_and_no_other(client, urls, permissions):
    client.force_login(make_user(*permissions))
    expected = {
        page: 200 if needs <= set(permissions) else 403 for page, needs in PAGES.items()
    }
    assert statuses(client, urls) == expected
    status = client.get(reverse("request_images:image-performance-stats")).status_code
    assert status == (200 if LOGS in permissions else 403)


@pytest.mark.parametrize(
    "others",
    [
        ("add_requestimage", "change_requestimage", "delete_requestimage"),
        ("add_requestlog", "change_requestlog", "delete_requestlog"),
        ("view_imagecontent", "change_imagecontent", "delete_imagecontent"),
    ],
)
def test_no_other_permission_opens_a_page(client, urls, others):
    client.force_login(make_user(*others))
    assert set(statuses(client, urls).values()) <= {403}


@pytest.mark.parametrize("values", [None, {"is_staff": False}, {"is_active": False}])
def test_user_who_is_not_active_staff_is_sent_to_the_login(client, urls, values):
    """Permissions make no difference."""
    if values is not None:
        client.force_login(make_user(*ALL, **values))
    assert set(statuses(client, urls).values()) == {302}


@pytest.mark.parametrize("kind", ["thumbnail", "original", "body"])
def test_permission_is_checked_before_the_row_is_read(client, kind):
    """A user without permissions cannot find out which rows exist."""
    client.force_login(make_user())
    url = reverse(f"admin:request_images_requestimage_{kind}", args=[10**6])
    assert client.get(url).status_code == 403


def test_pages_show_no_link_that_is_refused(client, urls):
    """A user who may see images only gets no link to originals, logs or accesses."""
    client.force_login(make_user(IMAGES))
    for page in ("requestimage_gallery", "requestimage_change"):
        html = client.get(urls[page]).content.decode()
        for other, needs in PAGES.items():
            if needs != {IMAGES}:
                assert f'"{urls[other]}' not in html


def test_page_of_an_image_shows_its_request_only_with_the_permission(client):
    """Error message and metadata are shown only with the permission to see logs."""
    image = make_image(error_message="secret words", metadata={"key": "xyzzy"})
    url = reverse("admin:request_images_requestimage_change", args=[image.pk])
    for permissions, seen in (((IMAGES,), False), ((IMAGES, LOGS), True)):
        client.force_login(make_user(*permissions))
        html = client.get(url).content.decode()
        assert ("secret words" in html) is seen
        assert ("xyzzy" in html) is seen
