"""Every setting: name, default, meaning. Declared once here, read when it is used.

``REQUEST_IMAGES_<NAME>`` in the project's settings overrides a default. django-appconf
puts the defaults on ``django.conf.settings``; the typed reader `conf` reads them back
at the moment of use, so that ``override_settings`` and late changes are honoured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, TypeVar, overload

from appconf import AppConf
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

PREFIX = "REQUEST_IMAGES_"

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
        self.full_name = PREFIX + name

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
    RETENTION_DAYS = Setting[int | None](
        30,
        expects="a whole number of days above 0, or None to keep images for ever",
        accepts=_is_days,
        meaning=(
            "How many days an image is kept. Older ones are no longer shown, and "
            "`cleanup_old_images` deletes them. None keeps them for ever."
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
            "How many rows `cleanup_old_images` deletes in one transaction, unless "
            "its `--batch-size` says otherwise."
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
            "No thumbnail is made of an image with more pixels (width times height): "
            "a crafted file of a few bytes can unfold to gigabytes."
        ),
        check_id="request_images.E010",
    )

    @classmethod
    def declarations(cls) -> Iterator[Setting[Any]]:
        """Yield each setting's declaration, in the order written here."""
        for value in vars(cls).values():
            if isinstance(value, Setting):
                yield value


conf = Conf()


class RequestImagesConf(AppConf):  # type: ignore[misc]  # appconf is untyped
    """Puts the defaults on ``django.conf.settings``."""

    class Meta:
        prefix = PREFIX.rstrip("_").lower()

    locals().update({s.name: s.default for s in Conf.declarations()})
