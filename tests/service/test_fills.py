"""What the caches took since a given time."""

from __future__ import annotations

import pytest

from pytest_memguard.service.caches import Caches
from pytest_memguard.service.fills import CacheFill, FillLog


def _added(log: FillLog, caches: Caches, since_s: float) -> dict[str, int]:
    return {fill.name: fill.added for fill in log.since(since_s, caches.statistics())}


def test_since_a_time() -> None:
    """Only what came after it counts, with the room left and its share of the bytes."""
    caches, log = Caches(), FillLog()
    cache = caches.create("answers", size=100)
    for second in range(10):
        cache[second] = "x" * 100
        log.note(float(second), caches)
    (fill,) = log.since(5.0, caches.statistics())

    assert (fill.name, fill.added, fill.room) == ("answers", 4, 90)
    assert fill.bytes == cache.statistics().bytes * 4 // 10
    assert [_added(log, caches, time_s) for time_s in (5.9, 6.0, -1.0)] == [
        {"answers": 4},
        {"answers": 3},
        {"answers": 9},
    ]


def test_before_the_first_note_nothing_is_known() -> None:
    """So nothing is explained by it."""
    caches = Caches()
    caches.create("old")["x"] = 1

    assert _added(FillLog(), caches, 0.0) == {"old": 0}


def test_a_cache_that_is_new() -> None:
    """All of it has come since, be it noted already or not."""
    caches, log = Caches(), FillLog()
    caches.create("old")["x"] = 1
    log.note(0.0, caches)
    caches.create("new")["x"] = 1
    unnoted = _added(log, caches, 0.0)
    log.note(1.0, caches)

    assert unnoted == _added(log, caches, 0.0) == {"old": 0, "new": 1}
    assert _added(log, caches, 1.0) == {"old": 0, "new": 0}


def test_a_day_in_few_numbers() -> None:
    """The notes of long ago are far apart, by about a tenth of what has passed since."""
    caches, log = Caches(default_size=100_000), FillLog()
    cache = caches.create("hours")
    for second in range(17_280):
        if second % 10 == 0:
            cache[second] = None
        log.note(float(second), caches)
    filled = {since_s: _added(log, caches, since_s)["hours"] for since_s in (0.0, 5_000.0, 12_000.0, 17_000.0)}

    assert len(log._times) <= 256
    for since_s, added in filled.items():
        assert added == pytest.approx((17_280 - since_s) / 10, rel=0.1)


def test_forgotten() -> None:
    """A forked child begins anew."""
    caches, log = Caches(), FillLog()
    log.note(0.0, caches)
    caches.create("x")[1] = 1
    log.clear()

    assert _added(log, caches, 0.0) == {"x": 0}


@pytest.mark.parametrize(("added", "room", "explains"), [(1, 1, True), (0, 1, False), (-1, 1, False), (1, 0, False)])
def test_what_explains_growth(added: int, room: int, *, explains: bool) -> None:
    """A cache that took something, and has room for more: one that is full has ended growing."""
    assert CacheFill("x", added, room, 1).explains is explains
