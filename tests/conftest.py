"""Fixtures for all tests."""

from __future__ import annotations

import gc
import warnings

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import AsyncClient, TransactionTestCase
from hypothesis import HealthCheck, settings

from request_images import health
from request_images.storage import stores
from request_images.writer import jobs, task_queue
from request_images.writer.losses import ledger
from request_images.writer.spool import spooling
from tests.image_files import draw

# The time of an example depends on the machine and its load.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

# Other packages and a configuration of its own: see the environment `foreign` of tox.
collect_ignore = ["foreign"]


def pytest_addoption(parser):
    parser.addoption(
        "--database-tests",
        choices=("own", "common", "none"),
        help="of the tests that use a database, whatever it is, run only those of the "
        "modules that reach lines for one kind of database (own), or only the others "
        "(common), and no tests beside them; or run only what uses none (none)",
    )
    parser.addoption(
        "--front-door",
        action="store_true",
        help="leave out tests of modules that meet only the ORM of Django",
    )


# Beside the mark `django_db`: of pytest-django, and of tests that start processes.
_DATABASE_FIXTURES = {"db", "transactional_db", "database", "project", "tables"}


# They look up in the database what was found in a request, and nothing else.
_ONLY_LOOK = tuple(
    f"tests/capture/test_{name}.py"
    for name in ("form_parts", "partial", "sources_any_body", "taps_hostile")
)


# They reach lines for one kind of database. On a server, only these are measured: to
# measure a test takes almost as long again as to run it.
_OF_ONE_DATABASE = (
    *(f"tests/capture/test_{name}.py" for name in ("caller", "lifecycle")),
    "tests/cleanup/test_retention.py",
    *(f"tests/contents/test_{name}.py" for name in ("derive", "move")),
    "tests/db/",
    "tests/management/test_analyze_image_contents.py",
    "tests/test_outcome.py",
    "tests/test_servers.py",
    "tests/writer/",
)


def _uses_database(item) -> bool:
    if item.nodeid.startswith(_ONLY_LOOK):
        return False
    return (
        any(item.get_closest_marker(name) for name in ("django_db", "processes"))
        or not _DATABASE_FIXTURES.isdisjoint(item.fixturenames)
        # They ask for the vendor, not always for a row.
        or item.nodeid.startswith(("tests/db/", "tests/writer/"))
    )


# Requests, handlers, templates, admin hooks, models, and what lies at the top; and what
# meets Python and Pillow alone, which tox.ini leaves out where it has run.
_FRONT_DOOR = (
    "tests/admin/",
    "tests/capture/",
    "tests/charts/",
    "tests/images/",
    "tests/models/",
    "tests/test_",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what cannot fail on one database, or Django, and pass on another."""
    wanted = config.getoption("database_tests")

    def kind_of(item) -> str:
        is_own = item.nodeid.startswith(_OF_ONE_DATABASE)
        return ("own" if is_own else "common") if _uses_database(item) else "none"

    def is_wanted(item) -> bool:
        return wanted in (None, kind_of(item)) and (
            not config.getoption("front_door") or item.nodeid.startswith(_FRONT_DOOR)
        )

    unwanted = [item for item in items if not is_wanted(item)]
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if is_wanted(item)]


@pytest.fixture(autouse=True, scope="module")
def _keep_from_the_collector():
    """Exclude what outlives a module's tests from garbage collection.

    Modules, parameters and reports of tests are a million objects. Each collection of a
    test would visit all of them, not only those that the tests of its module left.
    """
    gc.collect()
    gc.freeze()


def _delete_rows(case):
    """Delete all rows of a test with transactions, except those of `migrate`.

    Django's own way empties all tables, recreates the permissions and content types of
    every app, and truncates if possible: on PostgreSQL this creates new files for each
    table and its indexes, and waits until they are on the disk.
    """
    of_migrate = {model._meta.db_table for model in (ContentType, Permission)}
    tables = connection.introspection.django_table_names(only_existing=True)
    with (
        connection.constraint_checks_disabled(),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        for table in set(tables) - of_migrate:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


@pytest.fixture(autouse=True, scope="session")
def _delete_instead_of_flush():
    """Clean up after tests with transactions in milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", _delete_rows)
        yield


@pytest.fixture
def _waiting_for_the_disk():
    """Wait for the disk, as a server does by default; tox.ini switches that off."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO on")
        yield
        cursor.execute("RESET synchronous_commit")


@pytest.fixture(autouse=True)
def _no_faults():
    """Fail a test that leaves a fault; a test that expects one resets the counters."""
    health.reset()
    jobs.breakers.reset()
    task_queue.breakers.reset()
    ledger.reset()
    stores.forget()
    yield
    faults = health.faults()
    health.reset()
    assert faults == {}


@pytest.fixture(autouse=True)
def _no_spool_thread():
    """Leave the spool folder to the test, which may start the thread by a reset."""
    spooling._drainer.stop()
    yield
    spooling._drainer.stop()
    spooling._reset()


@pytest.fixture(autouse=True)
def _own_connection():
    """Fail a test that leaves its connection shared, which changes later tests."""
    yield
    assert not connection.allow_thread_sharing


@pytest.fixture(autouse=True)
def _patient_statistics(monkeypatch):
    """Let a reader sum up all hours, however busy this machine is."""
    monkeypatch.setattr("request_images.statistics.summarize.BUILD_SECONDS", 60)


@pytest.fixture(autouse=True)
def _connections_of_threads(request):
    """Close other threads' connections in the test that opened them.

    Django never closes an in-memory database, so Python warns of each one, in whichever
    test the garbage collector runs.
    """
    yield
    marker = request.node.get_closest_marker("django_db")
    if marker is not None and marker.kwargs.get("transaction"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture
def atomic_requests():
    """Run every view in a transaction of its own."""
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.fixture
def async_client_post():
    """Post an image through Django's async client."""

    def post(url, data=None, **extra):
        data = draw() if data is None else data
        client = AsyncClient(raise_request_exception=False)

        async def send():
            return await client.post(url, data, content_type="image/png", **extra)

        return async_to_sync(send)()

    return post
