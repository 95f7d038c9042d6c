"""Read settings from the environment, with clear messages for wrong values.

django-environ reads any unknown word as "false", and reports a wrong number without
its name, so this module checks the few kinds of value itself.
"""

import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]  # untyped
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

TRUE = {"true", "yes", "on", "1"}
FALSE = {"false", "no", "off", "0"}


def flag(name: str, *, default: bool) -> bool:
    """Return a boolean."""
    text = env.str(name, default=str(default)).strip()
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")


def megabytes(name: str, *, default: float) -> float:
    """Return a size in megabytes, a number above 0."""
    text = env.str(name, default=str(default)).strip()
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise ImproperlyConfigured(
            f"{name} must be a number of megabytes above 0, not {text!r}."
        )
    return size


def days(name: str, *, default: int) -> int | None:
    """Return a number of days, or None for unlimited."""
    text = env.str(name, default=str(default)).strip()
    if text.lower() == "none":
        return None
    if not (text.isdecimal() and int(text) > 0):
        raise ImproperlyConfigured(
            f"{name} must be a whole number of days, at least 1, "
            f'or "none" to keep images for ever, not {text!r}.'
        )
    return int(text)


def secret_key(name: str, *, debug: bool) -> str:
    """Return the secret key; only a debug server may have none."""
    # A fixed key keeps sessions valid when the development server reloads. It is
    # public, so it must never sign anything that others can reach.
    key = env.str(name, default="")
    if not (key or debug):
        raise ImproperlyConfigured(f"{name} must be set when DEBUG is false.")
    return key or "insecure-key-of-the-example-for-debug-on-this-machine-only"


def database(name: str, *, default: Path) -> dict[str, Any]:
    """Return Django's settings for a database URL, or for an SQLite file by default."""
    url = env.str(name, default="")
    scheme = urlsplit(url).scheme
    if url and scheme not in env.DB_SCHEMES:
        # The URL may contain a password, so the message does not repeat it.
        raise ImproperlyConfigured(
            f"{name} must be a URL like postgres://, mysql:// or sqlite:///, "
            f"but it begins with {scheme!r}."
        )
    found: dict[str, Any] = env.db_url_config(url or "sqlite://")
    if not url:
        found["NAME"] = default
    if found["ENGINE"] == "django.db.backends.sqlite3":
        # The server uses threads. With a write-ahead log readers do not wait for a
        # writer. A transaction that takes the lock at its beginning waits, instead of
        # failing halfway with "database is locked".
        found["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return found
