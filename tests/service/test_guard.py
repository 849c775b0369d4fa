"""The guard: from readings to levels, deeds, and what it tells."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import heap
from pytest_memguard.errors import ConfigError, DocumentError
from pytest_memguard.service import Guard
from pytest_memguard.service.actions import Action
from pytest_memguard.service.alerts import Alerts, to_callback
from pytest_memguard.service.caches import Caches
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.readings import GcStats, Reading
from pytest_memguard.service.settings import GuardSettings

HEALTHY, WARNING, CRITICAL, EMERGENCY = Pressure
LIMIT = 1000
LOG = "pytest_memguard.service"
SOON_S = 10.0


class Process:
    """A process whose used memory is written down, per cent of its limit a reading, and its clock."""

    def __init__(self, *usages: float) -> None:
        self.now_s = 0.0
        self.usages = list(usages)

    def clock(self) -> float:
        """Return the time."""
        return self.now_s

    def read(self, time_s: float, requests: int, stats: GcStats) -> Reading:
        """Return the next reading; the last usage stands for all later ones."""
        usage = self.usages.pop(0) if len(self.usages) > 1 else self.usages[0]
        if isinstance(usage, Exception):
            raise usage
        return Reading(time_s, int(usage * LIMIT / 100), requests=requests, gc=stats)

    def guard(self, parts: dict[str, Any] | None = None, **settings: object) -> Guard:
        """Return a guard of this process, which does not run."""
        given = {"platform": "render", "limit_bytes": LIMIT, "leak_detection": False, "trim": False, **settings}
        made = GuardSettings.from_environment({}, **given)
        return Guard(made, read=self.read, clock=self.clock, **(parts or {}))


@pytest.fixture(autouse=True)
def _collect_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep collections out of tests that are not about them."""
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)


def levels(guard: Guard, readings: int) -> list[str]:
    """Return the level after each reading."""
    return [(guard.look(), guard.level.value)[1] for _ in range(readings)]


# Levels


def test_levels_follow_the_usage() -> None:
    """Up at the thresholds of the platform, down a little below them."""
    guard = Process(10, 60, 59, 57, 75, 90, 89, 87, 10).guard()

    assert levels(guard, 9) == [
        "healthy", "warning", "warning", "healthy", "critical", "emergency", "emergency", "critical", "healthy",
    ]  # fmt: skip


def test_shedding_begins_and_ends_by_itself() -> None:
    """Requests are turned away while, and only while, there is an emergency."""
    guard = Process(50, 95, 89, 80).guard()
    shedding = [(guard.look(), guard.shedding)[1] for _ in range(4)]

    assert shedding == [False, True, True, False]
    assert guard.usage == 0.8
    assert guard.current.rss_bytes == 800
    assert guard.retry_after_s == 5


def test_the_next_look_comes_sooner_under_pressure() -> None:
    """What fills memory does not wait for the interval, and recovery does not either."""
    guard = Process(10, 60, 75, 90, 10).guard(interval_s=10)
    paces = [(guard.look(), guard._monitor.pace_s)[1] for _ in range(5)]

    assert paces == [9.8, 5, 1, 1, 9.8]


def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each change, with the usage and the limit; a fall is no warning."""
    guard = Process(50, 65, 66, 10).guard()
    with caplog.at_level(logging.INFO, LOG):
        levels(guard, 4)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if " is " in record.getMessage()]

    assert lines == [
        ("WARNING", "memguard: memory is warning, 65 % of 1000 B (was healthy)"),
        ("INFO", "memguard: memory is healthy, 10 % of 1000 B (was warning)"),
    ]


def test_what_is_done_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Every action by its name, with what it freed."""
    guard = Process(50).guard({"actions": [Action("drop drafts", 1, 0.4, lambda: 2048)]})
    with caplog.at_level(logging.INFO, LOG):
        guard.look()
    done = guard.metrics()["actions"]["drop drafts"]

    assert "memguard: drop drafts freed 2.0 KiB in" in caplog.text
    assert (done["runs"], done["freed_bytes"], done["failures"]) == (1, 2048, 0)


def test_caches_are_cut_and_then_cleared() -> None:
    """Half of them when memory is critical, all of them in an emergency."""
    caches = Caches()
    cache = caches.create("answers")
    for number in range(10):
        cache[number] = number
    guard = Process(80, 95).guard({"caches": caches})
    guard.look()
    cut = len(cache)
    guard.look()

    assert cut == 5
    assert len(cache) == 0


def test_an_emergency_can_be_asked_for() -> None:
    """Whatever the usage is; each step is an outcome."""
    outcomes = Process(10).guard(trim=True).emergency()

    assert [outcome.name for outcome in outcomes] == [
        "clear caches", "clear metrics", "drop snapshots", "collect", "trim",
    ]  # fmt: skip
    assert all(outcome.error is None for outcome in outcomes)


