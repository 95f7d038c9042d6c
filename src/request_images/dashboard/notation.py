"""Numbers and times of charts in the formats and the language of the reader."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.utils import formats, timezone
from django.utils.translation import gettext, ngettext

from request_images.charts import Grain, Notation

_CACHED = 4096
_FORMATS = {
    Grain.TIME: "TIME_FORMAT",
    Grain.DAY: "MONTH_DAY_FORMAT",
    Grain.MONTH: "YEAR_MONTH_FORMAT",
    Grain.DATE: "DATE_FORMAT",
    Grain.MOMENT: "DATETIME_FORMAT",
}


def reader_notation() -> Notation:
    """Return the notation of the current language and time zone."""
    return Notation(
        # A page repeats the same numbers and times many times.
        number=lru_cache(_CACHED)(_number),
        moment=lru_cache(_CACHED)(_moment),
        gettext=gettext,
        ngettext=ngettext,
        zone=timezone.get_current_timezone() if settings.USE_TZ else None,
    )


def _number(value: float, decimals: int) -> str:
    # Django truncates to the decimals.
    rounded = round(value, decimals)
    return formats.number_format(rounded, decimals, force_grouping=True)


def _moment(moment: datetime, grain: Grain) -> str:
    if grain is Grain.YEAR:
        return formats.date_format(moment, "Y")
    # Abbreviate the months: axis labels are narrow.
    pattern = str(formats.get_format(_FORMATS[grain]))
    return formats.date_format(moment, pattern.replace("F", "M").replace("N", "M"))
