"""``manage.py compress_image_contents``: store images in a smaller form, or undo it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from request_images.conf import conf
from request_images.contents.compress import (
    Compressed,
    Run,
    compress_all,
    compressed,
    compressible,
    decompress_all,
)
from request_images.management.base import ImagesCommand, add_arguments, size_text
from request_images.models.job_locks import lease
from request_images.storage.encodings import ENCODINGS


class Command(ImagesCommand):
    """Compresses stored images; the work is in `contents.compress`."""

    help = (
        "Compresses stored images without loss, with the encodings in the setting "
        "REQUEST_IMAGES_ENCODINGS. Each compressed image is decoded and compared "
        "before the original form is deleted. If a run is stopped, the next run "
        "continues. For cron, use --verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--undo",
            choices=sorted(ENCODINGS),
            help="Store the images of this encoding as they were received again.",
        )
        add_arguments(
            parser,
            "--dry-run",
            help="Encode, report how much that would save, and change nothing.",
        )
        add_arguments(parser, "--limit", "--batch-size")

    def work(self, **options: Any) -> None:
        """Compress, or report how much that would save."""
        if options["dry_run"]:
            done = self._compress(lambda: None, **options)
        else:
            with lease("compression") as held:
                done = self._compress(held.renew, **options)
        for sentence in _sentences(done, **options):
            self.say(sentence)
        if done.failed:
            raise CommandError(f"{done.failed} images could not be read or changed.")

    def _compress(self, beat: Callable[[], None], **options: Any) -> Compressed:
        undo: str | None = options["undo"]
        rows = compressed(undo) if undo else compressible(conf.ENCODINGS)
        count = rows.count()
        with self.progress(min(count, options["limit"] or count)) as progress:

            def on_progress(done: Compressed) -> None:
                beat()
                progress.draw(done.seen)

            run = Run(
                **{name: options[name] for name in ("batch_size", "limit", "dry_run")},
                on_progress=on_progress,
                on_error=progress.on_error("stays as it is"),
            )
            if undo:
                return decompress_all(undo, run)
            return compress_all(conf.ENCODINGS, run)


def _sentences(
    done: Compressed, *, undo: str | None, dry_run: bool, **_others: Any
) -> Iterator[str]:
    did = "decompress" if undo else "compress"
    did = f"Would {did}" if dry_run else f"{did.capitalize()}ed"
    used = "".join(f", {count} with {name}" for name, count in done.by_encoding.items())
    yield (
        f"{did} {done.by_encoding.total()} images{used}, "
        f"from {size_text(done.before)} to {size_text(done.after)}."
    )
    for reason, count in done.reasons.most_common():
        yield f"{count} images stay as they are ({reason})."
    if done.skipped:
        yield f"{done.skipped} images were deleted or changed meanwhile."
