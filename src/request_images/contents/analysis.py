"""What each picture looks like in numbers: brightness, contrast, entropy, sharpness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q

from request_images.images.measures import VERSION

from .decoding import decode
from .derive import Derivation


def _measures(data: bytes) -> Mapping[str, Any]:
    found, _ = decode("measures", data)
    return found


ANALYSIS = Derivation(
    name="analysis",
    # `in`, not "less than": equality keeps the order of the index, that of the keys.
    due=Q(analysis_version__in=range(VERSION)),
    blank={
        "analysis_version": VERSION,
        # Each version begins with all its tries.
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
"""The columns belong together: all are of one version, or all are blank."""
