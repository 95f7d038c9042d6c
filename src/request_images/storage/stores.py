"""Where the bytes of an image are: put, read, delete, the same for every store.

A store is given the content's row and never looks for one itself.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Protocol

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from request_images.exceptions import ObjectMissing, StorageError
from request_images.images.formats import MIME_TYPES

from .breaker import Breaker
from .errors import is_passing, may_be_gone
from .fsync import settle

DATABASE = ""
"""The storage alias that stands for the database column."""

# What `key_of` makes, and what Django's storages make of it where it is taken.
_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{64}-[0-9a-f]{8}((_[A-Za-z0-9]{7})?\.[a-z0-9]+)+")


class Content(Protocol):
    """What a store needs of an ``ImageContent`` row."""

    data: bytes | memoryview | None
    storage: str
    name: str
    stored_size: int


class Store(Protocol):
    """Keeps the bytes of contents."""

    def check(self) -> None:
        """Raise what keeps failing, where trying again would only cost time."""

    def put(self, content: Content, data: bytes) -> None:
        """Keep ``data``, and say on the unsaved row where."""

    def read(self, content: Content) -> bytes:
        """Return what was put."""

    def delete(self, name: str) -> None:
        """Delete the bytes of a row that is gone; no error when they are, too."""

    def holds(self, name: str) -> bool:
        """Tell whether there is an object of this name."""

    def names(self) -> Iterator[str]:
        """Yield the names of all objects that are ours by their form."""


class DatabaseStore:
    """Keeps the bytes in the row itself. They go when the row goes."""

    def check(self) -> None:
        """Nothing fails here that the write of the row does not meet."""

    def put(self, content: Content, data: bytes) -> None:
        """Keep ``data`` in the row itself."""
        content.storage = DATABASE
        content.name = ""
        content.data = data
        content.stored_size = len(data)

    def read(self, content: Content) -> bytes:
        """Return what was put.

        Raises:
            ObjectMissing: The row has none.
        """
        if content.data is None:
            raise ObjectMissing("the row has no bytes", is_passing=False)
        return bytes(content.data)  # some databases hand out a memoryview

    def delete(self, name: str) -> None:
        """Do nothing: the bytes went with the row."""

    def holds(self, name: str) -> bool:
        """Return False: rows are no objects."""
        return False

    def names(self) -> Iterator[str]:
        """Yield nothing: rows are no objects."""
        return iter(())


class StorageStore:
    """Keeps the bytes as objects in one of the storages of ``STORAGES``.

    Whatever the storage raises is wrapped. One that keeps failing is left alone for a
    while; but a disk that is full is read all the same, so the two ways are apart.

    Args:
        alias: The storage's name in ``STORAGES``, which is resolved when it is used.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.breaker = Breaker()
        self.read_breaker = Breaker()
        self._last: dict[Breaker, tuple[str, bool]] = {}

    @property
    def storage(self) -> Storage:
        """Django's storage, of whatever is in the settings now."""
        return storages[self.alias]

    def check(self) -> None:
        """Raise what keeps failing, where trying again would only cost time.

        Raises:
            StorageError: It took nothing several times just now, or there is none.
        """
        try:
            _ = self.storage
        except Exception as error:
            raise self._wrapped(error) from error
        self._ask(self.breaker)

    def put(self, content: Content, data: bytes) -> None:
        """Write an object under the content's name, or under one like it.

        Raises:
            StorageError: It was not written, as far as is known.
        """
        try:
            name = self.storage.save(content.name, ContentFile(data))
            settle(self.storage, name)
        except Exception as error:
            failure = self._wrapped(error)
            self._failed(self.breaker, failure)
            raise failure from error
        self.breaker.succeeded()
        content.storage = self.alias
        content.name = name
        content.data = None
        content.stored_size = len(data)

    def read(self, content: Content) -> bytes:
        """Return what was put.

        Raises:
            ObjectMissing: There is no such object.
            StorageError: The storage does not answer, or was not asked because it has
                just failed several times.
        """
        self._ask(self.read_breaker)
        try:
            data = self._read(content.name)
        except StorageError as failure:
            # One that refuses an object, or has lost it, has answered.
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
            self._look_around()
            text = f"{self.alias} has no {name}"
            raise ObjectMissing(text, is_passing=False) from error
        return data

    def _is_gone(self, name: str, error: Exception, seconds: float) -> bool:
        if isinstance(error, FileNotFoundError):
            return True
        if not may_be_gone(error, seconds):
            return False
        try:  # not each library says it by Python's own error
            return not self.storage.exists(name)
        except Exception as another:  # noqa: BLE001
            if is_passing(another):  # it is away by now
                raise self._wrapped(another) from error
            return False

    def delete(self, name: str) -> None:
        """Delete an object; no error when it is gone already.

        Raises:
            StorageError: It was not deleted, as far as is known.
        """
        try:
            with suppress(FileNotFoundError):
                self.storage.delete(name)
        except Exception as error:
            raise self._wrapped(error) from error

    def holds(self, name: str) -> bool:
        """Tell whether there is an object of this name.

        Raises:
            StorageError: The storage does not answer.
        """
        try:
            return bool(self.storage.exists(name))
        except Exception as error:
            raise self._wrapped(error) from error

    def names(self) -> Iterator[str]:
        """Yield the names of all objects that are ours by their form.

        Raises:
            StorageError: The storage does not answer, or cannot list what it holds.
        """
        folders, _ = self._list("")
        for folder in sorted(filter(_FOLDER.fullmatch, folders)):
            _, files = self._list(folder)
            yield from (f"{folder}/{file}" for file in files if _FILE.fullmatch(file))

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        try:
            return self.storage.listdir(folder)
        except FileNotFoundError:  # nothing was ever written
            return [], []
        except Exception as error:
            raise self._wrapped(error) from error

    def _look_around(self) -> None:
        """Raise what is wrong with the storage itself: S3 says 404 of a bucket too."""
        try:
            self.storage.listdir("")
        except NotImplementedError:
            return
        except Exception as error:
            raise self._wrapped(error) from error

    def _ask(self, breaker: Breaker) -> None:
        if not breaker.allows():
            text = f"{self.alias} was not tried: it has just failed several times"
            last, passes = self._last.get(breaker, ("", True))
            raise StorageError(f"{text} ({last})", is_passing=passes)

    def _failed(self, breaker: Breaker, failure: StorageError) -> None:
        # Not the failure itself: its traceback holds the bytes.
        self._last[breaker] = (str(failure), failure.is_passing)
        breaker.failed()

    def _wrapped(self, error: Exception) -> StorageError:
        text = f"{self.alias}: {type(error).__name__}: {error}"
        return StorageError(text, is_passing=is_passing(error))


def key_of(image_hash: str, mime_type: str, suffix: str = "") -> str:
    """Return a name for an object that no other ever had, and that people can read.

    A content that comes back after its deletion has another: what is still to be
    deleted is never what is kept now.

    Args:
        image_hash: The SHA-256 of the image.
        mime_type: Its type, from which its extension is told.
        suffix: A further extension that tells of another form than that received.
    """
    known = MIME_TYPES.get(mime_type)
    extension = known.extension if known else ".bin"
    return f"{image_hash[:2]}/{image_hash}-{secrets.token_hex(4)}{extension}{suffix}"


def store_of(alias: str) -> Store:
    """Return the store of a storage alias; an alias that is none fails when used."""
    found = _stores.get(alias)
    return found or _stores.setdefault(alias, StorageStore(alias))


def forget() -> None:
    """Know nothing of what failed, as a new process does."""
    _stores.clear()
    _stores[DATABASE] = DatabaseStore()


_stores: dict[str, Store] = {}
forget()
os.register_at_fork(after_in_child=forget)
