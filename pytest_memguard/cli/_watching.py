"""What a watched tree of processes says: readings kept, growth, and a verdict on each process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pytest_memguard.core.floors import WINDOWS
from pytest_memguard.core.units import Unit, duration, signed
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    METRICS,
    RSS,
    THREADS,
    USS,
    Estimate,
    Finding,
    Level,
    Metric,
    Series,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.service.detection import LEAKS, Detection, detect
from pytest_memguard.service.readings import GcStats, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_memguard.agent.outside import ProcessReading, TreeReading

__all__ = ["Growth", "History", "Indicator", "Track", "summary"]

#: Readings are kept as they come for half an hour, and a minute apart before that: a week takes a few megabytes.
_CLOSE_S, _APART_S, _MOST_CLOSE = 1800.0, 60.0, 20_000
#: A build starts thousands of processes; the first so many are told apart.
_MOST_PROCESSES = 64
_GENERATIONS = 3
_LEVELS = {
    "none": Level.CLEAN,
    "load": Level.CLEAN,
    "leak_python": Level.LEAK,
    "leak_native": Level.LEAK,
    "fragmentation": Level.GROWING,
    "cache_filling": Level.GROWING,
    "restart": Level.UNMEASURED,
    "needs_data": Level.UNMEASURED,
}
_FIELDS: dict[Metric, str] = {
    RSS: "rss_bytes",
    USS: "uss_bytes",
    HEAP: "heap_bytes",
    BLOCKS: "blocks",
    FDS: "fds",
    THREADS: "threads",
}


class Indicator(str, Enum):
    """How much a tree has grown."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Growth:
    """From how many bytes of growth on an indicator changes."""

    warning_bytes: int
    critical_bytes: int

    def indicator(self, grown_bytes: float) -> Indicator:
        """Return what *grown_bytes* amounts to."""
        if grown_bytes >= self.critical_bytes:
            return Indicator.CRITICAL
        return Indicator.WARNING if grown_bytes >= self.warning_bytes else Indicator.HEALTHY


class Track:
    """The readings of one process, the oldest first."""

    def __init__(self, first: ProcessReading) -> None:
        self.pid, self.started_s, self.name = first.pid, first.started_s, first.name
        self._older: list[tuple[float, ProcessReading]] = []
        self._close: list[tuple[float, ProcessReading]] = []
        self.taken = 0

    @property
    def readings(self) -> tuple[tuple[float, ProcessReading], ...]:
        """All that are kept, each with its time."""
        return (*self._older, *self._close)

    def add(self, time_s: float, reading: ProcessReading) -> None:
        """Keep a reading; one that is half an hour old only if it is a minute after the last that was kept."""
        self.taken += 1
        self.name = reading.name  # a process may become another program
        self._close.append((time_s, reading))
        if time_s - self._close[0][0] <= _CLOSE_S and len(self._close) <= _MOST_CLOSE:
            return
        oldest = self._close.pop(0)
        if not self._older or oldest[0] - self._older[-1][0] >= _APART_S:
            self._older.append(oldest)

    def result(self, name: str) -> SubjectResult:
        """Return the verdict on the process, as *name*."""
        readings = self.readings
        # As many as there are agents' answers: a process has none until its interpreter runs.
        inside = [pair for pair in readings if pair[1].has_agent]
        judged = inside if len(inside) * 2 > len(readings) else readings
        detection = detect([_as_reading(*pair) for pair in judged])
        has_agent = judged is inside
        length_s = readings[-1][0] - readings[0][0]
        return SubjectResult(
            id=name,
            kind="process",
            verdict=Verdict(
                _LEVELS[detection.verdict],
                100 * detection.confidence,
                _reason(detection, has_agent=has_agent),
                policies=tuple(detection.policies.items()),
            ),
            runs=self.taken,
            duration_s=length_s,
            findings=tuple(_findings(detection, readings)),
            notes=tuple(_notes(self, has_agent=has_agent)),
            timeline=tuple(_series(readings)),
        )


