"""The index and the sidebar of the admin lead to the dashboard and the gallery."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission

from request_images.models import Dashboard, Gallery
from tests.factories import make_image, make_superuser, make_user

pytestmark = pytest.mark.django_db
PAGES = {
    "Dashboard": "/admin/request_images/dashboard/",
    "Gallery": "/admin/request_images/gallery/",
}
each_page = pytest.mark.parametrize(("name", "url"), PAGES.items())


def links(html: str, name: str) -> list[str]:
    """Return the addresses that the links of this name lead to."""
    return re.findall(rf'<a href="([^"]*)"[^>]*>\s*{name}\s*</a>', html)


@pytest.fixture(params=["django", "unfold"])
def theme(request, settings) -> str:
    """Render the pages in each of two themes."""
    if request.param == "unfold":
        apps = ["unfold.apps.BasicAppConfig", *settings.INSTALLED_APPS]
        settings.INSTALLED_APPS = apps
        settings.ROOT_URLCONF = "tests.unfold_urls"
    return request.param


@pytest.mark.parametrize("index", ["/admin/", "/admin/request_images/"])
@each_page
def test_index_leads_to_each_page_by_its_name(client, theme, index, name, url):
    client.force_login(make_superuser())
    html = client.get(index).content.decode()
    assert url in links(html, name)
    assert client.get(url).status_code == 200


@each_page
def test_sidebar_marks_only_the_current_page(client, theme, name, url):
    make_image()
    client.force_login(make_superuser())
    html = client.get(url).content.decode()
    current = re.findall(r'class="model-(\w+)\s+current-model', html)
    assert current == [name.lower()]


@each_page
def test_page_is_the_current_one_for_assistive_technology(client, name, url):
    make_image()
    client.force_login(make_superuser())
    html = client.get(url).content.decode()
    marked = re.findall(r'<(\w+)[^>]* aria-current="page">([^<]*)<', html)
    assert marked == [("span", name), ("a", name)]  # the breadcrumbs and the sidebar


@pytest.mark.parametrize(
    ("permission", "seen"),
    [("view_requestlog", {"Dashboard"}), ("view_requestimage", {"Gallery"})],
)
def test_index_hides_refused_pages(client, permission, seen):
    client.force_login(make_user(permission))
    html = client.get("/admin/").content.decode()
    assert {name for name in PAGES if links(html, name)} == seen


def test_entries_have_no_permissions_of_their_own():
    """Nobody has to grant permissions for the entries."""
    assert Dashboard._meta.proxy
    assert Gallery._meta.proxy
    names = Permission.objects.filter(codename__regex="dashboard|gallery")
    assert not names.exists()


LISTS = ["requestlog", "requestimage", "originalaccess"]


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.parametrize(
    "lookup",
    [
        "created_at__regex",
        "request_id__regex",
        "path__iregex",
        "path__contains",
        "username__icontains",
        "error_message__search",
        "pk__in",
        "id__gt",
        "status_code__gte",
        "log__path__regex",
        "log__request_id__contains",
        "image__log__path__regex",
        "content__data__regex",
        "endpoint__exact__regex",
        "id",
        "pk",
        "__regex",
    ],
)
def test_list_drops_a_look_up_that_none_of_its_filters_has(client, page, lookup):
    """Kind: what a URL may ask the database for is what a link of the page asks for."""
    make_image()
    client.force_login(make_superuser())
    url = f"/admin/request_images/{page}/?{lookup}=(a%2B)%2B$"
    response = client.get(url)
    assert response.status_code == 200
    texts = [str(message) for message in response.context["messages"]]
    assert texts == [f"{lookup}: no filter of this list"]


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.parametrize("value", ["9" * 30, "0", "10000", "-1", "x", ""])
def test_list_drops_a_date_that_is_none(client, page, value):
    """Kind: what a URL says is a wrong value at worst, and never an error."""
    make_image()
    client.force_login(make_superuser())
    url = f"/admin/request_images/{page}/"
    response = client.get(url, {"created_at__year": value})
    assert response.status_code == 200
    texts = [str(message) for message in response.context["messages"]]
    assert texts == ["created_at__year: not a whole number from 1 to 9999"]


@pytest.mark.parametrize("page", LISTS)
def test_list_takes_every_link_of_its_own(client, page):
    make_image()
    client.force_login(make_superuser())
    url = f"/admin/request_images/{page}/"
    html = client.get(url).content.decode()
    queries = {query for query in re.findall(r'href="\?([^"]*)"', html) if query}
    for query in queries:
        response = client.get(f"{url}?{query.replace('&amp;', '&')}")
        assert response.status_code == 200
        assert "no filter of this list" not in response.content.decode()
    assert queries


@pytest.fixture
def error_types(client, monkeypatch):
    """Return a function that returns the error types that a list offers, in order."""
    monkeypatch.setattr("request_images.admin.filters.MOST_CHOICES", 3)
    for name, count in {"Rare": 1, "B": 2, "A": 3, "": 4, "Other": 1}.items():
        for _ in range(count):
            make_image(error_type=name)
    client.force_login(make_superuser())

    def offered(page, **query):
        response = client.get(f"/admin/request_images/{page}/", query)
        [found] = [
            each
            for each in response.context["cl"].filter_specs
            if each.title == "error type"
        ]
        return [
            str(choice["display"]) for choice in found.choices(response.context["cl"])
        ]

    return offered


MORE = "and others: search for one"


@pytest.mark.parametrize("page", LISTS[:2])
def test_filter_offers_the_most_frequent_values(error_types, page):
    """Kind: a page is bounded, however many values its clients have chosen."""
    assert error_types(page) == ["All", "none", "A", "B", MORE]


@pytest.mark.parametrize(
    ("page", "name"),
    [("requestlog", "error_type"), ("requestimage", "log__error_type")],
)
def test_filter_offers_the_chosen_value_too(error_types, page, name):
    chosen = error_types(page, **{name: "Rare"})
    assert chosen == ["All", "none", "A", "B", "Rare", MORE]


@pytest.mark.parametrize("page", LISTS[:2])
@pytest.mark.parametrize(("term", "count"), [("Rare", 1), ("rare", 0), ("here", 3)])
def test_search_finds_what_no_filter_offers(client, page, term, count):
    make_image(error_type="Rare", endpoint="solve")
    for _ in range(3):
        make_image(endpoint="here")
    client.force_login(make_superuser())
    response = client.get(f"/admin/request_images/{page}/?q={term}")
    assert response.context["cl"].result_count == count
