"""
Whether a process of a scenario leaks: its counters over completed requests, and what stays when the load is over.

    readings behind collections under load, or floors of 14 windows -> evidence that they rise, and go on rising
    settled before and after the load -> whether it comes back

Blocks and native heap decide; resident memory confirms. Both halves are needed: what rises and comes back after a
collection was garbage, and what is there afterwards and did not rise was filled once.

The first requests of a service fill what is filled once, whatever the scenario calls warm-up, and so evenly that they
look like a leak. So growth among them counts only where it is more than a warm-up brings in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

from pytest_memguard.core.floors import FLOORS_NEEDED, WINDOWS, FloorGrowth, floor_growth, floors, soak_width
from pytest_memguard.core.policies import Context, combine, correlation, growth, points
from pytest_memguard.core.trend import READINGS_NEEDED, fit
from pytest_memguard.core.units import signed
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, RSS, THREADS, Estimate, Metric, Series, Shape, Trend
from pytest_memguard.scenario.sampling import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_memguard.agent.outside import ProcessReading
    from pytest_memguard.scenario.sampling import Moment

__all__ = ["BLOCK_BYTES", "Judged", "Says", "Settled", "judge"]

#: A small object in the interpreter's own allocator, in the mean (16 to 512 bytes).
BLOCK_BYTES = 64
#: Less than this over a whole run is not worth a word, however evenly it comes.
_LEAST: Mapping[Metric, float] = {BLOCKS: 100, HEAP: 16 * 1024, FDS: 10, THREADS: 10, RSS: 4 * 2**20}
#: So many requests since its start a service may take to warm up, and so much a warm-up brings in all: `http.server`
#: gains a block or two a request at first, 900 blocks and 20 KiB of heap until it settles after a thousand.
_FIRST_REQUESTS = 2000
_WARM_UP: Mapping[Metric, float] = {BLOCKS: 2000, HEAP: 128 * 1024, FDS: 40, THREADS: 40, RSS: 8 * 2**20}
#: So much longer than it would just take to tell a leak from a warm-up.
_SPARE = 1.1
#: So much of what grew under load must be there when it is over: the rest was garbage or a connection.
_STAYS = 0.5
#: Evidence that is worth a longer run, though not a verdict; by chance one series in twenty comes so far.
_SUSPECT = 20.0
#: What must stay a request, without evidence of how it came, to be worth one.
_SUSPECT_RATE: Mapping[Metric, float] = {BLOCKS: 0.5, HEAP: 32.0}
#: A line whose slope is known so well is a random walk in one run of fifty at most.
_EVEN = 0.7
#: What a settled reading that confirms the growth is worth: by chance one in twenty does.
_CONFIRMED = 20.0
#: Of services that grow for no reason we know, so many leak; as for marked tests.
_PRIOR = 0.02
#: Readings under load that make the windows, and requests without which nothing is said.
_READINGS = 2 * WINDOWS
_REQUESTS = 2 * WINDOWS
_REQUEST = "request"


class Says(str, Enum):
    """What is said of one process."""

    LEAK = "leak"
    COMES_BACK = "comes back"
    SLOWS = "slows down"
    FRAGMENTS = "fragments"
    CLEAN = "clean"
    NEEDS_MORE = "needs more"


#: No run is surer than this; where a longer one must tell, the odds stay even.
_SUREST: Mapping[Says, float] = {Says.LEAK: 0.99, Says.FRAGMENTS: 0.9, Says.NEEDS_MORE: 0.5, Says.CLEAN: 0.2}


@dataclass(frozen=True, slots=True)
class Settled:
    """One process after a collection, and how many requests were completed by then."""

    requests: float
    reading: ProcessReading


@dataclass(frozen=True, slots=True)
class _Counter:
    """One counter under load, and what it was when nothing went on."""

    metric: Metric
    floors: Series
    growth: FloorGrowth
    slope: Estimate | None
    stayed: float | None
    is_settled: bool = False
    is_early: bool = False

    @property
    def matters(self) -> bool:
        return self.growth.total >= _LEAST[self.metric]

    @property
    def lasts(self) -> bool:
        return self.growth.lasts and self.matters and self.slope is not None and self.slope.low > 0

    @property
    def may_be_warm_up(self) -> bool:
        """Whether it is no more than what the first requests of a service may fill."""
        return self.is_early and self.growth.total < _WARM_UP[self.metric]

    @property
    def stays(self) -> bool | None:
        """Whether what came under load is still there; None where that was not read."""
        if self.stayed is None or self.slope is None:
            return None
        return self.stayed >= _STAYS * self.slope.point


@dataclass(frozen=True, slots=True)
class Judged:
    """
    The verdict on one process.

    Attributes:
        says: What became of it.
        score: How likely it grows without end, 0 to 100.
        reason: In words.
        growing: Metric and trend of each counter that grows, what tells most first.
        total: Growth under load of each of these.
        per_request: Growth a request (or second) of each counter that rises for sure.
        needs: How many times as long a run would tell; 1 where this one does.
        policies: The score of each scoring policy.

    """

    title: str
    pid: int
    says: Says
    score: float
    reason: str
    growing: tuple[tuple[Metric, Trend], ...] = ()
    total: Mapping[Metric, float] = field(default_factory=dict)
    per_request: Mapping[Metric, float] = field(default_factory=dict)
    needs: float = 1.0
    policies: Mapping[str, float] = field(default_factory=dict)

    @property
    def bytes_per_request(self) -> float:
        """Bytes that stay a request: native heap, and blocks at the size that they have in the mean."""
        return self.per_request.get(HEAP, 0.0) + BLOCK_BYTES * self.per_request.get(BLOCKS, 0.0)


def judge(  # noqa: PLR0913 - each is one thing that was measured
    title: str,
    moments: Sequence[Moment],
    before: Settled | None,
    after: Sequence[Settled],
    *,
    during: Sequence[Settled] = (),
    unit: str,
    limit_bytes: float | None = None,
) -> Judged:
    """
    Judge one process.

    Args:
        title: What it is, for people.
        moments: Under steady load, the oldest first.
        before: It, settled before the load.
        after: It, settled after the load, right then and after the cool-down.
        during: It, settled under load; empty where collections would take too long.
        unit: Of ``requests`` in the moments: "request", or "second" where nobody counts.
        limit_bytes: Its memory limit.

    """
    pid = moments[-1].reading.pid if moments else 0
    few = _too_few(moments, unit)
    if few:
        return Judged(title, pid, Says.NEEDS_MORE, 0.0, few[0], needs=few[1])
    counters = [
        counter
        for metric in _LEAST
        if (counter := _counter(metric, moments, during, _stayed(FIELDS[metric], before, after), unit))
    ]
    says, leading = _say(counters)
    memory = next((one.floors for one in counters if one.metric is RSS), None)
    score = _score(says, leading)
    return Judged(
        title,
        pid,
        says,
        score,
        _reason(says, leading, unit),
        tuple((one.metric, _trend(one)) for one in leading if says not in (Says.CLEAN, Says.NEEDS_MORE)),
        {one.metric: one.growth.total for one in leading},
        _per_request(counters) if says in (Says.LEAK, Says.FRAGMENTS) else {},
        _needs(says, leading, moments),
        _policies(leading, memory, score, limit_bytes),
    )


def _too_few(moments: Sequence[Moment], unit: str) -> tuple[str, float] | None:
    """Return why nothing can be said, and how many times as long it would take; None where something can."""
    if len(moments) < _READINGS:
        return f"{len(moments)} readings under load are too few, {_READINGS} are needed", _READINGS / max(
            1, len(moments)
        )
    done = moments[-1].requests - moments[0].requests
    if unit == _REQUEST and done < _REQUESTS:
        return f"{done:g} requests are too few, {_REQUESTS} are needed", _REQUESTS / max(1, done)
    known = len({moment.requests for moment in moments})
    if known < WINDOWS:
        return f"how many requests were completed is known {known} times, {WINDOWS} are needed", WINDOWS / known
    return None


def _counter(
    metric: Metric, moments: Sequence[Moment], during: Sequence[Settled], stayed: float | None, unit: str
) -> _Counter | None:
    told = _told(metric, moments)
    if len(told) * 2 < len(moments) or len(told) < WINDOWS:
        return None
    lowest = _floors(metric, told, unit)
    settled = _told(metric, during)
    is_settled = len({x for x, _ in settled}) >= FLOORS_NEEDED and unit == _REQUEST and metric is not RSS
    if is_settled:
        x, values = zip(*settled, strict=True)
        lowest = Series(metric, x, values, unit)
    slope = fit(lowest).slope if len(set(lowest.x)) >= READINGS_NEEDED else None
    is_early = unit == _REQUEST and moments[-1].requests < _FIRST_REQUESTS
    return _Counter(metric, lowest, floor_growth(lowest), slope, stayed, is_settled, is_early)


def _told(metric: Metric, readings: Sequence[Moment | Settled]) -> list[tuple[float, float]]:
    """Return requests and value of the readings that have one."""
    name = FIELDS[metric]
    return [(one.requests, value) for one in readings if (value := getattr(one.reading, name)) is not None]


def _floors(metric: Metric, told: Sequence[tuple[float, float]], unit: str) -> Series:
    x, values = zip(*told, strict=True)
    series = Series(metric, x, values, unit)
    width = soak_width(series)
    return floors(series, None, width) if width > 0 else Series(metric, (), (), unit)


def _stayed(name: str, before: Settled | None, after: Sequence[Settled]) -> float | None:
    """Return the least growth a request from one settled reading to those after the load."""
    first = getattr(before.reading, name) if before else None
    if before is None or first is None:
        return None
    rates = [
        (value - first) / (one.requests - before.requests)
        for one in after
        if one.requests > before.requests and (value := getattr(one.reading, name)) is not None
    ]
    return min(rates, default=None)


def _say(counters: Sequence[_Counter]) -> tuple[Says, list[_Counter]]:
    """Return what is said, and the counters that it is said of."""
    lasting = [one for one in counters if one.lasts]
    staying = [one for one in lasting if one.stays is not False]
    staying.sort(key=lambda one: one.may_be_warm_up)
    inside = [one for one in staying if one.metric is not RSS]
    has_inside = any(one.metric is HEAP or one.metric is BLOCKS for one in counters)
    if inside or (staying and not has_inside):
        leading = [*inside, *(one for one in staying if one.metric is RSS)]
        return Says.NEEDS_MORE if leading[0].may_be_warm_up else Says.LEAK, leading
    if staying:
        return Says.FRAGMENTS, staying
    suspects = [one for one in counters if one.metric is not RSS and _is_suspect(one)]
    if suspects:
        return Says.NEEDS_MORE, suspects
    if lasting:
        return Says.COMES_BACK, lasting
    slowing = [one for one in counters if one.growth.slows and one.matters]
    return (Says.SLOWS, slowing) if slowing else (Says.CLEAN, list(counters[:1]))


def _is_suspect(one: _Counter) -> bool:
    """Whether it may grow: there is more evidence than chance gives, and it is still there when the load is over."""
    if one.growth.slows or not one.stays:
        return False
    if one.matters and one.growth.evidence >= _SUSPECT:
        return True
    # Floors of what swings say little, and so do readings that a busy machine put close together; what stayed for
    # each request says that it must be looked at for longer.
    is_even = one.matters and one.slope is not None and one.slope.low >= _EVEN * one.slope.point > 0
    if one.stayed is None or (one.is_settled and not is_even):
        return False
    return one.stayed >= _SUSPECT_RATE.get(one.metric, inf)


def _per_request(counters: Sequence[_Counter]) -> dict[Metric, float]:
    return {one.metric: one.slope.point for one in counters if one.slope and one.lasts and one.stays is not False}


def _needs(says: Says, leading: Sequence[_Counter], moments: Sequence[Moment]) -> float:
    """Return how many times as long a run would tell: past the first requests, or past what they may fill."""
    if says is not Says.NEEDS_MORE:
        return 1.0
    if not leading[0].may_be_warm_up:
        return 2.0
    begun, done = moments[0].requests, moments[-1].requests
    past = (_FIRST_REQUESTS - begun) / max(1.0, done - begun)
    return _SPARE * min([past, *(_WARM_UP[one.metric] / one.growth.total for one in leading if one.lasts)])


def _score(says: Says, leading: Sequence[_Counter]) -> float:
    if not leading or says in (Says.COMES_BACK, Says.SLOWS):
        return 100 * _PRIOR
    lead = leading[0]
    odds = min(lead.growth.evidence, 1e9) * _PRIOR / (1 - _PRIOR)
    if says is Says.LEAK and lead.stays:
        odds *= _CONFIRMED
    if not lead.matters:
        odds = min(odds, _PRIOR)
    return 100 * min(_SUREST[says], odds / (1 + odds))


def _trend(one: _Counter) -> Trend:
    slope = one.slope or Estimate(0.0, 0.0, 0.0)
    return Trend(Shape.SLOWING if one.growth.slows else Shape.LINEAR, slope, one.growth.n)


def _policies(
    leading: Sequence[_Counter], memory: Series | None, score: float, limit_bytes: float | None
) -> dict[str, float]:
    if not leading or memory is None:
        return {}
    scores = {
        "points": points(memory, Context(limit_bytes=limit_bytes or None)).score,
        "correlation": correlation(leading[0].floors),
        "growth": growth(memory),
        "calibrated": score,
    }
    return {**scores, "any": combine(scores, "any"), "all": combine(scores, "all")}


# -- words -----------------------------------------------------------------------------------------------------------

_NOUNS = {
    BLOCKS: "memory blocks of Python",
    HEAP: "native heap",
    FDS: "descriptors",
    THREADS: "threads",
    RSS: "resident memory",
}


def _reason(says: Says, leading: Sequence[_Counter], unit: str) -> str:
    if says is Says.CLEAN or not leading:
        return f"nothing grows with each {unit}"
    grown = " and ".join(_growths(leading, unit))
    if says is Says.LEAK:
        stays = ", and it stays when the load is over" if leading[0].stays else ""
        return f"{grown}, without slowing down{stays}"
    if says is Says.COMES_BACK:
        return f"{grown} under load, and comes back when it is over: garbage that waits for the collector"
    if says is Says.SLOWS:
        return f"{grown}, but more and more slowly: a cache that fills, or a warm-up"
    if says is Says.FRAGMENTS:
        return f"{grown}, while heap and blocks do not: fragmentation, or memory that neither Python nor malloc knows"
    why = "which is too uneven for a verdict"
    if leading[0].lasts and leading[0].may_be_warm_up:
        why = f"as a service may do in its first {_FIRST_REQUESTS:,} requests"
    return f"{grown}, {why}"


def _growths(leading: Sequence[_Counter], unit: str) -> Iterator[str]:
    for one in leading:
        if one.slope is None:
            yield f"{_NOUNS[one.metric]} {signed(one.growth.total, one.metric.unit)} in all"
            continue
        yield f"{_NOUNS[one.metric]} {signed(one.slope.point, one.metric.unit)} a {unit}"
