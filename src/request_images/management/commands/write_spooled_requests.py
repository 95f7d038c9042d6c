"""``manage.py write_spooled_requests``: write the requests in the spool folder."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db import router

from request_images.conf import conf
from request_images.management.base import ImagesCommand
from request_images.models import RequestLog
from request_images.writer.spool.spooling import spool_contents, write_spooled


class Command(ImagesCommand):
    """Writes spooled requests; the work is in `writer.spool`."""

    help = (
        "Writes the requests that wait in REQUEST_IMAGES_SPOOL_DIR to the database, "
        "and tidies the folder. Running server processes do this themselves; the "
        "command is for when none is running."
    )

    has_destination = False  # each request has its own

    def work(self, **options: Any) -> None:
        """Write everything that waits."""
        if conf.SPOOL_DIR is None:
            raise CommandError("The setting REQUEST_IMAGES_SPOOL_DIR is not set.")
        if not router.routers:
            # Each request would fail by itself, with a traceback in the log.
            RequestLog.objects.filter(pk=0).exists()
        try:
            result, contents = write_spooled(), spool_contents()
        except OSError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        self.say(
            f"Wrote {result.written} requests; {result.known} were already written; "
            f"{contents.entries} are still waiting; {contents.bad} files are bad "
            f"({contents.size} bytes in total)."
        )
        if result.failed:
            raise CommandError(
                "The database refused a request. The others stay in the folder."
            )
        if result.bad:
            raise CommandError(
                f"{result.bad} requests cannot be written, and were set aside as bad."
            )
