"""Every outcome of a request is recorded, and none is changed."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import uuid
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
    """A client that gets a 500 instead of the exception, as a browser does."""
    return Client(raise_request_exception=False)


def post(client, url, **extra):
    return client.post(url, draw(), content_type="image/png", **extra)


@pytest.mark.django_db
class TestStatus:
    """Status and error type of every outcome."""

    @pytest.mark.parametrize(("kind", "status", "error"), STATUSES)
    def test_exception_is_recorded_with_djangos_status(
        self, quiet_client, kind, status, error
    ):
        """An exception is recorded with the status of Django's response."""
        assert post(quiet_client, f"/fail/{kind}/").status_code == status
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (status, error)
        assert log.is_failed
        assert RequestLog.objects.failed().get() == log
        # R12: the view had not read its image when it failed.
        assert log.capture_status == "unread"

    def test_status_named_by_an_exception_is_ignored(self, quiet_client):
        """Django responds with 500 whatever status the exception names."""
        assert post(quiet_client, "/fail/teapot/").status_code == 500
        assert RequestLog.objects.get().status_code == 500

    def test_status_named_by_an_exception_counts_without_a_handler(self):
        """Without a handler the status that an exception names is logged."""
        request = RequestFactory().post("/")
        with pytest.raises(views.Teapot):
            capture_images(views.fail)(request, "teapot")
        assert RequestLog.objects.get().status_code == 418

    @pytest.mark.parametrize("status", [0, 10**9, True, "418", None])
    def test_wrong_status_of_an_exception_is_ignored(self, status):
        """The attribute with the status may have any value."""

        @capture_images
        def view(request):
            error = views.Teapot()
            error.status_code = status
            raise error

        with pytest.raises(views.Teapot):
            view(RequestFactory().post("/"))
        assert RequestLog.objects.get().status_code is None

    def test_status_is_unknown_without_a_handler(self):
        """The status is unknown until Django responds."""
        request = RequestFactory().post("/")
        with pytest.raises(views.Boom):
            capture_images(views.fail)(request, "boom")
        assert RequestLog.objects.get().status_code is None

    def test_nul_characters_are_removed(self, quiet_client):
        """A NUL character in a message is removed, and the row is written."""
        post(quiet_client, "/fail/boom/")
        assert RequestLog.objects.get().error_message == "it went  wrong"

    @trap("W16")
    @pytest.mark.parametrize(
        ("kind", "exception", "status"),
        [("exit", SystemExit, None), ("cancelled", asyncio.CancelledError, 499)],
    )
    def test_base_exception_is_recorded_and_raised(
        self, client, kind, exception, status
    ):
        """A `BaseException` is raised again, and recorded."""
        request = RequestFactory().post("/")
        with pytest.raises(exception):
            capture_images(views.fail)(request, kind)
        assert RequestLog.objects.get().status_code == status

    @trap("W17")
    def test_view_that_returns_none_is_recorded(self, quiet_client):
        """A view that returns None gets Django's own error."""
        assert post(quiet_client, "/returns/none/").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "ValueError")

    @trap("W17")
    def test_view_that_returns_a_dict_is_recorded(self):
        """A dict, as inside Ninja, has no status and is not a failure."""
        request = RequestFactory().post("/")
        assert capture_images(views.returns)(request, "dict") == {"a": 1}
        log = RequestLog.objects.get()
        assert (log.status_code, log.is_failed) == (None, False)

    @trap("W17")
    def test_view_that_returns_a_coroutine_is_recorded(self, quiet_client, caplog):
        """A sync view that returns a coroutine gets Django's own error."""
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
    def test_response_without_a_readable_status_is_recorded(self):
        """An object that is not a response may raise when its status is read."""

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
    def test_failed_rendering_is_recorded_as_500(self, quiet_client):
        """A template that fails to render is logged as 500, not as the view's 200."""
        assert post(quiet_client, "/rendered_late/").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "TemplateDoesNotExist")

    @trap("W5")
    @pytest.mark.parametrize("url", ["/drf/view/", "/drf/above/", "/drf/below/"])
    def test_failed_rendering_of_rest_framework_is_recorded_as_500(
        self, quiet_client, url
    ):
        """Data that REST framework fails to render is logged as 500."""
        assert post(quiet_client, f"{url}?unrenderable").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "TypeError")

    @trap("W4")
    def test_row_is_written_if_middleware_replaces_the_response(self, client, settings):
        """The row is written although the view's response was never sent."""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_outcome.replace"]
        assert post(client, "/body/").content == b"another"
        assert RequestLog.objects.get().capture_status == "stored"

    @trap("W13")
    def test_response_gets_no_vary_header(self, client):
        """If the view does not read the user, the app does not read it either."""
        client.force_login(get_user_model().objects.create_user("ann"))
        assert "Vary" not in post(client, "/body/").headers
        assert RequestLog.objects.get().username == ""

    @pytest.mark.parametrize("url", ["/who/", "/async_who/"])
    def test_user_that_the_view_reads_is_logged(self, client, url):
        """The user is logged if the view has read it."""
        client.force_login(get_user_model().objects.create_user("ann"))
        assert post(client, url).content == b"ann"
        log = RequestLog.objects.get()
        assert (log.user.username, log.username) == ("ann", "ann")

    def test_session_is_not_changed(self, client):
        """A session that reading the user would end stays unchanged."""
        user = get_user_model().objects.create_user("ann")
        client.force_login(user)
        user.set_password("new")  # which makes the session's hash a stale one
        user.save()
        post(client, "/body/")
        assert client.session.keys()


