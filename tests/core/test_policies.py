"""The named scoring policies, each on both sides of its alarm line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.policies import (
    ALARM,
    POLICIES,
    Context,
    Points,
    combine,
    correlation,
    growth,
    points,
    readings_needed,
)
from pytest_memguard.core.values import BLOCKS, RSS, Metric, Series
from pytest_memguard.errors import ConfigError

MIB = 2**20
LINE = 5 * MIB
READINGS = st.lists(st.integers(0, 10**10), max_size=14)


def readings(values: Sequence[float], metric: Metric = RSS) -> Series:
    """Return *values* at positions 0, 1, 2, ..."""
    return Series(metric, tuple(range(len(values))), tuple(values))


def line(per_check: float, n: int = 10, base: float = 1000 * MIB) -> list[float]:
    """Return n readings that grow by *per_check* each."""
    return [base + per_check * i for i in range(n)]


def dented(dent: float) -> Series:
    """Return a line of ten readings whose last one is too low by *dent*."""
    return readings([0, 1, 2, 3, 4, 5, 6, 7, 8, 9 - dent])


def five(total: float, n: int = 10) -> Points:
    """Return points that add up to *total*."""
    return Points(total, 0.0, 0.0, 0.0, 0.0, n)


def test_names() -> None:
    """The policies are those that the configuration offers."""
    assert POLICIES == ("calibrated", "points", "correlation", "growth", "any", "all")


@pytest.mark.parametrize(
    ("name", "needed"),
    [("calibrated", 0), ("points", 10), ("correlation", 10), ("growth", 10), ("any", 10), ("all", 10)],
)
def test_readings_needed(name: str, needed: int) -> None:
    """Every policy but the calibrated one needs ten readings."""
    assert readings_needed(name) == needed


@pytest.mark.parametrize("policy", [correlation, growth, points])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_readings_that_are_not_finite(policy: Callable[[Series], object], bad: float) -> None:
    """NaN and infinity are refused, naming the metric."""
    with pytest.raises(ValueError, match=r"^rss: "):
        policy(readings([1, 2, bad]))


@pytest.mark.parametrize("policy", [correlation, growth])
@given(values=READINGS)
def test_score_range(policy: Callable[[Series], float], values: list[int]) -> None:
    """A score lies in 0-100, and in 0-94.9 or 95-100 as there is an alarm or none."""
    score = policy(readings(values))

    assert 0 <= score <= 94.9 or ALARM <= score <= 100


@pytest.mark.parametrize("policy", [correlation, growth])
@given(values=READINGS, shift=st.integers(0, 10**9))
def test_score_shift(policy: Callable[[Series], float], values: list[int], shift: int) -> None:
    """What a process needed before the first reading does not change the score."""
    before = policy(readings(values))
    after = policy(readings([value + shift for value in values]))

    assert after == pytest.approx(before, abs=1e-6)


def test_correlation_of_a_line() -> None:
    """A perfect line is a certain alarm, for counts as for bytes."""
    assert correlation(readings(line(1))) == pytest.approx(100)
    assert correlation(readings(line(1), BLOCKS)) == pytest.approx(100)


@pytest.mark.parametrize(("dent", "alarm"), [(4.18, True), (4.2, False)])
def test_correlation_line(dent: float, alarm: bool) -> None:  # noqa: FBT001 - a column of the table
    """The alarm sits at r = 0.9: a dent of 4.18 at the end of ten readings leaves r = 0.9007, one of 4.2 r = 0.8997."""
    score = correlation(dented(dent))

    assert (score >= ALARM) is alarm
    assert score == pytest.approx(95, abs=0.15)


@pytest.mark.parametrize("values", [[], [1], [5] * 10, line(-3), [1, 2] * 5, [9, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
def test_correlation_without_alarm(values: list[float]) -> None:
    """Nothing, a constant, a fall and a zigzag raise no alarm."""
    assert correlation(readings(values)) < 30


def test_correlation_of_a_fall() -> None:
    """A slope that is not positive scores 0."""
    assert correlation(readings(line(-3))) == 0
    assert correlation(readings([5] * 10)) == 0


@pytest.mark.parametrize(("n", "score"), [(2, 94.9), (9, 94.9), (10, 100), (11, 100)])
def test_correlation_of_few_readings(n: int, score: float) -> None:
    """Fewer than ten readings of a perfect line stay just below the alarm."""
    assert correlation(readings(line(7, n))) == pytest.approx(score)


def test_correlation_of_the_last_ten() -> None:
    """Only the last ten readings count."""
    early = [9e9, 0, 7e9, 3]

    assert correlation(Series(RSS, tuple(range(14)), (*early, *line(7)))) == pytest.approx(100)


def test_correlation_uses_positions() -> None:
    """Readings on the ladder's grid are correlated with their runs, not with their order."""
    runs = (1, 2, 3, 4, 6, 10, 18, 34, 66, 130)
    along_runs = Series(BLOCKS, runs, tuple(7 * run for run in runs))

    assert correlation(along_runs) == pytest.approx(100)
    assert correlation(readings(list(along_runs.values))) < ALARM


