"""The percentile rank of a request among similar requests: is it slow for its size?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from request_images.aggregation.bins import Bin
from request_images.aggregation.properties import MEGAPIXELS
from request_images.db.expressions import same_text
from request_images.models import RequestImage, RequestLog
from request_images.query.conditions import Columns, in_bin

AMONG = 20_000
"""Among how many requests of its endpoint, the newest, it is looked for its like."""


@dataclass(frozen=True)
class Standing:
    """What share of requests like it were faster than one request.

    Attributes:
        size: Their images' class of megapixels; None when its own is unknown, and they
            are of any.
        count: How many there are.
        faster: What share of them took less time, from 0 to 1.
        since: When they begin; None when they are all there are.
    """

    size: Bin | None
    count: int
    faster: float
    since: datetime | None


def standing_of(image: RequestImage) -> Standing | None:
    """Compare a request with others of its endpoint whose images are of its size.

    Two durations that differ by less than 2 % count as the same: the stored buckets
    are compared.

    Returns:
        None when there is no other.
    """
    log = image.log
    logs = RequestLog.objects.filter(same_text("endpoint", log.endpoint))
    times = logs.order_by("-created_at").values_list("created_at", flat=True)
    since = next(iter(times[AMONG : AMONG + 1]), None)
    if since is not None:
        logs = logs.filter(created_at__gt=since)
    size = size_of(image)
    if size is not None:
        logs = logs.filter(in_bin(MEGAPIXELS, size, Columns(RequestLog)))
        if since is not None:
            # The same of the images, or PostgreSQL would read all of them.
            logs = logs.filter(image__created_at__gt=since)
    others = logs.exclude(pk=log.pk).order_by()
    faster = Count("pk", filter=Q(duration_bucket__lt=log.duration_bucket))
    counts = others.aggregate(count=Count("pk"), faster=faster)
    if not counts["count"]:
        return None
    return Standing(size, counts["count"], counts["faster"] / counts["count"], since)


def size_of(image: RequestImage) -> Bin | None:
    """Return the class of megapixels that an image is of; None when unknown."""
    return MEGAPIXELS.bin(image.width, image.height)
