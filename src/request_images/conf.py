"""Every setting: name, default, meaning. Declared once here, read when it is used.

``REQUEST_IMAGES_<NAME>`` in the project's settings overrides a default. django-appconf
puts the defaults on ``django.conf.settings``; the typed reader `conf` reads them back
at the moment of use, so that ``override_settings`` and late changes are honoured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, TypeVar, overload

from appconf import AppConf
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

__all__ = ("PREFIX", "Conf", "Setting", "conf")

PREFIX = "REQUEST_IMAGES_"
_DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

T = TypeVar("T")


class Setting(Generic[T]):
    """One setting, read from ``django.conf.settings`` each time it is asked for.

    Args:
        default: The value when the project says nothing.
        expects: What a right value is, as words that follow "must be".
        accepts: Tells whether a value is right.
        meaning: What the setting does, for the reference documentation.
        check_id: The stable id of the system check that reports a wrong value.
    """

    def __init__(
        self,
        default: T,
        *,
        expects: str,
        accepts: Callable[[Any], bool],
        meaning: str,
        check_id: str,
    ) -> None:
        self.default = default
        self.expects = expects
        self.accepts = accepts
        self.meaning = meaning
        self.check_id = check_id

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.full_name: str = PREFIX + name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        value: T = self.given()
        if problem := self.problem(value):
            raise ImproperlyConfigured(problem)
        return value

    def given(self) -> Any:
        """Return what the project says, right or wrong, or else the default."""
        return getattr(settings, self.full_name, self.default)

    def problem(self, value: object) -> str:
        """Say what is wrong with ``value``; an empty string when nothing is."""
        if self.accepts(value):
            return ""
        return f"{self.full_name} must be {self.expects}, not {value!r}."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_days(value: Any) -> bool:
    return value is None or (_is_int(value) and value > 0)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list | tuple | set | frozenset)
        and len(value) > 0
        and all(isinstance(name, str) and name for name in value)
    )


def _is_function_or_path(value: Any) -> bool:
    if isinstance(value, str):
        return _DOTTED_PATH.fullmatch(value) is not None
    return value is None or (callable(value) and not iscoroutinefunction(value))


class Conf:
    """The typed reader of the settings; use the instance `conf`."""

    ENABLED = Setting(
        False,
        expects="True or False",
        accepts=lambda value: isinstance(value, bool),
        meaning=(
            "Whether decorated views are recorded at all. Off by default; a disabled "
            "decorator costs one look-up of this setting."
        ),
        check_id="request_images.E001",
    )
    MAX_SIZE_MB = Setting[float](
        10,
        expects="a number above 0",
        accepts=lambda value: _is_number(value) and 0 < value < float("inf"),
        meaning=(
            "The largest image that is kept, in megabytes (1 MB = 1,048,576 bytes). "
            "The log of a larger one says `too_large`; the view gets it all the same."
        ),
        check_id="request_images.E002",
    )
    MAX_REQUEST_MB = Setting[float](
        50,
        expects="a number above 0",
        accepts=lambda value: _is_number(value) and 0 < value < float("inf"),
        meaning=(
            "How many megabytes all images of one request may have together, where a "
            "view keeps several (1 MB = 1,048,576 bytes). Of more, the last ones are "
            "`over_budget`. Never less than `REQUEST_IMAGES_MAX_SIZE_MB`."
        ),
        check_id="request_images.E031",
    )
    RETENTION_DAYS = Setting[int | None](
        30,
        expects="a whole number of days above 0, or None to keep images for ever",
        accepts=_is_days,
        meaning=(
            "How many days an image is kept. Older ones are no longer shown, and "
            "`cleanup_old_images` deletes them, except of pinned requests. None keeps "
            "them for ever."
        ),
        check_id="request_images.E003",
    )
    LOG_RETENTION_DAYS = Setting[int | None](
        365,
        expects="a whole number of days above 0, or None to keep logs for ever",
        accepts=_is_days,
        meaning=(
            "How many days a request log is kept: it outlives its image, so that "
            "durations and errors can still be studied. None keeps logs for ever."
        ),
        check_id="request_images.E004",
    )
    FAILED_RETENTION_DAYS = Setting[int | None](
        None,
        expects="a whole number of days above 0, or None for the same as others",
        accepts=_is_days,
        meaning=(
            "How many days an image of a failed request is kept, with its bytes, "
            "instead of `REQUEST_IMAGES_RETENTION_DAYS` and "
            "`REQUEST_IMAGES_BYTES_RETENTION_DAYS`. None keeps it as long as others."
        ),
        check_id="request_images.E024",
    )
    BYTES_RETENTION_DAYS = Setting[int | None](
        None,
        expects="a whole number of days above 0, or None for as long as the image",
        accepts=_is_days,
        meaning=(
            "How many days the bytes of an image are kept, and its thumbnail, when "
            "they are to go earlier than its dimensions, type, size and hash, which "
            "stay for `REQUEST_IMAGES_RETENTION_DAYS`. The log says `expired`. None "
            "keeps them as long."
        ),
        check_id="request_images.E025",
    )
    MAX_STORED_MB = Setting[float | None](
        None,
        expects="a number above 0, up to 10**12, or None for no budget",
        accepts=lambda value: (
            value is None or (_is_number(value) and 0 < value <= 10**12)
        ),
        meaning=(
            "How many megabytes of images and thumbnails are kept altogether (1 MB = "
            "1,048,576 bytes). When there are more, `cleanup_old_images` deletes the "
            "bytes of the oldest successful requests, and when none is left, of the "
            "oldest failed ones; what is known of the image stays, and the log says "
            "`over_budget`. None is no budget."
        ),
        check_id="request_images.E026",
    )
    ALLOWED_FORMATS = Setting[Collection[str]](
        (
            "AVIF",
            "BMP",
            "DDS",
            "GIF",
            "HEIF",
            "ICO",
            "JPEG",
            "JPEG2000",
            "PNG",
            "PPM",
            "PSD",
            "TIFF",
            "WEBP",
        ),
        expects="a list, tuple or set of names of image formats",
        accepts=_are_names,
        meaning=(
            "The image formats that are kept, by Pillow's names. The log of any other "
            "says `unsupported`."
        ),
        check_id="request_images.E005",
    )
    METHODS = Setting[Collection[str]](
        ("POST", "PUT", "PATCH"),
        expects="a list, tuple or set of upper-case HTTP methods",
        accepts=lambda value: _are_names(value) and all(m.isupper() for m in value),
        meaning=(
            "The HTTP methods that are recorded: those that carry a body. The GET "
            "that shows an upload form leaves no trace."
        ),
        check_id="request_images.E006",
    )
    REQUEST_ID_HEADER = Setting[str | None](
        "X-Request-ID",
        expects="the name of a request header, or None to make our own ids only",
        accepts=lambda value: (
            value is None
            or (isinstance(value, str) and value.replace("-", "").isalnum())
        ),
        meaning=(
            "The header whose value becomes the request id when it is well-formed "
            "(letters, digits, `.`, `_`, `-`; 64 characters at most). Otherwise, and "
            "with None, an id is made: 32 hexadecimal digits."
        ),
        check_id="request_images.E007",
    )
    CLEANUP_BATCH_SIZE = Setting(
        500,
        expects="a whole number from 1 to 10,000",
        accepts=lambda value: _is_int(value) and 1 <= value <= 10_000,
        meaning=(
            "How many rows `cleanup_old_images` deletes in one transaction at the "
            "most, unless its `--batch-size` says otherwise. It deletes fewer where "
            "they would take too long."
        ),
        check_id="request_images.E008",
    )
    THUMBNAIL_SIZE = Setting(
        160,
        expects="a whole number of pixels from 16 to 1,024",
        accepts=lambda value: _is_int(value) and 16 <= value <= 1024,
        meaning=(
            "The longer side of a thumbnail, in pixels. Thumbnails already made keep "
            "the size they were made with."
        ),
        check_id="request_images.E009",
    )
    THUMBNAIL_MAX_PIXELS = Setting(
        40_000_000,
        expects="a whole number of pixels above 0",
        accepts=lambda value: _is_int(value) and value > 0,
        meaning=(
            "No thumbnail is made of an image with more pixels (width times height), "
            "nor is it analysed: a crafted file of a few bytes can unfold to "
            "gigabytes."
        ),
        check_id="request_images.E010",
    )

    WRITE_MODE = Setting(
        "after_response",
        expects="'after_response' or 'background'",
        accepts=lambda value: value in ("after_response", "background"),
        meaning=(
            "Who writes: the request's own thread, once the response has gone, or a "
            "thread of the process that writes many requests at once. Under ASGI "
            "`background` saves a database connection a request."
        ),
        check_id="request_images.E012",
    )
    BACKLOG_MAX_MB = Setting[float](
        64,
        expects="a number above 0",
        accepts=lambda value: _is_number(value) and 0 < value < float("inf"),
        meaning=(
            "How many megabytes of images may wait in each process (1 MB = 1,048,576 "
            "bytes): for the background thread, and for the end of requests that "
            "nobody closes."
        ),
        check_id="request_images.E013",
    )
    BACKLOG_MAX_REQUESTS = Setting(
        1000,
        expects="a whole number above 0",
        accepts=lambda value: _is_int(value) and value > 0,
        meaning="How many requests may wait for the background thread.",
        check_id="request_images.E014",
    )
    BACKLOG_WHEN_FULL = Setting(
        "write",
        expects="'write' or 'drop'",
        accepts=lambda value: value in ("write", "drop"),
        meaning=(
            "What becomes of a request when the backlog is full: `write` writes it at "
            "once, in its own thread; `drop` waits for nothing, drops the image and "
            "says `over_budget` on the row."
        ),
        check_id="request_images.E015",
    )
    SHUTDOWN_SECONDS = Setting[float](
        5,
        expects="a number of seconds, 0 or more",
        accepts=lambda value: _is_number(value) and 0 <= value < float("inf"),
        meaning="How long a process that exits waits for its backlog to be written.",
        check_id="request_images.E016",
    )
    LOCK_TIMEOUT_SECONDS = Setting[float](
        1,
        expects="a number of seconds from 0.01 to 60",
        accepts=lambda value: _is_number(value) and 0.01 <= value <= 60,
        meaning=(
            "How long one of our statements waits for a lock, on PostgreSQL and "
            "MariaDB; and a tenth of how long it may take at all. On SQLite the "
            "connection's own `timeout` holds."
        ),
        check_id="request_images.E017",
    )
    SPOOL_DIR = Setting[str | os.PathLike[str] | None](
        None,
        expects="the path of a folder, or None",
        accepts=lambda value: value is None or isinstance(value, str | os.PathLike),
        meaning=(
            "A local folder for what cannot be written to the database. The next "
            "healthy process writes it, or `write_spooled_requests`. None: what "
            "cannot be written is counted and lost."
        ),
        check_id="request_images.E018",
    )
    SPOOL_MAX_MB = Setting[float](
        512,
        expects="a number above 0",
        accepts=lambda value: _is_number(value) and 0 < value < float("inf"),
        meaning="How many megabytes the spool folder may hold.",
        check_id="request_images.E019",
    )

    SAMPLE_RATE = Setting[float](
        1.0,
        expects="a number from 0 to 1",
        accepts=lambda value: _is_number(value) and 0 <= value <= 1,
        meaning=(
            "The share of requests whose image is looked for, chosen by the request "
            "id: every process chooses the same ones. The log of any other says "
            "`sampled_out`."
        ),
        check_id="request_images.E020",
    )
    SHOULD_CAPTURE = Setting[Callable[..., Any] | str | None](
        None,
        expects="None, a function that is not async, or the dotted path of one",
        accepts=_is_function_or_path,
        meaning=(
            "Called with the request before its view; returns True or False. After "
            "False no image is looked for, and the log says `opted_out`."
        ),
        check_id="request_images.E021",
    )
    SHOULD_KEEP = Setting[Callable[..., Any] | str | None](
        None,
        expects="None, a function that is not async, or the dotted path of one",
        accepts=_is_function_or_path,
        meaning=(
            "Called with the unsaved `RequestLog` behind the response, when there is "
            "an image to keep; returns True, False, or the probability with which to "
            "keep it. The log of an image that is not kept says `sampled_out`."
        ),
        check_id="request_images.E022",
    )

    RELEASE = Setting(
        "",
        expects="text of at most 100 characters",
        accepts=lambda value: isinstance(value, str) and len(value) <= 100,
        meaning=(
            "Which release of the project handles the requests, such as '2.4.1' or a "
            "commit: kept with each log, so that statistics tell releases apart. "
            "`annotate(request, release=...)` says otherwise for one request."
        ),
        check_id="request_images.E032",
    )
    STATISTICS_RETENTION_DAYS = Setting[int | None](
        None,
        expects="a whole number of days above 0, or None to keep statistics for ever",
        accepts=_is_days,
        meaning=(
            "How many days the statistics of an hour are kept, which outlive its "
            "requests and their images. `cleanup_old_images` deletes older ones. None "
            "keeps them for ever."
        ),
        check_id="request_images.E033",
    )

    STORAGE = Setting[str | None](
        None,
        expects="None, or an alias in STORAGES that is not 'database'",
        accepts=lambda value: (
            value is None
            or (isinstance(value, str) and 0 < len(value) < 64 and value != "database")
        ),
        meaning=(
            "Where the bytes of new images go: None for the database, else the alias "
            "of a storage in Django's `STORAGES`. Those that are kept already stay "
            "where they are; `move_image_contents` moves them."
        ),
        check_id="request_images.E023",
    )
    THUMBNAILS = Setting(
        "on_demand",
        expects="'on_demand' or 'task'",
        accepts=lambda value: value in ("on_demand", "task"),
        meaning=(
            "When a thumbnail is made: when somebody first looks at it, or, with "
            "`task`, ahead of that by a Django Task that is enqueued for each newly "
            "stored image. A worker has to run."
        ),
        check_id="request_images.E027",
    )
    THUMBNAIL_MAX_MEMORY_MB = Setting[float](
        256,
        expects="a number above 0",
        accepts=lambda value: _is_number(value) and 0 < value < float("inf"),
        meaning=(
            "No thumbnail is made of an image that takes more memory to decode, in "
            "megabytes (1 MB = 1,048,576 bytes), nor is it analysed. It is told by its "
            "format and its pixels, before a byte of them is decoded."
        ),
        check_id="request_images.E028",
    )
    ENCODINGS = Setting[Collection[str]](
        ("zlib",),
        expects="a list, tuple or set of 'zlib' and 'lepton'",
        accepts=lambda value: _are_names(value) and set(value) <= {"zlib", "lepton"},
        meaning=(
            "How images may be kept in a smaller form that gives the same bytes back: "
            "`zlib` is for BMP, DDS, ICO, PPM, PSD and TIFF, `lepton` for JPEG, which "
            "needs the extra of that name. Nothing is compressed before "
            "`compress_image_contents` is run, or a task."
        ),
        check_id="request_images.E029",
    )
    COMPRESSION = Setting(
        "by_command",
        expects="'by_command' or 'task'",
        accepts=lambda value: value in ("by_command", "task"),
        meaning=(
            "When images are compressed: by `compress_image_contents`, or, with "
            "`task`, also by a Django Task that is enqueued for each newly stored "
            "image that one of the encodings is for. A worker has to run."
        ),
        check_id="request_images.E030",
    )
    ANALYSIS = Setting(
        "by_command",
        expects="'by_command' or 'task'",
        accepts=lambda value: value in ("by_command", "task"),
        meaning=(
            "When it is measured what images look like: by `analyze_image_contents`, "
            "or, with `task`, also by a Django Task that is enqueued for each newly "
            "stored image. A worker has to run."
        ),
        check_id="request_images.E034",
    )

    @classmethod
    def declarations(cls) -> Iterator[Setting[Any]]:
        """Yield each setting's declaration, in the order written here."""
        for value in vars(cls).values():
            if isinstance(value, Setting):
                yield value


conf: Conf = Conf()


class _Defaults(AppConf):  # type: ignore[misc]  # appconf is untyped
    """Puts the defaults on ``django.conf.settings``."""

    class Meta:
        prefix = PREFIX.rstrip("_").lower()

    locals().update({s.name: s.default for s in Conf.declarations()})
