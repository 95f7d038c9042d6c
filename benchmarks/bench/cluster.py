"""A PostgreSQL server of our own: nobody else uses its processor time, or notices."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil

USER = "bench"
"""Role of the project: an ordinary one, so that limits and read-only modes bind it."""
_OWNER = "postgres"
_PATIENCE = 60.0


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def programs() -> Path | None:
    """Return the folder of the server's programs; None if there is none."""
    found = [Path(where).parent for where in (shutil.which("initdb"),) if where]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in found if (each / "initdb").exists()), None)


class Cluster:
    """A new PostgreSQL server.

    Args:
        folder: Folder for its files.
        options: Further lines of its configuration.
        copied: A stopped server whose files it begins with.
    """

    def __init__(
        self, folder: Path, *options: str, copied: Cluster | None = None
    ) -> None:
        programs_folder = programs()
        if programs_folder is None:
            raise FileNotFoundError("initdb, of PostgreSQL's server")
        self._programs = programs_folder
        self._data = folder / "cluster"
        self._log = folder / "cluster.log"
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._log.touch()
        if copied is None:
            self._data.mkdir()
        else:
            subprocess.run(["cp", "-a", copied._data, self._data], check=True)
        if os.geteuid() == 0:
            for each in (self._data, self._log):
                shutil.chown(each, _OWNER, _OWNER)
            for parent in (folder, *folder.parents):
                # A temporary folder is its owner's alone; the server must get through.
                if parent.is_relative_to(tempfile.gettempdir()):
                    parent.chmod(parent.stat().st_mode | 0o011)
        if copied is None:
            run = (f"-U{_OWNER}", "-Atrust", "-N", "-EUTF8")
            self._run("initdb", "-D", self._data, *run)
        lines = ["listen_addresses='127.0.0.1'", f"port={self.port}"]
        lines += ["unix_socket_directories=''", *options]
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        self.start()
        if copied is None:
            self.execute(f"CREATE ROLE {USER} LOGIN CREATEDB")

    def _run(self, program: str, *arguments: object, **more: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            who = [f"--reuid={_OWNER}", f"--regid={_OWNER}", "--init-groups"]
            command = ["setpriv", *who, *command]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=_PATIENCE,
        )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self._log)
        first = (self._data / "postmaster.pid").read_text().split("\n", 1)[0]
        self._root = psutil.Process(int(first))

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` or ``immediate``."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def freeze(self) -> None:
        """Let all processes of the server stand still."""
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)

    def execute(self, statement: str, dbname: str = _OWNER) -> list[tuple[object, ...]]:
        """Run a statement as the owner of everything; return its rows."""
        import psycopg

        with psycopg.connect(self.url(dbname, _OWNER), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def url(self, dbname: str, user: str = USER) -> str:
        """Return the address of a database, as libpq reads it."""
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user}"

    def cpu_seconds(self) -> float:
        """Return the processor time of the server so far, ended processes included."""
        own = self._root.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for process in self._root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def remove(self) -> None:
        """Stop the server by all means, and delete its files."""
        with contextlib.suppress(Exception):
            self.thaw()
        with contextlib.suppress(Exception):
            self.stop("immediate")
        shutil.rmtree(self._data, ignore_errors=True)
