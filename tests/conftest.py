"""Sessions that more than one room is tested with, and what makes a test depend on itself alone."""

from __future__ import annotations

import gc
import signal
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest

from pytest_memguard.core.ladder import Plan
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    Control,
    Estimate,
    Finding,
    Holder,
    Hop,
    Level,
    Phase,
    Readings,
    RetentionPath,
    RunResult,
    Shape,
    Site,
    SubjectResult,
    Trend,
    TypeGrowth,
    Verdict,
)

_PHASES = (Phase.SCREEN,) * 3 + (Phase.CLIMB,) * 32 + (Phase.CONFIRM,) * 31
_RUNS = (0, 1, 2, *range(2, 34), *range(33, 64))
_POLICIES = (
    ("all", 0.0), ("any", 100.0), ("calibrated", 99.1), ("correlation", 100.0), ("growth", 0.0), ("points", 96.3),
)  # fmt: skip
#: What ends an element, a comment, a string or a line elsewhere, moves the cursor, turns text round, or is half a pair.
HOSTILE = (
    "</script><script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1>{{7*7}}&amp;"
    "\x1b[31m\u202e\ud800\r\n]"
)

#: How fast an example is made or runs depends on the machine and on what else it does.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")
#: A shell that puts the tests into the background has them ignore Ctrl-C, and so all programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: Tests that watch other processes for some seconds, servers mostly. What they see in seconds is right nearly always,
#: not always, and less so where the machine stands still meanwhile: of three tries one must be right.
_WATCHING = (
    "agent/",
    "browser/",
    "cli/",
    "demo/",
    "load/",
    "plugin/test_scenarios.py",
    "scenario/",
    "service/test_asgi_served.py",
    "service/test_guard_",
    "service/test_leak_served.py",
    "service/test_recipes.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pytest-rerunfailures, which says so, try the tests again that watch other processes."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder) and item.path.relative_to(folder).as_posix().startswith(_WATCHING):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="module")
def collected() -> None:
    """Free what the files before have left, before a file whose tests freeze the heap."""
    gc.collect()


@pytest.fixture
def older_heap_rests(collected: None) -> Iterator[None]:
    """Keep the heap of all tests, which is large, out of the collections that a test makes."""
    gc.freeze()
    yield
    gc.unfreeze()


def _readings(blocks: int = 7, heap: int = 1100) -> Readings:
    rows = [(1000 + blocks * run, 4096 + heap * run + run % 3 * 40) for run in _RUNS]
    return Readings((BLOCKS, HEAP), _RUNS, _PHASES, array("q", [value for row in rows for value in row]))


def _leak(name: str, fingerprint: str, holder: str) -> SubjectResult:
    path = RetentionPath(
        (
            Hop("module", "shop.catalog", "module"),
            Hop("attribute", "._CACHE", "dict", 1.0, suspect=True),
            Hop("item", "[...]", "shop.catalog.Answer"),
        ),
        "module shop.catalog\n  ._CACHE: dict, +1 a run   <- grows\n  [...]: shop.catalog.Answer",
    )
    why = {
        "fingerprint": fingerprint,
        "advice": "bound the cache: functools.lru_cache(maxsize=...)",
        "sites": (Site("shop/catalog.py", 41, "search", 1100.0, 7.0, ("shop/catalog.py:41 search", name), "x = []"),),
        "types": (TypeGrowth("shop.catalog.Answer", 1.0, 1100.0),),
        "paths": (path,),
    }
    return SubjectResult(
        name,
        "test",
        Verdict(Level.LEAK, 99.1, "+7 blocks a run, exact over 63 more runs", policies=_POLICIES),
        runs=64,
        duration_s=0.25,
        first_run_s=0.004,
        file=name.partition("::")[0],
        line=12,
        readings=_readings(),
        findings=(
            Finding(BLOCKS, Trend(Shape.EXACT, Estimate(7.0, 7.0, 7.0), 31, 1.0, 7.0), 441, **why),
            Finding(HEAP, Trend(Shape.LINEAR, Estimate(1100.0, 1080.5, 1120.25), 31, 0.99, 1100.0), 69_300, **why),
        ),
        holder=Holder("unbounded", holder, None, 1.0),
        plan=Plan(allow=(("heap", 256.0),)),
        notes=("sizes of C objects are not known",),
    )


