"""What a look at the bytes of all images found, in plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum


class Problem(Enum):
    """What can be wrong."""

    MISSING = "missing"
    MISMATCH = "mismatch"
    ORPHAN = "orphan"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        problem: What it is.
        storage: The storage alias; empty for the database.
        name: The object's name; in the database, the image's hash.
        detail: More of it, in words.
        content: The primary key of the content; 0 for an object that has none.
        is_repaired: Whether it is not wrong any more.
    """

    problem: Problem
    storage: str
    name: str
    detail: str = ""
    content: int = 0
    is_repaired: bool = False


@dataclass
class Verified:
    """What was looked at.

    Attributes:
        contents: How many contents.
        objects: How many objects in storages.
        problems: How many findings of each kind.
        unrepaired: How many things are still wrong.
        doubtful: Storages of which so much is missing that none of it was repaired.
    """

    contents: int = 0
    objects: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    unrepaired: int = 0
    doubtful: list[str] = field(default_factory=list)
