"""The settings: name, default, allowed values and meaning of each, declared once.

``REQUEST_IMAGES_<NAME>`` in the project's settings overrides a default. django-appconf
puts the defaults on ``django.conf.settings``. The typed reader `conf` reads a setting
each time it is used, so ``override_settings`` and later changes take effect.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

from appconf import AppConf
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

__all__ = ("PREFIX", "Conf", "Setting", "conf", "load_function")

PREFIX = "REQUEST_IMAGES_"
_DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

T = TypeVar("T")
_NOTHING = object()
_known = vars(settings)
"""The values that were read before: Django keeps them there, and drops what changes.

To ask ``settings`` itself takes three times as long as all the rest.
"""


class Kind(NamedTuple):
    """The values that a setting may have.

    Attributes:
        expects: A description that follows "must be".
        accepts: Returns whether a value is allowed.
    """

    expects: str
    accepts: Callable[[Any], bool]


class Setting(Generic[T]):
    """One setting, read from ``django.conf.settings`` each time it is used.

    Args:
        default: The value when the project sets none.
        kind: The values that it may have.
        check_id: The id of the system check that reports a wrong value, such as "E001".
        meaning: What the setting does, for the reference documentation.
    """

    def __init__(self, default: T, kind: Kind, check_id: str, meaning: str) -> None:
        self.default = default
        self.expects: str = kind.expects
        self.accepts: Callable[[Any], bool] = kind.accepts
        self.check_id: str = f"request_images.{check_id}"
        self.meaning = meaning
        self._accepted: object = _NOTHING

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
        value: Any = _known.get(self.full_name, _NOTHING)
        if value is _NOTHING:
            value = self.given()
        if value is not self._accepted:
            if problem := self.problem(value):
                raise ImproperlyConfigured(problem)
            # The same object is not tested again: a request reads ten settings.
            self._accepted = value
        return cast("T", value)

    def given(self) -> Any:
        """Return the project's value, right or wrong, or else the default."""
        return getattr(settings, self.full_name, self.default)

    def problem(self, value: object) -> str:
        """Return what is wrong with a value; an empty string when nothing is."""
        if self.accepts(value):
            return ""
        return f"{self.full_name} must be {self.expects}, not {value!r}."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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


def _choice(*values: str) -> Kind:
    *others, last = map(repr, values)
    return Kind(f"{', '.join(others)} or {last}", lambda value: value in values)


def _days(without: str) -> Kind:
    return Kind(
        f"a whole number of days above 0, or None {without}",
        lambda value: value is None or (_is_int(value) and value > 0),
    )


def _whole(expects: str, low: int = 1, high: float = float("inf")) -> Kind:
    return Kind(
        f"a whole number {expects}",
        lambda value: _is_int(value) and low <= value <= high,
    )


_BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))
_FUNCTION = Kind(
    "None, a function that is not async, or the dotted path of one",
    _is_function_or_path,
)
_POSITIVE = Kind(
    "a number above 0", lambda value: _is_number(value) and 0 < value < float("inf")
)


