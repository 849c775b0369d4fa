"""Health: what a guard says about itself."""

from __future__ import annotations

import json

import pytest

from pytest_memguard.service.detection import Detection
from pytest_memguard.service.health import final_report, growth_rate, health
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.readings import GcStats, Reading

MIB = 2**20


def window(*used: float, step_s: float = 5.0) -> tuple[Reading, ...]:
    """Return readings of so many bytes, a step apart."""
    return tuple(
        Reading(100 + number * step_s, 50, 40, blocks=9, used_bytes=int(count)) for number, count in enumerate(used)
    )


def _detection(verdict: str) -> Detection:
    return Detection(verdict, 0.9, {}, "blocks", None, None, None, "it grows", ("bound the cache",))


def test_the_whole_answer() -> None:
    """Every field of the answer, from four readings and a leak."""
    readings = window(100, 200, 300, 400)
    last = Reading(readings[-1].time_s, 50, 40, blocks=9, used_bytes=400, gc=GcStats((7, 2, 1), 0.02, 5, 1000))

    assert health(Pressure.WARNING, (*readings[:-1], last), 500, "render", _detection("leak_python")) == {
        "status": "warning",
        "currentUsage": {
            "heapUsed": 400,
            "heapTotal": 500,
            "usagePercentage": 80.0,
            "platform": "render",
            "residentSetSize": 50,
            "nativeHeap": 40,
            "allocatedBlocks": 9,
        },
        "trend": {
            "timeWindow": 15.0,
            "averageUsage": 50.0,
            "peakUsage": 80.0,
            "growthRate": 20.0,
            "isIncreasing": True,
            "leakSuspected": True,
        },
        "gcStats": {"totalCollections": 10, "efficiency": 0.005, "averageDuration": 0.002},
        "recommendations": ["memory is above the warning threshold: ask leak-detection what grows", "bound the cache"],
    }


@pytest.mark.parametrize("level", list(Pressure))
def test_it_is_json(level: Pressure) -> None:
    """Also from a single reading, without a judgement."""
    answer = health(level, window(100), 500, "default", None)

    assert json.loads(json.dumps(answer)) == answer
    assert answer["trend"]["growthRate"] == 0
    assert answer["trend"]["isIncreasing"] is False
    assert answer["trend"]["leakSuspected"] is False
    assert bool(answer["recommendations"]) == (level is not Pressure.HEALTHY)


@pytest.mark.parametrize(("verdict", "suspected"), [("leak_native", True), ("cache_filling", False)])
def test_leaks_are_suspected(verdict: str, *, suspected: bool) -> None:
    """Only what the detection calls a leak."""
    assert health(Pressure.HEALTHY, window(1), 500, "x", _detection(verdict))["trend"]["leakSuspected"] is suspected


@pytest.mark.parametrize(
    ("used", "increasing"),
    [((100, 100, 101, 101), False), ((100, 100, 102, 102), True), ((100, 900, 100, 900), False), ((1, 2, 3), False)],
)
def test_what_counts_as_increasing(used: tuple[int, ...], *, increasing: bool) -> None:
    """The lowest of the second half above the lowest of the first, by more than a thousandth of the limit."""
    assert health(Pressure.HEALTHY, window(*used), 1000, "x", None)["trend"]["isIncreasing"] is increasing


def test_growth_rate() -> None:
    """Bytes a second through all readings; nothing from two of them, or from readings of one moment."""
    assert growth_rate(window(10, 20, 30, 40, step_s=2)) == pytest.approx(5)
    assert growth_rate(window(40, 30, 20, step_s=2)) == pytest.approx(-5)
    assert growth_rate(window(10, 20)) == 0
    assert growth_rate(window(10, 20, 30, step_s=0)) == 0


def test_the_final_report() -> None:
    """The whole line."""
    latest = Reading(0, 30 * MIB, requests=412, gc=GcStats((90, 9, 1), 0.25))

    assert final_report(
        lasted_s=192, level=Pressure.HEALTHY, latest=latest, peak_bytes=100 * MIB, limit_bytes=512 * MIB, actions=2,
        freed_bytes=3 * MIB, shed=5,
    ) == (
        "memguard: watched for 3.2 min: 412 requests, 5 turned away; memory 30.0 MiB of 512.0 MiB, at most 100.0 MiB, "
        "healthy; 100 collections in 250 ms, 2 actions freed 3.0 MiB"
    )  # fmt: skip
