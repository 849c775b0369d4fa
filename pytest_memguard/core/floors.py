"""
What memory never falls below, with the load taken out: growth that no swing explains.

A service breathes: it holds memory for the requests it serves, and collects in its own time. So the load is taken out
first, then the lowest of each window is kept, and only these floors are asked whether they grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from math import fsum, inf
from typing import TYPE_CHECKING

from pytest_memguard.core.trend import e_value, require_finite
from pytest_memguard.core.values import Series

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "EVIDENCE", "FLOORS_NEEDED", "KEEPS", "LIVE_WIDTH_S", "WINDOWS", "FloorGrowth", "floor_growth", "floors",
    "load_slope", "soak_width", "without_load",
]  # fmt: skip

#: A run that is over is cut into so many windows, a service that goes on into half hours.
WINDOWS = 14
LIVE_WIDTH_S = 1800.0
#: Evidence of 100 is reached by chance at most once in a hundred series, however often they are looked at.
EVIDENCE = 100.0
#: The second half of a leak grows as the first did, of a full cache not at all: half of it is the line between.
KEEPS = 0.5
#: Nine rises in a row are the first that carry evidence of 100 (2**10 - 1 tenths, see ``e_sign``).
FLOORS_NEEDED = 10
# Deploys, spikes and collections jump for other reasons than load; a tenth of all steps is more than they are.
_TRIMMED = 0.1


@dataclass(frozen=True, slots=True)
class FloorGrowth:
    """
    What floors say about growth.

    Attributes:
        evidence: The e-value that they grow; may be looked at after every window.
        kept: Growth per position of their second half as a share of the first half's; infinite where only the
            second half grew.
        total: From the first to the last floor, in the unit of the metric.
        n: Number of floors.

    """

    evidence: float
    kept: float
    total: float
    n: int

    @property
    def rises(self) -> bool:
        """Whether the floors rise at all, be it for good or not."""
        return self.evidence >= EVIDENCE and self.total > 0

    @property
    def lasts(self) -> bool:
        """Whether they rise and do not slow down: a leak."""
        return self.rises and self.kept >= KEEPS

    @property
    def slows(self) -> bool:
        """Whether they rise more and more slowly: a cache that fills, a warm-up."""
        return self.rises and self.kept < KEEPS


def soak_width(series: Series) -> float:
    """Return the width of a window for a run that is over, in the unit of ``series.x``: its length / 14."""
    return (series.x[-1] - series.x[0]) / WINDOWS if series.x else 0.0


def load_slope(values: Sequence[float], load: Sequence[float]) -> float:
    """
    Return how much is held for one unit of load, from what changes between each two readings.

    Differences do not see a trend, so a leak is not mistaken for load that rose beside it. The tenth of them that
    fits worst is left out: jumps have other reasons.

    Args:
        values: Shape (n,), in the unit of a metric.
        load: Shape (n,), what was going on at each reading: requests in flight, or per second, or per interval.

    Returns:
        Zero or more; 0 where the load stands still.

    """
    steps = list(zip(_steps(values), _steps(load), strict=True))
    slope, offset = _line(steps)
    steps.sort(key=lambda step: abs(step[0] - slope * step[1] - offset))
    slope, _ = _line(steps[: len(steps) - int(_TRIMMED * len(steps))])
    return max(0.0, slope)


def without_load(series: Series, load: Series | None) -> Series:
    """
    Return *series* less what is held for the load.

    Raises:
        ValueError: *load* has not the same number of readings, or one of them is not finite.

    """
    require_finite(series.values, series.metric.name)
    if load is None:
        return series
    require_finite(load.values, load.metric.name)
    if len(load.values) != len(series.values):
        raise ValueError(f"{len(load.values)} readings of load for {len(series.values)} of {series.metric.name}")
    slope = load_slope(series.values, load.values)
    held = zip(series.values, load.values, strict=True)
    return Series(series.metric, series.x, tuple(value - slope * level for value, level in held), series.x_unit)


def floors(series: Series, load: Series | None, width: float) -> Series:
    """
    Return the floor of each window of *series*, with the load taken out.

    Args:
        series: Shape (n,), positions that do not fall.
        load: Shape (n,), at the same positions; None where there is none.
        width: Of a window, in the unit of ``series.x``.

    Returns:
        One value a window, at its middle: the minimum, or where a window has 20 readings and more, the mean of their
        lowest tenth. A window is complete when a reading at its end or after it has come; the
        last one, if it is not, and windows without a reading, are left out.

    Raises:
        ValueError: *width* is not positive, *load* is of another length, or a reading is not finite.

    """
    if not width > 0:
        raise ValueError(f"a window is {width!r} wide; it must be wider than 0")
    plain = without_load(series, load)
    if not plain.x:
        return plain
    start = plain.x[0]
    complete = _windows(plain.x[-1] - start, width)
    readings = ((_windows(x - start, width), value) for x, value in zip(plain.x, plain.values, strict=True))
    windows = groupby(readings, key=lambda pair: pair[0])
    lowest = ((at, _floor([value for _, value in window])) for at, window in windows)
    kept = [(start + (at + 0.5) * width, value) for at, value in lowest if at < complete]
    return Series(series.metric, tuple(x for x, _ in kept), tuple(value for _, value in kept), series.x_unit)


def floor_growth(series: Series) -> FloorGrowth:
    """
    Say whether *series* of floors grows, and whether it goes on as it began.

    Raises:
        ValueError: a reading is NaN or infinite.

    """
    x, y = series.x, series.values
    if len(y) < 2:  # noqa: PLR2004 - growth is between two
        return FloorGrowth(1.0, 0.0, 0.0, len(y))
    half = max(1, (len(y) - 1) // 2)
    first = (y[half] - y[0]) / (x[half] - x[0])
    second = (y[-1] - y[-1 - half]) / (x[-1] - x[-1 - half])
    return FloorGrowth(e_value(y), _kept(first, second), y[-1] - y[0], len(y))


def _floor(values: Sequence[float]) -> float:
    """Return the minimum; of 20 readings and more the mean of the lowest tenth, which noise moves two thirds as far."""
    lowest = sorted(values)[: max(1, len(values) // 10)]
    return fsum(lowest) / len(lowest)


def _steps(numbers: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(numbers)]


def _windows(length: float, width: float) -> int:
    """Return how many whole windows lie in *length*; a rounding error does not make it one less."""
    return int(length / width * (1 + 1e-12))


def _kept(first: float, second: float) -> float:
    if second <= 0:
        return 0.0
    return second / first if first > 0 else inf


def _line(steps: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and offset of the least-squares line through *steps* of (value, load)."""
    if not steps:
        return 0.0, 0.0
    mean_y = fsum(y for y, _ in steps) / len(steps)
    mean_x = fsum(x for _, x in steps) / len(steps)
    xx = fsum((x - mean_x) ** 2 for _, x in steps)
    if xx == 0:
        return 0.0, mean_y
    slope = fsum((x - mean_x) * (y - mean_y) for y, x in steps) / xx
    return slope, mean_y - slope * mean_x
