"""What the dashboard is told beside the state of the guard; the page itself is driven in tests/browser."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from pytest_memguard.demo import dashboard
from pytest_memguard.service.monitor import GcStats, Reading
from pytest_memguard.service.pressure import Thresholds


def _guard(readings: int) -> Any:  # noqa: ANN401 - a double
    """Return what looks like a guard with so many readings in its window."""
    window = tuple(Reading(float(at), 1000 + at, blocks=at, gc=GcStats(seconds=at / 10)) for at in range(readings))
    return SimpleNamespace(
        window=window,
        current=Reading(99.0, 7),
        limit=SimpleNamespace(bytes=4096, source="host"),
        settings=SimpleNamespace(thresholds=Thresholds(0.8, 0.9, 0.95), interval_s=5.0),
        shed=3,
        routes=(),
    )


def test_readings_are_columns() -> None:
    """Each counter is a column of the window, oldest first, and JSON can hold it all."""
    shown: Any = json.loads(json.dumps(dashboard.shown(_guard(3))))

    assert shown["readings"]["time"] == [0.0, 1.0, 2.0]
    assert shown["readings"]["rss"] == [1000, 1001, 1002]
    assert shown["readings"]["heap"] == [None, None, None]
    assert shown["readings"]["gc"] == [0.0, 0.1, 0.2]
    assert shown["limit"] == {"bytes": 4096, "source": "host", "thresholds": [0.8, 0.9, 0.95]}


def test_the_newest_readings_are_enough() -> None:
    """A guard may keep a hundred thousand readings; a message of the feed holds the newest 240."""
    shown: Any = dashboard.shown(_guard(241))

    assert shown["readings"]["time"] == [float(at) for at in range(1, 241)]
    assert len(dashboard.shown(_guard(240))["readings"]["time"]) == 240  # type: ignore[index]


def test_before_the_first_reading_there_is_the_current_one() -> None:
    """A guard that does not watch shows what it read when it was asked."""
    shown: Any = dashboard.shown(_guard(0))

    assert (shown["readings"]["time"], shown["readings"]["rss"]) == ([99.0], [7])
