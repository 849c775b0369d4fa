"""What the fixture ``memguard`` checks inside a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_TESTS = """
    import itertools
    import logging
    import os
    import threading
    import warnings

    import pytest
    from pytest_memguard import LeakError, no_leak

    RUNS = itertools.count(1)
    OBJECTS = []

    def clean():
        return [1]

    def test_check_leaky(memguard):
        memguard.check(leak)

    def test_check_clean(memguard):
        result = memguard.check(clean)
        assert result.verdict.level in {"clean", "settled"}
        assert result.runs > 1

    def test_check_arguments(memguard):
        calls = set()
        memguard.check(lambda *args, **kwargs: calls.add((args, tuple(kwargs.items()))), 1, b=2)
        assert calls == {((1,), (("b", 2),))}

    def test_check_failing(memguard):
        with pytest.raises(ZeroDivisionError):
            memguard.check(lambda: 1 / 0)

    def fails_later():
        if next(RUNS) > 3:
            raise KeyError("later")

    def test_check_failing_later(memguard):
        with pytest.raises(KeyError, match="later"):
            memguard.check(fails_later)

    def test_check_twice(memguard):
        memguard.check(clean)
        memguard.check(clean)

    def talks():
        print("printed once")
        logging.getLogger("it").warning("logged once")
        warnings.warn("warned once")

    def test_check_recorded_once(memguard, capsys, caplog):
        result = memguard.check(talks)
        assert capsys.readouterr().out == "printed once\\n"
        assert [record.message for record in caplog.records] == ["logged once"]
        assert result.verdict.level in {"clean", "settled"}

    def test_check_recorded_once_in_the_report(memguard):
        memguard.check(talks)
        assert 0

    def test_using(memguard):
        result = memguard.using(mode="native").check(clean)
        assert result.runs > 64

    def test_using_wrongly(memguard):
        memguard.using(mod="native")

    def test_using_allow(memguard):
        memguard.using(allow={"blocks": 2}, metrics=["blocks"]).check(leak)

    def test_using_reset(memguard):
        memguard.using(reset=KEPT.clear).check(leak)

    @no_leak
    def test_marked_too(memguard):
        memguard.check(clean)
        leak()

    # no_growth

    def test_no_growth(memguard):
        leak()
        with memguard.no_growth():
            [1]

    def test_growth(memguard):
        with memguard.no_growth():
            leak()

    def test_allowed_growth(memguard):
        KEPT.extend([None] * 100)
        KEPT[-100:] = []
        with memguard.no_growth(allow=2):
            leak()

    def test_growth_above_what_is_allowed(memguard):
        with memguard.no_growth(allow=1):
            leak()

    def test_growth_of_descriptors(memguard):
        with memguard.no_growth(allow=100):
            OBJECTS.append(os.dup(1))

    def test_no_growth_of_threads(memguard):
        with memguard.no_growth(allow=100):
            thread = threading.Thread(target=clean)
            thread.start()
            thread.join()
            del thread

    def test_no_growth_hides_no_error(memguard):
        with pytest.raises(KeyError), memguard.no_growth():
            leak()
            raise KeyError

    @no_leak
    def test_no_growth_in_a_measured_test(memguard):
        with memguard.no_growth():
            [1]

    # expect_collected

    class Thing:
        pass

    def test_collected(memguard):
        memguard.expect_collected(Thing())

    def test_collected_with_a_cycle(memguard):
        thing = Thing()
        thing.thing = thing
        memguard.expect_collected(thing)

    def test_not_collected(memguard):
        OBJECTS.append(Thing())
        memguard.expect_collected(OBJECTS[-1])

    def test_collected_is_asked_anew(memguard):
        memguard.expect_collected(Thing(), Thing())

    def test_not_collected_asked_late(request):
        OBJECTS.append(Thing())
        request.getfixturevalue("memguard").expect_collected(OBJECTS[-1])

    def test_without_weak_references(memguard):
        with pytest.raises(TypeError):
            memguard.expect_collected(1)

    @no_leak
    def test_collected_in_a_measured_test(memguard):
        memguard.expect_collected(Thing())
