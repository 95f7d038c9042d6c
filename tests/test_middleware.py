"""The optional middleware: exact status, prompt 499, taps before CSRF; no harm."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.test import Client, RequestFactory
from django.urls import resolve
from django.utils.deprecation import MiddlewareMixin

from request_images import health, middleware
from request_images.capture import lifecycle, sources, watchdog
from request_images.capture.before_view import EARLY
from request_images.capture.recording import recording_of
from request_images.decorators import capture_images
from request_images.middleware import RequestImagesMiddleware
from request_images.models import RequestLog
from tests.db.databases import received_async
from tests.image_files import draw
from tests.traps import trap

OURS = "request_images.middleware.RequestImagesMiddleware"


class Answering(MiddlewareMixin):
    """A middleware that replaces a response or an exception."""

    def process_response(self, request, response):
        if "replaced" in request.GET:
            return HttpResponse("replaced", status=int(request.GET["replaced"]))
        return response

    def process_exception(self, request, exception):
        if "handled" in request.GET:
            return HttpResponse("handled", status=int(request.GET["handled"]))
        return None


class Refusing(CsrfViewMiddleware):
    """A CSRF check that records whether our middleware ran before it."""

    def process_view(self, request, *args):
        request.META["TAPPED"] = EARLY in vars(request)
        return super().process_view(request, *args)


@pytest.fixture(autouse=True)
def _installed(settings):
    """Put our middleware first, and the others of these tests last."""
    others = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    settings.MIDDLEWARE = [
        OURS,
        "tests.test_middleware.Refusing",
        *others,
        "tests.test_middleware.Answering",
    ]


@pytest.fixture(params=["sync", "async"])
def post(request, async_client_post):
    """Post an image to Django's sync or async handler."""
    if request.param == "async":
        return async_client_post
    client = Client(raise_request_exception=False)
    return lambda url: client.post(url, draw(), content_type="image/png")


@pytest.mark.django_db
class TestStatus:
    """The row has the status that the client got."""

    @trap("W4")
    @pytest.mark.parametrize(
        ("url", "status", "error_type"),
        [
            ("/body/?replaced=418", 418, ""),
            ("/body/?replaced=302", 302, ""),
            ("/async_upload/?replaced=418", 418, ""),
            ("/fail/boom/?handled=503", 503, "Boom"),
            ("/fail/teapot/?handled=200", 200, "Teapot"),
            ("/fail/boom/?replaced=404", 404, "Boom"),
            ("/fail/boom/", 500, "Boom"),
            ("/rendered_late/", 500, "TemplateDoesNotExist"),
            ("/body/", 200, ""),
        ],
    )
    def test_row_has_the_final_status(self, post, url, status, error_type):
        assert post(url).status_code == status
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (status, error_type)

    def test_undecorated_view_is_not_touched(self, post):
        """A request that is not recorded is not touched."""
        assert post("/off/").status_code == 200
        assert not RequestLog.objects.exists()


class TestTap:
    """The body is watched before the CSRF check reads the form."""

    @pytest.fixture
    def client(self):
        return Client(enforce_csrf_checks=True)

    @staticmethod
    def _form(client):
        token = get_token(RequestFactory().get("/"))
        client.cookies["csrftoken"] = token
        photo = SimpleUploadedFile("photo.png", draw())
        return {"photo": photo, "csrfmiddlewaretoken": token}

    @trap("R7")
    @pytest.mark.django_db
    def test_upload_is_captured_when_csrf_parses_the_form(self, client):
        """The upload is captured, and its time does not count as the view's."""
        view = resolve("/protected/").func
        assert not getattr(view, "csrf_exempt", False)
        response = client.post("/protected/", self._form(client))
        assert response.status_code == 200
        assert response.wsgi_request.META["TAPPED"]
        log = RequestLog.objects.get()
        assert log.capture_status == "stored"
        assert log.upload_ms > 0
        assert log.duration_ms >= 0
        assert EARLY not in vars(response.wsgi_request)

    @pytest.mark.django_db
    def test_csrf_refusal_is_not_recorded(self, client):
        """A request that does not reach its view is not recorded and loses its taps."""
        photo = SimpleUploadedFile("photo.png", draw())
        response = client.post("/protected/", {"photo": photo})
        assert response.status_code == 403
        request = response.wsgi_request
        assert request.META["TAPPED"]
        assert {"read", "readline", EARLY}.isdisjoint(vars(request))
        assert not RequestLog.objects.exists()

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "url",
        [
            "/upload/",
            "/async_upload/",
            "/protected/",
            "/mixed-in/",
            "/mixed-in-async/",
            "/dispatch/",
            "/dispatch-async/",
            "/method/",
            "/drf/view/",
            "/drf/viewset/",
            "/drf/actions/solve/",
            "/drf/above/",
        ],
    )
    def test_decorated_views_are_known(self, url):
        """All ways to decorate a view are recognized."""
        photo = SimpleUploadedFile("photo.png", draw())
        response = Client().post(url, {"b": photo})
        assert response.status_code == 200
        assert response.wsgi_request.META["TAPPED"]
        assert RequestLog.objects.get().capture_status == "stored"

    @pytest.mark.django_db
    @pytest.mark.parametrize("url", ["/off/", "/drf/below/", "/ninja/upload"])
    def test_hidden_decorators_are_not_known(self, url):
        """A hidden decorator records as without the middleware."""
        photo = SimpleUploadedFile("photo.png", draw())
        response = Client().post(url, {"photo": photo})
        assert not response.wsgi_request.META["TAPPED"]
        assert RequestLog.objects.count() == (url != "/off/")

    def test_source_of_the_requested_method_is_used(self):
        """The options are those of the requested method."""
        options = middleware._options_of(resolve("/method/").func, "post")
        assert options.sources == sources.parse("files.b")
        assert middleware._options_of(resolve("/method/").func, "put") is None

    @pytest.mark.parametrize(
        "change", [{"ENABLED": False}, {"METHODS": ["PUT"]}], ids=["off", "method"]
    )
    @pytest.mark.django_db
    def test_request_that_is_not_recorded_has_no_tap(self, settings, change):
        for name, value in change.items():
            setattr(settings, f"REQUEST_IMAGES_{name}", value)
        response = Client().post("/upload/", {"a": "b"})
        assert not response.wsgi_request.META["TAPPED"]
        assert not RequestLog.objects.exists()

    @pytest.mark.django_db
    def test_middleware_listed_twice_installs_one_tap(self, settings):
        """The second entry is a mistake, and installs no second tap."""
        settings.MIDDLEWARE = [OURS, *settings.MIDDLEWARE]
        photo = SimpleUploadedFile("photo.png", draw())
        assert Client().post("/upload/", {"photo": photo}).status_code == 200
        assert RequestLog.objects.get().image_count == 1


