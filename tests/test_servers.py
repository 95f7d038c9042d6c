"""Requests that go wrong on their way, on real servers over a socket.

Each server runs in a process of its own. All write to one database, separate from that
of the tests: a file, or a database on the server that DATABASE_URL names.
"""

from __future__ import annotations

import itertools

import pytest

from tests.image_files import draw
from tests.servers.running import KINDS, PATIENCE, Database, Server, wait_for
from tests.traps import trap

SERVERS = [
    "gunicorn-sync",
    "gunicorn-gthread",
    "waitress",
    "granian-wsgi",
    "uvicorn-wsgi",
    "uvicorn",
    "granian-asgi",
    "hypercorn",
    "daphne",
]
ASGI = [name for name in SERVERS if KINDS[name].is_asgi]
ONE_OF_EACH = ["gunicorn-gthread", "uvicorn"]
# These call the application, or Django's view, only after the whole body has arrived.
WAIT_FOR_THE_BODY = ["waitress", *ASGI]
# SIGTERM ends these at once, whatever their threads do; uvicorn sends itself another
# signal at its end, so that no exit handler runs.
LOSE_ON_SIGTERM = ["waitress", "uvicorn-wsgi"]
# For these, a response without a length ends when the request is closed, by the
# client's version of HTTP.
WAIT_WITHOUT_LENGTH = {
    "1.0": ["gunicorn-sync", "gunicorn-gthread", "waitress", "granian-wsgi"],
    "1.1": ["waitress", "granian-wsgi"],
}

seeds = itertools.count()


def image():
    """Return a new image on each call, so that none is a duplicate."""
    return draw(seed=next(seeds))


@pytest.fixture(scope="module")
def database(tmp_path_factory, django_db_blocker):
    """Create the database that all servers write to."""
    with django_db_blocker.unblock():
        folder = tmp_path_factory.mktemp("servers")
        database = Database(folder)
        try:
            database.create()
            yield database
        finally:
            database.remove()


@pytest.fixture(scope="module")
def servers(request, database):
    """Start all servers that the selected tests need, at the same time."""
    params = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = {param.params.get("server") for param in params if param}
    servers = {name: Server(name, database) for name in KINDS}
    chosen = [servers[name] for name in wanted & servers.keys()]
    for server in [server for server in chosen if server.kind.is_installed]:
        server.launch()
    yield servers
    for server in servers.values():
        server.terminate()
    for server in servers.values():
        server.stop()
    output = "\n".join(server.output() for server in servers.values())
    assert [line for line in output.split("\n") if "Capture fault" in line] == []


@pytest.fixture
def server(request, servers):
    """Return the server of a test as soon as it answers."""
    server = servers[request.param]
    if not server.kind.is_installed:  # pragma: no cover  # where it has no wheel
        pytest.skip(f"there is no {server.kind.module} for this Python")
    server.ensure()
    return server


def on(*names, everywhere=()):
    """Run a test on each of these servers; those in `everywhere` have no mark."""
    marks = [pytest.mark.processes, pytest.mark.servers]
    servers = [
        pytest.param(name, marks=() if name in everywhere else marks) for name in names
    ]
    return pytest.mark.parametrize("server", servers, indirect=True)


@on(*SERVERS, everywhere=ONE_OF_EACH)
def test_answer_is_unchanged_and_image_is_stored(server, database):
    """The response is the view's, and the image is stored."""
    data = image()
    request_id, status, content = server.post("/plain/", data)
    assert (status, content) == (200, str(len(data)).encode())
    assert database.row(request_id) == (200, "stored", "")


@on(*SERVERS, everywhere=ONE_OF_EACH)
def test_exception_is_logged_with_its_type(server, database):
    """The status is 500, and the log has the error type."""
    request_id, status, _ = server.post("/boom/", image())
    assert status == 500
    assert database.row(request_id) == (500, "stored", "Boom")


@on(*SERVERS, everywhere=ONE_OF_EACH)
@pytest.mark.parametrize("path", ["/stream/", "/async_stream/"])
def test_stream_arrives_complete_and_is_logged(server, database, path):
    """A streamed response arrives complete, and is logged at its end."""
    data = image()
    request_id, status, content = server.post(path, data)
    assert (status, content) == (200, b"%d-end" % len(data))
    assert database.row(request_id) == (200, "stored", "")


