"""Every leak of the pages is made, explained, repaired as its advice says, and gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures" / "leak_patterns"
PATTERNS = sorted(file.stem.removeprefix("test_").replace("_", "-") for file in FIXTURES.glob("test_*.py"))
#: What belongs to the session that runs here.
_FOREIGN = ("MEMGUARD_", "PYTEST_", "COV_", "HYPOTHESIS_")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what one session found in all fixtures, by pattern and name of the test."""
    document = tmp_path_factory.mktemp("patterns") / "memguard.json"
    own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "memguard", "-p", "no:cacheprovider", str(FIXTURES)]
    done = subprocess.run(
        [*command, "--memguard", f"--memguard-json={document}"],
        cwd=FIXTURES,
        env={**own, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    found = {}
    for result in json.loads(document.read_text(encoding="ascii"))["results"]:
        file, name = result["id"].split("::")
        found[f"{Path(file).stem.removeprefix('test_').replace('_', '-')} {name}"] = result
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_leaky_form_is_a_leak(results: dict[str, dict[str, Any]], pattern: str) -> None:
    """What the page calls leaky is a leak."""
    assert results[f"{pattern} test_leaky"]["verdict"] == "leak"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_repaired_form_is_none(results: dict[str, dict[str, Any]], pattern: str) -> None:
    """What the page calls repaired is none; Python 3.10 keeps a little of processes and threads for a while."""
    quiet = {"clean", "settled", "bounded"} | ({"growing"} if sys.version_info < (3, 11) else set())

    assert results[f"{pattern} test_repaired"]["verdict"] in quiet
