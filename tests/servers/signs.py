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
    wait_for_id(request.headers["X-Request-ID"], name)


def wait_for_id(request_id, name):
    """The same where there is no request any more."""
    until = time.monotonic() + PATIENCE
    path = FOLDER / f"{request_id}.{name}"
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


def _path(request, name):
    return FOLDER / f"{request.headers['X-Request-ID']}.{name}"
