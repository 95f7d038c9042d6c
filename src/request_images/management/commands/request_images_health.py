"""``manage.py request_images_health``: is the recording healthy? For monitoring."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, no_translations
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.timesince import timesince

from request_images.dashboard.health import (
    DEFAULT_HOURS,
    MAX_HOURS,
    Limits,
    Vitals,
    look,
)
from request_images.management.base import whole_number

_hours = whole_number(1, MAX_HOURS)
_count = whole_number(0)


class Command(BaseCommand):
    """Says how healthy the recording is; `request_images.monitoring` finds out."""

    help = (
        "Says what was kept of the requests of the last hours and what was not, and "
        "tries to write one. The exit status is 0 when all is well and 1 when it is "
        "not. Meant for monitoring."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--hours",
            type=_hours,
            default=DEFAULT_HOURS,
            help="Look back so many hours. The default is 24.",
        )
        parser.add_argument(
            "--max-failed",
            type=_percent,
            default=Limits.failed_percent,
            metavar="PERCENT",
            help=(
                "Unhealthy is when more per cent of the images that were to be kept "
                "could not be stored. The default is 1."
            ),
        )
        parser.add_argument(
            "--max-silence",
            type=_hours,
            metavar="HOURS",
            help=(
                "Unhealthy is when the last request was recorded longer ago. By "
                "default any time will do."
            ),
        )
        parser.add_argument(
            "--max-spooled",
            type=_count,
            metavar="COUNT",
            help=(
                "Unhealthy is when more requests wait in the spool folder of this "
                "machine. By default any number may."
            ),
        )
        parser.add_argument(
            "--max-spooled-hours",
            type=_hours,
            default=Limits.spooled_hours,
            metavar="HOURS",
            help=(
                "Unhealthy is when a request has waited there for longer. The default "
                "is 1."
            ),
        )
        parser.add_argument(
            "--max-bad",
            type=_count,
            default=Limits.spool_bad,
            metavar="COUNT",
            help="Unhealthy is when more files there are bad. The default is 0.",
        )
        parser.add_argument(
            "--max-pending-hours",
            type=_hours,
            default=Limits.pending_hours,
            metavar="HOURS",
            help=(
                "Unhealthy is when an object in a storage has waited to be deleted for "
                "longer. The default is 72."
            ),
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="Say it as JSON.",
        )

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Look, tell, and exit with 1 if it is not well."""
        vitals = look(options["hours"], tries_to_write=True)
        limits = Limits(
            failed_percent=options["max_failed"],
            silent_hours=options["max_silence"],
            spooled=options["max_spooled"],
            spooled_hours=options["max_spooled_hours"],
            spool_bad=options["max_bad"],
            pending_hours=options["max_pending_hours"],
        )
        problems = vitals.problems(limits)
        if options["verbosity"] > 0:
            if options["json"]:
                self.stdout.write(_as_json(vitals, problems))
            else:
                self._tell(vitals, problems)
        if problems:
            # Not a CommandError: it would speak, also at verbosity 0.
            sys.exit(1)

    def _tell(self, vitals: Vitals, problems: list[str]) -> None:
        for line in _in_words(vitals):
            self.stdout.write(line)
        for problem in problems:
            self.stderr.write(f"Unhealthy: {problem}")
        if not problems:
            self.stdout.write("Healthy.")


def _in_words(vitals: Vitals) -> list[str]:
    lines = [f"Recording is {'on' if vitals.enabled else 'off'}."]
    if vitals.spooled:
        lines.append(f"Requests in the spool folder: {vitals.spooled}.")
    if vitals.spool_bad:
        lines.append(f"Bad files in the spool folder: {vitals.spool_bad}.")
    if vitals.database_error:
        return lines
    last = vitals.last_recorded
    if last is None:
        lines.append("No request was ever recorded.")
    else:
        ago = timesince(last).replace("\xa0", " ")
        lines.append(f"The last request was recorded {ago} ago.")
    total = sum(vitals.capture_status.values())
    lines.append(f"Requests of the last {vitals.hours} hours: {total}.")
    lines += [f"  {status}: {count}" for status, count in vitals.capture_status.items()]
    if vitals.pending_since is not None:
        ago = timesince(vitals.pending_since).replace("\xa0", " ")
        lines.append(
            f"Objects to be deleted from storages: {vitals.pending}, since {ago}, "
            f"tried {vitals.pending_tries} times at the most."
        )
    return lines


def _as_json(vitals: Vitals, problems: list[str]) -> str:
    answer = {
        "healthy": not problems,
        "problems": problems,
        "failed_percent": vitals.failed_percent,
        **asdict(vitals),
    }
    return json.dumps(answer, cls=DjangoJSONEncoder, indent=2)


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise ArgumentTypeError(f"{text!r} is no number from 0 to 100")
    return number
