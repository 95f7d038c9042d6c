"""Run all kinds of work at once for some time, then count everything.

``python -m tests.servers.stress SECONDS`` prints the counts as JSON. Some processes
record requests with the same few images. Others clean up, erase, move bytes, compress
them and undo it, make thumbnails, and verify. A day lasts a moment, so images are
created, shared and deleted all the time.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django
from django.utils import timezone

IMAGES = 40
ROUNDS = 10
WORKED = (
    "captured_stored",
    "captured_duplicate",
    "deleted_logs",
    "compressed",
    "not_done",
)
"""What has to have happened. A busy machine may need more than one round for it."""
DAY_SECONDS = 0.04
BUCKET = "bucket"
_DELETED = re.compile(r"Deleted (\d+) images \((\d+) distinct\) and (\d+) logs; ")


def record(until: float, storage: str | None) -> Counter[str]:
    """Post images to Django's handler, as a server does; some requests fail."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    from request_images import health
    from request_images.writer.jobs import queue
    from tests.image_files import draw

    settings.REQUEST_IMAGES_STORAGE = storage
    handler, tally = get_wsgi_application(), Counter[str]()
    while time.monotonic() < until:
        started = time.monotonic()
        path = random.choice(["/plain/", "/plain/", "/boom/"])
        # All processes send an image at the same time, and again when it is deleted.
        seed = (int(started * IMAGES / 2) + random.randrange(3)) % IMAGES
        image = draw("BMP" if seed % 2 else "PNG", seed=seed)
        for _ in range(random.choice([1, 3])):
            tally[f"answered_{_post(handler, path, image)}"] += 1
            tally["answered"] += 1
        # On a slow machine cleanup must keep up, otherwise it would delete nothing.
        time.sleep(random.uniform(0, 0.04) + (time.monotonic() - started) / 2)
    # A request that took too long in its own thread is written by another.
    assert queue.wait_until_empty(60)
    for name, number in health.counts().items():
        tally[f"captured_{name}"] += number
    return tally


def _post(handler: Callable[..., Any], path: str, body: bytes) -> str:
    statuses: list[str] = []
    environment = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": "image/png",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_X_REQUEST_ID": uuid.uuid4().hex,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    response = handler(environment, lambda status, headers: statuses.append(status))
    list(response)
    response.close()
    return str(statuses[0][:3])


def clean_up(until: float) -> Counter[str]:
    """Run the command repeatedly, sometimes with a budget."""
    from django.conf import settings

    tally = Counter[str]()
    while time.monotonic() < until:
        settings.REQUEST_IMAGES_MAX_STORED_MB = random.choice([None, 0.0005, 0.0001])
        size = random.choice([5, 50, 500])
        said = _run(tally, "cleanup_old_images", f"--batch-size={size}")
        _add_deleted(tally, said)
        time.sleep(random.uniform(0, 0.1))
    return tally


def _add_deleted(tally: Counter[str], said: str) -> None:
    for images, contents, logs in _DELETED.findall(said):
        tally["deleted_images"] += int(images)
        tally["deleted_contents"] += int(contents)
        tally["deleted_logs"] += int(logs)


def erase(until: float) -> Counter[str]:
    """Erase single requests repeatedly."""
    from request_images.erasure import erase
    from request_images.models import RequestLog

    tally = Counter[str]()
    while time.monotonic() < until:
        some = list(RequestLog.objects.order_by("?").values_list("pk", flat=True)[:3])
        went = erase(RequestLog.objects.filter(pk__in=some)).total
        tally["deleted_logs"] += went.logs
        tally["deleted_contents"] += went.contents
        time.sleep(random.uniform(0, 0.1))
    return tally


def move(until: float) -> Counter[str]:
    """Move the bytes between the stores."""
    tally = Counter[str]()
    while time.monotonic() < until:
        for to in (BUCKET, "database"):
            said = _run(tally, "move_image_contents", f"--to={to}")
            tally["moved"] += int((re.findall(r"Moved (\d+)", said) or [0])[0])
            time.sleep(random.uniform(0, 0.1))
    return tally


def compress(until: float) -> Counter[str]:
    """Compress images, and undo it."""
    tally = Counter[str]()
    while time.monotonic() < until:
        said = _run(tally, "compress_image_contents")
        said += _run(tally, "compress_image_contents", "--undo=zlib")
        for did, number in re.findall(r"(Comp|Decomp)ressed (\d+)", said):
            tally[f"{did.lower()}ressed"] += int(number)
        time.sleep(random.uniform(0, 0.1))
    return tally


def make_thumbnails(until: float) -> Counter[str]:
    """Make the missing thumbnails."""
    tally = Counter[str]()
    while time.monotonic() < until:
        said = _run(tally, "make_thumbnails")
        tally["thumbnails"] += int((re.findall(r"Made (\d+)", said) or [0])[0])
        time.sleep(random.uniform(0, 0.05))
    return tally


def verify(until: float) -> Counter[str]:
    """Verify repeatedly, and find nothing wrong."""
    tally = Counter[str]()
    while time.monotonic() < until:
        _run(tally, "verify_image_contents", *random.choice([[], ["--repair"]]))
        time.sleep(random.uniform(0, 0.2))
    return tally


