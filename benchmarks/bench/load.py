"""The client, in a process of its own: `python -m bench.load JOB`, JSON in and out.

On a small machine the client competes with the server for the processor, so it must be
cheap: one thread, raw sockets with keep-alive, no copy of the image, and hardly any
parsing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .images import MARK

_BOUNDARY = "bench-boundary"
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Job:
    """The work of the client.

    Attributes:
        port: Port of the server on this machine.
        path: Path of the URL to post to.
        image: File of the drawn image.
        clients: Largest number of connections, each with one request at a time.
        seconds: Duration in which requests are started.
        rate: Requests a second over all connections; 0 for as many as possible.
        limit: Maximum of requests; 0 for no limit.
        distinct: Number of distinct images to send; 0 for a new one each time.
        traced: Whether each request has an id, a connection of its own, and an entry in
            `Outcome.trace`.
        timeout: Seconds after which a request counts as unanswered.
    """

    port: int
    path: str
    image: str
    clients: int
    seconds: float
    rate: float = 0
    limit: int = 0
    distinct: int = 0
    traced: bool = False
    timeout: float = 60.0


@dataclass(frozen=True)
class Trace:
    """One request: its id, when it was due, its wait, and its status (0: no answer)."""

    request_id: str
    begun: float
    milliseconds: float
    status: int


@dataclass
class Outcome:
    """The measurements of the client.

    Attributes:
        milliseconds: Duration of each answered request.
        errors: Number of requests without an answer 200.
        seconds: Time from the first request to the last answer.
        cpu_seconds: Processor time of the client.
        started: Time of the first request, on the clock of `time.time`.
        trace: Each request, if the job asks for it.
    """

    milliseconds: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    started: float = 0.0
    trace: list[Trace] = field(default_factory=list)


class _Message:
    """The bytes of a request, in parts that are joined by the system."""

    def __init__(self, job: Job) -> None:
        before, after = Path(job.image).read_bytes().split(MARK)
        start = (
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
            'name="photo"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        ).encode()
        end = f"\r\n--{_BOUNDARY}--\r\n".encode()
        size = len(start) + len(before) + len(MARK) + len(after) + len(end)
        self._head = (
            f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
            f"Content-Length: {size}\r\n"
        ).encode()
        self._before = b"\r\n" + start + before
        self._after = after + end
        self._job = job
        self._sent = 0

    def parts(self) -> tuple[str, list[bytes]]:
        """Return the id of the next request, and its bytes."""
        mark = os.urandom(16).hex()
        if self._job.distinct:
            mark = f"{self._sent % self._job.distinct:032d}"
        self._sent += 1
        extra = b""
        if self._job.traced:
            extra = f"X-Request-ID: {mark}\r\nConnection: close\r\n".encode()
        return mark, [self._head + extra, self._before, mark.encode(), self._after]


class _Connection:
    """One connection, and the request that is on it."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.begun = 0.0
        self.request_id = ""
        self._unsent: list[memoryview] = []
        self._received = b""

    def begin(self, port: int, request_id: str, parts: list[bytes]) -> None:
        """Connect if necessary, and send as much of a request as is taken."""
        self.request_id, self._received = request_id, b""
        self._unsent = [memoryview(part) for part in parts]
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", port), 5)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self.socket.setblocking(False)
        self.send()

    @property
    def is_sent(self) -> bool:
        """Whether the server's side has taken the whole request."""
        return not self._unsent

    def send(self) -> None:
        """Send as much of the request as is taken."""
        assert self.socket
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                taken = self.socket.sendmsg(self._unsent)
                while self._unsent and taken >= len(self._unsent[0]):
                    taken -= len(self._unsent.pop(0))
                if taken:
                    self._unsent[0] = self._unsent[0][taken:]

    def receive(self) -> int | None:
        """Return the status of the answer; None until it is complete."""
        assert self.socket
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.lower().split(b"\r\n")
        sizes = [line[15:] for line in lines if line.startswith(b"content-length:")]
        if len(body) < int(sizes[0] if sizes else 0):
            return None
        if b"connection: close" in lines:
            self.close()
        return int(lines[0].split(b" ")[1])

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Client:
    """All connections of a job.

    Args:
        job: The work.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._message = _Message(job)
        self._poll = select.epoll()
        self._idle = deque(_Connection() for _ in range(job.clients))
        self._busy: dict[int, _Connection] = {}
        self._watched: dict[int, int] = {}
        self._number = 0
        self.outcome = Outcome()
        self.is_ending = False

    def run(self) -> Outcome:
        """Put the server under load, and return the measurements."""
        job, cpu = self._job, time.process_time()
        self.outcome.started, self._started = time.time(), time.perf_counter()
        while True:
            now = time.perf_counter()
            due = self._due(now)
            while due is not None and due <= now and self._idle:
                self._begin(due)
                due = self._due(now)
            if due is None and not self._busy:
                break
            wait = 1.0
            if due is not None and self._idle:
                wait = max(0.0, due - time.perf_counter())
            for number, _event in self._poll.poll(min(wait, 1.0)):
                self._go_on(number)
            if job.timeout < now - self._started:
                self._give_up(now - job.timeout)
        self._poll.close()
        self.outcome.cpu_seconds = time.process_time() - cpu
        return self.outcome

    def _due(self, now: float) -> float | None:
        job, due = self._job, now
        if job.rate:
            due = self._started + self._number / job.rate
        is_over = self.is_ending or due - self._started >= job.seconds
        return None if is_over or 0 < job.limit <= self._number else due

    def _begin(self, due: float) -> None:
        # A request that waits for a free connection is timed from its due time.
        now = time.perf_counter()
        own = self._idle.popleft()
        own.begun = due if now - due > 0.001 else now
        self._number += 1
        try:
            own.begin(self._job.port, *self._message.parts())
            assert own.socket
            number = own.socket.fileno()
            self._busy[number] = own
            self._watch(number, own)
        except OSError:
            self._end(own, 0)

    def _watch(self, number: int, own: _Connection) -> None:
        events = select.EPOLLIN | (0 if own.is_sent else select.EPOLLOUT)
        if number not in self._watched:
            self._poll.register(number, events)
        elif self._watched[number] != events:
            self._poll.modify(number, events)
        self._watched[number] = events

    def _go_on(self, number: int) -> None:
        own = self._busy.get(number)
        if own is None:  # the server closed an idle connection
            self._forget(number)
            for idle in self._idle:
                if idle.socket is not None and idle.socket.fileno() == number:
                    idle.close()
            return
        status: int | None = 0
        try:
            if not own.is_sent:
                own.send()
                self._watch(number, own)
            status = own.receive()
        except BlockingIOError:
            status = None
        except OSError:
            own.close()
        if status is not None:
            del self._busy[number]
            self._end(own, status)
            if own.socket is None:
                self._forget(number)

    def _forget(self, number: int) -> None:
        # A closed socket is no longer polled.
        self._watched.pop(number, None)
        with contextlib.suppress(OSError, ValueError):
            self._poll.unregister(number)

    def _give_up(self, before: float) -> None:
        for number, own in list(self._busy.items()):
            if own.begun < before:
                del self._busy[number]
                self._forget(number)
                self._end(own, 0)

    def _end(self, own: _Connection, status: int) -> None:
        now, outcome = time.perf_counter(), self.outcome
        took = 1000 * (now - own.begun)
        if status == 200:
            outcome.milliseconds.append(took)
        else:
            outcome.errors += 1
        if status == 0 or self._job.traced:
            own.close()
        if self._job.traced:
            begun = outcome.started + own.begun - self._started
            outcome.trace.append(Trace(own.request_id, begun, took, status))
        outcome.seconds = now - self._started
        self._idle.append(own)


def _main() -> None:
    client = Client(Job(**json.loads(sys.argv[1])))

    def end(*_signal: object) -> None:
        client.is_ending = True  # what is sent is still answered

    signal.signal(signal.SIGTERM, end)
    sys.stdout.write(json.dumps(asdict(client.run())))


if __name__ == "__main__":
    _main()
