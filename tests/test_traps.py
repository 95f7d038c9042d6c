"""The page of traps and the tests that watch them name each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "traps.md"
FAMILIES = {"W": 21, "T": 7, "R": 16, "WRAP": 8, "HOSTILE": 11}
"""How many traps there are of each; all of them are numbered from one."""

CODES = {f"{name}{n}" for name, last in FAMILIES.items() for n in range(1, last + 1)}
TOLD = {
    code: set(re.findall(r"`(test_\w+)`", tests))
    for code, tests in re.findall(
        r"^\| ([A-Z]+\d+) \| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
}


def collected(path):
    """Return the names of a module's functions that pytest takes for tests."""
    module = ast.parse(path.read_text())
    classes = [
        node
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
    ]
    nodes = [node for parent in (module, *classes) for node in parent.body]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in nodes if isinstance(node, functions)}
    return {name for name in names if name.startswith("test_")}


def codes_of(name):
    """Return the codes in a test's name; those of system checks are longer."""
    return set(re.findall(r"(?<=_)(?:[WTR]\d{1,2}|WRAP\d+|HOSTILE\d+)(?=_)", name))


NAMES = {name for path in TESTS.rglob("test_*.py") for name in collected(path)}


def test_every_trap_is_on_the_page():
    assert set(TOLD) == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_page_names_exactly_the_tests_with_its_code(code):
    tests = {name for name in NAMES if code in codes_of(name)}
    assert tests
    assert TOLD[code] == tests


def test_every_code_in_a_name_is_a_trap():
    assert {code for name in NAMES for code in codes_of(name)} == CODES
