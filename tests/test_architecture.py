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
        "findings segments isobmff decoding texts parsed quota pacing reckoning "
        "tasking histograms tallies periods charts classes streaming separation "
        "insertion outcome endings bookkeeping accesses arguments settling layouts "
        "progress answers"
    ),
    (
        "keeping searching walking rescue headers traits stores backlog spoolfile "
        "faults limits terms facets ledger language hamming"
    ),
    (
        "retrying taps sources querysets naming inspection encodings lifecycle spool "
        "placing opening"
    ),
    "thumbnails leasing contents curl policy checks measuring",
    "swapping models",
    (
        "records references compressing stats deriving pinning deletion moving "
        "verifying sums conditions foreign"
    ),
    (
        "storing removal announcing judging documents actions rollups live standing "
        "drawing analysing likeness making"
    ),
    "trial retention erasing summary beginning serving tasks",
    "spooling parameters stock ahead",
    "writing monitoring vocabulary",
    "criteria links recording showing",
    "filters paging overview views decorators apps middleware readonly carrying",
    ("gallery looks spreadsheet sentences figures picture_pages access_admin ordering"),
    "forms marks",
    "panels gallery_pages",
    "image_admin dashboard",
    "log_admin",
    "alone mixins testing admin",
    (
        "analyze_image_contents compress_image_contents urls cleanup_old_images "
        "make_thumbnails move_image_contents request_images_health "
        "update_image_statistics verify_image_contents write_spooled_requests"
    ),
)
FLOOR_OF = {name: i for i, names in enumerate(FLOORS) for name in names.split()}
# A package is one module to all others; the modules in it have floors of their own.
PACKAGES = {
    "charts": (
        "notation svg",
        "scales moments sampling",
        "figure",
        "periods bars",
        "lines heatmap scatter stacks growth",
        "tiles",
    )
}
MODULES = sorted(
    path
    for path in [*ROOT.rglob("*.py"), *(ROOT / name for name in PACKAGES)]
    if path.name != "__init__.py"
    and "migrations" not in path.parts
    and path.parent.name not in PACKAGES
)
# What a module must not know, and how that shows in its imports.
FORBIDDEN = {
    "inspection": ("django", "PIL"),
    "encodings": ("django", "PIL"),
    "headers": ("django", "PIL"),
    "isobmff": ("django", "PIL"),
    "opening": ("django",),
    "thumbnails": ("django",),
    "measuring": ("django",),
    "formats": ("django", "PIL"),
    "payload": ("django", "PIL"),
    "sources": ("django", "PIL"),
    "searching": ("django", "PIL"),
    "keeping": ("django", "PIL"),
    "decoding": ("django", "PIL"),
    "texts": ("django", "PIL"),
    "policy": ("PIL", "django.http"),
    "taps": ("PIL", "django.db", "django.conf"),
    "lifecycle": ("PIL", "django.db"),
    "rescue": ("PIL", "django"),
    "stats": ("django.http", "PIL"),
    "retention": ("argparse", "PIL"),
    "removal": ("argparse", "PIL"),
    "references": ("argparse", "PIL"),
    "models": ("django.http",),
    "charts": ("django", "PIL"),
}


def imports(path: Path) -> set[str]:
    """Every module that a file or package imports, ours as ``request_images.<module>``.

    Those in a package of ours are ``request_images.<package>.<module>``.
    """
    if path.is_dir():
        return set().union(*map(imports, path.glob("*.py")))
    found = set()
    ours = ["request_images", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [a.name for a in node.names]
            above = ours[: len(ours) + 1 - node.level]
            found |= {".".join([*above, name]) for name in names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_down_the_floors(path):
    """A module imports only modules of floors below its own."""
    own = FLOOR_OF[path.stem]
    ours = [n.split(".")[1] for n in imports(path) if n.startswith("request_images.")]
    # What is in a package may import the rest of it: see the test below.
    ours = {name for name in ours if not (path.is_dir() and name == path.stem)}
    upward = [name for name in ours if FLOOR_OF[name] >= own]
    # apps.py wires: it loads what must be loaded.
    assert upward == []


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_within_a_package_point_down(package):
    """And each of its modules is listed."""
    floor_of = {
        name: floor
        for floor, names in enumerate(PACKAGES[package])
        for name in names.split()
    }
    paths = [p for p in (ROOT / package).glob("*.py") if p.name != "__init__.py"]
    assert {path.stem for path in paths} == set(floor_of)
    prefix = f"request_images.{package}."
    upward = [
        (path.stem, name)
        for path in paths
        for module in imports(path)
        if (name := module.removeprefix(prefix)) != module
        and floor_of[name] >= floor_of[path.stem]
    ]
    assert upward == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_modules_do_not_know_what_is_none_of_their_business(name):
    """For instance: what reads image headers knows nothing of Django."""
    known = imports(ROOT / name if name in PACKAGES else ROOT / f"{name}.py")
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
