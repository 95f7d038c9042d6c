"""System checks: they report a wrong setting at start-up, and how to correct it."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info
from django.core.checks import Warning as CheckWarning
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.utils.module_loading import import_string

from request_images.capture.before_view import nested_views
from request_images.contents.task_backend import why_no_worker
from request_images.images.formats import FORMATS
from request_images.storage.encodings import ENCODINGS
from request_images.writer.modes import mode_in_words
from request_images.writer.spool.survey import (
    NO_ROOM,
    OF_NETWORK,
    OF_OTHER,
    UNWRITABLE,
    spool_problems,
)

from .conf import PREFIX, Conf, Setting

__all__ = ("check_deployment", "check_settings")

_PREFIXES = ("REQUESTIMAGES", "IMAGESREQUEST", "CAPTUREIMAGES")
"""What people take for the prefix, the decorator's name included."""

_SPOOL = {
    UNWRITABLE: (
        "request_images.W014",
        "Let the server's user write there, or name another folder.",
    ),
    NO_ROOM: (
        "request_images.W015",
        f"Make room there, or change {PREFIX}SPOOL_MAX_MB.",
    ),
    OF_NETWORK: ("request_images.W016", "Name a folder on a disk of this machine."),
    OF_OTHER: (
        "request_images.W017",
        "Give the folder to the server's user, or name another one.",
    ),
}
"""The id and the hint of each kind of problem of the spool folder."""


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check every ``REQUEST_IMAGES_*`` setting."""
    return [
        *_wrong_values(),
        *_unknown_formats(),
        *_unusable_functions(),
        *_unusable_storage(),
        *_short_log_retention(),
        *_unknown_names(),
        *_useless_bytes_retention(),
        *_unlimited_decoder(),
        *_small_budget(),
        *_tasks_without_worker(),
        *_misplaced_storage(),
        *_no_spool(),
        *_open_spool(),
        *_unusable_spool(),
        *_nested_views(),
        *_unavailable_encodings(),
        *_half_a_tenant(),
    ]


def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """Tell who writes the requests, for ``manage.py check --deploy``."""
    chosen = (Conf.WRITE_MODE, Conf.STORAGE, Conf.ENABLED)
    if not _valid(*chosen) or not Conf.ENABLED.given():
        return []
    hint = f"{Conf.WRITE_MODE.full_name} is {Conf.WRITE_MODE.given()!r}."
    return [Info(mode_in_words(), hint=hint, id="request_images.I001")]


def _error(setting: Setting[Any], problem: str) -> Error:
    hint = f"The default is {setting.default!r}. {setting.meaning}"
    return Error(problem, hint=hint, id=setting.check_id)


def _valid(*chosen: Setting[Any]) -> list[Any]:
    """Return the values of settings; nothing if one is wrong, as its own check says."""
    values = [setting.given() for setting in chosen]
    wrong = map(Setting.problem, chosen, values)
    return [] if any(wrong) else values


def _wrong_values() -> Iterator[CheckMessage]:
    for setting in Conf.declarations():
        if problem := setting.problem(setting.given()):
            yield _error(setting, problem)


def _unknown_formats() -> Iterator[CheckMessage]:
    for names in _valid(Conf.ALLOWED_FORMATS):
        for name in sorted(set(names) - set(FORMATS)):
            yield Error(
                f"{PREFIX}ALLOWED_FORMATS names {name!r}, which is not a known format.",
                hint=f"The known formats are {', '.join(FORMATS)}.",
                id="request_images.E011",
            )


def _unusable_functions() -> Iterator[CheckMessage]:
    for setting in (
        Conf.SHOULD_CAPTURE,
        Conf.SHOULD_KEEP,
        Conf.TENANT,
        Conf.TENANT_CONTEXT,
    ):
        path = setting.given()
        if not isinstance(path, str) or setting.problem(path):
            continue
        try:
            found = import_string(path)
        except Exception as error:  # noqa: BLE001  # a module may raise anything
            problem = f"{type(error).__name__}: {error}"
        else:
            is_right = callable(found) and not setting.problem(found)
            wanted = "a function that is not async"
            problem = "" if is_right else f"it must be {wanted}, not {found!r}"
        if problem:
            name = setting.full_name
            yield _error(
                setting, f"{name} names {path!r}, which cannot be used: {problem}."
            )


def _unusable_storage() -> Iterator[CheckMessage]:
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
        aliases = ", ".join(map(repr, known))
        yield Error(
            f"{PREFIX}STORAGE names {alias!r}, which {problem}.",
            hint=f"STORAGES has {aliases}. {Conf.STORAGE.meaning}",
            id=Conf.STORAGE.check_id,
        )


def _short_log_retention() -> Iterator[CheckMessage]:
    for setting in (
        Conf.RETENTION_DAYS,
        Conf.FAILED_RETENTION_DAYS,
        Conf.BYTES_RETENTION_DAYS,
    ):
        days, logs = _valid(setting, Conf.LOG_RETENTION_DAYS) or (None, None)
        if logs is None:
            continue
        # None means forever for RETENTION_DAYS, and "as RETENTION_DAYS" for the others.
        if setting is Conf.RETENTION_DAYS if days is None else days > logs:
            images = "for ever" if days is None else days
            yield CheckWarning(
                f"{PREFIX}LOG_RETENTION_DAYS ({logs}) is shorter than "
                f"{setting.full_name} ({images}): an image is deleted with its log.",
                hint=f"Raise {PREFIX}LOG_RETENTION_DAYS, or set it to None.",
                id="request_images.W001",
            )


def _unknown_names() -> Iterator[CheckMessage]:
    known = [setting.name for setting in Conf.declarations()]
    for name in dir(settings):
        short = name.removeprefix(PREFIX)
        if short == name:
            close = _meant_by(name, known)
        elif short not in known:
            # Without the prefix, which makes every two names look alike.
            close = difflib.get_close_matches(short, known, n=1)
        else:
            continue
        if close or short != name:
            yield CheckWarning(
                f"{name} is not a setting of django-request-images.",
                hint=f"Did you mean {PREFIX}{close[0]}?" if close else "Remove it.",
                id="request_images.W002",
            )


def _meant_by(name: str, known: Sequence[str]) -> list[str]:
    """Return the setting that a name with a misspelt prefix means; empty for none."""
    if "REQUEST" not in name and "IMAGE" not in name:
        return []  # quickly: most settings are Django's
    if f"{name}_" == PREFIX and isinstance(getattr(settings, name), dict):
        return [Conf.ENABLED.name]  # all of them in one, as with other apps
    words = name.split("_")
    for number in range(1, len(words)):
        prefix, end = "".join(words[:number]), "_".join(words[number:])
        close = difflib.get_close_matches(end, known, n=1, cutoff=0.8)
        if close and difflib.get_close_matches(prefix, _PREFIXES, cutoff=0.81):
            return close
    return []


def _useless_bytes_retention() -> Iterator[CheckMessage]:
    data, images = _valid(Conf.BYTES_RETENTION_DAYS, Conf.RETENTION_DAYS) or (None, 0)
    if data is not None and images is not None and data >= images:
        yield CheckWarning(
            f"{PREFIX}BYTES_RETENTION_DAYS ({data}) is not shorter than "
            f"{PREFIX}RETENTION_DAYS ({images}), so it has no effect: bytes are "
            "deleted with their image.",
            hint=f"Raise {PREFIX}RETENTION_DAYS, or remove the other setting.",
            id="request_images.W004",
        )


def _small_budget() -> Iterator[CheckMessage]:
    room, largest = _valid(Conf.MAX_STORED_MB, Conf.MAX_SIZE_MB) or (None, 0)
    if room is not None and room < largest:
        yield CheckWarning(
            f"{PREFIX}MAX_STORED_MB ({room}) is smaller than {PREFIX}MAX_SIZE_MB "
            f"({largest}): a single image can exceed the budget.",
            hint=f"Raise {PREFIX}MAX_STORED_MB.",
            id="request_images.W005",
        )


def _tasks_without_worker() -> Iterator[CheckMessage]:
    consequences = (
        (Conf.THUMBNAILS, "thumbnails are made on the first view"),
        (Conf.COMPRESSION, "only compress_image_contents compresses images"),
        (Conf.ANALYSIS, "only analyze_image_contents analyses images"),
    )
    asked = [each for each in consequences if each[0].given() == "task"]
    why = why_no_worker() if asked else ""
    for setting, consequence in asked if why else ():
        yield CheckWarning(
            f"{setting.full_name} is 'task', but {why}: nothing is enqueued, and "
            f"{consequence}.",
            hint="Configure a backend in TASKS that has a worker, such as a database.",
            id="request_images.W006",
        )


def _misplaced_storage() -> Iterator[CheckMessage]:
    alias = Conf.STORAGE.given()
    if Conf.STORAGE.problem(alias) or alias is None or any(_unusable_storage()):
        return
    if root := public_root(storages[alias]):
        yield CheckWarning(
            f"{PREFIX}STORAGE names {alias!r}, which keeps its files in {root}: a web "
            "server that serves that folder serves the images to everybody.",
            hint="Name a storage with a `location` of its own.",
            id="request_images.W007",
        )
    if folder := unset_location(storages[alias]):
        yield CheckWarning(
            f"{PREFIX}STORAGE names {alias!r}, which keeps its files in {folder}, "
            "where the process happens to run: the images would lie among the code.",
            hint="Name a storage with an absolute `location`, or set MEDIA_ROOT.",
            id="request_images.W011",
        )


def _unlimited_decoder() -> Iterator[CheckMessage]:
    if Conf.DECODER.given() != "process":
        return
    # It loads Pillow, which no request that is captured needs.
    from request_images.images import decoder

    if why := decoder.why_unlimited():
        yield CheckWarning(
            f"{PREFIX}DECODER is 'process', but {why}: a crafted picture may take more "
            "memory than its header says.",
            hint=f"Set {PREFIX}DECODER = 'inline' if you accept that, or make "
            "thumbnails and measures by commands on another machine.",
            id="request_images.W008",
        )


def _mode_of(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode) if os.name == "posix" else 0
    except OSError:  # it is created with the first entry, or is another user's
        return 0


def unset_location(storage: Storage) -> str:
    """Return the folder of a storage that depends on where the process runs.

    Returns:
        The folder: the current one, around that, or relative to it; empty for a
        storage whose folder is absolute, or that keeps no local files.
    """
    if not isinstance(storage, FileSystemStorage) or not storage.location:
        return ""
    is_absolute = Path(storage.base_location).is_absolute()
    if is_absolute and not Path.cwd().is_relative_to(storage.location):
        return ""
    return str(storage.location)


def public_root(storage: Storage) -> str:
    """Return the setting of the public folder that a storage's files are in.

    Returns:
        ``MEDIA_ROOT``, ``STATIC_ROOT`` or ``STATICFILES_DIRS``; empty for no public
        folder, and for a storage that keeps no local files.
    """
    # Django's storage of static files has no location if STATIC_ROOT is not set.
    if not isinstance(storage, FileSystemStorage) or not storage.location:
        return ""
    return _public_setting(str(storage.location))


def _public_setting(folder: str) -> str:
    roots = [(name, getattr(settings, name)) for name in ("MEDIA_ROOT", "STATIC_ROOT")]
    for root in getattr(settings, "STATICFILES_DIRS", ()):
        # With a prefix it is a pair; collectstatic copies what is in there.
        path = root[1] if isinstance(root, list | tuple) else root
        roots.append(("STATICFILES_DIRS", path))
    for name, root in roots:
        # Absolute as Django makes it, as a setting may have `..` in it; and where links
        # lead to.
        if root and any(
            Path(at(folder)).is_relative_to(at(FileSystemStorage(root).location))
            for at in (os.path.abspath, os.path.realpath)
        ):
            return name
    return ""


def _unavailable_encodings() -> Iterator[CheckMessage]:
    for names in _valid(Conf.ENCODINGS):
        for name in names:
            if why := ENCODINGS[name].why_unavailable():
                yield Error(
                    f"{PREFIX}ENCODINGS names {name!r}, but {why}.",
                    hint="Install it wherever images are read, or remove the name.",
                    id=Conf.ENCODINGS.check_id,
                )


def _half_a_tenant() -> Iterator[CheckMessage]:
    pair = (Conf.TENANT, Conf.TENANT_CONTEXT)
    given = [setting for setting in pair if setting.given() is not None]
    if len(given) == 1:
        [missing] = set(pair) - set(given)
        yield CheckWarning(
            f"{given[0].full_name} is set, and {missing.full_name} is not: one tells "
            "the tenant of a request, the other makes it current for the write.",
            hint="Set both, or none.",
            id="request_images.W009",
        )


def _no_spool() -> Iterator[CheckMessage]:
    if Conf.WRITE_MODE.given() == "spool" and Conf.SPOOL_DIR.given() is None:
        yield CheckWarning(
            f"{PREFIX}WRITE_MODE is 'spool', and {PREFIX}SPOOL_DIR is not set: the "
            "background thread of each process writes.",
            hint=f"Set {PREFIX}SPOOL_DIR, or {PREFIX}WRITE_MODE = 'background'.",
            id="request_images.W013",
        )


def _open_spool() -> Iterator[CheckMessage]:
    for folder in _valid(Conf.SPOOL_DIR):
        if folder is None:
            return
        path = Path(folder)
        if root := _public_setting(os.fsdecode(path)):
            problem = f"is in {root}, whose files the web server serves to everybody"
        elif (mode := _mode_of(path)) & 0o007:
            problem = f"is open to all users of this machine (mode {mode:04o})"
        elif not path.is_absolute():
            problem = "another process looks for where it was started"
        else:
            return
        yield CheckWarning(
            f"{PREFIX}SPOOL_DIR names {str(path)!r}, which {problem}.",
            hint="Name a folder elsewhere, which only the server's user may open "
            "(mode 0700).",
            id="request_images.W010",
        )


def _unusable_spool() -> Iterator[CheckMessage]:
    if not _valid(Conf.SPOOL_DIR, Conf.SPOOL_MAX_MB):
        return
    for kind, problem in spool_problems():
        check_id, hint = _SPOOL[kind]
        yield CheckWarning(
            f"{PREFIX}SPOOL_DIR names {str(Conf.SPOOL_DIR.given())!r}: {problem}.",
            hint=hint,
            id=check_id,
        )


def _nested_views() -> Iterator[CheckMessage]:
    for name in sorted(nested_views):
        yield CheckWarning(
            f"The view {name} is decorated with capture_images more than once, with "
            "different options: those of the outermost count, the others are ignored.",
            hint="Decorate it once.",
            id="request_images.W012",
        )
