"""Floors of a service's memory: the load taken out, windows, and growth on both sides of every line."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import inf, nan
from random import Random as Chance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.floors import (
    EVIDENCE,
    FLOORS_NEEDED,
    KEEPS,
    LIVE_WIDTH_S,
    WINDOWS,
    FloorGrowth,
    floor_growth,
    floors,
    load_slope,
    soak_width,
    without_load,
)
from pytest_memguard.core.values import BLOCKS, RSS, Metric, Series, Unit

LOAD = Metric("requests", Unit.COUNT, exact=True)
MB = 2.0**20
HOURS_6 = range(60, 361)
DAY = range(60, 1440)


def seeded(seed: int) -> Chance:
    """Return numbers that are the same everywhere."""
    return Chance(seed)  # noqa: S311 - nothing secret is drawn


def series(values: list[float], metric: Metric = RSS) -> Series:
    """Return *values* at positions 0, 1, 2, ..."""
    return Series(metric, tuple(range(len(values))), tuple(values))


def judged(kind: Callable[[int], float], seed: int, minutes: range = DAY, *, daily: bool = False) -> FloorGrowth:
    """Judge a service of 200 MB, 0.5 MB a request a minute and noise of 1.5, with *kind* on top, a reading a minute."""
    chance = seeded(seed)
    swing = [50 - 40 * math.cos(2 * math.pi * t / 1440) if daily else 50.0 for t in minutes]
    load = [max(1.0, base + chance.gauss(0, 4)) for base in swing]
    memory = [200 + 0.5 * held + chance.gauss(0, 1.5) + kind(t) for t, held in zip(minutes, load, strict=True)]
    x = tuple(60.0 * t for t in minutes)
    return floor_growth(floors(Series(RSS, x, tuple(memory)), Series(LOAD, x, tuple(load)), LIVE_WIDTH_S))


def walk(seed: int) -> Callable[[int], float]:
    """Return an allocator's random walk of 0.3 MB a minute."""
    chance, level = seeded(seed), [0.0]
    for _ in range(1440):
        level.append(level[-1] + chance.gauss(0, 0.3))
    return level.__getitem__


CLEAN: dict[str, Callable[[int], float]] = {
    "constant": lambda t: 0.0,
    "sawtooth of the collector": lambda t: 10 * (t % 20) / 20,
    "sawtooth longer than a window": lambda t: 10 * (t % 47) / 47,
    "warm-up": lambda t: 60 * (1 - math.exp(-t / 30)),
    "cache, even": lambda t: 100 * min(1.0, t / 240),
    "cache, by keys": lambda t: 100 * (1 - math.exp(-t / 120)),
    "restart": lambda t: 60 * (1 - math.exp(-(t % 700) / 30)),
    "step after a deploy": lambda t: 50.0 * (t >= 600),
    "allocator that settles": lambda t: 30 * (1 - math.exp(-t / 90)),
}


@pytest.mark.parametrize("daily", [False, True])
@pytest.mark.parametrize("kind", CLEAN)
def test_clean_kinds(kind: str, *, daily: bool) -> None:
    """No kind of clean day looks like a leak, whether the load stands still or swings with the day."""
    lasting = [seed for seed in range(3) if judged(CLEAN[kind], seed, daily=daily).lasts]

    assert lasting == []


@pytest.mark.parametrize("seed", range(6))
def test_drift(seed: int) -> None:
    """A random walk of the allocator is no leak, at whatever hour it is looked at."""
    level = walk(seed)

    assert not any(judged(level, seed, range(60, end)).lasts for end in range(361, 1440, 120))


