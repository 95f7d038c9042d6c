"""``manage.py verify_image_contents``: verify the bytes of all stored images."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from request_images.contents.verify import Discrepancy, Problem, Verified, verify
from request_images.exceptions import StorageError
from request_images.management.base import ImagesCommand, require_storage
from request_images.models.job_locks import lease
from request_images.storage.stores import store_of

_SENTENCES = {
    Problem.MISSING: "is missing",
    Problem.MISMATCH: "differs from what was received",
    Problem.ORPHAN: "belongs to no image",
    Problem.UNREADABLE: "cannot be read",
}


class Command(ImagesCommand):
    """Verifies stored images; the work is in `contents.verify`."""

    help = (
        "Reads the bytes of every stored image, compares them with their SHA-256, and "
        "finds objects in storages that belong to no image. The exit status is 1 if "
        "something is wrong and was not repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--repair",
            action="store_true",
            help=(
                "Remove the references to bytes that are missing or damaged, set their "
                "logs to `store_failed`, and delete objects that belong to no image."
            ),
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help=(
                "With --repair: repair a storage even if so much is wrong that its "
                "disk may not be mounted, or this may be the wrong database."
            ),
        )
        parser.add_argument(
            "--storage",
            action="append",
            default=[],
            metavar="ALIAS",
            help=(
                "Also list this storage, even if no image is stored in it any more. "
                "May be given several times."
            ),
        )

    def work(self, **options: Any) -> None:
        """Verify, report, and exit with 1 if something is still wrong."""
        if options["force"] and not options["repair"]:
            raise CommandError("--force needs --repair.")
        for alias in options["storage"]:
            require_storage(alias)
            try:
                store_of(alias).check()
            except StorageError as error:
                raise CommandError(f"--storage: {error}") from error
        verified = self._verified(**options)
        for alias in verified.doubtful:
            self.stderr.write(
                f"{alias or 'database'}: so many images are missing or damaged that "
                "nothing was repaired. Is the right disk mounted? Use --force to "
                "repair it nevertheless."
            )
        for alias in verified.unknown:
            self.stderr.write(
                f"{alias}: so many objects belong to no image that none was deleted. "
                "Is this the right database, and is the storage used for nothing else? "
                "Use --force to delete them nevertheless."
            )
        counts = "; ".join(
            f"{problem.value}: {verified.problems[problem]}" for problem in Problem
        )
        self.say(
            f"Read {verified.contents} images and listed {verified.objects} "
            f"objects. {counts}."
        )
        if verified.unrepaired:
            # Not a CommandError: everything has been reported.
            sys.exit(1)

    def _verified(
        self, *, repair: bool, force: bool, storage: list[str], **_: Any
    ) -> Verified:
        if not repair:
            return verify(repair=False, storages=storage, on_found=self._on_found)
        with lease("repair") as held:
            return verify(
                repair=True,
                force=force,
                storages=storage,
                on_found=self._on_found,
                beat=held.renew,
            )

    def _on_found(self, found: Discrepancy) -> None:
        where = found.storage or "database"
        what = f"{where}: {found.name or 'the storage'} {_SENTENCES[found.problem]}"
        detail = f" ({found.detail})" if found.detail else ""
        repaired = "; repaired" if found.is_repaired else ""
        self.stderr.write(f"{what}{detail}{repaired}.")
