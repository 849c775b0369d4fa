"""The leak tests that ship with the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pytest_memguard.demo.cases import EXPECTED, copied


def test_two_leak_and_one_is_repaired(tmp_path: Path) -> None:
    """`pytest --memguard` in the copied project says of each test what is expected, and names who holds."""
    folder = copied(tmp_path / "cases")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "--memguard", "--memguard-json=result.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1, done.stdout
    results = json.loads((folder / "result.json").read_text(encoding="utf-8"))["results"]
    assert {result["id"].rpartition("::")[2]: result["verdict"] for result in results} == EXPECTED
    assert "test_shop.PAGES" in done.stdout
    assert "test_shop.PRICE_LISTENERS" in done.stdout
