"""Rows are made and inserted without the ORM, and are what the ORM would make."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection
from django.db.models.signals import post_init

from request_images.db import postgres
from request_images.db.insert import insert, new_row, table_of
from request_images.db.limits import time_limit
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.writer import rows, single
from request_images.writer.rows import save_many
from tests.factories import unsaved_record
from tests.image_files import draw

MODELS = RequestLog, RequestImage, FurtherImage, ImageContent
only_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="for psycopg 3"
)


@pytest.mark.parametrize("model", MODELS)
def test_new_row_is_like_a_model(model):
    """Each column has the default, and each row its own."""
    made, expected = new_row(model), model()
    names = [field.attname for field in model._meta.concrete_fields]
    for name in names:
        if name != "created_at":  # a moment later
            assert getattr(made, name) == getattr(expected, name)
    assert made._state.adding
    assert made._state.db is None
    assert made != new_row(model)


def test_new_row_takes_values():
    """Values replace defaults, also those that are made for each row."""
    row = new_row(RequestLog, request_id="a", metadata={"b": 1})
    assert (row.request_id, row.metadata) == ("a", {"b": 1})
    first, second = new_row(RequestLog), new_row(RequestLog)
    assert first.metadata is not second.metadata


def test_listeners_of_the_project_hear_of_new_rows():
    """A project may watch our models as they are made."""
    heard = []

    def listen(sender, instance, **kwargs):
        heard.append(instance.request_id)

    post_init.connect(listen, sender=RequestLog)
    try:
        new_row(RequestLog, request_id="a")
    finally:
        post_init.disconnect(listen, sender=RequestLog)
    assert heard == ["a"]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_inserted_rows_have_their_keys(count):
    """However many there are: one statement, several, or a COPY."""
    records = [unsaved_record(seed) for seed in range(count)]
    logs = [record.log for record in records]
    for number, log in enumerate(logs):
        log.metadata = {"number": number, "text": "Straße"}
        log.duration_ms = number + 0.25
    insert(logs, "default")
    for log in logs:
        assert log._state.db == "default"
        assert not log._state.adding
        kept = RequestLog.objects.get(pk=log.pk)
        for field in RequestLog._meta.concrete_fields:
            assert getattr(kept, field.attname) == getattr(log, field.attname)


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 3])
def test_numbers_become_those_of_their_columns(count):
    """A function of the project may set what is only like a number."""
    logs = [unsaved_record(seed).log for seed in range(count)]
    for log in logs:
        log.is_pinned, log.status_code, log.duration_ms = 1, HTTPStatus.CREATED, "2.5"
    insert(logs, "default")
    found = set(
        RequestLog.objects.values_list("is_pinned", "status_code", "duration_ms")
    )
    assert found == {(True, 201, 2.5)}


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 3])
def test_bytes_are_inserted_as_they_are(count):
    """All of them, whatever they are; and no bytes at all."""
    data = [bytes(range(256)) * (number + 1) for number in range(count)]
    contents = [
        ImageContent(image_hash=f"{number:064x}", data=each, stored_size=len(each))
        for number, each in enumerate(data)
    ]
    insert(contents, "default")
    kept = ImageContent.objects.order_by("image_hash")
    assert [bytes(content.data) for content in kept] == data
    assert [content.thumbnail for content in kept] == [None] * count


@pytest.mark.django_db(transaction=True)
def test_batch_with_a_refused_image_keeps_the_others(monkeypatch):
    """It is inserted once more, image by image, to know which one is refused."""
    refused = unsaved_record(2)
    insert_rows = rows.insert

    def refuse(some, using):
        contents = [row for row in some if isinstance(row, ImageContent)]
        if refused.image.image_hash in [content.image_hash for content in contents]:
            raise DataError("not these bytes")
        insert_rows(some, using)

    monkeypatch.setattr(rows, "insert", refuse)
    with pytest.raises(DataError):
        save_many([unsaved_record(1), refused, unsaved_record(3)])
    assert refused.pictures[0].is_refused
    assert not RequestLog.objects.exists()


def test_one_statement_inserts_all_that_a_new_content_has():
    """What is not a parameter of the statement has the default of its column."""
    made, empty = ImageContent.holding("0" * 64, b"1", "image/png"), ImageContent()
    names = {field.attname for field in ImageContent._meta.concrete_fields}
    for name in names - {"id", *single._OF_NEW_CONTENT}:
        assert getattr(made, name) == getattr(empty, name)


@only_postgresql
@pytest.mark.django_db(transaction=True)
class TestSingle:  # pragma: no cover  # see skipif
    """One request is one statement, with the same rows as many at once."""

    @pytest.fixture(params=[True, False], ids=["pipeline", "no-pipeline"])
    def _pipeline(self, request, monkeypatch):
        pipeline = connection.Database.Pipeline
        if not request.param:
            monkeypatch.setattr(pipeline, "is_supported", lambda: False)

    @pytest.mark.usefixtures("_pipeline")
    def test_rows_are_the_same(self):
        """A new image, the same one again, and no image."""
        first, second, third = unsaved_record(1), unsaved_record(1), unsaved_record(2)
        third.pictures.clear()
        third.log.capture_status = "no_image"
        for record in (first, second, third):
            assert single.is_possible(record, "default")
            save_many([record])
            log = RequestLog.objects.get(pk=record.log.pk)
            for field in RequestLog._meta.concrete_fields:
                assert getattr(log, field.attname) == getattr(record.log, field.attname)
        kept = list(RequestImage.objects.order_by("pk").select_related("log"))
        assert [image.log.capture_status for image in kept] == ["stored", "duplicate"]
        assert [image.is_repeated for image in kept] == [False, True]
        assert [image.pk for image in kept] == [first.image.pk, second.image.pk]
        assert first.image.content_id == second.image.content_id
        assert [image.image_data for image in kept] == [draw(seed=1)] * 2
        content = ImageContent.objects.get()
        assert content.stored_size == len(draw(seed=1))
        assert content.mime_type == "image/png"

    def test_refused_row_leaves_no_transaction(self):
        """The connection is usable, and nothing is written."""
        record = unsaved_record(1)
        record.image.width = -1
        with pytest.raises(IntegrityError):
            save_many([record])
        assert connection.get_autocommit()
        assert not RequestLog.objects.exists()
        save_many([unsaved_record(1)])
        assert ImageContent.objects.count() == 1

    def test_hash_is_no_part_of_a_statement(self):
        """Only a number gets into the text of the statement."""
        with pytest.raises(ValueError, match="invalid literal"):
            single.begin("'; DROP TABLE x; --", "default")

    def test_limits_hold_for_the_statement(self, settings):
        """A lock is waited for no longer than the setting says."""
        settings.REQUEST_IMAGES_LOCK_TIMEOUT_SECONDS = 0.05
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("BEGIN; LOCK TABLE request_images_requestlog")
                with pytest.raises(OperationalError, match="timeout"):
                    save_many([unsaved_record(1)])
                with time_limit(0.01), pytest.raises(OperationalError, match="timeout"):
                    save_many([unsaved_record(1)])
                cursor.execute("ROLLBACK")
        finally:
            other.close()
        save_many([unsaved_record(1)])

    def test_forgotten_statements_are_prepared_no_more(self, monkeypatch):
        """A pooler gives each transaction another connection of its own."""
        monkeypatch.setattr(postgres, "_prepares", True)
        save_many([unsaved_record(1)])
        connection.connection.pgconn.exec_(b"DEALLOCATE ALL")
        save_many([unsaved_record(2)])
        assert not postgres.may_prepare(connection)
        assert ImageContent.objects.count() == 2

    def test_pooler_keeps_no_prepared_statements(self, monkeypatch):
        """The setting that Django asks for behind a pooler holds for us, too."""
        monkeypatch.setattr(postgres, "_prepares", True)
        assert postgres.may_prepare(connection)
        monkeypatch.setitem(
            connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True
        )
        assert not postgres.may_prepare(connection)


@only_postgresql
@pytest.mark.django_db
def test_unknown_types_are_inserted_by_statements(
    monkeypatch,
):  # pragma: no cover  # see skipif
    """A project's user may have a key of a type that only its own code knows."""
    monkeypatch.setattr(postgres, "knows", lambda types, connection: False)
    table_of.cache_clear()
    try:
        logs = [unsaved_record(seed).log for seed in range(3)]
        insert(logs, "default")
    finally:
        table_of.cache_clear()
    assert RequestLog.objects.count() == 3
