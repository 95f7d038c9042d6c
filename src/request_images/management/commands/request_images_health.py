"""``manage.py request_images_health``: check the health of the recording."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser, no_translations
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.timesince import timesince

from request_images.dashboard.health import (
    DEFAULT_HOURS,
    MAX_HOURS,
    Limits,
    Vitals,
    look,
)
from request_images.management.base import ImagesCommand, whole_number

_hours = whole_number(1, MAX_HOURS)


class Command(ImagesCommand):
    """Reports the health of the recording; the work is in `dashboard.health`."""

    help = (
        "Reports how many images of the last hours were stored, and tests whether a "
        "request can be written. The exit status is 0 if everything is healthy, "
        "otherwise 1. Meant for monitoring."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--hours",
            type=_hours,
            default=DEFAULT_HOURS,
            help="Check the requests of this many past hours. The default is 24.",
        )
        parser.add_argument(
            "--max-failed",
            type=_percent,
            default=Limits.failed_percent,
            metavar="PERCENT",
            help=(
                "Unhealthy above this percentage of images that could not be stored. "
                "The default is 1."
            ),
        )
        parser.add_argument(
            "--max-silence",
            type=_hours,
            metavar="HOURS",
            help=(
                "Unhealthy if no request was recorded for this many hours. The default "
                "is no limit."
            ),
        )
        parser.add_argument(
            "--max-spooled",
            type=whole_number(0),
            metavar="COUNT",
            help=(
                "Unhealthy if more requests wait in the spool folder of this machine. "
                "The default is no limit."
            ),
        )
        parser.add_argument(
            "--max-spooled-hours",
            type=_hours,
            default=Limits.spooled_hours,
            metavar="HOURS",
            help=(
                "Unhealthy if a request waits there for more hours. The default is 1."
            ),
        )
        parser.add_argument(
            "--max-bad",
            type=whole_number(0),
            default=Limits.spool_bad,
            metavar="COUNT",
            help="Unhealthy if more files there are bad. The default is 0.",
        )
        parser.add_argument(
            "--max-pending-hours",
            type=_hours,
            default=Limits.pending_hours,
            metavar="HOURS",
            help=(
                "Unhealthy if an object in a storage has waited for its deletion for "
                "more hours. The default is 72."
            ),
        )
        parser.add_argument("--json", action="store_true", help="Report as JSON.")

    @no_translations
    def work(self, **options: Any) -> None:
        """Check, report, and exit with 1 if there are problems."""
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
        if options["json"]:
            self.say(_as_json(vitals, problems))
        elif self.is_verbose:
            self.say("\n".join(_in_words(vitals)))
            for problem in problems:
                self.stderr.write(f"Unhealthy: {problem}")
            if not problems:
                self.say("Healthy.")
        if problems:
            # Not a CommandError, which would write a message even at verbosity 0.
            sys.exit(1)


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
        lines.append("No request has been recorded yet.")
    else:
        ago = timesince(last).replace("\xa0", " ")
        lines.append(f"The last request was recorded {ago} ago.")
    total = sum(vitals.capture_status.values())
    lines.append(f"Requests of the last {vitals.hours} hours: {total}.")
    lines += [f"  {status}: {count}" for status, count in vitals.capture_status.items()]
    if vitals.pending_since is not None:
        ago = timesince(vitals.pending_since).replace("\xa0", " ")
        lines.append(
            f"Objects to be deleted from storages: {vitals.pending}, the oldest for "
            f"{ago}, after up to {vitals.pending_tries} attempts."
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
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return number
