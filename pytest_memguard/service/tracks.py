"""One counter of a service over a window: its floors over requests and over time, and how they grow."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from pytest_memguard.core.floors import (
    FLOORS_NEEDED,
    LIVE_WIDTH_S,
    WINDOWS,
    FloorGrowth,
    floor_growth,
    floors,
    soak_width,
)
from pytest_memguard.core.trend import READINGS_NEEDED, fit
from pytest_memguard.core.values import BLOCKS, FDS, GC_OBJECTS, HEAP, RSS, THREADS, Estimate, Metric, Series, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.service.readings import Reading

__all__ = [
    "LEAST_GROWTH",
    "LIVE_FROM_S",
    "LOAD",
    "SHORTEST_S",
    "LongSpan",
    "Span",
    "Track",
    "interval",
    "long_view",
    "recent",
]

LOAD = Metric("requests", Unit.COUNT, exact=True)
#: Less than this over a window is not worth a word, however evenly it comes.
LEAST_GROWTH = {BLOCKS: 100, GC_OBJECTS: 100, HEAP: 16 * 1024, RSS: 4 * 2**20, FDS: 10, THREADS: 10}
_FIELDS = {
    BLOCKS: "blocks",
    GC_OBJECTS: "gc_objects",
    HEAP: "heap_bytes",
    RSS: "rss_bytes",
    FDS: "fds",
    THREADS: "threads",
}
_WARM_UP_S = 3600.0
_THINNED_S = 55.0  # a minute, by a clock that may be late
# Readings so far apart at most are dense; a gap of so many intervals divides them from what was thinned out.
_DENSE_S = 30.0
_GAP = 5
# Six hours of minutes; beyond it there is the long view.
_MOST_SPARSE = 360
#: Less than this between two readings is no interval; a rate over it means nothing.
SHORTEST_S = 1e-6
_DEFAULT_INTERVAL_S = 5.0
# Garbage comes unevenly: so much of a growth may be a leak that hides behind it.
_EXPLAINED = 0.75
#: From here on there are ten half hours after an hour of warm-up.
LIVE_FROM_S = _WARM_UP_S + FLOORS_NEEDED * LIVE_WIDTH_S


def interval(readings: Sequence[Reading]) -> float:
    """Return the usual time between two readings, in seconds."""
    if len(readings) < 2:  # noqa: PLR2004 - an interval lies between two
        return _DEFAULT_INTERVAL_S
    return median(after.time_s - before.time_s for before, after in pairwise(readings))


def recent(readings: Sequence[Reading]) -> Sequence[Reading]:
    """Return the readings at the end that are about as far apart as the last: of dense ones half an hour at most."""
    step_s = interval(readings[-WINDOWS - 1 :])
    if step_s > _DENSE_S:
        return readings[-_MOST_SPARSE:]
    begin_s = readings[-1].time_s - LIVE_WIDTH_S
    within = [at for at, reading in enumerate(readings) if reading.time_s > begin_s]
    gaps = [at for at in within[1:] if readings[at].time_s - readings[at - 1].time_s > _GAP * step_s]
    begin = gaps[-1] if gaps and len(readings) - gaps[-1] > WINDOWS else within[0]
    return readings[min(begin, len(readings) - WINDOWS - 1) :]


class Span:
    """
    Readings that belong together, and their tracks, in windows of a 14th of it.

    Args:
        readings: Shape (n,), n >= 2, of one process.
        garbage: What came a second, by counter, and is no growth; None where no collection was run to know it.

    Attributes:
        live: Whether this is a long view, in windows of half an hour.
        collected: Whether the collector went through everything meanwhile.

    """

    live = False

    def __init__(self, readings: Sequence[Reading], garbage: Mapping[Metric, float] | None = None) -> None:
        self.readings = readings
        self.length_s = readings[-1].time_s - readings[0].time_s
        self.dense = interval(readings) <= _DENSE_S
        self.collected = garbage is not None or _was_collected(readings)
        self.garbage = garbage or {}
        self._tracks: dict[Metric, Track] = {}

    def has(self, metric: Metric) -> bool:
        """Whether *metric* was read every time."""
        return all(getattr(reading, _FIELDS[metric]) is not None for reading in self.readings)

    def track(self, metric: Metric) -> Track:
        """Return the track of *metric*."""
        if metric not in self._tracks:
            self._tracks[metric] = Track(metric, self._values(metric), self)
        return self._tracks[metric]

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Shape (n,), seconds."""
        return tuple(reading.time_s for reading in self.readings)

    @cached_property
    def requests(self) -> tuple[int, ...]:
        """Shape (n,), completed so far."""
        return tuple(reading.requests for reading in self.readings)

    @cached_property
    def load(self) -> tuple[float, ...]:
        """Shape (n,), requests a second in the interval before each reading."""
        between = zip(pairwise(self.requests), pairwise(self.times), strict=True)
        rates = [
            (after - before) / (end - begin) if end - begin > SHORTEST_S else 0.0
            for (before, after), (begin, end) in between
        ]
        return (rates[0], *rates)

    @cached_property
    def busy(self) -> tuple[bool, ...]:
        """Shape (n - 1,), whether a request was completed between two readings."""
        return tuple(after > before for before, after in pairwise(self.requests))

    def _values(self, metric: Metric) -> tuple[float, ...]:
        field = _FIELDS[metric]
        return tuple(float(getattr(reading, field)) for reading in self.readings)


