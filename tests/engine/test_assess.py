"""From a record to the result of its subject: verdict, findings, amounts."""

from __future__ import annotations

from array import array
from dataclasses import replace
from itertools import chain

import pytest

from pytest_memguard.core.ladder import Act, Plan, Step, Suspect
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    Estimate,
    Finding,
    Holder,
    Level,
    Metric,
    Phase,
    Readings,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.core.verdict import judge
from pytest_memguard.engine.assess import Identity, assess, not_measured
from pytest_memguard.engine.watch import Record

IDENTITY = Identity("tests/test_shop.py::test_search", "test", "tests/test_shop.py", 12, "gw1", 0.25)
RUNS = (0, 1, 2, 2, *range(3, 34), 33, *range(34, 64))
PHASES = (Phase.SCREEN,) * 3 + (Phase.CLIMB,) * 32 + (Phase.CONFIRM,) * 31


def readings(count: int = len(RUNS), blocks: int = 2, heap: int = 100) -> Readings:
    """Return the first *count* readings of a ladder, growing by so much a run."""
    values = chain.from_iterable((1_000 + blocks * run, 9_000 + heap * run) for run in RUNS[:count])
    return Readings((BLOCKS, HEAP), RUNS[:count], PHASES[:count], array("q", values))


def suspect(metric: Metric = BLOCKS, rate: float = 2.0, *, confirmed: bool = True) -> Suspect:
    """Return a metric that grew."""
    return Suspect(metric, Shape.EXACT, rate, 60, confirmed)


def record(end: str, *suspects: Suspect, count: int = len(RUNS), holder: Holder = Holder("hidden")) -> Record:  # noqa: B008 - frozen
    """Return a measurement that ended so."""
    return Record(readings(count), Plan(), Step(Act.STOP, suspects=suspects, end=end), holder, 1.5)


def test_all_that_is_known_is_in_the_result() -> None:
    """A result has the identity of its subject, and all that its verdict was made from."""
    made = record("confirmed", suspect())
    result = assess(made, IDENTITY)

    assert result == SubjectResult(
        id="tests/test_shop.py::test_search",
        kind="test",
        verdict=judge(made.readings, made.plan, made.step, made.holder),
        runs=64,
        duration_s=1.5,
        first_run_s=0.25,
        file="tests/test_shop.py",
        line=12,
        worker="gw1",
        readings=made.readings,
        findings=result.findings,
        holder=made.holder,
        plan=made.plan,
        stopped="",
    )


def test_a_finding() -> None:
    """A finding tells the verdict's shape, the slope of the confirmation, and all that was gained."""
    (finding,) = assess(record("confirmed", suspect()), IDENTITY).findings

    assert finding == Finding(BLOCKS, Trend(Shape.EXACT, Estimate(2, 2, 2), 31, 1.0, 2.0), total=2 * 63)


@pytest.mark.parametrize(
    ("end", "level", "findings"),
    [
        ("confirmed", Level.LEAK, 1),
        ("growing", Level.GROWING, 1),
        ("bounded", Level.BOUNDED, 1),
        ("settled", Level.SETTLED, 0),
        ("clean", Level.CLEAN, 0),
    ],
)
def test_which_levels_have_findings(end: str, level: Level, findings: int) -> None:
    """Growth that goes on has findings; what is over has none."""
    result = assess(record(end, suspect(confirmed=end == "confirmed")), IDENTITY)

    assert (result.verdict.level, len(result.findings)) == (level, findings)


def test_what_only_shook_along_is_no_finding() -> None:
    """Where some growth was confirmed, the rest is no finding; where none was, all is."""
    heap = suspect(HEAP, confirmed=False)
    confirmed = assess(record("confirmed", suspect(), heap), IDENTITY).findings
    growing = assess(record("growing", suspect(confirmed=False), heap), IDENTITY).findings

    assert [finding.metric for finding in confirmed] == [BLOCKS]
    assert [finding.metric for finding in growing] == [BLOCKS, HEAP]


@pytest.mark.parametrize(("count", "n"), [(len(RUNS), 31), (35 + 4, 4), (35 + 3, 32), (3 + 4, 4)])
def test_the_slope_is_that_of_the_last_phase_that_is_long_enough(count: int, n: int) -> None:
    """Four readings make a slope: those of the confirmation, or of the climb where that has too few."""
    (finding,) = assess(record("growing", suspect(), count=count), IDENTITY).findings

    assert (finding.trend.n, finding.trend.slope.point) == (n, 2)


def test_a_slope_of_too_few_readings() -> None:
    """Where no phase has four readings, the suspect's own rate stands without any confidence."""
    (finding,) = assess(record("max_runs", suspect(rate=3.5), count=3), IDENTITY).findings

    assert finding.trend == Trend(Shape.EXACT, Estimate(3.5, 3.5, 3.5, 0.0), 3)


def test_a_suspect_that_nothing_reads() -> None:
    """A suspect without readings has gained nothing in all."""
    (finding,) = assess(record("growing", suspect(FDS)), IDENTITY).findings

    assert finding.total == 0


def test_a_measurement_that_was_cut_short() -> None:
    """A measurement that failed says why, in its verdict and beside it."""
    result = assess(replace(record("", count=2), failure="run 3 raised KeyError"), IDENTITY)

    assert (result.verdict.level, result.verdict.reason) == (Level.UNMEASURED, "run 3 raised KeyError")
    assert (result.stopped, result.runs, result.findings) == ("run 3 raised KeyError", 2, ())


def test_a_measurement_without_readings() -> None:
    """A measurement that failed before its first reading has the subject's own run alone."""
    result = assess(replace(record("none", count=0), failure="run 2 could not be reset"), IDENTITY)

    assert (result.runs, result.verdict.level) == (1, Level.UNMEASURED)


def test_not_measured() -> None:
    """A subject that was not measured has its identity, one run and the reason."""
    assert not_measured(IDENTITY, Level.SKIPPED, "marked memguard_skip") == SubjectResult(
        id="tests/test_shop.py::test_search",
        kind="test",
        verdict=Verdict(Level.SKIPPED, 0.0, "marked memguard_skip"),
        runs=1,
        first_run_s=0.25,
        file="tests/test_shop.py",
        line=12,
        worker="gw1",
    )
