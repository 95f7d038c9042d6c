"""What the management commands share: arguments, messages, progress, error handling."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from logging import LogRecord
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    OutputWrapper,
)
from django.db import Error, InterfaceError, OperationalError, connections
from django.template.defaultfilters import filesizeformat
from django.utils.connection import ConnectionDoesNotExist

from request_images.contents.derive import (
    Derivation,
    Fate,
    count_missing,
    derive_missing,
)
from request_images.db.destination import (
    Destination,
    chosen_database,
    database_of,
    entered,
    require,
)
from request_images.db.errors import is_not_migrated
from request_images.exceptions import LeaseLost, RetentionError, StorageError, WorkTaken
from request_images.health import logger
from request_images.models import ImageContent, RequestLog

MAX_NUMBER = 999_999_999
"""A larger number is a typing error, and too large for some databases."""
_NUMBERS = ("limit", "batch_size", "max_objects")
_BAR_WIDTH = 30
_LINE_WIDTH = 78


def whole_number(lowest: int, highest: int = MAX_NUMBER) -> Callable[[str], int]:
    """Return the ``type`` of an argument that is a whole number."""

    def convert(text: str) -> int:
        is_whole = text.isascii() and text.isdigit() and len(text) <= 9
        if not (is_whole and lowest <= int(text) <= highest):
            raise ArgumentTypeError(
                f"{text!r} is not a whole number from {lowest} to {highest}"
            )
        return int(text)

    return convert


_ARGUMENTS: dict[str, dict[str, Any]] = {
    "--limit": {
        "type": whole_number(1),
        "help": "Process at most this many images. The default is all of them.",
    },
    "--batch-size": {
        # Larger batches are too many for one query, or for one transaction.
        "type": whole_number(1, 10_000),
        "default": 500,
        "help": "Look up this many images with one query. The default is 500.",
    },
    "--dry-run": {
        "action": "store_true",
        "help": "Report what would be done, and change nothing.",
    },
}


def add_arguments(parser: CommandParser, *names: str, **changes: Any) -> None:
    """Add shared arguments; `changes` replace what differs, such as ``help``."""
    for name in names:
        parser.add_argument(name, **{**_ARGUMENTS[name], **changes})


def size_text(size: int) -> str:
    """Return a number of bytes, from 1 KB on also in a readable unit."""
    # filesizeformat puts a no-break space before the unit; a log is plain text.
    text = filesizeformat(size).replace("\xa0", " ")
    return text if size < 1024 else f"{text} ({size} bytes)"


class Progress:
    """A progress bar on a terminal, and lines about errors on the same stream."""

    def __init__(
        self, stream: OutputWrapper, total: int, unit: str = "images", *, is_shown: bool
    ) -> None:
        self._stream, self._total, self._unit = stream, total, unit
        self._is_shown = is_shown and stream.isatty()
        self._is_drawn = False

    def draw(self, done: int, total: int | None = None) -> None:
        """Draw the bar; give the total if it has changed."""
        if not self._is_shown:
            return
        total = max(total or self._total, done, 1)  # new images arrive meanwhile
        bar = "#" * (_BAR_WIDTH * done // total)
        text = f"\r[{bar.ljust(_BAR_WIDTH)}] {done} of {total} {self._unit}"
        # `str`: the style of stderr would paint it red.
        self._stream.write(text, style_func=str, ending="")
        self._stream.flush()
        self._is_drawn = True

    def end(self) -> None:
        """End the line of the bar."""
        if self._is_drawn:
            self._stream.write("", style_func=str)

    def on_error(self, verb: str) -> Callable[[ImageContent, Exception], None]:
        """Return a function that reports a content that, say, "was not moved"."""

        def report(content: ImageContent, error: Exception) -> None:
            where = f"{content.storage or 'database'}: {content.name or content}"
            line = f"{where} {verb} ({error})."
            self._stream.write(
                f"\r{line.ljust(_LINE_WIDTH)}" if self._is_shown else line
            )

        return report


class ImagesCommand(BaseCommand):
    """A command that turns the errors of this app into messages.

    If another process does the same job, the command says so and ends without an error.
    """

    is_verbose: bool
    has_destination = True

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Add the options that all commands have, after those of this command."""
        parser = super().create_parser(*args, **kwargs)
        if self.has_destination:
            parser.add_argument(
                "--database",
                metavar="ALIAS",
                help=(
                    "Work in this database of DATABASES. The default is the one that "
                    "the database routers answer."
                ),
            )
            parser.add_argument(
                "--tenant",
                metavar="NAME",
                help=(
                    "Work in the rows of this tenant: its schema, or its name as "
                    "REQUEST_IMAGES_TENANT returns it."
                ),
            )
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the numbers, do the work, and report errors."""
        self.is_verbose = options["verbosity"] > 0
        for name in _NUMBERS:
            # `call_command` does not check its arguments.
            value = options.get(name)
            if value is not None and value < 1:
                raise CommandError(f"{name} must be at least 1, not {value}.")
        given = [options.pop(name, None) for name in ("database", "tenant")]
        logger.addFilter(_without_traceback)
        try:
            with _destination(*given) if self.has_destination else nullcontext():
                self.work(**options)
        except WorkTaken as error:
            # The other process does the job: no reason for cron to send a mail.
            self.say(f"{error} Nothing was done.")
        except (LeaseLost, RetentionError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except StorageError as error:
            raise CommandError(f"Stopped: {error}") from error
        except Error as error:
            if text := _in_words(error):
                raise CommandError(text) from error
            raise
        finally:
            logger.removeFilter(_without_traceback)

    def work(self, **options: Any) -> None:
        """Do the work, with a lease if it changes anything.

        Raises:
            WorkTaken: Another process does it.
            LeaseLost: Another process has taken it over.
        """
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Write a line, unless the verbosity is 0."""
        if self.is_verbose:
            self.stdout.write(text)

    @contextmanager
    def progress(self, total: int, unit: str = "images") -> Iterator[Progress]:
        """Show a progress bar, unless the verbosity is 0."""
        bar = Progress(self.stderr, total, unit, is_shown=self.is_verbose)
        try:
            yield bar
        finally:
            bar.end()


