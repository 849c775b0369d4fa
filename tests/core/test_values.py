"""The values that carry behaviour: packed readings, their columns, sessions that are added up."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    METRICS,
    Control,
    Holder,
    Level,
    Metric,
    Phase,
    Readings,
    RunResult,
    Series,
    SubjectResult,
    Verdict,
)

PHASES = (Phase.SCREEN, Phase.SCREEN, Phase.CLIMB, Phase.CLIMB)
GROWN = Readings((BLOCKS, HEAP), (0, 1, 1, 2), PHASES, array("q", [10, 100, 11, 101, 12, 102, 13, 103]))


def result(name: str, readings: Readings | None = None) -> SubjectResult:
    """Return a clean test."""
    return SubjectResult(name, "test", Verdict(Level.CLEAN, 0.0, "nothing grew"), readings=readings)


# -- readings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "phase", "values"),
    [
        (BLOCKS, None, (10, 11, 12, 13)),
        (HEAP, None, (100, 101, 102, 103)),
        (HEAP, Phase.SCREEN, (100, 101)),
        (BLOCKS, Phase.CLIMB, (12, 13)),
        (BLOCKS, Phase.CONFIRM, ()),
        (FDS, None, ()),
        (FDS, Phase.SCREEN, ()),
    ],
)
def test_a_column(metric: Metric, phase: Phase | None, values: tuple[int, ...]) -> None:
    """A column is one metric's values, of one phase or of all; empty where there are none."""
    assert GROWN.column(metric, phase) == values


def test_a_column_ends_with_the_readings() -> None:
    """What lies behind the last reading in a table that was allocated beforehand is no part of it."""
    spare = Readings(GROWN.metrics, GROWN.runs, GROWN.phases, GROWN.values + array("q", [99] * 6))

    assert [spare.column(metric) for metric in spare.metrics] == [(10, 11, 12, 13), (100, 101, 102, 103)]


def test_the_number_of_readings() -> None:
    """Readings are as long as there are rows."""
    assert len(GROWN) == 4


def test_runs_of_a_phase() -> None:
    """Each phase knows the run numbers of its readings."""
    assert [GROWN.runs_of(phase) for phase in Phase] == [(0, 1), (1, 2), (), ()]


def test_a_timeline_goes_before_readings() -> None:
    """The series of what was watched over seconds are its timeline."""
    watched = Series(HEAP, (0.0, 0.5), (10.0, 12.0), "second")
    repeated = result("a", GROWN)

    assert replace(repeated, timeline=(watched,)).series() == (watched,)
    assert repeated.series() == tuple(GROWN.series())
    assert result("a").series() == ()


def test_one_series_a_metric() -> None:
    """Readings unfold into one series a metric, over all phases."""
    assert list(GROWN.series()) == [
        Series(BLOCKS, (0, 1, 1, 2), (10, 11, 12, 13)),
        Series(HEAP, (0, 1, 1, 2), (100, 101, 102, 103)),
    ]


def test_a_series_of_unequal_sides() -> None:
    """A series with more positions than values is refused by name."""
    with pytest.raises(ValueError, match="blocks: 3 positions for 2 values"):
        Series(BLOCKS, (0, 1, 2), (5, 6))


def test_equal_readings() -> None:
    """Readings are equal if all columns are; anything else is no reading."""
    same = Readings(GROWN.metrics, GROWN.runs, GROWN.phases, GROWN.values[:])
    other = Readings(GROWN.metrics, GROWN.runs, GROWN.phases, GROWN.values[:7] + array("q", [0]))

    assert same == GROWN
    assert other != GROWN
    assert GROWN != "readings"


def test_readings_have_no_hash() -> None:
    """Readings lie in an array that can change, so they promise no hash."""
    with pytest.raises(TypeError):
        hash(GROWN)


# -- results ---------------------------------------------------------------------------------------------------------


def test_series_of_a_result() -> None:
    """A result hands out its series; one that was not measured has none."""
    assert [series.metric for series in result("a", GROWN).series()] == [BLOCKS, HEAP]
    assert result("b").series() == ()


def test_sessions_add_up() -> None:
    """Two sessions of one suite are one: it began with the first, took as long as the longer, and has all results."""
    first = RunResult(
        "2026-01-02T00:00:00+00:00",
        7.0,
        environment={"python": "3.13"},
        settings={"mode": "quick"},
        control={"blocks": Control(1.0, 2.0)},
        results=(result("a"),),
        repeat_s=2.0,
        plain_s=1.0,
    )
    second = RunResult(
        "2026-01-01T00:00:00+00:00",
        5.0,
        environment={"python": "3.10"},
        control={"blocks": Control(9.0, 9.0), "fds": Control()},
        results=(result("b"), result("c")),
        repeat_s=0.5,
        plain_s=0.25,
    )

    assert first + second == RunResult(
        "2026-01-01T00:00:00+00:00",
        7.0,
        environment={"python": "3.13"},
        settings={"mode": "quick"},
        control={"blocks": Control(1.0, 2.0), "fds": Control()},
        results=(result("a"), result("b"), result("c")),
        repeat_s=2.5,
        plain_s=1.25,
    )


def test_a_session_and_something_else() -> None:
    """Only sessions can be added to a session."""
    with pytest.raises(TypeError):
        RunResult("2026-01-01T00:00:00+00:00", 1.0) + 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("control", "noisy"),
    [
        (Control(), False),
        (Control(3.0, 3.0), False),
        (Control(3.0, 4.0), True),
        (Control(-3.0, 3.0), False),
        (Control(0.0, 1.0), True),
    ],
)
def test_a_noisy_counter(control: Control, noisy: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A counter is noisy if some step of an empty test was larger than what such a test keeps a run."""
    assert control.noisy is noisy


def test_metrics_by_name() -> None:
    """Every metric is found by its name; those of the interpreter and the kernel are exact, bytes are sampled."""
    assert all(METRICS[name].name == name for name in METRICS)
    assert {metric.name for metric in METRICS.values() if not metric.exact} == {
        metric.name for metric in METRICS.values() if metric.unit is Unit.BYTE
    }


def test_a_holder_that_nobody_looked_for() -> None:
    """A result says of itself that its holder was not looked for, until somebody did."""
    assert result("a").holder == Holder("unseen", "", None, 0.0)
