"""Real servers over a socket: what becomes of a request that goes wrong on the way.

Each server runs in a process of its own, beside a database of its own: a file, or
one on the server that DATABASE_URL names.
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
# These call the application only when the whole body is there, or Django does.
WAIT_FOR_THE_BODY = ["waitress", *ASGI]
# SIGTERM ends these at once, whatever their threads still do; uvicorn sends itself
# another at its end, so that nothing runs at the exit of the interpreter.
LOSE_ON_SIGTERM = ["waitress", "uvicorn-wsgi"]
# An answer without a length is whole, for these, when the request is closed; by the
# version of HTTP that the client speaks.
WAIT_WITHOUT_LENGTH = {
    "1.0": ["gunicorn-sync", "gunicorn-gthread", "waitress", "granian-wsgi"],
    "1.1": ["waitress", "granian-wsgi"],
}

seeds = itertools.count()


def image():
    """Another image each time: none is a duplicate."""
    return draw(seed=next(seeds))


@pytest.fixture(scope="module")
def database(tmp_path_factory, django_db_blocker):
    """The database that all servers write to."""
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
    """Every server that the chosen tests ask for; all of them start side by side."""
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
    faults = [n for n, server in servers.items() if "Capture fault" in server.output()]
    assert faults == []


@pytest.fixture
def server(request, servers):
    """The server that a test asks for, answering."""
    server = servers[request.param]
    if not server.kind.is_installed:  # pragma: no cover  # where it has no wheel
        pytest.skip(f"there is no {server.kind.module} for this Python")
    server.ensure()
    return server


def on(*names, everywhere=()):
    """Run a test on each of these servers; on some with all versions of Django."""
    servers = [
        pytest.param(name, marks=() if name in everywhere else pytest.mark.processes)
        for name in names
    ]
    return pytest.mark.parametrize("server", servers, indirect=True)


@on(*SERVERS, everywhere=ONE_OF_EACH)
def test_answer(server, database):
    """A normal request: the answer is the view's, the image is stored."""
    data = image()
    request_id, status, content = server.post("/plain/", data)
    assert (status, content) == (200, str(len(data)).encode())
    assert database.row(request_id) == (200, "stored", "")


@on(*SERVERS, everywhere=ONE_OF_EACH)
def test_exception(server, database):
    """A view that raises: 500, and the log knows why."""
    request_id, status, _ = server.post("/boom/", image())
    assert status == 500
    assert database.row(request_id) == (500, "stored", "Boom")


@on(*SERVERS, everywhere=ONE_OF_EACH)
@pytest.mark.parametrize("path", ["/stream/", "/async_stream/"])
def test_stream(server, database, path):
    """A streamed answer arrives whole, and is logged once it is over."""
    data = image()
    request_id, status, content = server.post(path, data)
    assert (status, content) == (200, b"%d-end" % len(data))
    assert database.row(request_id) == (200, "stored", "")


@trap("R10")
@on(*SERVERS)
@pytest.mark.parametrize("factor", [1, 2000])
def test_client_gone_in_the_upload(server, database, factor):
    """R10: half an image is logged as such, where the view gets to see it at all."""
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
def test_client_gone_in_a_sync_view(server, database):
    """W8: a sync view runs on to its end, and is logged."""
    with server.posting("/patient/", image()) as request_id:
        wait_for(server.sign(request_id, "begun").exists, "the view")
    server.sign(request_id, "gone").touch()
    assert database.row(request_id) == (200, "stored", "")


@trap("W8")
@on(*ASGI)
def test_client_gone_in_an_async_view(server, database):
    """W8: an async view is cancelled, and nobody closes the request."""
    with server.posting("/async_patient/", image()) as request_id:
        wait_for(server.sign(request_id, "begun").exists, "the view")
    assert database.row(request_id) == (499, "stored", "CancelledError")


@trap("W9")
@on(*SERVERS)
@pytest.mark.parametrize("path", ["/broken_stream/", "/async_broken_stream/"])
def test_stream_that_raises(server, database, path):
    """W9: under ASGI a stream that raises is never closed, and is logged all the same.

    The log has the status that the answer began with.
    """
    # Daphne leaves the client waiting then, with us as without: the row must not.
    with server.posting(path, image()) as request_id:
        assert database.row(request_id) == (200, "stored", "")


