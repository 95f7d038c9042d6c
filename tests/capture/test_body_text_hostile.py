"""Hostile texts: no body of up to 10 MB costs much time or memory.

Base64 in pieces, escapes, numbers, thousands of strings: taken apart the usual way
they take up to a second and 200 MB.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tracemalloc

import pytest

from request_images.capture import body_text, sources
from request_images.capture.examine import CapturedRequest
from request_images.capture.payload import Payload
from request_images.models import RequestLog
from tests.images.test_inspection_hostile import LIMIT, calls_of, full

GIF = b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(287)
BASE64 = base64.b64encode(GIF)
PICTURE = base64.b64encode(GIF + os.urandom(LIMIT * 3 // 4 - 999))
HEAD = b'{"i":"' + BASE64
JSON, FORM = "application/json", "application/x-www-form-urlencoded"

BODIES = {
    "a picture": lambda: b'{"i":"' + PICTURE + b'"}',
    "a picture beside an emoji": lambda: (
        '{"p":"\N{GRINNING FACE}","i":"'.encode() + PICTURE + b'"}'
    ),
    "base64 in pieces": lambda: full(HEAD, b"AA ", b'"}'),
    "base64 in lines": lambda: full(HEAD, b"A" * 76 + b"\\r\\n", b'"}'),
    "base64 that ends in other letters": lambda: full(HEAD, "é".encode(), b'"}'),
    "base64 of escaped slashes": lambda: full(HEAD, b"\\/", b'"}'),
    "base64 of surrogates": lambda: full(HEAD, b"\\ud83d\\ude00", b'"}'),
    "a data URI of escapes": lambda: full(b'{"i":"data:,GIF89a', b"%41", b'"}'),
    "a data URI of padding": lambda: full(b'{"i":"data:,GIF89a%41', b"=", b'"}'),
    "a data URI of both": lambda: full(b'{"i":"data:,GIF89a', b"%41=", b'"}'),
    "strings": lambda: json.dumps([BASE64.decode()] * 9_999).encode(),
    "long strings": lambda: full(b'[""', b',"%s"' % (b"a" * 450), b"]"),
    "long keys": lambda: json.dumps({f"{i:0500}": i for i in range(20_000)}).encode(),
    "wide text": lambda: ('{"i":"' + "\N{GRINNING FACE}" * 2_500_000).encode(
        "utf-16-le"
    ),
    "numbers": lambda: b"[" + b",".join([b"1" * 100] * 99_000) + b"]",
    "one number": lambda: b"1" * LIMIT,
    "fractions": lambda: b"[" + b",".join([b"1." + b"1" * 98] * 99_000) + b"]",
    "brackets": lambda: b"[" * 99_000,
    "empty objects": lambda: full(b"[0", b",{}", b"]"),
    "white space": lambda: full(b'{"i":"', b" ", b'"}'),
}
FORMS = {
    "escapes": lambda: full(b"a=", b"%41"),
    "a picture of escapes": lambda: full(b"a=R0lGODlh", b"%41"),
    "a picture of slashes": lambda: full(b"a=R0lGODlh", b"%2f"),
    "a picture and padding": lambda: full(b"a=" + BASE64, b"="),
    "fields": lambda: b"&".join([b"a=" + BASE64 * 25] * 1_000),
    "too many fields": lambda: full(b"a=b", b"&a=b"),
    "names": lambda: b"&".join([b"%41" * 3_400 + b"=b"] * 1_000),
}
ALL = [(JSON, name) for name in BODIES] + [(FORM, name) for name in FORMS]


@pytest.fixture(params=ALL, ids=lambda param: param[1], scope="module")
def hostile(request):
    """A content type and a body; pytest runs all tests of one before the next."""
    content_type, name = request.param
    body = (BODIES if content_type == JSON else FORMS)[name]()
    assert len(body) <= LIMIT
    return content_type, body


@pytest.fixture
def job(hostile):
    content_type, body = hostile
    return CapturedRequest(
        RequestLog(), payload=Payload(content_type, body=body, size=len(body))
    )


def judge_again(job):
    """Judge as if for the first time."""
    job.decision, job.payload.was_read = None, True
    job.examine()
    assert job.failure is None


def test_work_is_bounded(job, monkeypatch):
    """No text takes many steps, and no part of it is decoded repeatedly.

    The promise is 50 ms of CPU. What is counted is the same on every machine: calls,
    and the bytes that the decoders written in C are given: half more than there are
    where a text is escaped and base64 as well.
    """
    sizes = []
    for name in ("a2b_base64", "a2b_qp"):
        decode = getattr(binascii, name)

        def counted(data, decode=decode):
            sizes.append(len(data))
            return decode(data)

        monkeypatch.setattr(binascii, name, counted)
    assert calls_of(judge_again, job) < 150_000
    assert sum(sizes) < 1.6 * LIMIT


def test_numbers_are_not_read():
    """Numbers are not parsed: the time grows with the square of their digits."""
    assert body_text.load_json(b"[%s, 1.%s]" % (b"1" * 4000, b"1" * 10)) == [4000, 12]


def test_memory_is_bounded(job):
    """The search holds the text and its parsed form, and no third copy."""
    tracemalloc.start()
    try:
        judge_again(job)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.3 * LIMIT


def test_refused_texts_have_a_reason(job):
    """A text gives an image, or a reason, or does not look like an image."""
    judge_again(job)
    status, detail = job.log.capture_status, job.log.capture_detail
    assert (status, bool(detail)) in {
        ("stored", False),
        ("unreadable", True),
        ("no_image", False),
    }


def test_longest_strings_are_decoded():
    """Of very many strings only the likely images are decoded."""
    others = ["x" * 40] * (body_text.MAX_TEXTS + 500)
    body = json.dumps([*others, BASE64.decode(), *others]).encode()
    job = CapturedRequest(
        RequestLog(), payload=Payload(JSON, body=body, size=len(body))
    )
    judge_again(job)
    assert (job.log.capture_status, job.log.image_count) == ("stored", 1)


def test_both_orders_yield_the_same_strings():
    """A view that keeps all images has the same limits on strings."""
    inner = [
        {"a": "x" * 32, "b": {"c": ["y" * 40]}} for _ in range(body_text.MAX_NODES)
    ]
    document = {"first": {"deep": [inner, "z" * 50]}, "last": "outer " * 9}
    outer_first, as_they_stand = (
        [
            (body_text.path_to(place), text)
            for place, text in body_text.strings(document, in_order=in_order)
        ]
        for in_order in (False, True)
    )
    assert sorted(outer_first) == sorted(as_they_stand)
    assert outer_first[0][0] == as_they_stand[-1][0] == ("last",)
    assert outer_first[1][0] == as_they_stand[-2][0] == ("first", "deep", "1")


def test_malformed_text_is_no_image():
    """A string that only begins like an image does not hide the one behind it."""
    body = json.dumps([BASE64.decode() + "!", BASE64.decode()]).encode()
    job = CapturedRequest(
        RequestLog(), payload=Payload(JSON, body=body, size=len(body))
    )
    judge_again(job)
    assert (job.log.capture_status, job.log.image_count) == ("stored", 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
@pytest.mark.parametrize("escapes", [True, False])
def test_keys_of_any_language(encoding, escapes):
    """However a key is written, its path leads there, and is recorded as it is."""
    document = {"größe": [{"写真 🖼": BASE64.decode(), "a": "ü"}]}
    body = json.dumps(document, ensure_ascii=escapes).encode(encoding)
    loaded = body_text.load_json(body)
    [(place, text)] = body_text.strings(loaded)
    path = body_text.path_to(place)
    assert (path, text) == (("größe", "0", "写真 🖼"), BASE64.decode())
    assert body_text.at(loaded, path) == text


def added_by_judging(body: bytes, source: str | None, limit: int | None) -> int:
    """Return the most memory that the search takes besides the body, in bytes."""
    job = CapturedRequest(
        RequestLog(),
        sources=sources.parse(source),
        limit=limit,
        payload=Payload(JSON, body=body, size=len(body), was_read=True),
    )
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        job.examine()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert job.failure is None
    assert job.log.image_count >= 500
    return peak - before


@pytest.mark.parametrize("limit", [None, 20, 1000])
@pytest.mark.parametrize("source", [None, "json.image", "json.a", "json"])
@pytest.mark.parametrize("shape", ["one key", "nested keys", "keys beside", "escaped"])
def test_long_paths_are_not_copied(shape, source, limit):
    """Kind: what leads to a value is in the body once, and costs once, not per value.

    The path of each of 1,000 texts that look like images has a key of a megabyte.
    """
    texts = [base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()] * 1000
    key = "k" * 1_200_000
    document = {
        "one key": {key: texts},
        "nested keys": {key[:400_000]: {key[:400_001]: {key[:400_002]: texts}}},
        "keys beside": {key[:1200] + str(i): text for i, text in enumerate(texts)},
        "escaped": {"é" * 600_000: texts},
    }[shape]
    body = json.dumps(document).encode()
    assert added_by_judging(body, source, limit) < 3 * len(body) + 3_000_000


def test_source_of_a_long_path_is_cut():
    """The source has the beginning of each key, in whole characters."""
    document = {"é" * 999: {"a.b": [BASE64.decode()]}}
    body = json.dumps(document, ensure_ascii=False).encode()
    loaded = body_text.load_json(body)
    [(place, _)] = body_text.strings(loaded)
    assert body_text.path_to(place) == ("é" * 200, "a.b", "0")


def test_images_at_paths_that_begin_alike_are_all_kept():
    """A path that is cut does not make two images one."""
    document = {"k" * 300: [BASE64.decode(), BASE64.decode()]}
    body = json.dumps(document).encode()
    job = CapturedRequest(
        RequestLog(),
        sources=sources.parse(["json", "json"]),
        limit=9,
        payload=Payload(JSON, body=body, size=len(body), was_read=True),
    )
    assert len(job.examine().pictures) == 2
