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
    from pytest_memguard.service.relief import Relief

__all__ = ["Judgement"]


class Judgement:
    """
    Judges the readings of a monitor, and knows what went into the caches meanwhile.

    Growth of which no full collection was part may be garbage. Where one is brief enough, it is run, once, and what it
    frees is not held against the service.

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

    def note(self, time_s: float) -> None:
        """Remember how full the caches are."""
        caches = self._caches()
        if caches is not None:
            self._log.note(time_s, caches)

    def clear(self) -> None:
        """Forget the caches' past: the process is another one."""
        self._log.clear()

    def detect(self, since_s: float = -math.inf) -> Detection:
        """Judge the readings after *since_s*; collect where that may change the verdict."""
        found = self._judge(since_s)
        if not found.leaks or found.collected:
            return found
        garbage = self._garbage()
        return found if garbage is None else self._judge(since_s, garbage)

    def _judge(self, since_s: float, garbage: Mapping[Metric, float] | None = None) -> Detection:
        from pytest_memguard.service.detection import detect  # noqa: PLC0415 - only where it is asked for

        readings = [reading for reading in self._monitor.history if reading.time_s > since_s]
        return detect(readings, limit_bytes=self._limit_bytes, now_s=self._clock(), caches=self._fills, garbage=garbage)

    def _fills(self, since_s: float) -> Sequence[CacheFill]:
        caches = self._caches()
        return () if caches is None else self._log.since(since_s, caches.statistics())

    def _garbage(self) -> dict[Metric, float] | None:
        """Return what a full collection frees now, by counter; None where it would take too long."""
        before = self._monitor.read()
        if self._relief.collect_if_brief() is None:
            return None
        after = self._monitor.read()
        freed = {
            BLOCKS: before.blocks - after.blocks,
            HEAP: (before.heap_bytes or 0) - (after.heap_bytes or 0),
            FDS: before.fds - after.fds,
            THREADS: before.threads - after.threads,
        }
        return {metric: float(max(0, count)) for metric, count in freed.items()}
