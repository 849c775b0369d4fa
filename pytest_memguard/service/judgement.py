"""What a guard thinks of its readings: whether the service leaks, asked anew at an interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_memguard.core.values import BLOCKS, FDS, HEAP, THREADS
from pytest_memguard.service.fills import FillLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_memguard.core.values import Metric
    from pytest_memguard.service.caches import Caches
    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.fills import CacheFill
    from pytest_memguard.service.monitor import Monitor
    from pytest_memguard.service.readings import Reading
    from pytest_memguard.service.relief import Relief

__all__ = ["Judgement"]


class Judgement:
    """
    Judges the readings of a monitor, and knows what went into the caches meanwhile.

    Growth without a full collection may be garbage. Where one is brief enough it is run, once a window, and growth
    that is explained by what it frees is no leak.

    Args:
        monitor: Has the readings.
        relief: Collects.
        limit_bytes: The memory limit.
        caches: Returns the named caches, None where there are none.
        clock: That of the readings.

    """

    def __init__(
        self,
        monitor: Monitor,
        relief: Relief,
        limit_bytes: int,
        caches: Callable[[], Caches | None],
        clock: Callable[[], float],
    ) -> None:
        self._monitor = monitor
        self._relief = relief
        self._limit_bytes = limit_bytes
        self._caches = caches
        self._clock = clock
        self._log = FillLog()
        self._collected_s = -math.inf
        self._freed: dict[Metric, float] = {}

    def note(self, time_s: float) -> None:
        """Remember how full the caches are."""
        caches = self._caches()
        if caches is not None:
            self._log.note(time_s, caches)

    def clear(self) -> None:
        """Forget the past: the process is another one."""
        self._log.clear()
        self._collected_s = -math.inf

    def detect(self, since_s: float = -math.inf) -> Detection:
        """Judge the readings after *since_s*; collect where that may change the verdict."""
        found = self._judge(since_s)
        if not found.leaks or found.collected:
            return found
        garbage = self._garbage(since_s)
        return found if garbage is None else self._judge(since_s, garbage)

    def _judge(self, since_s: float, garbage: Mapping[Metric, float] | None = None) -> Detection:
        from pytest_memguard.service.detection import detect  # noqa: PLC0415 - only where it is asked for

        readings = [reading for reading in self._monitor.history if reading.time_s > since_s]
        return detect(readings, limit_bytes=self._limit_bytes, now_s=self._clock(), caches=self._fills, garbage=garbage)

    def _fills(self, since_s: float) -> Sequence[CacheFill]:
        caches = self._caches()
        return () if caches is None else self._log.since(since_s, caches.statistics())

    def _garbage(self, since_s: float) -> dict[Metric, float] | None:
        """Return what the full collection of this window freed, by counter; None where it would take too long."""
        if self._collected_s <= max(since_s, self._monitor.window[0].time_s):
            if not self._relief.can_collect:
                return None
            self._relief.empty_free_lists()
            before = self._monitor.read()
            self._relief.collect()
            self._collected_s, self._freed = before.time_s, _freed(before, self._monitor.read())
        return self._freed


def _freed(before: Reading, after: Reading) -> dict[Metric, float]:
    """Return by how much each counter fell, if there were objects in cycles at all."""
    if after.gc.freed == before.gc.freed:
        return {}
    fallen = {
        BLOCKS: before.blocks - after.blocks,
        HEAP: (before.heap_bytes or 0) - (after.heap_bytes or 0),
        FDS: before.fds - after.fds,
        THREADS: before.threads - after.threads,
    }
    return {metric: float(max(0, count)) for metric, count in fallen.items()}
