"""``manage.py update_image_statistics``: roll up the requests of past hours."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from request_images.management.base import ImagesCommand
from request_images.statistics.rollups import Progress, mark_all, update

_FIRST_YEAR, _LAST_YEAR = 1970, 8999


class Command(ImagesCommand):
    """Updates the statistics; the work is in `statistics.rollups`."""

    help = (
        "Updates the statistics with the requests of past hours, the newest first. "
        "Pages with statistics do this too, but only for a moment: use the command "
        "after an upgrade, or when there are many old requests. For cron, use "
        "--verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--since",
            type=_moment,
            help=(
                "Begin at this day or time (2026-11-22, 2026-11-22T13:00). The default "
                "is the first request."
            ),
        )
        parser.add_argument(
            "--until",
            type=_moment,
            help="With --rebuild: end before this day or time.",
        )
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help=(
                "Compute existing statistics again. Requests that cleanup has deleted "
                "stay in the statistics."
            ),
        )

    def work(self, **options: Any) -> None:
        """Update, and report how many hours."""
        since, until = options["since"], options["until"]
        if until is not None and not options["rebuild"]:
            raise CommandError("--until needs --rebuild.")
        if since is not None and until is not None and since >= until:
            raise CommandError("--since must be before --until.")
        if options["rebuild"]:
            mark_all(since, until)
        with self.progress(0, "hours") as bar:

            def beat(done: Progress) -> None:
                bar.draw(done.hours, done.hours + done.left)

            done = update(since, beat=beat)
        self.say(f"Updated the statistics of {done.hours} hours; {done.left} are left.")
        if done.left:
            raise CommandError(
                "Other processes kept changing the statistics. Try again."
            )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is not a day or time such as 2026-11-22 or 2026-11-22T13:00"
        ) from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ArgumentTypeError(
            f"{text!r} is not within the years {_FIRST_YEAR} to {_LAST_YEAR}"
        )
    if settings.USE_TZ:
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return timezone.make_naive(moment) if timezone.is_aware(moment) else moment
