"""What became of the requests, by comparing what was sent with what is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .load import Trace
from .site import ERROR, METADATA


@dataclass
class Fates:
    """What became of the requests.

    Attributes:
        sent: Requests that were sent.
        wrong: Requests without an answer, or with a wrong one.
        kept: Rows of answered requests when the watch ended.
        images: Those with their image.
        left: Rows that `write_spooled_requests` then wrote.
        lost: Answered requests without a row after that.
        images_lost: Rows without their image.
        metadata_lost: Rows that differ from what the view has said.
        doubled: Requests with more than one row, counted by their further rows.
        missing: Ids of the lost requests.
    """

    sent: int = 0
    wrong: int = 0
    kept: int = 0
    images: int = 0
    left: int = 0
    lost: int = 0
    images_lost: int = 0
    metadata_lost: int = 0
    doubled: int = 0
    missing: list[str] = field(default_factory=list)


def fates_of(
    trace: list[Trace], before: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]
) -> Fates:
    """Compare what was sent with the rows, before and after the spool was written."""
    number = Counter(row[0] for row in rows)
    answered = {one.request_id for one in trace if one.status}
    kept = [row for row in before if row[0] in answered]
    missing = sorted(answered - number.keys())
    return Fates(
        sent=len(trace),
        wrong=wrong_of(trace),
        kept=len({row[0] for row in kept}),
        images=sum(row[4] for row in kept),
        left=len({row[0] for row in rows} - {row[0] for row in before}),
        lost=len(missing),
        images_lost=sum(not row[4] for row in rows),
        metadata_lost=sum(not _is_whole(row) for row in rows),
        doubled=number.total() - len(number),
        missing=missing,
    )


def _expected(request_id: str) -> int:
    return 422 if request_id.endswith("0") else 200


def _is_whole(row: tuple[Any, ...]) -> bool:
    error = ERROR if _expected(row[0]) == 422 else ("", "")
    return row[3] == METADATA and (row[1], row[2]) == error


def wrong_of(trace: list[Trace]) -> int:
    """Return the number of requests without an answer, or with a wrong one."""
    return sum(one.status != _expected(one.request_id) for one in trace)
