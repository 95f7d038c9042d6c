"""``manage.py write_spooled_requests``: write what waits in the spool folder."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from request_images.conf import conf
from request_images.writer.spool.spooling import spool_contents, write_spooled


class Command(BaseCommand):
    """Says what is written; `request_images.spooling` does it."""

    help = (
        "Writes the requests that wait in REQUEST_IMAGES_SPOOL_DIR to the database, "
        "and tidies the folder up. Healthy processes do so by themselves; this is for "
        "when none is running."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write everything that is there."""
        if conf.SPOOL_DIR is None:
            raise CommandError("REQUEST_IMAGES_SPOOL_DIR names no folder.")
        try:
            result, contents = write_spooled(), spool_contents()
        except OSError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        if options["verbosity"] > 0:
            self.stdout.write(
                f"Wrote {result.written} requests; {result.known} were there already; "
                f"{contents.entries} wait; {contents.bad} are bad "
                f"({contents.size} bytes in all)."
            )
        if result.failed:
            raise CommandError("The database refused a request; what waits waits on.")
        if result.bad:
            raise CommandError(f"{result.bad} requests were put aside as bad.")
