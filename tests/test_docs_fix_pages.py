"""The pages that repair leaks: their code is that of the fixtures, and every page is listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to"
FIXTURES = ROOT / "fixtures" / "leak_patterns"
PATTERNS = sorted(file.stem.removeprefix("fix-") for file in HOW_TO.glob("fix-*.md"))

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_code_of_page_is_the_fixture(pattern: str) -> None:
    """The two blocks of a page are the fixture, from its first import to its end."""
    source = (FIXTURES / f"test_{pattern.replace('-', '_')}.py").read_text(encoding="utf-8")
    blocks = _BLOCK.findall((HOW_TO / f"fix-{pattern}.md").read_text(encoding="utf-8"))

    leaky, repaired = blocks
    assert "\n\n\n".join(block.rstrip() for block in blocks) == source[source.index("from __future__") :].rstrip()
    assert "def test_leaky(" in leaky
    assert "def test_repaired(" in repaired


def test_every_fixture_has_a_page() -> None:
    """No pattern is without advice on paper."""
    fixtures = sorted(file.stem.removeprefix("test_").replace("_", "-") for file in FIXTURES.glob("test_*.py"))

    assert fixtures == PATTERNS


def test_index_lists_every_page() -> None:
    """The index links to each page that repairs something once."""
    links = re.findall(r"\]\(fix-([\w-]+)\.md\)", (HOW_TO / "README.md").read_text(encoding="utf-8"))

    assert sorted(links) == PATTERNS


@pytest.mark.parametrize("pattern", PATTERNS)
def test_page_names_the_command_that_checks_it(pattern: str) -> None:
    """The command at the end of a page runs its fixture."""
    text = (HOW_TO / f"fix-{pattern}.md").read_text(encoding="utf-8")

    assert f"$ pytest --memguard fixtures/leak_patterns/test_{pattern.replace('-', '_')}.py\n" in text
