"""``manage.py verify_image_contents``: are the bytes of all images there, and right?"""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from request_images.contents.verify import Finding, Problem, Verified, verify
from request_images.exceptions import StorageError
from request_images.management.base import AloneCommand
from request_images.models.job_locks import lease
from request_images.storage.stores import store_of

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
                "With --repair: repair what is wrong of a storage also when it is so "
                "much that the disk may not be mounted, or the database the wrong one."
            ),
        )
        parser.add_argument(
            "--storage",
            action="append",
            default=[],
            metavar="ALIAS",
            help=(
                "List this storage, too, although nothing is kept in it any more. Can "
                "be given several times."
            ),
        )

    def work(self, **options: Any) -> None:
        """Look, tell, and exit with 1 if something stays wrong."""
        for alias in options["storage"]:
            try:
                store_of(alias).check()
            except StorageError as error:
                raise CommandError(f"--storage: {error}") from error
        verified = self._verified(**options)
        for alias in verified.doubtful:
            self.stderr.write(
                f"{alias or 'database'}: so much is missing or changed that nothing of "
                "it was given up. Is it mounted, and the right one? --force repairs it."
            )
        for alias in verified.unknown:
            self.stderr.write(
                f"{alias}: so much belongs to no image that none of it was deleted. Is "
                "this the right database, and nobody else's storage? --force repairs "
                "it."
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

    def _verified(
        self, *, repair: bool, force: bool, storage: list[str], **_: Any
    ) -> Verified:
        if not repair:
            return verify(repair=False, storages=storage, tell=self._tell)
        with lease("repair") as held:
            return verify(
                repair=True,
                force=force,
                storages=storage,
                tell=self._tell,
                beat=held.prolong,
            )

    def _tell(self, finding: Finding) -> None:
        where = finding.storage or "database"
        what = f"{where}: {finding.name or 'the storage'} {_SENTENCES[finding.problem]}"
        detail = f" ({finding.detail})" if finding.detail else ""
        repaired = "; repaired" if finding.is_repaired else ""
        self.stderr.write(f"{what}{detail}{repaired}.")