def _was_collected(readings: Sequence[Reading]) -> bool:
    """Return whether a full collection came early enough for the last floor, which the very last reading is not in."""
    lowest = max(1, len(readings) // (10 * WINDOWS))
    return readings[-1 - lowest].gc.collections[2] > readings[0].gc.collections[2]


class LongSpan(Span):
    """The long view of a service that goes on, in windows of half an hour."""

    live = True


def long_view(readings: Sequence[Reading], garbage: Mapping[Metric, float] | None = None) -> LongSpan | None:
    """Return the long view: a reading a minute, the first hour cut. None where that is not five hours or too few."""
    if readings[-1].time_s - readings[0].time_s < LIVE_FROM_S:
        return None
    warm_s = readings[0].time_s + _WARM_UP_S
    thinned: list[Reading] = []
    for reading in readings:
        if reading.time_s >= warm_s and (not thinned or reading.time_s - thinned[-1].time_s >= _THINNED_S):
            thinned.append(reading)
    return LongSpan(thinned, garbage) if len(thinned) > WINDOWS else None


class Track:
    """
    One counter over a span.

    Args:
        metric: What was counted.
        values: Shape (n,), in its unit.
        span: Where they come from.

    """

    def __init__(self, metric: Metric, values: tuple[float, ...], span: Span) -> None:
        self.metric = metric
        self.least: float = LEAST_GROWTH[metric]
        self._values = values
        self._span = span

    @cached_property
    def by_time(self) -> Series:
        """Floors over seconds, without load."""
        return self._floors(self._span.times, "second", Series(LOAD, self._span.times, self._span.load))

    @cached_property
    def by_requests(self) -> Series | None:
        """Floors over completed requests, without load; None where requests came in too few intervals."""
        if sum(self._span.busy) < WINDOWS:
            return None
        requests = self._span.requests
        return self._floors(requests, "request", Series(LOAD, requests, self._span.load))

    @cached_property
    def floors(self) -> Series:
        """The floors that tell most."""
        return self._told[0]

    @property
    def lasts(self) -> bool:
        """Whether it grows without slowing down, and by enough to matter."""
        return self._growth.lasts and self._matters

    @property
    def slows(self) -> bool:
        """Whether it grows more and more slowly."""
        return self._growth.slows and self._matters

    @property
    def is_load(self) -> bool:
        """Whether it grows, but not once the load is taken out."""
        loaded = floor_growth(self._floors(self._span.times, "second", None))
        return not self._growth.rises and loaded.rises and loaded.total >= self.least

    @property
    def is_garbage(self) -> bool:
        """Whether it grows, but by what a collection frees."""
        garbage = self._span.garbage.get(self.metric, 0.0) * self._span.length_s
        return self._growth.rises and self.total >= self.least and garbage >= _EXPLAINED * self.total

    @property
    def evidence(self) -> float:
        """The e-value of its growth."""
        return self._growth.evidence if self._matters else 1.0

    @property
    def total(self) -> float:
        """Growth from the first to the last floor."""
        return self._growth.total

    @property
    def slope(self) -> Estimate | None:
        """Growth per position of the floors that tell most."""
        return _slope(self.floors)

    @property
    def over_requests(self) -> Estimate | None:
        """Growth per completed request."""
        return None if self.by_requests is None else _slope(self.by_requests)

    @property
    def over_time(self) -> Estimate | None:
        """Growth per second."""
        return _slope(self.by_time)

    @property
    def busy_steps(self) -> tuple[float, ...]:
        """What was added in each interval in which requests were completed."""
        steps = zip(self._span.busy, pairwise(self._values), strict=True)
        return tuple(after - before for busy, (before, after) in steps if busy)

    @property
    def _matters(self) -> bool:
        return self.total >= self.least and not self.is_garbage

    @property
    def _growth(self) -> FloorGrowth:
        return self._told[1]

    @cached_property
    def _told(self) -> tuple[Series, FloorGrowth]:
        """Return the floors that tell most, and what they say: those that last, that rise, over requests first."""
        both = (self.by_time,) if self._span.live else (self.by_requests, self.by_time)
        told = [(series, floor_growth(series)) for series in both if series is not None]
        return max(told, key=lambda pair: (pair[1].lasts, pair[1].rises))

    def _floors(self, x: Sequence[float], unit: str, load: Series | None) -> Series:
        series = Series(self.metric, tuple(x), self._values, unit)
        live = unit == "second" and self._span.live
        width = LIVE_WIDTH_S if live else soak_width(series)
        return floors(series, load, width) if width > 0 else Series(self.metric, (), (), unit)


def _slope(series: Series) -> Estimate | None:
    return fit(series).slope if len(series.x) >= READINGS_NEEDED else None
