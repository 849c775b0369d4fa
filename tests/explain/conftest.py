"""The heap of the tests, which what is looked at here has no part in."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True)
def _older_heap_rests_again() -> None:
    """Freeze what the test before has thawed: a collection of the heap of all tests takes long."""
    gc.freeze()
