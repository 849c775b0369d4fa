"""What every session of pytest pays for the plugin being installed."""

from __future__ import annotations

import subprocess
import sys

_HEAVY = {"psutil", "pympler", "objgraph", "jinja2", "tomllib", "tomli", "tracemalloc", "pytest_memguard.engine"}


def _imported(*options: str) -> set[str]:
    """Return the modules that a session has imported which collects nothing."""
    program = f"""
import sys
import pytest

class Lists:
    def pytest_unconfigure(self):
        print("modules:", *sorted(sys.modules))

pytest.main(["-q", "-p", "memguard", "--rootdir=.", "-c", "/dev/null", *{options!r}], plugins=[Lists()])
"""
    environ = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    (listed,) = [line for line in done.stdout.splitlines() if line.startswith("modules:")]
    return set(listed.split()[1:])


def test_a_session_that_checks_nothing_imports_nothing_heavy() -> None:
    """Installed and not used, the plugin imports neither meters nor renderers nor a parser for settings."""
    assert not _HEAVY & _imported("--collect-only")


def test_an_unused_plugin_imports_itself_only() -> None:
    """Of this package a session that checks nothing imports three modules."""
    mine = {name for name in _imported("--collect-only") if name.split(".")[0] == "pytest_memguard"}

    assert mine == {"pytest_memguard", "pytest_memguard.plugin", "pytest_memguard.plugin.options"}


def test_the_version_is_all_that_is_asked_for() -> None:
    """``pytest --version`` imports nothing heavy either."""
    assert not _HEAVY & _imported("--version")
