"""When an alert is sent, when not, and when it is over: each rule on both sides of its line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_memguard.core.values import Estimate
from pytest_memguard.errors import ConfigError
from pytest_memguard.service.alerts import KINDS, Alert, Alerts, Rules
from pytest_memguard.service.detection import Detection
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.readings import GcStats, Reading

MIB = 2**20
LIMIT = 1000 * MIB
CALM = Detection("none", 0.02, {}, "rss", None, None, None, "no growth", ())
LEAK = Detection(
    "leak_python", 0.95, {}, "blocks", Estimate(10, 9, 11), Estimate(3600, 3500, 3700), None, "blocks: +10 a request",
    ("Blocks grow.",),
)  # fmt: skip


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.closed = False

    def __call__(self, alert: Alert) -> None:
        """Keep *alert*."""
        self.alerts.append(alert)

    def close(self, timeout_s: float) -> None:
        """Remember that this was closed."""
        self.closed = True


class Broken(Kept):
    """A sink of somebody else's, that raises."""

    def __call__(self, alert: Alert) -> None:
        """Raise."""
        raise RuntimeError("no sink")

    def close(self, timeout_s: float) -> None:
        """Raise."""
        raise RuntimeError("no end")


class Service:
    """A scripted service whose readings are noticed."""

    def __init__(self, rules: Rules | None = None, debounce_s: float = 60.0) -> None:
        self.sink = Kept()
        self.alerts = Alerts([self.sink], debounce_s, clock=lambda: 1e9, rules=rules)

    def at(
        self,
        time_s: float,
        *,
        level: Pressure = Pressure.HEALTHY,
        used: int = 100 * MIB,
        gc: tuple[int, int, int] = (0, 0, 0),
        found: Detection | None = None,
    ) -> list[tuple[str, str]]:
        """Notice one reading; *gc* is full collections, objects freed and looked at. Return kind and level of each."""
        stats = GcStats((0, 0, gc[0]), 0.0, gc[1], gc[2])
        reading = Reading(time_s, used, gc=stats)
        sent = self.alerts.notice(reading, level=level, limit_bytes=LIMIT, detection=found)
        return [(alert.kind, alert.level) for alert in sent]


def test_high_usage() -> None:
    """High usage is told once, with its numbers, to every sink."""
    service = Service()

    assert service.at(0) == []
    assert service.at(5, level=Pressure.WARNING, used=80 * MIB) == [("high_usage", "warning")]
    assert service.at(10, level=Pressure.WARNING, used=80 * MIB) == []
    assert service.sink.alerts == [
        Alert(
            "high_usage", "warning", "memory is at 8% of 1000.0 MiB (warning)",
            {"usage": 0.08, "used_bytes": 80 * MIB, "limit_bytes": LIMIT}, 1e9,
        )
    ]  # fmt: skip
    assert service.alerts.standing == ("high_usage",)


def test_worse() -> None:
    """What becomes more serious is told at once, what becomes less so is not."""
    service = Service()

    assert service.at(0, level=Pressure.WARNING) == [("high_usage", "warning")]
    assert service.at(1, level=Pressure.EMERGENCY) == [("high_usage", "emergency")]
    assert service.at(2, level=Pressure.CRITICAL) == []


def test_recovery() -> None:
    """An alert is over when its reason has been gone for the debounce."""
    service = Service()
    service.at(0, level=Pressure.WARNING)

    assert service.at(59.9) == []
    assert service.at(60) == [("high_usage", "recovered")]
    assert service.alerts.standing == ()
    assert service.at(200) == []


def test_flutter() -> None:
    """What comes and goes is told once."""
    service = Service()
    levels = [Pressure.WARNING, Pressure.HEALTHY] * 20
    sent = [alert for at, level in enumerate(levels) for alert in service.at(5 * at, level=level)]

    assert sent == [("high_usage", "warning")]


@pytest.mark.parametrize(("again_s", "sent"), [(59.0, []), (60.0, [("high_usage", "warning")])])
def test_debounce(again_s: float, sent: list[tuple[str, str]]) -> None:
    """Even after a recovery, one kind is not told again within the debounce."""
    service = Service()
    service.at(0, level=Pressure.WARNING)
    service.alerts._states["high_usage"].level = ""

    assert service.at(again_s, level=Pressure.WARNING) == sent


@pytest.mark.parametrize(
    ("found", "sent"),
    [
        (CALM, []),
        (LEAK, [("leak", "warning")]),
        (replace(LEAK, confidence=0.9), [("leak", "warning")]),
        (replace(LEAK, confidence=0.89), []),
        (replace(LEAK, confidence=0.3, time_to_limit_s=4 * 3600 - 1), [("leak", "critical")]),
        (replace(LEAK, confidence=0.3, time_to_limit_s=4 * 3600), []),
        (replace(LEAK, confidence=0.7, metric="fds"), [("leak", "warning")]),
        (replace(LEAK, confidence=0.7, metric="threads"), [("leak", "warning")]),
        (replace(LEAK, verdict="cache_filling"), []),
    ],
)
def test_leak(found: Detection, sent: list[tuple[str, str]]) -> None:
    """A leak is told when it is sure, soon fatal, or of descriptors or threads."""
    assert Service().at(0, found=found) == sent


