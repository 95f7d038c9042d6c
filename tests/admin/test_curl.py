"""The command that sends an image again, run by a real shell."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest

from request_images.admin.curl import NoCommand, curl_command
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


HEAD = ["--path-as-is", "-X", "POST", "https://example.org/solve/"]
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


@pytest.mark.parametrize("name", ["a=b", "a@b"])
@pytest.mark.parametrize("kind", ["files", "form"])
def test_field_name_without_a_syntax_has_no_command(kind, name):
    with pytest.raises(NoCommand, match="no syntax"):
        command(f"{kind}.{name}")


@pytest.mark.parametrize(
    "text",
    [
        "\x15touch x\x0f",  # deletes the line, and runs another
        "a\nb",
        "a\rb",
        "a\tb",  # completes a word
        "\x1b[201~touch x\n",  # ends a bracketed paste
        "\x9b201~",  # the same in one character
        "a\x7fb",
        "\u202egnp.x",  # shown from right to left
        "a\u200bb",
        "a\u2028b",
        "\ue000",
        "\udc15",
    ],
)
@pytest.mark.parametrize("place", ["files", "form", "method", "url", "mime_type"])
def test_text_of_a_stranger_is_no_instruction_to_a_terminal(place, text):
    """Kind: text that the client chose, pasted into a terminal, runs nothing."""
    with pytest.raises(NoCommand, match="control or invisible"):
        if place in ("files", "form"):
            command(f"{place}.{text}")
        else:
            command("files.photo", **{place: f"a{text}b"})


@pytest.mark.parametrize("name", ["\x15touch x\x0f", "\x7f\x7f; touch x", "\u202ea"])
def test_json_escapes_what_a_terminal_obeys(run, name):
    _, stdin = run(command(f"json.{name}"))
    assert json.loads(stdin) == {name: TEXT}


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
    assert arguments[1:4] == ["-X", "PO ST;touch x", url]