def test_a_collection_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All generations, at once, with the time that it took."""
    generations = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: generations.append(generation))
    outcome = Process(10).guard().collect()

    assert generations == [2]
    assert outcome.name == "collect"
    assert outcome.duration_s > 0


# Out of memory


def test_an_alarm_is_an_emergency_at_once() -> None:
    """A request that ran out of memory says so; requests are turned away until a reading says otherwise."""
    process = Process(10)
    guard = process.guard()
    guard.alarm()
    alarmed = guard.shedding
    guard.look()
    dealt_with = guard.shedding, "clear caches" in guard.metrics()["actions"]
    guard.look()

    assert alarmed
    assert dealt_with == (True, True)
    assert guard.level is HEALTHY


def test_a_reading_without_memory_is_an_emergency() -> None:
    """The thread itself may be the one that gets none."""
    guard = Process(10, MemoryError(), 10).guard(interval_s=0.01)  # type: ignore[arg-type]
    shed = threading.Event()
    guard._monitor.failures.append(lambda _: shed.set() if guard.shedding else None)
    guard.start()
    try:
        assert shed.wait(SOON_S)
        assert "clear caches" in guard._relief.done
    finally:
        guard.stop()


def test_a_failing_reading_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The thread lives, and does not fill the log."""
    guard = Process(10).guard()
    for _ in range(3):
        guard._failed(OSError("no /proc"))
    guard._failed(OSError("other"))

    assert [record.getMessage() for record in caplog.records] == ["memguard: a reading failed"] * 2


# What it knows


def test_requests_are_counted() -> None:
    """All of them, with a cost or without; those that were turned away apart."""
    guard = Process(10).guard()
    guard.count_request("/items", 512)
    guard.count_request("/items", None)
    guard.count_shed()

    assert guard.requests == 2
    assert guard.look().requests == 2
    assert guard.shed == 1
    assert [(cost.route, cost.measured, cost.total_bytes) for cost in guard.routes] == [("/items", 1, 512)]


def test_requests_from_many_threads() -> None:
    """None is lost."""
    guard = Process(10).guard()
    threads = [
        threading.Thread(target=lambda: [guard.count_request("/", 1) for _ in range(2000)] and None) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert guard.requests == 16_000
    assert next(iter(guard.routes)).measured == 16_000


def test_requests_may_be_counted_elsewhere() -> None:
    """A function of the service's own."""
    assert Process(10).guard({"requests": lambda: 77}).look().requests == 77


def test_metrics_are_json() -> None:
    """All counters, in base units."""
    guard = Process(10).guard()
    guard.look()
    metrics = json.loads(json.dumps(guard.metrics()))

    assert metrics["usage"] == 0.1
    assert metrics["limit_bytes"] == LIMIT
    assert metrics["limit_source"] == "setting"
    assert metrics["level"] == "healthy"
    assert set(metrics["gc"]) == {"collections", "seconds", "freed", "visited", "efficiency"}


def test_health_before_the_first_reading() -> None:
    """Asked too early, it takes one."""
    health = Process(10).guard().health()

    assert health["status"] == "healthy"
    assert health["currentUsage"]["usagePercentage"] == 10.0


def test_unique_memory_is_read_on_demand() -> None:
    """It is memory of this process alone, and moves with what is kept."""
    guard = Process(10).guard()
    before = guard.unique_bytes()
    kept = bytearray(b"x" * 2**24)
    after = guard.unique_bytes()

    assert 2**20 < before < before + 2**23 < after
    assert len(kept) == 2**24


def test_caches_are_made_when_asked_for() -> None:
    """With the sizes of the settings; those that were given are kept."""
    given = Caches()
    guard = Process(10).guard(cache_size=7)

    assert Process(10).guard({"caches": given}).caches is given
    assert guard.caches is guard.caches
    assert guard.caches.create("x").size == 7


# Leaks


def test_the_readings_are_judged() -> None:
    """At the interval that is set, and kept for the answer of health; not at all where that is turned off."""
    process = Process(10)
    guard = process.guard(leak_detection=True, detection_interval_s=60)
    judged = []
    for now_s in (0.0, 30.0, 59.0, 60.0, 100.0, 121.0):
        process.now_s = now_s
        guard.detection = None
        guard.look()
        judged.append(guard.detection is not None)
    silent = Process(10).guard()
    silent.look()

    assert judged == [True, False, False, True, False, True]
    assert silent.detection is None
    assert silent.detect().verdict == "needs_data"


# Snapshots


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a\\b", ".hidden", "a..b", "x" * 65, "é", "a\n", "a.", "-x", "a b"]
)
def test_unsafe_snapshot_names(name: str, tmp_path: Path) -> None:
    """Nothing is written for a name that is not plain."""
    guard = Process(10).guard(snapshot_dir=tmp_path / "snapshots")

    with pytest.raises(ConfigError, match="is not safe; write up to 64 letters"):
        guard.snapshot(name)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written without values into the folder of the settings, which is made for it and for its owner alone."""
    written: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(heap, "write", lambda path, **limits: written.append((path, limits)), raising=False)
    folder = tmp_path / "some/snapshots"

    path = Process(10).guard(snapshot_dir=folder).snapshot("after-load.2")

    assert path == folder / "after-load.2.heapsnapshot"
    assert written == [(path, {})]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_snapshot_is_not_overwritten(tmp_path: Path) -> None:
    """The name is taken, and the file stays as it is."""
    (tmp_path / "one.heapsnapshot").write_text("mine")

    with pytest.raises(FileExistsError):
        Process(10).guard(snapshot_dir=tmp_path).snapshot("one")
    assert (tmp_path / "one.heapsnapshot").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The message names the setting and the folder."""
    (tmp_path / "file").write_text("")

    with pytest.raises(DocumentError, match=r"guard: snapshot_dir = .*file/x' cannot be made"):
        Process(10).guard(snapshot_dir=tmp_path / "file/x").snapshot("one")


