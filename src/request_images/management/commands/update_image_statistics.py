"""``manage.py update_image_statistics``: add up what no reader has added up yet."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from request_images.statistics.rollups import Progress, mark_all, update


class Command(BaseCommand):
    """Says what is added up; `request_images.rollups` does it."""

    help = (
        "Adds up the requests of closed hours for the statistics, the newest first. "
        "Whoever reads statistics does so for a moment, too: after an upgrade, or with "
        "many old requests, this does it all. Meant for cron, with --verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--since",
            type=_moment,
            help=(
                "From this day or moment on (2026-11-22, 2026-11-22T13:00); otherwise "
                "from the first request."
            ),
        )
        parser.add_argument(
            "--until",
            type=_moment,
            help="With --rebuild: until this day or moment, without it.",
        )
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help=(
                "Add up again what was added up before. What cleanup has taken away "
                "is not lost by it."
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Add up, and say how many hours."""
        since, until = options["since"], options["until"]
        if until is not None and not options["rebuild"]:
            raise CommandError("--until needs --rebuild.")
        if since is not None and until is not None and since >= until:
            raise CommandError("--since must be before --until.")
        if options["rebuild"]:
            mark_all(since, until)
        try:
            done = update(since, beat=self._show)
        finally:
            if self.stderr.isatty():
                self.stderr.write("")
        if options["verbosity"] > 0:
            self.stdout.write(_sentence(done))
        if done.left:
            raise CommandError("Other processes were always quicker; try again.")

    def _show(self, progress: Progress) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{_sentence(progress)}", ending="")
            self.stderr.flush()


def _sentence(progress: Progress) -> str:
    return f"Added up {progress.hours} hours; {progress.left} are left."


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no day or moment such as 2026-11-22 or 2026-11-22T13:00"
        ) from None
    if settings.USE_TZ:
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return timezone.make_naive(moment) if timezone.is_aware(moment) else moment
