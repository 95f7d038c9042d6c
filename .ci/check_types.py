"""Ask pyright how complete the types are of what a project imports.

Public are the modules at the top of the package, and the fields of the models. No
checker without Django's plugin for mypy can know the rest of `models` and `admin`:
`as_manager` builds the class of ``objects`` at run time, so django-stubs calls it
``Manager[Any]``, and each model that has one, and each method that takes such a model,
counts as partially unknown. Django takes ``Meta`` out of its class. An option of an
admin overrides one whose type in django-stubs is far wider, which counts as ambiguous.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    symbols = [
        symbol
        for symbol in json.loads(done.stdout)["typeCompleteness"]["symbols"]
        if symbol["isExported"] and (_is_at_top(symbol) or _is_field(symbol))
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


def _is_at_top(symbol: dict[str, Any]) -> bool:
    public = {f"{PACKAGE}.{path.stem}" for path in TOP.glob("*.py")} | {PACKAGE}
    return ".".join(symbol["name"].split(".")[:2]) in public


def _is_field(symbol: dict[str, Any]) -> bool:
    name = symbol["name"].split(".")
    is_ours = name[:2] == [PACKAGE, "models"] and symbol["category"] == "variable"
    # The property `first` returns a model that has ``objects``.
    return is_ours and "Meta" not in name and name[-1] not in {"objects", "first"}


if __name__ == "__main__":
    main()
