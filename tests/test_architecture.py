"""The house: imports point down the floors, and modules stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import request_images

ROOT = Path(request_images.__file__).parent
FLOORS = (
    (
        "conf exceptions exits signals formats payload columns health breaker pillow "
        "headers isobmff decoding texts parsed quota pacing reckoning tasking"
    ),
    (
        "rescue taps sources inspection thumbnails stores insertion outcome "
        "backlog spoolfile endings querysets bookkeeping faults limits terms"
    ),
    "models policy checks lifecycle spool stats leasing placing",
    "storing drawing removal pinning announcing deletion moving verifying",
    "judging serving filters trial documents retention actions tasks",
    "spooling ahead",
    "writing monitoring beginning",
    "recording showing",
    "decorators apps middleware",
    "admin views mixins testing",
    (
        "urls cleanup_old_images make_thumbnails move_image_contents "
        "request_images_health verify_image_contents write_spooled_requests"
    ),
)
FLOOR_OF = {name: i for i, names in enumerate(FLOORS) for name in names.split()}
MODULES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.name != "__init__.py" and "migrations" not in path.parts
)
# What a module must not know, and how that shows in its imports.
FORBIDDEN = {
    "inspection": ("django", "PIL"),
    "headers": ("django", "PIL"),
    "isobmff": ("django", "PIL"),
    "thumbnails": ("django",),
    "formats": ("django", "PIL"),
    "payload": ("django", "PIL"),
    "sources": ("django", "PIL"),
    "decoding": ("django", "PIL"),
    "texts": ("django", "PIL"),
    "policy": ("PIL", "django.http"),
    "taps": ("PIL", "django.db", "django.conf"),
    "lifecycle": ("PIL", "django.db"),
    "rescue": ("PIL", "django"),
    "stats": ("django.http", "PIL"),
    "retention": ("argparse", "PIL"),
    "removal": ("argparse", "PIL"),
    "models": ("django.http",),
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, ours as ``request_images.<module>``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [a.name for a in node.names]
            found |= {f"request_images.{name}" for name in names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_down_the_floors(path):
    """A module imports only modules of floors below its own."""
    own = FLOOR_OF[path.stem]
    ours = [n.split(".")[1] for n in imports(path) if n.startswith("request_images.")]
    upward = [name for name in ours if FLOOR_OF[name] >= own]
    # apps.py wires: it loads what must be loaded.
    assert upward == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_modules_do_not_know_what_is_none_of_their_business(name):
    """For instance: what reads image headers knows nothing of Django."""
    known = imports(ROOT / f"{name}.py")
    forbidden = [
        module
        for module in known
        for prefix in FORBIDDEN[name]
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    assert forbidden == []


def test_every_floor_is_lived_on():
    """No module of the list is gone, and none is missing from it."""
    assert {path.stem for path in MODULES} == set(FLOOR_OF)


def test_names_say_something():
    """No module has a name under which anything could be put."""
    empty = {"utils", "helpers", "services", "manager", "managers", "common", "misc"}
    assert empty.isdisjoint(FLOOR_OF)
