"""The monitor: what it reads, what it keeps, and that its thread survives what happens to processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest

from pytest_memguard.service.monitor import Collections, Monitor, Reader
from pytest_memguard.service.readings import GcStats, Reading

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
SOON_S = 10.0


class Script:
    """A clock and a reader: each reading comes *step_s* after the one before it, with the next number of bytes."""

    def __init__(self, step_s: float = 5.0) -> None:
        self.step_s = step_s
        self.now_s = 0.0
        self.read_count = 0

    def clock(self) -> float:
        """Return the time, a step later than before."""
        self.now_s += self.step_s
        return self.now_s

    def read(self, time_s: float, requests: int, stats: GcStats) -> Reading:
        """Return the next reading."""
        self.read_count += 1
        return Reading(time_s, self.read_count, requests=requests, gc=stats)

    def monitor(self, **settings: int) -> Monitor:
        """Return a monitor that reads this."""
        return Monitor(read=self.read, clock=self.clock, **settings)


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """Return a real monitor that looks often, and is stopped afterwards."""
    monitor = Monitor(interval_s=0.01, window=5)
    yield monitor
    monitor.stop()


def heard(monitor: Monitor) -> threading.Event:
    """Return an event that the next reading sets."""
    event = threading.Event()
    monitor.listeners.append(lambda _: event.set())
    return event


# Readings


def test_a_reading_is_of_this_process() -> None:
    """Every counter that this platform has is read."""
    reading = Reader()(1.5, 7, GcStats())

    assert reading.time_s == 1.5
    assert reading.requests == 7
    assert reading.rss_bytes > 2**20
    assert reading.blocks > 1000
    assert reading.fds >= 3
    assert reading.threads >= threading.active_count()
    assert reading.used == reading.rss_bytes
    assert reading.gc_objects is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_memory_moves_its_counters() -> None:
    """64 MiB of bytes show in the heap, the mapped and the resident memory; many small objects in the blocks."""
    read = Reader()
    before = read(0, 0, GcStats())
    kept = [b"x" * 2**26, [object() for _ in range(10_000)]]
    after = read(1, 0, GcStats())

    assert after.heap_bytes is None or after.heap_bytes - before.heap_bytes >= 2**26
    assert after.mapped_bytes - before.mapped_bytes >= 2**25
    assert after.rss_bytes - before.rss_bytes >= 2**25
    assert after.blocks - before.blocks >= 10_000
    assert len(kept) == 2


def test_what_counts_against_the_limit_is_asked_for() -> None:
    """The rule of the limit is given resident and mapped bytes, and its answer is what is used."""
    asked = []

    def used(rss: int, mapped: int | None) -> int:
        asked.append((rss, mapped))
        return 42

    reading = Reader(used)(0, 0, GcStats())

    assert reading.used == reading.used_bytes == 42
    assert asked == [(reading.rss_bytes, reading.mapped_bytes)]


# The window


def test_the_window_keeps_the_latest() -> None:
    """A full window drops its oldest reading."""
    monitor = Script().monitor(window=3)
    for _ in range(5):
        monitor.sample()

    assert [reading.rss_bytes for reading in monitor.window] == [3, 4, 5]
    assert monitor.latest.rss_bytes == 5


def test_looks_in_between_do_not_shorten_the_window() -> None:
    """Readings that come sooner than an interval after the last one are told, but not kept."""
    script = Script(step_s=1.0)
    monitor = script.monitor(interval_s=5, window=3)
    told = []
    monitor.listeners.append(told.append)
    for _ in range(11):
        monitor.sample()

    assert [reading.time_s for reading in monitor.window] == [1.0, 6.0, 11.0]
    assert len(told) == 11


@pytest.mark.parametrize(("step_s", "kept"), [(4.4, 2), (4.6, 3)])
def test_a_wait_may_end_a_little_early(step_s: float, kept: int) -> None:
    """Nine tenths of an interval are one."""
    monitor = Script(step_s).monitor(interval_s=5)
    for _ in range(3):
        monitor.sample()

    assert len(monitor.window) == kept


def test_history_is_a_minute_apart() -> None:
    """Of what leaves the window one reading a minute is kept, before the window itself."""
    monitor = Script(step_s=20.0).monitor(interval_s=20, window=2)
    for _ in range(10):
        monitor.sample()

    assert [reading.time_s for reading in monitor.history] == [20.0, 80.0, 140.0, 180.0, 200.0]


def test_history_ends_after_a_day() -> None:
    """However long the process runs, a day of readings is kept."""
    monitor = Script(step_s=60.0).monitor(interval_s=60, window=2)
    for _ in range(2000):
        monitor.sample()

    assert len(monitor.history) == 1440 + 2


def test_requests_are_asked_for() -> None:
    """Each reading has the requests completed so far."""
    script = Script()
    counts = iter([3, 8])
    monitor = Monitor(read=script.read, clock=script.clock, requests=lambda: next(counts))

    assert [monitor.sample().requests, monitor.sample().requests] == [3, 8]


# The collector


def test_collections_are_counted() -> None:
    """A full collection that frees a thousand cycles shows in all numbers, and is looked at as a whole."""
    collections = Collections()
    gc.collect()
    collections.start()
    try:
        for _ in range(1000):
            cycle: list[object] = []
            cycle.append(cycle)
        del cycle
        tracked = len(gc.get_objects())
        gc.collect()
    finally:
        collections.stop()
    stats = collections.stats

    assert stats.collections[2] == 1
    assert stats.freed >= 1000
    assert 0.8 * tracked <= stats.visited <= 3 * tracked
    assert 0 < stats.efficiency < 1
    assert 0 < stats.average_s <= stats.seconds < SOON_S
    assert collections.latest_s[2] > 0


def test_counting_ends() -> None:
    """After stop nothing is left in the collector's list; two starts are one."""
    collections = Collections()
    before = list(gc.callbacks)
    collections.start()
    collections.start()

    assert gc.callbacks == [*before, collections]

    collections.stop()
    collections.stop()

    assert gc.callbacks == before


