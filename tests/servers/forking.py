"""Processes that start fast, forked from a process that has loaded Django."""

from __future__ import annotations

import io
import random
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from request_images import health


class Child:
    """A child process that does some work and returns its result.

    Args:
        work: Function to run; its return value is sent to the parent.
        given: Arguments of the function.
    """

    def __init__(self, work: Callable[..., Any], *given: object) -> None:
        connections.close_all()  # no process shares a connection
        context = get_context("fork")
        self._answers, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_do, args=(answers, work, given))
        self._process.start()
        answers.close()

    def result(self) -> Any:
        """Wait for the end, and return the result."""
        try:
            return self._answers.recv()
        except EOFError:
            raise RuntimeError("a process ended without an answer") from None
        finally:
            self._process.join()

    def kill(self) -> bool:
        """Send SIGKILL, and return whether the process was still at work."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode != 0


def _do(answers: Connection, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    random.seed()  # otherwise all children would get equal random numbers
    try:
        answers.send(work(*given))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        connections.close_all()


def command(name: str, *options: object) -> dict[str, Any]:
    """Run a command, and return its output, its error, and our faults."""
    out, errors, failure = io.StringIO(), io.StringIO(), ""
    try:
        call_command(name, *map(str, options), stdout=out, stderr=errors)
    except (CommandError, SystemExit) as error:
        failure = f"{type(error).__name__}: {error}"
    return {
        "said": out.getvalue(),
        "errors": errors.getvalue(),
        "failure": failure,
        "faults": health.faults(),
    }
