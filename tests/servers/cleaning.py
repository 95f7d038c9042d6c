"""What runs beside a cleanup: ``python -m tests.servers.cleaning WHAT``.

``fill ROWS`` writes requests of all ages, two with each image; ``capture`` records
requests with the same images until its input ends; ``check`` prints what is left, and
fails when something is not whole.
"""

from __future__ import annotations

import json
import sys
import threading
from datetime import timedelta

import django
from django.utils import timezone

IMAGES = 40


def fill(rows: int) -> None:
    """Write old and young requests, failed ones and pinned ones."""
    from tests.factories import make_image
    from tests.images import draw

    for number in range(rows):
        make_image(
            draw(seed=number // 2),
            days_old=5 + number * 400 / rows,
            status_code=500 if number % 3 == 0 else 200,
            is_pinned=number % 10 == 0,
        )


def capture() -> None:
    """Record requests whose images are kept already, or are just being deleted."""
    from request_images.storing import save
    from tests.factories import unsaved_record

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set())).start()
    number = 0
    while number < IMAGES or not ended.is_set():
        record = unsaved_record(number % IMAGES)
        save(record.log, record.image, record.data)
        number += 1
    sys.stdout.write(str(number))


def check() -> None:
    """Count what there is, and look whether it belongs together."""
    from django.db import connection

    from request_images.models import ImageContent, RequestImage, RequestLog

    connection.check_constraints()
    kept = ("stored", "duplicate")
    orphans = ImageContent.objects.filter(images=None)
    without = RequestLog.objects.filter(capture_status__in=kept, image__content=None)
    known = ImageContent.objects.values_list("pk", flat=True)
    dangling = RequestImage.objects.with_bytes().exclude(content__in=list(known))
    found = {
        "orphans": orphans.count(),
        "without_bytes": without.count(),
        "dangling": dangling.count(),
        "pinned": RequestImage.objects.with_bytes().filter(log__is_pinned=True).count(),
        "young": RequestImage.objects.with_bytes()
        .filter(created_at__gt=timezone.now() - timedelta(days=1))
        .count(),
        "logs": RequestLog.objects.count(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    django.setup()
    what, *given = sys.argv[1:]
    if what == "fill":
        fill(int(given[0]))
    else:
        {"capture": capture, "check": check}[what]()