def replace(get_response):
    """Middleware that replaces the response."""

    def middleware(request):
        get_response(request)
        return HttpResponse("another")

    return middleware


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atomic_requests")
class TestTransactions:
    """The view's transaction and our transaction are independent."""

    @trap("W1")
    @pytest.mark.parametrize(("kind", "status", "error"), STATUSES)
    def test_row_survives_the_rollback_of_atomic_requests(
        self, quiet_client, kind, status, error
    ):
        """The view's rows are rolled back, and our row stays."""
        post(quiet_client, f"/fail/{kind}/")
        assert not Note.objects.exists()
        assert RequestLog.objects.get().error_type == error

    @trap("W1")
    def test_rows_of_the_view_survive_under_atomic_requests(self, client):
        """The view's rows and our row stay."""
        post(client, "/annotated/")
        assert Note.objects.count() == RequestLog.objects.count() == 1

    @trap("W3")
    @pytest.mark.parametrize("url", ["above", "below", "both", "view"])
    def test_row_survives_a_handled_error_of_rest_framework(self, client, url):
        """An error that REST framework handles does not roll back our row."""
        response = post(client, f"/drf/{url}/?note&error")
        assert response.status_code == RequestLog.objects.get().status_code == 400
        assert not Note.objects.exists()

    @trap("W5")
    def test_failed_rendering_keeps_the_rows_of_the_view(self, quiet_client):
        """Rendering comes after the view: its rows stay, and the status is 500."""
        assert post(quiet_client, "/drf/view/?note&unrenderable").status_code == 500
        assert Note.objects.exists()
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "TypeError")

    @trap("W6")
    @pytest.mark.parametrize("query", ["", "?server"])
    def test_row_survives_a_dead_connection(self, quiet_client, query):
        """Django fails to commit on the dead connection, but our write succeeds."""
        if connection.vendor == "sqlite":
            pytest.skip("an in-memory database is gone with its connection")
        assert post(quiet_client, f"/killing/{query}").status_code == 500
        assert RequestLog.objects.get().status_code == 500

    @trap("WRAP3")
    def test_non_atomic_requests_still_works(self, quiet_client):
        """WRAP3: ``non_atomic_requests`` below the decorator still works."""
        post(quiet_client, "/non-atomic/boom/")
        assert Note.objects.exists()
        assert RequestLog.objects.get().error_type == "Boom"


