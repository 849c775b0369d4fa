"""
What a series does over the runs: its slope with an interval, its shape, and the evidence that it grows.

Everything here is a pure function of the readings, on any grid: runs 3, 4, 6, 10, 18, 34, 66 of the doubling
ladder, equal batches, or seconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from itertools import accumulate, combinations, groupby, pairwise
from math import exp, factorial, fsum, inf, isfinite, log, log1p, sqrt
from statistics import NormalDist, median
from typing import TYPE_CHECKING

from pytest_memguard.core.values import Estimate, Shape, Trend
from pytest_memguard.errors import TooFewReadings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.core.values import Metric, Series

__all__ = ["READINGS_NEEDED", "e_rank", "e_sign", "e_value", "fit", "least_squares", "require_finite"]

READINGS_NEEDED = 4
# More readings than this become medians of so many windows: 2,000 readings would be two million slopes.
_MOST_READINGS = 300
# Up to here the distribution of Kendall's S is counted out; beyond it the normal one is as good (Kendall 1970, 4.3).
_EXACT_READINGS = 10
# A line keeps the same amount a run on every rung, a square root 0.71 of it on a rung twice as long, a
# logarithm 0.5 (that is 1.5 and 1.6 times the amount on twice the runs).
_LINEAR_KEEPS = 0.75
_LATE_KEEPS = 0.8
# How much of its jump a sampled metric may move before and after it, both together, and still be a step.
_STEP_NOISE = 0.25
_SIGN_BETS = 32


def fit(series: Series, *, level: float = 0.95) -> Trend:
    """
    Fit a robust line through *series* and name its shape.

    Args:
        series: Shape (n,), n >= 4, in ``series.metric.unit``; positions may be unequally spaced but must not fall.
            Readings at the same position count as one, their median.
        level: Two-sided confidence of the interval, in (0, 1).

    Returns:
        Theil-Sen slope in unit per run (or second) with Sen's interval, the shape, and the least-squares slope and
        Pearson's r, both 0 for a constant. Where so few readings cannot reach *level*, the interval spans all
        slopes and carries the level that it does reach. Beyond 300 readings the robust slope is that of the medians
        of 300 windows.

    Raises:
        TooFewReadings: readings at fewer than 4 positions.
        ValueError: a reading or position is NaN or infinite, positions fall, or *level* is not in (0, 1).

    Source:
        Theil (1950), Proc. Kon. Ned. Akad. Wet. A 53; Sen (1968), J. Amer. Statist. Assoc. 63, 1379-1389.

    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}; it must lie between 0 and 1, as in 0.95")
    x, y = _merged(series)
    if len(x) < READINGS_NEEDED:
        raise TooFewReadings(f"{READINGS_NEEDED} readings are needed, {len(x)} given")
    straight, r = least_squares(x, y)
    return Trend(_shape(series.metric, x, y), _sen(x, y, level), len(x), r, straight)


