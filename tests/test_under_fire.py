"""Stress and kill tests: run everything at once, kill at any moment, and count.

A few seconds run with the other tests. To run for minutes::

    STRESS_SECONDS=120 KILLS=50 pytest -s tests/test_under_fire.py

``DATABASE_URL`` selects the database. ``-s`` shows the counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.servers.running import ROOT, Database
from tests.servers.stress import WORKED

SECONDS = float(os.environ.get("STRESS_SECONDS", "4"))
KILLS = int(os.environ.get("KILLS", "2"))
pytestmark = pytest.mark.processes
MUST_BE_NOTHING = (
    "failures",
    "faults",
    "logs_lost",
    "logs_twice",
    "logs_not_kept",
    "logs_without_bytes",
    "logs_without_words",
    "contents_lost",
    "orphans",
    "dangling",
    "objects_missing",
    "objects_unknown",
    "objects_to_lose",
    "objects_unnamed",
    "pending_then",
    "findings",
    "in_the_end_logs",
    "in_the_end_contents",
    "in_the_end_objects",
)


@pytest.fixture
def run(tmp_path, django_db_blocker):
    """Run a module of ``tests.servers`` with its own database; return its counts."""

    def run(*arguments: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)  # noqa: T201  # shown with -s
        assert done.returncode == 0, done.stderr
        assert "Capture fault" not in done.stderr, done.stderr
        return json.loads(done.stdout)

    with django_db_blocker.unblock():
        database = Database(tmp_path, "fire")
        environment = database.environment() | {
            "DJANGO_SETTINGS_MODULE": "tests.servers.working"
        }
        try:
            database.create()
            yield run
        finally:
            database.remove()


def test_everything_at_once_loses_nothing(run):
    """Nothing is lost or left over while all kinds of work run at once.

    Each answered request has one log, or one that was deleted and reported. Each
    stored content exists, or was deleted and reported. Two runs of one command do no
    harm.
    """
    found = Counter(run("tests.servers.stress", str(SECONDS)))
    assert {name: found[name] for name in MUST_BE_NOTHING} == dict.fromkeys(
        MUST_BE_NOTHING, 0
    )
    assert found["answered"] == found["captured_stored"] + found["captured_duplicate"]
    assert found["contents"] == found["references"]
    assert all(found[name] for name in WORKED)


def test_erasing_while_others_record_loses_nothing(run):
    """No lock stops anyone, and nothing is lost or left over."""
    found = Counter(run("tests.servers.erasing", str(SECONDS / 2)))
    assert found["erased_logs"]
    assert found["answered"] == found["erased_logs"] + found["logs"]
    assert found["captured_stored"] == found["erased_contents"] + found["contents"]
    wrong = ("orphans", "dangling", "objects_missing", "objects_unknown")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)


def test_kill_at_any_moment_leaves_consistent_data(run):
    """After SIGKILL all data is consistent, and the next run finishes the work."""
    for name, found in run("tests.servers.killing", str(KILLS)).items():
        assert found["killed"] == KILLS, name
        # Of what a verification finds, the damage that was done to be repaired.
        wrong = ("broken", "found", "failures", "left_in_the_end")
        assert {each: found[each] for each in wrong} == dict.fromkeys(wrong, 0), name
        assert found["objects_in_the_end"] == 0, name
