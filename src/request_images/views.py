"""The stats endpoint: statistics as JSON, for administrators only."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, JsonResponse, QueryDict
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from . import health, monitoring, stats
from .formats import MIME_TYPES
from .models import RequestLog
from .querysets import RequestLogQuerySet

DEFAULT_DAYS = 30
MAX_DAYS = 3650
TREND_DAYS = 7
_DAYS = re.compile(r"[0-9]{1,4}")
PERMISSION = "request_images.view_requestlog"


class WrongParameter(ValueError):
    """A query parameter that cannot be meant; the text says which and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


@dataclass(frozen=True)
class Filters:
    """What ``?days= &endpoint= &mime_type=`` ask for; None for everything."""

    days: int = DEFAULT_DAYS
    endpoint: str | None = None
    mime_type: str | None = None

    @classmethod
    def of(cls, parameters: QueryDict) -> Filters:
        """Read query parameters.

        Raises:
            WrongParameter: One that is unknown, given twice, or has a wrong value.
        """
        for name, values in parameters.lists():
            if name not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise WrongParameter(name, f"unknown parameter; known are {known}")
            if len(values) > 1:
                raise WrongParameter(name, "given more than once")
        days = parameters.get("days", str(DEFAULT_DAYS))
        if not (_DAYS.fullmatch(days) and 1 <= int(days) <= MAX_DAYS):
            raise WrongParameter("days", f"not a whole number from 1 to {MAX_DAYS}")
        endpoint, mime_type = parameters.get("endpoint"), parameters.get("mime_type")
        if mime_type is not None and mime_type not in MIME_TYPES:
            known = ", ".join(sorted(MIME_TYPES))
            raise WrongParameter("mime_type", f"unknown MIME type; known are {known}")
        if endpoint is not None and not _is_logged(endpoint):
            raise WrongParameter("endpoint", "no request of this endpoint is logged")
        return cls(int(days), endpoint, mime_type)

    def apply(self, logs: RequestLogQuerySet) -> RequestLogQuerySet:
        """Return the logs that match, of any time."""
        if self.endpoint is not None:
            logs = logs.filter(endpoint=self.endpoint)
        if self.mime_type is not None:
            logs = logs.filter(image__mime_type=self.mime_type)
        return logs


def _is_logged(endpoint: str) -> bool:
    # PostgreSQL refuses to look for a NUL character, and no column holds one.
    logs = RequestLog.objects.filter(endpoint=endpoint)
    return "\0" not in endpoint and logs.exists()


@cache_control(private=True, no_store=True)
@require_safe
def image_performance_stats(request: HttpRequest) -> JsonResponse:
    """Answer ``GET image-performance-stats``; the reference documents the shape."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return JsonResponse({"error": "Log in as an administrator first."}, status=401)
    if not (user.is_active and user.is_staff and user.has_perm(PERMISSION)):
        text = f"This needs a staff user with the permission {PERMISSION}."
        return JsonResponse({"error": text}, status=403)
    try:
        filters = Filters.of(request.GET)
    except WrongParameter as error:
        body = {"error": f"{error.name}: {error}", "parameter": error.name}
        return JsonResponse(body, status=400)
    return JsonResponse(_gather(filters))


def _gather(filters: Filters) -> dict[str, Any]:
    matching = filters.apply(RequestLog.objects.all())
    until = timezone.now()
    since = until - timedelta(days=filters.days)
    logs = matching.filter(created_at__gte=since)
    with_image = logs.filter(image__isnull=False)
    dimensions = {"width": "image__width", "height": "image__height"}
    errors = {"error_type": "error_type", "status_code": "status_code"}
    total = _flat(stats.overall(logs))
    return {
        "since": since,
        "until": until,
        "filters": asdict(filters),
        "overall": total | {"storage_bytes": asdict(stats.storage(logs))},
        "by_dimensions": _list(stats.by(with_image, dimensions)),
        "by_mime_type": _list(stats.by(with_image, {"mime_type": "image__mime_type"})),
        "by_error_type": _list(stats.by(logs.failed(), errors)),
        "by_day": _list(stats.by_day(matching, TREND_DAYS)),
        "health": asdict(monitoring.look()) | {"process": asdict(health.of_process())},
    }


def _list(groups: list[stats.Group]) -> list[dict[str, Any]]:
    return [_flat(group) for group in groups]


def _flat(group: stats.Group) -> dict[str, Any]:
    values = asdict(group)
    return {**values.pop("key"), **values}