def least_squares(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """
    Return the slope of the least-squares line of *y* on *x* and Pearson's r.

    Args:
        x: Shape (n,).
        y: Shape (n,).

    Returns:
        Both 0 where *x* or *y* is constant, and for fewer than two readings.

    """
    if len(set(x)) <= 1 or len(set(y)) <= 1:
        return 0.0, 0.0
    dx, dy = _centred(x), _centred(y)
    xx, yy = fsum(a * a for a in dx), fsum(b * b for b in dy)
    xy = fsum(a * b for a, b in zip(dx, dy, strict=True))
    r = xy / (sqrt(xx) * sqrt(yy))
    return xy / xx, max(-1.0, min(1.0, r))


def require_finite(numbers: Iterable[float], what: str) -> None:
    """
    Refuse NaN and infinity among *numbers*, called *what* in the message.

    Raises:
        ValueError: one of them is not finite.

    """
    for number in numbers:
        if not isfinite(number):
            raise ValueError(f"{what}: {number!r} is not a reading; drop what could not be measured")


def _centred(numbers: Sequence[float]) -> list[float]:
    mean = fsum(numbers) / len(numbers)
    return [number - mean for number in numbers]


def _merged(series: Series) -> tuple[list[float], list[float]]:
    """Return positions that rise and one value at each."""
    name = series.metric.name
    require_finite(series.x, f"{name} (positions)")
    require_finite(series.values, name)
    for earlier, later in pairwise(series.x):
        if later < earlier:
            raise ValueError(f"{name}: position {later!r} stands after {earlier!r}; sort the readings first")
    pairs = zip(series.x, series.values, strict=True)
    groups = [(x, [y for _, y in same]) for x, same in groupby(pairs, key=lambda pair: pair[0])]
    return [x for x, _ in groups], [median(ys) for _, ys in groups]


def _thinned(numbers: Sequence[float]) -> Sequence[float]:
    n, windows = len(numbers), _MOST_READINGS
    if n <= windows:
        return numbers
    edges = [n * window // windows for window in range(windows + 1)]
    return [median(numbers[start:stop]) for start, stop in pairwise(edges)]


def _slopes(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Return the slopes of all pairs of readings, or of their windows, smallest first."""
    points = zip(_thinned(x), _thinned(y), strict=True)
    return sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))


def _sen(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> Estimate:
    x, y = _thinned(x), _thinned(y)
    slopes = _slopes(x, y)
    exact = len(y) <= _EXACT_READINGS and len(set(y)) == len(y)
    outside, reached = _cut_exact(len(y), level) if exact else _cut_normal(y, level)
    return Estimate(median(slopes), slopes[outside], slopes[-1 - outside], reached)


def _cut_exact(n: int, level: float) -> tuple[int, float]:
    """
    Return how many slopes lie outside the interval at each end, and its level, for n untied readings.

    Source:
        Hollander, Wolfe, Chicken (2014), Nonparametric Statistical Methods, 9.3, with Kendall's S counted out.

    """
    total = factorial(n)
    rank = sum(2 * below <= (1 - level) * total for below in accumulate(_inversions(n)))
    return (rank - 1, level) if rank else (0, 1 - 2 / total)


def _inversions(n: int) -> list[int]:
    """Return how many orders of n things have 0, 1, 2, ... pairs that fall."""
    counts = [1]
    for size in range(2, n + 1):
        counts = [sum(counts[max(0, k - size + 1) : k + 1]) for k in range(len(counts) + size - 1)]
    return counts


def _cut_normal(y: Sequence[float], level: float) -> tuple[int, float]:
    """
    Return how many slopes lie outside the interval at each end, and its level, from the normal law of Kendall's S.

    Source:
        Sen (1968), section 6; the variance with ties is Kendall's (1970), Rank Correlation Methods, 5.2.

    """
    sigma = sqrt(_kendall_variance(y))
    if sigma == 0:
        return 0, level
    normal, pairs = NormalDist(), len(y) * (len(y) - 1) // 2
    rank = int((pairs - normal.inv_cdf((1 + level) / 2) * sigma) // 2)
    if rank >= 1:
        return rank - 1, level
    return 0, max(0.0, 2 * normal.cdf((pairs - 2) / sigma) - 1)


def _kendall_variance(y: Sequence[float]) -> float:
    ties = sum(_kendall_term(count) for count in Counter(y).values())
    return (_kendall_term(len(y)) - ties) / 18


def _kendall_term(n: int) -> int:
    return n * (n - 1) * (2 * n + 5)


def _shape(metric: Metric, x: Sequence[float], y: Sequence[float]) -> Shape:
    """
    Return what a series does, in this order.

    ``step``: one jump, and neither side of it rises. Otherwise the last three rungs decide whether it grows: either
    their slope is positive with 95 % confidence, or they net something without swinging. If it does not grow:
    ``sawtooth`` (swings), ``flat`` (nets nothing) or ``slowing`` (grew and stopped). If it does: ``exact``,
    ``linear``, ``late`` or ``slowing``.
    """
    if _is_step(metric, x, y):
        return Shape.STEP
    edges = _last_rungs(x)
    if not _grows(x[edges[0] :], y[edges[0] :]):
        return _shape_without_growth(y)
    return Shape.EXACT if _is_exact(x, y, edges) else _shape_of_growth(metric, x, y, edges)


def _shape_without_growth(y: Sequence[float]) -> Shape:
    if _swings(y):
        return Shape.SAWTOOTH
    return Shape.FLAT if y[-1] <= y[0] else Shape.SLOWING


def _shape_of_growth(metric: Metric, x: Sequence[float], y: Sequence[float], edges: Sequence[int]) -> Shape:
    rates = _rates(x, y, edges)
    if _keeps(rates) or (not metric.exact and _keeps_halves(x, y, edges)):
        return Shape.LINEAR
    late = min(rates) > 0 and rates[2] >= _LATE_KEEPS * rates[1]
    return Shape.LATE if late else Shape.SLOWING


def _rates(x: Sequence[float], y: Sequence[float], edges: Sequence[int]) -> list[float]:
    """Return the Theil-Sen slope between each two *edges*: plain growth a run where nothing was read between."""
    return [median(_slopes(x[i : j + 1], y[i : j + 1])) for i, j in pairwise(edges)]


def _keeps(rates: Sequence[float]) -> bool:
    return min(rates) > 0 and all(later >= _LINEAR_KEEPS * earlier for earlier, later in pairwise(rates))


def _keeps_halves(x: Sequence[float], y: Sequence[float], edges: Sequence[int]) -> bool:
    """Return whether the second half kept the growth of the first: noise hides a line on shorter rungs."""
    _, _, half, end = edges
    enough = min(half, end - half) + 1 >= READINGS_NEEDED
    return enough and _keeps(_rates(x, y, (0, half, end)))


def _last_rungs(x: Sequence[float]) -> Sequence[int]:
    """
    Return the four readings that bound the last three rungs, each twice as long as the one before.

    On the ladder's own grid these are its last three intervals. Only spans that double tell a line from a square
    root; where the readings are too few for three of them, the last three intervals must do.
    """
    rungs = [len(x) - 1]
    while rungs[-1] > 0:
        half = x[0] + (x[rungs[-1]] - x[0]) / 2
        rungs.append(bisect_right(x, half, 0, rungs[-1]) - 1)
    return rungs[3::-1] if len(rungs) > 3 else range(len(x) - 4, len(x))  # noqa: PLR2004 - three rungs, four ends


def _is_exact(x: Sequence[float], y: Sequence[float], edges: Sequence[int]) -> bool:
    """Return whether the last three intervals kept the same positive integer a run, and the last rungs never fell."""
    rates = {(y[i] - y[i - 1]) / (x[i] - x[i - 1]) for i in range(len(x) - 3, len(x))}
    rate = rates.pop()
    falls = any(after < before for before, after in pairwise(y[edges[0] :]))
    return not rates and not falls and rate > 0 and rate.is_integer()


def _is_step(metric: Metric, x: Sequence[float], y: Sequence[float]) -> bool:
    jump, at = max((after - before, i) for i, (before, after) in enumerate(pairwise(y), start=1))
    sides = ((x[:at], y[:at]), (x[at:], y[at:]))
    moved = sum(max(values) - min(values) for _, values in sides)
    allowed = 0.0 if metric.exact else _STEP_NOISE * jump
    return jump > 0 and moved <= allowed and not any(_rises(*side) for side in sides)


def _rises(x: Sequence[float], y: Sequence[float]) -> bool:
    return len(y) > 1 and _sen(x, y).low > 0


def _grows(x: Sequence[float], y: Sequence[float]) -> bool:
    return (y[-1] > y[0] and not _swings(y)) or _rises(x, y)


def _swings(y: Sequence[float]) -> bool:
    """Return whether rises and falls are each at least the net change; one dip or spike that nets nothing is none."""
    steps = [after - before for before, after in pairwise(y) if after != before]
    rises, falls = sum(step for step in steps if step > 0), -sum(step for step in steps if step < 0)
    net = y[-1] - y[0]
    turns = sum((a > 0) != (b > 0) for a, b in pairwise(steps))
    return min(rises, falls) >= abs(net) and (net > 0 or turns > 1)


def e_value(values: Sequence[float]) -> float:
    """
    Return the evidence that *values* grow: the smaller of ``e_rank`` and ``e_sign``.

    Being the smaller, it is an e-value under either way of not growing: noise around a level (exchangeable readings)
    and a random walk (symmetric steps). It may be looked at after every reading: it ever reaches 1 / alpha with
    probability alpha at most.

    Args:
        values: Shape (n,), one reading a batch of equal length.

    Raises:
        ValueError: a reading is NaN or infinite.

    """
    return min(e_rank(values), e_sign(values))


def e_rank(values: Sequence[float]) -> float:
    """
    Return the evidence against exchangeable readings, betting that each new one is among the highest so far.

    The reading with k of the n - 1 before it at or above it multiplies the stake by n w_k / (w_0 + ... + w_(n-1))
    with w_k = 1 / (k + 1)^2; under exchangeability the mean of that factor is 1, or less with ties, which count
    against growth.

    Args:
        values: Shape (n,), one reading a batch of equal length.

    Returns:
        1 for fewer than two readings; infinity beyond what a float can hold.

    Raises:
        ValueError: a reading is NaN or infinite.

    Source:
        Conformal test martingale on sequential ranks: Vovk (2021), Statist. Sci. 36, 595-611.

    """
    require_finite(values, "e-process")
    log_e, weights, earlier = 0.0, 0.0, list[float]()
    for n, value in enumerate(values, start=1):
        above = len(earlier) - bisect_left(earlier, value)
        weights += 1 / n**2
        log_e += log(n / weights) - 2 * log(above + 1)
        insort(earlier, value)
    return _exp(log_e)


def e_sign(values: Sequence[float]) -> float:
    """
    Return the evidence against symmetric steps: the mean of (1 + b)^ups (1 - b)^downs over 32 bets b in (0, 1).

    Each rise multiplies the stake by 1 + b, each fall by 1 - b, a step of zero leaves it; the mean factor of a
    symmetric step is 1.

    Args:
        values: Shape (n,), one reading a batch of equal length.

    Returns:
        1 for fewer than two readings; infinity beyond what a float can hold.

    Raises:
        ValueError: a reading is NaN or infinite.

    Source:
        Betting on a coin: Shafer (2021), J. R. Statist. Soc. A 184, 407-431; the mixture over the size of the
        bet: Robbins (1970), Ann. Math. Statist. 41, 1397-1409.

    """
    require_finite(values, "e-process")
    ups = sum(after > before for before, after in pairwise(values))
    downs = sum(after < before for before, after in pairwise(values))
    bets = [(i + 0.5) / _SIGN_BETS for i in range(_SIGN_BETS)]
    logs = [ups * log1p(bet) + downs * log1p(-bet) for bet in bets]
    largest = max(logs)
    return _exp(largest + log(fsum(exp(term - largest) for term in logs) / _SIGN_BETS))


def _exp(power: float) -> float:
    try:
        return exp(power)
    except OverflowError:
        return inf