@trap("W6")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", ["", "?server"])
def test_dead_connection_is_opened_again(client, query):
    """Our write opens a new connection."""
    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database is gone with its connection")
    assert post(client, f"/killing/{query}").content == b"dead"
    assert RequestLog.objects.get().capture_status == "unread"


@pytest.mark.django_db
class TestRestFramework:
    """REST framework's errors, with the decorator above, below and around its own."""

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
    def test_handled_error_has_its_class_or_code(self, client, url, error):
        """The error type is the exception's class if visible, otherwise its code."""
        assert post(client, f"{url}?error").status_code == 400
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (400, error)
        assert log.error_message == "not like this"

    def test_nested_code_of_a_validation_error_is_found(self, client):
        """A nested code of a validation error is found."""
        post(client, "/drf/above/?invalid")
        log = RequestLog.objects.get()
        assert (log.error_type, log.error_message) == ("invalid", "too dark")

    @trap("WRAP4")
    @pytest.mark.parametrize("url", ["/drf/view/", "/drf/above/", "/drf/below/"])
    def test_unhandled_error_is_recorded_as_500(self, quiet_client, url):
        """An exception that REST framework does not handle is logged as 500."""
        assert post(quiet_client, f"{url}?boom").status_code == 500
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (500, "Boom")

    def test_unsupported_method_is_recorded_by_the_outer_decorator_only(self, client):
        """An unsupported method never reaches a decorated method."""
        assert client.delete("/drf/above/").status_code == 405
        assert client.patch("/drf/above/").status_code == 405
        assert RequestLog.objects.get().error_type == "method_not_allowed"

    def test_error_type_of_the_view_takes_precedence(self, client):
        """The error type of the view takes precedence over that of the response."""
        post(client, "/drf/above/?named")
        log = RequestLog.objects.get()
        assert (log.status_code, log.error_type) == (400, "too_dark")

    def test_error_response_without_details_is_recorded(self):
        """An error response may have any data, or none."""
        response = HttpResponse(status=400)
        response.exception = True
        capture_images(lambda request: response)(RequestFactory().post("/"))
        assert RequestLog.objects.get().error_type == ""

    def test_exception_handler_does_nothing_when_switched_off(self, client, settings):
        """With the app switched off, the mixin's exception handler does nothing."""
        settings.REQUEST_IMAGES_ENABLED = False
        assert post(client, "/drf/view/?error").status_code == 400
        assert not RequestLog.objects.exists()


@pytest.mark.django_db
class TestAnnotate:
    """Annotations of the view."""

    def test_annotated_error_is_a_failure(self, client):
        """An annotated error counts as a failure, and numbers stay numbers."""
        assert post(client, "/handled/").status_code == 422
        log = RequestLog.objects.get()
        assert (log.error_type, log.error_message) == ("no_barcode", "nothing in it")
        assert log.metadata == {"confidence": 0.25, "tries": 3}

    def test_link_is_stored_and_odd_values_become_text(self, client):
        """A row of the project is linked, and values unknown to JSON become text."""
        post(client, "/annotated/")
        log = RequestLog.objects.get()
        assert log.link == Note.objects.get()
        assert log.metadata["odd"] == [1, 2]
        assert log.metadata["nul"] == "ab"
        assert "asyncio" in log.metadata["when"]

    @trap("WRAP6")
    def test_annotate_from_rest_framework(self, client):
        """REST framework's own request leads to Django's request."""
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
    def test_annotations_from_threads_and_tasks_arrive(self, client, url, told):
        """Annotations from threads, tasks and streams arrive."""
        assert post(client, url).getvalue() == b"ab"
        assert set(RequestLog.objects.get().metadata) == told

    def test_wrong_link_is_dropped(self):
        """A wrong link is dropped, and the row is written."""

        @capture_images
        def view(request):
            annotate(request, link="note 5")

        view(RequestFactory().post("/"))
        assert RequestLog.objects.get().link is None

    def test_annotate_does_nothing_without_a_recording(self):
        """Without a recording, `annotate` does nothing."""
        request = RequestFactory().get("/")
        before = dict(vars(request))
        annotate(request, error_type="x", a=1)
        annotate(object(), a=1)
        assert vars(request) == before


