"""What became of a request: every outcome is recorded, and none is changed."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from request_images import health
from request_images.decorators import capture_images
from request_images.models import RequestLog
from request_images.outcome import annotate
from tests import views
from tests.host.models import Note
from tests.image_files import draw
from tests.traps import trap

STATUSES = [
    ("404", 404, "Http404"),
    ("403", 403, "PermissionDenied"),
    ("400", 400, "BadRequest"),
    ("suspicious", 400, "SuspiciousOperation"),
    ("boom", 500, "Boom"),
]


@pytest.fixture
def quiet_client():
    """A client that gets the 500 instead of the exception, as a browser does."""
    return Client(raise_request_exception=False)


def post(client, url, **extra):
    return client.post(url, draw(), content_type="image/png", **extra)


@pytest.mark.django_db
class TestStatus:
    """Status and error type of whatever happens."""

    @pytest.mark.parametrize(("kind", "status", "error"), STATUSES)
    def test_exception(self, quiet_client, kind, status, error):
        """An exception is recorded with the status that Django makes of it."""
        assert post(quiet_client, f"/fail/{kind}/").status_code == status
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (status, error)
        assert log.is_failed
        assert RequestLog.objects.failed().get() == log
        # R12: the view had not read its image when it failed.
        assert log.capture_status == "unread"

    def test_exception_with_a_status_of_its_own(self, quiet_client):
        """Django makes a 500 of it, whatever it says, and that is the truth."""
        assert post(quiet_client, "/fail/teapot/").status_code == 500
        assert RequestLog.objects.get().status_code == 500

    def test_exception_without_a_handler(self):
        """Called directly, the status that an exception names is all there is."""
        request = RequestFactory().post("/")
        with pytest.raises(views.Teapot):
            capture_images(views.fail)(request, "teapot")
        assert RequestLog.objects.get().status_code == 418

    @pytest.mark.parametrize("status", [0, 10**9, True, "418", None])
    def test_exception_with_what_is_no_status(self, status):
        """An attribute of that name may hold anything."""

        @capture_images
        def view(request):
            error = views.Teapot()
            error.status_code = status
            raise error

        with pytest.raises(views.Teapot):
            view(RequestFactory().post("/"))
        assert RequestLog.objects.get().status_code is None

    def test_exception_of_unknown_status(self):
        """Nobody says 500 before Django does."""
        request = RequestFactory().post("/")
        with pytest.raises(views.Boom):
            capture_images(views.fail)(request, "boom")
        assert RequestLog.objects.get().status_code is None

    def test_nul_characters(self, quiet_client):
        """A NUL in a message does not cost the row."""
        post(quiet_client, "/fail/boom/")
        assert RequestLog.objects.get().error_message == "it went  wrong"

    @trap("W16")
    @pytest.mark.parametrize(
        ("kind", "exception", "status"),
        [("exit", SystemExit, None), ("cancelled", asyncio.CancelledError, 499)],
    )
    def test_base_exceptions(self, client, kind, exception, status):
        """W16: what is no Exception is raised again, and recorded."""
        request = RequestFactory().post("/")
        with pytest.raises(exception):
            capture_images(views.fail)(request, kind)
        assert RequestLog.objects.get().status_code == status

    @trap("W17")
    def test_view_returns_nothing(self, quiet_client):
        """W17: a view that returns None is Django's to complain about."""
        assert post(quiet_client, "/returns/none/").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "ValueError")

    @trap("W17")
    def test_view_returns_a_dict(self):
        """W17: a dict, as inside of Ninja, has no status and is no failure."""
        request = RequestFactory().post("/")
        assert capture_images(views.returns)(request, "dict") == {"a": 1}
        log = RequestLog.objects.get()
        assert (log.status_code, log.is_failed) == (None, False)

    @trap("W17")
    def test_view_returns_a_coroutine(self, quiet_client, caplog):
        """W17: a sync view that returns a coroutine is Django's to complain about."""
        # A line of the log would hold the traceback, and that the coroutine.
        caplog.set_level(logging.CRITICAL, "django.request")
        with warnings.catch_warnings():
            # Nobody awaits it, with us as without, and Python says so on its end.
            warnings.simplefilter("ignore", RuntimeWarning)
            assert post(quiet_client, "/returns/coroutine/").status_code == 500
            gc.collect()
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "ValueError")

    @trap("W17")
    def test_response_that_breaks_when_asked(self):
        """W17: what is no response may do anything when it is asked for its status."""

        class Odd:
            @property
            def status_code(self):
                raise RuntimeError("ask me not")

        odd = Odd()
        assert capture_images(lambda request: odd)(RequestFactory().post("/")) is odd
        assert health.faults() == {"response:RuntimeError": 1}
        health.reset()
        assert RequestLog.objects.get().status_code is None

    @trap("W5")
    def test_rendering_fails(self, quiet_client):
        """W5: a template that cannot be rendered is a 500, not the view's 200."""
        assert post(quiet_client, "/rendered_late/").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "TemplateDoesNotExist")

    @trap("W5")
    @pytest.mark.parametrize("url", ["/drf/view/", "/drf/above/", "/drf/below/"])
    def test_rest_framework_rendering_fails(self, quiet_client, url):
        """W5: so is data that REST framework cannot render, behind the view."""
        assert post(quiet_client, f"{url}?unrenderable").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "TypeError")

    @trap("W4")
    def test_middleware_replaces_the_response(self, client, settings):
        """W4: the row is written although the view's response never went out."""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_outcome.replace"]
        assert post(client, "/body/").content == b"another"
        assert RequestLog.objects.get().capture_status == "stored"

    @trap("W13")
    def test_no_vary_header(self, client):
        """W13: a user that the view does not look at is not looked at by us."""
        client.force_login(get_user_model().objects.create_user("ann"))
        assert "Vary" not in post(client, "/body/").headers
        assert RequestLog.objects.get().username == ""

    @pytest.mark.parametrize("url", ["/who/", "/async_who/"])
    def test_user(self, client, url):
        """The user that the view has looked at is known."""
        client.force_login(get_user_model().objects.create_user("ann"))
        assert post(client, url).content == b"ann"
        log = RequestLog.objects.get()
        assert (log.user.username, log.username) == ("ann", "ann")

    def test_session_is_left_alone(self, client):
        """A session that Django would end when asked for its user stays as it is."""
        user = get_user_model().objects.create_user("ann")
        client.force_login(user)
        user.set_password("new")  # which makes the session's hash a stale one
        user.save()
        post(client, "/body/")
        assert client.session.keys()


