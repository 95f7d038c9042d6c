"""One request while its view runs: its time, its outcome, and the tap on its body.

Every failure in here is counted and logged; the request never sees it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Mapping
from time import monotonic, perf_counter
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db.models import Model
from django.dispatch import receiver
from django.http import Http404, HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.utils.functional import LazyObject, empty

from request_images.aggregation.percentiles import bucket_of
from request_images.conf import conf
from request_images.db.columns import clean_json, clean_text
from request_images.db.destination import (
    Destination,
    destination_of,
    is_of_another_thread,
    may_vary,
)
from request_images.db.insert import new_row
from request_images.health import logger, report
from request_images.models import RequestLog
from request_images.models.access import username_of
from request_images.models.project import has_users
from request_images.outcome import CaptureStatus, Decision, attach_outcome, http_request
from request_images.writer.degrade import store_failed
from request_images.writer.jobs import write
from request_images.writer.losses import lost

from . import policy
from .before_view import Options, nested_views, start_capture
from .body_end import in_words
from .examine import CapturedRequest
from .lifecycle import RequestEnd, is_last_in_thread

OPTIONS = "capture_images_options"
"""The attribute of a decorated view that holds its options."""
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; HTTP has none."""

_ATTRIBUTE = "_request_images_recording"
_MB = 1024 * 1024
_DESTINATION_SECONDS = 1.0
"""How long after the view the thread of its ORM, which may be busy, may answer."""
_asking: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks only weakly


