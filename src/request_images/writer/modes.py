"""The write modes: who writes the requests of a server."""

from __future__ import annotations

from typing import Literal, cast

from request_images.conf import conf

Mode = Literal["after_response", "background", "spool"]

_WORDS: dict[Mode, str] = {
    "after_response": "by the thread of each request, after its response",
    "background": "by one background thread of each process",
    "spool": "to the spool folder, and from there to the database by "
    "write_spooled_requests --follow, or else by one background thread of each process",
}


def write_mode(*, is_last_use: bool) -> Mode:
    """Return the mode for a request of a server.

    Args:
        is_last_use: Whether its thread will not use its database connection again, as
            under ASGI.
    """
    mode = conf.WRITE_MODE
    if mode == "auto":
        # Each thread of an ASGI request would open a connection of its own. A storage
        # may take seconds, and nobody can end that.
        is_slow = is_last_use or conf.STORAGE is not None
        mode = "background" if is_slow else "after_response"
    return cast("Mode", mode)


def mode_in_words() -> str:
    """Return who writes the requests, as a sentence."""
    under_wsgi, under_asgi = (write_mode(is_last_use=last) for last in (False, True))
    if under_wsgi == under_asgi:
        return f"Requests are written {_WORDS[under_wsgi]}."
    return (
        f"Under WSGI, requests are written {_WORDS[under_wsgi]}; "
        f"under ASGI, {_WORDS[under_asgi]}."
    )
