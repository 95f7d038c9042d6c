"""Files by which a view and a test signal to each other."""

import os
import time
from pathlib import Path

FOLDER = Path(os.environ["SERVERS_SIGNS"])
PATIENCE = 20.0


def give(request, name):
    """Signal to the test."""
    _path(request, name).touch()


def wait_for(request, name):
    """Wait for a signal of the test."""
    wait_for_id(request.headers["X-Request-ID"], name)


def wait_for_id(request_id, name):
    """Wait for a signal of the test, by the id of the request."""
    until = time.monotonic() + PATIENCE
    path = FOLDER / f"{request_id}.{name}"
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


def _path(request, name):
    return FOLDER / f"{request.headers['X-Request-ID']}.{name}"
