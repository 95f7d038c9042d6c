"""Hostile requests: no structure costs more than a small multiple of the body.

Kind: memory and time are bounded by the body, whatever its shape. What is measured is
the most that Python allocates for a recorded request beyond the same view unrecorded.
"""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
from urllib.parse import quote_from_bytes

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from request_images.capture.body_text import MAX_MARKS
from request_images.decorators import capture_images
from request_images.models import RequestLog
from tests.images.test_inspection_hostile import calls_of

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
IMAGE = base64.b64encode(PNG)
SIZE = 150_000
FACTOR = 8
"""How many times its body a recorded request may cost."""
OF_A_MARK = 120  # bytes that Python takes for a value of JSON, with its place
OF_A_REQUEST = 600_000  # bytes for rows, statements and objects of any request

JSON, LINES = "application/json", "application/x-ndjson"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"

# Pieces of each kind of body; a body is some of them, each many times.
JSON_PIECES = [
    b"[]",
    b"{}",
    b'""',
    b'"ab"',
    b"0",
    b"1" * 500,
    b"1.5e9",
    b'"%b"' % IMAGE,
    b'"%b!"' % IMAGE,
    b'"data:image/png;base64,%b"' % IMAGE,
    b'"data:%b"' % (b"x" * 9_000),
    b'"\\ud83d\\ude00"',
    '"\N{GRINNING FACE}é"'.encode(),
    b'"%b"' % (b"\\/" * 300),
    b'"%b"' % (b"a" * 4_000),
    b'{"a":"%b"}' % IMAGE,
    b'{"a":1,"a":2,"a":{"a":[]}}',
    b'{"%b":["%b","%b"]}' % (b"k" * 900, IMAGE, IMAGE),
    b'{"%b":{"%b":"%b"}}' % (b"k" * 9_000, b"l" * 9_000, IMAGE),
    b'{"%b":0}' % ("é" * 900).encode(),
    b'{"a":' * 40 + b'"%b"' % IMAGE + b"}" * 40,
    b"[" * 200 + b"]" * 200,
    b"  \r\n 0",
    b"0\n",
    b"\x1e{}",
    json.dumps(json.dumps([json.dumps(["[]" * 99, IMAGE.decode()])] * 9)).encode(),
    json.dumps("[" * 99).encode(),
]
FORM_PIECES = [
    b"",
    b"a=",
    b"=",
    b"a=%b" % IMAGE,
    b"a=%b%%3D" % IMAGE,
    b"a=data:image/png,%b" % quote_from_bytes(PNG).encode(),
    b"%b=b" % (b"%41" * 900),
    b"a=%b" % (b"%25" * 2_000),
    b"a=%b" % (b"+" * 900),
    b"a[%b]=b" % (b"x" * 900),
    b'a=["%b","%b"]' % (IMAGE, IMAGE),
    b"a=[%b]" % (b"[]," * 300 + b"0"),
    b"a=[%b]" % (b"%5B%5D%2C" * 300 + b"0"),
]


