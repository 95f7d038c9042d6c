"""What images look like in numbers: kept per content, by a command and by a task."""

from __future__ import annotations

import io
from dataclasses import asdict
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from request_images import health
from request_images.cleanup.retention import clean
from request_images.contents import analysis
from request_images.contents import derive as contents_derive
from request_images.contents.analysis import ANALYSIS
from request_images.contents.attempts import GAVE_UP
from request_images.contents.derive import (
    Fate,
    count_missing,
    derive,
    try_to_derive,
)
from request_images.contents.thumbnails import THUMBNAIL
from request_images.exceptions import NotYet
from request_images.images.measures import VERSION, measure
from request_images.models import ImageContent
from request_images.storage.stores import DatabaseStore
from tests.factories import (
    PICTURE,
    analysed,
    capture_queries,
    make_content,
    make_image,
    until,
)
from tests.image_files import draw
from tests.test_tasks import needs_tasks

pytestmark = pytest.mark.django_db
BLANK = {
    "brightness": None,
    "contrast": None,
    "entropy": None,
    "sharpness": None,
    "layout": "",
}


def run(*arguments: str) -> str:
    """Run the command and return what it says."""
    out = io.StringIO()
    call_command("analyze_image_contents", *arguments, stdout=out)
    return out.getvalue()


def known(content: ImageContent) -> dict[str, object]:
    """Return what is known of a content now."""
    return ImageContent.objects.filter(pk=content.pk).values(*BLANK).get()


def error(content: ImageContent) -> str:
    content.refresh_from_db()
    return content.analysis_error


class TestCommand:
    def test_measures_what_is_not_known(self):
        """Once: the next run finds nothing to do."""
        contents = [make_content(draw(seed=seed)) for seed in range(2)]
        broken = make_content(b"no image")
        said = "Images: 2 analysed, 1 cannot be analysed, 0 skipped.\n"
        assert run() == said
        assert known(contents[0]) == asdict(measure(draw(), max_pixels=10**6))
        assert known(broken) == BLANK
        assert error(broken) == "not an image"
        versions = ImageContent.objects.values_list("analysis_version", flat=True)
        assert set(versions) == {VERSION}
        assert run() == "Images: 0 analysed, 0 cannot be analysed, 0 skipped.\n"

    def test_can_be_silent(self):
        """For cron."""
        make_content()
        assert run("--verbosity=0") == ""
        assert ImageContent.objects.get().brightness is not None

    @pytest.mark.parametrize(
        ("options", "order"),
        [((), [4, 3, 2]), (("--oldest-first",), [0, 1, 2])],
    )
    def test_order_and_limit(self, options, order):
        contents = [make_content(draw(seed=seed)) for seed in range(5)]
        run(*options, "--limit=3", "--batch-size=2")
        done = [n for n, each in enumerate(contents) if known(each) != BLANK]
        assert done == sorted(order)

    def test_what_is_too_large_is_refused(self, settings):
        """By the bounds of thumbnails."""
        settings.REQUEST_IMAGES_THUMBNAIL_MAX_PIXELS = 100
        content = make_content()
        run()
        assert error(content) == "32 x 24 pixels"

    def test_shows_how_far_it_is(self):
        """To people who watch."""

        class Terminal(io.StringIO):
            def isatty(self):
                return True

        for seed in range(3):
            make_content(draw(seed=seed))
        for command, limit in (("analyze_image_contents", 2), ("make_thumbnails", 2)):
            err = Terminal()
            call_command(command, limit=limit, stderr=err, stdout=io.StringIO())
            assert "] 1 of 2 images" in err.getvalue()
            assert "] 2 of 2 images" in err.getvalue()


