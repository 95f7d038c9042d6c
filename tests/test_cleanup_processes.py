"""The command among others: a second one, a capture, and whoever kills it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest

from .servers.running import ROOT, Database

ROWS = 60
PINNED = 6
PATIENCE = 60
WHOLE = {"orphans": 0, "without_bytes": 0, "dangling": 0, "pinned": PINNED}


@pytest.fixture(scope="module")
def tables(tmp_path_factory, django_db_blocker):
    """The database that all processes work on."""
    with django_db_blocker.unblock():
        database = Database(tmp_path_factory.mktemp("cleanup"))
        try:
            database.create()
            yield database
        finally:
            database.remove()


@pytest.fixture
def filled(tables):
    """The same with old and young requests in it."""
    for table in ("requestimage", "imagecontent", "requestlog", "lease"):
        with tables._connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM request_images_{table}")
    run(tables, "fill", str(ROWS))
    return tables


def start(database: Database, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=database.environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a process, and return what it said."""
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def run(database: Database, *arguments: str) -> str:
    return ended(start(database, "tests.servers.cleaning", *arguments))


def clean(database: Database, *options: str) -> subprocess.Popen[str]:
    return start(database, "django", "cleanup_old_images", *options)


def left(database: Database) -> dict[str, int]:
    """Check what is left, and return its counts beside those that never change."""
    found = json.loads(run(database, "check"))
    assert {name: found.pop(name) for name in WHOLE} == WHOLE
    return found


def test_two_at_once_do_no_harm(filled):
    """One of them cleans; what both say adds up to what was told before."""
    told = ended(clean(filled, "--dry-run")).splitlines()[-1]
    processes = [clean(filled, "--batch-size=1") for _ in range(2)]
    said = [ended(process).splitlines()[-1] for process in processes]
    wanted = told.replace("Would delete", "Deleted")
    assert wanted in said
    said.remove(wanted)
    # It may also have begun when the first one was done.
    nothing = "Deleted 0 images (0 distinct) and 0 logs; 0 bytes (0 bytes) of storage."
    assert said[0] == nothing or said[0].endswith("Nothing was done.")
    left(filled)


def test_a_capture_beside_it_loses_nothing(filled):
    """Whichever image comes again at the moment when it goes is kept."""
    writer = start(filled, "tests.servers.cleaning", "capture")
    for _ in range(3):
        ended(clean(filled, "--batch-size=3"))
    number, _ = writer.communicate("", timeout=PATIENCE)
    assert writer.returncode == 0, number
    assert left(filled)["young"] == int(number)


def test_killed_at_any_moment(filled):
    """Whole batches only; the next run, once the lease has ended, finishes the work."""
    told = ended(clean(filled, "--dry-run")).splitlines()[-1]
    started = time.monotonic()
    ended(clean(filled, "--dry-run"))
    duration = time.monotonic() - started
    for _ in range(4):
        process = clean(filled, "--batch-size=1")
        # Most of the time it starts; the moments that count are the last ones.
        time.sleep(duration * random.uniform(0.7, 1.2))
        process.kill()
        process.communicate(timeout=PATIENCE)
        left(filled)
        with filled._connection.cursor() as cursor:
            cursor.execute("DELETE FROM request_images_lease")
    ended(clean(filled))
    left(filled)
    assert "Would delete 0 images" in ended(clean(filled, "--dry-run"))
    assert "Would delete 0 images" not in told
