"""TOML is read on every version of Python."""

from __future__ import annotations

from datetime import date

import pytest

from pytest_memguard.core.toml import parse


def test_parse() -> None:
    """Tables become dicts, dates become dates."""
    assert parse("[[a]]\nuntil = 2027-01-31\nb = 'c'") == {"a": [{"until": date(2027, 1, 31), "b": "c"}]}


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", f"a = {'1' * 5000}", f"a = {'[' * 100_000}"])
def test_what_is_not_toml(text: str) -> None:
    """Whatever is wrong with a text, there is one kind of error."""
    with pytest.raises(ValueError, match=r".+"):
        parse(text)
