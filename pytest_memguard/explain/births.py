"""
What was born in the last of some runs, and so is not known to stay: the next run may replace it.

An address does not tell by itself: what a run replaces leaves its place to what the next run makes. But whatever is
born is young when the next collection begins, and nothing young is older than the last one; so it is noted there.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager, suppress
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Births"]

_YOUNG = 0


class Births:
    """
    The addresses of what is born in the last run.

    Use ``with births.followed():`` around all runs, and end each of them with a collection and ``run_ended``.
    """

    def __init__(self) -> None:
        self._runs = 0
        self._last: set[int] = set()
        self._now: set[int] = set()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Note what is born inside."""
        gc.callbacks.append(self._note)
        try:
            yield
        finally:
            with suppress(ValueError):  # a test has emptied the list
                gc.callbacks.remove(self._note)

    def run_ended(self) -> None:
        """Forget what was born in the run before."""
        self._runs += 1
        self._last, self._now = self._now, set()

    def told_apart(self) -> tuple[list[Any], list[Any] | None]:
        """
        Return what stays of all that the collector sees, and what was born in the last run, or in one that failed.

        Of a single run nobody can tell: all of it is said to stay, and nothing (None) of the rest.
        """
        born = gc.get_objects()
        if self._runs < 2:  # noqa: PLR2004 - one may replace what the other made
            return born, None
        self._note("start", {})
        young = list(map((self._last | self._now).__contains__, map(id, born)))
        self._last, self._now = set(), set()  # to a search for holders they would be some that grew
        return list(compress(born, map(not_, young))), list(compress(born, young))

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._now.update(map(id, gc.get_objects(generation=_YOUNG)))
