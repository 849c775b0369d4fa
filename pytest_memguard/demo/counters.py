"""The counters of this process, read at once and from no window: what the guard's verdicts can be held against."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from pytest_memguard.probes.heap import NativeHeap
from pytest_memguard.probes.interpreter import AllocatedBlocks, CollectorObjects
from pytest_memguard.probes.process import Descriptors, ResidentMemory, StatMemory, Threads
from pytest_memguard.probes.tasks import PendingTasks

if TYPE_CHECKING:
    from pytest_memguard.core.ports import Probe

__all__ = ["Counters"]


class Counters:
    """Reads every counter that can be read here."""

    def __init__(self) -> None:
        memory = StatMemory if StatMemory.available() else ResidentMemory
        self._probes: list[Probe] = [memory(), Descriptors(), Threads(), CollectorObjects(), PendingTasks()]
        self._probes += [probe() for probe in (AllocatedBlocks, NativeHeap) if probe.available()]
        self._names = [metric.name for probe in self._probes for metric in probe.metrics]

    def read(self) -> dict[str, int]:
        """Return all counters by the name of their metric, in bytes or as counts."""
        row = array("q", [0]) * len(self._names)
        at = 0
        for probe in self._probes:
            probe.read(row, at)
            at += len(probe.metrics)
        return dict(zip(self._names, row, strict=True))
