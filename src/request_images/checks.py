"""System checks: a wrong setting is told at start-up, with its name and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.utils.module_loading import import_string

from request_images.contents.task_backend import why_no_worker
from request_images.images.formats import FORMATS
from request_images.storage.encodings import ENCODINGS

from .conf import PREFIX, Conf, Setting

__all__ = ("check_settings",)


@register(Tags.compatibility)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check every ``REQUEST_IMAGES_*`` setting."""
    return [
        *_wrong_values(),
        *_unknown_formats(),
        *_no_functions(),
        *_no_storage(),
        *_retention(),
        *_unknown_names(),
        *_backlog(),
        *_no_effect(),
        *_budget(),
        *_tasks(),
        *_public_storage(),
        *_encodings(),
    ]


def _wrong_values() -> Iterator[CheckMessage]:
    for setting in Conf.declarations():
        if problem := setting.problem(setting.given()):
            yield Error(
                problem,
                hint=f"The default is {setting.default!r}. {setting.meaning}",
                id=setting.check_id,
            )


def _are_right(*chosen: Setting[Any]) -> bool:
    """Tell whether settings can be compared; what is wrong is told already."""
    return not any(setting.problem(setting.given()) for setting in chosen)


def _unknown_formats() -> Iterator[CheckMessage]:
    names = Conf.ALLOWED_FORMATS.given()
    if Conf.ALLOWED_FORMATS.problem(names):
        return
    for name in sorted(set(names) - set(FORMATS)):
        yield Error(
            f"{PREFIX}ALLOWED_FORMATS names {name!r}, which is no known format.",
            hint=f"Known are {', '.join(FORMATS)}.",
            id="request_images.E011",
        )


def _no_functions() -> Iterator[CheckMessage]:
    for setting in (Conf.SHOULD_CAPTURE, Conf.SHOULD_KEEP):
        path = setting.given()
        if not isinstance(path, str) or setting.problem(path):
            continue
        try:
            found = import_string(path)
        except Exception as error:  # noqa: BLE001  # a module may raise anything
            problem = f"{type(error).__name__}: {error}"
        else:
            is_right = callable(found) and not setting.problem(found)
            problem = "" if is_right else f"must be {setting.expects}, not {found!r}"
        if problem:
            yield Error(
                f"{setting.full_name} names {path!r}, which is not fit: {problem}.",
                hint=f"The default is {setting.default!r}. {setting.meaning}",
                id=setting.check_id,
            )


def _no_storage() -> Iterator[CheckMessage]:
    alias = Conf.STORAGE.given()
    known: Any = settings.STORAGES
    if Conf.STORAGE.problem(alias) or alias is None:
        return
    problem = "" if alias in known else "is not in STORAGES"
    if not problem:
        try:
            _ = storages[alias]
        except Exception as error:  # noqa: BLE001  # a backend may raise anything
            problem = f"cannot be used: {type(error).__name__}: {error}"
    if problem:
        yield Error(
            f"{PREFIX}STORAGE names {alias!r}, which {problem}.",
            hint=f"There are {', '.join(map(repr, known))}. {Conf.STORAGE.meaning}",
            id=Conf.STORAGE.check_id,
        )


def _retention() -> Iterator[CheckMessage]:
    days = (
        Conf.RETENTION_DAYS,
        Conf.FAILED_RETENTION_DAYS,
        Conf.BYTES_RETENTION_DAYS,
    )
    logs = Conf.LOG_RETENTION_DAYS.given()
    for setting in days:
        given = setting.given()
        if not _are_right(setting, Conf.LOG_RETENTION_DAYS):
            continue
        # Of the others None means "as RETENTION_DAYS", which is told of already.
        is_longer = given is None and setting is Conf.RETENTION_DAYS
        if logs is not None and (is_longer or (given is not None and given > logs)):
            yield CheckWarning(
                f"{PREFIX}LOG_RETENTION_DAYS ({logs}) is shorter than "
                f"{setting.full_name} ({given}): an image goes with its log.",
                hint=f"Keep logs at least as long: raise {PREFIX}LOG_RETENTION_DAYS.",
                id="request_images.W001",
            )


def _unknown_names() -> Iterator[CheckMessage]:
    known = [setting.full_name for setting in Conf.declarations()]
    for name in dir(settings):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield CheckWarning(
                f"{name} is no setting of django-request-images.",
                hint=f"Did you mean {close[0]}?" if close else "Remove it.",
                id="request_images.W002",
            )


