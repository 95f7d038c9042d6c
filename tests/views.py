"""Decorated views of every kind, and their URLs."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.files.storage import default_storage
from django.core.files.uploadhandler import (
    FileUploadHandler,
    MemoryFileUploadHandler,
    SkipFile,
    StopUpload,
)
from django.db import DatabaseError, connection, transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from ninja import File, NinjaAPI, Schema, UploadedFile
from ninja.decorators import decorate_view
from rest_framework.decorators import action, api_view, parser_classes
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from request_images.decorators import capture_images
from request_images.mixins import CaptureImagesMixin
from request_images.outcome import annotate
from tests.host.models import Note


class Boom(Exception):
    """The exception that these views raise."""


def seen(request: HttpRequest) -> dict[str, object]:
    """Return everything that a view sees of its request's body."""
    files = {
        name: [[f.name, f.content_type, f.read().hex()] for f in files]
        for name, files in request.FILES.lists()
    }
    return {"files": files, "fields": dict(request.POST.lists())}


# Function views that read the request's body in different ways.


def upload(request):
    return JsonResponse(seen(request))


def body(request):
    return JsonResponse({"body": request.body.hex()})


def stream(request):
    whole = b"".join(iter(lambda: request.read(1000), b""))
    return JsonResponse({"body": whole.hex()})


def lines(request):
    return JsonResponse({"body": b"".join(request).hex()})


def body_then_files(request):
    return JsonResponse({"body": request.body.hex(), **seen(request)})


def first_bytes(request):
    return JsonResponse({"body": request.read(10).hex()})


def nothing(request):
    return JsonResponse({"error": "who are you?"}, status=401)


def closed(request):
    for name in list(request.FILES):
        with request.FILES[name] as file:
            file.read()
    return HttpResponse("closed")


def closing(request):
    seen = len(request.body)
    request.close()
    return HttpResponse(seen, status=422)


async def async_closing(request):
    return closing(request)


def saved(request):
    file = request.FILES["photo"]
    path = Path(default_storage.path(default_storage.save("kept.png", file)))
    return JsonResponse({"saved": path.read_bytes().hex()})


def deleted(request):
    Path(request.FILES["photo"].temporary_file_path()).unlink()
    return HttpResponse("deleted")


def own_handlers(request):
    request.upload_handlers = [MemoryFileUploadHandler(request)]
    return JsonResponse(seen(request))


def own_handlers_closed(request):
    request.upload_handlers = [MemoryFileUploadHandler(request)]
    return closed(request)


def inserted_handler(request):
    request.upload_handlers.insert(0, MemoryFileUploadHandler(request))
    return JsonResponse(seen(request))


def giving_up(request, how):
    class GivingUp(FileUploadHandler):
        def receive_data_chunk(self, raw_data, start):
            raise {
                "skip": SkipFile(),
                "stop": StopUpload(),
                "reset": StopUpload(connection_reset=True),
            }[how]

    request.upload_handlers.insert(0, GivingUp(request))
    return HttpResponse(str(len(request.FILES)))


# Views with different outcomes.


def fail(request, kind):
    Note.objects.create(text="rolled back?")
    errors = {
        "boom": Boom("it went \x00 wrong"),
        "404": Http404("gone"),
        "403": PermissionDenied("no"),
        "400": BadRequest("what?"),
        "suspicious": SuspiciousOperation("hm"),
        "teapot": Teapot("short and stout"),
        "exit": SystemExit(3),
        "cancelled": asyncio.CancelledError(),
    }
    raise errors[kind]


class Teapot(Exception):
    """An exception that names its status, as in many frameworks."""

    status_code = 418


def handled(request):
    request.user.is_authenticated  # noqa: B018  # as many views do
    annotate(request, error_type="no_barcode", error_message="nothing in it")
    annotate(request, confidence=0.25, tries=3)
    return JsonResponse({"error": "none"}, status=422)


def annotated(request):
    note = Note.objects.create(text="linked")
    annotate(request, link=note, odd={1, 2}, nul="a\x00b", when=asyncio)
    return HttpResponse("fine")


def returns(request, kind):
    if kind == "coroutine":
        return async_upload(request)
    return {"none": None, "dict": {"a": 1}}[kind]


def rendered_late(request):
    return TemplateResponse(request, "no/such/template.html")


def streamed(request):
    return StreamingHttpResponse(iter([b"a", b"b"]))


def streamed_late(request):
    """Read the body in pieces and keep none, then return a stream."""
    while request.read(65_536):
        pass
    return streamed(request)


