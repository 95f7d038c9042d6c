"""Storages that fail on demand, and checks of consistency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, storages
from django.utils import timezone

from request_images.contents.delete_objects import Deletion, delete_pending
from request_images.models import ImageContent, PendingDeletion
from request_images.storage.stores import store_of
from request_images.writer.rows import save_many
from tests.factories import unsaved_record

ALIAS = "bucket"


class Killed(BaseException):
    """The process was killed at this point."""


class Troubled:
    """Call a hook before each method; it may raise, wait, or act as another process.

    The hook of ``open`` may return other content, that of ``save`` another name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hooks: dict[str, Callable[[str], Any]] = {}
        self.calls: list[str] = []

    def _meet(self, verb: str, name: str) -> Any:
        self.calls.append(verb)
        return self.hooks.get(verb, lambda name: None)(name)

    def _save(self, name, content):
        name = self._meet("save", name) or name
        saved = super()._save(name, content)
        self._meet("saved", name)
        return saved

    def _open(self, name, mode="rb"):
        instead = self._meet("open", name)
        return super()._open(name, mode) if instead is None else ContentFile(instead)

    def delete(self, name):
        self._meet("delete", name)
        super().delete(name)
        self._meet("deleted", name)

    def listdir(self, path):
        self._meet("listdir", path)
        return super().listdir(path)


class TroubledMemory(Troubled, InMemoryStorage):
    """A failing storage in memory."""


class TroubledFiles(Troubled, FileSystemStorage):
    """A failing storage in a folder."""


class ForeignMemory(TroubledMemory):
    """A storage in memory whose library has its own error for a missing object.

    Azure and Google have such errors; the test selects one.
    """

    missing: Exception

    def _open(self, name, mode="rb"):
        try:
            return super()._open(name, mode)
        except FileNotFoundError:
            raise self.missing from None

    def exists(self, name):
        self._meet("exists", name)
        return super().exists(name)


def use_bucket(settings: Any, tmp_path: Any, kind: str = "memory", alias: str = ALIAS):
    """Store new images in a storage, and return it."""
    options = {"location": str(tmp_path / alias)} if kind == "files" else {}
    backend = {
        "memory": "TroubledMemory",
        "files": "TroubledFiles",
        "foreign": "ForeignMemory",
    }[kind]
    settings.STORAGES = {
        **settings.STORAGES,
        alias: {"BACKEND": f"tests.storages.{backend}", "OPTIONS": options},
    }
    settings.REQUEST_IMAGES_STORAGE = alias
    return storages[alias]


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a hook that raises."""

    def hook(*args: object, **kwargs: object) -> None:
        raise error

    return hook


def keep(*seeds: int) -> list[ImageContent]:
    """Keep pictures as a request would, and return their contents."""
    records = [unsaved_record(seed) for seed in seeds]
    save_many(records)
    return [ImageContent.objects.get(pk=r.image.content_id) for r in records]


def objects(alias: str = ALIAS) -> set[str]:
    """Return the names of a storage's objects."""
    return set(store_of(alias).names())


def check(alias: str = ALIAS) -> None:
    """Check that each object has a row or is listed, and each row has its object."""
    kept = set(
        ImageContent.objects.filter(storage=alias).values_list("name", flat=True)
    )
    listed = set(
        PendingDeletion.objects.filter(storage=alias).values_list("name", flat=True)
    )
    there = objects(alias)
    assert kept <= there
    assert there <= kept | listed
    assert not kept & listed


def delete_now() -> Deletion:
    """Delete all objects on the list, whenever they are due."""
    PendingDeletion.objects.update(due_at=timezone.now())
    return delete_pending()


def kill_at(patch: Any, target: Any, name: str, when: str, nth: int = 1) -> None:
    """Simulate a kill before or after the nth call of a function."""
    function, calls = getattr(target, name), []

    def killing(*args: object, **kwargs: object) -> Any:
        calls.append(name)
        if when == "before" and len(calls) == nth:
            raise Killed
        result = function(*args, **kwargs)
        if when == "after" and len(calls) == nth:
            raise Killed
        return result

    patch.setattr(target, name, killing)
