"""The time that the database needs for statements, over all threads.

Django's own hook, ``execute_wrapper``, covers one connection of one thread, and the
background thread has another connection.
"""

from __future__ import annotations

import time
from array import array
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from typing_extensions import Self

_OWN = "SELECT COUNT("  # the benchmark's own query for written rows
_COMMIT = "COMMIT"
_KIND = 60  # characters that identify a kind of statement


class Statements:
    """A context manager that times every statement and commit."""

    def __init__(self) -> None:
        # A memory measurement in the same process should not include this.
        self._timed: defaultdict[str, array[float]] = defaultdict(_times)
        self._originals: list[tuple[type, str, Callable[..., Any]]] = []

    def __enter__(self) -> Self:
        for owner, name in (
            (CursorWrapper, "_execute"),
            (CursorWrapper, "_executemany"),
            (BaseDatabaseWrapper, "_commit"),
        ):
            self._time(owner, name)
        return self

    def _time(self, owner: type, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)
        self._originals.append((owner, name, original))

        def timed(wrapper: Any, *args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(wrapper, *args, **kwargs)
            finally:
                text = str(args[0]) if args else _COMMIT
                self._timed[text].append(time.perf_counter() - started)

        setattr(owner, name, timed)

    def __exit__(self, *exception: object) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)

    def seconds(self, table: str = "") -> float:
        """Return the time of all statements, or of those with this first table.

        Each kind of statement counts with its median, as often as it was sent: while
        one thread waits for the database another may hold Python's lock, and that
        time is not the database's.
        """
        kinds: defaultdict[str, list[float]] = defaultdict(list)
        for text, seconds in self._timed.items():
            is_ours = not text.startswith(_OWN)
            if is_ours and (not table or _first_table(text) == table):
                kinds[text[:_KIND]].extend(seconds)
        return sum(median(times) * len(times) for times in kinds.values())

    def all_seconds(self) -> float:
        """Return the measured time of all statements, for code with one thread."""
        return sum(map(sum, self._timed.values()))

    def numbers(self) -> tuple[int, int]:
        """Return the numbers of statements and commits."""
        commits = len(self._timed[_COMMIT])
        # SQLite begins a transaction with a statement, PostgreSQL does not.
        begins = sum(len(t) for s, t in self._timed.items() if s.startswith("BEGIN"))
        return sum(map(len, self._timed.values())) - commits - begins, commits


def _times() -> array[float]:
    return array("d")


def _first_table(text: str) -> str:
    words = text.replace('"', " ").replace("(", " ").split()
    for before, word in pairwise(words):
        if before.upper() in {"FROM", "INTO", "UPDATE"}:
            return word.split(".")[0]
    return ""