def _run(tally: Counter[str], name: str, *options: str) -> str:
    from tests.servers.forking import command

    done = command(name, *options)
    tally[f"runs_{name}"] += 1
    tally["not_done"] += done["said"].count("Nothing was done.")
    if done["failure"] or done["errors"]:
        tally["failures"] += 1
        sys.stderr.write(f"{name}: {done['failure']}\n{done['errors']}\n")
    return str(done["said"])


def child(work: Callable[..., Counter[str]], *given: object) -> Counter[str]:
    """Do the work of one process with short days, and count its faults."""
    from request_images import health

    shorten_days()
    tally = work(*given)
    for name, number in health.faults().items():
        tally["faults"] += number
        sys.stderr.write(f"{work.__name__}: {name}: {number}\n")
    return tally


def shorten_days() -> None:
    """Shorten the days of all settings to a moment."""
    from request_images.models import cutoffs

    def days_ago(days: int | None) -> Any:
        seconds = 0.0 if days is None else days * DAY_SECONDS
        return None if days is None else timezone.now() - timedelta(seconds=seconds)

    cutoffs.days_ago = days_ago


def stress(seconds: float) -> dict[str, int]:
    """Run all kinds of work until each has done something, then count."""
    tally = Counter[str]()
    for _ in range(ROUNDS):
        tally.update(let_loose(seconds))
        if all(tally[name] for name in WORKED):
            break
    found = dict(tally)
    found |= left()
    found |= nothing_left(tally)
    return found


def let_loose(seconds: float) -> Counter[str]:
    """Run all kinds of work for some time, and add up their results."""
    from tests.servers.forking import Child

    until = time.monotonic() + seconds
    children = [
        Child(child, record, until, None),
        Child(child, record, until, BUCKET),
        Child(child, record, until, None),
        Child(child, clean_up, until),
        Child(child, clean_up, until),
        Child(child, erase, until),
        Child(child, move, until),
        Child(child, move, until),
        Child(child, compress, until),
        Child(child, compress, until),
        Child(child, make_thumbnails, until),
        Child(child, verify, until),
    ]
    tally = Counter[str]()
    for each in children:
        tally.update(each.result())
    return tally


def left() -> dict[str, int]:
    """Count rows, objects and inconsistencies."""
    from django.db import connection
    from django.db.models import Count, Q

    from request_images.models import (
        ImageContent,
        PendingDeletion,
        RequestImage,
        RequestLog,
    )
    from request_images.storage.stores import store_of

    connection.check_constraints()
    logs, images = RequestLog.objects.order_by(), RequestImage.objects.order_by()
    kept = Q(capture_status__in=("stored", "duplicate"))
    known = ImageContent.objects.values_list("pk", flat=True)
    named = set(
        ImageContent.objects.filter(storage=BUCKET).values_list("name", flat=True)
    )
    listed = set(
        PendingDeletion.objects.filter(storage=BUCKET).values_list("name", flat=True)
    )
    there = set(store_of(BUCKET).names())
    twice = logs.values("request_id").annotate(number=Count("pk")).filter(number__gt=1)
    other = ~kept & ~Q(capture_status__in=("expired", "over_budget"))
    return {
        "logs": logs.count(),
        "logs_twice": twice.count(),
        "logs_not_kept": logs.filter(other).count(),
        "logs_without_bytes": logs.filter(kept, image__content=None).count(),
        "logs_without_words": logs.filter(~kept, image__content__isnull=False).count(),
        "contents": len(known),
        "references": images.with_bytes().values("content").distinct().count(),
        "orphans": ImageContent.objects.filter(images=None).count(),
        "dangling": images.with_bytes().exclude(content__in=list(known)).count(),
        "objects": len(there),
        "objects_missing": len(named - there),
        "objects_unknown": len(there - named - listed),
        "objects_to_lose": len(named & listed),
        "pending": len(listed),
    }


def nothing_left(tally: Counter[str]) -> dict[str, int]:
    """Delete pending objects, verify, then delete everything."""
    from request_images.contents.delete_objects import delete_pending
    from request_images.models import ImageContent, PendingDeletion, RequestLog
    from request_images.storage.stores import store_of
    from tests.servers.forking import command

    def delete() -> set[str]:
        PendingDeletion.objects.update(due_at=timezone.now())
        delete_pending()
        return set(store_of(BUCKET).names())

    there = delete()
    named = ImageContent.objects.filter(storage=BUCKET).count()
    verified = command("verify_image_contents")
    time.sleep(DAY_SECONDS * 40)
    shorten_days()
    cleaned = Counter[str]()
    _add_deleted(cleaned, command("cleanup_old_images")["said"])
    return {
        "objects_unnamed": len(there) - named,
        "pending_then": PendingDeletion.objects.count(),
        "findings": len(verified["errors"].splitlines()),
        "in_the_end_logs": RequestLog.objects.count(),
        "in_the_end_contents": ImageContent.objects.count(),
        "in_the_end_objects": len(delete()),
        "logs_lost": tally["answered"]
        - tally["deleted_logs"]
        - cleaned["deleted_logs"],
        "contents_lost": tally["captured_stored"]
        - tally["deleted_contents"]
        - cleaned["deleted_contents"],
    }


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(stress(float(sys.argv[1])), indent=1))
