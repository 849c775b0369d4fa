"""Tests that collect around every run."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _collections_are_quick(older_heap_rests: None) -> None:
    pass
