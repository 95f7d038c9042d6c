"""A process loads only what it needs: asked of one that starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import json, sys, types
from io import BytesIO
import django
from django.conf import settings

urls = types.ModuleType("urls_of_test")
sys.modules["urls_of_test"] = urls
urls.urlpatterns = []
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "request_images",
    ],
    ALLOWED_HOSTS=["testserver"],
    REQUEST_IMAGES_ENABLED=IS_ENABLED,
    ROOT_URLCONF="urls_of_test",
    SECRET_KEY="only for this test",
    USE_TZ=True,
)
django.setup()

from django.contrib import admin
from django.urls import path, reverse

urls.urlpatterns.append(path("admin/", admin.site.urls))
"""

REVERSE = """
reverse("admin:request_images_requestimage_thumbnail", args=(1,))
"""

CAPTURE = """
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from request_images.decorators import capture_images

png = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
call_command("migrate", verbosity=0)
for name in [name for name in sys.modules if name.startswith("request_images.man")]:
    del sys.modules[name]  # the command loads this module of each app

@capture_images
def view(request):
    return HttpResponse(request.FILES["image"].read())

urls.urlpatterns.append(path("", view))
Client().post("/", {"image": SimpleUploadedFile("1.png", png)})
from request_images.models import RequestLog
[log] = RequestLog.objects.all()
assert log.capture_status == "stored", log.capture_status
"""

REPORT = """
print(json.dumps(sorted(sys.modules)))
"""

PAGES = ("charts", "cleanup", "dashboard", "gallery", "query", "statistics")
ADMIN = tuple(
    f"admin.{path.stem}"
    for path in (Path(__file__).parent.parent / "src/request_images/admin").glob("*.py")
    if path.stem not in ("__init__", "registration")
)
FOREIGN = {"PIL", "psycopg"}
PIXELS = ("images.decode", "images.decoder", "images.measures", "images.thumbnail")


def loaded(*steps: str, is_enabled: bool) -> set[str]:
    """Return the modules that a process has loaded after some steps."""
    script = "\n".join((f"IS_ENABLED = {is_enabled}", PRELUDE, *steps, REPORT))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return set(json.loads(done.stdout))


def within(names: set[str], *ours: str) -> list[str]:
    """Return the modules that are one of some of ours, or in one of them."""
    prefixes = tuple(f"request_images.{each}." for each in ours)
    return sorted(name for name in names if f"{name}.".startswith(prefixes))


@pytest.mark.parametrize("is_enabled", [False, True])
def test_start_up_loads_the_models_and_not_what_uses_them(is_enabled: bool) -> None:
    """Also after a `reverse()`, which asks for all URLs."""
    names = loaded(REVERSE, is_enabled=is_enabled)
    assert within(names, "models", "conf") != []
    assert within(names, *PAGES, *ADMIN, *PIXELS) == []
    assert names.isdisjoint(FOREIGN)
    rest = ("capture", "checks", "contents", "management", "tasks", "views", "writer")
    assert within(names, *rest) == []


def test_a_captured_request_loads_no_page_and_decodes_nothing() -> None:
    """It loads what captures and writes, and no driver of another database."""
    names = loaded(CAPTURE, is_enabled=True)
    assert within(names, "capture", "writer") != []
    assert within(names, *PAGES, *ADMIN, *PIXELS) == []
    assert names.isdisjoint(FOREIGN)
    assert within(names, "checks", "management", "tasks", "views") == []
