"""Pressure: a level is entered at its threshold and left a little below it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.service.pressure import HYSTERESIS, Pressure, Thresholds, next_level

HEALTHY, WARNING, CRITICAL, EMERGENCY = Pressure
THRESHOLDS = Thresholds(0.60, 0.75, 0.90)

usages = st.floats(0, 2)
levels = st.sampled_from(Pressure)


@pytest.mark.parametrize(
    ("usage", "level"),
    [
        (0.0, HEALTHY), (0.5999, HEALTHY), (0.60, WARNING), (0.7499, WARNING), (0.75, CRITICAL), (0.8999, CRITICAL),
        (0.90, EMERGENCY), (1.5, EMERGENCY),
    ],
)  # fmt: skip
def test_a_level_is_entered_at_its_threshold(usage: float, level: Pressure) -> None:
    """From healthy, each threshold leads to its level at once, however far the usage jumped."""
    assert next_level(HEALTHY, usage, THRESHOLDS) is level


@pytest.mark.parametrize(
    ("level", "usage", "after"),
    [
        (WARNING, 0.581, WARNING), (WARNING, 0.579, HEALTHY),
        (CRITICAL, 0.731, CRITICAL), (CRITICAL, 0.729, WARNING),
        (EMERGENCY, 0.881, EMERGENCY), (EMERGENCY, 0.879, CRITICAL),
        (EMERGENCY, 0.731, CRITICAL), (EMERGENCY, 0.729, WARNING), (EMERGENCY, 0.1, HEALTHY),
    ],
)  # fmt: skip
def test_a_level_is_left_below_its_threshold(level: Pressure, usage: float, after: Pressure) -> None:
    """Two per cent of the limit lie between entering a level and leaving it."""
    assert next_level(level, usage, THRESHOLDS) is after


def test_the_hysteresis_can_be_chosen() -> None:
    """With none, a level is left right below its threshold."""
    assert next_level(WARNING, 0.5999, THRESHOLDS, 0.0) is HEALTHY
    assert next_level(WARNING, 0.51, THRESHOLDS, 0.1) is WARNING


def test_an_unknown_usage_changes_nothing() -> None:
    """What is no number is no reason to shed, nor to stop shedding."""
    assert next_level(EMERGENCY, math.nan, THRESHOLDS) is EMERGENCY
    assert next_level(HEALTHY, math.nan, THRESHOLDS) is HEALTHY


@given(levels, usages)
def test_a_steady_usage_settles_in_one_step(level: Pressure, usage: float) -> None:
    """The same usage once more changes nothing."""
    after = next_level(level, usage, THRESHOLDS)

    assert next_level(after, usage, THRESHOLDS) is after


@given(levels, usages, st.floats(0, HYSTERESIS * 0.99))
def test_a_small_swing_does_not_flutter(level: Pressure, usage: float, swing: float) -> None:
    """Going down by less than the hysteresis and up again never leaves the level that the upper end reached."""
    upper = next_level(level, usage, THRESHOLDS)

    assert next_level(upper, usage - swing, THRESHOLDS).rank >= next_level(HEALTHY, usage, THRESHOLDS).rank


@given(levels, usages, usages)
def test_more_usage_is_never_less_pressure(level: Pressure, one: float, other: float) -> None:
    """The next level never falls as the usage rises."""
    low, high = sorted((one, other))

    assert next_level(level, low, THRESHOLDS).rank <= next_level(level, high, THRESHOLDS).rank


def test_levels_are_ordered() -> None:
    """The rank orders the levels, and their values are what JSON shows."""
    assert [level.rank for level in Pressure] == [0, 1, 2, 3]
    assert [level.value for level in Pressure] == ["healthy", "warning", "critical", "emergency"]
