"""
Readings -> a chart: what grew since the first reading, the line that was fitted, and what would have been accepted.

What was repeated is drawn as growth over its runs; each phase of a measurement has its own base, so its growth is added
to that of the phases before it. What was watched over time (``timelines``) is drawn as it was read. A chart is drawn
twice from the same numbers: here as SVG, which needs no script and prints, and in the page by uPlot.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from math import floor, isfinite, log10
from statistics import median
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from pytest_memguard.core.trend import READINGS_NEEDED
from pytest_memguard.core.units import Unit, amount, signed
from pytest_memguard.core.values import Phase
from pytest_memguard.renderers._words import noun_in_full, plain, rate_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_memguard.core.values import Estimate, Finding, Metric, Readings, SubjectResult

__all__ = ["Chart", "Line", "chart_of", "growth_since", "legend", "line_through", "positions", "svg"]

#: More points than this are thinned; spikes survive.
_MOST_POINTS = 400
_WIDTH, _HEIGHT = 800, 312
_LEFT, _RIGHT, _TOP, _BOTTOM = 95, 15, 25, 48
_TICKS = 5
#: Room that a letter of a label takes, and a little more.
_LETTER = 10
_HEADROOM = 1.04
#: Seconds up to which time is told in a unit; its length, its name.
_CLOCKS = ((300.0, 1.0, "seconds"), (3 * 3600.0, 60.0, "minutes"), (3 * 86400.0, 3600.0, "hours"), (0, 86400.0, "days"))
_STEPS = {
    Unit.COUNT: (1, 2, 5, 10),
    Unit.SECOND: (1, 2, 5, 10),
    Unit.BYTE: (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line through (``x``, ``y``), from ``first`` to ``last`` run; the slope has an interval."""

    first: float
    last: float
    x: float
    y: float
    slope: Estimate

    def at(self, x: float, slope: float) -> float:
        """Return the line's height at *x* where its slope is *slope*."""
        return self.y + slope * (x - self.x)