@trap("R10")
@on(*SERVERS)
@pytest.mark.parametrize("factor", [1, 2000])
def test_disconnect_during_the_upload_is_logged_as_truncated(server, database, factor):
    """Half an image is logged as truncated, if the request reaches the view."""
    data = factor * image()
    with server.posting("/plain/", data[: len(data) // 2], size=len(data)) as cut_off:
        pass
    if server.name in WAIT_FOR_THE_BODY:
        request_id, *_ = server.post("/plain/", image())
        database.row(request_id)  # the view was never called: there is nothing to log
        assert database.rows(cut_off) == []
    else:
        assert database.row(cut_off) == (200, "truncated", "")


@trap("W8")
@on(*SERVERS)
def test_disconnect_during_a_sync_view_is_logged(server, database):
    """A sync view runs to its end, and is logged."""
    with server.posting("/patient/", image()) as request_id:
        wait_for(server.sign(request_id, "begun").exists, "the view")
    server.sign(request_id, "gone").touch()
    assert database.row(request_id) == (200, "stored", "")


@trap("W8")
@on(*ASGI)
def test_disconnect_during_an_async_view_is_logged(server, database):
    """An async view is cancelled, and the log has the status 499."""
    with server.posting("/async_patient/", image()) as request_id:
        wait_for(server.sign(request_id, "begun").exists, "the view")
    assert database.row(request_id) == (499, "stored", "CancelledError")


@trap("W9")
@on(*SERVERS)
@pytest.mark.parametrize("path", ["/broken_stream/", "/async_broken_stream/"])
def test_stream_that_raises_is_logged(server, database, path):
    """Under ASGI a stream that raises is never closed, but it is logged.

    The log has the status with which the response began.
    """
    # Daphne leaves the client waiting then, with us as without: the row must not.
    with server.posting(path, image()) as request_id:
        assert database.row(request_id) == (200, "stored", "")


@trap("W10")
@on("uvicorn-wsgi")
def test_server_that_never_closes_has_one_row_for_each_request(server, database):
    """`uvicorn --interface wsgi` closes no response, but each request has its row."""
    posted = [server.post("/plain/", image()) for _ in range(5)]
    for request_id, status, _ in posted:
        assert status == 200
        assert database.row(request_id) == (200, "stored", "")


@trap("W11")
@on(*SERVERS)
def test_sigterm_after_the_response_loses_no_row(server, database):
    """SIGTERM arrives after the response, while the row is being written."""
    request_id, status, _ = server.post("/slowly_written/", image())
    assert status == 200
    server.terminate()
    if server.name in LOSE_ON_SIGTERM:
        server.stop()
        assert database.rows(request_id) == []
    else:
        server.sign(request_id, "signalled").touch()
        server.stop()
        assert database.rows(request_id) == [(200, "stored", "")]


@trap("W11")
@on("waitress-exit", "uvicorn-wsgi-exit")
def test_documented_handler_saves_the_row_on_sigterm(server, database):
    """With the handler in docs/howto/servers.md, these servers lose nothing either."""
    request_id, *_ = server.post("/slowly_written/", image())
    server.terminate()
    server.sign(request_id, "signalled").touch()
    server.stop()
    assert database.row(request_id) == (200, "stored", "")


@trap("W11")
@on("gunicorn-no-watchdog", "hypercorn-middleware", "uvicorn-exit", "uvicorn-wsgi-exit")
def test_exit_writes_unclosed_requests_at_once(server, database):
    """An unclosed request is written at the exit, without a grace period."""
    path = "/async_broken_stream/" if server.kind.is_asgi else "/unclosed/"
    request_id, *_ = server.post(path, image())
    server.stop()
    assert database.rows(request_id) == [(200, "stored", "")]


@trap("W11")
@on(
    "gunicorn-background",
    "gunicorn-preload-background",
    "hypercorn-background",
    "granian-background",
    # With the handler of docs/howto/servers.md.
    "uvicorn-background",
    "waitress-background",
)
def test_exit_drains_the_background_queue(server, database):
    """Queued requests are written before the process ends."""
    posted = [server.post("/plain/", image())[0] for _ in range(20)]
    server.stop()
    lost = [request_id for request_id in posted if not database.rows(request_id)]
    assert lost == []


@trap("W12")
@on("uvicorn-wsgi", "uvicorn-keeping", *ASGI)
def test_writes_leave_one_connection_open(server, database):
    """It is the one of the process's own thread, whatever CONN_MAX_AGE is."""
    if database.vendor != "postgresql":
        pytest.skip("asks PostgreSQL for its connections")
    for path in ["/plain/", "/boom/", "/async_stream/", "/broken_stream/"] * 5:
        with server.posting(path, image()) as request_id:
            database.row(request_id)
    wait_for(lambda: database.connections(server.name) <= 1, "the connections to go")


@trap("W21")
@on(*SERVERS)
def test_answer_without_a_length_comes_before_the_row(server, database):
    """The client gets a response without a length before the row is written.

    Where it learns only from the end of the answer that this was all, some servers
    have it wait: docs/architecture.md tells.
    """
    data = image()
    request_id, answer = server.begin("/without_length/", data)
    assert answer.read(len(str(len(data)))) == str(len(data)).encode()
    assert database.rows(request_id) == []
    server.sign(request_id, "signalled").touch()
    assert answer.read() == b""
    assert database.row(request_id) == (200, "stored", "")


@trap("W21")
@on(*SERVERS)
def test_body_without_a_length_is_logged(server, database):
    """The log has what the view saw; without a length that may be nothing.

    Then it does not say that there was no image, but that nobody read it.
    """
    data = image()
    request_id, answer = server.begin("/plain/", data, chunked=True)
    seen = int(answer.read())
    assert seen in (0, len(data))
    expected = "stored" if seen else "unread"
    assert database.row(request_id) == (200, expected, "")


@trap("W18")
@on("gunicorn-preload")
def test_forked_worker_starts_its_own_watchdog(server, database):
    """A forked worker starts its own watchdog, although its parent had one."""
    request_id, *_ = server.post("/unclosed/", image())
    assert database.row(request_id) == (200, "stored", "")


@trap("W8")
@on("uvicorn-middleware", "hypercorn-middleware")
@pytest.mark.parametrize("path", ["/patient/", "/async_patient/"])
def test_middleware_logs_a_disconnect_at_once(server, database, path):
    """With the middleware the log has 499 long before the grace period ends."""
    with server.posting(path, image()) as request_id:
        wait_for(server.sign(request_id, "begun").exists, "the view")
    wait_for(server.sign(request_id, "cancelled").exists, "the server to notice")
    server.sign(request_id, "gone").touch()
    error_type = "CancelledError" if path == "/async_patient/" else ""
    assert database.row(request_id) == (499, "stored", error_type)


@trap("W4")
@on("uvicorn-middleware")
def test_middleware_logs_the_final_status(server, database):
    """The log has the status of the response that another middleware returned."""
    request_id, status, _ = server.post("/plain/?replaced", image())
    assert status == 418
    assert database.row(request_id) == (418, "stored", "")


def client_waits(server, path, version, *, expected=False):
    """Return whether a client has its whole response only after the image is saved.

    A client that should wait is watched for a moment, others until their response.
    """
    with server.answering(path, image(), version) as (request_id, reader):
        reader.join(0.7 if expected else PATIENCE / 2)
        is_waiting = reader.is_alive()
        server.sign(request_id, "signalled").touch()
        reader.join(PATIENCE)
        assert not reader.is_alive()
    return is_waiting


@trap("W21")
@on(*SERVERS)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_clients_wait_only_on_the_documented_servers(server, version):
    """On some servers a response without a length ends only after the write."""
    expected = server.name in WAIT_WITHOUT_LENGTH[version]
    path = "/slowly_saved_without_length/"
    assert client_waits(server, path, version, expected=expected) is expected
    assert not client_waits(server, "/slowly_saved/", version)


@trap("W21")
@on("gunicorn-background", "waitress-background", "granian-wsgi-background")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_no_client_waits_for_the_background_thread(server, version):
    """A client does not wait for the background thread."""
    assert not client_waits(server, "/slowly_saved_without_length/", version)
