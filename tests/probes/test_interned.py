"""Interned strings: counted where the interpreter never frees them, and nowhere else."""

from __future__ import annotations

import sys
from itertools import count
from uuid import uuid4

import pytest

from pytest_memguard.probes import interned

BEFORE_THE_REPAIR = (3, 12) <= sys.version_info[:3] < (3, 12, 7) and sys.implementation.name == "cpython"
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def fresh(number: int) -> list[str]:
    """Return strings that nobody has interned before."""
    return [f"{uuid4().hex}{at}" for at in range(number)]


def test_strings_that_are_freed_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fresh string does not stay interned, there is nothing to tell."""
    monkeypatch.setattr(interned, "_size", lambda: 5_000)
    monkeypatch.setattr(interned, "_are_kept_here", lambda: interned.are_kept(lambda: 5_000))

    assert interned.kept_strings() == 0


def test_strings_that_stay_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fresh string stays interned, the size of the table is the number."""
    growing = count(5_000)
    monkeypatch.setattr(interned, "_size", lambda: next(growing))
    monkeypatch.setattr(interned, "_are_kept_here", lambda: interned.are_kept(lambda: next(growing)))

    assert interned.kept_strings() == 5_002


@pytest.mark.skipif(not BEFORE_THE_REPAIR, reason="this Python frees them")
def test_dropped_names_are_seen_where_they_stay() -> None:
    """The count follows fresh names one by one, and names that are known do not move it."""
    interned.kept_strings()
    names = fresh(100)
    before = interned.kept_strings()
    for name in names:
        sys.intern(name)
    first = interned.kept_strings() - before
    for name in names:
        sys.intern(name)

    assert first == 100
    assert interned.kept_strings() - before == 100


@pytest.mark.skipif(BEFORE_THE_REPAIR or not HAS_GIL, reason="this Python keeps them")
def test_kept_names_are_not_the_interpreters_doing() -> None:
    """Names that the code itself keeps are not counted where they could be freed."""
    kept = [sys.intern(name) for name in fresh(100)]

    assert len(kept) == 100
    assert interned.kept_strings() == 0
