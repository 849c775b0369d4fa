"""
The named scoring policies beside the calibrated one: each turns the readings of one metric into 0-100.

Every score is scaled so that the policy's own alarm line sits at 95. An alarm needs ten readings: with fewer, the
score is worked out from what is there and stays below the line. A check is one reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from pytest_memguard.core.trend import least_squares, require_finite
from pytest_memguard.core.units import Unit
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.core.values import Series

__all__ = ["ALARM", "POLICIES", "Context", "Points", "combine", "correlation", "growth", "points", "readings_needed"]

POLICIES = ("calibrated", "points", "correlation", "growth", "any", "all")
ALARM = 95.0

_SCORED = ("calibrated", "points", "correlation", "growth")
_WINDOW = 10
# The highest score without an alarm; a text with one decimal must not round it up to the line.
_BELOW_ALARM = 94.9
_CORRELATION_LINE = 0.9
_GROWTH_LINE_BYTES = 5 * 2**20
_POINTS_LINE = 60
# Growth over the window that earns all its points, as a share of the first reading.
_FULL_GROWTH = 0.1


@dataclass(frozen=True, slots=True)
class Context:
    """
    What ``points`` may know beside the readings.

    Attributes:
        limit_bytes: The memory limit; None where there is none.
        gc_efficiency: Share of what was allocated that collections gave back, 0-1; None where it was not measured.
        other_risk: Other signs of a leak, such as leaked resources, 0-1.

    Raises:
        ValueError: a share outside 0-1, or a limit that is not positive.

    """

    limit_bytes: float | None = None
    gc_efficiency: float | None = None
    other_risk: float = 0.0

    def __post_init__(self) -> None:
        if self.limit_bytes is not None and not self.limit_bytes > 0:
            raise ValueError(f"limit_bytes is {self.limit_bytes!r}; a limit is positive, or None where there is none")
        for name, share in (("gc_efficiency", self.gc_efficiency), ("other_risk", self.other_risk)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} is {share!r}; it is a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class Points:
    """The five parts that ``points`` adds up, and the number of readings *n* that they come from."""

    growth_rate: float
    consistent_growth: float
    high_peak: float
    low_gc_efficiency: float
    other_risk: float
    n: int

    @property
    def total(self) -> float:
        """The sum of the five parts, 0-100; the alarm line is 60."""
        return self.growth_rate + self.consistent_growth + self.high_peak + self.low_gc_efficiency + self.other_risk

    @property
    def score(self) -> float:
        """The total, scaled so that 60 points are a score of 95."""
        fires = self.total >= _POINTS_LINE and self.n >= _WINDOW
        return _scaled(self.total, line=_POINTS_LINE, full=100, fires=fires)


def correlation(series: Series) -> float:
    """
    Score how straight the last ten readings rise: the alarm line is a positive slope with r above 0.9.

    Args:
        series: Shape (n,); any unit.

    Returns:
        0-100; 0 where the slope is not positive.

    Raises:
        ValueError: a reading is NaN or infinite.

    """
    values = _last(series)
    slope, r = least_squares(series.x[-_WINDOW:], values)
    fires = slope > 0 and r > _CORRELATION_LINE and len(values) == _WINDOW
    return _scaled(r, line=_CORRELATION_LINE, full=1.0, fires=fires)


def growth(series: Series) -> float:
    """
    Score the mean growth over the last ten checks: the alarm line is more than 5 MB (5 * 2**20 bytes) a check.

    The mean is taken between the medians of the first and the last three readings, so that one spike does not fire it.

    Args:
        series: Shape (n,) in bytes; counts score 0.

    Returns:
        0-100; 100 from 10 MB a check on.

    Raises:
        ValueError: a reading is NaN or infinite.

    """
    values = _last(series)
    if series.metric.unit is not Unit.BYTE:
        return 0.0
    per_check = _growth_per_check(values)
    fires = per_check > _GROWTH_LINE_BYTES and len(values) == _WINDOW
    return _scaled(per_check, line=_GROWTH_LINE_BYTES, full=2 * _GROWTH_LINE_BYTES, fires=fires)


def points(series: Series, context: Context | None = None) -> Points:
    """
    Score the last ten readings by points: the alarm line is 60 of 100.

    Growth rate, 40: in full from 10 % of the first reading over the window. Consistent growth, 20: share of checks
    that rose. High peak usage, 20: peak as a share of the limit; without a limit, and for counts, how far the peak
    stands above the first reading, in full at twice. Low GC efficiency, 15: share of what was allocated that did not
    come back; not measured, share of the rises that no fall took back. Other risk, 5.

    Args:
        series: Shape (n,); any unit.
        context: What is known beside the readings.

    Raises:
        ValueError: a reading is NaN or infinite.

    """
    context = context or Context()
    values = _last(series)
    limit_bytes = context.limit_bytes if series.metric.unit is Unit.BYTE else None
    return Points(
        growth_rate=40 * _relative_growth(values),
        consistent_growth=20 * _share_rising(values),
        high_peak=20 * _peak(values, limit_bytes),
        low_gc_efficiency=15 * _kept(values, context.gc_efficiency),
        other_risk=5 * context.other_risk,
        n=len(values),
    )


def combine(scores: Mapping[str, float], name: str) -> float:
    """
    Return the score that policy *name* makes of the four *scores*: the largest for ``any``, the smallest for ``all``.

    Raises:
        ConfigError: no policy of that name.
        KeyError: one of the scores that the policy needs is missing.

    """
    _require_policy(name)
    if name == "any":
        return max(scores[policy] for policy in _SCORED)
    if name == "all":
        return min(scores[policy] for policy in _SCORED)
    return scores[name]


def readings_needed(name: str) -> int:
    """
    Return how many readings policy *name* needs before it can raise an alarm; 0 where the plan decides.

    Raises:
        ConfigError: no policy of that name.

    """
    _require_policy(name)
    return 0 if name == "calibrated" else _WINDOW


def _require_policy(name: str) -> None:
    if name not in POLICIES:
        nearest = get_close_matches(name, POLICIES, n=1)
        meant = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"policy is {name!r}; it must be one of {', '.join(POLICIES)}{meant}")


def _last(series: Series) -> tuple[float, ...]:
    values = series.values[-_WINDOW:]
    require_finite(values, series.metric.name)
    return values


def _scaled(value: float, *, line: float, full: float, fires: bool) -> float:
    """Return 0-94.9 in proportion to the line without an alarm, 95-100 between the line and *full* with one."""
    if fires:
        return min(100.0, ALARM + (100.0 - ALARM) * (value - line) / (full - line))
    return max(0.0, min(_BELOW_ALARM, ALARM * value / line))


def _growth_per_check(values: Sequence[float]) -> float:
    width = min(3, len(values) // 2)
    if not width:
        return 0.0
    return (median(values[-width:]) - median(values[:width])) / (len(values) - width)


def _relative_growth(values: Sequence[float]) -> float:
    return _share(_growth_per_check(values) * (len(values) - 1), _FULL_GROWTH * values[0]) if values else 0.0


def _share_rising(values: Sequence[float]) -> float:
    steps = [after > before for before, after in pairwise(values)]
    return sum(steps) / len(steps) if steps else 0.0


def _peak(values: Sequence[float], limit_bytes: float | None) -> float:
    if not values:
        return 0.0
    if limit_bytes is not None:
        return _share(max(values), limit_bytes)
    return _share(max(values) - values[0], values[0])


def _kept(values: Sequence[float], gc_efficiency: float | None) -> float:
    if gc_efficiency is not None:
        return 1 - gc_efficiency
    rises = sum(max(0.0, after - before) for before, after in pairwise(values))
    falls = sum(max(0.0, before - after) for before, after in pairwise(values))
    return _share(rises - falls, rises) if rises else 0.0


def _share(part: float, whole: float) -> float:
    """Return part / whole, held within 0-1; of nothing, anything is all."""
    if whole <= 0:
        return float(part > 0)
    return max(0.0, min(1.0, part / whole))
