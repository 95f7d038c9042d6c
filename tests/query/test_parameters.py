"""Whatever a query string says, each page answers, and tells what it did not take."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.factories import make_image, make_superuser

pytestmark = pytest.mark.django_db
APP = "/admin/request_images"
DASHBOARD = f"{APP}/dashboard/"
PAGES = {
    "dashboard": DASHBOARD,
    "latency": f"{DASHBOARD}latency/",
    "pixels": f"{DASHBOARD}pixels/",
    "repeated": f"{DASHBOARD}repeated/",
    "storage": f"{DASHBOARD}storage/",
    "gallery": f"{APP}/gallery/",
    "images": f"{APP}/requestimage/",
    "logs": f"{APP}/requestlog/",
    "csv": f"{APP}/requestlog/csv/",
    "json": "/api/usage/image-performance-stats",
}
WRONG = {
    "no number": "days=many",
    "too large": "days=99999999999999999999",
    "negative": "width=-1",
    "larger than a column": "height=99999999999999999999",
    "other digits": "days=" + quote("\u0667"),
    "twice": "days=7&days=8",
    "a NUL": "error_type=%00",
    "a NUL in an endpoint": "endpoint=solve%00",
    "not UTF-8": "release=%ff%fe%00",
    "half a character": "mime_type=%ed%a0%80",
    "no date": "since=2026-02-30",
    "a year too far": "until=99999-01-01",
    "the first year": "since=0001-01-01",
    "nothing before": "since=2026-02-02&until=2026-01-01",
    "both": "days=7&since=2026-01-01",
    "no range": "duration=5-1",
    "no hash": "hash=xyz",
    "no status": "status=999",
    "nonsense": "megapixels=NaN",
    "long": "capture_status=" + "x" * 5000,
    "markup": "outcome=" + quote("<script>alert(1)</script>"),
}
FILES = ("csv", "json")
# Filters of Django's lists, which show nothing or everything for what they do not know.
DJANGOS = {
    ("images", "mime_type"),
    ("logs", "error_type"),
    ("logs", "endpoint"),
}
WORDS = ("not ", "more than once", "NUL", "no request of this endpoint")


@pytest.fixture
def admin(client):
    client.force_login(make_superuser())
    make_image()
    return client


@pytest.mark.parametrize("query", WRONG)
@pytest.mark.parametrize("page", PAGES)
def test_wrong_parameter_is_reported(admin, page, query):
    """Pages apply the others; the CSV file and JSON refuse the request."""
    response = admin.get(f"{PAGES[page]}?{WRONG[query]}")
    text = response.getvalue().decode()
    assert response.status_code == (400 if page in FILES else 200)
    name = WRONG[query].split("=")[0]
    assert is_reported(text, name) or (page, name) in DJANGOS
    assert "<script>alert" not in text


@pytest.mark.parametrize("page", [page for page in PAGES if page not in FILES])
def test_right_parameter_is_not_reported(admin, page):
    response = admin.get(f"{PAGES[page]}?days=7")
    assert response.status_code == 200
    assert not is_reported(response.getvalue().decode(), "days")


def is_reported(text, name):
    """Return whether a page reports a parameter as wrong."""
    return re.search(rf"(?i){name}\"?: [^<]*({'|'.join(WORDS)})", text) is not None


@pytest.mark.parametrize("query", ["colour=red", "%00=1", "%ff=%ff", "at=%00"])
@pytest.mark.parametrize("page", [*PAGES])
def test_unknown_parameter_is_no_error(admin, page, query):
    """Django's lists redirect to themselves without it."""
    response = admin.get(f"{PAGES[page]}?{query}")
    assert response.status_code in (200, 302, 400)
    if response.status_code == 302:
        assert response.url.endswith("?e=1")


STRANGE = {
    "all of time": "since=1970-01-01&until=9000-01-01",
    "from the first year": "since=1970-01-01",
    "until the first year": "until=1971-01-01",
    "until the last year": "until=9000-12-31",
    "all in the future": "since=8999-01-01&until=9000-01-01",
    "from the future on": "since=8999-01-01",
    "an offset that PostgreSQL does not know": "since=2026-01-01T00:00%2B23:59",
    "another of these": "until=2026-01-01T00:00-16:00",
    "at the earliest, elsewhere": "since=1970-01-01T00:00%2B23:59",
    "until the earliest, elsewhere": "until=1971-01-01T00:00%2B23:59",
    "the first year, elsewhere": "since=0001-01-01T00:00%2B23:59",
    "the last year, elsewhere": "until=9999-12-31T23:59-23:59",
    "the last day": "until=9999-12-31",
}


@pytest.mark.parametrize("query", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("page", [*PAGES, "pictures", "properties"])
def test_strange_period_is_no_error(admin, page, query):
    """It is not drawn year by year, either."""
    url = PAGES.get(page, f"{DASHBOARD}{page}/")
    response = admin.get(f"{url}?{query}")
    assert response.status_code in (200, 400)
    text = response.getvalue().decode()  # a file may break off in the middle
    if response.status_code == 200 and not response.streaming:
        assert not re.search(r"\b8990\b", text)  # tokens may have it within
