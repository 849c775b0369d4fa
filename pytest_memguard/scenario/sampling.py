"""What was read of the processes of a scenario, moment by moment, beside how many requests were completed by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_memguard.core.values import BLOCKS, FDS, HEAP, RSS, THREADS, USS, Metric, Series, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_memguard.agent.outside import ProcessReading, TreeReading

__all__ = ["FIELDS", "REQUESTS", "Moment", "Phase", "Recording", "Track"]

REQUESTS = Metric("requests", Unit.COUNT, exact=True, lower_is_better=False)
FIELDS: dict[Metric, str] = {
    BLOCKS: "blocks",
    HEAP: "heap_bytes",
    FDS: "fds",
    THREADS: "threads",
    USS: "uss_bytes",
    RSS: "rss_bytes",
}
#: Of one process; beyond it every second moment is dropped, so that a run of days stays within megabytes.
_MOST_MOMENTS = 4000
#: A service that starts a process a request is not followed into each of them.
_MOST_TRACKS = 256


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run, in seconds since its start."""

    name: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """One process at one time; *requests* completed by then, of the whole scenario."""

    time_s: float
    requests: float
    reading: ProcessReading


class Track:
    """The moments of one process, the oldest first."""

    def __init__(self, service: str, first: ProcessReading) -> None:
        self.service = service
        self.pid = first.pid
        self.name = first.name
        self.moments: list[Moment] = []

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.service}: {self.name}"

    def within(self, begin_s: float, end_s: float) -> list[Moment]:
        """Return the moments from *begin_s* to *end_s*."""
        return [moment for moment in self.moments if begin_s <= moment.time_s <= end_s]


class Recording:
    """All that was read; times are seconds since the start of the run."""

    def __init__(self) -> None:
        self.tracks: dict[tuple[str, int, float], Track] = {}
        self.totals: list[tuple[float, float, tuple[float | None, ...]]] = []
        self.phases: list[Phase] = []
        self.left_out = 0
        self._every = 1
        self._taken = 0

    def add(self, time_s: float, requests: float, readings: Sequence[tuple[str, TreeReading]]) -> None:
        """Keep one reading of each service, by its name."""
        self._taken += 1
        if self._taken % self._every:
            return
        for service, tree in readings:
            for one in tree.processes:
                self._keep(service, Moment(time_s, requests, one))
        self.totals.append((time_s, requests, tuple(total(readings, field) for field in FIELDS.values())))
        if len(self.totals) > _MOST_MOMENTS:
            self._thin()

    def phase(self, name: str) -> Phase | None:
        """Return the phase of that name; None where the run did not come so far."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def timeline(self) -> tuple[Series, ...]:
        """Return what all processes together took over the seconds, a series a metric, and the requests."""
        return tuple(self._timeline())

    def _keep(self, service: str, moment: Moment) -> None:
        one = moment.reading
        key = service, one.pid, one.started_s
        track = self.tracks.get(key)
        if track is None:
            if len(self.tracks) == _MOST_TRACKS:
                self.left_out += 1
                return
            track = self.tracks[key] = Track(service, one)
        track.name = one.name  # a wrapper script becomes another program
        track.moments.append(moment)

    def _thin(self) -> None:
        self._every *= 2
        del self.totals[::2]
        for track in self.tracks.values():
            del track.moments[::2]

    def _timeline(self) -> Iterator[Series]:
        if not self.totals:
            return
        for at, metric in enumerate(FIELDS):
            points = [(time_s, values[at]) for time_s, _, values in self.totals if values[at] is not None]
            if points:
                x, y = zip(*points, strict=True)
                yield Series(metric, tuple(round(time_s, 3) for time_s in x), y, "second")
        times = tuple(round(time_s, 3) for time_s, _, _ in self.totals)
        if self.totals[-1][1]:
            yield Series(REQUESTS, times, tuple(requests for _, requests, _ in self.totals), "second")


def total(readings: Sequence[tuple[str, TreeReading]], field: str) -> float | None:
    """Return the sum of *field* over all processes that tell; None where none does."""
    found = [value for _, tree in readings if (value := tree.total(field)) is not None]
    return sum(found) if found else None
