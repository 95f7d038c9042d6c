"""Ask pyright how complete the types are of what a project imports.

Public are the modules at the top of the package. The folders are ours; a model's fields
and an admin's options are Django's, and only its plugin for mypy can tell their types.
"""

import json
import subprocess
import sys
from pathlib import Path

PACKAGE = "request_images"
TOP = Path(__file__).resolve().parent.parent / "src" / PACKAGE


def main() -> None:
    """Print each public name whose type is not known for certain; fail if one is."""
    done = subprocess.run(
        ["pyright", "--verifytypes", PACKAGE, "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        check=False,  # it fails for the folders
    )
    public = {f"{PACKAGE}.{path.stem}" for path in TOP.glob("*.py")} | {PACKAGE}
    symbols = [
        symbol
        for symbol in json.loads(done.stdout)["typeCompleteness"]["symbols"]
        if symbol["isExported"] and ".".join(symbol["name"].split(".")[:2]) in public
    ]
    unknown = {
        symbol["name"]: [found["message"] for found in symbol["diagnostics"]]
        for symbol in symbols
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    }
    for name, messages in unknown.items():
        sys.stdout.write("\n  ".join([name, *messages]) + "\n")
    known = len(symbols) - len(unknown)
    sys.stdout.write(
        f"{known} of {len(symbols)} public names have a known type: "
        f"{known / len(symbols):.1%}\n"
    )
    if unknown or not symbols:
        sys.exit(1)


if __name__ == "__main__":
    main()
