"""Two sessions are compared: what is new, worse, better, gone and known."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.compare import Known, compare, failing, to_dict
from pytest_memguard.core.environment import environment_key
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    RSS,
    USS,
    Change,
    Comparison,
    Estimate,
    Finding,
    Holder,
    Level,
    Metric,
    Phase,
    Readings,
    RunResult,
    Series,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)

CACHE, PRICES = "c0ffee0000000001", "c0ffee0000000002"
LINUX = {"python": "3.13.1", "implementation": "CPython", "platform": "Linux-6.1", "machine": "x86_64"}
OLDER = {**LINUX, "python": "3.12.4"}


def grown(rate: float, name: str = CACHE, metric: Metric = BLOCKS, spread: float = 0.0, **changes: object) -> Finding:
    """Return a finding of *rate* a run, give or take *spread*."""
    slope = Estimate(rate, rate - spread, rate + spread)
    return replace(Finding(metric, Trend(Shape.EXACT, slope, 33), 9 * rate, name), **changes)


def result(name: str, *findings: Finding, level: Level = Level.LEAK, **changes: object) -> SubjectResult:
    """Return the result of a test of one file, a leak where nothing else is said."""
    held = Holder("unbounded", "shop._CACHE")
    whole = SubjectResult(
        f"test_shop.py::{name}", "test", Verdict(level, 99.0, "it grew"), 10, file="test_shop.py", findings=findings,
        holder=held,
    )  # fmt: skip
    return replace(whole, **changes)


def clean(name: str, **changes: object) -> SubjectResult:
    """Return the result of a test that does not grow."""
    return result(name, level=Level.CLEAN, **changes)


def run(*results: SubjectResult, **changes: object) -> RunResult:
    """Return a session."""
    return replace(RunResult("2026-01-02T03:04:05+00:00", 1.0, LINUX, results=results), **changes)


def kinds(comparison: Comparison) -> dict[str, str]:
    """Return the kind of each change by fingerprint."""
    return {change.fingerprint: change.kind for change in comparison.changes}


def only(comparison: Comparison) -> Change:
    """Return the only change."""
    (change,) = comparison.changes
    return change


def test_new() -> None:
    """A leak that was not there is new; who holds it is said, and how much it grows."""
    comparison = compare(run(clean("test_a")), run(result("test_a", grown(7))))

    assert only(comparison) == Change(CACHE, "shop._CACHE", "new", None, 7, BLOCKS, ("test_shop.py::test_a",))
    assert comparison.notes == ()
    assert comparison.decided


def test_known_by_another_test() -> None:
    """A leak with the same fingerprint is known, whatever its test is called now."""
    change = only(compare(run(result("test_a", grown(7))), run(result("test_renamed", grown(7)))))

    assert (change.kind, change.before, change.after) == ("known", 7, 7)


def test_gone() -> None:
    """A leak is gone where one of its tests was measured and has it no more."""
    change = only(compare(run(result("test_a", grown(7))), run(clean("test_a"))))

    assert (change.kind, change.before, change.after) == ("gone", 7, None)


@pytest.mark.parametrize("level", [Level.UNMEASURED, Level.SKIPPED])
def test_not_gone(level: Level) -> None:
    """A leak of which no test was measured is not gone; that is said."""
    after = run(result("test_a", level=level), clean("test_b"))

    comparison = compare(run(result("test_a", grown(7))), after)

    assert comparison.changes == ()
    assert "neither known nor gone: shop._CACHE (test_shop.py::test_a)" in comparison.notes[-1]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (grown(7), grown(8), "worse"),
        (grown(8), grown(7), "better"),
        (grown(7), grown(7), "known"),
        (grown(100), grown(109), "known"),  # not by a tenth
        (grown(100), grown(110), "worse"),
        (grown(1), grown(1.4), "known"),  # not by half an object
        (grown(1), grown(1.5), "worse"),
        (grown(1000, metric=HEAP, spread=100), grown(1200, metric=HEAP, spread=100), "known"),  # intervals touch
        (grown(1000, metric=HEAP, spread=100), grown(1201, metric=HEAP, spread=100), "worse"),
        (grown(10, metric=HEAP), grown(73, metric=HEAP), "known"),  # 63 bytes
        (grown(10, metric=HEAP), grown(74, metric=HEAP), "worse"),
    ],
)
def test_intervals(before: Finding, after: Finding, kind: str) -> None:
    """Growth changed where the intervals are apart, by a tenth and by more than nothing."""
    assert only(compare(run(result("test_a", before)), run(result("test_a", after)))).kind == kind


@pytest.mark.parametrize(("rate", "kind"), [(149, "known"), (150, "worse")])
def test_other_environment(rate: float, kind: str) -> None:
    """Where objects may differ in size, only half as much again is worse; the difference is said."""
    comparison = compare(run(result("test_a", grown(100)), environment=OLDER), run(result("test_a", grown(rate))))

    assert only(comparison).kind == kind
    assert comparison.notes == (
        "the environments differ (linux-x86_64-cp312 and linux-x86_64-cp313): growth is compared more loosely",
    )


def test_by_test() -> None:
    """A leak is not worse because more tests, or others that do more, run into it."""
    before = run(result("test_a", grown(7)))
    after = run(result("test_a", grown(7)), result("test_b", grown(700)))

    assert only(compare(before, after)).kind == "known"


def test_larger_objects() -> None:
    """As many objects that are now large are worse, though native memory did not grow before."""
    before = run(result("test_a", grown(2)))

    small = compare(before, run(result("test_a", grown(2), grown(1024, metric=HEAP))))
    large = compare(before, run(result("test_a", grown(2), grown(1025, metric=HEAP))))

    assert (only(small).kind, only(large).kind) == ("known", "worse")
    assert (only(large).metric, only(large).after) == (HEAP, 1025)


def test_no_metric_in_common() -> None:
    """A test that is counted otherwise now is neither better nor worse."""
    before, after = run(result("test_a", grown(7, metric=HEAP))), run(result("test_a", grown(7)))
    both = run(result("test_a", grown(7)), result("test_b", grown(7, metric=HEAP)))

    assert [only(compare(*pair)).kind for pair in ((before, after), (both, before))] == ["known", "known"]


def test_without_fingerprint() -> None:
    """A test that leaked stands for a leak that nothing is known of, on either side; another test does not."""
    named, unnamed = run(result("test_a", grown(7))), run(result("test_a", grown(7, "")))
    other = run(clean("test_a"), result("test_b", grown(7, "")))

    assert [kinds(compare(*pair)) for pair in ((named, unnamed), (unnamed, named), (unnamed, unnamed))] == [
        {"": "known"}, {CACHE: "known"}, {"": "known"},
    ]  # fmt: skip
    assert sorted(change.kind for change in compare(unnamed, other).changes) == ["gone", "new"]


def test_without_findings() -> None:
    """A leak of which a document tells no finding is not passed over."""
    change = only(compare(run(clean("test_a")), run(result("test_a"))))

    assert (change.kind, change.text, change.after) == ("new", "it grew", None)


def test_accepted() -> None:
    """An accepted leak is known from the start; where it grows faster, it is worse."""
    accepted = replace(result("test_a", grown(7)), notes=("accepted until 2027-01-31: upstream",))
    faster = replace(accepted, findings=(grown(70),))

    assert only(compare(run(clean("test_a")), run(accepted))).kind == "known"
    assert only(compare(run(accepted), run(faster))).kind == "worse"


def test_order() -> None:
    """What matters most comes first: new before worse, leaks before growth, the dearest first."""
    before = run(result("test_a", grown(1, "a")), result("test_b", grown(1, "b")), clean("test_c"))
    after = run(
        result("test_a", grown(1, "a")), result("test_b", grown(3, "b")),
        result("test_c", grown(9, "c")), result("test_d", grown(1, "d", FDS)),
        result("test_e", grown(99, "e"), level=Level.GROWING),
    )  # fmt: skip

    comparison = compare(before, after)

    assert list(kinds(comparison).items()) == [
        ("d", "new"), ("c", "new"), ("e", "new"), ("b", "worse"), ("a", "known"),
    ]  # fmt: skip


@pytest.mark.parametrize(("fail_on", "names"), [("new", "a"), ("worse", "ab"), ("any", "abc")])
def test_failing(fail_on: str, names: str) -> None:
    """What fails is chosen; growth that is not sure to be a leak never fails, nor what is gone."""
    before = run(result("test_b", grown(1, "b")), result("test_c", grown(1, "c")), result("test_d", grown(1, "d")))
    after = run(
        result("test_a", grown(1, "a")), result("test_b", grown(9, "b")), result("test_c", grown(1, "c")),
        clean("test_d"), result("test_e", grown(1, "e"), level=Level.GROWING),
    )  # fmt: skip

    assert "".join(change.fingerprint for change in failing(compare(before, after), fail_on)) == names


# -- foreign and empty -----------------------------------------------------------------------------------------------


def test_foreign() -> None:
    """Sessions of different suites are not decided, and that is said."""
    other = replace(clean("test_x"), id="test_bank.py::test_x", file="test_bank.py")

    comparison = compare(run(other), run(clean("test_a")))

    assert not comparison.decided
    assert comparison.notes == ("the two have no test, no file and no leak in common: they are of different suites",)


def test_same_suite_by_fingerprint() -> None:
    """A suite that was moved as a whole is still the same where a leak is."""
    moved = replace(result("test_x", grown(7)), id="tests/test_bank.py::test_x", file="tests/test_bank.py")

    assert compare(run(result("test_a", grown(7))), run(moved)).decided


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (run(), run(clean("test_a")), "nothing was measured in the earlier session"),
        (run(clean("test_a")), run(), "nothing was measured in the later session"),
        (run(clean("test_a")), run(result("test_a", level=Level.SKIPPED)), "nothing was measured in the later session"),
    ],
)
def test_empty(before: RunResult, after: RunResult, note: str) -> None:
    """A session in which nothing was measured decides nothing."""
    comparison = compare(before, after)

    assert not comparison.decided
    assert comparison.notes[0].startswith(note)


def test_lost() -> None:
    """What was measured before and cannot be now is named."""
    after = run(result("test_a", level=Level.UNMEASURED), clean("test_b"))

    assert compare(run(clean("test_a")), after).notes == ("measured before and not now: test_shop.py::test_a",)


# -- footprints ------------------------------------------------------------------------------------------------------


def process(*values: int) -> SubjectResult:
    """Return the result of a process with these readings of its resident memory."""
    readings = Readings((RSS,), tuple(range(len(values))), (Phase.SCREEN,) * len(values), array("q", values))
    return replace(clean("serve"), kind="process", readings=readings)


@pytest.mark.parametrize(
    ("values", "kind"),
    [((0, 0, 22, 24), "worse"), ((0, 0, 21, 24), ""), ((0, 0, 22, 23), ""), ((9, 9, 9, 9), "better")],
)
def test_footprint(values: tuple[int, ...], kind: str) -> None:
    """The second half of the readings is compared, with its range."""
    mib = 2**20
    before = run(process(*(value * mib for value in (0, 0, 20, 21))))

    changes = compare(before, run(process(*(value * mib for value in values)))).changes

    assert "".join(change.kind for change in changes) == kind


def test_footprint_over_time() -> None:
    """What was watched over time is compared as well, by the memory that is its own where both have that."""
    mib = 2.0**20
    before, after = (
        replace(
            clean("serve"),
            kind="scenario",
            readings=None,
            timeline=(Series(RSS, (0.0, 1.0), (90 * mib,) * 2, "second"), Series(USS, (0.5,), (own * mib,), "second")),
        )
        for own in (20, 30)
    )

    (change,) = compare(run(before), run(after)).changes

    assert (change.kind, change.metric, change.before, change.after) == ("worse", USS, 20 * mib, 30 * mib)
    assert change.text == "footprint of test_shop.py::serve"


def test_what_growth_is_counted_over() -> None:
    """A leak of a service is told a request, one of a process a second; in the document only where it is no run."""
    of = {"scenario": "request", "process": "second", "test": "run"}
    for kind, x_unit in of.items():
        (change,) = compare(run(clean("other")), run(replace(result("test_a", grown(7)), kind=kind))).changes

        assert change.x_unit == x_unit
    changes = to_dict(compare(run(clean("a")), run(replace(result("test_a", grown(7)), kind="process"))))["changes"]
    assert changes[0]["x_unit"] == "second"


def test_footprint_unread() -> None:
    """What was not read on one side has no footprint to compare."""
    unread = replace(process(1, 1), readings=None)

    assert compare(run(unread), run(process(2**30, 2**30))).changes == ()


def test_footprint_elsewhere() -> None:
    """Footprints are not compared between environments, and that is said."""
    comparison = compare(run(process(1, 1), environment=OLDER), run(process(2**30, 2**30)))

    assert comparison.changes == ()
    assert comparison.notes[0].endswith("footprints are not compared")


# -- one result at a time --------------------------------------------------------------------------------------------


def test_statuses() -> None:
    """Each finding is told apart; what has no fingerprint goes with the worst that has one."""
    known = Known(run(result("test_a", grown(7), grown(1, PRICES))))
    seen = result("test_a", grown(7), grown(9, PRICES), grown(8, "", HEAP), grown(1, "dd", FDS))

    assert known.statuses(seen) == ("known", "worse", "new", "new")
    assert known.statuses(clean("test_a")) == ()
    assert known.statuses(result("test_a", grown(1), level=Level.BOUNDED)) == (None,)
    assert known.statuses(result("test_a", grown(1))) == ("known",)


# -- any -------------------------------------------------------------------------------------------------------------

ESTIMATES = st.builds(Estimate, *[st.floats(-1e300, 1e300)] * 3)
FINDINGS = st.builds(
    lambda metric, slope, total, name: Finding(metric, Trend(Shape.LINEAR, slope, 9), total, name),
    st.sampled_from([BLOCKS, HEAP, FDS]), ESTIMATES, st.floats(-1e300, 1e300), st.sampled_from(["", "a", "b"]),
)  # fmt: skip
RESULTS = st.builds(
    lambda name, level, findings: result(name, *findings, level=level),
    st.sampled_from("abc"), st.sampled_from(Level), st.lists(FINDINGS, max_size=3),
)  # fmt: skip
RUNS = st.lists(RESULTS, max_size=4).map(lambda results: run(*results))


@given(RUNS)
def test_same(one: RunResult) -> None:
    """Nothing changed from a session to itself."""
    assert compare(one, one).changed == ()


@given(RUNS, RUNS)
def test_any(before: RunResult, after: RunResult) -> None:
    """Every leak of the later session is in the comparison, which can be written as JSON."""
    comparison = compare(before, after)
    leaks = {finding.fingerprint for one in after.results for finding in one.findings if one.verdict.level == "leak"}
    named = {change.fingerprint for change in comparison.changes if change.kind != "gone"}

    assert leaks - {""} <= named
    assert json.dumps(to_dict(comparison), allow_nan=False)


# -- environments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({}, "unknown"),
        (LINUX, "linux-x86_64-cp313"),
        ({**LINUX, "libc": "glibc2.36", "allocator": "pymalloc"}, "linux-x86_64-cp313-glibc2.36-pymalloc"),
        ({**LINUX, "free_threaded": True}, "linux-x86_64-cp313t"),
        ({**LINUX, "implementation": "PyPy"}, "linux-x86_64-pypy313"),
        ({"platform": "../../x", "machine": None, "python": "3"}, "_.._x"),
        ({"merged": ["b", "a", "b"]}, "a+b"),
        ({"merged": [1]}, "unknown"),
    ],
)
def test_environment_key(environment: dict[str, object], key: str) -> None:
    """The key names what sizes depend on, and is fit for a file name."""
    assert environment_key(environment) == key
