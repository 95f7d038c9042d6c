"""The percentile rank of a request's duration among similar requests."""

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
"""The number of the newest requests of an endpoint that are compared."""
FEWEST = 10
"""The minimum number of other requests for a rank; a share of fewer says little."""


@dataclass(frozen=True)
class Standing:
    """The percentile rank of one request among similar ones.

    Attributes:
        size: The bin of megapixels of all these images; None if the request's own is
            unknown, and images of any size were compared.
        count: The number of other requests that were compared.
        faster: The share of them that took less time, from 0 to 1.
        since: The time of the oldest request that was compared; None if all were.
    """

    size: Bin | None
    count: int
    faster: float
    since: datetime | None


def standing_of(image: RequestImage) -> Standing | None:
    """Compare a request with others of its endpoint and of its bin of megapixels.

    The stored buckets are compared, so durations within 2 % count as equal.

    Returns:
        The rank; None if there are fewer than `FEWEST` other requests.
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
            # Without this condition PostgreSQL would read all images.
            logs = logs.filter(image__created_at__gt=since)
    others = logs.exclude(pk=log.pk).order_by()
    faster = Count("pk", filter=Q(duration_bucket__lt=log.duration_bucket))
    counts = others.aggregate(count=Count("pk"), faster=faster)
    if counts["count"] < FEWEST:
        return None
    return Standing(size, counts["count"], counts["faster"] / counts["count"], since)


def size_of(image: RequestImage) -> Bin | None:
    """Return the bin of megapixels of an image; None if it is unknown."""
    return MEGAPIXELS.bin(image.width, image.height)
