"""Kind: clear words, or no need for them, where the project lacks an app."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from request_images.models import project

ROOT = Path(__file__).parents[2]
HEAD = """
import sys
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=sys.argv[1:],
    REQUEST_IMAGES_ENABLED=True,
    ROOT_URLCONF="__main__",
    SECRET_KEY="only-for-tests",
)
django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path
from request_images.decorators import capture_images
"""
WITHOUT_USERS = (
    HEAD
    + """
from request_images import health
from request_images.models import RequestImage, RequestLog
from tests.image_files import draw

@capture_images
def view(request):
    request.user = "somebody"
    return HttpResponse(request.body)

urlpatterns = [path("view/", view), path("api/", include("request_images.urls"))]
call_command("check")
call_command("migrate", verbosity=0)
call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)
client = Client()
assert client.post("/view/", draw(), content_type="image/png").content == draw()
assert RequestImage.objects.get().image_data == draw()
assert (RequestLog.objects.get().user_id, health.faults()) == (None, {})
assert client.get("/api/image-performance-stats").status_code == 401
for name in ("cleanup_old_images", "verify_image_contents", "request_images_health"):
    call_command(name, verbosity=0)
"""
)


def run(code: str, *installed: str) -> subprocess.CompletedProcess[str]:
    """Run code in a project that has only these apps."""
    return subprocess.run(
        [sys.executable, "-c", code, *installed],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.processes
@pytest.mark.parametrize("others", [[], ["django.contrib.contenttypes"]])
def test_project_without_users(others):
    """Checks, migrations, capturing and commands work: no session, no admin."""
    done = run(WITHOUT_USERS, *others, "request_images")
    assert done.returncode == 0, done.stderr


@pytest.mark.processes
def test_app_that_is_not_installed():
    """One sentence, and no word of models without a label."""
    done = run(HEAD, "django.contrib.contenttypes")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "django.core.exceptions.ImproperlyConfigured: request_images is imported, "
        "and not in INSTALLED_APPS. Add it"
    )


def test_require_installed(monkeypatch):
    project.require_installed()
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    with pytest.raises(ImproperlyConfigured, match="not in INSTALLED_APPS"):
        project.require_installed()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("auth.User", "auth.User"),
        ("nobody.User", "request_images.GoneRequests"),
    ],
)
def test_user_model(settings, user, expected):
    settings.AUTH_USER_MODEL = user
    assert project.user_model() == expected
