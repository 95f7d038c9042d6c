"""Where the rows of a request go: a database and a tenant, settled while its view runs.

A router may decide by the running request, and a tenant's schema is an attribute of one
thread's connection. Both are unknown later: behind the middleware, in another thread,
in a command. So the answers are kept with the request, and used for its rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.db.utils import load_backend

from request_images.conf import conf, load_function
from request_images.health import report

MAX_TENANT_LENGTH = 200


class Destination(NamedTuple):
    """A database, and the tenant in it.

    Attributes:
        alias: The alias of the database.
        tenant: The schema, or what the setting ``TENANT`` answers; empty for none.
    """

    alias: str = DEFAULT_DB_ALIAS
    tenant: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether it is the default database, without a tenant or in the public schema.

        This is also the answer of who does not know the tenant yet, or any more.
        """
        public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
        return self.alias == DEFAULT_DB_ALIAS and self.tenant in ("", public)

    @property
    def folder(self) -> str:
        """The folder of its objects in a storage, which other tenants may use, too.

        It is empty for the default database without tenants.
        """
        if self == Destination():
            return ""
        text = f"{self.alias}-{self.tenant}" if self.tenant else self.alias
        readable = re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-")
        return f"at-{readable}-{self.key}"

    @property
    def key(self) -> str:
        """A short name of it, in hexadecimal digits."""
        text = f"{self.alias}\x00{self.tenant}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def database_of(model: type[models.Model]) -> str:
    """Return the alias of the database that the rows of our models are written to."""
    entered = _entered.get()
    return router.db_for_write(model) if entered is None else entered.alias


def destination_of(model: type[models.Model], request: object = None) -> Destination:
    """Return where the rows of our models go now.

    Args:
        model: The model that routers are asked about.
        request: The request whose view is running.

    Raises:
        Exception: A router, or a function of the project, has raised.
    """
    entered = _entered.get()
    if entered is not None:
        return entered
    alias = str(router.db_for_write(model))
    function = load_function(conf.TENANT)
    tenant = _schema(alias, request) if function is None else function(request)
    if not isinstance(tenant, str) or len(tenant) > MAX_TENANT_LENGTH:
        raise ValueError(f"TENANT returned {tenant!r}, not a short text")
    return Destination(alias, tenant)


def _schema(alias: str, request: object = None) -> str:
    """Return the schema of a connection as django-tenants has it; empty for none."""
    if alias not in connections.settings:
        return ""  # the write says so, and keeps the request
    connection = connections[alias]
    if not _has_schemas(connection):
        return ""
    if _is_in_event_loop():
        # The connection is one of another thread, which the middleware does not know.
        connection = getattr(request, "tenant", connection)
    return str(getattr(connection, "schema_name", None) or "")


def is_of_another_thread() -> bool:
    """Tell whether the ORM of the running view may know another destination.

    In an event loop it runs in a thread, where sync middleware has run, too. A router
    may ask for what that thread has, and a connection belongs to it.
    """
    may_differ = bool(router.routers) or any(
        hasattr(load_backend(given["ENGINE"]).DatabaseWrapper, "set_schema")
        for given in connections.settings.values()
    )
    return may_differ and _is_in_event_loop()


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def entered(where: Destination) -> Iterator[None]:
    """Write and read the rows of our models there, in this thread or task.

    Raises:
        Exception: There is no such database, or the tenant cannot be entered.
    """
    context = _tenant(where)
    context.__enter__()
    token = _entered.set(where)
    try:
        yield
    finally:
        _entered.reset(token)
        try:
            context.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001  # the rows are written
            report("tenant", error)


def require(where: Destination) -> None:
    """Raise an error if a schema does not exist: PostgreSQL would take `public`.

    Raises:
        LookupError: It does not exist.
        django.db.Error: The database does not tell.
    """
    connection = connections[where.alias]
    if not _has_schemas(connection) or connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [where.tenant])
        if cursor.fetchone() is None:
            raise LookupError(f"there is no schema {where.tenant!r}")


def chosen_database(alias: str | None) -> AbstractContextManager[None]:
    """Enter a database that somebody names, with the tenant of now; None for none."""
    if not alias:
        return nullcontext()
    # What the function TENANT would say needs a request; its context is entered then.
    tenant = "" if conf.TENANT else _schema(alias)
    return entered(Destination(alias, tenant))


def _tenant(where: Destination) -> AbstractContextManager[Any]:
    enter = load_function(conf.TENANT_CONTEXT)
    connection = connections[where.alias]
    if enter is not None and where.tenant:
        context: AbstractContextManager[Any] = enter(where.tenant)
        return context
    if _has_schemas(connection) != bool(where.tenant):
        raise ImproperlyConfigured(
            f"The database {where.alias!r} has schemas, and no tenant is given."
            if _has_schemas(connection)
            else f"There is no tenant {where.tenant!r}: the backend of the database "
            f"{where.alias!r} has no schemas as django-tenants has them, and the "
            "setting REQUEST_IMAGES_TENANT_CONTEXT is not set."
        )
    return _in_schema(connection, where.tenant) if where.tenant else nullcontext()


@contextmanager
def _in_schema(connection: Any, schema: str) -> Iterator[None]:
    if connection.schema_name == schema:
        yield
        return
    before = connection.tenant
    connection.set_schema(schema)
    try:
        yield
    finally:
        connection.set_tenant(before)


def _has_schemas(connection: object) -> bool:
    return hasattr(connection, "set_schema") and hasattr(connection, "schema_name")


_entered: ContextVar[Destination | None] = ContextVar(
    "request_images_destination", default=None
)
