"""The README says what is so: its commands, its code, the names it mentions."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def section(heading):
    """Return what stands between a heading and the next one of its kind."""
    (_, text) = f"\n{README}".split(f"\n## {heading}\n")
    return text.split("\n## ")[0]


def imported(code):
    """Return each name that the code imports, with its module."""
    return [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(code))
        # What is relative is the reader's own.
        if isinstance(node, ast.ImportFrom) and not node.level
        for alias in node.names
    ]


@pytest.mark.parametrize("heading", ["Try it", "Run the tests"])
def test_command_is_one_line(heading):
    # The gate takes both from here and runs them in a fresh clone.
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", section(heading), re.DOTALL | re.MULTILINE
    )
    (line,) = block.splitlines()
    assert line.startswith("python3 -m venv ")


def test_there_is_code_to_paste():
    assert PYTHON


@pytest.mark.parametrize("code", PYTHON)
def test_code_compiles(code):
    compile(code, "README.md", "exec")


@pytest.mark.parametrize(
    ("module", "name"), sorted({pair for code in PYTHON for pair in imported(code)})
)
def test_imported_name_exists(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_settings_exist():
    names = set(re.findall(r"REQUEST_IMAGES_[A-Z_]+\b", README))
    assert {name for name in names if not hasattr(settings, name)} == set()


def test_management_commands_exist():
    names = set(re.findall(r"manage\.py ([a-z]\w+)", README))
    assert names - set(get_commands()) == set()


def test_linked_files_exist():
    targets = set(re.findall(r"\]\((?!https?:|#)([^)#\s]+)", README))
    assert {target for target in targets if not (ROOT / target).exists()} == set()
