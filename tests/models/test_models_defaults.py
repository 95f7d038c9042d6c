"""Columns have defaults in the database, for versions that do not write them."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import NOT_PROVIDED
from django.utils import timezone

from request_images.models import (
    FurtherImage,
    ImageContent,
    OriginalAccess,
    PendingDeletion,
    RequestImage,
    RequestLog,
)
from tests.factories import make_image, make_log

MODELS = (
    RequestLog,
    RequestImage,
    FurtherImage,
    ImageContent,
    OriginalAccess,
    PendingDeletion,
)


def required(model):
    """The fields that every version writes: they have no default."""
    fields = model._meta.concrete_fields
    return [f for f in fields if not (f.primary_key or f.null or f.has_db_default())]


def some_value(field):
    """A value of a field."""
    if field.name == "log":
        return make_log().pk
    if field.name == "request_image":
        return make_image().pk
    if field.get_internal_type() == "DateTimeField":
        return timezone.now()
    return "x" if field.get_internal_type() == "CharField" else 1


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_row_with_the_required_columns_only(model):
    """It is the row that our own code makes without the other values."""
    values = {field.attname: some_value(field) for field in required(model)}
    quote = connection.ops.quote_name
    columns = ", ".join(quote(field.column) for field in required(model))
    marks = ", ".join(["%s"] * len(values))
    table = quote(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})",
            [
                field.get_db_prep_save(values[field.attname], connection)
                for field in required(model)
            ],
        )
    row, made = model._default_manager.order_by("pk").last(), model(**values)
    names = [f.attname for f in model._meta.concrete_fields if not f.primary_key]
    found = {name: getattr(row, name) for name in names}
    assert found == {name: getattr(made, name) for name in names}


@pytest.mark.parametrize("model", MODELS)
def test_every_default_is_in_the_database(model):
    """But for a moment, which is not the same for each row."""
    for field in required(model):
        is_moment = field.get_internal_type() == "DateTimeField"
        assert is_moment or field.default is NOT_PROVIDED, field
        assert not field.blank, field
