"""The row goes where the view's rows go: tenants by schema, with django-tenants.

Each request of a customer is written into the schema of this customer, whoever writes
it: the request's own thread, the background thread, the watchdog, or another process
that empties the spool folder.
"""

from __future__ import annotations

import asyncio
import io
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.apps import apps
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command
from django.db import OperationalError, close_old_connections, connection
from django.test import RequestFactory
from django.utils import timezone
from django_tenants.utils import schema_context

from request_images import health, signals, tasks
from request_images.capture import lifecycle
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.models.pending_deletions import PendingDeletion
from request_images.models.statistics import StaleHour
from request_images.testing import flush
from request_images.writer import jobs, notify, rows, task_queue
from request_images.writer.spool import drain, spooling
from tests.foreign.tenants.customers.models import Customer, Domain

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02"
    b"\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01"
    b"\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82"
)
SCHEMAS = ("red", "blue")
OURS = [
    m for m in apps.get_app_config("request_images").get_models() if not m._meta.proxy
]


@pytest.fixture(scope="session", autouse=True)
def _customers(django_db_blocker):
    """Create a database with a schema for each customer.

    Django's tests would empty the public schema alone, and after each test.
    """
    with django_db_blocker.unblock():
        name = connection.settings_dict["NAME"]
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        try:
            for schema in SCHEMAS:
                add_customer(schema)
            yield
        finally:
            connection.set_schema_to_public()
            connection.creation.destroy_test_db(name, verbosity=0)


def add_customer(schema):
    customer = Customer(schema_name=schema)
    customer.save(verbosity=0)
    Domain.objects.create(domain=f"{schema}.example", tenant=customer)
    return customer


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    """A server, which a test never is, and rows of no other test."""
    monkeypatch.setattr(lifecycle, "is_in_tests", lambda: False)
    health.reset()
    jobs.breakers.reset()
    connection.set_schema_to_public()
    yield
    flush()
    for queue in (jobs.queue, task_queue.queue()):
        queue.close(10)
        queue.reset()
    spooling._drainer.stop()
    spooling._drainer.reset()
    for name in SCHEMAS:
        with schema_context(name):
            RequestLog.objects.all().delete()
            for model in (ImageContent, StaleHour, PendingDeletion):
                model.objects.all().delete()


@pytest.fixture(params=["after_response", "background"])
def mode(settings, request):
    settings.REQUEST_IMAGES_WRITE_MODE = request.param
    return request.param


@pytest.fixture
def spool(settings, tmp_path):
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    return settings.REQUEST_IMAGES_SPOOL_DIR


def post(schema, path="/sync/"):
    """Post an image as a WSGI server does, and close its response."""
    response = call(schema, path)
    try:
        return b"".join(response)
    finally:
        response.close()


def call(schema, path):
    """Call the handler as a WSGI server does."""
    factory = RequestFactory(HTTP_HOST=f"{schema}.example")
    environ = factory.post(path, PNG, "image/png").environ
    environ["wsgi.input"] = io.BytesIO(PNG)
    return WSGIHandler()(environ, lambda status, headers: None)


async def post_async(schema, path):
    """Post an image as an ASGI server does."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [
            (b"host", f"{schema}.example".encode()),
            (b"content-type", b"image/png"),
            (b"content-length", str(len(PNG)).encode()),
        ],
    }
    is_sent = asyncio.Event()
    body = iter([{"type": "http.request", "body": PNG, "more_body": False}])

    async def receive():
        for message in body:
            return message
        await is_sent.wait()
        return {"type": "http.disconnect"}

    sent = []

    async def send(message):
        sent.append(message)
        if not message.get("more_body", message["type"] == "http.response.start"):
            is_sent.set()

    await ASGIHandler()(scope, receive, send)
    return sent[0]["status"]


def count(schema, model=RequestLog):
    """Return the number of rows in a schema."""
    with schema_context(schema):
        return model.objects.count()


def counted():
    return {schema: count(schema) for schema in SCHEMAS}


def test_each_row_is_in_the_schema_of_its_customer(mode):
    for schema in ("red", "blue", "red"):
        assert post(schema) == str(len(PNG)).encode()
    flush()
    assert counted() == {"red": 2, "blue": 1}
    assert {s: count(s, ImageContent) for s in SCHEMAS} == {"red": 1, "blue": 1}
    assert health.faults() == {}


def test_batch_of_several_customers_is_divided(settings):
    """Each gets a transaction of its own."""
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    for number in range(20):
        post(SCHEMAS[number % 2])
    flush()
    assert counted() == {"red": 10, "blue": 10}


@pytest.mark.parametrize("path", ["/sync/", "/async/"])
def test_row_under_asgi_is_in_the_schema_of_its_customer(mode, path):
    """An event loop's thread has a connection that no middleware knows."""
    for schema in ("red", "blue", "blue"):
        assert asyncio.run(post_async(schema, path)) == 200
    flush()
    assert counted() == {"red": 1, "blue": 2}
    assert health.faults() == {}


