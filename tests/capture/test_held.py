"""The total memory that all running views of a process hold."""

from __future__ import annotations

import gc
import os

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import RequestFactory

from request_images.capture import held
from request_images.decorators import capture_images
from request_images.models import RequestLog
from tests.image_files import draw

pytestmark = pytest.mark.django_db
MB = 1024 * 1024
BIG = draw("BMP", (700, 250))  # half a megabyte


@pytest.fixture(autouse=True)
def _budget(settings):
    settings.REQUEST_IMAGES_RUNNING_MAX_MB = 3.2 * len(BIG) / MB
    gc.collect()  # what other tests left
    assert held.total() == 0
    yield
    gc.collect()
    assert held.total() == 0


def multipart(number):
    image = SimpleUploadedFile("a.bmp", BIG + bytes([number]), "image/bmp")
    return RequestFactory().post("/", {"image": image})


def raw(number):
    data = BIG + bytes([number])
    return RequestFactory().post("/", data, content_type="image/bmp")


def read_files(request):
    return sum(file.size for file in request.FILES.values())


def read_chunks(request):
    return sum(map(len, iter(lambda: request.read(50_000), b"")))


def read_body(request):
    return len(request.body)


def statuses_of(make, read, count, parse_before=False):
    """Run views within each other; return their answers and their rows' statuses."""
    answers = []

    @capture_images
    def view(request, left):
        answers.append(read(request))
        if left:
            send(left - 1)
        return HttpResponse()

    def send(left):
        request = make(left)
        if parse_before:
            assert request.FILES
        view(request, left)

    send(count - 1)
    logs = RequestLog.objects.order_by("created_at")
    return answers, [(log.capture_status, log.capture_detail) for log in logs]


@pytest.mark.parametrize(
    ("make", "read", "parse_before"),
    [
        (multipart, read_files, False),
        (multipart, read_files, True),
        (multipart, read_chunks, False),
        (raw, read_chunks, False),
    ],
    ids=["files", "files parsed before", "a form read raw", "a raw body in pieces"],
)
def test_newest_image_beyond_the_budget_is_dropped(settings, make, read, parse_before):
    """Kind: what running views hold is bounded for the process; no view sees it."""
    answers, rows = statuses_of(make, read, 5, parse_before)
    limit = int(settings.REQUEST_IMAGES_RUNNING_MAX_MB * MB)
    detail = f"more than {limit} bytes in the requests that were running"
    assert rows == [("stored", "")] * 3 + [("over_budget", detail)] * 2
    settings.REQUEST_IMAGES_ENABLED = False
    assert answers == statuses_of(make, read, 5, parse_before)[0]


def test_body_that_django_holds_itself_is_kept():
    """To drop it would save nothing as long as the request lives."""
    _, rows = statuses_of(raw, read_body, 5)
    assert rows == [("stored", "")] * 5


def test_requests_in_a_row_hold_no_more_than_one():
    for _ in range(9):
        statuses_of(multipart, read_files, 2)
    assert set(RequestLog.objects.values_list("capture_status", flat=True)) == {
        "stored",
        "duplicate",
    }


def test_request_that_nobody_ends_gives_its_bytes_back():
    """Its part of the budget is not lost for ever."""
    request = raw(1)
    start = []

    @capture_images
    def view(request):
        read_chunks(request)
        start.append(held.total())
        raise SystemExit

    with pytest.raises(SystemExit):
        view(request)
    assert start == [len(BIG) + 1]


def test_child_of_a_fork_holds_nothing():
    mine = held.Held(99)
    assert mine.take(10)
    child = os.fork()
    if not child:  # pragma: no cover  # in the child
        os._exit(held.total())
    _, status = os.waitpid(child, 0)
    mine.clear()
    assert os.waitstatus_to_exitcode(status) == 0
