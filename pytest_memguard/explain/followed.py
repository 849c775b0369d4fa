"""
Containers that a holder check has seen grow, over some more runs.

They are found again by identity: the check keeps none alive, as a test that drops one frees what it holds. That takes
a quarter of what it takes to look at all containers twice.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.holders import Grown, Seen, callbacks, callbacks_since, thawed, untracked
from pytest_memguard.explain.naming import length

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Followed"]


class Followed:
    """
    Follows containers that grew over some runs before; used as a ``ContainerCheck`` is that looks at all.

    Args:
        seen: Of a check that has finished.

    """

    def __init__(self, seen: Sequence[Seen]) -> None:
        self._seen = {one.identity: one for one in seen}
        # Of a type that a search for holders passes over, as no holder of the container.
        self._before: list[Grown] = []
        self._callbacks = 0

    def begin(self) -> None:
        """Find the containers again, and note their lengths. With a frozen heap all that lives is frozen afterwards."""
        with thawed(gc.get_freeze_count() > 0):
            self._find(gc.get_objects())
            if len(self._before) < len(self._seen):
                self._find(untracked())
        self._callbacks = callbacks()

    def grown(self, runs: int) -> list[Grown]:  # noqa: ARG002 - one more entry is growth: it grew before, too
        """Return those that grew since ``begin``, those that gained most first."""
        grown = []
        for one in self._before:
            now = length(one.container) or 0
            if now > one.length:
                grown.append(replace(one, length=now, gained=now - one.length))
        grown.sort(key=lambda one: -one.gained)
        return grown + callbacks_since(self._callbacks)

    def close(self) -> None:
        """Let go of the containers."""
        self._before.clear()

    def _find(self, objects: Iterable[Any]) -> None:
        among = list(objects)
        for one in compress(among, map(self._seen.__contains__, map(id, among))):
            seen = self._seen[id(one)]
            if id(type(one)) == seen.kind:  # not another one at the address of one that is gone
                self._before.append(Grown(one, length(one) or 0, 0, seen.name, seen.limit))
