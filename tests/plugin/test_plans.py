"""What one measurement may take."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from pytest_memguard import store
from pytest_memguard.plugin import plans

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the tests on a machine with 6 GiB to spare, in a process of 1 GiB."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=6 * GIB))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _process: SimpleNamespace(rss=GIB))
    plans.budget_for.cache_clear()
    yield
    plans.budget_for.cache_clear()


@pytest.mark.parametrize(
    ("limit", "memory"),
    [(None, 3 * GIB), (9 * GIB, 3 * GIB), (5 * GIB, 2 * GIB), (GIB, 0.0), (GIB // 2, 0.0)],
)
def test_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch, limit: int | None, memory: float) -> None:
    """A test may fill half of what the machine has free, and half of what its control group leaves."""
    monkeypatch.setattr(store, "memory_limit", lambda: limit)

    assert plans.budget_for(30.0).memory_bytes == memory


@pytest.mark.parametrize(("total_s", "patience_s"), [(30.0, 7.5), (32.0, 8.0), (40.0, 8.0)])
def test_patience(total_s: float, patience_s: float) -> None:
    """A test is decided early after a quarter of its budget, and after eight seconds at most."""
    assert plans.budget_for(total_s).patience_s == patience_s
