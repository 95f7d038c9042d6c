"""Similar pictures: in groups, and from one to those like it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from request_images.gallery import gallery, similar
from request_images.models import ImageContent
from request_images.query import conditions, paging
from tests.factories import (
    add_further,
    analysed,
    capture_queries,
    loading_bytes,
    make_image,
    make_superuser,
    make_user,
)
from tests.gallery.test_gallery import GALLERY, html, shown
from tests.image_files import draw
from tests.images.test_measures import scene, written

pytestmark = pytest.mark.django_db
ONE, NEAR, OTHER = "0" * 64, "0" * 58 + "f" * 6, "f" * 64


@pytest.fixture
def show(client):
    """Return a function that opens the gallery."""
    client.force_login(make_superuser())
    return lambda query: client.get(f"{GALLERY}{query}")


def make(layout: str, number: int, *, first: int = 0, **values: object) -> list[int]:
    """Write pictures with a perceptual hash, each a minute older."""
    now = timezone.now()
    return [
        analysed(
            make_image(
                draw(seed=seed),
                **{"created_at": now - timedelta(minutes=seed)} | values,
            ),
            layout=layout,
        ).pk
        for seed in range(first, first + number)
    ]


def test_captured_pictures_are_grouped(show):
    """Capture and analyse copies of one picture, and another one."""
    copies = [
        make_image(written(scene(1), "PNG")),
        make_image(written(scene(1).resize((320, 240)), "JPEG"), status_code=500),
        make_image(written(scene(1), "WEBP", quality=40)),
    ]
    make_image(written(scene(2), "PNG"))
    call_command("analyze_image_contents", verbosity=0)
    page = show("?group=layout")
    assert sorted(shown(page)) == sorted(image.pk for image in copies)
    assert "3 pictures, 1 failed" in html(page)


class TestGroups:
    def test_largest_group_is_first(self, show):
        """Failed pictures come first, each kind newest first."""
        few = make(OTHER, 2)
        many = make(ONE, 2, first=2) + make(NEAR, 1, first=4, status_code=500)
        make("3" * 64, 1, first=5)
        page = show("?group=layout&days=7")
        assert shown(page) == [many[2], *many[:2], *few]
        assert "3 pictures, 1 failed" in html(page)
        assert "2 pictures, 0 failed" in html(page)
        assert "Grouped: the newest 6 of 6 analysed pictures." in html(page)

    def test_groups_have_failed_and_succeeded_pictures(self, show, monkeypatch):
        """Half of each if there are enough, with a link to all."""
        monkeypatch.setattr(gallery, "GROUP_SIZE", 4)
        bad = make(ONE, 5, error_type="OSError")
        good = make(NEAR, 5, first=5)
        page = show("?group=layout&days=7")
        assert shown(page) == [*bad[:2], *good[:2]]
        assert f"?days=7&amp;layout={ONE}" in html(page)
        everything = show(f"?days=7&layout={ONE}")
        assert shown(everything) == [*bad, *good]
        assert "000000000000" in everything.context["chips"][1].text

    @pytest.mark.parametrize(("bad", "good"), [(5, 1), (1, 5)])
    def test_groups_with_few_failed_or_few_others(self, show, monkeypatch, bad, good):
        """The row is filled up with the other kind."""
        monkeypatch.setattr(gallery, "GROUP_SIZE", 4)
        failed = make(ONE, bad, error_type="OSError")
        succeeded = make(ONE, good, first=5)
        expected = [*failed[: 4 - min(good, 2)], *succeeded[: 4 - min(bad, 2)]]
        assert shown(show("?group=layout")) == expected

    def test_groups_match_the_criteria(self, show):
        make(ONE, 2, status_code=500)
        other = make(ONE, 2, first=2)
        assert shown(show("?group=layout&outcome=succeeded")) == other

    def test_no_similar_pictures(self, show):
        """The page says that no pictures are similar."""
        make(ONE, 1)
        make(OTHER, 1, first=1)
        page = show("?group=layout")
        assert shown(page) == []
        assert "No two of them are similar." in html(page)
        assert "No picture matches" not in html(page)

    def test_no_pictures(self, show):
        """Without pictures the page is that of an empty gallery."""
        make(ONE, 1)
        assert "No picture matches" in html(show("?group=layout&width=1"))

    def test_unanalysed_pictures_are_counted(self, show):
        """The page has the command; pictures without bytes do not count."""
        make_image(draw(seed=1))
        make_image(draw(seed=2), kept=False)
        page = show("?group=layout")
        text = "1 picture is not analysed yet: run manage.py analyze_image_contents."
        assert text in html(page)
        assert "Grouped" not in html(page)
        make_image(draw(seed=3))
        assert "2 pictures are not analysed yet" in html(show("?group=layout"))

    @pytest.mark.parametrize("bound", ["MANY", "NEWEST"])
    def test_groups_read_the_newest_only(self, show, monkeypatch, bound):
        """The page says so."""
        monkeypatch.setattr(paging if bound == "MANY" else similar, bound, 3)
        newest = make(ONE, 3)
        make(ONE, 3, first=3)
        page = show("?group=layout")
        assert shown(page) == newest
        if bound == "MANY":
            assert "Only the newest pictures were searched, those since" in html(page)
        else:
            assert "Grouped: the newest 3 of 6 analysed pictures." in html(page)

    def test_groups_load_no_bytes(self, show):
        make(ONE, 3)
        with capture_queries() as queries:
            show("?group=layout")
        assert loading_bytes(queries) == []

    def test_deleted_picture_is_left_out(self, show, monkeypatch):
        """A deletion during the request is no error."""
        gone, *rest = make(ONE, 3)
        found = similar.group_similar

        def and_one_goes(rows):
            answer = found(rows)
            gallery.RequestImage.objects.filter(pk=gone).delete()
            return answer

        monkeypatch.setattr(gallery, "group_similar", and_one_goes)
        assert shown(show("?group=layout")) == rest


class TestLayout:
    @pytest.mark.parametrize("most", [0, 4, 5, 9])
    def test_few_and_many_similar_pictures(self, show, monkeypatch, most):
        """Contents are named, or found by a subquery: same pictures."""
        monkeypatch.setattr(conditions, "MOST_ROWS", most)
        alike = make(ONE, 3) + make(NEAR, 2, first=3)
        make(OTHER, 2, first=5)
        assert shown(show(f"?layout={ONE}&sort=newest")) == alike

    def test_hash_is_looked_up_once_per_page(self, show):
        """The look-up compares all perceptual hashes."""
        make(ONE, 3)
        with capture_queries() as queries:
            show(f"?layout={ONE}&group=outcome")
        assert (
            len(
                [
                    sql
                    for sql in queries
                    if re.search("hamming|bit_count", sql, re.IGNORECASE)
                ]
            )
            == 1
        )


class TestPageOfAPicture:
    def page(self, client, image) -> str:
        name = "admin:request_images_requestimage_change"
        url = reverse(name, args=[image.pk])
        with capture_queries() as queries:
            response = client.get(url)
        assert loading_bytes(queries) == []
        return response.content.decode()

    @pytest.fixture(autouse=True)
    def _somebody(self, client):
        client.force_login(make_user("view_requestimage"))

    def test_page_shows_the_measures(self, client):
        """The page has a link to similar pictures."""
        image = analysed(make_image(), brightness=127.54, layout=ONE)
        text = self.page(client, image)
        numbers = "brightness 127.5, contrast 50.0, entropy (bits) 7.0, sharpness 200.0"
        assert numbers in text
        assert f"?layout={ONE}" in text
        assert "Similar pictures" in text

    def test_page_has_the_reason_for_missing_measures(self, client):
        image = make_image()
        assert "not analysed yet" in self.page(client, image)
        call_command("analyze_image_contents", verbosity=0)
        assert "Similar pictures" in self.page(client, image)
        refused = {"layout": "", "brightness": None, "analysis_error": "not an image"}
        analysed(image, **refused)
        text = self.page(client, image)
        assert "cannot be analysed: not an image" in text
        assert "Similar pictures" not in text

    def test_page_without_stored_bytes(self, client):
        assert "analysed" not in self.page(client, make_image(kept=False))


def test_further_images_are_analysed():
    """Their contents are like any other."""
    add_further(make_image(), draw(seed=1))
    call_command("analyze_image_contents", verbosity=0)
    assert not ImageContent.objects.filter(layout="").exists()


def test_gallery_has_a_preset_for_similar_pictures(show):
    make(ONE, 2)
    assert 'href="?group=layout"' in html(show(""))