"""


@pytest.fixture(scope="module")
def session(run_project: RunProject) -> Session:
    """Run one project with tests that use the fixture; nothing else asks for a check."""
    return run_project({"test_it.py": _TESTS})


@pytest.mark.parametrize(
    "name",
    [
        "test_check_clean", "test_check_arguments", "test_check_failing", "test_check_failing_later",
        "test_check_twice", "test_check_recorded_once", "test_using", "test_using_allow", "test_using_reset",
        "test_no_growth", "test_allowed_growth", "test_no_growth_of_threads", "test_no_growth_hides_no_error",
        "test_no_growth_in_a_measured_test", "test_collected", "test_collected_with_a_cycle",
        "test_collected_is_asked_anew", "test_without_weak_references", "test_collected_in_a_measured_test",
    ],
)  # fmt: skip
def test_it_passes(session: Session, name: str) -> None:
    """The test inside the session passes: its name and its lines are the claim."""
    assert session.outcome(name) == "passed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_check_leaky", "pytest_memguard.errors.LeakError: leak, "),
        ("test_using_wrongly", "pytest_memguard.errors.ConfigError: test_it.py::test_using_wrongly: no_leak does not "),
        ("test_marked_too", "LeakError: +2 blocks"),
        ("test_growth", "pytest_memguard.errors.LeakError: the block left +"),
        ("test_growth_above_what_is_allowed", "pytest_memguard.errors.LeakError: the block left +2 blocks behind"),
        ("test_growth_of_descriptors", "pytest_memguard.errors.LeakError: the block left +1 fds behind"),
        ("test_not_collected", "pytest_memguard.errors.LeakError: still alive after the test: test_it.Thing"),
    ],
)
def test_it_fails(session: Session, name: str, message: str) -> None:
    """What does not hold fails the test in its call phase, and the message says what."""
    (failure,) = [case.find("failure") for case in session.junit.iter("testcase") if case.get("name") == name]

    assert failure is not None
    assert str(failure.get("message")).startswith(message)


def test_an_object_that_is_asked_for_late_is_looked_after(session: Session) -> None:
    """An expectation of a test that asks for the fixture in its body is checked as well."""
    assert session.outcome("test_not_collected_asked_late") == "failure"


def test_a_callable_has_a_result_of_its_own(session: Session) -> None:
    """What was checked stands in the document, named by test and callable; a second check has a number."""
    kinds = {name: result["kind"] for name, result in session.results.items()}

    assert kinds["test_check_leaky::leak"] == "callable"
    assert kinds["test_check_twice::clean"] == kinds["test_check_twice::clean[2]"] == "callable"
    assert session.verdict("test_check_leaky::leak") == "leak"


def test_a_test_is_measured_beside_its_callable(session: Session) -> None:
    """A test that is marked ``no_leak`` as well is measured as a whole."""
    assert session.results["test_marked_too"]["kind"] == "test"
    assert session.verdict("test_marked_too") == "leak"


def test_a_callable_is_recorded_once(session: Session) -> None:
    """The report of a failing test shows what its callable printed, logged and warned of once."""
    report = session.stdout.partition("_ test_check_recorded_once_in_the_report _")[2].partition("\n____")[0]
    counts = [report.count("printed once"), report.count("logged once"), session.stdout.count("UserWarning: warned")]

    assert counts == [1, 1, 1]


def test_a_failure_shows_the_user_s_line(session: Session) -> None:
    """The traceback of a failing check ends at the line of the test."""
    report = session.stdout.partition("_ test_check_leaky _")[2].partition("\n____")[0]

    assert ">       memguard.check(leak)" in report
    assert "fixtures.py" not in report


def test_a_test_that_measures_itself_is_not_run_again(run_project: RunProject) -> None:
    """In a session that checks all tests, one that checks a callable is not measured as a whole."""
    source = """
        def test_it(memguard):
            memguard.check(len, "")
            leak()
    """

    session = run_project({"test_it.py": source}, "--memguard")

    assert session.reason("test_it") == "it measures itself, with the memguard fixture"
    assert session.tally == {"passed": 1}
