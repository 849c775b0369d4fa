"""A number of requests that is told once a second, and asked for at any moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Smooth"]


class Smooth:
    """
    A counter between its reports: it follows them in a straight line, one report behind.

    What regresses memory on requests needs every reading's own number of them. A number that stands still for a second
    and jumps hides a leak, one that is late by the same time throughout does not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._from = 0.0
        self._told = 0
        self._told_s = clock()
        self._span_s = 0.0

    def tell(self, count: int) -> None:
        """Take a report: *count* requests by now."""
        now_s = self._clock()
        self._from = self._value(now_s)
        self._told, self._told_s, self._span_s = count, now_s, now_s - self._told_s

    def end(self) -> None:
        """Nothing is told any more: the last report holds at once."""
        self._span_s = 0.0

    def __int__(self) -> int:
        return int(self._value(self._clock()))

    def _value(self, now_s: float) -> float:
        passed = (now_s - self._told_s) / self._span_s if self._span_s > 0 else 1.0
        return self._from + (self._told - self._from) * min(1.0, passed)
