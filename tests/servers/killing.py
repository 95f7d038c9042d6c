"""Kill commands at any moment: ``python -m tests.servers.killing KILLS``.

Each command starts this number of times while there is work to do, and gets SIGKILL
before it has finished. After each kill all data must be consistent. At the end the
command runs to its end, and has no work left. The output is JSON with the counts of
each command.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import django
from django.conf import settings
from django.db import connection
from django.utils import timezone

BUCKET = "bucket"
ROWS = 12
NEVER = (
    "logs_twice",
    "logs_without_bytes",
    "logs_without_words",
    "orphans",
    "dangling",
    "objects_to_lose",
)
COUNTED = (
    "killed",
    "too_late",
    "broken",
    "found",
    "found_of_ours",
    "left_behind",
    "failures",
    "left_in_the_end",
    "objects_in_the_end",
)
_OTHERS = {
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ),
    "mysql": (
        "SELECT count(*) FROM information_schema.processlist "
        "WHERE db = database() AND id <> connection_id()"
    ),
}


@dataclass(frozen=True)
class Killed:
    """A command, and the check that it has finished.

    Attributes:
        options: Command with its options.
        prepare: Function that creates work for the command.
        left: Function that counts the remaining work.
        permitted: Findings of a verification that are allowed before it has finished.
    """

    options: tuple[str, ...]
    prepare: Callable[[], None]
    left: Callable[[], int]
    permitted: tuple[str, ...] = ()


def fill(days_old: int = 0, fmt: str = "PNG") -> None:
    """Write requests with images, some in the database and some in the bucket."""
    from request_images.models import RequestLog
    from request_images.writer.rows import save_many
    from tests.factories import unsaved_record

    settings.REQUEST_IMAGES_SPOOL_DIR = None
    for storage in (None, BUCKET):
        settings.REQUEST_IMAGES_STORAGE = storage
        seeds = random.sample(range(60_000), ROWS // 2)
        records = [unsaved_record(seed, fmt) for seed in [*seeds, *seeds[:2]]]
        for record in records:
            record.log.created_at = timezone.now() - timedelta(days=days_old)
        save_many(records)
        RequestLog.objects.filter(pk=records[0].log.pk).update(is_pinned=True)


def fill_old() -> None:
    """Write requests that cleanup deletes, and some that it keeps."""
    fill(35)
    fill(60)
    fill()


def left_to_clean() -> int:
    """Count old images that are not pinned, and objects that are due for deletion."""
    from request_images.models import PendingDeletion, RequestImage

    day = timezone.now() - timedelta(days=30)
    old = RequestImage.objects.filter(created_at__lt=day, log__is_pinned=False)
    pending = PendingDeletion.objects.filter(due_at__lte=timezone.now())
    return old.count() + pending.count()


def left_in(storage: str) -> Callable[[], int]:
    """Return a function that counts the contents in one of the stores."""

    def left() -> int:
        from request_images.models import ImageContent

        return ImageContent.objects.filter(storage=storage).count()

    return left


def fill_compressible() -> None:
    """Write compressible images."""
    fill(fmt="BMP")


def fill_compressed() -> None:
    """Write images and compress them."""
    from tests.servers.forking import command

    fill(fmt="BMP")
    assert command("compress_image_contents")["failure"] == ""


def left_in_form(encoding: str) -> Callable[[], int]:
    """Return a function that counts the contents with an encoding."""

    def left() -> int:
        from request_images.models import ImageContent

        rows = ImageContent.objects.filter(mime_type="image/bmp", encoding=encoding)
        return rows.count()

    return left


def left_to_draw() -> int:
    """Count contents without a thumbnail and without an error."""
    from request_images.models import ImageContent

    rows = ImageContent.objects.filter(thumbnail=None, thumbnail_error="")
    return rows.count()


def left_to_analyse() -> int:
    """Count contents without measurements and without an error."""
    from request_images.models import ImageContent

    return ImageContent.objects.filter(analysis_version=0).count()


def damage() -> None:
    """Delete some objects, change some, and add some orphans."""
    from request_images.models import ImageContent
    from request_images.storage.stores import key_of

    fill()
    bucket = Path(settings.STORAGES[BUCKET]["OPTIONS"]["location"])
    names = ImageContent.objects.filter(storage=BUCKET).values_list("name", flat=True)
    # An object that an earlier damage has lost may not be repaired yet.
    lost, changed = random.sample([n for n in names if (bucket / n).exists()], 2)
    (bucket / lost).unlink()
    (bucket / changed).write_bytes(b"something else")
    orphan = bucket / key_of(f"{random.getrandbits(256):064x}", "image/png")
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"nobody's")
    row = ImageContent.objects.filter(storage="").values("pk")[:1]
    ImageContent.objects.filter(pk=row[0]["pk"]).update(data=b"something else")


def left_to_repair() -> int:
    """Count the findings of a verification."""
    from tests.servers.forking import command

    return len(command("verify_image_contents")["errors"].splitlines())


def spool() -> None:
    """Write requests into the spool folder."""
    from request_images.writer.spool.spooling import save_to_spool
    from tests.factories import examined_job, unsaved_record

    settings.REQUEST_IMAGES_SPOOL_DIR = spool_folder()
    for seed in random.sample(range(60_000), ROWS):
        assert save_to_spool(examined_job(unsaved_record(seed)))
        spooled["requests"] += 1


spooled = Counter[str]()


def spool_folder() -> str:
    """Return the spool folder."""
    location = settings.STORAGES[BUCKET]["OPTIONS"]["location"]
    return f"{location}-spool"


def left_in_the_folder() -> int:
    """Count requests that wait, are bad, or were written twice or never."""
    from request_images.models import RequestLog
    from request_images.writer.spool.spooling import spool_contents as folder

    contents = folder()
    written = RequestLog.objects.values("request_id").distinct().count()
    twice = RequestLog.objects.count() - written
    never = spooled["requests"] - written - contents.entries
    # A request that is written but not yet marked counts twice.
    assert never <= 0
    return contents.entries + contents.bad + twice


COMMANDS = {
    "cleanup_old_images": Killed(
        ("cleanup_old_images", "--batch-size=3"), fill_old, left_to_clean
    ),
    "move to a storage": Killed(
        ("move_image_contents", f"--to={BUCKET}"), fill, left_in("")
    ),
    "move to the database": Killed(
        ("move_image_contents", "--to=database"), fill, left_in(BUCKET)
    ),
    "compress_image_contents": Killed(
        ("compress_image_contents",), fill_compressible, left_in_form("")
    ),
    "compress_image_contents --undo": Killed(
        ("compress_image_contents", "--undo=zlib"),
        fill_compressed,
        left_in_form("zlib"),
    ),
    "analyze_image_contents": Killed(
        ("analyze_image_contents",), fill, left_to_analyse
    ),
    "make_thumbnails": Killed(("make_thumbnails",), fill, left_to_draw),
    "verify_image_contents --repair": Killed(
        ("verify_image_contents", "--repair"),
        damage,
        left_to_repair,
        permitted=(
            "is missing",
            "differs from what was received",
            "belongs to no image",
        ),
    ),
    "write_spooled_requests": Killed(
        ("write_spooled_requests",), spool, left_in_the_folder
    ),
}


def kill(killed: Killed, kills: int) -> dict[str, int]:
    """Kill one command repeatedly, then let it finish."""
    from tests.servers.forking import Child, command

    empty()
    killed.prepare()
    enough = killed.left()
    started = time.monotonic()
    Child(command, *killed.options).result()
    duration = time.monotonic() - started
    tally = Counter[str]()
    while tally["killed"] < kills:
        if killed.left() < enough:
            killed.prepare()
        child = Child(command, *killed.options)
        time.sleep(random.uniform(0, duration))
        tally["killed" if child.kill() else "too_late"] += 1
        wait_until_alone()
        look(killed, tally)
        pass_time()
    tally["left_behind"] = killed.left()
    last = Child(command, *killed.options).result()
    tally["failures"] += bool(last["failure"] or last["faults"])
    tally["left_in_the_end"] = killed.left()
    look(killed, tally)
    tally["objects_in_the_end"] = unnamed_objects()
    return {name: tally[name] for name in COUNTED}


def look(killed: Killed, tally: Counter[str]) -> None:
    """Count inconsistencies and the findings of a verification."""
    from tests.servers.forking import command
    from tests.servers.stress import left

    counts = left()
    tally["broken"] += sum(counts[name] for name in NEVER)
    errors = command("verify_image_contents")["errors"].splitlines()
    permitted = [e for e in errors if any(text in e for text in killed.permitted)]
    tally["found"] += len(errors) - len(permitted)
    tally["found_of_ours"] += len(permitted)
    if not killed.permitted:
        tally["broken"] += counts["objects_missing"] + counts["objects_unknown"]


def wait_until_alone() -> None:
    """Wait until the database has noticed that a process has ended."""
    query = _OTHERS.get(connection.vendor, "SELECT 0")
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute(query)
            if not cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise RuntimeError("somebody has the database still")


def pass_time() -> None:
    """Shift all times by the time for which others wait for a killed process."""
    from request_images.models import ImageContent, Lease

    hour_ago = timezone.now() - timedelta(hours=1)
    Lease.objects.update(until=hour_ago)
    tried = ImageContent.objects.filter(thumbnail_tried_at__isnull=False)
    tried.update(thumbnail_tried_at=hour_ago)
    tried = ImageContent.objects.filter(analysis_tried_at__isnull=False)
    tried.update(analysis_tried_at=hour_ago)


def unnamed_objects() -> int:
    """Delete the objects on the list, and return the number of orphans."""
    from request_images.contents.delete_objects import delete_pending
    from request_images.models import ImageContent, PendingDeletion
    from request_images.storage.stores import store_of

    PendingDeletion.objects.update(due_at=timezone.now())
    delete_pending()
    named = ImageContent.objects.filter(storage=BUCKET).count()
    return len(list(store_of(BUCKET).names())) - named


def empty() -> None:
    """Delete all rows and objects."""
    from request_images import models

    for name in ("RequestImage", "RequestLog", "ImageContent"):
        rows = getattr(models, name).objects.all()
        rows._raw_delete("default")
    models.PendingDeletion.objects.all().delete()
    models.Lease.objects.all().delete()
    spooled.clear()
    for folder in (settings.STORAGES[BUCKET]["OPTIONS"]["location"], spool_folder()):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    django.setup()
    number = int(sys.argv[1])
    found = {name: kill(killed, number) for name, killed in COMMANDS.items()}
    sys.stdout.write(json.dumps(found, indent=1))
