"""Erase everything repeatedly while others record, then count.

``python -m tests.servers.erasing SECONDS`` prints the counts as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import django

from tests.servers.stress import BUCKET, left, record


def erase_all(until: float) -> Counter[str]:
    """Erase all requests, pinned or not."""
    from request_images.erasure import erase
    from request_images.models import RequestLog

    tally = Counter[str]()
    while time.monotonic() < until:
        went = erase(RequestLog.objects.all()).total
        tally["erased_logs"] += went.logs
        tally["erased_contents"] += went.contents
    return tally


def race(seconds: float) -> dict[str, int]:
    """Let two processes record and two erase for some time."""
    from tests.servers.forking import Child

    until = time.monotonic() + seconds
    children = [
        Child(record, until, None),
        Child(record, until, BUCKET),
        Child(erase_all, until),
        Child(erase_all, until),
    ]
    tally = Counter[str]()
    for each in children:
        tally.update(each.result())
    return dict(tally) | left()


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(race(float(sys.argv[1])), indent=1))
