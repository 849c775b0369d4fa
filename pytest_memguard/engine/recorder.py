"""Readings in arrays that exist before the first one: the meter must not move what it measures."""

from __future__ import annotations

import sys
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import Metric, Phase, Readings
from pytest_memguard.engine import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_memguard.core.ports import Probe

__all__ = ["Recorder", "rest_and_read", "warm_up"]

_PHASES = tuple(Phase)
#: Python 3.10 allocates a cache for a function at this call; no other version does.
_CALLS_TO_A_CACHE = 1024


class Recorder:
    """
    Reads all probes into one pre-allocated table, one row a reading.

    The position lives in an array as well: an integer above 256 is an object of its own and would show as a block.
    """

    def __init__(self, probes: Sequence[Probe], capacity: int = 1024) -> None:
        self.metrics: tuple[Metric, ...] = tuple(metric for probe in probes for metric in probe.metrics)
        width = len(self.metrics)
        self._readers = tuple(_placed(probes))
        self._row = array("q", [0]) * width
        self._table = array("q", [0]) * (width * capacity)
        self._runs = array("q", [0]) * capacity
        self._phases = bytearray(capacity)
        self._used = array("q", [0])
        self._shared: dict[object, Any] = {}  # the runs and phases of most subjects are the same
        self.run_count = array("q", [0])

    def clear(self) -> None:
        """Forget all readings; the memory stays."""
        self._used[0] = 0
        self.run_count[0] = 0

    def __len__(self) -> int:
        """Return the number of readings since the last ``clear``."""
        return self._used[0]

    def read(self, phase: Phase) -> None:
        """Take one reading of every probe, for the number of runs made so far."""
        row = self._row
        for read, at in self._readers:
            read(row, at)
        self._keep(phase)

    def _keep(self, phase: Phase) -> None:
        used = self._used[0]
        if used == len(self._runs):
            self._grow()
        width = len(self._row)
        self._table[used * width : used * width + width] = self._row
        self._runs[used] = self.run_count[0]
        self._phases[used] = _PHASES.index(phase)
        self._used[0] = used + 1

    def _grow(self) -> None:
        # Rare (native mode with a large max_runs); the step shows in the readings that follow, once.
        self._table.extend(array("q", bytes(8 * len(self._table))))
        self._runs.extend(array("q", bytes(8 * len(self._runs))))
        self._phases.extend(bytes(len(self._phases)))

    def counter(self, metric: Metric) -> Callable[[], int]:
        """Return what reads one metric now, without keeping it; that says 0 where nothing reads it."""
        if metric not in self.metrics:
            return int
        at = self.metrics.index(metric)
        read, first = next(one for one in reversed(self._readers) if one[1] <= at)
        row = self._row

        def count() -> int:
            read(row, first)
            return row[at]

        return count

    def phase_count(self, phase: Phase) -> int:
        """Return the number of readings of one phase."""
        return self._phases[: self._used[0]].count(_PHASES.index(phase))

    def readings(self) -> Readings:
        """Return a copy of what was read, packed."""
        live = self.live()
        runs = self._shared.setdefault(live.runs, live.runs)
        phases = self._shared.setdefault(live.phases, live.phases)
        return replace(live, runs=runs, phases=phases, values=self._table[: len(live) * len(self._row)])

    def live(self) -> Readings:
        """
        Return what was read without copying it: for one look between two readings.

        A copy is larger each time, and each new size leaves a freed chunk in the C library's books as in use.
        """
        used = self._used[0]
        phases = tuple(map(_PHASES.__getitem__, self._phases[:used]))
        return Readings(self.metrics, tuple(self._runs[:used]), phases, self._table)


def _placed(probes: Sequence[Probe]) -> Iterator[tuple[Callable[[array[int], int], None], int]]:
    """Yield what reads each probe, and the column that its first metric stands in."""
    at = 0
    for probe in probes:
        yield probe.read, at
        at += len(probe.metrics)


def rest_and_read(recorder: Recorder) -> None:
    """Bring the process to rest, and take one reading of it."""
    settle.purge()
    with settle.quiet_finalizers():
        settle.collect()
    recorder.read(Phase.SCREEN)


def warm_up(probes: Sequence[Probe]) -> None:
    """Read so often that Python 3.10 has given its caches to the functions that read, in 0.05 s; no other has them."""
    if sys.version_info < (3, 11):
        recorder = Recorder(probes, capacity=_CALLS_TO_A_CACHE)
        with settle.frozen():
            for _ in range(_CALLS_TO_A_CACHE):
                rest_and_read(recorder)
