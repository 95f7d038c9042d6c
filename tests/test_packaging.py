"""What is promised about the package; the gate also builds and uses the wheel."""

import re
from importlib import metadata
from pathlib import Path

import pytest
import tomli
from django.core.management import call_command
from packaging.requirements import Requirement
from packaging.version import Version

import request_images

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(request_images.__file__).parent
PYPROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
TOX = (ROOT / "tox.ini").read_text()


def test_type_hints_are_announced():
    assert (PACKAGE / "py.typed").is_file()


def test_version_is_the_installed_one():
    installed = metadata.version("django-request-images")
    assert Version(request_images.__version__) == Version(installed)


def test_changelog_begins_with_this_version():
    (heading, *_) = re.findall(
        r"^## \[?([^\s\]]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    version = Version(request_images.__version__)
    assert heading in {"Unreleased", version.base_version}


def test_wheel_takes_the_package_and_leaves_nothing_out():
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/request_images"]}


@pytest.mark.parametrize("kind", ["migrations", "templates", "static", "locale"])
def test_package_holds_what_is_not_code(kind):
    assert any(path.is_file() for path in (PACKAGE / kind).rglob("*"))


def test_git_ignores_no_file_that_is_shipped():
    # The build leaves out what git ignores, and compiled translations often are.
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not {"*.mo", "locale/", "static/", "migrations/"} & set(ignored)


def test_oldest_python_is_tested():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"py{oldest.replace('.', '')}-" in TOX


def test_oldest_django_is_tested():
    (django,) = (
        requirement
        for requirement in map(Requirement, PROJECT["dependencies"])
        if requirement.name == "Django"
    )
    (bound,) = django.specifier
    assert bound.operator == ">="
    assert f"Django~={bound.version}.0" in TOX


def test_every_tested_django_is_in_the_classifiers():
    tested = re.findall(r"dj\d+: Django~=(\d+\.\d+)\.0", TOX)
    assert tested == [
        name.removeprefix("Framework :: Django :: ")
        for name in PROJECT["classifiers"]
        if name.startswith("Framework :: Django :: ")
    ]


@pytest.mark.django_db
def test_migrations_are_complete():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
