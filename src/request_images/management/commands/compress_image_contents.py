"""``manage.py compress_image_contents``: keep images in a smaller form, or undo it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from request_images.conf import conf
from request_images.contents.compress import (
    Compressed,
    Run,
    compress_all,
    compressed,
    compressible,
    decompress_all,
)
from request_images.exceptions import StorageError
from request_images.management.base import (
    AloneCommand,
    Progress,
    batch_size,
    positive,
    refuse_nothing,
)
from request_images.models import ImageContent
from request_images.models.job_locks import lease
from request_images.storage.encodings import ENCODINGS


class Command(AloneCommand):
    """Says what is compressed; `request_images.compressing` does it."""

    help = (
        "Keeps the images that can be made smaller without loss in the encodings of "
        "REQUEST_IMAGES_ENCODINGS. Each is decoded and compared before the old form "
        "goes. A run that was stopped is finished by the next. Meant for cron, with "
        "--verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--undo",
            choices=sorted(ENCODINGS),
            help="Keep the images of this encoding as they were received again.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Encode, say what that would save, and change nothing.",
        )
        parser.add_argument(
            "--limit",
            type=positive,
            help="Look at so many images at the most. By default at all.",
        )
        parser.add_argument(
            "--batch-size",
            type=batch_size,
            default=500,
            help="How many images to look up at once. The default is 500.",
        )

    def work(self, **options: Any) -> None:
        """Compress, or say what that would save."""
        refuse_nothing(options, "limit", "batch_size")
        try:
            if options["dry_run"]:
                done = self._compress(lambda: None, **options)
            else:
                with lease("compression") as held:
                    done = self._compress(held.prolong, **options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except StorageError as error:
            raise CommandError(f"Given up: {error}") from error
        for sentence in _sentences(done, **options):
            self.say(sentence)
        if done.failed:
            raise CommandError(f"{done.failed} could not be read or changed.")

    def _compress(self, beat: Callable[[], None], **options: Any) -> Compressed:
        undo: str | None = options["undo"]
        rows = compressed(undo) if undo else compressible(conf.ENCODINGS)
        count = rows.count()
        total = min(count, options["limit"] or count)
        progress = Progress(self.stderr, is_shown=options["verbosity"] > 0)

        def tell(done: Compressed) -> None:
            beat()
            progress.draw(done.seen, total)

        def complain(content: ImageContent, error: Exception) -> None:
            where = f"{content.storage or 'database'}: {content.name or content}"
            progress.complain(f"{where} stays as it is ({error}).")

        given = {name: options[name] for name in ("batch_size", "limit", "dry_run")}
        run = Run(**given, tell=tell, complain=complain)
        try:
            if undo:
                return decompress_all(undo, run)
            return compress_all(conf.ENCODINGS, run)
        finally:
            progress.end()


def _sentences(
    done: Compressed, *, undo: str | None, dry_run: bool, **_others: Any
) -> Iterator[str]:
    did = "decompress" if undo else "compress"
    did = f"Would {did}" if dry_run else f"{did.capitalize()}ed"
    by = "".join(f", {count} by {name}" for name, count in done.by_encoding.items())
    yield (
        f"{did} {done.by_encoding.total()} images{by}: {_size(done.before)} "
        f"{'would become' if dry_run else 'became'} {_size(done.after)}."
    )
    for reason, count in done.reasons.most_common():
        yield f"{count} are left ({reason})."
    if done.skipped:
        yield f"{done.skipped} went or were changed meanwhile."


def _size(size: int) -> str:
    # filesizeformat puts a no-break space before the unit; a log is plain text.
    return f"{filesizeformat(size)} ({size} bytes)".replace("\xa0", " ")
