"""A way to the database server that can be cut off without a word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.db import connection, connections

_ANSWERING_PORT = {"postgresql": 5432, "mysql": 3306}


class SilentServer:
    """Pass on all bytes to the database server and back, until it falls silent.

    Then it still accepts connections, as a server that is frozen does.
    """

    def __init__(self) -> None:
        given = connection.settings_dict
        port = given["PORT"] or _ANSWERING_PORT[connection.vendor]
        self._server = given["HOST"] or "127.0.0.1", int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._answers = threading.Event()
        self._answers.set()
        self._open: list[socket.socket] = []
        _start(self._accept)

    def fall_silent(self) -> None:
        """Pass on nothing from now on."""
        self._answers.clear()

    def answer(self) -> None:
        """Pass on everything again."""
        self._answers.set()

    def close(self) -> None:
        """Close all connections."""
        self._answers.set()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # ends the thread that waits for it
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                _start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        self._answers.wait()
        if self._listener.fileno() < 0:
            return  # pragma: no cover  # it was closed meanwhile
        server = socket.create_connection(self._server)
        self._open.append(server)
        _start(self._copy, client, server)
        _start(self._copy, server, client)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._answers.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def _start(target: Callable[..., None], *args: socket.socket) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


@contextmanager
def silent_server() -> Iterator[SilentServer]:
    """Let the connection of this thread take the way that can be cut off."""
    server = SilentServer()
    own = connections["default"]
    before = own.settings_dict
    own.close()
    way = {"HOST": "127.0.0.1", "PORT": str(server.port), "CONN_MAX_AGE": None}
    own.settings_dict = {**before, **way}
    try:
        yield server
    finally:
        own.settings_dict = before
        server.close()
        own.close()
