"""The tables of the app and their querysets."""

from .access import OriginalAccess
from .content import HASH_LENGTH, ImageContent
from .job_locks import Lease
from .losses import Loss
from .pending_deletions import PendingDeletion
from .requests import (
    Dashboard,
    FurtherImage,
    Gallery,
    ReceivedImage,
    RequestImage,
    RequestLog,
)
from .statistics import GoneRequests, StaleHour, StatisticsRollup, StatisticsState

__all__ = (
    "HASH_LENGTH",
    "Dashboard",
    "FurtherImage",
    "Gallery",
    "GoneRequests",
    "ImageContent",
    "Lease",
    "Loss",
    "OriginalAccess",
    "PendingDeletion",
    "ReceivedImage",
    "RequestImage",
    "RequestLog",
    "StaleHour",
    "StatisticsRollup",
    "StatisticsState",
)
