"""The page of traps and the markers of the tests are equal."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "traps.md"
FAMILIES = {"W": 21, "T": 7, "R": 16, "WRAP": 8, "HOSTILE": 11}
"""The number of traps of each family; each family is numbered from one."""

CODES = {f"{name}{n}" for name, last in FAMILIES.items() for n in range(1, last + 1)}
TOLD = {
    code: set(re.findall(r"`(test_\w+)`", tests))
    for code, tests in re.findall(
        r"^\| ([A-Z]+\d+) \| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
}


def marked(path):
    """Return the tests of a module that `trap` marks, as pairs of code and name."""
    module = ast.parse(path.read_text())
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    return {
        (argument.value, node.name)
        for parent in (module, *classes)
        for node in parent.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and getattr(decorator.func, "id", "") == "trap"
        for argument in decorator.args
    }


MARKED = {pair for path in TESTS.rglob("test_*.py") for pair in marked(path)}


def test_every_trap_is_on_the_page():
    """The numbers have no gaps."""
    assert set(TOLD) == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_page_names_exactly_the_tests_marked_with_the_code(code):
    """In both directions: a trap without a test is a promise without proof."""
    tests = {name for marked_code, name in MARKED if marked_code == code}
    assert tests
    assert TOLD[code] == tests


def test_every_marked_code_is_a_trap():
    """No marker names a trap that is not on the page."""
    assert {code for code, _ in MARKED} == CODES
