"""Values that fit into a column of every supported database."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

MAX_JSON_LENGTH = 65_536
"""Maximum number of characters of JSON in one row."""

MAX_JSON_DEPTH = 20
"""Maximum depth of its nesting; MariaDB refuses more than 32."""

_encoder = DjangoJSONEncoder()


def clean_text(value: object, max_length: int) -> str:
    """Return `value` as text of at most `max_length` characters.

    NUL characters are removed, which PostgreSQL refuses, and half surrogate pairs
    replaced, which no database takes. A value whose ``str`` raises becomes its type.
    """
    if type(value) is str and len(value) <= max_length and value.isascii():
        return value.replace("\x00", "")
    try:
        text = str(value).replace("\x00", "")
    except Exception as error:  # noqa: BLE001  # the project's code
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def clean_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return `value` with everything that JSON cannot hold as text.

    A document of more than `MAX_JSON_LENGTH` characters, one nested deeper than
    `MAX_JSON_DEPTH` (as one that contains itself), and one with a number of thousands
    of digits is replaced by a note that it was left out.
    """
    try:
        cleaned: dict[str, Any] = _clean(value, MAX_JSON_DEPTH)
        length = len(json.dumps(cleaned))
    except Exception as error:  # noqa: BLE001  # as above
        return {"left_out": clean_text(error, 200)}
    if length > MAX_JSON_LENGTH:
        return {"left_out": f"{length} characters of JSON"}
    return cleaned


def _clean(value: Any, depth: int) -> Any:
    if not depth:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {clean_text(k, 200): _clean(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth - 1) for item in value]
    if isinstance(value, str):
        return clean_text(value, MAX_JSON_LENGTH)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    with suppress(TypeError, ValueError):
        value = _encoder.default(value)
    return clean_text(value, MAX_JSON_LENGTH)