@pytest.mark.parametrize(
    ("per_check", "score"),
    [(0, 0), (-LINE, 0), (LINE / 2, 47.5), (LINE, 94.9), (1.5 * LINE, 97.5), (2 * LINE, 100), (9 * LINE, 100)],
)
def test_growth_scale(per_check: float, score: float) -> None:
    """Growth of 5 MB a check is the line, which must be passed; twice as much is 100."""
    assert growth(readings(line(per_check))) == pytest.approx(score)


@pytest.mark.parametrize(("per_check", "alarm"), [(LINE, False), (LINE + 8, True)])
def test_growth_line(per_check: int, alarm: bool) -> None:  # noqa: FBT001 - a column of the table
    """Exactly 5 MB a check raise no alarm, a few bytes more do."""
    assert (growth(readings(line(per_check))) >= ALARM) is alarm


def test_growth_of_counts() -> None:
    """Counts have no megabytes and score 0."""
    assert growth(readings(line(9 * LINE), BLOCKS)) == 0


@pytest.mark.parametrize(("n", "score"), [(0, 0), (1, 0), (2, 94.9), (9, 94.9), (10, 100), (12, 100)])
def test_growth_of_few_readings(n: int, score: float) -> None:
    """Fewer than ten readings stay below the alarm, fewer than two say nothing."""
    assert growth(readings(line(3 * LINE, n))) == score


@pytest.mark.parametrize("at", range(10))
def test_growth_of_one_spike(at: int) -> None:
    """One spike of a gigabyte fires nothing, wherever it stands."""
    values: list[float] = [100.0] * 10
    values[at] = 1024 * MIB

    assert growth(readings(values)) == 0


def test_growth_of_the_last_ten() -> None:
    """Growth before the last ten readings is over."""
    assert growth(readings([0, 900 * MIB, *line(0)])) == 0


@pytest.mark.parametrize(
    ("total", "n", "score"),
    [
        (0, 10, 0), (30, 10, 47.5), (59.99, 10, 94.9), (60, 10, 95), (80, 10, 97.5), (100, 10, 100),
        (60, 9, 94.9), (100, 9, 94.9), (30, 2, 47.5),
    ],
)  # fmt: skip
def test_points_line(total: float, n: int, score: float) -> None:
    """Sixty points of ten readings are the alarm line."""
    assert five(total, n).score == pytest.approx(score)


def test_points_of_nothing() -> None:
    """No reading earns no points."""
    assert points(readings([])) == Points(0, 0, 0, 0, 0, 0)


def test_points_of_one_reading() -> None:
    """One reading has a peak and nothing else."""
    assert points(readings([50]), Context(limit_bytes=100)) == Points(0, 0, 10, 0, 0, 1)


def test_points_of_a_constant() -> None:
    """A constant earns no points."""
    assert points(readings([100] * 10)) == Points(0, 0, 0, 0, 0, 10)


def test_points_of_the_worst() -> None:
    """Everything bad at once is a hundred points."""
    worst = points(readings(line(100, base=100)), Context(limit_bytes=900, gc_efficiency=0, other_risk=1))

    assert worst == Points(40, 20, 20, 15, 5, 10)
    assert (worst.total, worst.score) == (100, 100)


@pytest.mark.parametrize(("per_check", "earned"), [(0, 0), (-5, 0), (50 / 9, 20), (100 / 9, 40), (50, 40)])
def test_points_of_the_growth_rate(per_check: float, earned: float) -> None:
    """Growth by a tenth of the first reading over the window earns the full forty."""
    assert points(readings(line(per_check, base=1000))).growth_rate == pytest.approx(earned)


@pytest.mark.parametrize(("last", "earned"), [(0, 0), (1, 40)])
def test_points_of_growth_from_zero(last: int, earned: float) -> None:
    """Any growth from nothing is full growth."""
    assert points(readings([0] * 7 + [last] * 3, BLOCKS)).growth_rate == earned


@pytest.mark.parametrize(
    ("values", "earned"),
    [([1, 2, 3, 4, 5], 20), ([1, 2, 2, 3, 3], 10), ([5, 4, 3, 2, 1], 0), ([1, 1, 1, 1, 9], 5)],
)
def test_points_of_consistent_growth(values: list[float], earned: float) -> None:
    """The share of checks that rose earns its part of twenty."""
    assert points(readings(values)).consistent_growth == earned


@pytest.mark.parametrize(
    ("limit_bytes", "metric", "earned"),
    [(None, RSS, 10), (300, RSS, 10), (150, RSS, 20), (100, RSS, 20), (inf, RSS, 0), (100, BLOCKS, 10)],
)
def test_points_of_the_peak(limit_bytes: float | None, metric: Metric, earned: float) -> None:
    """A peak of 150 is judged against the limit, and without one, or for counts, against the first reading of 100."""
    found = points(readings([100, 150, 100], metric), Context(limit_bytes=limit_bytes))

    assert found.high_peak == earned


