"""What the markers on a test do: ``no_leak`` and its arguments, ``limit_memory``, ``no_cycles``, ``memguard_skip``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_TESTS = """
    import itertools
    import os

    import pytest
    from pytest_memguard import limit_memory, memguard_skip, no_cycles, no_leak

    DESCRIPTORS, STEPS = [], itertools.count()

    def test_unmarked():
        leak()

    @no_leak
    def test_marked():
        leak()

    @pytest.mark.no_leak(mode="deep")
    def test_deep():
        pass

    @no_leak(mode="quick")
    def test_quick():
        pass

    @no_leak(max_runs=20)
    def test_few_runs():
        leak()

    @no_leak(confidence=100)
    def test_never_sure_enough():
        leak()

    @no_leak(policy="any")
    def test_another_policy():
        leak()

    @no_leak(allow={"blocks": 2})
    def test_allowed():
        leak()

    @no_leak(allow={"blocks": 1})
    def test_allowed_too_little():
        leak()

    @no_leak(metrics=["fds"])
    def test_other_metric():
        leak()

    @no_leak(metrics=["fds"])
    def test_descriptor():
        DESCRIPTORS.append(os.dup(1))

    @no_leak(reset=KEPT.clear)
    def test_reset():
        leak()

    def broken_reset():
        raise OSError("no such\\ndevice")

    @no_leak(reset=broken_reset)
    def test_broken_reset():
        pass

    @no_leak(only_if_passed=False)
    def test_failure_that_leaks():
        leak()
        assert 0

    @no_leak(only_if_passed=False)
    def test_failure_that_does_not_leak():
        assert 0

    @no_leak
    @memguard_skip("known")
    def test_skipped():
        leak()

    # limits

    MIB = 1024 * 1024

    @limit_memory("2 MiB")
    def test_below_the_limit():
        bytearray(MIB)

    @limit_memory("1 MiB")
    def test_above_the_limit():
        bytearray(MIB)

    @limit_memory("3 MiB")
    def test_peak_of_several():
        both = bytearray(MIB), bytearray(MIB)
        del both
        bytearray(2 * MIB)

    @limit_memory("2 MiB")
    def test_limit_only_is_not_measured():
        leak()

    @limit_memory("1 MiB")
    @no_leak
    def test_leak_within_the_limit():
        leak()

    @limit_memory("1 MiB")
    def test_limit_of_what_cannot_be_repeated():
        assert next(STEPS) == 0

    def knot():
        one, other = [], []
        one.append(other)
        other.append(one)

    @no_cycles
    def test_no_cycle():
        [[]]

    @no_cycles
    def test_a_cycle():
        knot()

    @no_cycles(max=2)
    def test_one_cycle_is_allowed():
        knot()

    @no_cycles(max=1)
    def test_one_object_too_many():
        knot()

    class TestClass:
        @no_cycles
        def test_method(self):
            pass

        @no_cycles
        def test_a_cycle(self):
            knot()
"""


@pytest.fixture(scope="module")
def session(run_project: RunProject) -> Session:
    """Run a project in which only marked tests are checked, the default."""
    return run_project({"test_it.py": _TESTS}, "--strict-markers", "-W", "error")


def test_only_marked_tests_are_checked(session: Session) -> None:
    """Without any option a test is checked where it is marked, and only there."""
    assert "test_unmarked" not in session.results
    assert (session.verdict("test_marked"), session.outcome("test_marked")) == ("leak", "failure")


@pytest.mark.parametrize(("name", "runs"), [("test_quick", 3), ("test_deep", 17)])
def test_the_mode_says_how_often_a_clean_test_runs(session: Session, name: str, runs: int) -> None:
    """A clean test costs the runs of its mode, if nothing at all moved."""
    assert session.results[name]["runs"] >= runs


def test_max_runs_ends_a_measurement(session: Session) -> None:
    """No test runs more often than its marker allows."""
    assert session.results["test_few_runs"]["runs"] <= 20


@pytest.mark.parametrize(
    ("name", "verdict", "outcome"),
    [
        ("test_never_sure_enough", "growing", "passed"),
        ("test_another_policy", "leak", "failure"),
        ("test_allowed_too_little", "leak", "failure"),
        ("test_other_metric", "clean", "passed"),
        ("test_descriptor", "leak", "failure"),
        ("test_reset", "clean", "passed"),
        ("test_broken_reset", "unmeasured", "passed"),
        ("test_failure_that_leaks", "leak", "failure"),
        ("test_leak_within_the_limit", "leak", "failure"),
    ],
)
def test_an_argument_of_no_leak(session: Session, name: str, verdict: str, outcome: str) -> None:
    """Each argument of ``no_leak`` has a say in the verdict, and the verdict in the outcome."""
    assert session.verdict(name).replace("settled", "clean") == verdict
    assert session.outcome(name) == outcome


def test_growth_that_is_allowed_fails_nobody(session: Session) -> None:
    """A test that keeps exactly what its marker allows passes; the native heap may still be seen to grow."""
    assert session.outcome("test_allowed") == "passed"
    assert session.verdict("test_allowed") != "leak"


def test_a_reset_that_fails_is_named(session: Session) -> None:
    """The reason names the error of the user's own clean-up, in one line."""
    reason = "not repeatable: run 2 comes after a reset that failed with OSError: no such device"

    assert session.reason("test_broken_reset") == reason


