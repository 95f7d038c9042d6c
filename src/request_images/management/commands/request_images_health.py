"""``manage.py request_images_health``: check the health of the recording."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser, no_translations
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error
from django.utils.timesince import timesince

from request_images.dashboard.health import (
    DEFAULT_HOURS,
    MAX_HOURS,
    Limits,
    Vitals,
    look,
)
from request_images.management.base import ImagesCommand, whole_number
from request_images.writer import losses
from request_images.writer.modes import mode_in_words


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return number


_TYPES: dict[str, Callable[[str], float]] = {
    "PERCENT": _percent,
    "HOURS": whole_number(1, MAX_HOURS),
    "COUNT": whole_number(0),
}
_LIMITS = {
    "failed": (
        "failed_percent",
        "PERCENT",
        "Unhealthy above this percentage of images that could not be stored.",
    ),
    "silence": (
        "silent_hours",
        "HOURS",
        "Unhealthy if no request was recorded for this many hours.",
    ),
    "spooled": (
        "spooled",
        "COUNT",
        "Unhealthy if more requests wait in the spool folder of this machine.",
    ),
    "spooled-hours": (
        "spooled_hours",
        "HOURS",
        "Unhealthy if a request waits there for more hours.",
    ),
    "bad": ("spool_bad", "COUNT", "Unhealthy if more files there are bad."),
    "pending-hours": (
        "pending_hours",
        "HOURS",
        (
            "Unhealthy if an object in a storage has waited for its deletion for more "
            "hours."
        ),
    ),
}
"""Each limit: its argument, its field of `Limits`, its unit, and its help."""


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
            type=_TYPES["HOURS"],
            default=DEFAULT_HOURS,
            help="Check the requests of this many past hours. The default is 24.",
        )
        for name, (field, metavar, sentence) in _LIMITS.items():
            default = getattr(Limits, field)
            shown = "no limit" if default is None else f"{default:g}"
            parser.add_argument(
                f"--max-{name}",
                type=_TYPES[metavar],
                default=default,
                metavar=metavar,
                help=f"{sentence} The default is {shown}.",
            )
        parser.add_argument(
            "--acknowledge",
            action="store_true",
            help="Acknowledge all losses so far: they are no problem any more.",
        )
        parser.add_argument("--json", action="store_true", help="Report as JSON.")

    @no_translations
    def work(self, **options: Any) -> None:
        """Check, report, and exit with 1 if there are problems."""
        acknowledged = self._take_in_losses(acknowledges=options["acknowledge"])
        vitals = look(options["hours"], tries_to_write=True)
        limits = {
            field: options[f"max_{name.replace('-', '_')}"]
            for name, (field, *_) in _LIMITS.items()
        }
        problems = vitals.problems(Limits(**limits))
        if options["json"]:
            self.say(_as_json(vitals, problems))
        elif self.is_verbose:
            if options["acknowledge"]:
                self.say(f"Acknowledged {acknowledged} losses.")
            self.say("\n".join(_in_words(vitals)))
            for problem in problems:
                self.stderr.write(f"Unhealthy: {problem}")
            if not problems:
                self.say("Healthy.")
        if problems:
            # Not a CommandError, which would write a message even at verbosity 0.
            sys.exit(1)

    def _take_in_losses(self, *, acknowledges: bool) -> int:
        try:
            if acknowledges:
                return losses.acknowledge()
            losses.take_in()
        except (OSError, Error) as error:
            if acknowledges:
                raise CommandError(f"Nothing is acknowledged: {error}") from error
        return 0  # the check that follows tells of an error


def _in_words(vitals: Vitals) -> list[str]:
    lines = [f"Recording is {'on' if vitals.enabled else 'off'}."]
    if vitals.enabled:
        lines.append(mode_in_words())
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
        tries = vitals.pending_tries
        tried = f"after up to {tries} attempts" if tries else "not tried yet"
        lines.append(
            f"Objects to be deleted from storages: {vitals.pending}, the oldest for "
            f"{ago}, {tried}."
        )
    return lines


def _as_json(vitals: Vitals, problems: list[str]) -> str:
    answer = {
        "healthy": not problems,
        "problems": problems,
        "write_mode": mode_in_words(),
        "failed_percent": vitals.failed_percent,
        **asdict(vitals),
    }
    return json.dumps(answer, cls=DjangoJSONEncoder, indent=2)
