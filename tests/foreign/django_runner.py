"""Run labels of Django's own tests in this process, with every view decorated, or not.

    python django_runner.py TESTS MODE RESULT LABEL...

TESTS is the folder ``tests`` of Django's source distribution, MODE one of `MODES`.
RESULT is a file for the outcome, in JSON: the number of tests, what failed, how many
views were decorated and how many requests were recorded. It is a process of its own,
since Django's tests set Django up for themselves.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

MODES = {
    "plain": {},
    "default": {"REQUEST_IMAGES_ENABLED": True},
    "background": {
        "REQUEST_IMAGES_ENABLED": True,
        "REQUEST_IMAGES_WRITE_MODE": "background",
    },
}
"""The settings of each mode; ``plain`` is Django without the app."""
_MIDDLEWARE = "request_images.middleware.RequestImagesMiddleware"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def decorate_every_view(seen: dict[str, int]) -> None:
    """Decorate each view as Django's handler is about to call it.

    Not in the URLconf: tests compare what is there with the functions they wrote.
    """
    from django.core.handlers.base import BaseHandler
    from django.urls import ResolverMatch

    from request_images.capture import recording
    from request_images.decorators import capture_images

    resolve_request = BaseHandler.resolve_request
    begin = recording.begin

    class Match(ResolverMatch):
        """What the handler calls is decorated; what a test sees is not."""

        def __getitem__(self, index: int) -> Any:
            found = super().__getitem__(index)
            if index:
                return found
            seen["views"] += 1
            return capture_images(found)

    def resolved(handler: Any, request: Any) -> Any:
        match = resolve_request(handler, request)
        match.__class__ = Match
        return match

    def counted(*args: Any) -> Any:
        found = begin(*args)
        seen["recorded"] += found is not None
        return found

    BaseHandler.resolve_request = resolved
    sys.modules[capture_images.__module__].begin = counted


def run(tests: Path, mode: str, labels: list[str]) -> dict[str, Any]:
    """Run the labels; return the outcome."""
    sys.path.insert(0, str(tests))
    os.chdir(tests)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "test_sqlite")
    import runtests
    from django.conf import settings
    from django.test.runner import DiscoverRunner

    outcome: dict[str, Any] = {"views": 0, "recorded": 0}

    class Runner(DiscoverRunner):
        def setup_test_environment(self, **kwargs: Any) -> None:
            super().setup_test_environment(**kwargs)
            if mode != "plain":
                decorate_every_view(outcome)

        def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> int:
            failed = [*result.failures, *result.errors]
            # A part of a test has no name that could be run again.
            found = {getattr(t, "test_case", t).id(): text for t, text in failed}
            found |= {test.id(): "it passed" for test in result.unexpectedSuccesses}
            outcome["tests"] = result.testsRun
            outcome["failed"] = found
            return super().suite_result(suite, result, **kwargs)

    runtests.get_runner = lambda _: Runner
    settings.TEST_RUNNER = "django.test.runner.DiscoverRunner"
    if mode != "plain":
        for name, value in MODES[mode].items():
            setattr(settings, name, value)
        settings.REQUEST_IMAGES_METHODS = _METHODS
        runtests.ALWAYS_INSTALLED_APPS.append("request_images")
        if mode == "background":
            runtests.ALWAYS_MIDDLEWARE.insert(0, _MIDDLEWARE)
    runtests.django_tests(
        verbosity=0,
        interactive=False,
        failfast=False,
        keepdb=False,
        reverse=False,
        test_labels=labels,
        debug_sql=False,
        parallel=1,
        tags=None,
        exclude_tags=["selenium"],
        test_name_patterns=None,
        start_at="",
        start_after="",
        pdb=False,
        buffer=True,
        timing=False,
        shuffle=False,
    )
    return outcome


if __name__ == "__main__":
    tests, mode, result, *labels = sys.argv[1:]
    target = Path(result).absolute()
    with tempfile.TemporaryDirectory() as folder:
        # As Django's own program does.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        target.write_text(json.dumps(run(Path(tests).absolute(), mode, labels)))
