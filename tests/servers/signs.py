"""Files by which a view and a test tell each other how far they are."""

import os
import time
from pathlib import Path

FOLDER = Path(os.environ["SERVERS_SIGNS"])
PATIENCE = 20.0


def give(request, name):
    """Tell the test."""
    _path(request, name).touch()


def wait_for(request, name):
    """Wait until the test tells us."""
    until = time.monotonic() + PATIENCE
    while not _path(request, name).exists() and time.monotonic() < until:
        time.sleep(0.01)


def _path(request, name):
    return FOLDER / f"{request.headers['X-Request-ID']}.{name}"