class TestVersion:
    @pytest.fixture
    def next_version(self, monkeypatch):
        """The numbers mean something else from now on."""
        due = contents_derive.Q(analysis_version__in=range(VERSION + 1))
        blank = {**ANALYSIS.blank, "analysis_version": VERSION + 1}
        newer = contents_derive.Derivation("analysis", due, blank, ANALYSIS.make)
        monkeypatch.setattr(
            "request_images.management.commands.analyze_image_contents.Command.what",
            newer,
        )

    def test_a_newer_one_measures_all_again(self, next_version):
        """What is of the older one is shown until then."""
        image = analysed(make_image(), brightness=1)
        newest = make_content(draw(seed=1))
        assert count_missing(ANALYSIS) == 1
        assert run("--limit=1").startswith("Images: 1 analysed,")
        assert known(newest) != BLANK
        assert known(image.content)["brightness"] == 1
        assert run().startswith("Images: 1 analysed,")
        assert known(image.content)["brightness"] > 1

    def test_a_newer_one_tries_again_what_was_refused(self, next_version):
        """A newer Pillow may read it; and three tries are granted anew."""
        content = make_content()
        ImageContent.objects.update(analysis_tries=2, analysis_error="too odd")
        ImageContent.objects.update(analysis_version=VERSION)
        assert run().startswith("Images: 1 analysed,")
        content.refresh_from_db()
        assert (content.analysis_error, content.analysis_tries) == ("", 0)

    def test_what_cannot_be_read_any_more_is_forgotten(self, next_version, settings):
        """Nothing is left of an older version."""
        settings.REQUEST_IMAGES_THUMBNAIL_MAX_PIXELS = 1
        image = analysed(make_image())
        run()
        assert known(image.content) == BLANK

    def test_finding_them_needs_no_sorting(self):
        """The index has the keys in order, beside a million that are done."""
        rows = ImageContent.objects.filter(ANALYSIS.due).order_by("-pk")
        plan = rows.values_list("pk", flat=True)[:500].explain()
        if connection.vendor == "sqlite":
            assert "COVERING INDEX content_analysis (analysis_version=?)" in plan
            assert "TEMP B-TREE" not in plan


class TestTries:
    """The rules of thumbnails: see test_drawing.py for each of them."""

    def test_are_their_own(self):
        """What kills whoever analyses it may be drawn all the same."""
        content = make_content()
        long_ago = timezone.now() - timedelta(seconds=contents_derive.CLAIM_SECONDS + 1)
        ImageContent.objects.update(analysis_tries=3, analysis_tried_at=long_ago)
        answer = derive(ANALYSIS, content.pk)
        assert answer["analysis_error"] == error(content) == GAVE_UP
        assert try_to_derive(ANALYSIS, content.pk) is Fate.SKIPPED
        assert try_to_derive(THUMBNAIL, content.pk) is Fate.MADE

    def test_of_another_process_is_respected(self):
        content = make_content()
        ImageContent.objects.update(analysis_tries=1, analysis_tried_at=timezone.now())
        with pytest.raises(NotYet, match="another process"):
            derive(ANALYSIS, content.pk)
        assert known(content) == BLANK

    def test_a_storage_that_is_away_is_none(self, monkeypatch):
        """And the fault is counted by its own name."""

        def read(self, content):
            raise OSError("no route to host")

        content = make_content()
        with monkeypatch.context() as patched:
            patched.setattr(DatabaseStore, "read", read)
            assert run().endswith(" 1 skipped.\n")
        assert health.faults() == {"analysis:OSError": 1}
        health.reset()
        content.refresh_from_db()
        assert (content.analysis_tries, content.analysis_version) == (0, 0)

    def test_stopping_the_command_is_none(self, monkeypatch):
        def stop(*arguments, **limits):
            raise KeyboardInterrupt

        content = make_content()
        with monkeypatch.context() as patched:
            patched.setattr(analysis, "decode", stop)
            for _ in range(4):
                with pytest.raises(KeyboardInterrupt):
                    run()
        assert run().startswith("Images: 1 analysed,")
        assert known(content) != BLANK

    def test_writes_neither_bytes_nor_thumbnail(self):
        """The row is changed beside them."""
        content = make_content()
        with capture_queries() as queries:
            derive(ANALYSIS, content.pk)
        for sql in queries:
            assert not sql.startswith("UPDATE") or "data" not in sql
        content.refresh_from_db()
        assert bytes(content.data) == PICTURE


def test_goes_with_the_content():
    """Nothing is left of an image when cleanup took it, or somebody erased it."""
    analysed(make_image(days_old=9))
    clean(until(timezone.now()), batch_size=10)
    assert not ImageContent.objects.exists()


@needs_tasks
class TestTask:
    def test_measures_a_content(self):
        from request_images.tasks import analyze_content

        content = make_content()
        assert analyze_content.call(content.pk) == "made"
        assert analyze_content.call(content.pk) == "skipped"
        assert analyze_content.call(make_content(b"no image").pk) == "impossible"
        assert analyze_content.call(0) == "skipped"
        assert known(content) != BLANK