# Starting and stopping


@pytest.fixture
def running() -> Iterator[Guard]:
    """Return a guard that runs."""
    guard = Process(10).guard(interval_s=3600)
    guard.start()
    yield guard
    guard.stop()


def test_the_first_reading_comes_at_once() -> None:
    """However long the interval."""
    guard = Process(10).guard(interval_s=3600)
    event = threading.Event()
    guard._monitor.listeners.append(lambda _: event.set())
    guard.start()
    try:
        assert event.wait(SOON_S)
    finally:
        guard.stop()


def test_stopping_reports_once(running: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """Several starts and stops are harmless; the report comes with the first stop."""
    running.start()
    with caplog.at_level(logging.INFO, LOG):
        running.stop()
        running.stop()

    assert [record.getMessage()[:21] for record in caplog.records] == ["memguard: watched for"]


def test_it_can_be_started_again(running: Guard) -> None:
    """A service that stops and starts is watched again."""
    running.stop()
    running.start()

    assert running._monitor.running


def test_it_runs_without_pytest() -> None:
    """Nothing that a guard imports is pytest's, nor the plugin's."""
    script = (
        "import sys; sys.modules['pytest'] = sys.modules['_pytest'] = None\n"
        "from pytest_memguard.service import watch\n"
        "guard = watch(limit_bytes='1 GiB', environ={})\n"
        "guard.look(), guard.detect(), guard.emergency(), guard.stop()\n"
        "print([name for name in sys.modules if name.startswith(('pytest_memguard.plugin', 'pluggy'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout == "[]\n"


def test_a_forked_worker_counts_from_zero() -> None:
    """What its parent did before the fork is not its own."""
    process = Process(95, 10)
    guard = process.guard()
    guard.count_request("/", 100)
    guard.count_shed()
    guard.look()
    process.now_s = 40.0
    guard._monitor.be_born()

    assert guard.level is HEALTHY
    assert (guard.requests, guard.shed, list(guard.routes), guard.metrics()["actions"]) == (0, 0, [], {})
    assert guard.window == (guard.current,)


# Alerts


def test_sinks_are_told() -> None:
    """A reading above the warning threshold is an alert to each sink; the guard ends them when it stops."""
    alerts: list[Any] = []
    guard = Process(65).guard({"alerts": [to_callback(alerts.append)]})
    guard.look()
    guard.stop()

    assert [(alert.kind, alert.level) for alert in alerts] == [("high_usage", "warning")]


def test_alerts_may_be_made_elsewhere() -> None:
    """With rules of their own; without sinks there are none."""
    alerts = Alerts()

    assert Process(10).guard({"alerts": alerts}).alerts is alerts
    assert Process(10).guard().alerts is None


def test_a_judgement_reaches_the_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, and not again with every reading."""
    noticed = []
    alerts = Alerts()
    monkeypatch.setattr(alerts, "notice", lambda reading, **facts: noticed.append(facts))
    process = Process(10)
    guard = process.guard({"alerts": alerts}, leak_detection=True)
    guard.look()
    process.now_s = 5.0
    guard.look()

    assert [facts["detection"] for facts in noticed] == [guard.detection, None]
    assert noticed[0]["level"] is HEALTHY
    assert noticed[0]["limit_bytes"] == LIMIT