def test_visited_by_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A young collection looks at what is new; an older one also at what the younger ones left."""
    collections = Collections(clock=iter(range(100)).__next__)
    monkeypatch.setattr(gc, "get_count", lambda: (100, 0, 0))
    for generation, collected in ((0, 40), (0, 10), (1, 50)):
        collections("start", {"generation": generation, "collected": 0, "uncollectable": 0})
        collections("stop", {"generation": generation, "collected": collected, "uncollectable": 0})

    assert collections.stats == GcStats((2, 1, 0), 3, 100, 100 + 100 + (100 + 60 + 90))
    assert collections.stats.efficiency == 100 / 450
    assert collections.stats.average_s == 1


def test_nothing_collected_yet() -> None:
    """Ratios of nothing are zero."""
    assert GcStats().efficiency == 0
    assert GcStats().average_s == 0


# The thread


def test_the_thread_reads(monitor: Monitor) -> None:
    """It takes readings by itself, as a daemon with a name."""
    event = heard(monitor)
    monitor.start()
    thread = next(one for one in threading.enumerate() if one.name == "memguard-monitor")

    assert thread.daemon
    assert event.wait(SOON_S)
    assert monitor.window


def test_several_starts_and_stops(monitor: Monitor) -> None:
    """Two starts make one thread, two stops end it, and it can be started again."""
    before = threading.active_count()
    monitor.start()
    monitor.start()

    assert threading.active_count() == before + 1

    monitor.stop()
    monitor.stop()

    assert threading.active_count() == before
    assert not monitor.running

    monitor.start()

    assert heard(monitor).wait(SOON_S)


def test_it_can_be_woken() -> None:
    """A reading is taken at once, however long the interval."""
    monitor = Monitor(interval_s=3600)
    event = heard(monitor)
    monitor.start()
    try:
        monitor.wake()

        assert event.wait(SOON_S)
    finally:
        monitor.stop()


def test_a_failure_does_not_end_the_watch(monitor: Monitor) -> None:
    """What a listener raises is told, and the next reading comes."""
    failures: list[Exception] = []
    again = threading.Event()

    def listen(_: Reading) -> None:
        if failures:
            again.set()
        raise MemoryError

    def complain(_: Exception) -> None:
        raise RuntimeError("no memory to complain with")

    monitor.failures += [complain, failures.append]
    monitor.listeners.append(listen)
    monitor.start()

    assert again.wait(SOON_S)
    assert isinstance(failures[0], MemoryError)


def test_it_can_be_stopped_from_its_own_thread(monitor: Monitor) -> None:
    """An action that stops the guard does not wait for itself."""
    stopped = threading.Event()

    def stop(_: Reading) -> None:
        monitor.stop()
        stopped.set()

    monitor.listeners.append(stop)
    monitor.start()

    assert stopped.wait(SOON_S)
    assert not monitor.running


# Forks

_FORK = """
import os, sys, threading
threads = []
os.register_at_fork(before=lambda: threads.append(threading.active_count()))  # the first one in is the last one asked
from pytest_memguard.service.monitor import Monitor

monitor = Monitor(interval_s=0.01, window=100)
event = threading.Event()
monitor.listeners.append(lambda _: event.set())
inherited = []
monitor.births.append(lambda: inherited.append(len(monitor.window)))
monitor.start()
assert event.wait(10)
for _ in range({forks}):
    child = os.fork()
    if child == 0:
        assert inherited == [0], "the window is the parent's"
        event.clear()
        assert event.wait(10), "no reading in the child"
        assert threading.active_count() == 2
        os._exit(7)
    event.clear()
    assert event.wait(10), "no reading in the parent"
    assert threading.active_count() == 2, threading.enumerate()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert threads == [1] * {forks}, threads
monitor.stop()
child = os.fork()
if child == 0:
    os._exit(monitor.running)
assert os.waitpid(child, 0)[1] == 0, "stopped, and yet started in the child"
print("fine")
"""


@FORKS
def test_the_thread_comes_back_after_a_fork() -> None:
    """In the parent and in the child, which begins anew; while the process is copied there is none."""
    script = textwrap.dedent(_FORK.format(forks=20))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert done.stdout == "fine\n"


@FORKS
def test_a_fork_from_the_thread_itself() -> None:
    """An action may start a process; both sides go on watching."""
    script = """
    import os, threading
    from pytest_memguard.service.monitor import Monitor

    monitor = Monitor(interval_s=0.01)
    states, done = [], threading.Event()

    def listen(_):
        if not states:
            states.append(os.fork())
            if states == [0]:
                os._exit(monitor.running and 7)
            states.append(os.waitstatus_to_exitcode(os.waitpid(states[0], 0)[1]))
        elif len(states) == 2:
            done.set()

    monitor.listeners.append(listen)
    monitor.start()
    assert done.wait(10)
    print(states[1])
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout == "7\n"


@FORKS
def test_a_copy_for_a_snapshot_is_not_watched() -> None:
    """Nothing of the monitor runs in it, and the window that the snapshot shows is the process's own."""
    script = """
    import threading
    from pytest_memguard.heap import forking
    from pytest_memguard.service.monitor import Monitor

    monitor = Monitor(interval_s=3600)
    monitor.sample()
    monitor.start()
    look = lambda relax: {"threads": threading.active_count(), "window": len(monitor.window)}
    answer, _ = forking.in_copy(look, memory_bytes=2**30, seconds=20)
    print(answer["threads"], answer["window"], threading.active_count())
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout == "1 1 2\n"
