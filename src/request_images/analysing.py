"""What each content looks like in numbers: by a task or a command, never in a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db.models import Q

from .conf import conf
from .deriving import Derivation
from .measuring import VERSION, measure


def _measures(data: bytes) -> Mapping[str, Any]:
    found = measure(
        data,
        max_pixels=conf.THUMBNAIL_MAX_PIXELS,
        max_bytes=conf.THUMBNAIL_MAX_MEMORY_MB * 1024 * 1024,
    )
    return asdict(found)


ANALYSIS = Derivation(
    name="analysis",
    # Not "less than": equality keeps the order of the index, which is that of the keys.
    due=Q(analysis_version__in=range(VERSION)),
    blank={
        "analysis_version": VERSION,
        # The next version is a new beginning.
        "analysis_tries": 0,
        "analysis_tried_at": None,
        "brightness": None,
        "contrast": None,
        "entropy": None,
        "sharpness": None,
        "layout": "",
    },
    make=_measures,
)
"""Its columns belong together: all of one version, or all of them blank."""
