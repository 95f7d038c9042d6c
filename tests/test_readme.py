"""The README's commands, code, names and links are right."""

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
REPOSITORY = "django-request-images/django-request-images"
PAGES = f"https://github.com/{REPOSITORY}/blob/main/"
PICTURES = f"https://raw.githubusercontent.com/{REPOSITORY}/main/"


def section(heading):
    """Return the text between a heading and the next one of the same level."""
    (_, text) = f"\n{README}".split(f"\n## {heading}\n")
    return text.split("\n## ")[0]


def imported(code):
    """Return each name that the code imports, with its module."""
    return [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(code))
        # A relative import is the reader's own module.
        if isinstance(node, ast.ImportFrom) and not node.level
        for alias in node.names
    ]


@pytest.mark.parametrize("heading", ["Try it", "Run the tests"])
def test_section_has_exactly_one_command_of_one_line(heading):
    # The gate extracts both commands and runs them in a fresh clone.
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", section(heading), re.DOTALL | re.MULTILINE
    )
    (line,) = block.splitlines()
    assert line.startswith("python3 -m venv ")


def test_readme_has_python_code():
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


def test_links_are_absolute_so_that_the_package_index_shows_them():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    assert [t for t in targets if not t.startswith((PAGES, PICTURES))] == []


def test_linked_files_exist():
    targets = set(re.findall(r"\]\(([^)#]+)[)#]", README))
    paths = {t.removeprefix(PAGES).removeprefix(PICTURES) for t in targets}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_pictures_are_raw_files():
    targets = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert targets
    assert [t for t in targets if not t.startswith(PICTURES)] == []