@pytest.mark.django_db
class TestLog:
    """The other columns of the row."""

    def test_endpoint_is_the_name_or_route_of_the_url(self, client):
        """The endpoint is the name of the URL pattern, otherwise its route."""
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
    def test_request_id_is_the_callers_if_well_formed(self, client, given, kept):
        """The request id is the caller's if well-formed, otherwise a generated one."""
        post(client, "/body/", headers={"X-Request-ID": given})
        request_id = RequestLog.objects.get().request_id
        assert (request_id == given) is kept
        assert kept or len(request_id) == 32

    def test_request_id_of_a_middleware_may_be_an_object(self):
        given = uuid.uuid4()
        request = RequestFactory().post("/")
        request.META["HTTP_X_REQUEST_ID"] = given
        capture_images(lambda request: HttpResponse())(request)
        assert RequestLog.objects.get().request_id == str(given)

    def test_view_may_still_change_a_header(self):
        """`request.headers` are not read before the view: Django would keep them."""

        def view(request):
            request.META["HTTP_X_TENANT"] = "late"
            return HttpResponse(request.headers.get("X-Tenant"))

        response = capture_images(view)(RequestFactory().post("/"))
        assert response.content == b"late"

    @pytest.mark.processes
    def test_processes_of_a_fork_make_ids_of_their_own(self):
        script = (
            "import django, os\n"
            "django.setup()\n"
            "from request_images.capture.before_view import new_request_id\n"
            "for _ in range(3):\n"
            "    if not os.fork():\n"
            "        print(new_request_id(), flush=True)\n"
            "        os._exit(0)\n"
            "    os.wait()\n"
        )
        environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environ,
            capture_output=True,
            check=True,
            text=True,
        )
        ids = done.stdout.split()
        assert len(set(ids)) == 3
        assert {len(each) for each in ids} == {32}

    def test_request_id_header_can_be_switched_off(self, client, settings):
        """The setting switches off reading the header."""
        settings.REQUEST_IMAGES_REQUEST_ID_HEADER = None
        post(client, "/body/", headers={"X-Request-ID": "mine"})
        assert RequestLog.objects.get().request_id != "mine"

    def test_anonymous_and_foreign_users_are_not_logged(self):
        """No user, an anonymous user, and a user of another kind are not logged."""

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

    def test_unsaved_row_cannot_be_linked(self):
        """A row without a primary key cannot be linked."""

        @capture_images
        def view(request):
            annotate(request, link=Note(text="unsaved"))

        view(RequestFactory().post("/"))
        assert RequestLog.objects.get().link is None

    def test_user_that_cannot_be_read_costs_only_its_name(self):
        """If the session store is down, the row has no user name."""

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

    def test_duration_excludes_the_upload(self, client):
        """The duration excludes the time in which the view waited for bytes."""
        post(client, "/body/")
        log = RequestLog.objects.get()
        assert log.duration_ms > 0
        assert log.upload_ms >= 0

    @trap("W17", "WRAP2")
    def test_async_view_is_timed_to_its_end(self, async_client_post):
        """An async view is timed to its end, not to its first await."""
        async_client_post("/dispatch-async/")
        assert RequestLog.objects.get().duration_ms >= 1

    def test_endpoint_has_its_namespace(self):
        """The endpoint has the namespace of the include."""
        assert (
            reverse("request_images:image-performance-stats")
            == "/api/usage/image-performance-stats"
        )


@pytest.mark.django_db
class TestRelease:
    @pytest.mark.parametrize(
        ("told", "kept"), [(None, "2.4.1"), ("2.5-beta", "2.5-beta"), ("x" * 200, None)]
    )
    def test_release_is_the_settings_or_the_views(self, settings, told, kept):
        """The release is logged, and a long name is truncated."""
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