def test_text_of_a_leak() -> None:
    """The text names the verdict, the counter, the limit and what to do; the values are plain numbers."""
    service = Service()
    service.at(0, found=replace(LEAK, time_to_limit_s=7200.0))
    alert = service.sink.alerts[0]

    assert alert.text == (
        "leak_python: blocks: +10 a request; the limit is reached in 120.0 min. Blocks grow."
    )  # fmt: skip
    assert alert.values == {
        "verdict": "leak_python", "metric": "blocks", "confidence": 0.95, "per_request": 10, "per_hour": 3600,
        "time_to_limit_s": 7200.0,
    }  # fmt: skip


def test_leak_stands_until_a_verdict() -> None:
    """A leak stands until a verdict says otherwise, not merely until there is none."""
    service = Service()
    service.at(0, found=LEAK)

    assert service.at(1000) == []
    assert service.at(1001, found=CALM) == []
    assert service.at(1061, found=CALM) == [("leak", "recovered")]


@pytest.mark.parametrize(
    ("gc", "level", "fails"),
    [
        ((3, 9, 1000), Pressure.WARNING, True),
        ((2, 0, 1000), Pressure.WARNING, False),
        ((3, 10, 1000), Pressure.WARNING, False),
        ((3, 0, 1000), Pressure.HEALTHY, False),
        ((3, 0, 0), Pressure.WARNING, True),
    ],
)
def test_gc_failure(gc: tuple[int, int, int], level: Pressure, *, fails: bool) -> None:
    """Three full collections that freed less than 1 % while usage was high are a failure."""
    service = Service()
    service.at(0, level=level)

    assert (("gc_failure", "warning") in service.at(5, level=level, gc=gc)) is fails


def test_gc_counted_while_high() -> None:
    """Collections before usage was high do not count."""
    service = Service()
    service.at(0, gc=(100, 0, 10_000))
    service.at(5, level=Pressure.WARNING, gc=(100, 0, 10_000))

    assert service.at(10, level=Pressure.WARNING, gc=(102, 0, 10_200)) == []
    assert service.at(15, level=Pressure.WARNING, gc=(103, 0, 10_300)) == [("gc_failure", "warning")]


def test_gc_that_works() -> None:
    """A collection that freed enough begins the count anew."""
    service = Service()
    service.at(0, level=Pressure.WARNING)
    service.at(5, level=Pressure.WARNING, gc=(3, 500, 1000))

    assert service.at(10, level=Pressure.WARNING, gc=(5, 500, 2000)) == []
    assert service.at(15, level=Pressure.WARNING, gc=(6, 500, 3000)) == [("gc_failure", "warning")]


@pytest.mark.parametrize(
    ("grown", "later_s", "sent"),
    [
        (100 * MIB, 60, [("rapid_growth", "warning")]),
        (100 * MIB - 1, 60, []),
        (100 * MIB, 60.1, []),
    ],
)
def test_rapid_growth(grown: int, later_s: float, sent: list[tuple[str, str]]) -> None:
    """A tenth of the limit within a minute is rapid."""
    service = Service()
    service.at(0, used=100 * MIB)

    assert service.at(later_s, used=100 * MIB + grown) == sent


def test_broken_sink() -> None:
    """A sink that raises ends neither the monitor nor the other sinks."""
    kept = Kept()
    alerts = Alerts([Broken(), kept])
    alerts.notice(Reading(0.0, 1), level=Pressure.WARNING, limit_bytes=LIMIT)
    alerts.close()

    assert [alert.kind for alert in kept.alerts] == ["high_usage"]
    assert kept.closed


def test_kinds() -> None:
    """There are four kinds."""
    assert KINDS == ("high_usage", "leak", "gc_failure", "rapid_growth")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"leak_confidence": 1.1}, "leak_confidence is 1.1"),
        ({"gc_least": -0.1}, "gc_least is -0.1"),
        ({"growth_share": float("nan")}, "growth_share is nan"),
        ({"gc_collections": 0}, "gc_collections is 0"),
        ({"growth_s": 0.0}, "growth_s is 0.0"),
    ],
)
def test_bad_rules(rules: dict[str, float], message: str) -> None:
    """A rule that makes no sense is refused by name and value."""
    with pytest.raises(ConfigError, match=f"alerts: {message}"):
        Rules(**rules)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("debounce_s", [-1.0, float("nan")])
def test_bad_debounce(debounce_s: float) -> None:
    """A debounce is 0 or more."""
    with pytest.raises(ConfigError, match="debounce_s is"):
        Alerts(debounce_s=debounce_s)
