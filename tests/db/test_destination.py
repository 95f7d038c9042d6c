"""The row goes where the view's rows go: tenants by database.

A router reads a context variable that a middleware sets, and resets behind the view.
So nobody who is asked later knows the tenant: the row goes where the router said while
the view was running, whoever writes it, and whenever.
"""

from __future__ import annotations

import asyncio
import io
import re
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import MagicMock, Mock, patch

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from request_images import erasure, health, signals, tasks
from request_images.capture import lifecycle, recording
from request_images.capture.recording import Recording, recording_of
from request_images.db import destination
from request_images.db.destination import (
    Destination,
    chosen_database,
    destination_of,
    entered,
    require,
)
from request_images.decorators import capture_images
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.models.pending_deletions import PendingDeletion
from request_images.models.statistics import StaleHour
from request_images.storage.stores import store_of
from request_images.testing import flush
from request_images.writer import jobs, notify, rows
from request_images.writer.spool import drain, spooling
from tests.db.databases import (
    OTHER,
    empty,
    post,
    received,
    received_async,
    rows_of,
    second_database,
    tenant,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", OTHER])
HERE = "tests.db.databases"


@pytest.fixture(autouse=True, scope="module")
def _second_database(django_db_setup, django_db_blocker, tmp_path_factory):
    with (
        django_db_blocker.unblock(),
        second_database(tmp_path_factory.mktemp("tenants") / "other.sqlite3"),
    ):
        yield


@pytest.fixture(autouse=True)
def _tenants(settings):
    """A router that is lost outside of a request."""
    settings.DATABASE_ROUTERS = [f"{HERE}.ByContext"]
    settings.MIDDLEWARE = [f"{HERE}.ForgettingMiddleware", *settings.MIDDLEWARE]
    yield
    flush()
    jobs.queue.close(10)
    jobs.queue.reset()
    empty(OTHER)


@pytest.fixture(params=["after_response", "background"])
def mode(settings, request):
    """Both threads that write."""
    settings.REQUEST_IMAGES_WRITE_MODE = request.param
    return request.param


@pytest.fixture
def spool(settings, tmp_path):
    """A spool folder that all tenants share."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    return settings.REQUEST_IMAGES_SPOOL_DIR


@contextmanager
def within(alias):
    """Run as within a request of a tenant."""
    token = tenant.set(alias)
    try:
        yield
    finally:
        tenant.reset(token)


def test_each_row_is_in_the_database_of_its_tenant(mode):
    for alias in ("default", OTHER, "default", OTHER, OTHER):
        post(alias)
    flush()
    assert rows_of("default") == ["stored", "duplicate"]
    assert rows_of(OTHER) == ["stored", "duplicate", "duplicate"]
    assert health.counts() == {"stored": 2, "duplicate": 3}
    with within(OTHER):
        assert RequestImage.objects.first().image_data == draw()


def test_router_with_a_default_does_not_mix_tenants(mode, settings):
    """The router answers outside of a request, too, but with the wrong database."""
    settings.DATABASE_ROUTERS = [f"{HERE}.ByContextOrDefault"]
    post(OTHER)
    flush()
    assert rows_of(OTHER) == ["stored"]
    assert rows_of("default") == []


def test_row_of_the_test_client_is_in_the_tenants_database(settings):
    """The test client closes a request after the middleware, too."""
    with within("default"):  # of its own signals
        Client(headers={"X-Tenant": OTHER}).post("/body/", draw(), "image/png")
    assert rows_of(OTHER) == ["stored"]


def test_row_of_a_request_nobody_closes_is_in_the_tenants_database():
    """The watchdog's thread has no context of the request."""
    request = received(draw())

    @capture_images
    def left(request):
        recording_of(request).note_client_gone()
        return HttpResponse(request.body)

    with within(OTHER):
        left(request)
    assert lifecycle.wait_until_idle(10)
    assert rows_of(OTHER) == ["stored"]


def test_tenant_that_the_view_sets_gets_the_row(mode, settings):
    """The tenant may be known only after the view began: by its authentication."""
    settings.DATABASE_ROUTERS = [f"{HERE}.ByContextOrDefault"]
    request = received(draw())

    @capture_images
    def late(request):
        tenant.set(OTHER)
        return HttpResponse(request.body)

    with within("default"):
        late(request)
        tenant.set("default")
    request.close()
    flush()
    assert rows_of(OTHER) == ["stored"]


def test_tenant_that_is_reset_within_the_view_gets_the_row(settings):
    """A decorator below ours may set the tenant, and reset it before ours continues."""
    settings.DATABASE_ROUTERS = [f"{HERE}.ByContextOrDefault"]
    request = RequestFactory().post("/", draw(), content_type="image/png")

    @capture_images
    def outer(request):
        with within(OTHER):
            return capture_images(lambda r: HttpResponse(r.body))(request)

    outer(request)
    assert rows_of(OTHER) == ["stored"]


class TestRouterThatRaises:
    def test_router_that_raises_costs_the_row_and_not_the_request(self, mode, spool):
        """The row is in no other tenant's database, and the loss is counted."""
        failed = []

        def receiver(exception, log, **kwargs):
            failed.append((type(exception), log))

        signals.capture_failed.connect(receiver)
        request = received(draw())
        try:
            response = capture_images(lambda r: HttpResponse(r.body))(request)
            request.close()
        finally:
            signals.capture_failed.disconnect(receiver)
        assert response.content == draw()
        assert health.counts() == {"lost": 1}
        assert health.faults() == {"destination:LookupError": 2}
        assert failed == [(LookupError, None)]
        assert rows_of("default") == rows_of(OTHER) == []
        health.reset()

    def test_router_that_raises_at_the_end_costs_nothing(self):
        """The answer from the beginning of the view is used."""
        request = RequestFactory().post("/", draw(), content_type="image/png")
        token = tenant.set(OTHER)

        def forgetting(request):
            tenant.reset(token)
            return HttpResponse(request.body)

        capture_images(forgetting)(request)
        assert rows_of(OTHER) == ["stored"]
        assert health.faults() == {"destination:LookupError": 1}
        health.reset()

    def test_request_of_an_unknown_database_is_spooled(self, spool):
        """DATABASES lacks its name: the request waits in the folder, with a report."""
        with within("nowhere"):
            request = RequestFactory().post("/", draw(), content_type="image/png")
            capture_images(lambda r: HttpResponse(r.body))(request)
        assert health.counts() == {"spooled": 1}
        assert health.faults() == {"destination:ConnectionDoesNotExist": 1}
        health.reset()

    def test_request_of_an_unknown_database_is_lost_without_a_spool(self):
        with within("nowhere"):
            request = RequestFactory().post("/", draw(), content_type="image/png")
            capture_images(lambda r: HttpResponse(r.body))(request)
        assert health.counts() == {"lost": 1}
        health.reset()


@contextmanager
def is_down(alias):
    """One of the databases does not answer."""
    save = rows._place_and_insert

    def refuse(records, using):
        if using == alias:
            raise OperationalError("no such host")
        save(records, using)

    refused = OperationalError("no such host")
    with (
        patch.object(rows, "_place_and_insert", refuse),
        patch.object(drain, "try_write", lambda: refused),
    ):
        yield


class TestSpool:
    def test_each_entry_returns_to_its_database(self, spool, mode):
        with is_down(OTHER):
            post(OTHER)
            flush()
        assert health.counts() == {"spooled": 1}
        health.reset()
        post("default")
        flush()
        assert spooling.write_spooled().written == 1
        assert rows_of("default") == ["stored"]
        assert rows_of(OTHER) == ["stored"]
        health.reset()

    def test_database_that_is_down_does_not_stop_the_others(self, spool):
        """Its entries wait; later ones of other databases are written."""
        for alias in ("default", OTHER):
            with is_down(alias):
                post(alias, draw(seed=1))
                post(alias, draw(seed=2))
        with is_down("default"):
            result = spooling.write_spooled()
        assert (result.written, result.failed) == (2, 1)
        assert len(rows_of(OTHER)) == 2
        out = io.StringIO()
        call_command("write_spooled_requests", stdout=out)
        assert "Wrote 2 requests" in out.getvalue()
        assert len(rows_of("default")) == 2
        health.reset()

    def test_entry_of_a_database_that_is_gone_waits(self, spool):
        with within("nowhere"):
            request = RequestFactory().post("/", draw(), content_type="image/png")
            capture_images(lambda r: HttpResponse(r.body))(request)
        result = spooling.write_spooled()
        assert (result.written, result.failed, result.bad) == (0, 1, 0)
        health.reset()

    def test_request_left_at_exit_keeps_its_database(self, spool, settings):
        """What a process could not write before its end keeps its place."""
        settings.REQUEST_IMAGES_WRITE_MODE = "background"
        with patch.object(jobs.queue, "_write", lambda b: jobs._give_up(b) or ()):
            post(OTHER)
            flush()
        assert spooling.write_spooled().written == 1
        assert rows_of(OTHER) == ["stored"]


def test_database_that_is_down_opens_only_its_own_breaker():
    with is_down(OTHER):
        for _ in range(6):
            post(OTHER)
    assert not jobs.breakers.allows(Destination(OTHER))
    post("default")
    assert rows_of("default") == ["stored"]
    health.reset()


def test_connections_of_other_databases_are_closed_again(spool):
    """A look into the folder leaves no connection open."""
    with is_down(OTHER):
        post(OTHER)
    health.reset()
    connections[OTHER].close()
    spooling.write_spooled()
    assert rows_of(OTHER) == ["stored"]


class TestCommands:
    """Each runs in one database: the routers' answer, or the one that is named."""

    @pytest.fixture
    def old(self):
        """An old request with its image in each database."""
        for alias in ("default", OTHER):
            post(alias)
            old = timezone.now() - timedelta(days=400)
            for model in (RequestLog, RequestImage, ImageContent):
                model._base_manager.using(alias).update(created_at=old)

    def test_cleanup_works_in_the_named_database_only(self, old):
        call_command("cleanup_old_images", database=OTHER, days=30, verbosity=0)
        assert not ImageContent.objects.using(OTHER).exists()
        assert ImageContent.objects.using("default").count() == 1

    @pytest.mark.parametrize(
        ("command", "options"),
        [
            ("analyze_image_contents", {}),
            ("compress_image_contents", {}),
            ("make_thumbnails", {}),
            ("move_image_contents", {"to": "database"}),
            ("request_images_health", {}),
            ("update_image_statistics", {"rebuild": True}),
            ("verify_image_contents", {}),
        ],
    )
    def test_other_commands_work_in_the_named_database(self, old, command, options):
        """None asks the router, which would raise."""
        call_command(command, database=OTHER, verbosity=0, **options)

    def test_thumbnails_are_made_in_the_named_database(self, old):
        call_command("make_thumbnails", database=OTHER, verbosity=0)
        drawn = {
            alias: ImageContent.objects.using(alias).get().thumbnail is not None
            for alias in ("default", OTHER)
        }
        assert drawn == {"default": False, OTHER: True}

    def test_command_says_that_the_router_failed(self):
        """One sentence, with what to do."""
        with pytest.raises(CommandError, match=r"LookupError.* Name a database with"):
            call_command("make_thumbnails")

    def test_command_refuses_an_unknown_database(self):
        with pytest.raises(CommandError, match="has: default, other"):
            call_command("make_thumbnails", database="x")

    def test_command_refuses_an_unknown_answer_of_the_router(self):
        """Kind: one sentence, as without a router, and no traceback."""
        with within("x"), pytest.raises(CommandError, match="which a database router"):
            call_command("make_thumbnails")

    def test_command_refuses_a_tenant_that_cannot_be_entered(self, settings):
        """Kind: a typing error in a tenant's name is no traceback of the project's."""

        def lookup(name):
            raise ObjectDoesNotExist(name)

        settings.REQUEST_IMAGES_TENANT_CONTEXT = lookup
        with pytest.raises(CommandError, match="--tenant: ObjectDoesNotExist: amce"):
            call_command("make_thumbnails", database=OTHER, tenant="amce")

    def test_command_refuses_a_tenant_without_schemas(self):
        with pytest.raises(CommandError, match="There is no tenant 'acme'"):
            call_command("make_thumbnails", database=OTHER, tenant="acme")


class TestOtherWork:
    def test_erase_deletes_in_the_chosen_database(self):
        """The primary keys are the same in both."""
        for alias in ("default", OTHER):
            post(alias)
        with within("default"):
            report = erasure.erase(RequestLog.objects.using(OTHER))
        assert report.total.logs == 1
        assert (rows_of("default"), rows_of(OTHER)) == (["stored"], [])

    def test_pin_changes_the_chosen_database(self):
        for alias in ("default", OTHER):
            post(alias)
        with within("default"):
            assert len(RequestLog.objects.using(OTHER).pin()) == 1
        assert RequestLog.objects.using(OTHER).get().is_pinned
        assert not RequestLog.objects.using("default").get().is_pinned

    def test_task_knows_its_database(self, settings):
        """The worker has no context of the request."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        with (
            patch.object(notify, "why_no_worker", lambda: ""),
            patch.object(tasks, "make_thumbnail") as task,
        ):
            post(OTHER)
            flush()  # a thread enqueues it
        [call] = task.enqueue.call_args_list
        assert call.args[1:] == (OTHER, "")
        assert tasks.make_thumbnail.func(*call.args) == "made"
        assert ImageContent.objects.using(OTHER).get().thumbnail is not None

    def test_late_row_marks_the_hour_in_its_own_database(self):
        """A late row marks the hour in its own database."""
        long_ago = timezone.now() - timedelta(days=2)
        clock = Mock(now=lambda: long_ago)
        with patch("request_images.capture.recording.timezone", clock):
            post(OTHER)
        assert StaleHour.objects.using(OTHER).count() == 1
        assert not StaleHour.objects.using("default").exists()


class TestSharedStorage:
    """One bucket for all tenants: each has a folder, and lists no other's objects."""

    @pytest.fixture(autouse=True)
    def _bucket(self, settings):
        memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
        settings.STORAGES = {**settings.STORAGES, "bucket": memory}
        settings.REQUEST_IMAGES_STORAGE = "bucket"

    def test_each_tenant_has_a_folder_in_the_storage(self):
        for alias in ("default", OTHER):
            post(alias)
        [ours] = ImageContent.objects.using("default").values_list("name", flat=True)
        [theirs] = ImageContent.objects.using(OTHER).values_list("name", flat=True)
        assert theirs.startswith(Destination(OTHER).folder + "/")
        assert list(store_of("bucket").names()) == [ours]
        assert list(store_of("bucket").names(Destination(OTHER).folder)) == [theirs]

    def test_repair_deletes_no_other_tenants_objects(self):
        """The objects of one were orphans to the other."""
        post("default")
        for seed in range(3):
            post(OTHER, draw(seed=seed))
        options = {"repair": True, "force": True, "storage": ["bucket"], "verbosity": 0}
        for alias in ("default", OTHER):
            call_command("verify_image_contents", database=alias, **options)
            assert not PendingDeletion.objects.using(alias).exists()

    def test_moved_objects_keep_their_tenants_folder(self):
        post(OTHER)
        options = {"database": OTHER, "verbosity": 0}
        call_command("move_image_contents", to="database", **options)
        call_command("move_image_contents", to="bucket", **options)
        content = ImageContent.objects.using(OTHER).get()
        assert content.name.startswith(Destination(OTHER).folder)
        assert content.read() == draw()


def test_each_destination_has_its_own_folder_and_group():
    """Each has a folder and a group of its own, whatever its name is."""
    names = ["", "a", "A", "a-b", "a/../b", "\N{SNOWMAN}", "x" * 200]
    made = [Destination("default", name) for name in names]
    made += [Destination(name) for name in names]
    assert len({where.key for where in made}) == len(made)
    assert len({where.folder for where in made}) == len(made)
    assert all(re.fullmatch(r"(at-[a-z0-9-]{1,60})?", w.folder) for w in made)


class WithSchemas:
    """What django-tenants adds to a connection."""

    def __init__(self, monkeypatch):
        self.connection = connections[OTHER]
        monkeypatch.setattr(self.connection, "set_schema", self.set, raising=False)
        monkeypatch.setattr(self.connection, "set_tenant", self.back, raising=False)
        monkeypatch.setattr(self.connection, "tenant", None, raising=False)
        monkeypatch.setattr(self.connection, "schema_name", "public", raising=False)

    def set(self, schema):
        self.back(SimpleNamespace(schema_name=schema))

    def back(self, tenant):
        self.connection.tenant = tenant
        self.connection.schema_name = tenant.schema_name


class TestSchemas:
    """A connection with schemas; the package itself is in tests/foreign/tenants."""

    @pytest.fixture
    def tenants(self, monkeypatch):
        return WithSchemas(monkeypatch)

    def test_tenant_is_the_schema_of_the_connection(self, tenants):
        tenants.set("red")
        with within(OTHER):
            assert destination_of(RequestLog) == Destination(OTHER, "red")

    def test_tenant_in_an_event_loop_is_that_of_the_request(self, tenants):
        """No middleware has set the schema of this thread's connection."""
        request = SimpleNamespace(tenant=SimpleNamespace(schema_name="blue"))

        async def settle(request):
            return destination_of(RequestLog, request)

        with (
            within(OTHER),
            patch.object(destination, "connections", MagicMock()) as known,
        ):
            known.settings = connections.settings
            known.__getitem__.return_value = tenants.connection
            assert async_to_sync(settle)(request).tenant == "blue"
            assert async_to_sync(settle)(None).tenant == "public"

    def test_schema_is_reset_after_the_context(self, tenants):
        tenants.set("red")
        with entered(Destination(OTHER, "blue")):
            assert tenants.connection.schema_name == "blue"
            assert destination_of(RequestLog) == Destination(OTHER, "blue")
        assert tenants.connection.schema_name == "red"
        before = tenants.connection.tenant
        with entered(Destination(OTHER, "red")):
            assert tenants.connection.tenant is before

    def test_schema_is_required(self, tenants):
        """Without one, whichever schema is current would get the rows."""
        with pytest.raises(ImproperlyConfigured, match="has schemas, and no tenant"):
            entered(Destination(OTHER)).__enter__()

    def test_missing_schema_is_an_error(self, tenants, monkeypatch):
        """PostgreSQL would use the next schema of its path."""
        cursor = MagicMock()
        cursor.__enter__.return_value.fetchone.side_effect = [(1,), None]
        monkeypatch.setattr(tenants.connection, "vendor", "postgresql")
        monkeypatch.setattr(tenants.connection, "cursor", lambda: cursor)
        require(Destination(OTHER, "red"))
        with pytest.raises(LookupError, match="there is no schema 'red'"):
            require(Destination(OTHER, "red"))

    def test_command_refuses_a_missing_schema(self, tenants, monkeypatch):
        """Cleanup would delete what is in `public`."""
        tenants.set("red")
        cursor = MagicMock()
        cursor.__enter__.return_value.fetchone.return_value = None
        monkeypatch.setattr(tenants.connection, "vendor", "postgresql")
        monkeypatch.setattr(tenants.connection, "cursor", lambda: cursor)
        with pytest.raises(CommandError, match="there is no schema 'acme'"):
            call_command("cleanup_old_images", database=OTHER, tenant="acme")

    def test_command_keeps_the_current_schema(self, tenants):
        tenants.set("red")
        with chosen_database(OTHER):
            assert destination_of(RequestLog) == Destination(OTHER, "red")


of_thread = threading.local()


class ByThread:
    """A router that reads what a sync middleware has set in its thread."""

    def db_for_write(self, model, **hints):
        return getattr(of_thread, "alias", "default")

    db_for_read = db_for_write


class TestEventLoop:
    """The ORM of an async view runs in another thread, which knows the tenant."""

    @pytest.fixture(autouse=True)
    def _router(self, settings):
        settings.DATABASE_ROUTERS = [ByThread()]

    async def handle(self, view):
        await sync_to_async(setattr)(of_thread, "alias", OTHER)
        request = received_async(draw())
        request.scope["client"] = ("192.0.2.1", 5000)
        try:
            return await capture_images(view)(request)
        finally:
            await sync_to_async(setattr)(of_thread, "alias", "default")
            await sync_to_async(request.close)()

    def test_thread_of_the_orm_is_asked(self, mode):
        async def view(request):
            return HttpResponse(request.body)

        assert async_to_sync(self.handle)(view).content == draw()
        flush()
        assert (rows_of("default"), rows_of(OTHER)) == ([], ["stored"])

    def test_view_that_raises_has_its_row_in_the_tenants_database(self, mode):
        async def view(request):
            raise ZeroDivisionError(len(request.body))

        with pytest.raises(ZeroDivisionError):
            async_to_sync(self.handle)(view)
        flush()
        assert (rows_of("default"), rows_of(OTHER)) == ([], ["stored"])

    def test_busy_thread_of_the_orm_does_not_delay_the_client(self):
        """The thread answers when the client has its response, and before the close."""
        has_response = threading.Event()

        async def view(request):
            return HttpResponse(request.body)

        async def call():
            await sync_to_async(setattr)(of_thread, "alias", OTHER)
            request = received_async(draw())
            request.scope["client"] = ("192.0.2.1", 5000)
            busy = asyncio.ensure_future(sync_to_async(has_response.wait)(30))
            await asyncio.sleep(0)
            response = await capture_images(view)(request)
            has_response.set()
            assert await busy
            await sync_to_async(setattr)(of_thread, "alias", "default")
            await sync_to_async(request.close)()
            return response

        assert async_to_sync(call)().content == draw()
        flush()
        assert (rows_of("default"), rows_of(OTHER)) == ([], ["stored"])

    async def close_while_busy(self, *, is_freed):
        async def view(request):
            return HttpResponse(request.body)

        await sync_to_async(setattr)(of_thread, "alias", OTHER)
        free, request = threading.Event(), received_async(draw())
        request.scope["client"] = ("192.0.2.1", 5000)
        busy = asyncio.ensure_future(sync_to_async(free.wait)(30))
        await asyncio.sleep(0)
        await capture_images(view)(request)
        closing = asyncio.ensure_future(asyncio.to_thread(request.close))
        if is_freed:
            await asyncio.sleep(0.1)
            free.set()
        await closing
        free.set()
        assert await busy
        await sync_to_async(setattr)(of_thread, "alias", "default")

    def test_another_thread_that_closes_waits_for_the_answer(self, monkeypatch):
        """The watchdog's, for example."""
        monkeypatch.setattr(recording, "_DESTINATION_SECONDS", 30)
        async_to_sync(self.close_while_busy)(is_freed=True)
        flush()
        assert (rows_of("default"), rows_of(OTHER)) == ([], ["stored"])

    def test_thread_of_the_orm_that_never_answers_costs_the_request(self, monkeypatch):
        """Its tenant is unknown, so its row is written nowhere."""
        monkeypatch.setattr(recording, "_DESTINATION_SECONDS", 0.01)
        async_to_sync(self.close_while_busy)(is_freed=False)
        flush()
        assert (rows_of("default"), rows_of(OTHER)) == ([], [])
        assert health.counts() == {"lost": 1}
        assert set(health.faults()) >= {"destination:TimeoutError"}
        health.reset()

    def test_view_that_never_begins_is_closed(self, monkeypatch):
        """The view is not left as a coroutine that nobody awaits."""

        async def leave(self):
            raise asyncio.CancelledError

        monkeypatch.setattr(Recording, "note_destination_in_thread", leave)

        async def view(request):
            raise AssertionError("it must not run")  # pragma: no cover

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(self.handle(view))
        flush()
        health.reset()

    def test_sync_view_called_in_a_loop_has_its_row(self):
        """The router is asked in the thread that writes."""

        async def call():
            request = RequestFactory().post("/", draw(), content_type="image/png")
            capture_images(lambda r: HttpResponse(r.body))(request)
            await recording_tasks()

        async def recording_tasks():
            while lifecycle._tasks:
                await asyncio.sleep(0.01)

        async_to_sync(call)()
        flush()
        assert rows_of("default") == ["stored"]


current = ContextVar("current", default="")


def name_of(request):
    """Return the name of a tenant of the project's own kind."""
    return request.headers.get("X-Customer", "")


@contextmanager
def customer(name):
    """Make a tenant current."""
    token = current.set(name)
    try:
        yield
    finally:
        current.reset(token)


class TestOwnKind:
    """Two functions of the project: one names the tenant, the other enters it."""

    @pytest.fixture(autouse=True)
    def _functions(self, settings):
        settings.DATABASE_ROUTERS = []
        settings.REQUEST_IMAGES_TENANT = name_of
        settings.REQUEST_IMAGES_TENANT_CONTEXT = f"{__name__}.customer"

    def post(self, **headers):
        request = received(draw(), **headers)
        capture_images(lambda r: HttpResponse(r.body))(request)
        request.close()
        flush()

    def test_signals_are_sent_within_the_context(self, mode):
        seen = []

        def receiver(log, **kwargs):
            seen.append((log.capture_status, current.get()))

        signals.image_saved.connect(receiver)
        try:
            self.post(x_customer="acme")
            self.post()
        finally:
            signals.image_saved.disconnect(receiver)
        assert seen == [("stored", "acme"), ("duplicate", "")]

    def test_function_may_use_the_orm_in_an_async_view(self, settings, mode):
        """Kind: it is called where the view's own ORM works, not in the event loop."""

        def ask(request):
            return "acme" if RequestLog.objects.exists() else ""

        async def handle():
            request = received_async(draw())
            await capture_images(view)(request)
            await sync_to_async(request.close)()

        async def view(request):
            return HttpResponse(request.body)

        settings.REQUEST_IMAGES_TENANT = ask
        async_to_sync(handle)()
        flush()
        assert rows_of("default") == ["stored"]

    @pytest.mark.parametrize("answer", [7, None, "x" * 201])
    def test_wrong_answer_of_the_function_costs_the_row(self, settings, answer):
        """Any other database might be the wrong one."""
        settings.REQUEST_IMAGES_TENANT = lambda request: answer
        self.post()
        assert health.counts() == {"lost": 1}
        assert health.faults() == {"destination:ValueError": 2}
        health.reset()

    def test_request_is_spooled_if_its_context_cannot_be_entered(self, settings, spool):
        """The request waits in the folder."""

        def broken(name):
            raise LookupError(name)

        settings.REQUEST_IMAGES_TENANT_CONTEXT = broken
        self.post(x_customer="acme")
        assert health.counts() == {"spooled": 1}
        settings.REQUEST_IMAGES_TENANT_CONTEXT = customer
        assert spooling.write_spooled().written == 1
        assert rows_of("default") == ["stored"]
        health.reset()

    def test_connection_of_the_context_is_replaced_when_it_is_lost(self, settings):
        """Kind: the background thread has what it opened for as long as it lives.

        A server that was started again closes it. Django notices between requests.
        """

        @contextmanager
        def querying(name):
            with connections[OTHER].cursor() as cursor:
                cursor.execute("SELECT 1")
            yield

        settings.REQUEST_IMAGES_TENANT_CONTEXT = querying
        self.post(x_customer="acme")
        connections[OTHER].connection.close()
        self.post(x_customer="acme")
        assert rows_of("default") == ["stored", "duplicate"]

    def test_context_that_fails_at_its_end_costs_nothing(self, settings):
        """The row is written by then."""

        @contextmanager
        def leaving(name):
            yield
            raise RuntimeError(name)

        settings.REQUEST_IMAGES_TENANT_CONTEXT = leaving
        self.post(x_customer="acme")
        assert health.counts() == {"stored": 1}
        assert health.faults() == {"tenant:RuntimeError": 1}
        health.reset()

    def test_command_enters_the_context_of_the_named_tenant(self):
        """The option has the name that the function would return."""
        self.post(x_customer="acme")
        call_command("make_thumbnails", tenant="acme", verbosity=0)
        assert ImageContent.objects.get().thumbnail is not None
        with chosen_database("default"):
            assert destination_of(RequestLog) == Destination()