def replace(get_response):
    """Middleware that answers with something else."""

    def middleware(request):
        get_response(request)
        return HttpResponse("another")

    return middleware


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atomic_requests")
class TestTransactions:
    """The view's transaction is untouched, and ours is our own."""

    @trap("W1")
    @pytest.mark.parametrize(("kind", "status", "error"), STATUSES)
    def test_atomic_requests(self, quiet_client, kind, status, error):
        """W1: the view's rows are rolled back, our row stays."""
        post(quiet_client, f"/fail/{kind}/")
        assert not Note.objects.exists()
        assert RequestLog.objects.get().error_type == error

    @trap("W1")
    def test_success(self, client):
        """W1: the view's rows stay as well."""
        post(client, "/annotated/")
        assert Note.objects.count() == RequestLog.objects.count() == 1

    @trap("W3")
    @pytest.mark.parametrize("url", ["above", "below", "both", "view"])
    def test_rest_framework_under_atomic(self, client, url):
        """W3: an error that REST framework handles rolls the transaction back."""
        response = post(client, f"/drf/{url}/?note&error")
        assert response.status_code == RequestLog.objects.get().status_code == 400
        assert not Note.objects.exists()

    @trap("W5")
    def test_rest_framework_rendering_fails_under_atomic(self, quiet_client):
        """W5: rendering comes behind the view: its rows stay, and it is a 500."""
        assert post(quiet_client, "/drf/view/?note&unrenderable").status_code == 500
        assert Note.objects.exists()
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "TypeError")

    @trap("W6")
    @pytest.mark.parametrize("query", ["", "?server"])
    def test_view_kills_its_connection(self, quiet_client, query):
        """W6: Django fails to commit what the view left; our write does not."""
        if connection.vendor == "sqlite":
            pytest.skip("an in-memory database is gone with its connection")
        assert post(quiet_client, f"/killing/{query}").status_code == 500
        assert RequestLog.objects.get().status_code == 500

    @trap("WRAP3")
    def test_view_that_wants_no_transaction(self, quiet_client):
        """WRAP3: ``non_atomic_requests`` beneath the decorator is still heard."""
        post(quiet_client, "/non-atomic/boom/")
        assert Note.objects.exists()
        assert RequestLog.objects.get().error_type == "Boom"


