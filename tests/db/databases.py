"""Tenants by database: a second one, and a router that reads a context variable."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from unittest.mock import patch

from django.apps import apps
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connections
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import resolve

from request_images.capture import lifecycle
from request_images.models import RequestLog
from tests.image_files import draw

OTHER = "other_tenant"
tenant: ContextVar[str] = ContextVar("tenant")


class ByContext:
    """A router that asks the context, and knows no answer outside of a request."""

    def _alias(self, model, **hints):
        return tenant.get() if model._meta.app_label == "request_images" else None

    db_for_read = db_for_write = _alias


class ByContextOrDefault(ByContext):
    """A router that sends everything to the default database outside of a request."""

    def _alias(self, model, **hints):
        return tenant.get("default")

    db_for_read = db_for_write = _alias


class ForgettingMiddleware:
    """Set the tenant from a header, and reset it behind the view."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        token = tenant.set(request.headers.get("X-Tenant", "default"))
        try:
            return self.get_response(request)
        finally:
            tenant.reset(token)


def _tables():
    # Those of the project refer to ours, which cleanup asks for.
    labels = ("request_images", "host")
    models = [m for label in labels for m in apps.get_app_config(label).get_models()]
    return [model for model in models if not model._meta.proxy]


@contextmanager
def second_database(path) -> Iterator[None]:
    """Add a database with our tables, whatever the default one is.

    Enter it before the fixtures of Django's tests, which refuse what they do not know.
    """
    own = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
    configured = connections.configure_settings({"default": {}, OTHER: own})
    connections.settings[OTHER] = configured[OTHER]
    connection = connections[OTHER]
    try:
        with connection.schema_editor() as editor:
            for model in _tables():
                editor.create_model(model)
        yield
    finally:
        connection.close()
        del connections[OTHER]
        del connections.settings[OTHER]


def received(data=b"", **headers):
    """Return a request as a server makes it, with its URL resolved.

    That of a factory is written with its view, and never put off.
    """
    factory = RequestFactory(headers=headers)
    environ = factory.post("/", data, content_type="image/png").environ
    request = WSGIRequest({**environ, "wsgi.input": io.BytesIO(data)})
    request.resolver_match = resolve("/body/")
    return request


def received_async(data):
    """Return a request as an ASGI server makes it, with its URL resolved."""
    made = AsyncRequestFactory().post("/", data, content_type="image/png")
    request = ASGIRequest(made.scope, io.BytesIO(data))
    request.resolver_match = resolve("/body/")
    return request


def post(alias, data=None, url="/body/"):
    """Post an image as a server does, which a test never is."""
    data = draw() if data is None else data
    request = RequestFactory().post(url, data, "image/png", HTTP_X_TENANT=alias)
    environ = {**request.environ, "wsgi.input": io.BytesIO(data)}
    with patch.object(lifecycle, "is_in_tests", lambda: False):
        response = WSGIHandler()(environ, lambda status, headers: None)
        try:
            return b"".join(response)
        finally:
            response.close()


def empty(alias):
    """Delete all rows of ours."""
    with connections[alias].constraint_checks_disabled():
        for model in _tables():
            model._base_manager.using(alias).all()._raw_delete(alias)


def rows_of(alias):
    """Return the capture statuses of the requests in one database."""
    logs = RequestLog.objects.using(alias).order_by("pk")
    return list(logs.values_list("capture_status", flat=True))