@dataclass(frozen=True, slots=True)
class Chart:
    """
    What is drawn of one metric.

    Attributes:
        x: Shape (n,), runs made before each reading; or seconds.
        y: Shape (n,), growth since the first reading, each phase's own growth added to that before it; over seconds
            what was read.
        rungs: Each phase, with its first and last run or second.
        line: None where too few readings were made, or no line through them is finite.
        allowed: Growth a run that is accepted.
        before: Points (run, growth) of the baseline, none where there is none.
        x_unit: ``run`` or ``second``.
        limit: What it must stay below; None where nothing says so.

    """

    metric: Metric
    x: tuple[float, ...]
    y: tuple[float, ...]
    rungs: tuple[tuple[str, float, float], ...]
    line: Line | None = None
    allowed: float = 0.0
    before: tuple[tuple[float, float], ...] = ()
    x_unit: str = "run"
    limit: float | None = None

    @property
    def is_over_time(self) -> bool:
        """Whether it is drawn over seconds, as it was read."""
        return self.x_unit == "second"

    @property
    def title(self) -> str:
        """What it shows."""
        noun = noun_in_full(self.metric)
        return f"{noun[:1].upper()}{noun[1:]} over time" if self.is_over_time else f"Growth of {noun} over the runs"

    @property
    def top(self) -> float:
        """The highest value that is drawn, above zero."""
        if self.is_over_time:
            return self._range()[1]
        heights = [*self.y, *(height for _, height in self.before), self.allowed * max(self.x)]
        if self.line:
            heights += [self.line.at(self.line.last, slope) for slope in (self.line.slope.point, self.line.slope.high)]
        # An interval may be a hundred times as wide as what was read; it is then cut off at the frame.
        return min(max([*heights, 0.0]), 3 * max([*self.y, *(h for _, h in self.before), 1.0]))

    @property
    def bottom(self) -> float:
        """The lowest value that is drawn; zero or below, but where it is drawn as it was read."""
        if self.is_over_time:
            return self._range()[0]
        return min(*self.y, *(height for _, height in self.before), 0.0, 0.0)

    @property
    def left(self) -> float:
        """Where the picture begins."""
        return self.x[0] if self.is_over_time else 0.0

    @property
    def ceiling(self) -> float:
        """Where the picture ends."""
        return self.top if self.is_over_time else (self.top or 1.0) * _HEADROOM

    def _range(self) -> tuple[float, float]:
        """Return lowest and highest of what was read, with some room, and with a line or limit that is near."""
        low, high = min(self.y), max(self.y)
        span = (high - low) or max(abs(high) / 20, 1.0)
        ends = [self.line.at(x, self.line.slope.point) for x in (self.line.first, self.line.last)] if self.line else []
        near = [at for at in [*ends, *([] if self.limit is None else [self.limit])] if abs(at - high) <= span]
        bottom, top = min(low, *near, low) - span * (_HEADROOM - 1), max(high, *near, high) + span * (_HEADROOM - 1)
        return (max(0.0, bottom) if low >= 0 else bottom), top

    def x_ticks(self) -> tuple[str, list[tuple[float, str]]]:
        """Return the name of the axis, and its round values with their texts."""
        longest = max(self.x)
        if not self.is_over_time:
            return "runs", [(at, amount(at, Unit.COUNT)) for at in _ticks(0.0, longest, Unit.COUNT)]
        _, length, name = next((clock for clock in _CLOCKS if longest <= clock[0]), _CLOCKS[-1])
        return name, [
            (at * length, amount(round(at, 6), Unit.COUNT))
            for at in _ticks(self.left / length, longest / length, Unit.SECOND)
        ]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Return round values with their texts."""
        unit = self.metric.unit
        ticks = _ticks(self.bottom, self.top, unit)
        if not self.is_over_time:
            return [(at, signed(at, unit)) for at in ticks]
        # As few digits as tell them apart: near each other they would all be "8.0 MiB".
        texts = ([amount(at, unit, digits=digits) for at in ticks] for digits in range(1, 6))
        return list(zip(ticks, next((one for one in texts if len(set(one)) == len(one)), map(str, ticks)), strict=True))

    def plotted(self, x: Sequence[float] = ()) -> dict[str, Any]:
        """Return what the script draws from: numbers at *x*, and texts that ``units`` made of them."""
        line, axis = self.line, self.x_ticks()
        at_x = dict(zip(self.x, self.y, strict=True))
        return {
            "y": [at_x.get(at) for at in x] if x and x != self.x else list(self.y),
            "noun": noun_in_full(self.metric),
            "axis": axis[0],
            "xticks": [list(tick) for tick in axis[1]],
            "yticks": [list(tick) for tick in self.y_ticks()],
            "left": self.left,
            "top": self.ceiling,
            "bottom": self.bottom,
            "allowed": self.allowed,
            "limit": self.limit,
            "line": line and [line.first, line.last, line.x, line.y, line.slope.point, line.slope.low, line.slope.high],
            "before": [list(point) for point in self.before],
        }


# -- numbers ---------------------------------------------------------------------------------------------------------


def chart_of(
    finding: Finding, result: SubjectResult, shown: Sequence[int], before: SubjectResult | None = None
) -> Chart | None:
    """
    Return the chart of *finding*; None where its metric was not read.

    Args:
        finding: One of *result*.
        result: With its readings.
        shown: Positions of the readings that are drawn, as ``positions`` gives them.
        before: What the same test did in the baseline.

    """
    readings, metric = result.readings, finding.metric
    if readings is None or metric not in readings.metrics or not shown:
        return None
    points = growth_since(readings, metric)
    plan = result.plan
    return Chart(
        metric,
        tuple(points[at][1] for at in shown),
        tuple(points[at][2] for at in shown),
        _rungs(readings),
        _line(readings, finding),
        max(0.0, plan.accepted(metric)) if plan is not None else 0.0,
        tuple(_before(before, metric, readings.runs[-1])),
    )


def _before(result: SubjectResult | None, metric: Metric, last: float) -> Iterator[tuple[float, float]]:
    """Yield the points of the baseline up to *last* run; of one that keeps no readings the line of its growth a run."""
    if result is None:
        return
    if result.readings and metric in result.readings.metrics:
        points = growth_since(result.readings, metric)
        yield from (points[at][1:] for at in positions(result.readings, metric) if points[at][1] <= last)
        return
    rate = next((rate_of(one, result) for one in result.findings if one.metric == metric), 0.0)
    if isfinite(rate * last) and rate:
        yield from ((0.0, 0.0), (last, rate * last))


def positions(readings: Readings, metric: Metric) -> list[int]:
    """Return which readings a screen can show: all, or the lowest and the highest of each stretch."""
    heights = [height for _, _, height in growth_since(readings, metric)]
    if len(heights) <= _MOST_POINTS:
        return list(range(len(heights)))
    stretches = _MOST_POINTS // 2
    edges = [len(heights) * at // stretches for at in range(stretches + 1)]
    parts = [range(start, stop) for start, stop in pairwise(edges)]
    return sorted({pick(part, key=heights.__getitem__) for part in parts for pick in (min, max)})


def growth_since(readings: Readings, metric: Metric) -> list[tuple[Phase, int, int]]:
    """Return phase, run and growth since the first reading, for each reading of *metric*."""
    found: list[tuple[Phase, int, int]] = []
    reached = 0
    rows = zip(readings.phases, readings.runs, readings.column(metric), strict=False)
    for phase, same in groupby(rows, key=lambda row: row[0]):
        part = [(run, value) for _, run, value in same]
        found += [(phase, run, reached + value - part[0][1]) for run, value in part]
        reached = found[-1][2]
    return found


def _rungs(readings: Readings) -> tuple[tuple[str, float, float], ...]:
    runs = zip(readings.phases, readings.runs, strict=False)
    parts = [(phase, [run for _, run in same]) for phase, same in groupby(runs, key=lambda pair: pair[0])]
    return tuple((phase.value, part[0], part[-1]) for phase, part in parts)


def _line(readings: Readings, finding: Finding) -> Line | None:
    """Return the fitted line, through the medians of what it was fitted to: the last part that is long enough."""
    slope = finding.trend.slope
    if not all(map(isfinite, (slope.point, slope.low, slope.high))):
        return None
    points = growth_since(readings, finding.metric)
    for phase in (Phase.CONFIRM, Phase.CLIMB, Phase.SCREEN):
        part = [(x, y) for one, x, y in points if one is phase]
        if len(part) >= READINGS_NEEDED:
            return line_through(part, slope)
    return None


def line_through(points: Sequence[tuple[float, float]], slope: Estimate) -> Line | None:
    """Return the line of that slope through the middle of *points*; None where it is not finite."""
    x = median(x for x, _ in points)
    y = median(y - slope.point * (at - x) for at, y in points)
    line = Line(points[0][0], points[-1][0], x, y, slope)
    ends = [line.at(at, one) for at in (line.first, line.last) for one in (slope.low, slope.high, slope.point)]
    return line if all(map(isfinite, ends)) else None


def _ticks(low: float, high: float, unit: Unit) -> list[float]:
    """Return round values from *low* to *high*, about five; whole numbers of what is counted."""
    span = high - low
    if not isfinite(span) or span <= 0:
        return [0.0]
    base = 1024.0 if unit is Unit.BYTE else 10.0
    least = span / _TICKS
    power = base ** floor(log10(least) / log10(base))
    step = next((factor * power for factor in _STEPS[unit] if factor * power >= least * 0.999), base * power)
    step = max(step, 1.0) if unit is not Unit.SECOND else step
    first = floor(low / step) + (low % step > 0)
    return [at * step for at in range(first, floor(high / step) + 1)]


# -- drawing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a value stands in the picture."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, at: float) -> str:
        """Return the distance from the left; what lies outside the frame stands on its edge."""
        share = (at - self.left) / ((self.right - self.left) or 1.0)
        return _short(_LEFT + max(0.0, min(1.0, share)) * (_WIDTH - _LEFT - _RIGHT))

    def y(self, value: float) -> str:
        """Return the distance from the top; what lies outside the frame stands on its edge."""
        share = (self.top - value) / ((self.top - self.bottom) or 1.0)
        return _short(_TOP + max(0.0, min(1.0, share)) * (_HEIGHT - _TOP - _BOTTOM))

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """Return the points as SVG reads them."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)


