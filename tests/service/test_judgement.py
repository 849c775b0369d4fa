"""What a guard thinks of its own process: real readings, real garbage, and a clock that is scripted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_memguard.service.caches import Caches
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.monitor import Reader
from pytest_memguard.service.settings import GuardSettings


class _Process:
    """The process of the test, read every *interval_s* of a clock that is scripted."""

    def __init__(self, interval_s: float, caches: Caches | None = None, **settings: Any) -> None:  # noqa: ANN401
        self.now_s = 0.0
        self.interval_s = interval_s
        made = GuardSettings(interval_s=interval_s, limit_bytes=2**40, leak_detection=False, **settings)
        self.guard = Guard(made, caches=caches, read=Reader(), clock=lambda: self.now_s)
        self.guard._monitor.collections.start()

    def live(self, readings: int, work: Callable[[int], object] = lambda number: None) -> None:
        """Take so many readings, with ten requests and some *work* before each."""
        for number in range(readings):
            for _ in range(10):
                self.guard.count_request("", None)
            work(number)
            self.now_s += self.interval_s
            self.guard.look()

    def end(self) -> None:
        """Stop counting collections."""
        self.guard._monitor.collections.stop()


@pytest.fixture(autouse=True)
def _collect_when_told() -> Iterator[None]:
    """Keep the collector from running by itself, as the tests say when, and the heap of all tests out of its runs."""
    gc.collect()
    gc.disable()
    gc.freeze()  # a guard starts no collection that takes long
    yield
    gc.unfreeze()
    gc.enable()
    gc.collect()


@pytest.mark.parametrize(("interval_s", "readings"), [(5.0, 59), (5.0, 300), (30.0, 200), (60.0, 400)])
def test_its_own_readings_are_no_leak(interval_s: float, readings: int) -> None:
    """A process that does nothing does not leak, while the window fills, when it is full, and hours later."""
    process = _Process(interval_s)
    process.live(20)
    process.live(readings)
    verdict = process.guard.detect().verdict
    process.end()

    assert verdict == "none"


def _cycles(count: int) -> None:
    for _ in range(count):
        circle: list[object] = []
        circle.append(circle)


def test_garbage_is_no_leak() -> None:
    """Cycles that wait for the collector grow like a leak: they are collected once, and called what they are."""
    process = _Process(5.0)
    process.live(30, lambda _: _cycles(100))
    found = process.guard.detect()
    later = []
    for _ in range(20):
        process.live(1, lambda _: _cycles(100))
        later.append(process.guard.detect().verdict)
    collections = process.guard.metrics()["actions"]["collect"]["runs"]
    process.end()

    assert (found.verdict, found.collected, set(later)) == ("none", True, {"none"})
    assert "garbage in cycles" in found.reason
    assert collections == 1


def test_a_leak_stays_one() -> None:
    """What the collector does not free is a leak, and surer for having been collected."""
    process, held = _Process(5.0), []
    process.live(30, lambda number: held.extend(object() for _ in range(200)))
    found = process.guard.detect()
    process.end()

    assert (found.verdict, found.metric, found.collected) == ("leak_python", "blocks", True)
    assert found.confidence == 0.8
    assert len(held) == 6000


@pytest.mark.parametrize("settings", [{"pause_budget_s": 1e-6}, {"proactive_gc": False}])
def test_a_collection_that_is_not_wanted(settings: dict[str, Any]) -> None:
    """Where a collection is expected to take too long, or nothing is to be done below critical, none is run."""
    process = _Process(5.0, **settings)
    process.live(30, lambda _: _cycles(100))
    found = process.guard.detect()
    actions = process.guard.metrics()["actions"]
    process.end()

    assert (found.verdict, found.collected, actions) == ("leak_python", False, {})
    assert "Guard.collect()" in found.recommendations[0]


def _pages(cache: Any) -> Callable[[int], None]:  # noqa: ANN401 - a cache
    def fill(number: int) -> None:
        for page in range(20):
            cache[number, page] = bytearray(2000)

    return fill


def test_a_cache_that_fills() -> None:
    """Growth that goes into a known cache with room left is that cache, which is named."""
    caches = Caches()
    caches.create("idle")
    process = _Process(5.0, caches)
    process.live(30, _pages(caches.create("pages", size=10_000)))
    found = process.guard.detect()
    process.end()

    assert found.verdict == "cache_filling"
    assert "into pages" in found.reason
    assert "idle" not in found.reason


def test_a_cache_that_was_filled_before() -> None:
    """What a cache took an hour ago explains nothing of what grows now."""
    caches, held = Caches(), []
    process = _Process(5.0, caches, window=30)
    process.live(60, _pages(caches.create("pages", size=10_000)))
    process.live(60, lambda number: held.extend(bytearray(2000) for _ in range(20)))
    found = process.guard.detect()
    process.end()

    assert found.verdict == "leak_python"
    assert len(held) == 1200


def test_a_part_of_the_readings() -> None:
    """A question about what came since some time does not change what the guard thinks of all."""
    process, held = _Process(5.0), []
    process.live(30)
    whole = process.guard.detect()
    began_s = process.now_s
    process.live(30, lambda number: held.extend(object() for _ in range(200)))
    part = process.guard.detect(began_s)
    process.end()

    assert (whole.verdict, part.verdict) == ("none", "leak_python")
    assert process.guard.detection is whole
