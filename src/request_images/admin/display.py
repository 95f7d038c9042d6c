"""A row in words: short texts for people, as the admin's columns show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.bins import megapixels_in_words
from request_images.conf import conf
from request_images.dashboard.health import Vitals
from request_images.gallery.rank import Standing
from request_images.health import ProcessHealth
from request_images.models import FurtherImage, ImageContent, ReceivedImage, RequestLog
from request_images.outcome import CaptureStatus
from request_images.query.fields import MEASURES

_COUNTED: Mapping[str, str | Promise] = {
    **dict(CaptureStatus.choices),
    "lost": _("lost without a row"),
    "dropped": _("dropped, too much was waiting"),
    "spooled": _("put aside, to be written later"),
    "unspooled": _("put aside, and written by now"),
    "spool_full": _("no room to put it aside"),
    "spool_bad": _("put aside, and bad"),
    "rescued": _("ended by us, nobody closed them"),
}


@dataclass(frozen=True)
class Table:
    """Names and values, under a caption."""

    caption: str
    rows: Sequence[tuple[object, object]]


def dimensions(image: ReceivedImage) -> str:
    """Return width and height in pixels; empty when they are unknown."""
    if image.width is None or image.height is None:
        return ""
    return f"{image.width} × {image.height}"  # noqa: RUF001  # the sign is meant


def alternative(image: ReceivedImage) -> str:
    """Return a picture's words for those who do not see it: its size and its type."""
    return " ".join(filter(None, (dimensions(image), image.mime_type)))


def thumbnail_size(image: ReceivedImage) -> tuple[int, int]:
    """Return the width and height that a thumbnail will have; a square if unknown.

    Not so when the file says that it is to be turned: then it will be fitted in.
    """
    sides = (image.width or 1, image.height or 1)
    scale = conf.THUMBNAIL_SIZE / max(sides)
    width, height = (max(1, round(side * scale)) for side in sides)
    return width, height


def kept(teller: RequestLog | FurtherImage) -> str:
    """Return what became of an image, with the reason if there is one.

    Args:
        teller: The log says it of the request image, a further image of itself.
    """
    status = teller.get_capture_status_display()
    if teller.capture_detail:
        status = f"{status} ({teller.capture_detail})"
    is_pinned = isinstance(teller, RequestLog) and teller.is_pinned
    return f"{status}, {gettext('pinned')}" if is_pinned else status


def measures(content: ImageContent) -> str:
    """Return what a content looks like in numbers, or why that is not known."""
    if content.analysis_error:
        return gettext("cannot be analysed: %s") % content.analysis_error
    if not content.analysis_version:
        return gettext("not analysed yet")
    return ", ".join(
        f"{label} {formats.number_format(getattr(content, name), 1)}"
        for name, label in MEASURES.items()
    )


def standing(among: Standing) -> str:
    """Return where a request stands among others like it."""
    numbers = {
        "share": formats.number_format(100 * among.faster, 0),
        "count": formats.number_format(among.count, use_l10n=True, force_grouping=True),
    }
    if among.size is None:
        text = gettext("Slower than %(share)s %% of %(count)s requests of its endpoint")
    else:
        numbers["size"] = megapixels_in_words(among.size)
        text = gettext(
            "Slower than %(share)s %% of %(count)s requests of its endpoint, %(size)s"
        )
    since = among.since
    when = "" if since is None else ", " + gettext("since %s") % _moment(since)
    # Some languages end a time with a full stop of its own: "5 p.m."
    return f"{text % numbers}{when}".removesuffix(".") + "."


def health_tables(vitals: Vitals, process: ProcessHealth) -> list[Table]:
    """Return what the database and one process tell of the recording's health."""
    last = vitals.last_recorded
    latest = gettext("never") if last is None else _moment(last)
    of_database = [(gettext("last request"), latest), *_counted(vitals.capture_status)]
    if vitals.spooled:
        of_database.append((gettext("in the spool folder"), vitals.spooled))
    if vitals.spool_bad:
        of_database.append((gettext("bad files there"), vitals.spool_bad))
    if vitals.pending_since is not None:
        of_database += [
            (gettext("objects to be deleted"), vitals.pending),
            (gettext("the oldest of them since"), _moment(vitals.pending_since)),
            (gettext("tries of one, at the most"), vitals.pending_tries),
        ]
    of_process = [
        (gettext("process id"), process.pid),
        (gettext("since"), _moment(process.since)),
        *_counted(process.counts),
    ]
    tables = [
        Table(
            gettext("Requests of the last %(hours)d hours") % {"hours": vitals.hours},
            of_database,
        ),
        Table(gettext("Counted by this process"), of_process),
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
