"""The client, in a process of its own: `python -m bench.load JOB`, JSON in and out.

It uses raw sockets with keep-alive and hardly any parsing: on a small machine the
client competes with the server for the processor, so it must be cheap.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .images import MARK

TIMEOUT_SECONDS = 60.0
_BOUNDARY = "bench-boundary"


@dataclass(frozen=True)
class Job:
    """The work of the client.

    Attributes:
        port: Port of the server on this machine.
        path: Path of the URL to post to.
        image: File of the drawn image.
        clients: Number of connections, each with one request at a time.
        seconds: Duration in which requests are started.
        rate: Requests a second over all clients; 0 for as many as possible.
        limit: Maximum of requests over all clients; 0 for no limit.
        distinct: Number of distinct images to send; 0 for a new one each time.
    """

    port: int
    path: str
    image: str
    clients: int
    seconds: float
    rate: float = 0
    limit: int = 0
    distinct: int = 0


@dataclass
class Outcome:
    """The measurements of the client.

    Attributes:
        milliseconds: Duration of each answered request.
        errors: Number of requests without an answer 200.
        seconds: Time from the first request to the last answer.
    """

    milliseconds: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0


class Client:
    """One connection that posts images."""

    def __init__(self, job: Job, index: int) -> None:
        self._job = job
        self._index = index
        self._sent = 0
        self._socket: socket.socket | None = None
        image = Path(job.image).read_bytes()
        before, after = image.split(MARK)
        start = (
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
            'name="photo"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        ).encode()
        end = f"\r\n--{_BOUNDARY}--\r\n".encode()
        head = (
            f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
            f"Content-Length: {len(start) + len(image) + len(end)}\r\n\r\n"
        ).encode()
        self._before = head + start + before
        self._after = after + end

    def _mark(self) -> bytes:
        if not self._job.distinct:
            return os.urandom(16).hex().encode()
        number = (self._sent * self._job.clients + self._index) % self._job.distinct
        return f"{number:032d}".encode()

    def post(self) -> bool:
        """Post one image, and return whether the answer was 200."""
        message = b"".join((self._before, self._mark(), self._after))
        self._sent += 1
        try:
            if self._socket is None:
                address = ("127.0.0.1", self._job.port)
                self._socket = socket.create_connection(address, TIMEOUT_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(message)
            return self._answer(self._socket)
        except OSError:
            self.close()
            return False

    def _answer(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            data += _received(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        size = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                size = int(value)
        missing = size - len(body)
        while missing > 0:
            missing -= len(_received(connection))
        if b"connection: close" in lines:
            self.close()
        return lines[0].split(b" ")[1] == b"200"

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


def run(job: Job) -> Outcome:
    """Put the server under load, and return the measurements of all clients."""
    outcomes = [Outcome() for _ in range(job.clients)]
    started = time.perf_counter() + 0.05  # every thread is ready by then
    threads = [
        threading.Thread(target=_run_one, args=(job, index, started, outcome))
        for index, outcome in enumerate(outcomes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = Outcome(seconds=max(outcome.seconds for outcome in outcomes))
    for outcome in outcomes:
        together.milliseconds += outcome.milliseconds
        together.errors += outcome.errors
    return together


def _run_one(job: Job, index: int, started: float, outcome: Outcome) -> None:
    client = Client(job, index)
    share = job.limit // job.clients
    period = job.clients / job.rate if job.rate else 0.0
    due = started + period * index / job.clients
    while due - started < job.seconds and not (
        share and len(outcome.milliseconds) + outcome.errors >= share
    ):
        begun = time.perf_counter()
        if begun < due:
            time.sleep(due - begun)
            begun = time.perf_counter()  # this thread may wake up late
        elif period:
            begun = due  # includes the wait for the previous answer
        good = client.post()
        ended = time.perf_counter()
        if good:
            outcome.milliseconds.append(1000 * (ended - begun))
        else:
            outcome.errors += 1
        outcome.seconds = ended - started
        due = due + period if period else ended
    client.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Job(**json.loads(sys.argv[1]))))))
