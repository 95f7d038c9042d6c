"""``manage.py write_spooled_requests``: write the requests in the spool folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import router

import request_images.capture.examine  # noqa: F401  # it reads what is in the folder
from request_images.conf import conf
from request_images.management.base import ImagesCommand
from request_images.models import RequestLog
from request_images.writer.spool.drain import SpoolResult
from request_images.writer.spool.spooling import (
    NO_FOLDER,
    follow,
    spool_contents,
    write_spooled,
)


class Command(ImagesCommand):
    """Writes spooled requests; the work is in `writer.spool`."""

    help = (
        "Writes the requests that wait in REQUEST_IMAGES_SPOOL_DIR to the database, "
        "and tidies the folder. Running server processes do this themselves; the "
        "command is for when none is running, or to take the work off them."
    )

    has_destination = False  # each request has its own

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--follow",
            action="store_true",
            help=(
                "Go on until SIGTERM or SIGINT, and write each request within about a "
                "second. A database that is down is waited for."
            ),
        )

    def work(self, **options: Any) -> None:
        """Write everything that waits, or what comes."""
        try:
            if options["follow"]:
                self._follow()
            else:
                self._write_all()
        except OSError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error

    def _follow(self) -> None:
        with _stopped_by_signal() as stopping:
            self._say_now(f"Writing the requests that come into {conf.SPOOL_DIR}.")
            result = follow(stopping, self._say_now)
        self._say_now(
            f"Stopped. Wrote {result.written} requests; {result.known} were already "
            f"written; {result.bad} were set aside as bad."
        )

    def _say_now(self, text: str) -> None:
        self.say(text)
        self.stdout.flush()

    def _write_all(self) -> None:
        if conf.SPOOL_DIR is None:
            raise CommandError(NO_FOLDER)
        if not router.routers:
            # Each request would fail by itself, with a traceback in the log.
            RequestLog.objects.filter(pk=0).exists()
        result, contents = write_spooled(), spool_contents()
        self.say(
            f"Wrote {result.written} requests; {result.known} were already written; "
            f"{contents.entries} are still waiting; {contents.bad} files are bad "
            f"({contents.size} bytes in total)."
        )
        _raise_if_failed(result)


def _raise_if_failed(result: SpoolResult) -> None:
    if result.failed:
        raise CommandError(
            "The database refused a request. The others stay in the folder."
        )
    if result.bad:
        raise CommandError(
            f"{result.bad} requests cannot be written, and were set aside as bad."
        )


@contextmanager
def _stopped_by_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, once each, instead of an exception.

    A second signal ends the process at once.
    """
    stopping = threading.Event()
    before: dict[int, Any] = {}

    def stop(number: int, frame: object) -> None:
        stopping.set()
        signal.signal(number, before[number])

    for number in (int(signal.SIGTERM), int(signal.SIGINT)):
        before[number] = signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