@pytest.mark.parametrize(
    ("gc_efficiency", "values", "earned"),
    [
        (0.0, [1, 1], 15), (0.8, [1, 1], 3), (1.0, [1, 9], 0),
        (None, [1, 1], 0), (None, [9, 1], 0), (None, [1, 9], 15), (None, [0, 8, 6], 11.25), (None, [0, 8, 0], 0),
        (None, [9, 0, 3], 0),
    ],
)  # fmt: skip
def test_points_of_gc_efficiency(gc_efficiency: float | None, values: list[float], earned: float) -> None:
    """What collections did not give back earns fifteen; not measured, what no fall took back does."""
    found = points(readings(values), Context(gc_efficiency=gc_efficiency))

    assert found.low_gc_efficiency == pytest.approx(earned)


@pytest.mark.parametrize(("other_risk", "earned"), [(0, 0), (0.4, 2), (1, 5)])
def test_points_of_other_risk(other_risk: float, earned: float) -> None:
    """Other risks earn five."""
    assert points(readings([1, 1]), Context(other_risk=other_risk)).other_risk == earned


@given(
    values=READINGS,
    gc_efficiency=st.none() | st.floats(0, 1),
    other_risk=st.floats(0, 1),
    limit_bytes=st.none() | st.floats(1, 1e12),
)
def test_points_range(
    values: list[int], gc_efficiency: float | None, other_risk: float, limit_bytes: float | None
) -> None:
    """Every part stays between zero and its most, and so does the score."""
    found = points(readings(values), Context(limit_bytes, gc_efficiency, other_risk))

    assert 0 <= found.growth_rate <= 40
    assert 0 <= found.consistent_growth <= 20
    assert 0 <= found.high_peak <= 20
    assert 0 <= found.low_gc_efficiency <= 15
    assert 0 <= found.other_risk <= 5
    assert 0 <= found.score <= 94.9 or ALARM <= found.score <= 100


@given(values=st.lists(st.integers(1, 10**9), min_size=1, max_size=12), power=st.integers(1, 10))
def test_points_scale(values: list[int], power: int) -> None:
    """Without a limit, points do not depend on the unit."""
    before = points(readings(values))
    after = points(readings([value * 2**power for value in values]))

    assert after == before


@pytest.mark.parametrize("share", [0, 1])
def test_context_at_its_edges(share: float) -> None:
    """Shares of 0 and 1 are shares."""
    context = Context(limit_bytes=1, gc_efficiency=share, other_risk=share)

    assert (context.gc_efficiency, context.other_risk) == (share, share)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit_bytes": 0}, "limit_bytes is 0"),
        ({"limit_bytes": -1}, "limit_bytes is -1"),
        ({"limit_bytes": nan}, "limit_bytes is nan"),
        ({"gc_efficiency": 1.01}, "gc_efficiency is 1.01"),
        ({"gc_efficiency": -0.01}, "gc_efficiency is -0.01"),
        ({"other_risk": 40}, "other_risk is 40"),
        ({"other_risk": nan}, "other_risk is nan"),
    ],
)
def test_context_beyond_its_edges(settings: dict[str, float], message: str) -> None:
    """A limit that is not positive and a share outside 0-1 are refused, by name."""
    with pytest.raises(ValueError, match=message):
        Context(**settings)


@pytest.mark.parametrize(
    ("name", "score"),
    [("calibrated", 12.0), ("points", 60.0), ("correlation", 99.0), ("growth", 3.0), ("any", 99.0), ("all", 3.0)],
)
def test_combine(name: str, score: float) -> None:
    """A policy picks its own score, "any" the largest and "all" the smallest."""
    scores = {"calibrated": 12.0, "points": 60.0, "correlation": 99.0, "growth": 3.0}

    assert combine(scores, name) == score


@given(scores=st.tuples(*[st.floats(0, 100)] * 4))
def test_combine_order(scores: tuple[float, float, float, float]) -> None:
    """Every score lies between that of "all" and that of "any"."""
    named = dict(zip(("calibrated", "points", "correlation", "growth"), scores, strict=True))

    assert combine(named, "all") <= min(named.values()) <= max(named.values()) <= combine(named, "any")


@pytest.mark.parametrize("name", ["any", "all", "growth"])
def test_combine_with_a_score_missing(name: str) -> None:
    """A score that the policy needs and nobody worked out is an error, not a zero."""
    with pytest.raises(KeyError, match="growth"):
        combine({"calibrated": 1.0, "points": 1.0, "correlation": 1.0}, name)


@pytest.mark.parametrize("ask", [readings_needed, lambda name: combine({}, name)])
def test_unknown_policy(ask: Callable[[str], float]) -> None:
    """A policy that does not exist is refused with the nearest that does."""
    with pytest.raises(ConfigError, match=r"policy is 'corelation'; .* did you mean 'correlation'\?"):
        ask("corelation")
    with pytest.raises(ConfigError, match=r"must be one of calibrated, points, correlation, growth, any, all$"):
        ask("?")