def recovered(request):
    with suppress(Boom):
        inner_boom(request)
    return HttpResponse("recovered")


@capture_images
def inner_boom(request):
    raise Boom


def who(request):
    return HttpResponse(request.user.get_username())


async def async_who(request):
    user = await request.auser()
    return HttpResponse(user.get_username())


KILL_US = {
    "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
    "mysql": "KILL CONNECTION_ID()",
}


def killing(request):
    connection.ensure_connection()
    if "server" in request.GET:
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute(KILL_US[connection.vendor])
    else:
        connection.connection.close()
    return HttpResponse("dead")


async def async_upload(request):
    await asyncio.sleep(0)
    return JsonResponse(seen(request))


started = threading.Event()


async def patient(request):
    assert request.body
    started.set()
    await asyncio.sleep(60)


def patient_sync(request):
    started.set()
    time.sleep(0.2)
    return HttpResponse(request.body)


async def broken_stream(request):
    async def chunks():
        yield b"a"
        raise Boom("midway")

    return StreamingHttpResponse(chunks())


async def async_boom(request):
    await asyncio.sleep(0)
    raise Boom("later")


async def async_streamed(request):
    async def chunks():
        yield b"a"
        yield b"b"

    return StreamingHttpResponse(chunks())


def told_from_threads(request):
    """Annotate from threads, where a context variable would be lost."""
    thread = threading.Thread(target=partial(annotate, request, thread=1))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(annotate, request, executor=1)

    def chunks():
        annotate(request, stream=1)
        yield b"ab"

    return StreamingHttpResponse(chunks())


async def told_from_tasks(request):
    async def tell():
        annotate(request, task=1)

    await asyncio.create_task(tell())
    await sync_to_async(annotate)(request, sync_to_async=1)
    await asyncio.to_thread(annotate, request, to_thread=1)
    return HttpResponse("ab")


FUNCTIONS = [
    upload,
    body,
    stream,
    lines,
    body_then_files,
    first_bytes,
    nothing,
    closed,
    closing,
    async_closing,
    saved,
    deleted,
    own_handlers,
    own_handlers_closed,
    inserted_handler,
    handled,
    annotated,
    rendered_late,
    streamed,
    streamed_late,
    recovered,
    killing,
    who,
    async_who,
    async_upload,
    async_boom,
    patient,
    patient_sync,
    broken_stream,
    async_streamed,
    told_from_threads,
    told_from_tasks,
]


# Class-based views.


class MixedIn(CaptureImagesMixin, View):
    def post(self, request):
        return JsonResponse(seen(request))


class MixedInAsync(CaptureImagesMixin, View):
    capture_endpoint = "mixed-in-async"

    async def post(self, request):
        await asyncio.sleep(0.001)
        return JsonResponse(seen(request))


class BareAsync(View):
    async def post(self, request):
        await asyncio.sleep(0.001)
        return JsonResponse(seen(request))


@method_decorator(capture_images, name="dispatch")
class Dispatch(View):
    def post(self, request):
        return JsonResponse(seen(request))


@method_decorator(capture_images, name="dispatch")
class DispatchAsync(View):
    async def post(self, request):
        await asyncio.sleep(0.001)
        if "boom" in request.GET:
            raise Boom("in time")
        return JsonResponse(seen(request))


class Method(View):
    @capture_images(source="files.b")
    def post(self, request):
        return JsonResponse(seen(request))


# REST framework.


def drf_seen(request):
    if "note" in request.GET:
        Note.objects.create(text="rolled back?")
    if "unrenderable" in request.GET:
        return Response({"what": object()})
    if "boom" in request.GET:
        raise Boom
    if "named" in request.GET:
        annotate(request, error_type="too_dark")
    if "error" in request.GET or "named" in request.GET:
        raise ParseError("not like this")
    if "invalid" in request.GET:
        raise ValidationError({"image": ["too dark"]})
    data = request.data
    return Response(
        {
            "files": {k: f.read().hex() for k, f in request.FILES.items()},
            "data": {k: v for k, v in data.items() if k not in request.FILES},
        }
    )


class DrfView(CaptureImagesMixin, APIView):
    def post(self, request):
        annotate(request, seen_by="drf")
        return drf_seen(request)

    put = patch = post


class AnyType(BaseParser):
    """A parser that takes every body as it is."""

    media_type = "*/*"

    def parse(self, stream, media_type=None, parser_context=None):
        return stream.read()


@csrf_exempt
@capture_images
@api_view(["POST"])
@parser_classes([AnyType])
def drf_raw(request):
    return Response({"size": len(request.data)})


