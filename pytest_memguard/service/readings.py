"""What a guard reads, and a log of it that takes no more memory as it fills."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import isnan, nan
from typing import TYPE_CHECKING

from pytest_memguard.service.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GcStats", "Log", "Reading"]


@dataclass(frozen=True, slots=True)
class GcStats:
    """
    What the collector did since the guard was started.

    Attributes:
        collections: Of each generation, the youngest first.
        seconds: Spent in all of them; the service stood still for as long.
        freed: Objects in cycles that were freed.
        visited: Objects that were looked at, as far as the collector's own counters tell.

    """

    collections: tuple[int, int, int] = (0, 0, 0)
    seconds: float = 0.0
    freed: int = 0
    visited: int = 0

    @property
    def efficiency(self) -> float:
        """Share of the objects looked at that could be freed, 0 to 1."""
        return min(1.0, self.freed / self.visited) if self.visited else 0.0

    @property
    def average_s(self) -> float:
        """Mean pause of a collection."""
        return self.seconds / total if (total := sum(self.collections)) else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """
    The counters of one moment.

    Attributes:
        time_s: By the monitor's clock, which never goes back.
        rss_bytes: Resident memory.
        heap_bytes: In use in the native heap; None where the C library does not tell.
        mapped_bytes: Private writable memory that is mapped; None where the system does not tell.
        blocks: Memory blocks of the interpreter.
        gc_objects: Objects that the collector tracks; None, as counting them is dear.
        fds: Open descriptors.
        threads: Threads, native ones included.
        requests: Completed since the start of the guard.
        gc: What the collector did so far.
        used_bytes: What counts against the memory limit; None where that is the resident memory.

    """

    time_s: float
    rss_bytes: int
    heap_bytes: int | None = None
    mapped_bytes: int | None = None
    blocks: int = 0
    gc_objects: int | None = None
    fds: int = 0
    threads: int = 0
    requests: int = 0
    gc: GcStats = field(default_factory=GcStats)
    used_bytes: int | None = None

    @property
    def used(self) -> int:
        """What counts against the memory limit."""
        return self.rss_bytes if self.used_bytes is None else self.used_bytes


class Log:
    """
    The latest readings, the oldest first, as plain numbers in a block of memory that is there from the start.

    An object kept for each reading would be a leak of its own to whoever reads the memory of this process: 7 to 11
    blocks each, for a day.

    Args:
        most: How many are kept.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cells = array("d", bytes(8 * _WIDTH * most))
        self._first = self._length = 0
        self._lock = fork_safe_lock()

    def append(self, reading: Reading) -> None:
        """Keep *reading*; the oldest makes room."""
        with self._lock:
            self._put(self._first + self._length, reading)
            if self._length < self._most:
                self._length += 1
            else:
                self._first = (self._first + 1) % self._most

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._first = self._length = 0

    @property
    def full(self) -> bool:
        """Whether the next reading costs the oldest one its place."""
        return self._length == self._most

    @property
    def first(self) -> Reading | None:
        """The oldest reading."""
        with self._lock:
            return self._get(self._first) if self._length else None

    @property
    def last(self) -> Reading | None:
        """The latest reading."""
        with self._lock:
            return self._get(self._first + self._length - 1) if self._length else None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Reading]:
        """Go through the readings that are there now."""
        with self._lock:
            return iter([self._get(self._first + at) for at in range(self._length)])

    def _put(self, place: int, reading: Reading) -> None:
        begin = place % self._most * _WIDTH
        self._cells[begin : begin + _WIDTH] = _cells(reading)

    def _get(self, place: int) -> Reading:
        begin = place % self._most * _WIDTH
        return _reading(self._cells[begin : begin + _WIDTH])


def _cells(reading: Reading) -> array[float]:
    """Return *reading* as numbers; a counter is exact up to 2**53."""
    stats = reading.gc
    counters = (
        reading.rss_bytes, reading.heap_bytes, reading.mapped_bytes, reading.blocks, reading.gc_objects, reading.fds,
        reading.threads, reading.requests, reading.used_bytes, *stats.collections, stats.freed, stats.visited,
    )  # fmt: skip
    return array("d", (reading.time_s, stats.seconds, *(nan if one is None else one for one in counters)))


def _reading(cells: array[float]) -> Reading:
    """Return the reading that became *cells*."""
    time_s, seconds, rss, heap, mapped, blocks, objects, fds, threads, requests, used, *stats = cells
    young, middle, old, freed, visited = map(int, stats)
    return Reading(
        time_s=time_s,
        rss_bytes=int(rss),
        heap_bytes=_known(heap),
        mapped_bytes=_known(mapped),
        blocks=int(blocks),
        gc_objects=_known(objects),
        fds=int(fds),
        threads=int(threads),
        requests=int(requests),
        gc=GcStats((young, middle, old), seconds, freed, visited),
        used_bytes=_known(used),
    )


def _known(cell: float) -> int | None:
    return None if isnan(cell) else int(cell)


_WIDTH = len(_cells(Reading(0.0, 0)))
