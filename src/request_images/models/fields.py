"""The types of fields, which only Django's plugin for mypy knows without them."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from django.db import models

Text: TypeAlias = "models.CharField[str, str]"
Number: TypeAlias = "models.IntegerField[int, int]"
NumberOrNone: TypeAlias = "models.IntegerField[int | None, int | None]"
Float: TypeAlias = "models.FloatField[float, float]"
FloatOrNone: TypeAlias = "models.FloatField[float | None, float | None]"
Flag: TypeAlias = "models.BooleanField[bool, bool]"
FlagOrNone: TypeAlias = "models.BooleanField[bool | None, bool | None]"
Time: TypeAlias = "models.DateTimeField[datetime, datetime]"
TimeOrNone: TypeAlias = "models.DateTimeField[datetime | None, datetime | None]"
# PostgreSQL's driver gives a memoryview.
Bytes: TypeAlias = (
    "models.BinaryField[bytes | memoryview[int], bytes | memoryview[int]]"
)
BytesOrNone: TypeAlias = (
    "models.BinaryField[bytes | memoryview[int] | None, bytes | memoryview[int] | None]"
)
