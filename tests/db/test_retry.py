"""What ran into somebody else's transaction is done again, for so long."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError

from request_images.db import retry as db_retry
from request_images.db.retry import TRIES, retry

DEADLOCK = OperationalError(1213, "Deadlock found")


class Work:
    """Fails so many times, and then goes well."""

    def __init__(self, error, times):
        self.errors = [error] * times

    def __call__(self):
        if self.errors:
            raise self.errors.pop()
        return "done"


@pytest.fixture
def pauses(monkeypatch):
    """The longest that the pauses could have been; nobody waits."""
    found = []
    monkeypatch.setattr(db_retry.random, "uniform", lambda least, most: most)
    monkeypatch.setattr(db_retry.time, "sleep", found.append)
    return found


@pytest.mark.parametrize("error", [DEADLOCK, IntegrityError("another was faster")])
def test_work_is_repeated_until_it_succeeds(pauses, error):
    """After pauses that grow."""
    assert retry(Work(error, 3)) == "done"
    assert pauses == [0.01, 0.02, 0.04]


def test_last_failure_is_raised(pauses):
    """After less than a second, with what the last try met."""
    with pytest.raises(IntegrityError):
        retry(Work(IntegrityError("always"), TRIES))
    assert len(pauses) == TRIES - 1
    assert 0.5 < sum(pauses) < 0.7
    assert retry(Work(DEADLOCK, TRIES - 1)) == "done"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("gone"),
        KeyError("a bug"),
        IntegrityError("NOT NULL constraint failed: request_images_requestlog.newer"),
        IntegrityError(1048, "Column 'newer' cannot be null"),
        OperationalError(1364, "Field 'newer' doesn't have a default value"),
        IntegrityError("CHECK constraint failed: width"),
        IntegrityError(4025, "CONSTRAINT `width` failed"),
    ],
)
def test_other_failures_are_not_repeated(pauses, error):
    """It would fail again."""
    with pytest.raises(type(error)):
        retry(Work(error, 1))
    assert pauses == []


def test_also_names_further_exceptions(pauses):
    """Such as an object that somebody else has taken."""
    assert retry(Work(KeyError("taken"), 1), also=(KeyError,)) == "done"
