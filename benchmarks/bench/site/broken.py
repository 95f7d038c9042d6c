"""A storage and a task broker that fail while a file says so."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.tasks.backends.dummy import DummyBackend

SLOW_SECONDS = 2.0
BROKER_SECONDS = 19.0
"""How long a client of Celery tries to reach a broker that refuses."""


def _fault() -> str:
    try:
        return Path(os.environ["BENCH_FAULT"]).read_text()
    except FileNotFoundError:
        return ""


class Storage(FileSystemStorage):
    """Files in a folder, until it is slow or full."""

    def _save(self, name: str, content: File[Any]) -> str:
        fault = _fault()
        if fault == "storage-slow":
            time.sleep(SLOW_SECONDS)
        elif fault == "storage-full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super()._save(name, content)


class Broker(DummyBackend):
    """A queue that forgets its tasks, until it cannot be reached."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Enqueue a task, or fail as slowly as a real client does."""
        if _fault() == "broker":
            time.sleep(BROKER_SECONDS)
            raise ConnectionError("no broker")
        result = super().enqueue(task, args, kwargs)
        self.results.clear()
        return result
