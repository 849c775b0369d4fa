"""What requests keep in memory: measured for some of them, and counted by route."""

from __future__ import annotations

import re
import sys
import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_memguard.service.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "BOUNDS_BYTES",
    "OTHER",
    "Measured",
    "RouteCost",
    "RouteCosts",
    "Sample",
    "Sampler",
    "generic",
    "kept_bytes",
]

#: Upper bounds of the buckets of a histogram; one more bucket takes what is above the last.
BOUNDS_BYTES = (0, 2**8, 2**10, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24)
#: Where requests are counted when there are too many routes: names may come from outside, so the table must end.
OTHER = "(other)"

#: Bytes of a block of pymalloc on average: 93 to 98 where Starlette, FastAPI, Flask or Django is loaded (3.10, 3.13).
_BLOCK_BYTES = 95
#: A reading takes 1 us, and up to 3 ms in a large heap with holes (mallinfo walks them): it rests 1000 times as long.
_REST = 1000
#: How many empty requests are measured to know what measuring itself keeps.
_EMPTY = 9
#: Where counting begins: small numbers are objects that exist already, and the empty requests must make theirs.
_MANY = 2**20
_LONGEST_SEGMENT = 40
_VARIABLE = re.compile(
    r"[0-9]+"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?=[^0-9]*[0-9])[0-9a-fA-F]{8,}"
    r"|(?=(?:[^0-9]*[0-9]){3})[\w~-]{16,}"
)


@dataclass(frozen=True, slots=True)
class RouteCost:
    """
    What the measured requests of one route kept.

    Attributes:
        route: As in ``GET /users/{id}``.
        measured: How many requests.
        total_bytes: What they kept together; less than 0 where they freed more than they kept.
        counts: Shape (len(BOUNDS_BYTES) + 1,), requests a bucket.

    """

    route: str
    measured: int
    total_bytes: int
    counts: tuple[int, ...]

    @property
    def mean_bytes(self) -> float:
        """Bytes that one of these requests kept on average."""
        return self.total_bytes / self.measured


class RouteCosts:
    """A histogram for each route, of at most *most* routes; safe to use from several threads."""

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._lock = fork_safe_lock()
        self._rows: dict[str, list[int]] = {}

    def count(self, route: str, cost_bytes: int) -> None:
        """Count one measured request."""
        with self._lock:
            row = self._rows.get(route) or self._new(route)
            row[-1] += cost_bytes
            row[bisect_left(BOUNDS_BYTES, cost_bytes)] += 1

    def _new(self, route: str) -> list[int]:
        name = route if len(self._rows) < self._most else OTHER
        return self._rows.setdefault(name, [0] * (len(BOUNDS_BYTES) + 2))

    def __iter__(self) -> Iterator[RouteCost]:
        """Yield what was counted so far, the dearest route first."""
        with self._lock:
            rows = [(route, tuple(row)) for route, row in self._rows.items()]
        costs = [RouteCost(route, sum(row[:-1]), row[-1], row[:-1]) for route, row in rows]
        return iter(sorted(costs, key=lambda cost: (-cost.total_bytes, cost.route)))

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> int:
        """Forget the routes; return how many there were."""
        with self._lock:
            routes = len(self._rows)
            self._rows.clear()
        return routes


def generic(path: str) -> str:
    """Return *path* without its numbers and ids, as in ``/users/{}/orders``, for apps that do not name the route."""
    if len(path) > 10 * _LONGEST_SEGMENT:
        return OTHER
    return "/".join(
        "{}" if len(segment) > _LONGEST_SEGMENT or _VARIABLE.fullmatch(segment) else segment
        for segment in path.split("/")
    )


def kept_bytes() -> Callable[[], int]:
    """
    Return the cheapest reading of the memory that this process holds, in bytes: native heap, and blocks of objects.

    Objects of up to 512 bytes live in arenas that the native heap does not know, so they are counted, not weighed;
    larger ones are in both numbers. Only differences mean anything.
    """
    import psutil  # noqa: PLC0415 - 40 ms; when a middleware is made, not when its module is imported

    blocks: Callable[[], int] = getattr(sys, "getallocatedblocks", int)
    heap_info = getattr(psutil, "heap_info", None)
    try:
        if heap_info is not None:
            heap_info()
    except (OSError, RuntimeError, NotImplementedError, psutil.Error):
        heap_info = None  # musl
    if heap_info is None:
        return lambda: blocks() * _BLOCK_BYTES

    def read() -> int:
        heap = heap_info()
        held: int = heap.heap_used + heap.mmap_used + blocks() * _BLOCK_BYTES
        return held

    return read


class Sample:
    """A request that is being measured."""

    __slots__ = ("before", "events")

    def __init__(self, events: int) -> None:
        self.events = events
        self.before = 0


Measured = TypeVar("Measured", bound=Sample)


class Sampler(Generic[Measured]):
    """
    Picks the requests that are measured, so few that measuring takes a tenth of a percent of a core.

    Readings are of the whole process. What another request kept in the meantime cannot be told apart, so a request
    counts as measured only if no other one began or ended while it ran. At up to a hundred requests a second all others
    are measured.

    Where calls cost too much, a request before *next_s* may add to *began* and *ended* itself. It needs no lock: a
    thread gives the interpreter away at calls and jumps back only (Python 3.10), and there is none in such an addition.

    Attributes:
        began: Goes up with each request that begins.
        ended: Goes up with each one that ends.
        next_s: No request is measured before.

    """

    __slots__ = ("_clock", "_effort", "_own_bytes", "_read", "_sample", "_unserved", "began", "ended", "next_s")

    def __init__(
        self,
        read: Callable[[], int],
        sample: type[Measured],
        clock: Callable[[], float] = time.perf_counter,
        effort: Callable[[], float] = time.thread_time,  # the time that a thread waits for a core is no effort
    ) -> None:
        self._sample = sample
        self._read = read
        self._clock = clock
        self._effort = effort
        self.began = self.ended = _MANY
        self.next_s = 0.0
        self._own_bytes = 0
        self._own_bytes = sorted(self._empty() for _ in range(_EMPTY))[_EMPTY // 2]
        self._unserved = self.ended

    def completed(self) -> int:
        """Return how many requests have ended so far."""
        return self.ended - self._unserved

    def enter(self) -> Measured | None:
        """Say that a request begins; return its sample if it is to be measured."""
        self.began += 1
        if self._clock() < self.next_s:
            return None
        began_s = self._effort()
        sample = self._sample(self.began + self.ended)
        sample.before = self._read()
        self._rest(began_s)
        return sample

    def leave(self, sample: Measured | None) -> int | None:
        """Say that a request has ended; return the bytes that it kept, if they could be measured."""
        self.ended += 1
        if sample is None or sample.events + 1 != self.began + self.ended:
            return None
        began_s = self._effort()
        cost_bytes = self._read() - sample.before - self._own_bytes
        self._rest(began_s)
        return cost_bytes

    def _rest(self, began_s: float) -> None:
        rest_s = (self._effort() - began_s) * _REST
        self.next_s = max(self.next_s, self._clock()) + rest_s

    def _empty(self) -> int:
        """Return what a request that keeps nothing is measured to keep: the numbers that a sample holds."""
        self.next_s = 0.0
        cost_bytes = self.leave(self.enter())
        self.next_s = 0.0
        return cost_bytes or 0