class Conf:
    """The typed reader of the settings; use the instance `conf`."""

    ENABLED = Setting(
        False,
        _BOOLEAN,
        "E001",
        "Whether decorated views are recorded. Off by default. A disabled decorator "
        "costs one look-up of this setting.",
    )
    MAX_SIZE_MB = Setting[float](
        10,
        _POSITIVE,
        "E002",
        "The size of the largest image that is kept, in megabytes (1 MB = 1,048,576 "
        "bytes). A larger image gets the capture status `too_large`; the view receives "
        "it as usual.",
    )
    MAX_REQUEST_MB = Setting[float](
        50,
        _POSITIVE,
        "E031",
        "The total size of all kept images of one request, in megabytes (1 MB = "
        "1,048,576 bytes), for a view that keeps several. Images beyond it get the "
        "capture status `over_budget`. A value below `REQUEST_IMAGES_MAX_SIZE_MB` "
        "counts as that.",
    )
    RETENTION_DAYS = Setting[int | None](
        30,
        _days("to keep images forever"),
        "E003",
        "The number of days an image is kept. Older images are no longer shown, and "
        "`cleanup_old_images` deletes them, except those of pinned requests. None "
        "keeps images forever.",
    )
    LOG_RETENTION_DAYS = Setting[int | None](
        365,
        _days("to keep logs forever"),
        "E004",
        "The number of days a request log is kept. A log outlives its image, so that "
        "durations and errors can still be studied. None keeps logs forever.",
    )
    FAILED_RETENTION_DAYS = Setting[int | None](
        None,
        _days("to keep them as long as other images"),
        "E024",
        "The number of days an image of a failed request is kept, with its bytes. It "
        "replaces `REQUEST_IMAGES_RETENTION_DAYS` and "
        "`REQUEST_IMAGES_BYTES_RETENTION_DAYS` for such images. None keeps them as "
        "long as other images.",
    )
    BYTES_RETENTION_DAYS = Setting[int | None](
        None,
        _days("to keep them as long as the image"),
        "E025",
        "The number of days the bytes and the thumbnail of an image are kept, if they "
        "are to go earlier than its dimensions, type, size and hash, which stay for "
        "`REQUEST_IMAGES_RETENTION_DAYS`. The capture status becomes `expired`. None "
        "keeps the bytes as long as the image.",
    )
    MAX_STORED_MB = Setting[float | None](
        None,
        Kind(
            "a number above 0, up to 10**12, or None for no budget",
            lambda value: value is None or (_is_number(value) and 0 < value <= 10**12),
        ),
        "E026",
        "The total size of all stored images and thumbnails, in megabytes (1 MB = "
        "1,048,576 bytes). When they take more, `cleanup_old_images` deletes the bytes "
        "of the oldest successful requests, and after these of the oldest failed ones. "
        "The metadata of the images stay, and the capture status becomes "
        "`over_budget`. None means no budget.",
    )
    ALLOWED_FORMATS = Setting[Collection[str]](
        (
            *("AVIF", "BMP", "DDS", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000"),
            *("PNG", "PPM", "PSD", "TIFF", "WEBP"),
        ),
        Kind("a list, tuple or set of names of image formats", _are_names),
        "E005",
        "The image formats that are kept, by Pillow's names. An image in another "
        "format gets the capture status `unsupported`.",
    )
    KEEP_UNREADABLE = Setting(
        True,
        _BOOLEAN,
        "E037",
        "Whether a file that begins like an image is kept if its header is broken. Its "
        "capture status is `unreadable` in any case. It is never shown, but can be "
        "downloaded.",
    )
    KEEP_OTHER_FILES = Setting(
        False,
        _BOOLEAN,
        "E038",
        "Whether a file that is not an image is kept if its request failed. Its "
        "capture status is `unsupported` in any case. It is never shown, but can be "
        "downloaded.",
    )
    METHODS = Setting[Collection[str]](
        ("POST", "PUT", "PATCH"),
        Kind(
            "a list, tuple or set of upper-case HTTP methods",
            lambda value: _are_names(value) and all(m.isupper() for m in value),
        ),
        "E006",
        "The HTTP methods that are recorded: those that carry a body. The GET that "
        "shows an upload form is not recorded.",
    )
    REQUEST_ID_HEADER = Setting[str | None](
        "X-Request-ID",
        Kind(
            "the name of a request header, or None to generate every id",
            lambda value: (
                value is None
                or (isinstance(value, str) and value.replace("-", "").isalnum())
            ),
        ),
        "E007",
        "The header whose value becomes the request id if it is well-formed (letters, "
        "digits, `.`, `_`, `-`; up to 64 characters). Otherwise, and with None, an id "
        "of 32 hexadecimal digits is generated.",
    )
    CLEANUP_BATCH_SIZE = Setting(
        500,
        _whole("from 1 to 10,000", 1, 10_000),
        "E008",
        "The largest number of rows that `cleanup_old_images` deletes in one "
        "transaction; its option `--batch-size` overrides it. A batch that would take "
        "too long is smaller.",
    )
    THUMBNAIL_SIZE = Setting(
        160,
        _whole("of pixels from 16 to 1,024", 16, 1024),
        "E009",
        "The longer side of a thumbnail, in pixels. Existing thumbnails keep their "
        "size.",
    )
    THUMBNAIL_MAX_PIXELS = Setting(
        40_000_000,
        _whole("of pixels above 0"),
        "E010",
        "The largest number of pixels (width times height) of an image that gets a "
        "thumbnail and is analysed. A crafted file of a few bytes can unfold to "
        "gigabytes.",
    )
    DECODER = Setting(
        "process",
        _choice("process", "inline"),
        "E036",
        "Where pictures are decoded for thumbnails and measures. With `process`, a "
        "separate process decodes them, and the system limits its memory and time. "
        "With `inline`, the process that needs them decodes them, and only what their "
        "headers say limits the memory.",
    )

    WRITE_MODE = Setting(
        "auto",
        _choice("auto", "after_response", "background", "spool"),
        "E012",
        "The thread that writes: the request's own thread after the response, or one "
        "background thread of the process, which writes many requests at once. With "
        "`auto` it is the request's own thread under WSGI, where it keeps its database "
        "connection, and the background thread under ASGI, where each request would "
        "open one, and wherever `REQUEST_IMAGES_STORAGE` is set. With `spool` each "
        "request goes into `REQUEST_IMAGES_SPOOL_DIR`, and `write_spooled_requests "
        "--follow` writes it.",
    )
    AFTER_RESPONSE_SECONDS = Setting[float](
        0.2,
        Kind(
            "a number of seconds from 0.01 to 60",
            lambda value: _is_number(value) and 0.01 <= value <= 60,
        ),
        "E041",
        "The longest time that a request's own thread writes after the response, in "
        "seconds. A request that is not written by then is left to the background "
        "thread.",
    )
    BACKLOG_MAX_MB = Setting[float](
        64,
        _POSITIVE,
        "E013",
        "The total size of the images that may wait in each process, in megabytes "
        "(1 MB = 1,048,576 bytes): in the queue of the background thread, and for the "
        "end of requests that no server closes.",
    )
    RUNNING_MAX_MB = Setting[float](
        256,
        _POSITIVE,
        "E035",
        "The total size of the images that running views may hold in each process, in "
        "megabytes (1 MB = 1,048,576 bytes). Beyond it the newest image is dropped: "
        "its row has the capture status `over_budget`. Views are not affected.",
    )
    BACKLOG_MAX_REQUESTS = Setting(
        1000,
        _whole("above 0"),
        "E014",
        "The number of requests that may wait in the queue of the background thread.",
    )
    BACKLOG_WAIT_SECONDS = Setting[float](
        1,
        Kind(
            "a number of seconds from 0 to 60",
            lambda value: _is_number(value) and 0 <= value <= 60,
        ),
        "E015",
        "The longest time that a request's thread waits after the response when the "
        "queue is full, in seconds. A request for which there is no room by then goes "
        "into the spool folder. Without a folder its image is dropped, and only its "
        "log is written, with the capture status `over_budget`.",
    )
    SHUTDOWN_SECONDS = Setting[float](
        5,
        Kind(
            "a number of seconds, 0 or more",
            lambda value: _is_number(value) and 0 <= value < float("inf"),
        ),
        "E016",
        "The time that a process waits on exit for its queue to be written, in "
        "seconds.",
    )
    LOCK_TIMEOUT_SECONDS = Setting[float](
        1,
        Kind(
            "a number of seconds from 0.01 to 60",
            lambda value: _is_number(value) and 0.01 <= value <= 60,
        ),
        "E017",
        "The longest time that a statement of this app waits for a lock, in seconds, "
        "on PostgreSQL and MariaDB. A statement as a whole may take ten times as long. "
        "On SQLite the connection's own `timeout` applies.",
    )
    SPOOL_DIR = Setting[str | os.PathLike[str] | None](
        None,
        Kind(
            "the path of a folder, or None",
            lambda value: value is None or isinstance(value, str | os.PathLike),
        ),
        "E018",
        "A local folder for requests that cannot be written to the database. The next "
        "healthy process, or `write_spooled_requests`, writes them later. With None "
        "such requests are counted and lost.",
    )
    SPOOL_MAX_MB = Setting[float](
        512,
        _POSITIVE,
        "E019",
        "The largest size of the spool folder, in megabytes.",
    )

    SAMPLE_RATE = Setting[float](
        1.0,
        Kind(
            "a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1
        ),
        "E020",
        "The share of requests whose images are captured. The request id decides, so "
        "every process chooses the same requests. Other requests get the capture "
        "status `sampled_out`.",
    )
    SHOULD_CAPTURE = Setting[Callable[..., Any] | str | None](
        None,
        _FUNCTION,
        "E021",
        "A function that is called with the request before the view, and returns True "
        "or False. After False no image is captured, and the capture status is "
        "`opted_out`.",
    )
    SHOULD_KEEP = Setting[Callable[..., Any] | str | None](
        None,
        _FUNCTION,
        "E022",
        "A function that is called after the response with the unsaved `RequestLog` "
        "if there is an image to keep. It returns True, False, or the probability with "
        "which to keep the image. An image that is not kept gets the capture status "
        "`sampled_out`.",
    )

    TENANT = Setting[Callable[..., Any] | str | None](
        None,
        _FUNCTION,
        "E039",
        "A function that is called with the request while its view runs, and returns "
        "the name of its tenant as text. With None the tenant is the schema of the "
        "connection, if the database backend has schemas like django-tenants.",
    )
    TENANT_CONTEXT = Setting[Callable[..., Any] | str | None](
        None,
        _FUNCTION,
        "E040",
        "A function that is called with the name of a tenant, and returns a context "
        "manager. Rows of this tenant are written within it, in any thread. Needed "
        "with `TENANT`.",
    )

    RELEASE = Setting(
        "",
        Kind(
            "text of up to 100 characters",
            lambda value: isinstance(value, str) and len(value) <= 100,
        ),
        "E032",
        "The release of the project that handles the requests, such as '2.4.1' or a "
        "commit. It is saved with each log, so that statistics can compare releases. "
        "`annotate(request, release=...)` overrides it for one request.",
    )
    STATISTICS_RETENTION_DAYS = Setting[int | None](
        None,
        _days("to keep statistics forever"),
        "E033",
        "The number of days the hourly statistics are kept; they outlive the requests "
        "and their images. `cleanup_old_images` deletes older ones. None keeps them "
        "forever.",
    )

    STORAGE = Setting[str | None](
        None,
        Kind(
            "None, or an alias in STORAGES that is not 'database'",
            lambda value: (
                value is None
                or (
                    isinstance(value, str)
                    and 0 < len(value) < 64
                    and value != "database"
                )
            ),
        ),
        "E023",
        "The place of the bytes of new images: None for the database, or the alias of "
        "a storage in Django's `STORAGES`. Images that are stored already stay where "
        "they are; `move_image_contents` moves them.",
    )
    THUMBNAILS = Setting(
        "on_demand",
        _choice("on_demand", "task"),
        "E027",
        "When a thumbnail is made: on the first view, or with `task` by a Django Task "
        "that is enqueued for each newly stored image. `task` needs a running worker.",
    )
    THUMBNAIL_MAX_MEMORY_MB = Setting[float](
        256,
        _POSITIVE,
        "E028",
        "The largest amount of memory for decoding an image, in megabytes (1 MB = "
        "1,048,576 bytes). An image that needs more gets no thumbnail and is not "
        "analysed. The need is estimated from the format and the number of pixels "
        "before decoding.",
    )
    ENCODINGS = Setting[Collection[str]](
        ("zlib",),
        Kind(
            "a list, tuple or set of 'zlib' and 'lepton'",
            lambda value: _are_names(value) and set(value) <= {"zlib", "lepton"},
        ),
        "E029",
        "The lossless encodings in which images may be stored: `zlib` for BMP, DDS, "
        "ICO, PPM, PSD and TIFF, and `lepton` for JPEG, which needs the extra of that "
        "name. Images are compressed only by `compress_image_contents` or a task.",
    )
    COMPRESSION = Setting(
        "by_command",
        _choice("by_command", "task"),
        "E030",
        "When images are compressed: by `compress_image_contents`, or with `task` also "
        "by a Django Task that is enqueued for each newly stored image that one of the "
        "encodings supports. `task` needs a running worker.",
    )
    ANALYSIS = Setting(
        "by_command",
        _choice("by_command", "task"),
        "E034",
        "When the appearance of images is measured: by `analyze_image_contents`, or "
        "with `task` also by a Django Task that is enqueued for each newly stored "
        "image. `task` needs a running worker.",
    )

    @classmethod
    def declarations(cls) -> Iterator[Setting[Any]]:
        """Yield each setting, in the order of declaration."""
        for value in vars(cls).values():
            if isinstance(value, Setting):
                yield value


conf: Conf = Conf()


def load_function(value: Callable[..., Any] | str | None) -> Callable[..., Any] | None:
    """Return the function that a setting names or holds; None if it is not set."""
    # Each time anew: that is one look-up in `sys.modules`, and never out of date.
    return import_string(value) if isinstance(value, str) else value


class _Defaults(AppConf):  # type: ignore[misc]  # appconf is untyped
    """Puts the defaults on ``django.conf.settings``."""

    class Meta:
        prefix = PREFIX.rstrip("_").lower()

    locals().update({s.name: s.default for s in Conf.declarations()})
