"""``manage.py verify_image_contents``: are the bytes of all images there, and right?"""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from request_images.verifying import Finding, Problem, verify

_SENTENCES = {
    Problem.MISSING: "is missing",
    Problem.MISMATCH: "is not what was received",
    Problem.ORPHAN: "belongs to no image",
    Problem.UNREADABLE: "cannot be read",
}


class Command(BaseCommand):
    """Says what is wrong; `request_images.verifying` finds out."""

    help = (
        "Reads the bytes of every image that is kept, compares them with their "
        "SHA-256, and looks for objects in storages that belong to no image. The exit "
        "status is 1 when something is wrong and was not repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--repair",
            action="store_true",
            help=(
                "Let go of bytes that are missing or damaged, so that their logs say "
                "`store_failed`, and have objects deleted that belong to no image."
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, tell, and exit with 1 if something stays wrong."""
        verified = verify(repair=options["repair"], tell=self._tell)
        if options["verbosity"] > 0:
            counts = "; ".join(
                f"{problem.value}: {verified.problems[problem]}" for problem in Problem
            )
            self.stdout.write(
                f"Read {verified.contents} images and listed {verified.objects} "
                f"objects. {counts}."
            )
        if verified.unrepaired:
            # Not a CommandError: everything is said.
            sys.exit(1)

    def _tell(self, finding: Finding) -> None:
        where = finding.storage or "database"
        what = f"{where}: {finding.name or 'the storage'} {_SENTENCES[finding.problem]}"
        detail = f" ({finding.detail})" if finding.detail else ""
        repaired = "; repaired" if finding.is_repaired else ""
        self.stderr.write(f"{what}{detail}{repaired}.")
