"""
The leak tests of the demo: a small pytest project that lies in the package.

It is copied before it runs: what lies below ``pytest_memguard`` is not the user's own code, and is never to blame.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXPECTED", "copied"]

#: What ``pytest --memguard`` says of each.
EXPECTED: Mapping[str, str] = {
    "test_page_shows_its_address": "leak",
    "test_cart_follows_the_price": "leak",
    "test_session_begins": "settled",
}
_SOURCE = Path(__file__).with_name("leak_tests")
_CONFIGURATION = "[pytest]\naddopts = -p no:cacheprovider\n"


def copied(folder: Path) -> Path:
    """Write the project into *folder*, which is made, and return it; run ``pytest --memguard`` there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text(_CONFIGURATION, encoding="utf-8")
    for file in _SOURCE.glob("test_*.py"):
        shutil.copyfile(file, folder / file.name)
    return folder
