"""Parts of the reference that are generated from the code on each build.

Each function of `GENERATORS` returns Markdown. ``conf.py`` turns it into a directive
that a page uses::

    ```{settings}
    ```
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder
from django.test.utils import override_settings

from request_images.aggregation.facets import (
    Agreement,
    Choice,
    Dimensions,
    Flag,
    Number,
    Property,
)
from request_images.aggregation.gather import FIELDS, gather
from request_images.aggregation.percentiles import bucket_of
from request_images.aggregation.periods import Period
from request_images.aggregation.properties import FACETS, IMAGE_PROPERTIES
from request_images.checks import check_settings
from request_images.conf import PREFIX, Conf
from request_images.dashboard.health import Vitals
from request_images.health import ProcessHealth
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
    write_spooled_requests,
)
from request_images.outcome import CaptureStatus
from request_images.query.fields import CRITERIA, Criterion
from request_images.statistics.summary import Summary
from request_images.views import flat, lists_of
from request_images.writer.fallback import STEPS
from request_images.writer.spool import survey

# Settings that provoke the checks beyond the value of a single setting.
PROVOCATIONS: dict[str, dict[str, Any]] = {
    "request_images.E011": {f"{PREFIX}ALLOWED_FORMATS": ["PNG", "JPG"]},
    "request_images.W001": {f"{PREFIX}RETENTION_DAYS": 400},
    "request_images.W002": {f"{PREFIX}MAX_SIZE": 5},
    "request_images.W004": {f"{PREFIX}BYTES_RETENTION_DAYS": 30},
    "request_images.W005": {f"{PREFIX}MAX_STORED_MB": 5},
    "request_images.W006": {f"{PREFIX}THUMBNAILS": "task"},
    "request_images.W007": {"MEDIA_ROOT": "/srv/media", f"{PREFIX}STORAGE": "default"},
    "request_images.W008": {f"{PREFIX}DECODER": "process"},
    "request_images.W009": {f"{PREFIX}TENANT": "os.getcwd"},
    "request_images.W010": {
        "MEDIA_ROOT": "/srv/media",
        f"{PREFIX}SPOOL_DIR": "/srv/media/spool",
    },
    "request_images.W011": {f"{PREFIX}STORAGE": "default"},
    "request_images.W013": {f"{PREFIX}WRITE_MODE": "spool"},
    "request_images.W014": {f"{PREFIX}SPOOL_DIR": "/dev/null/spool"},
    "request_images.W015": {
        f"{PREFIX}SPOOL_DIR": "/var/spool/mysite",
        f"{PREFIX}SPOOL_MAX_MB": 10**12,
    },
    "request_images.W016": {f"{PREFIX}SPOOL_DIR": "/mnt/spool"},
    "request_images.W017": {f"{PREFIX}SPOOL_DIR": "/"},
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
    others = [(f"`{name}`", _provoked(name)) for name in PROVOCATIONS]
    others += [
        (
            "`request_images.I001`",
            "Who writes the requests (only with `manage.py check --deploy`).",
        ),
        (
            "`request_images.W012`",
            "A view is decorated with `capture_images` more than once.",
        ),
    ]
    return _table(("Id", "Message"), rows + sorted(others))


def _provoked(check_id: str) -> str:
    uwsgi = mock.patch("sys.executable", "/usr/bin/uwsgi")
    user = mock.patch.object(survey, "own_user", return_value=1000)
    network = mock.patch.object(survey, "_MOUNTS", mock.Mock())
    mounts = "host:/spool /mnt nfs4 rw 0 0"
    with override_settings(**PROVOCATIONS[check_id]), uwsgi, user, network as path:
        path.read_text = lambda **options: mounts
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


def steps() -> str:
    """The steps after each kind of fault of a write."""
    return _table(
        ("Fault", "Steps"),
        (
            (fault.value, "; then ".join(step.value for step in steps))
            for fault, steps in STEPS.items()
        ),
    )


def parameters() -> str:
    """Return the query parameters, each with the requests that it finds."""
    rows = [
        (f"`{each.name}`", each.about + _options_of(each), f"`{each.sample}`")
        for each in CRITERIA.values()
    ]
    return _table(("Parameter", "Requests that it selects", "Example"), rows)


def _options_of(criterion: Criterion) -> str:
    property_ = FACETS.get(criterion.name)
    if not isinstance(property_, Property):
        return ""
    options = property_.options()
    words = getattr(property_, "bin_names", ())
    if isinstance(property_, Agreement):
        words = options.values()
    texts = [f"`{value}`" for value in options]
    if words:
        pairs = zip(texts, words, strict=True)
        texts = [f"{value} ({text})" for value, text in pairs]
    return f": {', '.join(texts[:-1])} or {texts[-1]}"


def property_lists() -> str:
    """Return the lists of the statistics by properties of images, with their keys."""
    notes = {
        Number: "the bounds of a range, the second not in it (null for no bound, both "
        "null when unknown)",
        Dimensions: "pixels, null when unknown",
        Flag: "true, false, or null when unknown",
        Agreement: "empty when unknown",
        Choice: "empty when unknown",
    }
    rows = [
        (
            f"`by_{each.name}`",
            f"{each.label}: {', '.join(f'`{key}`' for key in each.key(''))}",
            notes[type(each)],
        )
        for each in IMAGE_PROPERTIES
    ]
    return _table(("List", "Groups by", "Values"), rows)


def stats_example() -> str:
    """Return an answer of the statistics to three requests, two with a picture."""
    until = datetime(2026, 11, 22, 19, tzinfo=timezone.utc)
    at = until - timedelta(minutes=30)
    log = {"created_at": at, "endpoint": "upload", "release": "2.4.1"}
    picture = {
        "image__pk": 1,
        "image__mime_type": "image/png",
        "image__width": 640,
        "image__height": 480,
        "image__file_size": 29_759,
        "image__color_mode": "RGB",
        "image__is_animated": False,
        "image__has_orientation": False,
        "image__declared_type": "image/png",
    }
    requests: list[dict[str, Any]] = [
        {"duration_ms": 8.79, "status_code": 200, "capture_status": "stored"},
        {"duration_ms": 0.27, "status_code": 500, "capture_status": "duplicate"},
        {"duration_ms": 35.9, "status_code": 400, "capture_status": "unsupported"},
    ]
    requests[0] |= {**picture, "image__is_repeated": False, "error_type": ""}
    requests[1] |= {**picture, "image__is_repeated": True, "error_type": "KeyError"}
    requests[2] |= {
        "image__pk": 3,
        "image__mime_type": "",
        "error_type": "not_an_image",
    }
    rows = [
        tuple((log | {"duration_bucket": bucket_of(r["duration_ms"])} | r).get(name)
              for name in FIELDS)
        for r in requests
    ]  # fmt: skip
    summary = Summary(
        Period(until - 30 * timedelta(days=1, hours=0), until), gather(rows)
    )
    [days], [hours] = summary.by_day(), summary.by_hour()
    vitals = Vitals(
        enabled=True,
        hours=24,
        last_recorded=at,
        capture_status={"duplicate": 1, "stored": 1, "unsupported": 1},
        database_error="",
    )
    process = ProcessHealth(
        pid=4711,
        since=at - timedelta(minutes=20),
        counts={"stored": 1, "duplicate": 1, "unsupported": 1},
        faults={},
    )
    stored = {"received": 59_518, "stored": 29_759}
    body = {
        "since": summary.period.since,
        "until": until,
        "filters": dict.fromkeys(CRITERIA) | {"days": 30},
        "missing_hours": 0,
        "overall": flat(summary.overall()) | {"storage_bytes": stored},
        **lists_of(summary),
        "by_day": [flat(days.points[-1])],
        "by_hour": [flat(hours.points[-1])],
        "health": asdict(vitals) | {"process": asdict(process)},
    }
    text = json.dumps(body, indent=2, cls=DjangoJSONEncoder)
    text = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", text)
    return f"```json\n{text}\n```"


def cleanup_options() -> str:
    """Return the own options of ``cleanup_old_images``."""
    return _options(cleanup_old_images.Command())


def thumbnails_options() -> str:
    """Return the own options of ``make_thumbnails``."""
    return _options(make_thumbnails.Command())


def health_options() -> str:
    """Return the own options of ``request_images_health``."""
    return _options(request_images_health.Command())


def spooled_options() -> str:
    """Return the own options of ``write_spooled_requests``."""
    return _options(write_spooled_requests.Command())


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
    of_django = {a.dest for a in BaseCommand().create_parser("", "")._actions}
    rows = [
        (f"`{action.option_strings[0]}`", action.help or "")
        for action in command.create_parser("manage.py", "")._actions
        if action.dest not in of_django
    ]
    return _table(("Option", "Meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


GENERATORS: tuple[Callable[[], str], ...] = (
    settings,
    checks,
    formats,
    capture_statuses,
    steps,
    parameters,
    property_lists,
    stats_example,
    supported_versions,
    analyze_options,
    cleanup_options,
    compress_options,
    thumbnails_options,
    health_options,
    spooled_options,
    move_options,
    verify_options,
    statistics_options,
)