def part(headers: bytes, data: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (headers, data)


PARTS = [
    part(b'name="a"; filename="b.png"', PNG),
    part(b'name="a"; filename="b.png"', b"x"),
    part(b'name="a"; filename="b.png"', PNG + b"x" * 9_000),
    part(b'name="a"', PNG),
    part(b'name="a"', IMAGE),
    part(b'name="a"', b"x"),
    part(b'name="a"', b'["%b", {"%b": 1}]' % (IMAGE, IMAGE)),
    part(b'name="a"; filename="b.json"', b'["%b", {"%b": 1}]' % (IMAGE, IMAGE)),
    part(b'name="a"; filename="b.json"', b"[%b0]" % (b"{}," * 900)),
    part(b'name="a"; filename="b.json"', b"{}\n" * 900),
    part(b'name="a"; filename="b.txt"', IMAGE * 99),
    part(b'name="%b"; filename="b.png"' % (b"n" * 900), PNG),
    part(b'name="a"\r\nContent-Transfer-Encoding: base64', IMAGE),
    part(b'name="a"' + b"\r\nX-Header: value" * 60, PNG),
    part(b'name="a"', PNG).replace(b"\r\n", b"\n"),
    b"--b\r\n\r\n\r\n",
    b"\r\n--b",
    b"\n\n",
    b"\r\n",
]
RAW_PIECES = [b"\n", b"a\n", PNG, IMAGE, b"\x00", b"data:", b" ", b"--b\r\n", b"%41"]


JOINTS = {JSON: b",", LINES: b"\n", FORM: b"&"}
KINDS = {JSON: JSON_PIECES, LINES: JSON_PIECES, FORM: FORM_PIECES, MULTIPART: PARTS}
OTHERS = ["image/png", "text/plain", "", "multipart/related; boundary=b"]
ALL = [*RAW_PIECES, *JSON_PIECES, *FORM_PIECES, *PARTS]


def body_of(declared, pieces):
    """Return a body of about SIZE bytes of some pieces, each repeated."""
    joint, share = JOINTS.get(declared, b""), SIZE // len(pieces)
    body = joint.join(
        joint.join([piece] * max(1, share // (len(piece + joint) or 1)))
        for piece in pieces
    )
    if declared == JSON:
        return b"[%b]" % body
    return body + b"--b--\r\n" if declared == MULTIPART else body


def with_distinct_keys(length):
    keys = (b'"%0*d":0' % (length, at) for at in range(SIZE // (length + 5)))
    return b"{" + b",".join(keys) + b"}"


def some(pieces):
    return st.lists(st.sampled_from(pieces), min_size=1, max_size=3)


# Descriptions, not bodies: hypothesis writes down what it has tried.
SHAPES = st.one_of(
    *(st.tuples(st.just(kind), some(KINDS[kind])) for kind in KINDS),
    st.tuples(st.just(JSON), st.integers(1, 500)),
    st.tuples(st.sampled_from([*KINDS, *OTHERS]), some(ALL)),
)


def read_body(request):
    return len(request.body)


def read_lines(request):
    return sum(map(len, request))


def read_pieces(request):
    return sum(map(len, iter(lambda: request.read(1_000), b"")))


def read_form(request):
    return len(request.POST) + len(request.FILES)


READERS = [read_body, read_lines, read_pieces, read_form]
SOURCES = [None, "files.a", "form.a", "json", "json.a", "json.0", "body", ["json.x"]]
OPTIONS = st.one_of(
    st.fixed_dictionaries({"source": st.sampled_from(SOURCES)}),
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(SOURCES),
            "images": st.just("all"),
            "limit": st.sampled_from([1, 20]),
        }
    ),
)


def peak_of(view, body, declared, **extra):
    """Return the most memory that a view's request takes, in bytes."""
    request = RequestFactory().generic("POST", "/", body, declared, **extra)
    tracemalloc.start()
    try:
        view(request)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def views(reader, options):
    """Return a view, and the same view recorded."""

    def view(request):
        try:
            return HttpResponse(reader(request))
        except Exception as error:  # noqa: BLE001  # of Django's own limits
            return HttpResponse(str(error), status=400)

    return view, capture_images(**options)(view)


def added(reader, options, body, declared, **extra):
    """Return the memory that recording adds to a view, in bytes."""
    view, recorded = views(reader, options)
    peak_of(recorded, b"", declared)  # what the first request imports and compiles
    return peak_of(recorded, body, declared, **extra) - peak_of(
        view, body, declared, **extra
    )


def allowed(body):
    """Return the most memory that recording may add, in bytes.

    Parsing JSON takes an object for each value, as it does in the view; so the number
    of values has a limit, and with it what they cost.
    """
    marks = sum(map(body.count, (b",", b'"', b"[", b"{")))
    if body.lstrip()[:1] not in (b"", b"a", b"-"):  # there may be one value a line
        marks += body.count(b"\n")
    return FACTOR * len(body) + OF_A_MARK * min(MAX_MARKS, marks) + OF_A_REQUEST


@pytest.fixture(autouse=True)
def _unlimited(settings):
    """Let Django parse whatever comes, as many projects do."""
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = None
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = None
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None


@pytest.mark.parametrize("reader", READERS)
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(shape=SHAPES, options=OPTIONS)
def test_memory_is_a_small_multiple_of_the_body(shape, reader, options):
    """Whatever its depth, width, keys, images, fields, parts, headers and escapes."""
    declared, pieces = shape
    if isinstance(pieces, int):
        body = with_distinct_keys(pieces)
    else:
        body = body_of(declared, pieces)
    assert added(reader, options, body, declared) <= allowed(body)


@pytest.mark.parametrize("pieces", [JSON_PIECES, PARTS], ids=["json", "parts"])
def test_memory_of_compressed_bodies(pieces):
    """A body that is decompressed costs a multiple of what it becomes."""
    for piece in pieces:
        body = b"[" + b",".join([piece] * (SIZE // (len(piece) + 1))) + b"]"
        data = gzip.compress(body, 1)
        more = added(read_body, {}, data, JSON, HTTP_CONTENT_ENCODING="gzip")
        assert more <= allowed(body)


@pytest.mark.parametrize(
    ("declared", "begin", "piece", "end"),
    [
        *((JSON, b"[0", b"," + piece, b"]") for piece in JSON_PIECES),
        *((LINES, b"{}", b"\n" + piece, b"") for piece in JSON_PIECES),
        *((FORM, b"a=b", b"&" + piece, b"") for piece in FORM_PIECES),
        *((MULTIPART, b"", piece, b"--b--\r\n") for piece in PARTS),
        *(("text/plain", b"", piece, b"") for piece in RAW_PIECES),
    ],
)
def test_work_grows_no_faster_than_the_body(declared, begin, piece, end):
    """Twice the body takes at most twice the calls; those of the bare view are off."""
    works = []
    for size in (8_000, 16_000):
        body = begin + piece * (size // len(piece)) + end
        view, recorded = views(read_form if declared == MULTIPART else read_body, {})
        requests = [
            RequestFactory().generic("POST", "/", body, declared) for _ in range(3)
        ]
        recorded(requests[0])
        works.append(calls_of(recorded, requests[1]) - calls_of(view, requests[2]))
    assert works[1] < 2.2 * works[0] + 2_000
    assert RequestLog.objects.count() == 4
