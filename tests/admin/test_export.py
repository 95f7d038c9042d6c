"""Requests as a CSV file."""

from __future__ import annotations

import csv
import io
import json

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

from request_images.admin import export
from request_images.admin.export import IMAGE_COLUMNS, LOG_COLUMNS
from request_images.query import paging
from tests.factories import (
    analysed,
    capture_queries,
    loading_bytes,
    make_image,
    make_log,
    make_superuser,
    make_user,
)
from tests.image_files import draw

CSV = "/admin/request_images/requestlog/csv/"


@pytest.fixture
def download(client):
    """Return a function that downloads and parses the file as a user."""

    def download(query: str = "", user=None) -> list[dict[str, str]]:
        client.force_login(user or make_superuser())
        response = client.get(f"{CSV}{query}")
        assert response.status_code == 200
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert response["Content-Disposition"] == 'attachment; filename="requests.csv"'
        assert response["Cache-Control"].startswith("private, no-store")
        return read(b"".join(response.streaming_content))

    return download


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.mark.django_db
class TestFile:
    def test_has_a_line_for_each_request(self, download):
        """The newest is first; requests without an image have a line, too."""
        log = make_log(days_old=1, status_code=None)
        image = make_image(
            request_id="trace-7",
            endpoint="sölve",
            status_code=422,
            error_type="no_barcode",
            error_message='It said "no",\nand left.',
            metadata={"score": 0.5, "naïve": [1]},
            username="anna",
            duration_ms=12.5,
        )
        first, second = download()
        assert list(first) == [*LOG_COLUMNS, *IMAGE_COLUMNS]
        assert first["request_id"] == "trace-7"
        assert first["endpoint"] == "sölve"
        assert first["outcome"] == "failed"
        assert first["error_message"] == 'It said "no",\nand left.'
        assert json.loads(first["metadata"]) == {"score": 0.5, "naïve": [1]}
        assert first["created_at"] == image.log.created_at.isoformat()
        assert first["duration_ms"] == "12.5"
        assert first["image_hash"] == image.image_hash
        assert (first["width"], first["source"]) == ("32", "files.image")
        assert second["request_id"] == log.request_id
        assert second["status_code"] == second["image_hash"] == second["width"] == ""
        assert second["outcome"] == "succeeded"

    def test_has_the_measures_of_pictures(self, download):
        """Of images that were kept and analysed."""
        make_image(draw(seed=1), kept=False)
        make_image()
        analysed(make_image(draw(seed=2)), brightness=12.5, layout="0e" * 32)
        measured, unknown, not_kept = download()
        assert (measured["brightness"], measured["contrast"]) == ("12.5", "50.0")
        assert measured["layout"] == "0e" * 32
        for line in (unknown, not_kept):
            names = ("brightness", "contrast", "entropy", "sharpness", "layout")
            assert {line[name] for name in names} == {""}

    def test_matches_the_criteria(self, download):
        """By the same parameters as everything."""
        make_image(endpoint="a")
        make_image(draw("GIF"), endpoint="b")
        assert [row["endpoint"] for row in download("?mime_type=image/gif")] == ["b"]
        assert [row["endpoint"] for row in download("?endpoint=a&days=")] == ["a"]
        assert download("?width=1") == []

    @pytest.mark.parametrize("sign", [*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"])
    def test_formulas_are_quoted(self, download, sign):
        """A spreadsheet would run text from a client."""
        text = f"{sign}cmd|' /C calc'!A0"
        make_log(request_id="x", error_message=text, path=text, duration_ms=1)
        [row] = download()
        assert row["error_message"] == row["path"] == f"'{text}"
        assert row["duration_ms"] == "1.0"

    def test_text_with_a_semicolon_is_quoted(self, client):
        """Some spreadsheets end an unquoted cell at a semicolon."""
        make_log(error_message="a;=cmd", duration_ms=1, metadata={})
        client.force_login(make_superuser())
        content = b"".join(client.get(CSV).streaming_content).decode()
        assert '"a;=cmd",1.0,"' in content

    @pytest.mark.parametrize("many", [10_000, 2])
    def test_is_streamed(self, download, monkeypatch, many):
        """Only a few requests are in memory."""
        monkeypatch.setattr(export, "CHUNK", 2)
        monkeypatch.setattr(paging, "MANY", many)
        made = [make_image(draw(seed=n), days_old=n).log.request_id for n in range(5)]
        with capture_queries() as queries:
            rows = download()
        assert [row["request_id"] for row in rows] == made
        assert loading_bytes(queries) == []
        pages = [sql for sql in queries if sql.endswith("LIMIT 2")]
        assert len(pages) == 3

    def test_without_the_permission_to_see_images_has_none_of_them(self, download):
        make_image()
        [row] = download(user=make_user("view_requestlog"))
        assert list(row) == list(LOG_COLUMNS)

    def test_empty_file_has_a_header(self, client):
        client.force_login(make_superuser())
        content = b"".join(client.get(CSV).streaming_content).decode()
        columns = [f'"{name}"' for name in (*LOG_COLUMNS, *IMAGE_COLUMNS)]
        assert content == ",".join(columns) + "\r\n"


@pytest.mark.django_db(transaction=True)
def test_is_streamed_under_asgi(monkeypatch):
    """Django's warning about synchronous iterators is absent."""
    monkeypatch.setattr(export, "CHUNK", 2)
    for number in range(3):
        make_image(draw(seed=number))
    user = make_superuser()

    async def fetch() -> list[bytes]:
        client = AsyncClient()
        await client.aforce_login(user)
        response = await client.get(CSV)
        return [chunk async for chunk in response.streaming_content]

    chunks = async_to_sync(fetch)()
    assert [len(read(b"a\r\n" + chunk)) for chunk in chunks] == [1, 2, 1]