@trap("W6")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", ["", "?server"])
def test_view_kills_its_connection_outside_of_a_transaction(client, query):
    """W6: nobody but us needs the connection then; it is opened anew."""
    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database is gone with its connection")
    assert post(client, f"/killing/{query}").content == b"dead"
    assert RequestLog.objects.get().capture_status == "unread"


@pytest.mark.django_db
class TestRestFramework:
    """What is seen of REST framework's errors, above, below and around."""

    @trap("WRAP4")
    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("/drf/view/", "ParseError"),
            ("/drf/viewset/", "ParseError"),
            ("/drf/both/", "ParseError"),
            ("/drf/below/", "ParseError"),
            ("/drf/actions/solve/", "ParseError"),
            ("/drf/above/", "parse_error"),
        ],
    )
    def test_handled_error(self, client, url, error):
        """WRAP4: the exception's class where it can be seen, otherwise its code."""
        assert post(client, f"{url}?error").status_code == 400
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (400, error)
        assert log.error_message == "not like this"

    def test_validation_error(self, client):
        """A code deep inside a validation error is found."""
        post(client, "/drf/above/?invalid")
        log = RequestLog.objects.get()
        assert (log.error_type, log.error_message) == ("invalid", "too dark")

    @trap("WRAP4")
    @pytest.mark.parametrize("url", ["/drf/view/", "/drf/above/", "/drf/below/"])
    def test_unhandled_error(self, quiet_client, url):
        """WRAP4: an exception that REST framework does not handle is a 500."""
        assert post(quiet_client, f"{url}?boom").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "Boom")

    def test_refused_before_the_view(self, client):
        """A method that the view does not have never reaches a decorated method."""
        assert client.delete("/drf/above/").status_code == 405
        assert client.patch("/drf/above/").status_code == 405
        assert RequestLog.objects.get().error_type == "method_not_allowed"

    def test_error_that_the_view_named(self, client):
        """What the view said of its error outranks what we make of the response."""
        post(client, "/drf/above/?named")
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (400, "too_dark")

    def test_error_without_details(self):
        """An error response may hold anything, also nothing."""
        response = HttpResponse(status=400)
        response.exception = True
        capture_images(lambda request: response)(RequestFactory().post("/"))
        assert RequestLog.objects.get().error_type == ""

    def test_exception_handler_off(self, client, settings):
        """Switched off, the mixin's part in handling exceptions does nothing."""
        settings.REQUEST_IMAGES_ENABLED = False
        assert post(client, "/drf/view/?error").status_code == 400
        assert not RequestLog.objects.exists()


@pytest.mark.django_db
class TestAnnotate:
    """What the view says of its request."""

    def test_error_and_metadata(self, client):
        """A reported error counts as a failure; numbers stay numbers."""
        assert post(client, "/handled/").status_code == 422
        log = RequestLog.objects.get()
        assert (log.error_type, log.error_message) == ("no_barcode", "nothing in it")
        assert log.metadata == {"confidence": 0.25, "tries": 3}

    def test_link_and_odd_values(self, client):
        """A row of the project is linked; what JSON cannot hold becomes text."""
        post(client, "/annotated/")
        log = RequestLog.objects.get()
        assert log.link == Note.objects.get()
        assert log.metadata["odd"] == [1, 2]
        assert log.metadata["nul"] == "ab"
        assert "asyncio" in log.metadata["when"]

    @trap("WRAP6")
    def test_annotate_from_rest_framework(self, client):
        """WRAP6: REST framework's own request leads to the same record."""
        client.post("/drf/view/", {"photo": SimpleUploadedFile("x.png", draw())})
        assert RequestLog.objects.get().metadata == {"seen_by": "drf"}

    @trap("WRAP8")
    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("/told_from_threads/", {"thread", "executor", "stream"}),
            ("/told_from_tasks/", {"task", "sync_to_async", "to_thread"}),
        ],
    )
    def test_from_anywhere(self, client, url, told):
        """WRAP8: the record is the request's, so no thread of a view's loses it."""
        assert post(client, url).getvalue() == b"ab"
        assert set(RequestLog.objects.get().metadata) == told

    def test_link_to_what_is_no_row(self):
        """A link that is none costs the link, not the row."""

        @capture_images
        def view(request):
            annotate(request, link="note 5")

        view(RequestFactory().post("/"))
        assert RequestLog.objects.get().link is None

    def test_without_a_recording(self):
        """Where nothing is recorded it does nothing, so a view need not ask."""
        request = RequestFactory().get("/")
        before = dict(vars(request))
        annotate(request, error_type="x", a=1)
        annotate(object(), a=1)
        assert vars(request) == before


