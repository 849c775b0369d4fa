"""
What was read of a service or a process over time -> charts, and the same numbers as a table.

Long timelines are thinned: of each stretch, the lowest and the highest reading of each metric stay, so spikes survive.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from math import isfinite
from typing import TYPE_CHECKING

from pytest_memguard.core.units import Unit, amount, digits_between
from pytest_memguard.core.values import Estimate
from pytest_memguard.renderers.charts import Chart, line_through

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Finding, Metric, Series, SubjectResult
    from pytest_memguard.renderers.charts import Line

__all__ = ["MOST_TIMES", "Phases", "charts_of", "rows", "shown_times", "since_load"]

#: Name, begin and end in seconds of each part of a run.
Phases = tuple[tuple[str, float, float], ...]

#: A screen shows no more.
MOST_TIMES = 800
_FEWEST_FOR_A_LINE = 4
#: No counter comes near it, but a document may hold it; differences of larger numbers are not finite.
_LARGEST = 1e100
_LOAD = "load"
_BETWEEN = "between phases"
_REQUESTS = "requests"


def shown_times(timeline: Sequence[Series], most: int = MOST_TIMES) -> tuple[float, ...]:
    """Return at which times *timeline* is drawn: at all where those are few, else at *most* of them."""
    times = sorted({at for series in timeline for at in series.x})
    if len(times) <= most:
        return tuple(times)
    stretches = max(1, (most - 2) // (2 * len(timeline)))
    kept = {times[0], times[-1]}
    for series in timeline:
        edges = [len(series.x) * at // stretches for at in range(stretches + 1)]
        for part in (range(start, stop) for start, stop in pairwise(edges) if start < stop):
            kept |= {series.x[pick(part, key=series.values.__getitem__)] for pick in (min, max)}
    return tuple(sorted(kept))


def since_load(times: Sequence[float], phases: Phases) -> tuple[float, ...]:
    """Return *times* from the beginning of the load on, as start-up dwarfs what comes later; all without a load."""
    begin = next((begin for name, begin, _ in phases if name == _LOAD), 0.0)
    return tuple(at for at in times if at >= begin) or tuple(times)


def charts_of(
    result: SubjectResult,
    times: Sequence[float],
    phases: Phases,
    limits: Mapping[str, float],
    metrics: Sequence[Metric] | None = None,
) -> Iterator[Chart]:
    """
    Yield a chart a series of *result*, or of these *metrics*, with what was fitted to it.

    Args:
        result: With a timeline.
        times: At which it is drawn.
        phases: Of the run; empty where it had none.
        limits: What a metric must stay below, by its name.
        metrics: None for all that were read.

    """
    wanted = set(times)
    for series in result.timeline:
        points = [pair for pair in zip(series.x, series.values, strict=True) if pair[0] in wanted]
        can_be_drawn = all(abs(number) < _LARGEST for pair in points for number in pair)
        if points and can_be_drawn and (metrics is None or series.metric in metrics):
            x, y = zip(*points, strict=True)
            findings = [one for one in result.findings if one.metric == series.metric]
            yield Chart(
                series.metric,
                tuple(x),
                tuple(y),
                tuple((name, max(begin, x[0]), end) for name, begin, end in phases if x[0] < end and begin < x[-1]),
                _line(series, findings, result, phases) if findings else None,
                x_unit="second",
                limit=limits.get(series.metric.name),
            )


def _line(series: Series, findings: Sequence[Finding], result: SubjectResult, phases: Phases) -> Line | None:
    """Return what was fitted to the load; requests are placed on the seconds in which they came."""
    begin, end = next(((begin, end) for name, begin, end in phases if name == _LOAD), (series.x[0], series.x[-1]))
    part = [pair for pair in zip(series.x, series.values, strict=True) if begin <= pair[0] <= end]
    rate = _rate(result, begin, end)
    slopes = [finding.trend.slope for finding in findings]  # of several processes: the series is their sum
    point, low, high = (rate * sum(getattr(one, name) for one in slopes) for name in ("point", "low", "high"))
    slope = Estimate(point, low, high, slopes[0].level)
    if len(part) < _FEWEST_FOR_A_LINE or not all(map(isfinite, (slope.point, slope.low, slope.high))) or not rate:
        return None
    return line_through(part, slope)


def _rate(result: SubjectResult, begin_s: float, end_s: float) -> float:
    """Return how many requests a second were completed between two times; 1 where growth is told over seconds."""
    if result.x_unit != "request":
        return 1.0
    for series in result.timeline:
        if series.metric.name == _REQUESTS:
            part = [(x, y) for x, y in zip(series.x, series.values, strict=True) if begin_s <= x <= end_s]
            if len(part) > 1 and part[-1][0] > part[0][0]:
                return (part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0])
    return result.runs / (end_s - begin_s) if end_s > begin_s else 0.0


def rows(
    result: SubjectResult, times: Sequence[float], phases: Phases, metrics: Sequence[Metric]
) -> Iterator[tuple[str, tuple[tuple[str, ...], ...]]]:
    """Yield each phase with its rows: the time, and what each of *metrics* was; empty where it was not read then."""
    columns = [_column(series) for metric in metrics for series in result.timeline if series.metric == metric]
    for name, part in groupby(times, key=lambda at: _phase_of(at, phases)):
        yield name, tuple((_time(at), *(column.get(at, "") for column in columns)) for at in part)


def _column(series: Series) -> dict[float, str]:
    """Return what was read at each time, as text."""
    digits = digits_between(min(series.values), max(series.values))
    texts = (amount(value, series.metric.unit, digits=digits) for value in series.values)
    return dict(zip(series.x, texts, strict=True))


def _phase_of(at: float, phases: Phases) -> str:
    return next((name for name, begin, end in phases if begin <= at <= end), _BETWEEN if phases else "all readings")


def _time(at: float) -> str:
    return f"{amount(round(at, 1), Unit.COUNT)} s"
