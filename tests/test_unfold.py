"""Our pages in the admin of django-unfold, another theme than Django's own."""

from __future__ import annotations

import pytest

from tests.factories import add_further, make_image, make_superuser

pytestmark = pytest.mark.django_db
APP = "/admin/request_images"
PAGES = {
    "": "dashboard/",
    "requestlog/": "CSV",
    "requestlog/?status=599": "599",
    "requestlog/?days=many": "not a whole number",
    "requestlog/{log}/change/": "solve",
    "dashboard/": "ri-findings",
    "dashboard/?mime_type=many": "not one of",
    "dashboard/?since=2001-01-01&until=2001-01-31": "No request matches.",
    "dashboard/latency/": "ri-svg",
    "dashboard/pixels/": "ri-svg",
    "dashboard/repeated/": "a cache would have saved",
    "dashboard/storage/": "ri-svg",
    "requestlog/health/": "No problems found.",
    "requestimage/": "Gallery",
    "requestimage/?outcome=failed&width=1": "other criteria",
    "gallery/": "ri-tile",
    "gallery/?group=outcome": "ri-beside",
    "gallery/?width=1": "No picture matches.",
    "requestimage/{image}/change/": "Send it again",
    "originalaccess/": "Access log",
}


@pytest.fixture
def unfold(settings):
    """Another theme, which finds its own templates first."""
    settings.INSTALLED_APPS = ["unfold.apps.BasicAppConfig", *settings.INSTALLED_APPS]
    settings.ROOT_URLCONF = "tests.unfold_urls"


@pytest.fixture
def image():
    images = [make_image(days_old=1) for _ in range(2)]
    add_further(images[1])
    return images[1]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_whole(client, unfold, image, page):
    """Each has its content and our stylesheet within the theme's page."""
    client.force_login(make_superuser())
    url = page.format(image=image.pk, log=image.log_id)
    response = client.get(f"{APP}/{url}")
    assert response.status_code == 200
    text = response.content.decode()
    assert "unfold/css/styles.css" in text
    assert PAGES[page] in text
    assert page == "" or "request_images/admin.css" in text
