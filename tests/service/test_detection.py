"""What readings of a service say: each verdict, on both sides of its line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_memguard.core.floors import WINDOWS
from pytest_memguard.core.values import Metric
from pytest_memguard.service.detection import LEAKS, VERDICTS, CacheFill, detect
from pytest_memguard.service.readings import GcStats, Reading
from pytest_memguard.service.tracks import BLOCKS, FDS, HEAP, LEAST_GROWTH, LIVE_FROM_S, RSS, THREADS

MIB = 2**20
PLAIN = Reading(
    time_s=0.0, rss_bytes=200 * MIB, heap_bytes=40 * MIB, mapped_bytes=300 * MIB, blocks=500_000, fds=20, threads=8
)
Grow = Callable[[int], float]


def window(
    n: int = 60,
    *,
    every_s: float = 5.0,
    a_reading: int = 5,
    collects: bool = True,
    has_heap: bool = True,
    **grows: Grow,
) -> tuple[Reading, ...]:
    """Return n readings, *a_reading* requests between two, each counter grown by what its function says."""
    readings = []
    for at in range(n):
        counters: dict[str, Any] = {
            name: getattr(PLAIN, name) + int(grow(at)) for name, grow in grows.items() if name != "requests"
        }
        requests = int(grows["requests"](at)) if "requests" in grows else a_reading * at
        stats = GcStats((at, at // 5, at // 10 if collects else 0), 0.001 * at, 10 * at, 100 * at)
        readings.append(replace(PLAIN, time_s=every_s * at, requests=requests, gc=stats, **counters))
    return tuple(readings if has_heap else (replace(reading, heap_bytes=None) for reading in readings))


def line(each: float) -> Grow:
    """Grow by so much a reading."""
    return lambda at: each * at


def noise(spread: float, seed: int = 1) -> Grow:
    """Swing by so much, the same on every machine."""
    chance = Random(seed)  # noqa: S311 - nothing secret is drawn
    return lambda at: chance.gauss(0, spread)


def test_clean() -> None:
    """A service whose counters swing does not leak."""
    found = detect(window(blocks=noise(300), heap_bytes=noise(50_000), rss_bytes=noise(MIB), fds=noise(3)))

    assert found.verdict == "none"
    assert found.recommendations == ()
    assert found.time_to_limit_s is None
    assert found.confidence < 0.1


@pytest.mark.parametrize(
    ("grows", "verdict", "metric", "each", "word"),
    [
        ({"blocks": line(50)}, "leak_python", "blocks", 10, "Blocks grow"),
        ({"blocks": line(50), "heap_bytes": line(50 * 1024)}, "leak_python", "blocks", 10, "Blocks grow"),
        ({"heap_bytes": line(50 * 1024), "rss_bytes": line(51_200)}, "leak_native", "heap", 10240, "Heap grows"),
        ({"rss_bytes": line(MIB)}, "fragmentation", "rss", MIB / 5, "RSS grows"),
        ({"fds": line(5), "blocks": line(50)}, "leak_python", "fds", 1, "Descriptors (fds) grow"),
        ({"threads": line(5), "heap_bytes": line(MIB)}, "leak_python", "threads", 1, "Threads grow"),
    ],
)
def test_growth_per_request(grows: dict[str, Grow], verdict: str, metric: str, each: float, word: str) -> None:
    """Each counter that grows with the requests gives its verdict, names itself, and says how much a request."""
    found = detect(window(**grows), limit_bytes=1024 * MIB)

    assert (found.verdict, found.metric) == (verdict, metric)
    assert found.per_request is not None
    assert found.per_request.low <= each * 1.001
    assert found.per_request.point == pytest.approx(each, rel=0.05)
    assert found.recommendations[0].startswith(word)
    assert "a request" in found.reason
    assert found.leaks is (verdict in LEAKS)


@pytest.mark.parametrize("every_s", [0.2, 5.0, 30.0])
def test_growth_per_hour(every_s: float) -> None:
    """Where no requests come, growth is told by the hour, at any interval."""
    found = detect(window(every_s=every_s, a_reading=0, blocks=line(50)))

    assert (found.verdict, found.metric, found.per_request) == ("leak_python", "blocks", None)
    assert found.per_hour is not None
    assert found.per_hour.point == pytest.approx(50 / every_s * 3600, rel=0.01)
    assert "an hour" in found.reason


def test_burst_and_idle() -> None:
    """A burst of load that leaks is a leak, though most of the window is idle."""

    def requests(at: int) -> float:
        return 15 * min(max(at - 20, 0), 20)

    found = detect(window(requests=requests, heap_bytes=lambda at: 10_240 * requests(at)))

    assert (found.verdict, found.metric) == ("leak_native", "heap")


def test_heap_with_blocks_beside_it() -> None:
    """Blocks that rise beside the heap, but not evenly, make it a leak in Python."""
    shaky = noise(250)
    found = detect(window(heap_bytes=line(50 * 1024), blocks=lambda at: 20 * at + shaky(at)))

    assert (found.verdict, found.metric) == ("leak_python", "heap")
    assert "compare" in found.recommendations[0]


def test_without_heap() -> None:
    """Where the heap cannot be read, growth outside Python is called native."""
    found = detect(window(has_heap=False, rss_bytes=line(MIB)))

    assert (found.verdict, found.metric) == ("leak_native", "rss")


@pytest.mark.parametrize(
    ("name", "metric"),
    [("blocks", BLOCKS), ("heap_bytes", HEAP), ("rss_bytes", RSS), ("fds", FDS), ("threads", THREADS)],
)
@pytest.mark.parametrize(("share", "grows"), [(0.9, False), (1.2, True)])
def test_least_growth(name: str, metric: Metric, share: float, *, grows: bool) -> None:
    """Growth of less than is worth a word is not called a leak, however even."""
    n = WINDOWS * 10 + 1
    total = share * LEAST_GROWTH[metric] * WINDOWS / (WINDOWS - 1)
    found = detect(window(n, a_reading=0, **{name: lambda at: total * at / (n - 1)}))

    assert (found.verdict != "none") is grows


def test_load() -> None:
    """Memory that follows the load is load."""
    chance = Random(5)  # noqa: S311 - nothing secret is drawn
    rates = [60 * at + chance.randrange(100) for at in range(60)]
    done = [sum(rates[: at + 1]) for at in range(60)]
    found = detect(window(requests=done.__getitem__, heap_bytes=lambda at: 20_000 * rates[at]))

    assert (found.verdict, found.metric) == ("load", "heap")
    assert found.time_to_limit_s is None
    assert found.confidence <= 0.3


@pytest.mark.parametrize(("tau", "verdict"), [(12, "cache_filling"), (60, "leak_native")])
def test_slowing(tau: float, verdict: str) -> None:
    """Growth that slows down to less than half is a cache that fills."""
    found = detect(window(heap_bytes=lambda at: 5e9 * (1 - math.exp(-at / tau))))

    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("cache", "verdict"),
    [
        (CacheFill("users", 300, 700, 55 * 50 * 1024), "cache_filling"),
        (CacheFill("users", 300, 700, 20 * 50 * 1024), "leak_native"),
        (CacheFill("users", 300, 0, 55 * 50 * 1024), "leak_native"),
        (CacheFill("users", 0, 700, 55 * 50 * 1024), "leak_native"),
    ],
)
def test_known_cache(cache: CacheFill, verdict: str) -> None:
    """Growth that a cache with room left took half of is the cache; one that is full or too small explains nothing."""
    found = detect(window(heap_bytes=line(50 * 1024)), caches=lambda since_s: [cache])

    assert found.verdict == verdict
    assert ("into users" in found.reason) is (verdict == "cache_filling")


@pytest.mark.parametrize(
    ("n", "verdict", "needs_s"), [(0, "needs_data", 75), (1, "needs_data", 70), (14, "needs_data", 5)]
)
def test_too_few(n: int, verdict: str, needs_s: float) -> None:
    """Fewer than 15 readings say how long to wait."""
    found = detect(window(n, blocks=line(50)))

    assert (found.verdict, found.needs_s) == (verdict, needs_s)
    assert set(found.policies.values()) == {0.0}


def test_enough() -> None:
    """Fifteen readings are enough."""
    assert detect(window(15, blocks=line(50))).verdict == "leak_python"


def test_wait_from_now() -> None:
    """A wait is counted from now, and is never negative."""
    readings = window(10)

    assert detect(readings, now_s=readings[-1].time_s + 4).needs_s == 21
    assert detect(readings, now_s=readings[-1].time_s + 400).needs_s == 0


@pytest.mark.parametrize(("after", "verdict"), [(14, "restart"), (15, "leak_python")])
def test_restart(after: int, verdict: str) -> None:
    """After a restart everything is measured anew, and until then the verdict is the restart."""
    found = detect((*window(60), *window(after, blocks=line(50))))

    assert found.verdict == verdict


@pytest.mark.parametrize(
    "first",
    [
        replace(PLAIN, time_s=300, requests=0, gc=GcStats((900, 900, 900))),
        replace(PLAIN, time_s=300, requests=10_000),
        replace(PLAIN, time_s=1e9, requests=0),
    ],
)
def test_signs_of_a_restart(first: Reading) -> None:
    """Requests, collections and time only rise within one process."""
    readings = [replace(PLAIN, time_s=305.0 + at, requests=at) for at in range(5)]

    assert detect([first, *readings]).verdict == "restart"


@pytest.mark.parametrize(
    ("bursts", "verdict"), [(2, "none"), (3, "needs_data"), (13, "needs_data"), (14, "leak_python")]
)
def test_load_in_few_intervals(bursts: int, verdict: str) -> None:
    """A counter that rose whenever requests came needs more of them."""

    def requests(at: int) -> float:
        return 20 * min(max(at - 30, 0), bursts)

    found = detect(window(requests=requests, fds=requests))

    assert found.verdict == verdict
    if verdict == "needs_data":
        assert found.needs_s == 5 * (14 - bursts)
        assert "under load" in found.reason


@pytest.mark.parametrize(("every_s", "verdict"), [(30.0, "leak_native"), (31.0, "needs_data")])
def test_minutes_apart(every_s: float, verdict: str) -> None:
    """Readings more than half a minute apart cannot tell a leak from a cache that fills before six hours."""
    readings = window(55, every_s=every_s, heap_bytes=line(MIB))
    found = detect(readings)

    assert found.verdict == verdict
    assert found.needs_s == (None if verdict != "needs_data" else LIVE_FROM_S - 54 * every_s)


def test_descriptors_minutes_apart() -> None:
    """Descriptors are no cache: they are named at once."""
    assert detect(window(55, every_s=60, fds=line(5))).metric == "fds"


@pytest.mark.parametrize(("minutes", "verdict"), [(359, "needs_data"), (361, "leak_native")])
def test_live(minutes: int, verdict: str) -> None:
    """A leak of 0.1 MB a minute is named after six hours, and surely."""
    shaky = noise(1.5 * MIB)
    found = detect(window(minutes, every_s=60, heap_bytes=lambda at: 0.1 * MIB * at + shaky(at) / 3))

    assert found.verdict == verdict
    assert found.confidence == (0.0 if verdict == "needs_data" else pytest.approx(0.68, abs=0.01))


@pytest.mark.parametrize(
    "grows",
    [
        {"heap_bytes": lambda at: 100 * MIB * min(1, at / 240)},
        {"heap_bytes": lambda at: 60 * MIB * (1 - math.exp(-at / 30))},
        {"heap_bytes": lambda at: 50 * MIB * (at > 500)},
        {"blocks": lambda at: 50_000 * (at % 47) / 47},
    ],
)
def test_clean_days(grows: dict[str, Grow]) -> None:
    """A cache that filled, a warm-up, a deploy and a collector give no alarm over a day."""
    readings = window(1440, every_s=60, **grows)

    assert [detect(readings[:n]).leaks for n in range(30, 1441, 90)] == [False] * 16


def test_day_and_window() -> None:
    """A cache that slows down over a day is no leak to the window at its end; a thread a request is."""
    day = window(600, every_s=60, a_reading=60, heap_bytes=lambda at: 500 * MIB * (1 - math.exp(-at / 150)))
    close = [
        replace(reading, time_s=day[-1].time_s + 5.0 * at, requests=day[-1].requests + 5 * at, gc=day[-1].gc)
        for at, reading in enumerate(window(heap_bytes=line(50 * 1024)), start=1)
    ]
    close = [replace(reading, heap_bytes=(reading.heap_bytes or 0) + 490 * MIB) for reading in close]
    threads = [replace(reading, threads=at) for at, reading in enumerate(close)]

    assert detect(close).verdict == "leak_native"
    assert detect([*day, *close]).verdict == "cache_filling"
    assert detect([*day, *threads]).metric == "threads"


def test_history_before_the_window() -> None:
    """Minutes of history do not hide what the dense window at the end shows."""
    idle = [replace(reading, gc=GcStats()) for reading in window(20, every_s=60, a_reading=0)]
    close = [replace(reading, time_s=1300 + reading.time_s, gc=GcStats()) for reading in window(blocks=line(50))]

    assert detect([*idle, *close]).verdict == "leak_python"


@pytest.mark.parametrize(
    ("limit", "left_s"), [(400 * MIB, (200 - 59) / 1 * 5), (100 * MIB, 0), (None, None), (0, None)]
)
def test_time_to_limit(limit: float | None, left_s: float | None) -> None:
    """The time to the limit is what is left at the rate of the resident memory; 0 beyond it, None without one."""
    found = detect(window(rss_bytes=line(MIB), heap_bytes=line(MIB)), limit_bytes=limit)

    assert found.time_to_limit_s == (None if left_s is None else pytest.approx(left_s, rel=0.02))


def test_caches_are_asked_for_the_readings_that_are_judged() -> None:
    """What a cache took before these explains nothing."""
    asked: list[float] = []
    readings = window(200, heap_bytes=line(50 * 1024))
    detect(readings[20:], caches=lambda since_s: asked.append(since_s) or ())

    assert set(asked) == {readings[20].time_s}


@pytest.mark.parametrize(
    ("freed", "verdict"),
    [(None, "leak_python"), (0, "leak_python"), (2000, "leak_python"), (2100, "none"), (5000, "none")],
)
def test_garbage(freed: int | None, verdict: str) -> None:
    """What a full collection has just freed is no leak; what stays of the growth is."""
    found = detect(window(collects=False, blocks=line(50)), garbage=None if freed is None else {BLOCKS: freed})

    assert (found.verdict, found.collected) == (verdict, freed is not None)
    assert ("garbage in cycles" in found.reason) is (verdict == "none")


@pytest.mark.parametrize("collects", [False, True])
def test_collected(*, collects: bool) -> None:
    """Where no full collection ran, blocks may be garbage: less sure, and the first thing to do is to collect."""
    found = detect(window(collects=collects, blocks=line(50)))

    assert found.confidence == (0.8 if collects else 0.7)
    assert found.collected is collects
    assert ("collect()" in found.recommendations[0]) is not collects


def test_policies() -> None:
    """All named policies score the same floors; a straight line is one to the correlation."""
    found = detect(window(rss_bytes=line(40 * MIB), heap_bytes=line(40 * MIB)), limit_bytes=4096 * MIB)

    assert set(found.policies) == {"points", "correlation", "growth", "calibrated", "any", "all"}
    assert found.policies["correlation"] >= 95
    assert found.policies["growth"] >= 95
    assert found.policies["calibrated"] == pytest.approx(80)
    assert found.policies["any"] == max(found.policies.values())
    assert found.policies["all"] == min(found.policies.values())


COUNT = st.integers(0, 2**50)
READING = st.builds(
    Reading,
    time_s=st.floats(-1e9, 1e9),
    rss_bytes=COUNT,
    heap_bytes=st.none() | COUNT,
    blocks=COUNT,
    gc_objects=st.none() | COUNT,
    fds=COUNT,
    threads=COUNT,
    requests=COUNT,
)


@settings(deadline=None)
@given(st.lists(READING, max_size=40), st.booleans(), st.none() | COUNT)
def test_any_readings(readings: list[Reading], ordered: bool, limit: int | None) -> None:  # noqa: FBT001 - drawn
    """Whatever the readings are, there is a verdict."""
    if ordered:
        times = sorted(reading.time_s for reading in readings)
        requests = sorted(reading.requests for reading in readings)
        readings = [replace(r, time_s=t, requests=n) for r, t, n in zip(readings, times, requests, strict=True)]
    found = detect(readings, limit_bytes=limit)

    assert found.verdict in VERDICTS
    assert 0 <= found.confidence <= 1


def test_suspended() -> None:
    """A process that slept for a day has no long view, and is judged by what it has."""
    readings = window(30, blocks=line(50))
    later = [replace(reading, time_s=reading.time_s + 86_400, requests=reading.requests + 145, gc=GcStats((99, 9, 9)))
             for reading in readings]  # fmt: skip

    assert detect([*readings, *later]).verdict == "leak_python"


def test_readings_at_one_time() -> None:
    """Readings that all have the same time say nothing, and nothing breaks."""
    assert detect([PLAIN] * 20).verdict == "none"