@pytest.mark.parametrize("daily", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_leak_in_time(seed: int, *, daily: bool) -> None:
    """A leak of 0.1 MB a minute is found after six hours, the first of them warm-up."""
    found = judged(lambda t: 0.1 * t, seed, HOURS_6, daily=daily)

    assert found.lasts
    assert found.total == pytest.approx(27, abs=4)


def test_leak_under_a_sawtooth() -> None:
    """Garbage that comes and goes does not hide a leak."""
    assert judged(lambda t: 0.1 * t + 10 * (t % 20) / 20, 1, HOURS_6).lasts


def test_load_left_in() -> None:
    """Without the load taken out, a morning looks like a leak: that is what the correction is for."""
    chance = seeded(4)
    load = [t + chance.gauss(0, 4) for t in range(301)]
    memory = series([200 + 0.5 * level for level in load])

    assert floor_growth(floors(memory, None, 30)).lasts
    assert floor_growth(floors(memory, series(load, LOAD), 30)).total == pytest.approx(0)


@given(st.floats(0.1, 100), st.floats(0, 10), st.integers(0, 2**32))
def test_load_slope(held: float, trend: float, seed: int) -> None:
    """What is held for a request is found whatever the trend, and exactly where there is no noise."""
    chance = seeded(seed)
    load = [chance.uniform(0, 50) for _ in range(40)]
    values = [1000 + held * level + trend * at for at, level in enumerate(load)]

    assert load_slope(values, load) == pytest.approx(held, rel=1e-6)


def test_load_slope_with_jumps() -> None:
    """A restart and a deploy, up to a tenth of the steps, do not change what is held for a request."""
    chance = seeded(3)
    load = [chance.uniform(0, 50) for _ in range(41)]
    values = [2 * level + (500 if 10 <= at < 30 else 0) for at, level in enumerate(load)]

    assert load_slope(values, load) == pytest.approx(2)


@pytest.mark.parametrize(
    ("values", "load"),
    [([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]), ([3.0, 2.0, 1.0, 5.0], [1.0, 2.0, 3.0, 0.0]), ([1.0], [1.0]), ([], [])],
)
def test_no_load_slope(values: list[float], load: list[float]) -> None:
    """Load that stands still, memory that falls with load, and too few readings give nothing to take out."""
    assert load_slope(values, load) == 0


def test_floors_are_minima() -> None:
    """Each complete window gives its minimum at its middle; the last, that is not complete, gives none."""
    found = floors(series([5, 3, 4, 9, 7, 8, 1]), None, 3)

    assert found == Series(RSS, (1.5, 4.5), (3, 7))


@pytest.mark.parametrize(("n", "floor"), [(19, 0), (20, 0.5), (29, 0.5), (30, 1)])
def test_floors_of_many_readings(n: int, floor: float) -> None:
    """From 20 readings a window on, a floor is the mean of the lowest tenth."""
    found = floors(series([*map(float, range(n)), 0.0]), None, n)

    assert found.values == (floor,)


def test_gap() -> None:
    """A window without a reading is left out."""
    found = floors(Series(RSS, (0, 1, 7, 9), (4, 3, 6, 9)), None, 2)

    assert found == Series(RSS, (1.0, 7.0), (3, 6))


def test_soak_windows() -> None:
    """A run that is over gives 14 windows, whatever its length."""
    run = Series(RSS, tuple(0.1 * at for at in range(1000)), tuple(range(1000)))

    assert len(floors(run, None, soak_width(run)).values) == WINDOWS


def test_empty() -> None:
    """Nothing read gives no floors, and no growth."""
    nothing = Series(RSS, (), ())

    assert floors(nothing, None, 1) == nothing
    assert soak_width(nothing) == 0
    assert floor_growth(nothing) == FloorGrowth(1.0, 0.0, 0.0, 0)


@pytest.mark.parametrize("width", [0, -1, nan])
def test_width(width: float) -> None:
    """A window has a width."""
    with pytest.raises(ValueError, match="wider than 0"):
        floors(series([1, 2]), None, width)


def test_load_of_another_length() -> None:
    """Load is read whenever memory is."""
    with pytest.raises(ValueError, match="2 readings of load for 3 of rss"):
        without_load(series([1, 2, 3]), series([1, 2], LOAD))


@pytest.mark.parametrize(("values", "load"), [([1.0, nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, inf])])
def test_not_finite(values: list[float], load: list[float]) -> None:
    """NaN and infinity are refused."""
    with pytest.raises(ValueError, match="is not a reading"):
        floors(series(values), series(load, LOAD), 1)


@pytest.mark.parametrize(("n", "rises"), [(FLOORS_NEEDED - 1, False), (FLOORS_NEEDED, True)])
def test_floors_needed(n: int, *, rises: bool) -> None:
    """Ten floors that rise are evidence, nine are not yet."""
    found = floor_growth(series([float(at) for at in range(n)]))

    assert found.rises is rises
    assert (found.evidence >= EVIDENCE) is rises


@pytest.mark.parametrize(("second", "lasts"), [(KEEPS - 0.01, False), (KEEPS, True), (1.0, True), (3.0, True)])
def test_second_half(second: float, *, lasts: bool) -> None:
    """Growth lasts where the second half grows at least half as fast as the first."""
    found = floor_growth(series([at if at <= 7 else 7 + second * (at - 7) for at in range(15)], BLOCKS))

    assert found.rises
    assert (found.lasts, found.slows) == (lasts, not lasts)
    assert found.kept == pytest.approx(second)


def test_late_growth() -> None:
    """Where only the second half grew, it kept all there was."""
    assert floor_growth(series([0.0] * 14 + [float(at) for at in range(1, 14)])).kept == inf


def test_falling() -> None:
    """What falls does not rise."""
    found = floor_growth(series([-float(at) for at in range(14)]))

    assert not found.rises
    assert found.kept == 0