class DrfViewSet(CaptureImagesMixin, ViewSet):
    def create(self, request):
        return drf_seen(request)


class DrfActions(ViewSet):
    @action(detail=False, methods=["post"])
    @capture_images
    def solve(self, request):
        return drf_seen(request)


@capture_images
@api_view(["POST", "PUT"])
def drf_above(request):
    return drf_seen(request)


@api_view(["POST"])
@capture_images
def drf_below(request):
    return drf_seen(request)


@capture_images
@api_view(["POST"])
@capture_images
def drf_both(request):
    return drf_seen(request)


router = SimpleRouter()
router.register("viewset", DrfViewSet, basename="viewset")
router.register("actions", DrfActions, basename="actions")


# Ninja.

ninja = NinjaAPI(urls_namespace="ninja", docs_url=None, openapi_url=None)


class Body(Schema):
    image: str


@ninja.post("json")
@decorate_view(capture_images)
def ninja_json(request, body: Body):
    annotate(request, length=len(body.image))
    return {"length": len(body.image)}


@ninja.post("upload")
@decorate_view(capture_images(source="files.photo"))
def ninja_upload(request):
    return {"size": request.FILES["photo"].size}


@ninja.put("upload")
@ninja.patch("upload")
@decorate_view(capture_images(source="files.photo"))
def ninja_change(request, photo: File[UploadedFile]):
    return {"photo": photo.read().hex()}


@ninja.post("async")
@decorate_view(capture_images)
async def ninja_async(request, body: Body):
    await asyncio.sleep(0)
    return {"length": len(body.image)}


@ninja.post("inside")
@capture_images
def ninja_inside(request, body: Body):
    return {"length": len(body.image)}


# Sources by name.


@csrf_exempt
def sourced(request, source):
    """Run a view that is decorated with the source in the URL."""

    @capture_images(source=json.loads(source), endpoint="sourced")
    def view(request):
        is_form = request.content_type.endswith(("form-data", "urlencoded"))
        return HttpResponse(str(len(request.POST if is_form else request.body)))

    return view(request)


def _decorated(view):
    return csrf_exempt(capture_images(view))


def all_images(request):
    return JsonResponse({"files": len(request.FILES.getlist("photo"))})


class AllMixedIn(CaptureImagesMixin, View):
    capture_images = "all"

    def post(self, request):
        return all_images(request)


class AllDrf(CaptureImagesMixin, APIView):
    capture_images = "all"
    capture_limit = 5

    def post(self, request):
        return Response({"files": len(request.FILES.getlist("photo"))})


@csrf_exempt
@capture_images(images="all")
async def all_async(request):
    return all_images(request)


urlpatterns = [
    path("all-mixed-in/", csrf_exempt(AllMixedIn.as_view())),
    path("all-drf/", AllDrf.as_view()),
    path("all-async/", all_async),
    path("all-protected/", csrf_protect(capture_images(images="all")(all_images))),
    *(
        path(f"{view.__name__}/", _decorated(view), name=view.__name__)
        for view in FUNCTIONS
    ),
    path("fail/<kind>/", _decorated(fail), name="fail"),
    path("non-atomic/<kind>/", _decorated(transaction.non_atomic_requests(fail))),
    path("returns/<kind>/", _decorated(returns), name="returns"),
    path("giving_up/<how>/", _decorated(giving_up)),
    path("unnamed/<int:pk>/", _decorated(lambda request, pk: HttpResponse("ok"))),
    path("off/", csrf_exempt(upload), name="off"),
    path("protected/", csrf_protect(capture_images(upload)), name="protected"),
    path("sourced/<path:source>/", sourced, name="sourced"),
    path("mixed-in/", csrf_exempt(MixedIn.as_view()), name="mixed-in"),
    path("mixed-in-async/", csrf_exempt(MixedInAsync.as_view())),
    path("dispatch/", csrf_exempt(Dispatch.as_view()), name="dispatch"),
    path("dispatch-async/", csrf_exempt(DispatchAsync.as_view()), name="dispatch-a"),
    path("method/", csrf_exempt(Method.as_view()), name="method"),
    path("drf/view/", DrfView.as_view(), name="drf-view"),
    path("drf/raw/", drf_raw),
    path("drf/above/", drf_above, name="drf-above"),
    path("drf/below/", drf_below, name="drf-below"),
    path("drf/both/", drf_both, name="drf-both"),
    path("drf/", include(router.urls)),
    path("ninja/", ninja.urls),
]
