"""The WSGI and ASGI applications, with switches for the tests."""

import os
import signal
import sys
import threading

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory

asgi = get_asgi_application()
django_wsgi = get_wsgi_application()

# Django must be set up before.
from request_images.capture import lifecycle, watchdog  # noqa: E402
from request_images.signals import image_saved  # noqa: E402
from tests.servers import signs  # noqa: E402

watchdog.GRACE_SECONDS = float(os.environ["SERVERS_GRACE_SECONDS"])
watch = lifecycle.RequestEnd.__init__


def watch_slowly(self, request, callback):
    """Wait for the test before the write, if the path says so."""

    def slow_callback():
        signs.wait_for(request, "signalled")
        callback()

    is_slow = request.path in ("/slowly_written/", "/without_length/")
    watch(self, request, slow_callback if is_slow else callback)


lifecycle.RequestEnd.__init__ = watch_slowly


def save_slowly(sender, log, **kwargs):
    """Wait for the test after the write, if the path says so."""
    if log.path.startswith("/slowly_saved"):
        signs.wait_for_id(log.request_id, "signalled")


image_saved.connect(save_slowly)


def wsgi(environ, start_response):
    """Answer as Django does, but never close the response if the path says so."""
    response = django_wsgi(environ, start_response)
    return list(response) if environ["PATH_INFO"] == "/unclosed/" else response


if "SERVERS_EXIT" in os.environ:
    # As in docs/howto/servers.md.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))

if "SERVERS_EARLY_WATCHDOG" in os.environ:
    # A watchdog thread in the process that gunicorn forks from.
    request = RequestFactory().post("/")
    request.resolver_match = object()
    lifecycle.RequestEnd(request, threading.Event().set).view_ended()
