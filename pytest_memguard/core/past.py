"""
Many sessions -> one trend a cause: when it came, how it grew, when it went.

Sessions of one commit are one point: the largest growth a run counts. A commit at which no test of a cause was
measured says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["CauseTrend", "Past", "PastLeak", "Point", "since", "sortable", "trends"]


@dataclass(frozen=True, slots=True)
class PastLeak:
    """One leak of one session: for each metric the largest growth a run of one test."""

    fingerprint: str
    text: str
    verdict: str
    rates: Mapping[str, float]
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """
    What is kept of one session.

    Attributes:
        time: Of the commit, else of the session; UTC, so that text sorts as time does.
        sha: Of the commit; empty where none was known.
        measured: Numbers that stand for the tests that were measured, or for their files.

    """

    time: str
    sha: str = ""
    branch: str = ""
    dirty: bool = False
    environment: str = ""
    leaks: tuple[PastLeak, ...] = ()
    measured: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Point:
    """Growth a run at one commit: 0 where it was measured and did not grow, None where it was not measured."""

    time: str
    sha: str
    per_run: float | None
    dirty: bool = False

    @property
    def label(self) -> str:
        """The commit, or the time where there is none."""
        return f"{self.sha[:10]}{'*' if self.dirty else ''}" if self.sha else self.time


@dataclass(frozen=True, slots=True)
class CauseTrend:
    """
    One cause over all commits, the oldest first.

    Attributes:
        tests: Ids of all tests that ever had it, those of the newest session first.
        first_bad: Where it came the last time, if it is still there.
        last_good: The measured point before that; None where it was there from the start.

    """

    fingerprint: str
    text: str
    metric: Metric
    points: tuple[Point, ...]
    tests: tuple[str, ...]
    verdict: str = "leak"
    first_bad: Point | None = None
    last_good: Point | None = None

    @property
    def is_there(self) -> bool:
        """Whether it was there when it was measured last."""
        return self.first_bad is not None


def sortable(time: str) -> str:
    """Return an ISO 8601 time as UTC; what is none as it is."""
    try:
        moment = datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return time
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def since(sessions: Iterable[Past], start: str) -> tuple[Past, ...]:
    """Return the sessions from *start* on: a day, a time, or the first digits of a commit; empty if it is none."""
    ordered = sorted(sessions, key=lambda one: one.time)
    for one in ordered:
        if len(start) >= 4 and one.sha.startswith(start.lower()):  # noqa: PLR2004 - git's own least
            return tuple(other for other in ordered if other.time >= one.time)
    try:
        datetime.fromisoformat(start.replace("Z", "+00:00"))
    except ValueError:
        return ()
    return tuple(one for one in ordered if one.time >= sortable(start))


def trends(sessions: Sequence[Past], number_of: Mapping[str, int]) -> tuple[CauseTrend, ...]:
    """
    Return the trend of each cause that any of *sessions* had: those still there first, then the latest to go.

    Args:
        sessions: In any order.
        number_of: The number that stands for a test or its file in ``Past.measured``.

    """
    ordered = sorted(sessions, key=lambda one: (one.time, one.sha))
    seen: dict[str, list[PastLeak]] = {}
    for session in ordered:
        for leak in session.leaks:
            if leak.fingerprint:
                seen.setdefault(leak.fingerprint, []).append(leak)
    found = [_trend(name, leaks, ordered, number_of) for name, leaks in seen.items()]
    return tuple(sorted(found, key=lambda one: (not one.is_there, one.verdict != "leak", one.fingerprint)))


def _trend(name: str, leaks: list[PastLeak], ordered: list[Past], number_of: Mapping[str, int]) -> CauseTrend:
    metric = _metric(leaks)
    tests = tuple(dict.fromkeys(test for leak in reversed(leaks) for test in leak.tests))
    names = {one for test in tests for one in (test, test.partition("::")[0])}
    numbers = {number_of[one] for one in names if one in number_of}
    points = tuple(_point(same, name, metric, numbers) for same in _by_commit(ordered))
    bad, good = _first_bad(points)
    return CauseTrend(name, leaks[-1].text, metric, points, tests, leaks[-1].verdict, bad, good)


def _metric(leaks: list[PastLeak]) -> Metric:
    """Return the metric that most sessions have: of several resources, then exact ones first."""
    counts: dict[str, int] = {}
    for leak in leaks:
        for name in leak.rates:
            counts[name] = counts.get(name, 0) + 1
    metrics = [METRICS.get(name, Metric(name, Unit.COUNT, exact=False)) for name in counts]
    order = sorted(metrics, key=lambda one: (-counts[one.name], not one.resource, not one.exact, one.name))
    return order[0] if order else METRICS["blocks"]


def _by_commit(ordered: list[Past]) -> list[list[Past]]:
    groups: dict[tuple[str, bool], list[Past]] = {}
    for one in ordered:
        groups.setdefault((one.sha or one.time, one.dirty), []).append(one)
    return list(groups.values())


def _point(same: list[Past], name: str, metric: Metric, numbers: set[int]) -> Point:
    leaks = [leak for one in same for leak in one.leaks if leak.fingerprint == name]
    rate: float | None = None
    if leaks:
        rate = max((leak.rates.get(metric.name, 0.0) for leak in leaks), default=0.0) or _LITTLE
    elif any(numbers & one.measured for one in same):
        rate = 0.0
    return Point(same[0].time, same[0].sha, rate, same[0].dirty)


#: Stands for growth that was seen by another metric only: there, but not by how much.
_LITTLE = 1e-9


def _first_bad(points: tuple[Point, ...]) -> tuple[Point | None, Point | None]:
    """Return the first point of the growth that the newest measured point has, and the good one before it."""
    measured = [point for point in points if point.per_run is not None]
    bad: Point | None = None
    for point in reversed(measured):
        if not point.per_run:
            return bad, (point if bad is not None else None)
        bad = point
    return bad, None
