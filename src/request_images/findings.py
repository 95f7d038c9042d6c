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
        is_of_storage: Whether the storage failed, and so may the next ones.
    """

    problem: Problem
    storage: str
    name: str
    detail: str = ""
    content: int = 0
    is_repaired: bool = False
    is_of_storage: bool = False


@dataclass
class Verified:
    """What was looked at.

    Attributes:
        contents: How many contents.
        objects: How many objects in storages.
        problems: How many findings of each kind.
        unrepaired: How many things are still wrong.
        doubtful: Storages of which so much is missing or changed that none of it was
            repaired.
        unknown: Storages of which so much belongs to no image that it was left alone.
        given_up: Storages that failed several times in a row, and how many contents
            of theirs were not looked at.
    """

    contents: int = 0
    objects: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    unrepaired: int = 0
    doubtful: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    given_up: Counter[str] = field(default_factory=Counter)
