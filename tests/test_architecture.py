"""The house: what import-linter cannot say (its contracts are in pyproject.toml)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import request_images

ROOT = Path(request_images.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.name != "__init__.py" and "migrations" not in path.parts
)
FOLDERS = sorted(path.parent for path in ROOT.rglob("__init__.py"))
AT_THE_TOP = 20  # modules that a project imports, or that Django looks for
LINES = 450
# What a module must not import, beyond the contracts on whole folders.
FORBIDDEN = {
    "images/boxes": ("PIL",),
    "images/formats": ("PIL",),
    "images/hashes": ("PIL",),
    "images/headers": ("PIL",),
    "images/inspection": ("PIL",),
    "images/segments": ("PIL",),
    "storage/encodings": ("django", "PIL"),
    "capture/base64_text": ("django",),
    "capture/body_text": ("django",),
    "capture/payload": ("django",),
    "capture/search": ("django",),
    "capture/sources": ("django",),
    "capture/upload_buffer": ("django",),
    "capture/policy": ("django.http",),
    "capture/taps": ("django.db", "django.conf"),
    "capture/lifecycle": ("django.db",),
    "capture/watchdog": ("django",),
    "statistics/groups": ("django.http",),
    "cleanup/retention": ("argparse",),
    "cleanup/delete_rows": ("argparse",),
    "cleanup/references": ("argparse",),
    "models/requests": ("django.http",),
}
EMPTY_NAMES = {
    *("utils", "util", "helpers", "helper", "services", "service"),
    *("manager", "managers", "common", "misc"),
}


def imports(path: Path) -> set[str]:
    """Return the absolute imports of a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", FORBIDDEN)
def test_module_does_not_import_what_is_none_of_its_business(name):
    """For instance: what reads image headers imports no Pillow."""
    forbidden = [
        module
        for module in imports(ROOT / f"{name}.py")
        for prefix in FORBIDDEN[name]
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    assert forbidden == []


def test_the_top_holds_only_what_a_project_imports():
    """Everything else has a folder."""
    at_the_top = [path for path in MODULES if path.parent == ROOT]
    assert len(at_the_top) <= AT_THE_TOP


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_has_one_subject(path):
    """A module of many lines has two."""
    if path.name != "conf.py":  # one setting after the other
        assert len(path.read_text().splitlines()) <= LINES


def test_names_say_something():
    """No module or folder has a name under which anything could be put."""
    names = {path.stem for path in MODULES} | {path.name for path in FOLDERS}
    assert EMPTY_NAMES.isdisjoint(names)


def test_tests_lie_where_their_modules_do():
    """`tests/writer/test_rows_contention.py` is about `writer/rows.py`.

    A test of a whole folder has the folder's name. Those at the top are about the
    modules at the top, or about the project.
    """

    def is_stray(path):
        folder = path.parent.relative_to(TESTS)
        subject = path.stem.removeprefix("test_")
        known = {p.stem for p in (ROOT / folder).rglob("*.py")} | {folder.name}
        return not any(subject == n or subject.startswith(f"{n}_") for n in known)

    # Nor is there a folder for what is about other packages.
    others = (TESTS, TESTS / "foreign")
    within = (path for path in TESTS.rglob("test_*.py") if path.parent not in others)
    assert list(filter(is_stray, within)) == []
