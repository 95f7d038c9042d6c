"""The stats endpoint: statistics as JSON, for administrators only."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from request_images.aggregation.facets import Facet
from request_images.aggregation.periods import Period, midnight
from request_images.aggregation.properties import (
    ALL,
    CAPTURE_STATUS,
    CONTENT,
    ENDPOINT,
    ERROR,
    IMAGE_PROPERTIES,
    RELEASE,
)
from request_images.db.transactions import without_transaction
from request_images.query.criteria import DEFAULT_DAYS, Criteria, summaries
from request_images.query.fields import PERIOD
from request_images.statistics.live import stored_by
from request_images.statistics.summarize import summarize
from request_images.statistics.summary import Summary

from . import health
from .dashboard import health as dashboard_health
from .exceptions import TooManyRequests
from .models import RequestLog
from .statistics.groups import Group

__all__ = ("image_performance_stats",)

TREND_DAYS = 7
TREND_HOURS = 24
_LISTS: Mapping[str, Facet] = {
    **{f"by_{each.name}": each for each in IMAGE_PROPERTIES},
    "by_error_type": ERROR,
    "by_endpoint": ENDPOINT,
    "by_release": RELEASE,
}
PERMISSION = "request_images.view_requestlog"


@without_transaction
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
    criteria = Criteria.of_form(request.GET)
    for problem in criteria.problems:
        body = {"error": f"{problem.name}: {problem}", "parameter": problem.name}
        return JsonResponse(body, status=400)
    if not any(name in criteria.values for name in PERIOD):
        criteria = criteria.having(days=str(DEFAULT_DAYS))
    try:
        return JsonResponse(_gather(criteria))
    except TooManyRequests as error:
        text = f"days: {error} Ask for a shorter period, or by endpoint alone."
        return JsonResponse({"error": text, "parameter": "days"}, status=400)


def _gather(criteria: Criteria) -> dict[str, Any]:
    now = timezone.now()
    rest = criteria.without(*PERIOD)
    period = criteria.period()
    today = timezone.localdate(now) if timezone.is_aware(now) else now.date()
    first = midnight(today - timedelta(days=TREND_DAYS - 1))
    week = Period.of(first, now)
    day = Period(week.until - timedelta(hours=TREND_HOURS), week.until)
    asked, in_days, in_hours = summaries(criteria, [period, week, day])
    asked.read(ALL, CONTENT, *_LISTS.values())
    [days], [hours] = in_days.by_day(), in_hours.by_hour()
    return {
        # Of an end alone, the first hour there is anything of would change by itself.
        "since": period.since if {"days", "since"} & {*criteria.values} else None,
        "until": period.until,
        "filters": criteria.as_json(),
        "missing_hours": asked.missing_hours,
        "overall": flat(asked.overall()) | {"storage_bytes": _storage(rest, asked)},
        **lists_of(asked),
        # Where midnight is no whole hour, the first hour is of an eighth day, too.
        "by_day": [flat(group) for group in days.points[-TREND_DAYS:]],
        "by_hour": [flat(group) for group in hours.points],
        "health": _health(in_hours if not rest.values else summarize(day)),
    }


def _health(last_hours: Summary) -> dict[str, Any]:
    groups = last_hours.by(CAPTURE_STATUS)
    counted = {each.key["capture_status"]: each.request_count for each in groups}
    vitals = dashboard_health.look(TREND_HOURS, counted=counted)
    return asdict(vitals) | {"process": asdict(health.of_process())}


def _storage(rest: Criteria, summary: Summary) -> dict[str, int | None]:
    stored: int | None = None
    if not rest.values:
        stored = sum(summary.stored_bytes().values())
    else:
        # The statistics do not know which requests brought a content.
        period = summary.period
        logs = rest.apply(RequestLog.objects.all())
        within = logs.filter(created_at__gte=period.since, created_at__lt=period.until)
        with suppress(TooManyRequests):
            stored = stored_by(within)
    return {"received": summary.received_bytes(), "stored": stored}


def lists_of(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of the answer, by their names."""
    return {
        name: [flat(group) for group in summary.by(facet)]
        for name, facet in _LISTS.items()
    }


def flat(group: Group) -> dict[str, Any]:
    """Return a group with its key, as one object of the answer."""
    values = asdict(group)
    return {**values.pop("key"), **values}