def _clean(name: str) -> SubjectResult:
    return SubjectResult(
        name,
        "test",
        Verdict(Level.CLEAN, 0.0, "nothing grew over 2 more runs"),
        runs=3,
        duration_s=0.001,
        readings=Readings((BLOCKS, HEAP), (0, 1, 2), (Phase.SCREEN,) * 3, array("q", [9, 8] * 3)),
        plan=Plan(),
    )


@pytest.fixture
def sample() -> RunResult:
    """Return a session in which every verdict occurs."""
    fds = Finding(
        FDS, Trend(Shape.LATE, Estimate(1.0, 0.5, 1.0), 3), 5, "0f", "known", "close it", names=("/var/log/shop",)
    )
    search = _leak("tests/test_shop.py::test_search", "86427d04fdadfef2", "shop.catalog._CACHE")
    opened = replace(
        search, id="tests/test_log.py::test_log", findings=(fds,), readings=None, holder=Holder(), notes=()
    )
    others = [
        (Level.GROWING, 60.0, "it still grew when this ended: the time was over"),
        (Level.BOUNDED, 1.0, "what grows is shop.PAGES, which holds at most 128"),
        (Level.SETTLED, 0.0, "it grew at first and then stopped"),
        (Level.UNMEASURED, 0.0, "it failed when it was run again"),
        (Level.SKIPPED, 0.0, "starts a server"),
    ]
    return RunResult(
        "2026-01-02T03:04:05+00:00",
        61.5,
        environment={
            "python": "3.13.0", "implementation": "CPython", "platform": "Linux-6.1", "machine": "x86_64",
            "cpu_count": 2, "memory_limit_bytes": 2**30, "packages": {"pytest": "9.2.0"},
        },
        commit={"sha": "0123456789", "branch": "main", "dirty": False, "time": None},
        settings={"check": "all", "mode": None, "confidence": 95.0},
        control={"blocks": Control(), "rss": Control(0.0, 4096.0)},
        results=(
            search,
            replace(search, id="tests/test_shop.py::test_search_again", first_run_s=0.5),
            opened,
            _clean("tests/test_shop.py::test_buy"),
            *(
                replace(_clean(f"tests/test_rest.py::test_{level.value}"), verdict=Verdict(level, score, reason))
                for level, score, reason in others
            ),
        ),
        repeat_s=12.5,
        plain_s=2.0,
    )  # fmt: skip


@pytest.fixture
def hostile(sample: RunResult) -> RunResult:
    """Return a session in which every text from outside is hostile."""
    finding = sample.results[0].findings[0]
    hop = Hop(HOSTILE, HOSTILE, HOSTILE, 1.0, suspect=True)
    site = Site(HOSTILE, 1, HOSTILE, 1.0, 1.0, (HOSTILE,), HOSTILE)
    evil = replace(
        finding, fingerprint=HOSTILE, advice=HOSTILE, names=(HOSTILE,), sites=(site,),
        types=(TypeGrowth(HOSTILE, 1.0, 1.0),), paths=(RetentionPath((hop,), HOSTILE),),
    )  # fmt: skip
    verdict = replace(sample.results[0].verdict, reason=HOSTILE, policies=((HOSTILE, 1.0),), policy=HOSTILE)
    return replace(
        sample,
        started_at=HOSTILE,
        environment={HOSTILE: HOSTILE, "python": HOSTILE, "packages": {HOSTILE: HOSTILE}},
        commit={HOSTILE: HOSTILE},
        settings={HOSTILE: HOSTILE},
        control={HOSTILE: Control(1.0, 2.0)},
        results=tuple(
            replace(
                one, id=f"{number}{HOSTILE}", verdict=replace(verdict, level=one.verdict.level), notes=(HOSTILE,),
                findings=(evil,) if one.findings else (), holder=Holder("bounded", HOSTILE), stopped=HOSTILE,
            )
            for number, one in enumerate(sample.results)
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def large() -> RunResult:
    """Return a session of ten thousand tests, two hundred of which leak, each for a cause of its own."""
    leaks = [_leak(f"tests/test_{at % 50}.py::test_leaky_{at}", f"{at:016x}", f"shop.CACHE_{at}") for at in range(200)]
    clean = [_clean(f"tests/area_{at % 9}/test_{at % 97}.py::test_works_{at}[some-{at % 7}]") for at in range(9_800)]
    environment = {"python": "3.13.0", "implementation": "CPython", "packages": {"pytest": "9.2.0"}}
    return RunResult("2026-01-02T03:04:05+00:00", 900.0, environment=environment, results=(*leaks, *clean))