@pytest.mark.django_db
class TestLog:
    """The rest of the row."""

    def test_endpoint(self, client):
        """The name of the URL pattern; its route where it has none."""
        post(client, "/body/")
        post(client, "/unnamed/5/")
        post(client, "/mixed-in-async/")
        post(client, "/ninja/json")
        names = list(
            RequestLog.objects.order_by("pk").values_list("endpoint", flat=True)
        )
        assert names[:3] == ["body", "unnamed/<int:pk>/", "mixed-in-async"]
        assert names[3].startswith("ninja:")

    @pytest.mark.parametrize(
        ("given", "kept"),
        [("abc-1.2_X", True), ("a" * 65, False), ("a b", False), ("", False)],
    )
    def test_request_id(self, client, given, kept):
        """The caller's id when it is well-formed, else one of ours."""
        post(client, "/body/", headers={"X-Request-ID": given})
        request_id = RequestLog.objects.get().request_id
        assert (request_id == given) is kept
        assert kept or len(request_id) == 32

    def test_request_id_header_off(self, client, settings):
        """No header is trusted when the setting says so."""
        settings.REQUEST_IMAGES_REQUEST_ID_HEADER = None
        post(client, "/body/", headers={"X-Request-ID": "mine"})
        assert RequestLog.objects.get().request_id != "mine"

    def test_anonymous_and_foreign_users(self):
        """No user, nobody logged in, and a user of no model of this project."""

        class TokenUser:
            is_authenticated = True
            pk = "not-a-number"

            def get_username(self):
                return "token"

        request = RequestFactory().post("/")
        request.user = TokenUser()
        capture_images(views.nothing)(request)
        log = RequestLog.objects.get()
        assert (log.username, log.user_id) == ("token", None)

    def test_link_to_an_unsaved_row(self):
        """A row that has no key yet cannot be linked."""

        @capture_images
        def view(request):
            annotate(request, link=Note(text="unsaved"))

        view(RequestFactory().post("/"))
        assert RequestLog.objects.get().link is None

    def test_user_that_cannot_be_read(self):
        """A session store that is down costs the user's name, not the row."""

        class Broken:
            @property
            def is_authenticated(self):
                raise OSError("no session store")

        request = RequestFactory().post("/")
        request.user = Broken()
        capture_images(views.nothing)(request)
        assert RequestLog.objects.get().username == ""
        assert health.faults() == {"user:OSError": 1}
        health.reset()

    def test_durations(self, client):
        """The view's time is counted without the time it waited for bytes."""
        post(client, "/body/")
        log = RequestLog.objects.get()
        assert log.duration_ms > 0
        assert log.upload_ms >= 0

    @trap("W17", "WRAP2")
    def test_async_duration(self, async_client_post):
        """WRAP2: an async view is timed until it is done, not until it has begun."""
        async_client_post("/dispatch-async/")
        assert RequestLog.objects.get().duration_ms >= 1

    def test_urls_are_named(self):
        """The include gives a namespaced name."""
        assert (
            reverse("request_images:image-performance-stats")
            == "/api/usage/image-performance-stats"
        )


@pytest.mark.django_db
class TestRelease:
    @pytest.mark.parametrize(
        ("told", "kept"), [(None, "2.4.1"), ("2.5-beta", "2.5-beta"), ("x" * 200, None)]
    )
    def test_is_the_setting_s_or_what_the_view_says(self, settings, told, kept):
        """Which release handled the request; too long a name is cut."""
        settings.REQUEST_IMAGES_RELEASE = "2.4.1"

        @capture_images
        def view(request):
            if told is not None:
                annotate(request, release=told)
            annotate(request, model="v3")
            return HttpResponse()

        view(RequestFactory().post("/"))
        log = RequestLog.objects.get()
        assert log.release == (kept or f"{'x' * 99}…")
        assert log.metadata == {"model": "v3"}
