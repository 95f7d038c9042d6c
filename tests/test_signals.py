"""Signals: a receiver cannot break a capture, whatever it raises."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, OperationalError
from django.dispatch import Signal
from django.test import Client

from request_images import health, signals
from request_images.models import ImageContent, RequestLog
from request_images.writer import rows
from tests.image_files import draw

pytestmark = pytest.mark.django_db
NAMES = [name for name, value in vars(signals).items() if isinstance(value, Signal)]


def post(url="/body/"):
    client = Client(raise_request_exception=False)
    return client.post(url, draw(), content_type="image/png")


@pytest.fixture(params=[ValueError, DatabaseError, RecursionError, UnicodeError])
def broken(request):
    """Connect raising receivers before listening ones; return what these received."""
    received = []

    def raising(sender, **kwargs):
        raise request.param("not mine")

    def listening(sender, signal, log=None, **kwargs):
        received.append((signal, None if log is None else log.pk))

    for name in NAMES:
        getattr(signals, name).connect(raising)
        getattr(signals, name).connect(listening)
    yield received
    for name in NAMES:
        getattr(signals, name).disconnect(raising)
        getattr(signals, name).disconnect(listening)


def check(received, signal, log):
    """The other receivers still run, and the fault is counted under its receiver."""
    assert received == [(signal, log)]
    [(kind, count)] = [
        (kind, n) for kind, n in health.faults().items() if kind.startswith("receiver")
    ]
    assert "raising" in kind
    assert count == 1
    health.reset()


def test_all_signals_are_tested():
    """A new signal comes with a test here."""
    assert NAMES == ["image_saved", "image_skipped", "capture_failed"]


def test_image_saved(broken):
    """The row and the image are written."""
    assert post().status_code == 200
    log = RequestLog.objects.get()
    assert log.capture_status == "stored"
    assert log.image.image_data == draw()
    assert health.counts() == {"stored": 1}
    check(broken, signals.image_saved, log.pk)


def test_image_skipped(broken):
    """The row with the reason is written."""
    assert post("/nothing/").status_code == 401
    log = RequestLog.objects.get()
    assert log.capture_status == "unread"
    assert health.counts() == {"unread": 1}
    check(broken, signals.image_skipped, log.pk)


def test_capture_failed_with_a_row(broken, monkeypatch):
    """The row without its image is written."""

    def full(*args, **kwargs):
        raise OperationalError("packet too large")

    monkeypatch.setattr(ImageContent, "holding", full)
    assert post().status_code == 200
    log = RequestLog.objects.get()
    assert log.capture_status == "store_failed"
    assert health.counts() == {"store_failed": 1}
    check(broken, signals.capture_failed, log.pk)


def test_capture_failed_without_a_row(broken, monkeypatch):
    """No row is written, and the request is still answered."""

    def away(*args, **kwargs):
        raise OperationalError("gone")

    monkeypatch.setattr(rows, "save_many", away)
    assert post().status_code == 200
    assert not RequestLog.objects.exists()
    assert health.counts() == {"lost": 1}
    check(broken, signals.capture_failed, None)
