"""What every session of pytest pays for the plugin being installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_HEAVY = {"psutil", "pympler", "objgraph", "jinja2", "tomllib", "tomli", "tracemalloc", "pytest_memguard.engine"}


def _imported(folder: Path, *options: str) -> set[str]:
    """Return the modules that pytest has imported at the end of a session without tests."""
    program = f"""
import sys
import pytest

pytest.main(["-q", "-p", "memguard", *{options!r}])
print("modules:", *sorted(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (listed,) = [line for line in done.stdout.splitlines() if line.startswith("modules:")]
    return set(listed.split()[1:])


def test_a_session_that_checks_nothing_imports_nothing_heavy(tmp_path: Path) -> None:
    """Installed and not used, the plugin imports neither meters nor renderers nor a parser for settings."""
    assert not _HEAVY & _imported(tmp_path, "--collect-only")


def test_an_unused_plugin_imports_itself_only(tmp_path: Path) -> None:
    """Of this package a session that checks nothing imports three modules."""
    mine = {name for name in _imported(tmp_path, "--collect-only") if name.split(".")[0] == "pytest_memguard"}

    assert mine == {"pytest_memguard", "pytest_memguard.plugin", "pytest_memguard.plugin.options"}


def test_the_version_is_all_that_is_asked_for(tmp_path: Path) -> None:
    """``pytest --version`` imports nothing heavy either."""
    assert not _HEAVY & _imported(tmp_path, "--version")
