"""Measure the cost of capture: `python benchmarks/run.py`. See README.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
MARKER = "installed"


def main() -> int:
    """Create a virtual environment if there is none, and run the benchmarks in it."""
    home = Path(os.environ.get("BENCH_VENV", HERE / ".venv"))
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if Path(sys.prefix).resolve() != home.resolve():
        install(home, python)
        # Not exec: on Windows two processes would then share the terminal.
        command = [str(python), str(HERE / "run.py"), *sys.argv[1:]]
        with subprocess.Popen(command) as process:
            # Ctrl-C reaches both processes; the measuring one still prints its tables.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return process.wait()
    if sys.argv[1:2] == ["faults"]:
        from bench.breaking import run as run_faults

        return run_faults(sys.argv[2:])
    from bench.main import run

    return run(sys.argv[1:])


def install(home: Path, python: Path) -> None:
    """Install the measured packages, once for each state of requirements.txt."""
    wanted = (HERE / "requirements.txt").read_text()
    marker = home / MARKER
    if marker.exists() and marker.read_text() == wanted:
        return
    venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    requirements = str(HERE / "requirements.txt")
    subprocess.run([*pip, "-r", requirements, "-e", str(HERE.parent)], check=True)
    marker.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main())
