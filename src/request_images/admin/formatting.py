"""Texts about rows and counters for the pages of the admin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.bins import write_number
from request_images.aggregation.properties import MEASURES
from request_images.conf import conf
from request_images.dashboard.health import Vitals
from request_images.gallery.rank import Standing
from request_images.health import ProcessHealth
from request_images.models import FurtherImage, ImageContent, ReceivedImage, RequestLog
from request_images.outcome import CaptureStatus

_COUNTED: Mapping[str, str | Promise] = {
    **dict(CaptureStatus.choices),
    "lost": _("Lost, no row could be written"),
    "dropped": _("Dropped, the queue was full"),
    "spooled": _("Saved in the spool folder"),
    "unspooled": _("Written from the spool folder"),
    "spool_full": _("Refused, the spool folder was full"),
    "not_enqueued": _("Tasks that were not enqueued"),
    "spool_bad": _("Damaged in the spool folder"),
    "rescued": _("Ended by the watchdog"),
}


@dataclass(frozen=True)
class Table:
    """Names and values under a caption."""

    caption: str
    rows: Sequence[tuple[object, object]]


def dimensions(image: ReceivedImage) -> str:
    """Return width and height in pixels; empty when they are unknown."""
    if image.width is None or image.height is None:
        return ""
    return f"{image.width} × {image.height}"


def alternative(image: ReceivedImage) -> str:
    """Return the alternative text of a picture: its dimensions and its type."""
    return " ".join(filter(None, (dimensions(image), image.mime_type)))


def thumbnail_size(image: ReceivedImage) -> tuple[int, int]:
    """Return the width and height of the thumbnail in pixels; a square if unknown.

    An image that needs rotation gets another shape, which is fitted into this one.
    """
    sides = (image.width or 1, image.height or 1)
    scale = conf.THUMBNAIL_SIZE / max(sides)
    width, height = (max(1, round(side * scale)) for side in sides)
    return width, height


def capture_status(row: RequestLog | FurtherImage) -> str:
    """Return the capture status in words, with its reason, and whether it is pinned.

    Args:
        row: The log of a request image, or a further image.
    """
    status = row.get_capture_status_display()
    if row.capture_detail:
        status = f"{status} ({row.capture_detail})"
    if isinstance(row, RequestLog) and row.is_pinned:
        return gettext("%(status)s, pinned") % {"status": status}
    return status


def measures(content: ImageContent) -> str:
    """Return the measures of a content, or why there are none."""
    if content.analysis_error:
        text = gettext("cannot be analysed: %(reason)s")
        return text % {"reason": content.analysis_error}
    if not content.analysis_version:
        return gettext("not analysed yet")
    return ", ".join(
        f"{each.label} {formats.number_format(getattr(content, each.name), 1)}"
        for each in MEASURES.values()
    )


def standing(among: Standing, endpoint: str) -> str:
    """Return the percentile rank of a request's duration among similar requests."""
    size, count = among.size, among.count
    if size is None:
        text = ngettext(
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” request.",
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” requests.",
            count,
        )
    elif not size.low:
        text = ngettext(
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” request under "
            "%(high)s MP.",
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” requests under "
            "%(high)s MP.",
            count,
        )
    elif size.high is None:
        text = ngettext(
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” request of "
            "%(low)s MP or more.",
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” requests of "
            "%(low)s MP or more.",
            count,
        )
    else:
        text = ngettext(
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” request of "
            "%(low)s to %(high)s MP.",
            "Slower than %(share)s %% of the %(count)s “%(endpoint)s” requests of "
            "%(low)s to %(high)s MP.",
            count,
        )
    values = {
        "share": formats.number_format(100 * among.faster, 0),
        "count": formats.number_format(count, use_l10n=True, force_grouping=True),
        "endpoint": endpoint,
        "low": size and _megapixels(size.low),
        "high": size and _megapixels(size.high),
    }
    if among.since is None:
        return text % values
    rest = gettext("Only requests since %(since)s were compared.")
    return f"{text % values} {rest % {'since': _moment(among.since)}}"


def health_tables(vitals: Vitals, process: ProcessHealth) -> list[Table]:
    """Return the health of the recording by the database and by this process."""
    last = vitals.last_recorded
    latest = gettext("never") if last is None else _moment(last)
    of_database = [(gettext("last request"), latest), *_counted(vitals.capture_status)]
    if vitals.spooled:
        name = gettext("waiting in the spool folder")
        of_database.append((name, vitals.spooled))
    if vitals.spool_bad:
        name = gettext("damaged files in the spool folder")
        of_database.append((name, vitals.spool_bad))
    if vitals.pending_since is not None:
        of_database += [
            (gettext("objects waiting to be deleted"), vitals.pending),
            (gettext("oldest of them waiting since"), _moment(vitals.pending_since)),
            (gettext("most attempts for one object"), vitals.pending_tries),
        ]
    of_process = [
        (gettext("process id"), process.pid),
        (gettext("since"), _moment(process.since)),
        *_counted(process.counts),
    ]
    caption = ngettext(
        "Requests of the last hour",
        "Requests of the last %(hours)d hours",
        vitals.hours,
    )
    tables = [
        Table(caption % {"hours": vitals.hours}, of_database),
        Table(gettext("Counters of this process"), of_process),
    ]
    if process.faults:
        tables.append(Table(gettext("Faults"), list(process.faults.items())))
    return tables


def _counted(counts: Mapping[str, int]) -> list[tuple[object, object]]:
    return [(_COUNTED.get(name, name), count) for name, count in counts.items()]


def _moment(value: datetime) -> str:
    if timezone.is_aware(value):
        value = timezone.localtime(value)
    return formats.date_format(value, "DATETIME_FORMAT")


def _megapixels(bound: float | None) -> str:
    return "" if bound is None else write_number(bound)
