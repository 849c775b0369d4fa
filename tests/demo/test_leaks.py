"""Every leak of the demo, leaky and fixed, under real requests through a real uvicorn on loopback."""

from __future__ import annotations

import re
import statistics
import time
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.core.values import METRICS
from pytest_memguard.demo.leaks import LEAKS, Leak

if TYPE_CHECKING:
    from tests.demo.conftest import Demo

ROOT = Path(__file__).parents[2]
STEPS, STEP = 6, 50
#: Spreads 300 requests over the twenty readings that a verdict needs, however fast the machine is.
PAUSE_S = 0.0005
#: What a request adds at least, by counter.
LEAST = {"blocks": 1, "fds": 1, "threads": 1, "tasks": 1, "heap": 64 * 1024}
#: What may come and go in all, with or without requests: readings, answers and histograms of the guard.
MOST_BY_ITSELF = {"blocks": 240, "fds": 3, "threads": 3, "tasks": 3, "heap": 64 * 1024}
#: What the guard's verdict may speak of where several counters rise: of the first that does so evenly enough. Payloads
#: and the frames of coroutines lie in the native heap; the objects around them are blocks.
SPOKEN_OF = {grows: {"blocks", "gc_objects", "heap"} for grows in ("blocks", "tasks")}

each_leak = pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)


def _ask(demo: Demo, times: int, pause_s: float = 0.0) -> None:
    for _ in range(times):
        demo.get("/api/items/5")
        time.sleep(pause_s)


def _steps(demo: Demo, leak: type[Leak], mode: str, warm_up: int) -> list[int]:
    """Return what each 50 of 300 requests added to the counter of *leak*."""
    demo.turn(leak.name, mode)
    _ask(demo, warm_up)
    readings = [demo.get("/api/memory-stats")["counters"][leak.grows.name]]
    for _ in range(STEPS):
        _ask(demo, STEP, PAUSE_S)
        readings.append(demo.get("/api/memory-stats")["counters"][leak.grows.name])
    return [after - before for before, after in pairwise(readings)]


def _verdict(demo: Demo) -> dict[str, Any]:
    """Return the guard's verdict; after more requests where a machine that stood still has left it undecided."""
    for _ in range(4):
        found: dict[str, Any] = demo.get("/api/memory/leak-detection")
        if found["verdict"].startswith("leak"):
            break
        _ask(demo, 2 * STEP, PAUSE_S)
    return found


@pytest.fixture
def calm_demo(demo: Demo) -> Demo:
    """Return the demo with all switches off, nothing held, and its window full of that."""
    for switch in demo.get("/api/leaks")["leaks"]:
        if switch["mode"] != "off":
            demo.turn(switch["name"], "off")
    demo.post("/api/cleanup")
    return demo


@each_leak
def test_leaky_grows_linearly_and_is_named(calm_demo: Demo, leak: type[Leak]) -> None:
    """300 requests add the same amount per request throughout, and the guard's verdict names the counter."""
    steps = _steps(calm_demo, leak, "leaky", warm_up=0)
    verdict = _verdict(calm_demo)
    held = calm_demo.get("/api/memory-stats")["held"]

    grows = leak.grows.name
    assert held[leak.name] >= STEPS * STEP
    # Less one: a descriptor of another connection may have been closed meanwhile.
    assert min(steps) >= (STEP - 1) * LEAST[grows], steps
    assert statistics.correlation(range(STEPS), tuple(accumulate(steps))) > 0.97, steps
    assert verdict["verdict"] == ("leak_native" if grows == "heap" else "leak_python"), verdict
    assert verdict["metric"] in SPOKEN_OF.get(grows, {grows}), verdict


@each_leak
def test_fixed_does_not_grow(calm_demo: Demo, leak: type[Leak]) -> None:
    """300 requests of the repaired form add nothing, and the guard does not call it a leak."""
    steps = _steps(calm_demo, leak, "fixed", warm_up=60)
    verdict = calm_demo.get("/api/memory/leak-detection")

    assert sum(steps) <= MOST_BY_ITSELF[leak.grows.name], steps
    assert not verdict["verdict"].startswith("leak"), verdict


@each_leak
def test_clean_up_releases_what_is_held(calm_demo: Demo, leak: type[Leak]) -> None:
    """After a clean-up nothing is held, and the resources are given back."""
    before = calm_demo.get("/api/memory-stats")["counters"]
    held = calm_demo.post("/api/leak", {"name": leak.name, "count": 40})["held"]
    released = calm_demo.post("/api/cleanup")["released"]
    after = calm_demo.get("/api/memory-stats")

    assert held >= 40
    assert released == held
    assert after["held"] == {}
    for resource in ("fds", "threads", "tasks"):
        assert after["counters"][resource] - before[resource] <= 3


@each_leak
def test_leak_is_described(leak: type[Leak]) -> None:
    """A leak says why it leaks and what repairs it, which counter shows it, and which page tells more."""
    why = " ".join((leak.__doc__ or "").split())

    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", leak.name)
    assert " The repair " in why
    assert leak.grows.name in METRICS
    assert (ROOT / leak.page).is_file()


def test_every_leak_of_the_plan_is_there() -> None:
    """There are twenty switches, each with a name of its own."""
    assert len({leak.name for leak in LEAKS}) == len(LEAKS) == 20
