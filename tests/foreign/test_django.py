"""Django's own tests, with every view decorated: each passes that passes without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LABELS = (
    "asgi",
    "conditional_processing",
    "context_processors",
    "csrf_tests",
    "decorators",
    "file_uploads",
    "flatpages_tests",
    "generic_views",
    "handlers",
    "httpwrappers",
    "messages_tests",
    "middleware",
    "middleware_exceptions",
    "redirects_tests",
    "requests_tests",
    "resolve_url",
    "responses",
    "sessions_tests",
    "shortcuts",
    "syndication_tests",
    "test_client",
    "test_client_regress",
    "urlpatterns",
    "urlpatterns_reverse",
    "view_tests",
    "wsgi",
)
"""What sends requests; `FOREIGN_LABELS` in the environment replaces them."""

_COUNTS = "it counts the queries of a request, and ours are among them"
SEES_US = {
    "generic_views.test_dates.ArchiveIndexViewTests.test_no_duplicate_query": _COUNTS,
    "generic_views.test_dates.ArchiveIndexViewTests."
    "test_paginated_archive_view_does_not_load_entire_table": _COUNTS,
    "generic_views.test_dates.DateDetailViewTests."
    "test_get_object_custom_queryset_numqueries": _COUNTS,
    "generic_views.test_dates.YearArchiveViewTests.test_no_duplicate_query": _COUNTS,
    "generic_views.test_list.ListViewTests."
    "test_paginated_list_view_does_not_load_entire_table": _COUNTS,
}
"""The tests that may see that a request is recorded, each with the reason."""


@pytest.fixture(scope="session")
def django_tests(tmp_path_factory):
    """Return the folder with the tests of the Django that is installed."""
    folder = Path(os.environ.get("FOREIGN_SOURCES") or tmp_path_factory.mktemp("d"))
    release = f"Django=={version('Django')}"
    name = f"django-{version('Django')}"
    if not (folder / name / "tests").is_dir():
        only_source = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation")
        command = ("-m", "pip", "download", "--quiet", *only_source, release)
        subprocess.run([sys.executable, *command, "-d", folder], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name / "tests"


def run(tests, mode, labels, folder):
    """Run labels, or single tests, in a process of their own; return the outcome."""
    result = folder / f"{mode}.json"
    command = (sys.executable, HERE / "django_runner.py", tests, mode, result, *labels)
    # Not the settings of these tests; and the test's own reports are in the result.
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1] / "src")}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(result.read_text())


@pytest.mark.parametrize("mode", ["default", "background"])
def test_django_passes_its_own_tests(django_tests, mode, tmp_path):
    """Kind: what Django promises of a request and its answer holds for ours, too."""
    labels = os.environ.get("FOREIGN_LABELS", "").split() or LABELS
    outcome = run(django_tests, mode, labels, tmp_path)
    # A suite that decorates nothing would pass as well.
    assert outcome["recorded"] > outcome["views"] / 2 > 0
    failed = outcome["failed"]
    fails_anyway = {}
    if suspects := failed.keys() - SEES_US.keys():
        # Django's tests of this machine: as root, for instance, all files are writable.
        fails_anyway = run(django_tests, "plain", sorted(suspects), tmp_path)["failed"]
    ours = {name: failed[name] for name in suspects if name not in fails_anyway}
    assert not ours, "\n".join(f"{name}\n{text}" for name, text in ours.items())
    assert outcome["tests"] > 1000 or "FOREIGN_LABELS" in os.environ