def _backlog() -> Iterator[CheckMessage]:
    room, largest = Conf.BACKLOG_MAX_MB.given(), Conf.MAX_SIZE_MB.given()
    if not _are_right(Conf.BACKLOG_MAX_MB, Conf.MAX_SIZE_MB):
        return
    drops = Conf.BACKLOG_WHEN_FULL.given() == "drop"
    if Conf.WRITE_MODE.given() == "background" and drops and room < largest:
        yield CheckWarning(
            f"{PREFIX}BACKLOG_MAX_MB ({room}) is smaller than {PREFIX}MAX_SIZE_MB "
            f"({largest}): an image in between is always dropped.",
            hint=f"Raise {PREFIX}BACKLOG_MAX_MB.",
            id="request_images.W003",
        )


def _no_effect() -> Iterator[CheckMessage]:
    data, images = Conf.BYTES_RETENTION_DAYS.given(), Conf.RETENTION_DAYS.given()
    if not _are_right(Conf.BYTES_RETENTION_DAYS, Conf.RETENTION_DAYS):
        return
    if data is not None and images is not None and data >= images:
        yield CheckWarning(
            f"{PREFIX}BYTES_RETENTION_DAYS ({data}) is not shorter than "
            f"{PREFIX}RETENTION_DAYS ({images}): bytes go with their image.",
            hint=f"Raise {PREFIX}RETENTION_DAYS, or leave the other out.",
            id="request_images.W004",
        )


def _budget() -> Iterator[CheckMessage]:
    room, largest = Conf.MAX_STORED_MB.given(), Conf.MAX_SIZE_MB.given()
    if not _are_right(Conf.MAX_STORED_MB, Conf.MAX_SIZE_MB):
        return
    if room is not None and room < largest:
        yield CheckWarning(
            f"{PREFIX}MAX_STORED_MB ({room}) is smaller than {PREFIX}MAX_SIZE_MB "
            f"({largest}): one image can be over the budget.",
            hint=f"Raise {PREFIX}MAX_STORED_MB.",
            id="request_images.W005",
        )


def _tasks() -> Iterator[CheckMessage]:
    asked = (
        (Conf.THUMBNAILS, "thumbnails are made when somebody looks at them"),
        (Conf.COMPRESSION, "images are compressed by compress_image_contents only"),
        (Conf.ANALYSIS, "images are analysed by analyze_image_contents only"),
    )
    wanted = [each for each in asked if each[0].given() == "task"]
    why = why_no_worker() if wanted else ""
    for setting, instead in wanted if why else ():
        yield CheckWarning(
            f"{setting.full_name} is 'task', but {why}: nothing is enqueued, and "
            f"{instead}.",
            hint="Name a backend in TASKS that has a worker, such as a database's.",
            id="request_images.W006",
        )


def _public_storage() -> Iterator[CheckMessage]:
    alias = Conf.STORAGE.given()
    if Conf.STORAGE.problem(alias) or alias is None or any(_no_storage()):
        return
    if root := public_root(storages[alias]):
        yield CheckWarning(
            f"{PREFIX}STORAGE names {alias!r}, whose files are below {root}: a "
            "web server that serves that folder serves the images to everybody.",
            hint="Name a storage with a `location` of its own.",
            id="request_images.W007",
        )


def public_root(storage: Storage) -> str:
    """Return the setting of a folder for everybody that a storage's files are below.

    Returns:
        Its name; empty for none, and for a storage that keeps no files here.
    """
    # Django's storage of static files has no place where STATIC_ROOT is not set.
    if not isinstance(storage, FileSystemStorage) or not storage.location:
        return ""
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        root = getattr(settings, name)
        # Made absolute as Django does it: a setting may have `..` in it.
        if root and Path(storage.location).is_relative_to(
            FileSystemStorage(root).location
        ):
            return name
    return ""


def _encodings() -> Iterator[CheckMessage]:
    names = Conf.ENCODINGS.given()
    if Conf.ENCODINGS.problem(names):
        return
    for name in names:
        if why := ENCODINGS[name].why_unavailable():
            yield Error(
                f"{PREFIX}ENCODINGS names {name!r}, but {why}.",
                hint="Install it wherever images are read, or leave it out.",
                id=Conf.ENCODINGS.check_id,
            )
