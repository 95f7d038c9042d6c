"""``manage.py verify_image_contents``: are the bytes of all images there, and right?"""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from request_images.alone import AloneCommand
from request_images.findings import Finding, Problem, Verified
from request_images.leasing import lease
from request_images.verifying import verify

_SENTENCES = {
    Problem.MISSING: "is missing",
    Problem.MISMATCH: "is not what was received",
    Problem.ORPHAN: "belongs to no image",
    Problem.UNREADABLE: "cannot be read",
}


class Command(AloneCommand):
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
        parser.add_argument(
            "--force",
            action="store_true",
            help=(
                "With --repair: let go of what is missing also when it is so much that "
                "the disk may not be mounted."
            ),
        )

    def work(self, **options: Any) -> None:
        """Look, tell, and exit with 1 if something stays wrong."""
        verified = self._repair(options["force"]) if options["repair"] else self._look()
        for alias in verified.doubtful:
            self.stderr.write(
                f"{alias or 'database'}: so much is missing that nothing of it was "
                "given up. Is it mounted, and the right one? --force repairs it."
            )
        counts = "; ".join(
            f"{problem.value}: {verified.problems[problem]}" for problem in Problem
        )
        self.say(
            f"Read {verified.contents} images and listed {verified.objects} "
            f"objects. {counts}."
        )
        if verified.unrepaired:
            # Not a CommandError: everything is said.
            sys.exit(1)

    def _look(self) -> Verified:
        return verify(repair=False, tell=self._tell)

    def _repair(self, force: bool) -> Verified:
        with lease("repair") as held:
            return verify(repair=True, force=force, tell=self._tell, beat=held.prolong)

    def _tell(self, finding: Finding) -> None:
        where = finding.storage or "database"
        what = f"{where}: {finding.name or 'the storage'} {_SENTENCES[finding.problem]}"
        detail = f" ({finding.detail})" if finding.detail else ""
        repaired = "; repaired" if finding.is_repaired else ""
        self.stderr.write(f"{what}{detail}{repaired}.")
