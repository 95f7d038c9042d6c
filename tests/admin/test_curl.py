"""The command that sends an image again, run by a real shell."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest

from request_images.admin.curl import curl_command
from request_images.capture.sources import parse
from tests.image_files import draw

PICTURE = draw()
NAME = "abc.png"
# Takes curl's place: tells what it was given.
CURL = f"""#!{sys.executable}
import json, sys
stdin = "" if sys.stdin.isatty() else sys.stdin.read()
print(json.dumps([sys.argv[1:], stdin]))
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a command where the image's file is."""
    program = tmp_path / "curl"
    program.write_text(CURL)
    program.chmod(0o755)
    (tmp_path / NAME).write_bytes(PICTURE)

    def run(command: str) -> tuple[list[str], str]:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            input="",
            capture_output=True,
            text=True,
            check=True,
        )
        assert {path.name for path in tmp_path.iterdir()} == {"curl", NAME}
        arguments, stdin = json.loads(done.stdout)
        return arguments, stdin

    return run


def command(source: str, **values: str) -> str:
    usual = {
        "method": "POST",
        "url": "https://example.org/solve/",
        "mime_type": "image/png",
        "file_name": NAME,
    }
    return curl_command(source=parse(source)[0], **usual | values)


HEAD = ["-X", "POST", "https://example.org/solve/"]
TEXT = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ("files.photo", "photo"),
        ("files", "image"),
        ("files.a.b", "a.b"),
        ("files.it's $(touch x) `touch y`", "it's $(touch x) `touch y`"),
    ],
)
def test_file_of_a_form(run, source, field):
    assert run(command(source)) == (
        [*HEAD, "-F", f"{field}=@{NAME};type=image/png"],
        "",
    )


@pytest.mark.parametrize("name", ["a=b", "a@b", "a\nb"])
def test_unsafe_field_name_has_no_command(name):
    assert command(f"files.{name}") == command(f"form.{name}") == ""


def test_raw_body(run):
    type_of = ["-H", "Content-Type: application/octet-stream"]
    found = run(command("body", mime_type=""))
    assert found == ([*HEAD, *type_of, "--data-binary", f"@{NAME}"], "")


def test_base64_in_a_form(run):
    assert run(command("form.photo")) == ([*HEAD, "--data-urlencode", "photo@-"], TEXT)


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ("json.image", {"image": TEXT}),
        ("json", {"image": TEXT}),
        ("json.input.images.1", {"input": {"images": [None, TEXT]}}),
        ("json.99999", {"99999": TEXT}),
        ('json:/it\'s."so"/0', {'it\'s."so"': [TEXT]}),
    ],
)
def test_base64_in_json(run, source, document):
    arguments, stdin = run(command(source))
    type_of = ["-H", "Content-Type: application/json"]
    assert arguments == [*HEAD, *type_of, "--data-binary", "@-"]
    assert json.loads(stdin) == document


def test_shell_syntax_is_quoted(run):
    url = "https://example.org/a b/$(touch x)/'/"
    arguments, _ = run(command("files.photo", url=url, method="PO ST;touch x"))
    assert arguments[:3] == ["-X", "PO ST;touch x", url]
