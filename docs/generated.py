"""Parts of the reference that are generated from the code on each build.

Each function of `GENERATORS` returns Markdown. ``conf.py`` turns it into a directive
that a page uses::

    ```{settings}
    ```
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.test.utils import override_settings

from request_images.checks import check_settings
from request_images.conf import PREFIX, Conf
from request_images.images.formats import FORMATS
from request_images.management.commands import (
    analyze_image_contents,
    cleanup_old_images,
    compress_image_contents,
    make_thumbnails,
    move_image_contents,
    request_images_health,
    update_image_statistics,
    verify_image_contents,
)
from request_images.outcome import CaptureStatus

# Settings that provoke the checks beyond the value of a single setting.
PROVOCATIONS: dict[str, dict[str, Any]] = {
    "request_images.E011": {f"{PREFIX}ALLOWED_FORMATS": ["PNG", "JPG"]},
    "request_images.W001": {f"{PREFIX}RETENTION_DAYS": 400},
    "request_images.W002": {f"{PREFIX}MAX_SIZE": 5},
    "request_images.W003": {
        f"{PREFIX}WRITE_MODE": "background",
        f"{PREFIX}BACKLOG_WHEN_FULL": "drop",
        f"{PREFIX}BACKLOG_MAX_MB": 5,
    },
    "request_images.W004": {f"{PREFIX}BYTES_RETENTION_DAYS": 30},
    "request_images.W005": {f"{PREFIX}MAX_STORED_MB": 5},
    "request_images.W006": {f"{PREFIX}THUMBNAILS": "task"},
    "request_images.W007": {"MEDIA_ROOT": "/srv/media", f"{PREFIX}STORAGE": "default"},
}


def settings() -> str:
    """Return each setting with its default, allowed values, check and meaning."""
    return "\n\n".join(
        f"````{{confval}} {setting.full_name}\n"
        f":default: `{setting.default!r}`\n\n"
        f"{setting.meaning}\n\n"
        f"Must be {setting.expects}. Check: `{setting.check_id}`.\n"
        "````"
        for setting in Conf.declarations()
    )


def checks() -> str:
    """Return every system check with its message and its hint."""
    rows = [
        (f"`{setting.check_id}`", f"`{setting.full_name}` must be {setting.expects}.")
        for setting in Conf.declarations()
    ]
    rows += [(f"`{name}`", _provoked(name)) for name in PROVOCATIONS]
    return _table(("Id", "Message"), rows)


def _provoked(check_id: str) -> str:
    with override_settings(**PROVOCATIONS[check_id]):
        [message] = [m for m in check_settings() if m.id == check_id]
    given = ", ".join(f"`{k} = {v!r}`" for k, v in PROVOCATIONS[check_id].items())
    return f"{message.msg} *{message.hint}* (Example: {given}.)"


def formats() -> str:
    """Return the known image formats."""
    rows = [
        (f"`{f.name}`", f"`{f.mime_type}`", "shown" if f.inline else "downloaded")
        for f in FORMATS.values()
    ]
    return _table(("Format", "MIME type", "The original in a browser"), rows)


def capture_statuses() -> str:
    """Return the capture statuses with their labels in the admin."""
    rows = [(f"`{status.value}`", str(status.label)) for status in CaptureStatus]
    return _table(("Value", "In the admin"), rows)


def cleanup_options() -> str:
    """Return the own options of ``cleanup_old_images``."""
    return _options(cleanup_old_images.Command())


def thumbnails_options() -> str:
    """Return the own options of ``make_thumbnails``."""
    return _options(make_thumbnails.Command())


def health_options() -> str:
    """Return the own options of ``request_images_health``."""
    return _options(request_images_health.Command())


def move_options() -> str:
    """Return the own options of ``move_image_contents``."""
    return _options(move_image_contents.Command())


def supported_versions() -> str:
    """Return the versions that the package declares, and the tested databases."""
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    [pillow] = re.findall(r'"Pillow>=([\d.]+)', project)
    rows = [
        (name, ", ".join(re.findall(rf'"{classifier} :: (\d+\.\d+)"', project)))
        for name, classifier in (
            ("Python", "Programming Language :: Python"),
            ("Django", "Framework :: Django"),
        )
    ]
    rows += [
        ("Pillow", f"{pillow} and later"),
        (
            "Database",
            "SQLite, PostgreSQL, MariaDB, MySQL 8.4, if your Django supports it",
        ),
    ]
    return _table(("", "Supported"), rows)


def analyze_options() -> str:
    """Return the own options of ``analyze_image_contents``."""
    return _options(analyze_image_contents.Command())


def compress_options() -> str:
    """Return the own options of ``compress_image_contents``."""
    return _options(compress_image_contents.Command())


def verify_options() -> str:
    """Return the own options of ``verify_image_contents``."""
    return _options(verify_image_contents.Command())


def statistics_options() -> str:
    """Return the own options of ``update_image_statistics``."""
    return _options(update_image_statistics.Command())


def _options(command: BaseCommand) -> str:
    own = argparse.ArgumentParser(add_help=False)
    command.add_arguments(own)
    rows = [(f"`{a.option_strings[0]}`", a.help or "") for a in own._actions]
    return _table(("Option", "Meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


GENERATORS: tuple[Callable[[], str], ...] = (
    settings,
    checks,
    formats,
    capture_statuses,
    supported_versions,
    analyze_options,
    cleanup_options,
    compress_options,
    thumbnails_options,
    health_options,
    move_options,
    verify_options,
    statistics_options,
)
