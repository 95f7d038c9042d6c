"""Ask for the health again and again: `python -m bench.asking`, a line in, JSON out.

It runs `request_images_health`, without a new process for each question.
"""

from __future__ import annotations

import json
import sys
from io import StringIO

import django
from django.core.management import call_command


def ask() -> dict[str, object]:
    """Return what the command says, and its exit status."""
    said, status = StringIO(), 0
    try:
        call_command("request_images_health", "--json", stdout=said)
    except SystemExit as error:
        status = int(str(error.code or 0))
    return {**json.loads(said.getvalue() or "{}"), "status": status}


if __name__ == "__main__":
    django.setup()
    for _line in sys.stdin:
        sys.stdout.write(json.dumps(ask()) + "\n")
        sys.stdout.flush()
