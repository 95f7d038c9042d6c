"""Write one request in two round trips, on PostgreSQL with psycopg 3.

The first one begins the transaction, limits it and looks up the image's hash; the
second one inserts all rows by one statement, and commits.
"""

from __future__ import annotations

from functools import lru_cache

from django.db import connections
from django.db.models import Model
from django.utils import timezone

from request_images.aggregation.periods import floor
from request_images.db import postgres
from request_images.db.insert import mark_inserted, table_of
from request_images.db.transactions import statement_limits
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.models.statistics import is_late

from .record import Record

_OF_NEW_CONTENT = "image_hash", "created_at", "mime_type", "stored_size", "data"


def is_possible(record: Record, using: str) -> bool:
    """Tell whether a request can be written like this.

    It can if it has one image at most, whose bytes are not in a storage, if it is not
    late, and if no transaction is open.
    """
    connection = connections[using]
    return (
        len(record.pictures) <= 1
        and not is_late(floor(record.log.created_at), timezone.now())
        and all(picture.placed is None for picture in record.pictures)
        and postgres.driver_of(connection) is not None
        and connection.get_autocommit()
    )


def begin(image_hash: str | None, using: str) -> int | None:
    """Begin a transaction, and return the key of the content with a hash.

    No cleanup can delete the content before the transaction ends.

    Args:
        image_hash: The hash, in hexadecimal digits; None for no look-up.
        using: The alias of the database.

    Returns:
        The key; None if there is no such content.
    """
    ask = ""
    if image_hash is not None:
        table, digits = table_of(ImageContent, using), int(image_hash, 16)
        ask = (
            f"SELECT {table.pk} FROM {table.name} "  # noqa: S608  # names of ours
            f"WHERE image_hash = '{digits:064x}' FOR KEY SHARE"
        )
    key: int | None = postgres.begin(statement_limits(), ask, connections[using])
    return key


def insert_and_commit(record: Record, content: ImageContent | None, using: str) -> None:
    """Insert the rows of a request, and commit.

    Args:
        record: The request.
        content: The unsaved content of its image; None if there is none to insert.
        using: The alias of the database.

    Raises:
        django.db.Error: Nothing was written.
    """
    connection, image = connections[using], record.image
    rows = [row for row in (content, record.log, image) if row is not None]
    values: list[object] = []
    for row in rows:
        own = table_of(type(row), using).values(row, connection)
        fixed = _fixed(type(row), using, has_content=content is not None)
        values += [value for at, value in enumerate(own) if at not in fixed]
    statement = _statement(
        using, has_content=content is not None, has_image=image is not None
    )
    keys = postgres.fetch_and_commit(statement, values, connection)
    for row, key in zip(rows, keys, strict=True):
        mark_inserted(row, key, using)


@lru_cache
def _fixed(model: type[Model], using: str, *, has_content: bool) -> dict[int, str]:
    """Return the columns whose values stand in the statement.

    psycopg parses a statement of more than fifty parameters each time anew.
    """
    names = table_of(model, using).attributes
    if model is RequestImage:
        known = {"log_id": "log.id"}
        if has_content:
            known["content_id"] = "content.id"
        return {names.index(name): text for name, text in known.items()}
    if model is ImageContent:
        empty = ImageContent()
        return {
            at: postgres.literal(getattr(empty, name))
            for at, name in enumerate(names)
            if name not in _OF_NEW_CONTENT
        }
    return {}


@lru_cache
def _statement(using: str, *, has_content: bool, has_image: bool) -> str:
    models: dict[str, type[Model]] = {"content": ImageContent} if has_content else {}
    models["log"] = RequestLog
    if has_image:
        models["image"] = RequestImage
    parts: dict[str, str] = {}
    for name, model in models.items():
        table = table_of(model, using)
        fixed = _fixed(model, using, has_content=has_content)
        marks = [
            "%b" if at in table.binary else "%s" for at in range(len(table.columns))
        ]
        source = "SELECT " + ", ".join(
            fixed.get(at, mark) for at, mark in enumerate(marks)
        )
        if model is RequestImage:
            source += f" FROM {', '.join(parts)}"
        parts[name] = table.statement(source)
    inserts = ", ".join(f"{name} AS ({insert})" for name, insert in parts.items())
    keys = ", ".join(f"{name}.id" for name in parts)
    return f"WITH {inserts} SELECT {keys} FROM {', '.join(parts)}"  # noqa: S608  # names of ours
