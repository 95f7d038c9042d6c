"""Put, read and delete the bytes of images: in the database, or in a Django storage.

A Django storage is any alias of ``STORAGES``: local files, S3 (by django-storages) and
others. A store gets the content's row, and never looks for one itself.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from request_images.exceptions import ObjectMissing, StorageError
from request_images.images.formats import MIME_TYPES

from .breaker import Breaker

DATABASE = ""
"""The storage alias that stands for the database column."""

ANSWER_SECONDS = 1.0
"""The time within which a reachable storage has answered."""

SLOW_SECONDS = 1.0
"""A write that takes longer must not be repeated by the thread of a request."""

# The names that `key_of` makes, also as Django's storages change a name that exists.
_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{64}-[0-9a-f]{8}((_[A-Za-z0-9]{7})?\.[a-z0-9]+)+")

_LASTING = (
    ImproperlyConfigured,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    SuspiciousOperation,
    TypeError,
    ValueError,
)


class Content(Protocol):
    """The fields of an ``ImageContent`` that a store uses."""

    data: bytes | memoryview | None
    storage: str
    name: str
    stored_size: int


class Store(Protocol):
    """A place for the bytes of contents."""

    def check(self, *, is_awaited: bool = False) -> None:
        """Raise the error of a store that keeps failing, to save the time of a call.

        If the thread of a request waits for it, also that of a store that is slow.
        """

    def put(self, content: Content, data: bytes, *, is_awaited: bool = False) -> None:
        """Store ``data``, and set on the unsaved row where it is."""

    def read(self, content: Content) -> bytes:
        """Return the bytes that were put."""

    def delete(self, name: str) -> None:
        """Delete the bytes of a deleted row; no error if they do not exist."""

    def holds(self, name: str) -> bool:
        """Return whether an object of this name exists."""

    def names(self, within: str = "") -> Iterator[str]:
        """Yield the names of all objects in a folder whose names have our form."""


class DatabaseStore:
    """The database: the bytes are in the row itself, and are deleted with it."""

    def check(self, *, is_awaited: bool = False) -> None:
        """Do nothing: a failing database also fails to write the row."""

    def put(self, content: Content, data: bytes, *, is_awaited: bool = False) -> None:
        """Store ``data`` in the row itself."""
        content.storage = DATABASE
        content.name = ""
        content.data = data
        content.stored_size = len(data)

    def read(self, content: Content) -> bytes:
        """Return the bytes that were put.

        Raises:
            ObjectMissing: The row has no bytes.
        """
        if content.data is None:
            raise ObjectMissing("the row has no bytes", is_passing=False)
        return bytes(content.data)  # some databases return a memoryview

    def delete(self, name: str) -> None:
        """Do nothing: the bytes were deleted with the row."""

    def holds(self, name: str) -> bool:
        """Return False: rows are no objects."""
        return False

    def names(self, within: str = "") -> Iterator[str]:
        """Yield nothing: rows are no objects."""
        return iter(())


class StorageStore:
    """A storage of ``STORAGES``, such as S3: the bytes are objects.

    Errors of the storage become a `StorageError`. A storage that keeps failing is not
    called for a while. Reading and writing have separate circuit breakers, because a
    full disk can still be read. A third one counts slow writes for which the thread of
    a request has waited, and refuses only those: others have the time. The alias is
    resolved at each use.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.breaker = Breaker()
        self.slow_breaker = Breaker(failures=2)
        self.read_breaker = Breaker()
        self._last: dict[Breaker, tuple[str, bool]] = {}

    @property
    def storage(self) -> Storage:
        """The Django storage that the settings have for the alias now."""
        return storages[self.alias]

    def check(self, *, is_awaited: bool = False) -> None:
        """Raise the error of a storage that keeps failing, to save the time of a call.

        Raises:
            StorageError: Writing has just failed several times, or was slow while a
                request waits, or the storage does not exist.
        """
        with self._wrapping():
            _ = self.storage
        if is_awaited:
            self._require(self.slow_breaker)
        self._require(self.breaker)

    def put(self, content: Content, data: bytes, *, is_awaited: bool = False) -> None:
        """Write an object under the content's name, or a similar one.

        Raises:
            StorageError: It was not written, as far as is known.
        """
        began = monotonic()
        try:
            name = self.storage.save(content.name, ContentFile(data))
            _sync_to_disk(self.storage, name)
        except Exception as error:
            failure = self._wrapped(error)
            self._failed(self.breaker, failure)
            raise failure from error
        finally:
            if is_awaited:
                self._time(monotonic() - began)
        self.breaker.succeeded()
        content.storage = self.alias
        content.name = name
        content.data = None
        content.stored_size = len(data)

    def _time(self, seconds: float) -> None:
        if seconds > SLOW_SECONDS:
            slow = StorageError(f"{self.alias}: a write took {seconds:.1f} s")
            self._failed(self.slow_breaker, slow)
        else:
            self.slow_breaker.succeeded()

    def read(self, content: Content) -> bytes:
        """Return the bytes that were put.

        Raises:
            ObjectMissing: There is no such object.
            StorageError: The storage does not answer, or was not called because it has
                just failed several times.
        """
        self._require(self.read_breaker)
        try:
            data = self._read(content.name)
        except StorageError as failure:
            # A storage that refuses an object, or has lost it, has answered.
            if failure.is_passing:
                self._failed(self.read_breaker, failure)
            else:
                self.read_breaker.succeeded()
            raise
        self.read_breaker.succeeded()
        return data

    def _read(self, name: str) -> bytes:
        began = monotonic()
        try:
            with self.storage.open(name, "rb") as file:
                data: bytes = file.read()
        except Exception as error:
            if not self._is_gone(name, error, monotonic() - began):
                raise self._wrapped(error) from error
            self._check_reachable()
            text = f"{self.alias} has no {name}"
            raise ObjectMissing(text, is_passing=False) from error
        return data

    def _is_gone(self, name: str, error: Exception, seconds: float) -> bool:
        if isinstance(error, FileNotFoundError):
            return True
        if not _may_be_gone(error, seconds):
            return False
        try:  # not every library raises FileNotFoundError
            return not self.storage.exists(name)
        except Exception as another:  # noqa: BLE001  # a library may raise anything
            if is_passing(another):  # the storage has become unreachable
                raise self._wrapped(another) from error
            return False

    def delete(self, name: str) -> None:
        """Delete an object; no error if it does not exist.

        Raises:
            StorageError: It was not deleted, as far as is known.
        """
        with self._wrapping(), suppress(FileNotFoundError):
            self.storage.delete(name)

    def holds(self, name: str) -> bool:
        """Return whether an object of this name exists.

        Raises:
            StorageError: The storage does not answer.
        """
        with self._wrapping():
            return bool(self.storage.exists(name))

    def names(self, within: str = "") -> Iterator[str]:
        """Yield the names of all objects in a folder whose names have our form.

        Raises:
            StorageError: The storage does not answer, or cannot list its objects.
        """
        folders, _ = self._list(within)
        for name in sorted(filter(_FOLDER.fullmatch, folders)):
            folder = f"{within}/{name}" if within else name
            _, files = self._list(folder)
            yield from (f"{folder}/{file}" for file in files if _FILE.fullmatch(file))

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        with self._wrapping(), suppress(FileNotFoundError):
            return self.storage.listdir(folder)
        return [], []  # nothing was ever written

    def _check_reachable(self) -> None:
        """Raise the error of the storage itself: S3 also answers 404 for a bucket."""
        with self._wrapping(), suppress(NotImplementedError):
            self.storage.listdir("")

    def _require(self, breaker: Breaker) -> None:
        if not breaker.allows():
            text = f"{self.alias} was not called: it has just failed or been slow"
            last, passes = self._last.get(breaker, ("", True))
            raise StorageError(f"{text} ({last})", is_passing=passes)

    def _failed(self, breaker: Breaker, failure: StorageError) -> None:
        # Not the error itself: its traceback holds the bytes.
        self._last[breaker] = (str(failure), failure.is_passing)
        breaker.failed()

    @contextmanager
    def _wrapping(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise self._wrapped(error) from error

    def _wrapped(self, error: Exception) -> StorageError:
        text = f"{self.alias}: {type(error).__name__}: {error}"
        return StorageError(text, is_passing=is_passing(error))


def key_of(
    image_hash: str, mime_type: str, suffix: str = "", *, folder: str = ""
) -> str:
    """Return a readable name for an object that no other object ever had.

    A content that comes back after its deletion gets another name, so that a pending
    deletion never deletes it. `suffix` is that of a compressed form, and `folder` that
    of a tenant.
    """
    known = MIME_TYPES.get(mime_type)
    extension = known.extension if known else ".bin"
    name = f"{image_hash}-{secrets.token_hex(4)}{extension}{suffix}"
    return "/".join(filter(None, (folder, image_hash[:2], name)))


def store_of(alias: str) -> Store:
    """Return the store of a storage alias; an unknown alias fails when it is used."""
    found = _stores.get(alias)
    return found or _stores.setdefault(alias, StorageStore(alias))


def is_passing(error: Exception) -> bool:
    """Return whether a later call may succeed, given the error of a storage's library.

    Missing permissions, or a missing bucket, do not pass. An unknown error may pass:
    one call too many costs little.
    """
    status = _status_of(error)
    if status is not None:
        return status >= 500 or status in {408, 429}
    return not isinstance(error, _LASTING)


def _may_be_gone(error: Exception, seconds: float) -> bool:
    """Return whether to ask if an object exists, after an error of reading it."""
    status = _status_of(error)
    if status is not None:
        return status in {404, 410}
    # Django says of an unreachable file that it does not exist, and a missing
    # connection is an OSError in most libraries. A silent server stays silent.
    return seconds < ANSWER_SECONDS and not isinstance(error, OSError)


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status of the server's answer, wherever the library keeps it."""
    response = getattr(error, "response", None)
    botocore = response if isinstance(response, dict) else {}
    for status in (
        botocore.get("ResponseMetadata", {}).get("HTTPStatusCode"),
        getattr(error, "status_code", None),  # Azure
        getattr(error, "code", None),  # Google; others have texts or methods there
        getattr(response, "status_code", None),  # requests
    ):
        if isinstance(status, int) and 100 <= status < 600:
            return int(status)
    return None


def _sync_to_disk(storage: Storage, name: str) -> None:
    """Wait until a saved object is on the disk, if it is a local file.

    Django leaves that to the system, but a database survives a power failure, and would
    then refer to an object that does not.

    Raises:
        OSError: The disk failed to store it.
    """
    try:
        path = Path(storage.path(name))
        _fsync(path)
    except (NotImplementedError, FileNotFoundError):
        return  # some storages return a path where there is no file
    # The entries in the folders are data of their own, which some systems cannot sync.
    with suppress(OSError):
        _fsync(path.parent)
        _fsync(path.parent.parent)


def _fsync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def forget() -> None:
    """Forget all failures, as in a new process."""
    _stores.clear()
    _stores[DATABASE] = DatabaseStore()


_stores: dict[str, Store] = {}
forget()
os.register_at_fork(after_in_child=forget)
