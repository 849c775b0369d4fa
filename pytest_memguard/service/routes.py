"""What requests cost, by route: counts in buckets, for as many routes as a table can hold."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["BOUNDS", "OTHER", "RouteCost", "RouteCosts"]

#: Upper bounds of the buckets in bytes: 0, then 1 KiB times powers of four; what is above 64 MiB is in a last one.
BOUNDS = (0, *(1024 * 4**step for step in range(9)))
#: Where the routes are counted that come after the table is full: names may come from outside, so it must end.
OTHER = "(other)"
_MOST_ROUTES = 200


@dataclass(frozen=True, slots=True)
class RouteCost:
    """
    What the requests of one route cost so far.

    Attributes:
        requests: How many.
        bytes: Sum of their costs; those that gave memory back count as 0.
        counts: Shape (len(BOUNDS) + 1,), requests a bucket.

    """

    requests: int
    bytes: int
    counts: tuple[int, ...]


class RouteCosts:
    """Counts requests and their costs by route; safe to use from several threads."""

    def __init__(self, most: int = _MOST_ROUTES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._routes: dict[str, list[int]] = {}
        self.total = 0

    def count(self, route: str, cost_bytes: int) -> None:
        """Count one request."""
        cost_bytes = max(0, cost_bytes)
        with self._lock:
            self.total += 1
            row = self._routes.get(route) or self._new(route)
            row[0] += cost_bytes
            row[1 + bisect_left(BOUNDS, cost_bytes)] += 1

    def _new(self, route: str) -> list[int]:
        name = route if len(self._routes) < self._most else OTHER
        return self._routes.setdefault(name, [0] * (len(BOUNDS) + 2))

    def snapshot(self) -> dict[str, RouteCost]:
        """Return what was counted so far, by route."""
        with self._lock:
            rows = {route: tuple(row) for route, row in self._routes.items()}
        return {route: RouteCost(sum(row[1:]), row[0], row[1:]) for route, row in rows.items()}

    def clear(self) -> int:
        """Forget the routes, though not the total; return how many there were."""
        with self._lock:
            count = len(self._routes)
            self._routes.clear()
        return count
