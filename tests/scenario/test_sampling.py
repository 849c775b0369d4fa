"""What is kept of the readings of a run."""

from __future__ import annotations

from pytest_memguard.agent.outside import ProcessReading, TreeReading
from pytest_memguard.core.values import BLOCKS, FDS, RSS
from pytest_memguard.scenario.sampling import _MOST_MOMENTS, _MOST_TRACKS, REQUESTS, Recording


def tree(*pids: int, rss: int = 100, blocks: int | None = 10) -> TreeReading:
    """Return a reading of these processes."""
    return TreeReading(0.0, tuple(ProcessReading(pid, 0.0, "python", rss, blocks=blocks) for pid in pids))


def test_timeline() -> None:
    """Processes and services are added up; what nobody tells has no series."""
    recording = Recording()
    recording.add(1.0, 0, [("shop", tree(1, 2)), ("queue", tree(3, blocks=None))])
    recording.add(2.0, 7, [("shop", tree(1, 2)), ("queue", tree(3, blocks=None))])

    found = {series.metric: (series.x, series.values) for series in recording.timeline()}

    assert found == {
        BLOCKS: ((1.0, 2.0), (20, 20)),
        RSS: ((1.0, 2.0), (300, 300)),
        REQUESTS: ((1.0, 2.0), (0, 7)),
    }
    assert FDS not in found
    assert [track.title for track in recording.tracks.values()] == ["shop: python", "shop: python", "queue: python"]


def test_a_run_of_days() -> None:
    """However long a run is, what is kept has a limit, and spans all of it."""
    recording = Recording()
    for at in range(3 * _MOST_MOMENTS):
        recording.add(float(at), at, [("shop", tree(1))])

    (track,) = recording.tracks.values()

    assert _MOST_MOMENTS / 4 <= len(track.moments) <= _MOST_MOMENTS
    assert track.moments[0].time_s < 10
    assert track.moments[-1].time_s > 3 * _MOST_MOMENTS - 10
    assert len(recording.totals) <= _MOST_MOMENTS


def test_a_process_a_request() -> None:
    """Processes without end are not all followed, and that is counted."""
    recording = Recording()
    for pid in range(_MOST_TRACKS + 3):
        recording.add(float(pid), 0, [("shop", tree(pid))])

    assert (len(recording.tracks), recording.left_out) == (_MOST_TRACKS, 3)


def test_another_process_of_the_same_number() -> None:
    """A number that is used again is another process."""
    recording = Recording()
    first = TreeReading(0.0, (ProcessReading(1, 5.0, "a", 1),))
    second = TreeReading(0.0, (ProcessReading(1, 9.0, "b", 1),))
    recording.add(0.0, 0, [("shop", first)])
    recording.add(1.0, 0, [("shop", second)])

    assert [(track.pid, track.name) for track in recording.tracks.values()] == [(1, "a"), (1, "b")]
