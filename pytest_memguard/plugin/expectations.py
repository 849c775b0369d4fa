"""What ``memguard.expect_collected`` was told to look after: objects that must be gone once a test is over."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

from pytest_memguard.errors import LeakError

if TYPE_CHECKING:
    import pytest

__all__ = ["Expectations"]


class Expectations:
    """The objects that the test which runs now expects to be gone when it returns."""

    def __init__(self) -> None:
        self._expected: list[tuple[str, weakref.ref[object]]] = []
        self._item: pytest.Item | None = None

    def add(self, item: pytest.Item, expected: object) -> None:
        """
        Remember *expected* for the test *item*.

        Raises:
            TypeError: it cannot be referred to weakly.

        """
        reference = weakref.ref(expected)
        if self._item is not item:
            self._item, self._expected = item, []
        self._expected.append((f"{type(expected).__module__}.{type(expected).__qualname__}", reference))

    def check(self, item: pytest.Item) -> None:
        """
        Look, once the call phase of *item* is over, and forget all.

        Raises:
            LeakError: something is still alive; the message names its type.

        """
        if not self._expected:  # most tests: a new list for each run would be among what is born in it
            return
        expected, self._expected = self._expected, []
        if self._item is not item:
            return
        self._item = None
        gc.collect()
        alive = [name for name, reference in expected if reference() is not None]
        if alive:
            raise LeakError(f"still alive after the test: {', '.join(alive)}")
