"""The destination of a request's rows: a database and a tenant.

A router may decide by the running request, and a tenant's schema is an attribute of one
thread's connection. Both are unknown later: after the middleware, in another thread, or
in a command. So a request keeps the answers from the time when its view ran.
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

        This is also the answer before a tenant is known, and after it was reset.
        """
        if self.alias != DEFAULT_DB_ALIAS:
            return False
        # Asked second: to look for a setting that does not exist takes long.
        return not self.tenant or self.tenant == getattr(
            settings, "PUBLIC_SCHEMA_NAME", "public"
        )

    @property
    def folder(self) -> str:
        """The folder of its objects in a storage that tenants may share.

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
        return ""  # the write reports that, and the request is spooled
    connection = connections[alias]
    if not _has_schemas(connection):
        return ""
    if is_in_event_loop():
        # Middleware has set the schema of another thread's connection.
        connection = getattr(request, "tenant", connection)
    return str(getattr(connection, "schema_name", None) or "")


def is_of_another_thread() -> bool:
    """Tell whether the thread of the running view's ORM must be asked.

    From an event loop, the ORM is called in a thread, as sync middleware is. A router
    and the function TENANT may read variables of that thread or use the ORM, and the
    connection belongs to it.
    """
    return is_in_event_loop() and may_vary()


def may_vary() -> bool:
    """Tell whether requests of this project may have different destinations."""
    return bool(router.routers or conf.TENANT) or any(
        hasattr(load_backend(given["ENGINE"]).DatabaseWrapper, "set_schema")
        for given in connections.settings.values()
    )


def is_in_event_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def entered(where: Destination) -> Iterator[None]:
    """Make a destination current for the rows of our models, in this thread or task.

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
    """Raise an error if a schema does not exist: PostgreSQL would use `public`.

    Raises:
        LookupError: It does not exist.
        django.db.Error: The database does not answer.
    """
    connection = connections[where.alias]
    if not _has_schemas(connection) or connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [where.tenant])
        if cursor.fetchone() is None:
            raise LookupError(f"there is no schema {where.tenant!r}")


def chosen_database(alias: str | None) -> AbstractContextManager[None]:
    """Enter a database with the current tenant; None leaves the choice to routers."""
    if not alias:
        return nullcontext()
    # The function TENANT needs a request; here its context is entered already.
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