class Recording:
    """The record of one request while its view runs.

    It is made before the view and written when the request is over. If decorated views
    are nested, the outermost counts, and the inner ones add what they see.
    """

    def __init__(self, request: HttpRequest, options: Options) -> None:
        self._request = request
        self._options = options
        self._depth = 0
        self._exception: BaseException | None = None
        self._handled_error = ""
        self._status_code: int | None = None
        self._is_client_gone = False
        self._view_seconds = 0.0
        self._upload_seconds: float | None = None
        self._destination: Destination | None = None
        self._destination_failure: Exception | None = None
        self._answers: list[threading.Event] = []
        self._answers_until = 0.0
        self._created_at = timezone.now()
        self._outcome = attach_outcome(request)
        self._start = start_capture(request, options)
        self._end = RequestEnd(request, self._write)
        setattr(request, _ATTRIBUTE, self)
        self._started = perf_counter()
        if self._start.tap is not None:
            # The upload before the view is subtracted again with the whole upload.
            self._started -= self._start.tap.payload.upload_seconds

    def compare(self, options: Options) -> None:
        """Warn once of a nested view whose own options are ignored."""
        name, outer = options.view_name, self._options
        if options is outer or name in nested_views:
            return
        if options.ignored_in(outer):
            nested_views.add(name)
            logger.warning(
                "The options of capture_images for %s are ignored: %s, which calls it, "
                "is decorated with others.",
                name,
                outer.view_name,
            )

    def enter(self) -> None:
        """Note that a decorated view begins."""
        self._depth += 1
        self._note_destination()

    def note_exception(self, exception: BaseException) -> None:
        """Note that the view raised, whether or not somebody handles it further out."""
        self._exception = exception

    def pause(self) -> None:
        """Note that the view has returned an awaitable, which may never begin."""
        self._end.is_view_over = True

    def resume(self) -> None:
        """Note that this awaitable has begun."""
        self._end.is_view_over = False

    def leave(self, response: object = None) -> None:
        """Note that a decorated view has ended, with its response if there is one."""
        self._note_destination()
        try:
            self._leave(response)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("leave", exception)

    async def note_destination_in_thread(self) -> None:
        """Have the thread of an async view's ORM note where the rows of the view go.

        Nobody waits for it here, as it may be busy. It does one thing after the other:
        this before what the view has it do next, and before the request is closed.
        """
        if not is_of_another_thread():
            return
        answered = threading.Event()
        self._answers.append(answered)
        self._answers_until = monotonic() + _DESTINATION_SECONDS

        def answer() -> None:
            self._note_destination()
            answered.set()

        asking = asyncio.ensure_future(sync_to_async(answer)())
        _asking.add(asking)
        asking.add_done_callback(_asking.discard)
        await asyncio.sleep(0)  # until it waits in the queue of that thread

    def _wait_for_answers(self) -> None:
        for answered in self._answers:
            if not answered.wait(max(0.0, self._answers_until - monotonic())):
                failure = TimeoutError("the thread of the ORM has not answered")
                report("destination", failure)
                self._destination_failure = failure

    def _note_destination(self) -> None:
        """Note where the view's rows go now: after the middleware this is unknown."""
        if self._destination is not None and not may_vary():
            return
        if is_of_another_thread():
            return
        try:
            now = destination_of(RequestLog, self._request)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("destination", exception)
            self._destination_failure = exception
            return
        # The view may set its tenant, or reset it before it returns.
        if self._destination is None or not now.is_shared:
            self._destination = now

    def _leave(self, response: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._end.is_view_over = True
        self._view_seconds = perf_counter() - self._started
        tap = self._start.tap
        if tap is not None:
            self._upload_seconds = tap.payload.upload_seconds
        try:
            if self._exception is not None and response is None:
                self._status_code = _status_of_exception(self._exception)
            else:
                self._read_response(response)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("response", exception)
        if self._is_client_gone:
            self._end.end_soon()
            return
        size = 0 if tap is None else tap.size
        has_room = self._end.view_ended(size, int(conf.BACKLOG_MAX_MB * _MB))
        if tap is not None and not has_room:
            self._start.skipped = Decision(
                CaptureStatus.OVER_BUDGET, "too many requests waited for their end"
            )
            self._start.remove_tap(self._request)

    def _read_response(self, response: object) -> None:
        # A view may return anything: under Ninja a dict, by mistake None.
        self._status_code = _status_of_response(response)
        if self._status_code is not None and self._status_code < 400:
            self._exception = None  # the view has handled it
        if getattr(response, "exception", False) is True and self._exception is None:
            # REST framework made this response of an exception it does not hand out.
            detail = _first_error_detail(getattr(response, "data", None))
            if detail is None:
                return
            self._handled_error = f"{detail.code}: {detail}"
            if not self._outcome.error_type:
                self._outcome.error_type = detail.code
                self._outcome.error_message = str(detail)

    async def wait_until_written(self) -> None:
        """Wait for the row in an event loop, if its write has begun."""
        await self._end.wait()

    def note_uncaught(self, exception: BaseException | None) -> None:
        """Note that Django answers 500 to this request, because of an exception."""
        self._status_code = 500
        self._exception = exception or self._exception

    def note_response(self, response: object) -> None:
        """Note the final response, also one that another middleware made."""
        self._status_code = _status_of_response(response) or self._status_code

    def note_client_gone(self) -> None:
        """Note that the client has left, so that nobody will close the request."""
        self._is_client_gone = True
        if not self._depth:  # a sync view runs on
            self._end.end_soon()

    def _write(self) -> None:
        self._request.__dict__.pop(_ATTRIBUTE, None)
        try:
            request = self._request
            # After a direct call, or in a test, the row is written at once.
            is_direct, is_last_use = self._end.is_direct, is_last_in_thread(request)
            write(self._captured(), is_handled=not is_direct, is_last_use=is_last_use)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            lost("recording", exception, where=self._destination)
            report("recording", exception)
        finally:
            # Its traceback refers to frames that refer to this recording: in such a
            # cycle the body would wait for the garbage collector.
            self._exception = self._destination_failure = None
            self._start.remove_tap(self._request)

    def _captured(self) -> CapturedRequest:
        self._wait_for_answers()
        skipped = self._start.skipped or policy.decide_opted_out(self._request)
        captured = CapturedRequest(
            self._log(),
            self._options.sources,
            self._options.limit,
            skipped,
            self._destination,
        )
        if self._destination is None and self._destination_failure is None:
            self._note_destination()  # a sync view that was called in an event loop
            captured.destination = self._destination
        if self._destination is None:
            captured.failure = self._destination_failure
            return captured
        tap = self._start.tap
        if tap is not None and skipped is None:
            try:
                captured.payload = tap.collect(self._request, self._error_text())
                self._start.tap = None  # it is removed
            except Exception as exception:  # noqa: BLE001  # ours, never the request's
                report("tap", exception)
                captured.failure = exception
                captured.decision = store_failed(exception)
        return captured

    def _error_text(self) -> str:
        error = self._exception
        if error is not None:
            return in_words(error)
        return self._handled_error

    def _log(self) -> RequestLog:
        request = self._request
        upload_seconds = self._upload_seconds
        view_ms = 1000 * max(0.0, self._view_seconds - (upload_seconds or 0.0))
        log = new_row(
            RequestLog,
            request_id=self._start.request_id,
            created_at=self._created_at,
            method=clean_text(request.method or "", 16),
            path=clean_text(request.path, 1024),
            status_code=(
                CLIENT_CLOSED_REQUEST if self._is_client_gone else self._status_code
            ),
            duration_ms=view_ms,
            duration_bucket=bucket_of(view_ms),
            upload_ms=None if upload_seconds is None else 1000 * upload_seconds,
            sample_probability=self._start.sample_probability,
        )
        # The view and its users may give anything, and it may raise anything.
        for kind, add in (
            ("endpoint", self._add_endpoint),
            ("error", self._add_error),
            ("release", self._add_release),
            ("metadata", self._add_metadata),
            ("link", self._add_link),
            ("user", self._add_user),
        ):
            try:
                add(log)
            except Exception as exception:  # noqa: BLE001  # then the row lacks it
                report(kind, exception)
        return log

    def _add_error(self, log: RequestLog) -> None:
        error = self._exception
        if error is not None:
            log.error_type = clean_text(type(error).__name__, 200)
            log.error_message = clean_text(error, 2000)
        if self._outcome.error_type:
            log.error_type = clean_text(self._outcome.error_type, 200)
        if self._outcome.error_message:
            log.error_message = clean_text(self._outcome.error_message, 2000)

    def _add_release(self, log: RequestLog) -> None:
        log.release = clean_text(self._outcome.release or conf.RELEASE, 100)

    def _add_metadata(self, log: RequestLog) -> None:
        log.metadata = clean_json(self._outcome.metadata)

    def _add_link(self, log: RequestLog) -> None:
        link = self._outcome.link
        if isinstance(link, Model) and link.pk is not None:
            log.link_model = link._meta.label_lower
            log.link_pk = clean_text(link.pk, 100)

    def _add_user(self, log: RequestLog) -> None:
        # Only a user that the view has looked at. To load one opens the session: before
        # the response that adds "Vary: Cookie" to it, after it that may end the session
        # without the client's knowledge.
        known = self._request.__dict__
        user = known.get("user")
        if isinstance(user, LazyObject) and user._wrapped is empty:
            loaded = ("_cached_user", "_acached_user")
            user = next(filter(None, map(known.get, loaded)), None)
        if not getattr(user, "is_authenticated", False):
            return
        if has_users() and isinstance(user, get_user_model()):
            log.user_id = user.pk
        log.username = clean_text(username_of(user), 254)

    def _add_endpoint(self, log: RequestLog) -> None:
        match = self._request.resolver_match
        name = self._options.endpoint or self._options.view_name
        if not self._options.endpoint and match is not None:
            name = match.view_name if match.url_name else match.route
        log.endpoint = clean_text(name, 200)


def begin(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Options
) -> Recording | None:
    """Begin to record a request, if recording is on, also for its method. Never raises.

    Args:
        args: The view's positional arguments; the request is the first, or, after
            ``self``, the second.
        kwargs: The view's keyword arguments; the request may be the one of this name.
        options: The options of the decorated view.

    Returns:
        The recording; None if the request is not recorded.
    """
    try:
        if not conf.ENABLED:
            return None
        candidates = map(http_request, (*args[:2], kwargs.get("request")))
        request = next(filter(None, candidates), None)
        if request is None or request.method not in conf.METHODS:
            return None
        recording = recording_of(request) or Recording(request, options)
        recording.compare(options)
        recording.enter()
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        lost("begin", exception)
        report("begin", exception)
        return None
    return recording


def recording_of(request: object) -> Recording | None:
    """Return the recording of a request whose view is running, if there is one."""
    recording = getattr(http_request(request), _ATTRIBUTE, None)
    return recording if isinstance(recording, Recording) else None


@receiver(got_request_exception, dispatch_uid="request_images.note_request_exception")
def note_request_exception(
    sender: object, request: object = None, **kwargs: Any
) -> None:
    """Receive Django's ``got_request_exception``: the one sure sign of a 500."""
    recording = recording_of(request)
    if recording is not None:
        recording.note_uncaught(sys.exc_info()[1])


def _status_of_exception(exception: BaseException) -> int | None:
    # The status that Django's handler makes of it. Not 500: only
    # ``got_request_exception`` shows that no middleware made something else of it.
    if isinstance(exception, Http404):
        return 404
    if isinstance(exception, PermissionDenied):
        return 403
    if isinstance(exception, MultiPartParserError | BadRequest | SuspiciousOperation):
        return 400
    if isinstance(exception, asyncio.CancelledError):
        return CLIENT_CLOSED_REQUEST
    return _status_of_response(exception)


def _status_of_response(response: object) -> int | None:
    # Anything may have an attribute of this name, and hold anything in it.
    status = getattr(response, "status_code", None)
    is_status = isinstance(status, int) and 100 <= status <= 999
    return status if is_status else None


def _first_error_detail(data: object) -> Any:
    # REST framework's ``ErrorDetail``, a str with a code, in dicts and lists.
    if isinstance(data, str) and isinstance(getattr(data, "code", None), str):
        return data
    items: Iterable[object] = ()
    if isinstance(data, dict):
        items = data.values()
    elif isinstance(data, list):
        items = data
    details = map(_first_error_detail, items)
    return next((detail for detail in details if detail is not None), None)