class History:
    """
    What was read of a tree so far.

    Args:
        growth: Where its indicator changes.

    """

    def __init__(self, growth: Growth) -> None:
        self.growth = growth
        self.latest: TreeReading | None = None
        self.first: TreeReading | None = None
        self._tracks: dict[tuple[int, float], Track] = {}
        self.left_out = 0

    def add(self, reading: TreeReading) -> None:
        """Keep a reading of each process."""
        self.first = self.first or reading
        self.latest = reading
        for one in reading.processes:
            key = one.pid, one.started_s
            if key not in self._tracks:
                if len(self._tracks) == _MOST_PROCESSES:
                    self.left_out += 1
                    continue
                self._tracks[key] = Track(one)
            self._tracks[key].add(reading.time_s, one)

    @property
    def duration_s(self) -> float:
        """From the first reading to the last."""
        return self.latest.time_s - self.first.time_s if self.latest and self.first else 0.0

    @property
    def grown_bytes(self) -> int:
        """Resident memory of the tree now, less that of the first reading."""
        if self.latest is None or self.first is None:
            return 0
        return (self.latest.total("rss_bytes") or 0) - (self.first.total("rss_bytes") or 0)

    @property
    def indicator(self) -> Indicator:
        """What that growth amounts to."""
        return self.growth.indicator(self.grown_bytes)

    def results(self) -> tuple[SubjectResult, ...]:
        """Return a verdict on each process that was there long enough, and on the first in any case."""
        tracks = list(self._tracks.values())
        long = [track for track in tracks if track.taken > WINDOWS]
        return tuple(track.result(name) for name, track in _named(long or tracks[:1]))


def _named(tracks: Sequence[Track]) -> Iterator[tuple[str, Track]]:
    """Yield each with a name of its own, which another run of the same command gives it again."""
    seen: dict[str, int] = {}
    for track in tracks:
        seen[track.name] = number = seen.get(track.name, 0) + 1
        yield (track.name if number == 1 else f"{track.name} #{number}"), track


def _as_reading(time_s: float, reading: ProcessReading) -> Reading:
    counts = (*reading.collections, 0, 0, 0)[:_GENERATIONS]
    return Reading(
        time_s=time_s,
        rss_bytes=reading.rss_bytes,
        heap_bytes=reading.heap_bytes,
        mapped_bytes=reading.mapped_bytes,
        blocks=reading.blocks or 0,
        fds=reading.fds or 0,
        threads=reading.threads or 0,
        gc=GcStats((counts[0], counts[1], counts[2]), freed=reading.freed),
    )


def _reason(detection: Detection, *, has_agent: bool) -> str:
    if has_agent or detection.verdict not in LEAKS or detection.metric != RSS.name:
        return detection.reason
    rate = detection.per_hour
    grows = f"{signed(rate.point, Unit.BYTE)} an hour" if rate is not None and rate.low > 0 else "grows"
    return f"resident memory (rss): {grows}, without slowing down; no agent is inside that could tell what it is"


def _notes(track: Track, *, has_agent: bool) -> Iterator[str]:
    yield f"process {track.pid}, {track.taken} readings"
    if not has_agent:
        yield "no agent is inside: heap and blocks are not known; start it with `memguard exec -- COMMAND`"
    if any(reading.fds is None for _, reading in track.readings):
        yield "its descriptors and its unique memory are not for this user to see"


def _findings(detection: Detection, readings: Sequence[tuple[float, ProcessReading]]) -> Iterator[Finding]:
    rate = detection.per_hour
    if _LEVELS[detection.verdict] not in (Level.LEAK, Level.GROWING) or rate is None:
        return
    metric = METRICS[detection.metric]
    values = [value for _, one in readings if (value := getattr(one, _FIELDS[metric])) is not None]
    slope = Estimate(rate.point / 3600, rate.low / 3600, rate.high / 3600, rate.level)
    shape = Shape.SLOWING if detection.verdict == "cache_filling" else Shape.LINEAR
    total = values[-1] - values[0] if values else 0
    yield Finding(metric, Trend(shape, slope, len(values)), total, advice=" ".join(detection.recommendations))


def _series(readings: Sequence[tuple[float, ProcessReading]]) -> Iterator[Series]:
    """Yield what was read over the seconds since the first reading, a series a metric."""
    begun_s = readings[0][0]
    for metric, field in _FIELDS.items():
        points = [(at_s - begun_s, value) for at_s, one in readings if (value := getattr(one, field)) is not None]
        if points:
            x, values = zip(*points, strict=True)
            yield Series(metric, tuple(round(at_s, 3) for at_s in x), values, "second")


def summary(result: SubjectResult) -> str:
    """Return a verdict on one line."""
    verdict = result.verdict
    words = "not decided" if verdict.level is Level.UNMEASURED else verdict.level.value
    return f"{result.id}: {words}, {verdict.score:.0f} of 100 after {duration(result.duration_s)}: {verdict.reason}"
