"""A project of django-tenants, in a process of its own: it has other settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_each_row_is_in_the_schema_of_its_tenant():
    """The row goes where the view's rows go, whoever writes it, and whenever."""
    tenants = HERE / "tenants"
    # By name: this process has told its children of other settings.
    settings = "--ds=tests.foreign.tenants.settings"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            tenants / "pytest.ini",
            settings,
            tenants,
        ],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