def test_limited_set_calls_keep_the_schema_right(mode, settings):
    """django-tenants then trusts what it has set, also after a roll-back of ours."""
    settings.TENANT_LIMIT_SET_CALLS = True
    for schema in ("red", "blue", "red"):
        post(schema)
    flush()
    assert counted() == {"red": 2, "blue": 1}


def test_row_of_a_request_nobody_closes_is_in_its_schema():
    """The watchdog's thread starts in the schema `public`."""
    call("red", "/left/")
    flush()
    assert counted() == {"red": 1, "blue": 0}


def test_signals_are_sent_within_the_schema(mode):
    """A receiver finds the row, and writes rows of its own beside it."""
    seen = []

    def receiver(log, **kwargs):
        exists = RequestLog.objects.filter(pk=log.pk).exists()
        seen.append((connection.schema_name, exists))

    signals.image_saved.connect(receiver)
    try:
        post("blue")
        flush()
    finally:
        signals.image_saved.disconnect(receiver)
    assert seen == [("blue", True)]


@contextmanager
def is_down():
    error = OperationalError("no such host")
    with (
        patch.object(rows, "_place_and_insert", side_effect=error),
        patch.object(drain, "try_write", lambda: error),
    ):
        yield
        flush()
        # The process's own thread would write what the tests want to.
        spooling._drainer.stop()


def test_spooled_requests_return_to_their_schemas(spool, mode):
    """The process that empties the folder may work for another customer or none."""
    with is_down():
        for schema in ("red", "blue", "red"):
            post(schema)
        flush()
    assert counted() == {"red": 0, "blue": 0}
    jobs.breakers.reset()
    out = io.StringIO()
    with schema_context("blue"):
        call_command("write_spooled_requests", stdout=out)
        assert connection.schema_name == "blue"
    assert "Wrote 3 requests" in out.getvalue()
    assert counted() == {"red": 2, "blue": 1}


def test_request_of_a_dropped_schema_waits_in_the_spool(spool):
    """PostgreSQL would use `public`: the request waits, and is reported."""
    customer = add_customer("gone")
    with is_down():
        post("gone")
    customer.delete(force_drop=True)
    jobs.breakers.reset()
    connection.set_schema_to_public()
    with connection.schema_editor() as editor:
        for model in OURS:
            editor.create_model(model)
    try:
        result = spooling.write_spooled()
        assert (result.written, result.failed) == (0, 1)
        assert count("public") == 0
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(OURS):
                editor.delete_model(model)


def test_task_knows_its_schema(settings):
    settings.REQUEST_IMAGES_THUMBNAILS = "task"
    with (
        patch.object(notify, "why_no_worker", lambda: ""),
        patch.object(tasks, "make_thumbnail") as task,
    ):
        post("red")
        assert task_queue.queue().wait_until_empty(10)
    [call] = task.enqueue.call_args_list
    assert call.args[1:] == ("default", "red")
    connection.set_schema_to_public()
    assert tasks.make_thumbnail.func(*call.args) in {"made", "impossible"}
    assert connection.schema_name == "public"


@pytest.mark.parametrize("way", ["tenant_command", "all_tenants_command", "--tenant"])
def test_cleanup_deletes_only_one_customers_rows(way):
    for schema in SCHEMAS:
        post(schema)
        with schema_context(schema):
            old = timezone.now() - timedelta(days=400)
            for model in (RequestLog, RequestImage, ImageContent):
                model._base_manager.update(created_at=old)
    options = {"days": 30, "verbosity": 0}
    if way == "tenant_command":
        call_command(way, "cleanup_old_images", "--days=30", schema_name="red")
    elif way == "all_tenants_command":
        for schema in SCHEMAS:
            with schema_context(schema):
                call_command("cleanup_old_images", **options)
    else:
        call_command("cleanup_old_images", tenant="red", **options)
    left = {schema: count(schema, ImageContent) for schema in SCHEMAS}
    is_one = way != "all_tenants_command"
    assert left == {"red": 0, "blue": int(is_one)}


def test_command_refuses_a_missing_schema():
    """With a misspelt name the command would work in `public`."""
    with pytest.raises(CommandError, match="there is no schema 'rde'"):
        call_command("cleanup_old_images", tenant="rde", days=30)


def test_customers_share_a_bucket(settings):
    """Each customer's objects are in a folder; none is another's orphan."""
    settings.REQUEST_IMAGES_STORAGE = "bucket"
    for schema in SCHEMAS:
        post(schema)
    flush()
    options = {"repair": True, "force": True, "storage": ["bucket"], "verbosity": 0}
    names = set()
    for schema in SCHEMAS:
        with schema_context(schema):
            call_command("verify_image_contents", **options)
            names |= {c.name.split("/")[0] for c in ImageContent.objects.all()}
            assert not PendingDeletion.objects.exists()
    assert len(names) == 2


def test_statistics_count_one_customer():
    post("red")
    with schema_context("red"):
        call_command("update_image_statistics", verbosity=0)
    close_old_connections()