def require_storage(alias: str) -> None:
    """Raise a `CommandError` if STORAGES has no such alias."""
    if alias not in settings.STORAGES:
        known = ", ".join(sorted(settings.STORAGES))
        raise CommandError(f"STORAGES has no alias {alias!r}. It has: {known}.")


def _without_traceback(record: LogRecord) -> bool:
    """Let a line say it all that a storage, a folder or a database has failed."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, OSError | Error | ConnectionDoesNotExist):
        record.exc_info = None
    return True


def _in_words(error: Error) -> str:
    """Return a message about an error of the database; empty if the app caused it."""
    text = " ".join(str(error).split())
    if is_not_migrated(error):
        return (
            "The tables of request_images do not exist in this database, or are those "
            f"of another version ({text}). Run `python manage.py migrate`."
        )
    if isinstance(error, OperationalError | InterfaceError):
        return f"The database cannot be used: {type(error).__name__}: {text}"
    return ""


@contextmanager
def _tenant(where: Destination) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(entered(where))
            require(where)  # or it would work on the schema of everybody
        except (ImproperlyConfigured, Error):
            raise  # with words of their own
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise CommandError(f"--tenant: {text}") from error
        yield


def _destination(alias: str | None, tenant: str | None) -> AbstractContextManager[None]:
    """Enter the database and tenant that are named, or else leave it to the routers."""
    try:
        routed = database_of(RequestLog) if alias is None else alias
    except Exception as error:
        text = f"A database router failed ({type(error).__name__}: {error})."
        raise CommandError(f"{text} Name a database with --database.") from error
    if routed not in connections:
        known = ", ".join(sorted(connections))
        whose = "" if alias else ", which a database router answered"
        raise CommandError(
            f"DATABASES has no alias {routed!r}{whose}. It has: {known}."
        )
    if tenant is None:
        return chosen_database(alias)
    return _tenant(Destination(routed, tenant))


class DerivingCommand(ImagesCommand):
    """A command that derives something from each image that does not have it yet.

    Attributes:
        what: What to derive.
        summary: A sentence about ``made``, ``impossible`` and ``skipped``.
    """

    what: Derivation
    summary: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--oldest-first",
            action="store_true",
            help="Begin with the oldest images.",
        )
        add_arguments(parser, "--limit", "--batch-size")

    def work(self, **options: Any) -> None:
        """Derive it from each image, and report how many there were."""
        fates: Counter[Fate] = Counter()
        count = count_missing(self.what)
        with self.progress(min(count, options["limit"] or count)) as progress:
            for fate in derive_missing(
                self.what,
                oldest_first=options["oldest_first"],
                limit=options["limit"],
                batch_size=options["batch_size"],
            ):
                fates[fate] += 1
                progress.draw(fates.total())
        counts = {fate.value: fates[fate] for fate in Fate}
        self.say(self.summary.format(**counts))