def test_a_failure_stays_the_test_s_own(session: Session) -> None:
    """A failing test that leaks as well shows its own failure, and the leak in a section of its own."""
    report = session.stdout.partition("_ test_failure_that_leaks _")[2].partition("\n____")[0]

    assert "assert 0" in report
    assert "memory leak" in report
    assert (
        "memory leak" not in session.stdout.partition("_ test_failure_that_does_not_leak _")[2].partition("\n____")[0]
    )


def test_a_skipped_test_is_not_measured(session: Session) -> None:
    """``memguard_skip`` is stronger than ``no_leak``."""
    assert session.outcome("test_skipped") == "passed"
    assert "test_skipped" not in session.results


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("test_below_the_limit", "passed"),
        ("test_above_the_limit", "failure"),
        ("test_peak_of_several", "passed"),
        ("test_no_cycle", "passed"),
        ("test_a_cycle", "failure"),
        ("test_one_cycle_is_allowed", "passed"),
        ("test_one_object_too_many", "failure"),
        ("TestClass.test_method", "passed"),
        ("TestClass.test_a_cycle", "failure"),
    ],
)
def test_a_limit(session: Session, name: str, outcome: str) -> None:
    """A limit holds on one side of its edge and not on the other."""
    assert session.outcome(name) == outcome


def test_a_limit_says_how_far_it_was_passed(session: Session) -> None:
    """The failure names what was used and what is allowed."""
    messages = {
        str(case.get("name")): str(failure.get("message"))
        for case in session.junit.iter("testcase")
        for failure in case.iter("failure")
    }

    assert messages["test_above_the_limit"].startswith("MemoryLimitError: one run allocated 1.0 MiB at its peak")
    assert messages["test_one_object_too_many"].splitlines() == [
        "CycleError: one run left 2 objects that only the garbage collector frees; no_cycles allows 1",
        "types   list (2)",
        "cycle   list[...] (2 times) -> list",
    ]


def test_a_limit_alone_is_no_measurement(session: Session) -> None:
    """A test that has a limit and no ``no_leak`` is not looked at for leaks."""
    assert session.outcome("test_limit_only_is_not_measured") == "passed"
    assert "test_limit_only_is_not_measured" not in session.results


def test_a_limit_that_cannot_be_checked_is_named(session: Session) -> None:
    """A test that cannot be repeated passes, and the document says that its limit was not checked."""
    result = session.results["test_limit_of_what_cannot_be_repeated"]

    assert result["verdict"] == "unmeasured"
    assert result["reason"].startswith("its limits are not checked: the repeat failed with AssertionError")


def test_nobody_fails_where_nothing_may(run_project: RunProject) -> None:
    """``--memguard-fail-on=never`` holds for limits as well."""
    session = run_project({"test_it.py": _TESTS}, "--memguard-fail-on=never", "-k", "limit or cycle")

    assert session.returncode == 0


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("no_leak(mod='deep')", "no_leak does not take mod='deep'; did you mean 'mode'?"),
        ("no_leak(mode='dep')", "no_leak: mode = 'dep' is none of 'quick', 'standard', 'deep', 'native'"),
        ("no_leak('64 B')", "no_leak('64 B') takes named arguments only, as in no_leak(mode='deep')"),
        ("limit_memory('much')", "limit_memory: "),
        ("no_cycles(max=-1)", "no_cycles: max = -1 is not a whole number of 0 or more"),
        ("memguard_skip(1)", "memguard_skip: reason = 1 is not text"),
    ],
)
def test_a_wrong_argument_is_refused_before_the_first_test(run_project: RunProject, mark: str, message: str) -> None:
    """A marker's wrong argument is one line, and no test runs."""
    source = f"""
        import pytest
        def test_first(): print("first test")
        @pytest.mark.{mark}
        def test_second(): pass
    """

    session = run_project({"test_it.py": source}, "-s", document=False)

    assert session.returncode == 4
    assert session.stderr.strip().startswith(f"ERROR: test_it.py::test_second: {message}")
    assert len(session.stderr.strip().splitlines()) == 1
    assert "first test" not in session.stdout