def _raise(*args, **kwargs):
    raise ZeroDivisionError("a bug")


@pytest.mark.django_db
class TestNoHarm:
    """Our failure never becomes the request's failure."""

    @pytest.mark.parametrize("name", ["start_early", "recording_of", "_options_of"])
    def test_fault_in_any_part_is_counted(self, monkeypatch, post, name):
        """A fault in any part is counted, and the response and the row are complete."""
        monkeypatch.setattr(middleware, name, _raise)
        assert post("/body/?replaced=418").status_code == 418
        assert set(health.faults()) == {"middleware:ZeroDivisionError"}
        health.reset()
        assert RequestLog.objects.get().capture_status == "stored"

    def test_wrong_setting_switches_off_the_app_only(self, settings, post):
        """A wrong setting switches off the app, not the site."""
        settings.REQUEST_IMAGES_METHODS = "POST"
        assert post("/body/").status_code == 200
        assert "middleware:ImproperlyConfigured" in health.faults()
        health.reset()

    def test_response_is_sent_when_a_tap_cannot_be_removed(self):
        """The response is sent all the same."""

        def get_response(request):
            setattr(request, EARLY, "not a tap")
            return HttpResponse("fine")

        request = RequestFactory().post("/")
        assert RequestImagesMiddleware(get_response)(request).content == b"fine"
        assert health.faults() == {"middleware:AttributeError": 1}
        health.reset()

    def test_exception_of_the_chain_is_raised(self):
        """An exception of the middleware chain is raised."""
        request = RequestFactory().post("/")
        with pytest.raises(ZeroDivisionError):
            RequestImagesMiddleware(_raise)(request)


@pytest.mark.django_db(transaction=True)
class TestClientGone:
    """Under ASGI a disconnect is logged at once."""

    @pytest.fixture(autouse=True)
    def _own_watchdog(self, monkeypatch):
        """Use a watchdog that waits longer than any test."""
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 600)
        monkeypatch.setattr(lifecycle, "_watchdog", watchdog.Watchdog())
        yield
        watchdog.GRACE_SECONDS = 0.01
        monkeypatch.setattr(watchdog, "_IDLE_SECONDS", 0.0)
        lifecycle._watchdog._wake.set()
        getattr(lifecycle._watchdog.thread, "join", lambda: None)()

    @staticmethod
    def _request():
        return received_async(draw())

    @trap("W8")
    def test_cancelled_async_view_is_logged_at_once(self):
        @capture_images
        async def view(request):
            assert request.body
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            async_to_sync(RequestImagesMiddleware(view))(self._request())
        assert lifecycle.wait_until_idle(60)
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (499, "CancelledError")
        assert log.capture_status == "stored"

    @trap("W8")
    def test_sync_view_is_logged_at_its_end(self):
        """The log is written at the view's end, without a grace period."""
        request = self._request()

        @capture_images
        def view(request):
            recording_of(request).note_client_gone()
            assert request.body
            assert lifecycle._watchdog.thread is None
            return HttpResponse("nobody hears this")

        view(request)
        assert lifecycle.wait_until_idle(60)
        log = RequestLog.objects.get()
        assert (log.status_code, log.capture_status) == (499, "stored")

    def test_cancelled_undecorated_view_is_not_logged(self):
        """A view without the decorator is cancelled as usual."""

        async def view(request):
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            async_to_sync(RequestImagesMiddleware(view))(self._request())
        assert not RequestLog.objects.exists()


def test_middleware_is_async_if_the_chain_is():
    """Django checks whether the middleware must be awaited."""
    view = AsyncMock()
    assert iscoroutinefunction(RequestImagesMiddleware(view))
    assert not iscoroutinefunction(RequestImagesMiddleware(_raise))
