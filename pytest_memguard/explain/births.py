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

_YOUNGEST = 0


class Births:
    """
    The addresses of what is born in one of some runs, to be told from what was born in those before.

    Use ``with births.followed():`` around all runs, begin each of them with ``run_begins``, and end it with a
    collection.
    """

    def __init__(self) -> None:
        self._runs = 0
        self._young: set[int] | None = None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Note what is born inside."""
        gc.callbacks.append(self._note)
        try:
            yield
        finally:
            self._note("start", {})
            with suppress(ValueError):  # a test has emptied the list
                gc.callbacks.remove(self._note)

    def run_begins(self, *, may_be_last: bool) -> None:
        """
        Forget what was noted, and note what this run makes, if it may be the last and not the only one.

        Noting all runs would cost a large leak a fifth of its explanation: each address takes 5 us under tracemalloc.
        """
        self._young = set() if may_be_last and self._runs else None
        self._runs += 1

    @property
    def earlier_runs(self) -> int | None:
        """How many runs began before the one that was noted; None where none was, or only one was made."""
        return None if self._young is None else self._runs - 1

    def told_apart(self, born: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return what earlier runs made of all that was born, and what the last one made, or one that failed."""
        noted = self._young or set()
        born = [one for one in born if one is not noted]  # to a search for holders it would be one that grew
        self._young = None
        young = list(map(noted.__contains__, map(id, born)))
        return list(compress(born, map(not_, young))), list(compress(born, young))

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start" and self._young is not None:
            self._young.update(map(id, gc.get_objects(generation=_YOUNGEST)))