@trap("W10")
@on("uvicorn-wsgi")
def test_server_that_never_closes(server, database):
    """W10: `uvicorn --interface wsgi` closes no response. One row for each, later."""
    posted = [server.post("/plain/", image()) for _ in range(5)]
    for request_id, status, _ in posted:
        assert status == 200
        assert database.row(request_id) == (200, "stored", "")


@trap("W11")
@on(*SERVERS)
def test_sigterm_after_the_response(server, database):
    """W11: the client has its answer, the row is being written, and SIGTERM comes."""
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
def test_sigterm_with_the_documented_handler(server, database):
    """W11: with the handler of docs/howto/servers.md these lose nothing either."""
    request_id, *_ = server.post("/slowly_written/", image())
    server.terminate()
    server.sign(request_id, "signalled").touch()
    server.stop()
    assert database.row(request_id) == (200, "stored", "")


@trap("W11")
@on("gunicorn-no-rescue", "hypercorn-middleware", "uvicorn-exit", "uvicorn-wsgi-exit")
def test_exit_of_the_process(server, database):
    """W11: what nobody has closed yet is written at the exit, not after the grace."""
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
def test_background_is_drained_at_the_exit(server, database):
    """W11: what is still queued when SIGTERM comes is written before the end."""
    posted = [server.post("/plain/", image())[0] for _ in range(20)]
    server.stop()
    lost = [request_id for request_id in posted if not database.rows(request_id)]
    assert lost == []


@trap("W12")
@on("uvicorn-wsgi", "uvicorn-keeping", *ASGI)
def test_no_connection_is_left_behind(server, database):
    """W12: none of our connections stays open, whatever CONN_MAX_AGE says."""
    if database.vendor != "postgresql":
        pytest.skip("asks PostgreSQL for its connections")
    for path in ["/plain/", "/boom/", "/async_stream/", "/broken_stream/"] * 5:
        with server.posting(path, image()) as request_id:
            database.row(request_id)
    wait_for(lambda: database.connections(server.name) == 0, "the connections to go")


@trap("W21")
@on(*SERVERS)
def test_answer_without_a_length(server, database):
    """W21: nobody counts the bytes for the client, and it waits for no row of ours.

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
def test_body_without_a_length(server, database):
    """W21: the log is of what the view saw; of such a body that may be nothing."""
    data = image()
    request_id, answer = server.begin("/plain/", data, chunked=True)
    seen = int(answer.read())
    assert seen in (0, len(data))
    expected = "stored" if seen else "no_image"
    assert database.row(request_id) == (200, expected, "")


@trap("W18")
@on("gunicorn-preload")
def test_fork_of_a_process_with_a_rescue(server, database):
    """W18: a worker has a rescue of its own, though its parent had one before."""
    request_id, *_ = server.post("/unclosed/", image())
    assert database.row(request_id) == (200, "stored", "")


@trap("W8")
@on("uvicorn-middleware", "hypercorn-middleware")
@pytest.mark.parametrize("path", ["/patient/", "/async_patient/"])
def test_middleware_logs_at_once(server, database, path):
    """W8: with the middleware, 499 and long before the grace is over; sync too."""
    with server.posting(path, image()) as request_id:
        wait_for(server.sign(request_id, "begun").exists, "the view")
    wait_for(server.sign(request_id, "cancelled").exists, "the server to notice")
    server.sign(request_id, "gone").touch()
    error_type = "CancelledError" if path == "/async_patient/" else ""
    assert database.row(request_id) == (499, "stored", error_type)


@trap("W4")
@on("uvicorn-middleware")
def test_middleware_knows_the_final_status(server, database):
    """W4: the status is the client's, though another middleware made the answer."""
    request_id, status, _ = server.post("/plain/?replaced", image())
    assert status == 418
    assert database.row(request_id) == (418, "stored", "")


def client_waits(server, path, version, *, expected=False):
    """Tell whether a client has its whole answer only once the image is saved.

    One that should wait is watched for a moment, any other until it has its answer.
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
def test_clients_that_wait_for_us(server, version):
    """W21: what has no length ends when the server says so, with some after us."""
    expected = server.name in WAIT_WITHOUT_LENGTH[version]
    path = "/slowly_saved_without_length/"
    assert client_waits(server, path, version, expected=expected) is expected
    assert not client_waits(server, "/slowly_saved/", version)


@trap("W21")
@on("gunicorn-background", "waitress-background", "granian-wsgi-background")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_answer_without_a_length_in_the_background(server, version):
    """W21: a client waits for nothing that another thread does."""
    assert not client_waits(server, "/slowly_saved_without_length/", version)
