"""One request's life: what is known of it while its view runs.

Whatever fails in here is counted and logged; the request never hears of it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import LazyObject, empty

from request_images.aggregation.histograms import bucket_of
from request_images.conf import conf
from request_images.db.columns import clean_json, clean_text
from request_images.health import count, report
from request_images.models import RequestLog
from request_images.outcome import CaptureStatus, Decision, attach, http_request
from request_images.writer.write import write

from . import policy
from .before_view import beginning_of
from .examine import CapturedRequest
from .lifecycle import (
    RequestEnd,
    is_from_test_client,
    is_made_by_hand,
    leaves_its_thread,
)
from .options import Options
from .payload import Payload
from .status import (
    CLIENT_CLOSED_REQUEST,
    first_error_detail,
    status_of_exception,
    status_of_response,
)

OPTIONS = "capture_images_options"
"""The attribute by which a decorated view is known, and what it asks for."""

_ATTRIBUTE = "_request_images_recording"
MB = 1024 * 1024


class Recording:
    """What is known of one request while its view runs.

    Made before the view and written when the request is over. Decorated views may be
    nested: the outermost counts, the inner ones add what they see.
    """

    def __init__(self, request: HttpRequest, options: Options) -> None:
        self._request = request
        self._options = options
        self._depth = 0
        self._exception: BaseException | None = None
        self._status_code: int | None = None
        self._is_client_gone = False
        self._view_seconds = 0.0
        self._upload_seconds: float | None = None
        self._created_at = timezone.now()
        self._outcome = attach(request)
        self._beginning = beginning_of(request, options)
        self._tap = self._beginning.tap
        self._end = RequestEnd(request, self._write)
        setattr(request, _ATTRIBUTE, self)
        self._started = perf_counter()
        if self._tap is not None:
            # What was uploaded before the view is taken off its time again.
            self._started -= self._tap.payload.upload_seconds

    def enter(self) -> None:
        """Say that a decorated view begins."""
        self._depth += 1

    def note(self, exception: BaseException) -> None:
        """Say that the view raised, be it handled further out or not."""
        self._exception = exception

    def leave(self, response: object = None) -> None:
        """Say that a decorated view is done, with its response if there is one."""
        try:
            self._leave(response)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("leave", exception)

    def _leave(self, response: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._view_seconds = perf_counter() - self._started
        if self._tap is not None:
            self._upload_seconds = self._tap.payload.upload_seconds
        with_exception = self._exception is not None and response is None
        try:
            if with_exception:
                self._status_code = status_of_exception(self._exception)
            else:
                self._read_response(response)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("response", exception)
        if self._is_client_gone:
            self._end.hurry()
        else:
            tap = self._tap
            held = 0 if tap is None else tap.size
            has_room = self._end.view_ended(held, int(conf.BACKLOG_MAX_MB * MB))
            if tap is not None and not has_room:
                self._let_go()

    def _let_go(self) -> None:
        self._beginning.skipped = Decision(
            CaptureStatus.OVER_BUDGET, "too many requests waited for their end"
        )
        self._beginning.remove_tap(self._request)
        self._tap = None

    def _read_response(self, response: object) -> None:
        # A view may return anything: under Ninja a dict, by mistake None.
        self._status_code = status_of_response(response)
        if self._status_code is not None and self._status_code < 400:
            self._exception = None  # the view has dealt with it
        if getattr(response, "exception", False) is True and self._exception is None:
            # REST framework made this response of an exception it does not hand out.
            detail = first_error_detail(getattr(response, "data", None))
            if detail is not None and not self._outcome.error_type:
                self._outcome.error_type = detail.code
                self._outcome.error_message = str(detail)

    async def settle(self) -> None:
        """Wait until the row is written, if that began already, in an event loop."""
        await self._end.settle()

    def note_uncaught(self, exception: BaseException | None) -> None:
        """Say that Django answers 500 to this request, because of an exception."""
        self._status_code = 500
        self._exception = exception or self._exception

    def note_response(self, response: object) -> None:
        """Say what the client gets in the end, whoever made it."""
        self._status_code = status_of_response(response) or self._status_code

    def note_client_gone(self) -> None:
        """Say that the client has left, and that nobody will close the request."""
        self._is_client_gone = True
        if not self._depth:  # a sync view runs on
            self._end.hurry()

    def _write(self) -> None:
        self._request.__dict__.pop(_ATTRIBUTE, None)
        try:
            skipped = self._beginning.skipped
            skipped = skipped or policy.decide_opted_out(self._request)
            options = self._options
            captured = CapturedRequest(
                self._log(), options.sources, options.limit, skipped
            )
            captured.collect(self._collect)
            write(
                captured,
                is_handled=_is_served(self._request),
                is_last_use=leaves_its_thread(self._request),
            )
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            count("lost")
            report("recording", exception)
        finally:
            # Its traceback knows the frames that know this recording: in such a
            # cycle the body would wait for the garbage collector.
            self._exception = None
            self._beginning.remove_tap(self._request)
            self._tap = None

    def _collect(self) -> Payload:
        return Payload() if self._tap is None else self._tap.collect(self._request)

    def _log(self) -> RequestLog:
        request = self._request
        upload_seconds = self._upload_seconds
        view_ms = 1000 * max(0.0, self._view_seconds - (upload_seconds or 0.0))
        log = RequestLog(
            request_id=self._beginning.request_id,
            created_at=self._created_at,
            endpoint=clean_text(self._endpoint(), 200),
            method=clean_text(request.method or "", 16),
            path=clean_text(request.path, 1024),
            status_code=(
                CLIENT_CLOSED_REQUEST if self._is_client_gone else self._status_code
            ),
            duration_ms=view_ms,
            duration_bucket=bucket_of(view_ms),
            upload_ms=None if upload_seconds is None else 1000 * upload_seconds,
            sample_probability=self._beginning.sample_probability,
        )
        # What the view and its users gave may be anything, and may raise anything.
        for kind, add in (
            ("error", self._add_error),
            ("release", self._add_release),
            ("metadata", self._add_metadata),
            ("link", self._add_link),
            ("user", self._add_user),
        ):
            try:
                add(log)
            except Exception as exception:  # noqa: BLE001  # a row without it, then
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
        # Only a user that the view has looked at. To load one opens the session, which
        # before the response adds a "Vary: Cookie" to it, and behind it may end the
        # session without the client's knowing.
        known = self._request.__dict__
        user = known.get("user")
        if isinstance(user, LazyObject) and user._wrapped is empty:
            loaded = ("_cached_user", "_acached_user")
            user = next(filter(None, map(known.get, loaded)), None)
        if user is None or not user.is_authenticated:
            return
        log.username = clean_text(user.get_username(), 254)
        if isinstance(user, get_user_model()):
            log.user_id = user.pk

    def _endpoint(self) -> str:
        match = self._request.resolver_match
        if self._options.endpoint or match is None:
            return self._options.endpoint or self._options.view_name
        return match.view_name if match.url_name else match.route


def begin(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Options
) -> Recording | None:
    """Begin to record a request, unless that is off or not for this method.

    Args:
        args: The view's positional arguments; the request is the first, or, behind
            ``self``, the second.
        kwargs: The view's keyword arguments; or it is the one named ``request``.
        options: What the decorated view asks for.

    Returns:
        None when nothing is to be recorded. Never raises.
    """
    try:
        if not conf.ENABLED:
            return None
        candidates = map(http_request, (*args[:2], kwargs.get("request")))
        request = next(filter(None, candidates), None)
        if request is None or request.method not in conf.METHODS:
            return None
        recording = recording_of(request) or Recording(request, options)
        recording.enter()
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        count("lost")
        report("begin", exception)
        return None
    return recording


def recording_of(request: object) -> Recording | None:
    """Return the recording of a request whose view is running, if there is one."""
    recording = getattr(http_request(request), _ATTRIBUTE, None)
    return recording if isinstance(recording, Recording) else None


def note_request_exception(
    sender: object, request: object = None, **kwargs: Any
) -> None:
    """Receive Django's ``got_request_exception``: the one sure sign of a 500."""
    recording = recording_of(request)
    if recording is not None:
        recording.note_uncaught(sys.exc_info()[1])


def _is_served(request: HttpRequest) -> bool:
    # A view that is called directly, or by a test, wants to see its row at once.
    return not is_made_by_hand(request) and not is_from_test_client(request)
