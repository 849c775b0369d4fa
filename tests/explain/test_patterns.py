"""Every leak of the pages is made, explained, repaired as its advice says, and gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures" / "leak_patterns"
PATTERNS = sorted(file.stem.removeprefix("test_").replace("_", "-") for file in FIXTURES.glob("test_*.py"))
_SESSIONS = 3
#: What belongs to the session that runs here.
_FOREIGN = ("MEMGUARD_", "PYTEST_", "COV_", "HYPOTHESIS_")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what was found in all fixtures, by pattern and name of the test."""
    folder = tmp_path_factory.mktemp("patterns")
    found: dict[str, dict[str, Any]] = {}
    # A session that has spent many seconds on repeats decides on fewer runs.
    for at in range(_SESSIONS):
        found |= _session(PATTERNS[at::_SESSIONS], folder / f"{at}.json")
    return found


def _session(patterns: Sequence[str], document: Path) -> dict[str, dict[str, Any]]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    files = [f"test_{pattern.replace('-', '_')}.py" for pattern in patterns]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "memguard", "-p", "no:cacheprovider", *files, "--memguard",
         f"--memguard-json={document}"],
        cwd=FIXTURES,
        env={**own, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip
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
def test_advice_names_the_page(results: dict[str, dict[str, Any]], pattern: str) -> None:
    """Every finding of the leak leads to the page of its pattern."""
    advice = {finding["advice"].rpartition(" - ")[2] for finding in results[f"{pattern} test_leaky"]["findings"]}

    assert advice == {f"docs/how-to/fix-{pattern}.md"}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_repaired_form_is_no_leak(results: dict[str, dict[str, Any]], pattern: str) -> None:
    """What the page calls repaired is none, and does not fail."""
    assert results[f"{pattern} test_repaired"]["verdict"] in {"clean", "settled", "bounded", "growing"}
