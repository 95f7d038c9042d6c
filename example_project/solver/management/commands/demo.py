"""Demonstrate the app with real requests: ``manage.py demo``."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import track

from solver import demo, report
from solver.samples import draw_samples
from solver.uploads import size_limit

ADMIN = "admin"
SEED = 20261122
WAIT_SECONDS = 20
RUNSERVER = "http://127.0.0.1:8000"


class Command(BaseCommand):
    """Send pictures, and report the result of each."""

    help = (
        "Migrate, create an admin user, send pictures to the real endpoint, and "
        "compare the stored images with the pictures."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--images",
            type=Path,
            metavar="DIR",
            help="Send all files of this folder and its subfolders, except .txt, "
            "instead of drawn pictures.",
        )
        parser.add_argument(
            "--serve", action="store_true", help="Keep serving until Ctrl-C."
        )
        parser.add_argument(
            "--port", type=int, default=8000, help="Port for --serve (%(default)s)."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the demo."""
        out = Console(file=options.get("stdout") or sys.stdout, highlight=False)
        pictures, count = _pictures(options["images"])
        port = options["port"] if options["serve"] else 0
        settings.REQUEST_IMAGES_ENABLED = True
        settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, demo.HOST]
        out.print("This run saves images, whatever SAVE_REQUEST_IMAGES says.")
        try:
            with demo.serving(port) as address:
                call_command("migrate", interactive=False, verbosity=0)
                password = demo.reset_admin(ADMIN)
                sent = track(
                    pictures,
                    "Sending",
                    total=count,
                    console=out,
                    disable=not out.is_terminal,
                )
                _show(out, demo.Sender(address), sent, password)
                if options["serve"]:
                    report.where_to_look(out, address, ADMIN, password)
                    _wait_for_interrupt(out)
                else:
                    report.how_to_serve(out)
                    report.where_to_look(out, RUNSERVER, ADMIN, password)
        except OSError as error:
            raise CommandError(str(error)) from error


def _pictures(folder: Path | None) -> tuple[Iterator[tuple[str, bytes]], int]:
    """Return names and contents of the files to send, and their number."""
    if folder is None:
        limit = int(settings.REQUEST_IMAGES_MAX_SIZE_MB * 1024 * 1024)
        samples = list(draw_samples(SEED, limit if limit < size_limit() else None))
        return ((sample.name, sample.content) for sample in samples), len(samples)
    if not folder.is_dir():
        raise CommandError(f"The folder {folder} does not exist.")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix.lower() != ".txt"
    )
    if not files:
        raise CommandError(f"The folder {folder} has no files to send.")
    named = ((str(file.relative_to(folder)), file.read_bytes()) for file in files)
    return named, len(files)


def _show(
    out: Console,
    sender: demo.Sender,
    pictures: Iterable[tuple[str, bytes]],
    password: str,
) -> None:
    """Send the pictures, and report the results."""
    for name, content in pictures:
        sender.send(name, content)
    sender.wait_for_rows(WAIT_SECONDS)
    comparisons = list(sender.comparisons())
    report.stats(out, demo.fetch_stats(sender.address, ADMIN, password))
    report.outcomes(out, comparisons)
    report.verification(out, comparisons)
    lost = sum(bool(comparison.fault) for comparison in comparisons)
    if lost:
        raise CommandError(f"{lost} of {len(comparisons)} images were lost.")


def _wait_for_interrupt(out: Console) -> None:
    with suppress(KeyboardInterrupt):
        out.print("Serving until Ctrl-C.")
        while True:
            sleep(1)