def svg(chart: Chart, name: str, about: str) -> Markup:
    """
    Return the chart as an SVG element.

    Args:
        chart: What to draw.
        name: Id of the element, of letters, digits and hyphens.
        about: The numbers in a sentence, for who cannot see it.

    """
    frame = _Frame(chart.left, max(chart.x) or 1.0, chart.bottom, chart.ceiling)
    head = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(chart.title)}</title><desc id="{name}-d">{escape(plain(about))}</desc>'
    )
    return Markup("".join([head, *_rung_parts(chart, frame), *_axes(chart, frame), *_curves(chart, frame), "</svg>"]))  # noqa: S704 - text in it is escaped above


def _rung_parts(chart: Chart, frame: _Frame) -> Iterator[str]:
    high = _HEIGHT - _TOP - _BOTTOM
    for number, (phase, first, last) in enumerate(chart.rungs):
        left, right = float(frame.x(first)), float(frame.x(last))
        size = f'width="{_short(right - left)}" height="{high}"'
        yield f'<rect class="rung{number % 2}" x="{_short(left)}" y="{_TOP}" {size}/>'
        if right - left >= _LETTER * len(phase):
            yield _label((left + right) / 2, _TOP - 8, plain(phase))


def _axes(chart: Chart, frame: _Frame) -> Iterator[str]:
    heights = [(text, float(frame.y(at))) for at, text in chart.y_ticks()]
    yield f'<path class="grid" d="{"".join(f"M{_LEFT} {_short(y)}H{_WIDTH - _RIGHT}" for _, y in heights)}"/>'
    for text, y in heights:
        yield _label(_LEFT - 8, y + 5, text, "end")
    name, ticks = chart.x_ticks()
    for at, text in ticks:
        yield _label(float(frame.x(at)), _HEIGHT - _BOTTOM + 19, text)
    yield _label((_WIDTH + _LEFT) / 2, _HEIGHT - 8, name)


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="ax" x="{_short(x)}" y="{_short(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _curves(chart: Chart, frame: _Frame) -> Iterator[str]:
    line = chart.line
    if line:
        ends = (line.first, line.last)
        band = [(x, line.at(x, line.slope.high)) for x in ends] + [(x, line.at(x, line.slope.low)) for x in ends[::-1]]
        middle = (line.x, line.y)
        shape = [band[0], middle, band[3], band[2], middle, band[1]]  # a bow tie: the interval is that of the slope
        yield f'<polygon class="band" points="{frame.path(shape)}"/>'
    if chart.allowed:
        accepted = [(0.0, 0.0), (max(chart.x), chart.allowed * max(chart.x))]
        yield f'<polyline class="allowed" points="{frame.path(accepted)}"/>'
    if chart.limit is not None and chart.bottom <= chart.limit <= chart.ceiling:
        level = [(chart.left, chart.limit), (max(chart.x), chart.limit)]
        yield f'<polyline class="allowed" points="{frame.path(level)}"/>'
    if chart.before:
        yield f'<polyline class="before" points="{frame.path(chart.before)}"/>'
    kind = "read close" if chart.is_over_time else "read"
    yield f'<polyline class="{kind}" points="{frame.path(zip(chart.x, chart.y, strict=True))}"/>'
    if line:
        fit = [(x, line.at(x, line.slope.point)) for x in (line.first, line.last)]
        yield f'<polyline class="fit" points="{frame.path(fit)}"/>'


def _short(number: float) -> str:
    """Return a coordinate in whole units, which are less than a pixel where a page shows it."""
    return f"{number:.0f}"


def legend(chart: Chart) -> Sequence[tuple[str, str]]:
    """Return class and meaning of each curve of *chart*."""
    kinds = [("read", "readings")]
    if chart.line:
        kinds += [
            ("fit", "fitted line"),
            ("band", f"its interval, {amount(round(chart.line.slope.level * 100, 1), Unit.COUNT)} %"),
        ]
    if chart.allowed:
        kinds.append(("allowed", "what is accepted"))
    if chart.limit is not None and chart.bottom <= chart.limit <= chart.ceiling:
        kinds.append(("allowed", "limit"))
    return [*kinds, *([("before", "baseline")] if chart.before else [])]
