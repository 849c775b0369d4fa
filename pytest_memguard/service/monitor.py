"""The thread that reads the memory of its own process, and the window of its latest readings."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_memguard.core.values import BLOCKS, FDS, HEAP, MAPPED, RSS, THREADS
from pytest_memguard.service.readings import GcStats, Log, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_memguard.core.ports import Probe

__all__ = ["Collections", "Monitor", "Reader"]

#: What the window drops is kept this far apart, and for a day.
_OLDER_APART_S, _OLDER = 60.0, 1440
#: A wait may end a little early; a reading this share of an interval after the last one is still the next one.
_NEARLY = 0.9
#: A collection takes 50 to 110 ns an object (55,000 to 750,000 objects, CPython 3.10 and 3.13).
_COLLECTING_S = 110e-9
#: An action that hangs must not keep a process from ending, or from forking.
_LONGEST_END_S = 2.0


class Collections:
    """Counts what the collector does, through ``gc.callbacks``."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._counts = [0, 0, 0]
        self._began = 0.0
        self._seconds = 0.0
        self._freed = 0
        self._visited = 0
        self._looks_at = 0
        self._survivors = [0, 0, 0]
        self.latest_s = [0.0, 0.0, 0.0]
        self._looks_away = False

    def start(self) -> None:
        """Begin to count; what the oldest generation holds already is counted once."""
        if self not in gc.callbacks:
            self._survivors = [0, 0, len(gc.get_objects())]
            gc.callbacks.append(self)

    def stop(self) -> None:
        """Stop counting; what was counted stays."""
        if self in gc.callbacks:
            gc.callbacks.remove(self)

    def __call__(self, phase: str, details: dict[str, int]) -> None:
        """Be told by the collector that it starts or stops."""
        if self._looks_away:
            return
        generation = details["generation"]
        if phase == "start":
            self._looks_at = self._objects(generation)
            self._began = self._clock()
            return
        pause_s = self._clock() - self._began
        self._counts[generation] += 1
        self._seconds += pause_s
        self.latest_s[generation] = pause_s
        self._freed += details["collected"]
        self._visited += self._looks_at
        self._survivors[: generation + 1] = [0] * (generation + 1)
        self._survivors[min(generation + 1, 2)] += max(0, self._looks_at - details["collected"])

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Count no collection meanwhile."""
        self._looks_away = True
        try:
            yield
        finally:
            self._looks_away = False

    def expected_s(self, generation: int) -> float:
        """Return how long a collection will take: as long as the latest, or by the objects where there was none."""
        return self.latest_s[generation] or self._objects(generation) * _COLLECTING_S

    def _objects(self, generation: int) -> int:
        return gc.get_count()[0] + sum(self._survivors[: generation + 1])

    @property
    def stats(self) -> GcStats:
        """What was counted so far."""
        young, middle, old = self._counts
        return GcStats((young, middle, old), self._seconds, self._freed, self._visited)


class Reader:
    """Reads the cheap counters, with the probes that work here."""

    def __init__(self, used: Callable[[int, int | None], int | None] | None = None) -> None:
        self._used = used
        self._probes = _probes()
        self._places: dict[str, int] = {}
        for probe in self._probes:
            for metric in probe.metrics:
                self._places[metric.name] = len(self._places)
        self._row = array("q", [0]) * len(self._places)

    def __call__(self, time_s: float, requests: int, gc_stats: GcStats) -> Reading:
        """Return the counters of this moment."""
        at = 0
        for probe in self._probes:
            probe.read(self._row, at)
            at += len(probe.metrics)
        rss, mapped = self._row[self._places[RSS.name]], self._get(MAPPED.name)
        return Reading(
            time_s=time_s,
            rss_bytes=rss,
            heap_bytes=self._get(HEAP.name),
            mapped_bytes=mapped,
            blocks=self._get(BLOCKS.name) or 0,
            fds=self._get(FDS.name) or 0,
            threads=self._get(THREADS.name) or 0,
            requests=requests,
            gc=gc_stats,
            used_bytes=self._used(rss, mapped) if self._used else None,
        )

    def _get(self, name: str) -> int | None:
        place = self._places.get(name)
        return None if place is None else self._row[place]


def _probes() -> tuple[Probe, ...]:
    """Return what can be read here in a few microseconds."""
    from pytest_memguard.probes import heap, interpreter, process  # noqa: PLC0415 - only where a guard is made

    memory = process.StatMemory if process.StatMemory.available() else process.ResidentMemory
    found: list[Probe] = [memory(), process.Descriptors(), process.Threads()]
    found += [probe() for probe in (heap.NativeHeap, interpreter.AllocatedBlocks) if probe.available()]
    return tuple(found)


class Monitor:
    """
    Takes a reading at each interval, in a thread of its own, and keeps the latest.

    A process that forks gets the thread back afterwards, and so does the child, with a window of its own: the thread is
    not there while the process is copied, so that no lock is copied in a locked state.

    Args:
        interval_s: Seconds between two readings.
        window: How many are kept.
        read: Makes a reading from a time, the requests so far, and the collector's counts.
        clock: Never goes back.
        requests: How many requests are completed so far.

    """

    def __init__(
        self,
        interval_s: float = 5.0,
        window: int = 60,
        read: Callable[[float, int, GcStats], Reading] | None = None,
        clock: Callable[[], float] = time.monotonic,
        requests: Callable[[], int] = int,
    ) -> None:
        self.interval_s = interval_s
        #: Seconds until the next look; less than the interval where there is no time to lose.
        self.pace_s = interval_s
        self.listeners: list[Callable[[Reading], None]] = []
        #: Are told what a reading or a listener raised; the thread lives on.
        self.failures: list[Callable[[Exception], None]] = []
        #: Are called in a forked child, before the thread runs there.
        self.births: list[Callable[[], None]] = []
        self.collections = Collections()
        self._read = read if read is not None else Reader()
        self._clock = clock
        self._requests = requests
        self._window = Log(window)
        self._older = Log(_OLDER)
        self._latest: Reading | None = None
        self._thread: threading.Thread | None = None
        self._bell = threading.Event()
        self._switch = threading.RLock()
        self._paused = False
        _MONITORS.add(self)

    @property
    def window(self) -> tuple[Reading, ...]:
        """The latest readings, an interval apart, the oldest first."""
        return tuple(self._window)

    @property
    def history(self) -> tuple[Reading, ...]:
        """What left the window, a minute apart and for a day at most, and the window."""
        return (*self._older, *self._window)

    @property
    def latest(self) -> Reading:
        """The last reading taken, of the window or not; the first one where there was none."""
        return self._latest or self.sample()

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def sample(self) -> Reading:
        """Take a reading now, and tell the listeners; the window takes it where the last one is an interval old."""
        reading = self.read()
        self._latest = reading
        last = self._window.last
        if last is None or reading.time_s - last.time_s >= self.interval_s * _NEARLY:
            self._keep(reading)
        for listener in tuple(self.listeners):
            listener(reading)
        return reading

    def read(self) -> Reading:
        """Take a reading that nobody is told of."""
        return self._read(self._clock(), self._requests(), self.collections.stats)

    def _keep(self, reading: Reading) -> None:
        leaving = self._window.first if self._window.full else None
        older = self._older.last
        if leaving is not None and (older is None or leaving.time_s - older.time_s >= _OLDER_APART_S):
            self._older.append(leaving)
        self._window.append(reading)

    def start(self) -> None:
        """Start the thread; harmless where it runs."""
        with self._switch:
            if self._thread is None:
                self.collections.start()
                self._start_thread()

    def stop(self) -> None:
        """End the thread; harmless where it does not run."""
        with self._switch:
            self._paused = False
            self._end_thread()
            self.collections.stop()

    def wake(self) -> None:
        """Take the next reading at once, in the thread."""
        self._bell.set()

    def _start_thread(self) -> None:
        self._bell.clear()
        self._thread = threading.Thread(target=self._loop, name="memguard-monitor", daemon=True)
        self._thread.start()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        self._bell.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(_LONGEST_END_S)

    def _loop(self) -> None:
        current = threading.current_thread()
        while True:
            self._bell.wait(self.pace_s)
            if self._thread is not current:
                return
            self._bell.clear()
            try:
                self.sample()
            except Exception as error:  # noqa: BLE001 - nothing that is read or done may end the watch
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        for listener in self.failures:
            try:
                listener(error)
            except Exception:  # noqa: BLE001, S112 - out of memory, most likely: there is nobody left to tell
                continue

    def pause(self) -> None:
        """End the thread until ``resume``: the process is about to be copied."""
        if self._thread is not None:
            self._paused = True
            self._end_thread()

    def resume(self) -> None:
        """Start the thread again where ``pause`` ended it."""
        if self._paused:
            self._paused = False
            self._start_thread()

    def be_born(self) -> None:
        """Begin anew in a forked child: nothing that was read before is about this process."""
        self._bell, self._switch = threading.Event(), threading.RLock()
        self._window.clear()
        self._older.clear()
        self._latest = None
        for listener in self.births:
            listener()
        self.resume()


_MONITORS: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _before_fork() -> None:
    for monitor in tuple(_MONITORS):
        monitor.pause()


def _after_fork_in_parent() -> None:
    for monitor in tuple(_MONITORS):
        monitor.resume()


def _after_fork_in_child() -> None:
    if not _is_copy():
        for monitor in tuple(_MONITORS):
            monitor.be_born()


def _is_copy() -> bool:
    """Whether this child is but a copy that a heap snapshot is taken of: what is not watched cannot change it."""
    forking = sys.modules.get("pytest_memguard.heap.forking")
    return forking is not None and bool(forking.is_forking())


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
