"""Contents are decoded where the settings say, within their limits."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from PIL import Image

from request_images import health
from request_images.contents import decoding
from request_images.contents.attempts import GAVE_UP, MAX_TRIES
from request_images.contents.derive import Fate, try_to_derive
from request_images.contents.thumbnails import THUMBNAIL
from request_images.exceptions import (
    DecoderKilled,
    DecoderUnavailable,
    PictureRefused,
)
from request_images.images import decoder
from request_images.images.measures import measure
from request_images.models import ImageContent
from tests.factories import PICTURE, make_content, make_image


@pytest.fixture
def here(monkeypatch):
    """Collect what is decoded in this process."""
    opened, found = Image.Image.resize, []

    def resize(self, *arguments, **options):
        found.append(os.getpid())
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", resize)
    return found


def test_decoding_has_its_own_process_by_default(here):
    _, thumbnail = decoding.decode("thumbnail", PICTURE, size=64)
    assert thumbnail[8:12] == b"WEBP"
    assert here == []


def test_decoding_is_inline_if_the_setting_says_so(settings, here):
    settings.REQUEST_IMAGES_DECODER = "inline"
    found, _ = decoding.decode("measures", PICTURE)
    assert found == asdict(measure(PICTURE, max_pixels=10**6))
    assert here


def test_decoding_is_inline_if_no_process_can_be_started(monkeypatch, here):
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    assert decoding.decode("thumbnail", PICTURE, size=64)[1]
    assert here


@pytest.mark.parametrize("where", ["process", "inline"])
@pytest.mark.parametrize(
    ("name", "limit", "text"),
    [
        ("THUMBNAIL_MAX_PIXELS", 100, "32 x 24 pixels"),
        ("THUMBNAIL_MAX_MEMORY_MB", 0.001, "32 x 24 pixels"),
    ],
)
def test_limits_are_those_of_the_settings(settings, where, name, limit, text):
    settings.REQUEST_IMAGES_DECODER = where
    setattr(settings, f"REQUEST_IMAGES_{name}", limit)
    with pytest.raises(PictureRefused, match=text):
        decoding.decode("thumbnail", PICTURE, size=64)


@pytest.mark.django_db
def test_broken_process_does_not_count_as_an_attempt(monkeypatch):
    """It is counted as a fault, and the image is tried again."""
    content = make_content()

    def run(*arguments, **options):
        raise DecoderUnavailable("no memory to start it")

    with monkeypatch.context() as patched:
        patched.setattr(decoder.decoder, "run", run)
        assert try_to_derive(THUMBNAIL, content.pk) is Fate.SKIPPED
    assert health.faults() == {"thumbnail:DecoderUnavailable": 1}
    health.reset()
    content.refresh_from_db()
    assert (content.thumbnail_tries, content.thumbnail_error) == (0, "")
    assert try_to_derive(THUMBNAIL, content.pk) is Fate.MADE


@pytest.mark.django_db
def test_picture_whose_process_is_killed_is_given_up(monkeypatch):
    """The system kills it for lack of memory, perhaps because of the picture."""
    content = make_content()

    def run(*arguments, **options):
        raise DecoderKilled("the process that decodes was killed")

    monkeypatch.setattr(decoder.decoder, "run", run)
    for tries in range(1, MAX_TRIES + 1):
        assert try_to_derive(THUMBNAIL, content.pk) is Fate.SKIPPED
        assert try_to_derive(THUMBNAIL, content.pk) is Fate.SKIPPED  # claimed
        content.refresh_from_db()
        assert (content.thumbnail_tries, content.thumbnail_error) == (tries, "")
        ImageContent.objects.update(thumbnail_tried_at=None)
    assert health.faults() == {"thumbnail:DecoderKilled": MAX_TRIES}
    health.reset()
    assert try_to_derive(THUMBNAIL, content.pk) is Fate.IMPOSSIBLE
    content.refresh_from_db()
    assert content.thumbnail_error == GAVE_UP


@pytest.mark.django_db
def test_command_and_page_decode_in_the_process(here, client):
    make_image()
    call_command("make_thumbnails", verbosity=0)
    call_command("analyze_image_contents", verbosity=0)
    content = ImageContent.objects.get()
    assert content.thumbnail is not None
    assert content.layout
    assert here == []


def warnings(**values):
    return [each for each in run_checks() if each.id == "request_images.W008"]


@pytest.mark.django_db  # some checks of Django ask for its features
def test_W008_decoder_without_limits(monkeypatch, settings):
    assert warnings() == []
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    [warning] = warnings()
    assert "uwsgi is not Python" in warning.msg
    settings.REQUEST_IMAGES_DECODER = "inline"
    assert warnings() == []
