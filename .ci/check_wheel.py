"""Build the sdist and, from it, the wheel; look into both; use the wheel.

The tests run on the source tree, so a file that the wheel lacks would be missed by
them: templates, static files and translations are what gets lost. With ``--dist`` a
folder's sdist and wheel are checked, and none is built; with ``--tag`` the version must
be the tag's.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from readme_renderer import markdown

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "request_images"

# One pattern for each kind of file that is not a module, and must be in the wheel.
KINDS = (
    "request_images/py.typed",
    "request_images/migrations/0001_initial.py",
    "request_images/management/commands/*.py",
    "request_images/templates/request_images/**/*.html",
    "request_images/static/request_images/*.css",
    "request_images/static/request_images/*.js",
    "request_images/locale/*/LC_MESSAGES/*.mo",
)
IN_SDIST = (
    ".github/workflows/test.yml",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "docs/conf.py",
    "example_project/manage.py",
    "pyproject.toml",
    "src/request_images/__init__.py",
    "tests/settings.py",
    "tox.ini",
)


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command, away from whatever would make the source tree importable."""
    hidden = ("PYTHONPATH", "DJANGO_SETTINGS_MODULE", "DATABASE_URL", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    say("$ " + " ".join(str(part) for part in command))
    subprocess.run(command, cwd=cwd, env=environment, check=True)


def say(line: str) -> None:
    """Print a line at once, so that it stands before the output it announces."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def build(folder: Path) -> None:
    """Build the sdist, and the wheel from the sdist."""
    run(
        *(sys.executable, "-m", "build", "--installer", "uv"),
        *("--outdir", folder, ROOT),
        cwd=folder,
    )


def rate(sdist: Path, wheel: Path) -> None:
    """Have pyroma rate the metadata, and twine check what the index would refuse."""
    folder = sdist.parent
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=folder)
    run(sys.executable, "-m", "pyroma", "--min", "10", sdist, cwd=folder)


def metadata_of(wheel: Path) -> Message:
    """Return the wheel's metadata; its body is the README."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def problems_of_readme(metadata: Message) -> list[str]:
    """Render the README as the package index does; it has no files of its own."""
    page = markdown.render(metadata.get_payload())
    if page is None:
        return ["the README cannot be rendered"]
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    pictures = re.findall(r"<img [^>]*src=", page)
    say(f"README: {len(targets)} links and pictures")
    return [
        *(["the README shows no picture"] if not pictures else []),
        *(
            f"{target!r} in the README leads nowhere on the package index"
            for target in targets
            if not target.startswith(("https://", "#"))
        ),
    ]


def problems_of_wheel(wheel: Path) -> list[str]:
    """Compare the wheel with the package's folder, file by file."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name
            for name in archive.namelist()
            if ".dist-info/" not in name and not name.endswith("/")
        }
    written = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    say(f"{wheel.name}: {len(shipped)} files beside its metadata")
    return [
        *(f"the wheel lacks {name}" for name in sorted(written - shipped)),
        *(f"the wheel has {name} too much" for name in sorted(shipped - written)),
        *(
            f"nothing in src/ fits {pattern}"
            for pattern in KINDS
            if not any(PACKAGE.parent.glob(pattern))
        ),
    ]


def problems_of_sdist(sdist: Path) -> list[str]:
    """Look for what somebody needs who builds or tests from the sdist."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    say(f"{sdist.name}: {len(names)} files")
    return [f"the sdist lacks {name}" for name in IN_SDIST if name not in names]


def use(wheel: Path, folder: Path) -> None:
    """Install the wheel in a new environment and run the example with it."""
    environment = folder / "venv"
    python = environment / "bin" / "python"
    requirements = folder / "requirements.txt"
    example = folder / "example_project"
    ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3*", ".venv")
    shutil.copytree(ROOT / "example_project", example, ignore=ignored)
    # The example's own list, except that it takes the package from the checkout.
    requirements.write_text(
        "\n".join(
            line
            for line in (example / "requirements.txt").read_text().splitlines()
            if not line.startswith("-e")
        )
    )
    uv = shutil.which("uv") or "uv"
    run(uv, "venv", "--quiet", "--python", sys.executable, environment, cwd=folder)
    run(
        *(uv, "pip", "install", "--quiet", "--python", python, wheel),
        *("-r", requirements),
        cwd=folder,
    )
    run(
        python,
        "-c",
        "import request_images as r; print(r.__version__, r.__file__);"
        "assert 'site-packages' in r.__file__",
        cwd=folder,
    )
    manage = (python, "-W", "error", "manage.py")
    run(*manage, "check", "--fail-level", "WARNING", cwd=example)
    run(*manage, "migrate", "--verbosity", "0", cwd=example)
    run(*manage, "makemigrations", "--check", "--dry-run", cwd=example)
    run(*manage, "findstatic", "request_images/admin.css", cwd=example)
    run(*manage, "cleanup_old_images", "--dry-run", cwd=example)


def main() -> None:
    """Check it all; end with every problem found, not with the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, help="check what is there; build nothing")
    parser.add_argument("--tag", help="the version must be this one, after a v")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.dist is None:
            build(folder)
        (sdist,) = (options.dist or folder).resolve().glob("*.tar.gz")
        (wheel,) = (options.dist or folder).resolve().glob("*.whl")
        metadata = metadata_of(wheel)
        problems = [
            *problems_of_wheel(wheel),
            *problems_of_sdist(sdist),
            *problems_of_readme(metadata),
        ]
        if options.tag not in {None, f"v{metadata['Version']}"}:
            problems.append(
                f"{metadata['Version']} is not the version of {options.tag}"
            )
        rate(sdist, wheel)
        use(wheel, folder)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
