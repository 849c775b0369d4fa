"""What a leak, a failure, a skip or an error makes of a test's outcome, and of the tests after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_CONFTEST = """
    import pytest

    phase_report_key = pytest.StashKey()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        item.stash.setdefault(phase_report_key, {})[report.when] = report
        if report.when == "call" and report.failed and "tmp_path" in item.fixturenames:
            report.sections.append(("folder", item.funcargs["tmp_path"].name))
        return report

    @pytest.fixture
    def looks_back(request):
        yield
        assert request.node.stash[phase_report_key]["call"].passed

    running = []

    def pytest_runtest_setup(item):
        running.append(item.name)

    def pytest_runtest_teardown(item):
        assert running.pop() == item.name
        if "number" in item.fixturenames:
            assert item.funcargs["number"] == 1
        if "box" in item.fixturenames:
            assert item.funcargs["box"] == [1]

    def pytest_sessionfinish():
        assert running == []
"""
_TESTS = """
    import itertools
    import os
    import unittest

    import pytest
    from pytest_memguard import LeakError

    RUNS = {name: itertools.count(1) for name in ("second", "later", "sub-test", "unittest", "teardown")}

    def test_clean():
        pass

    def test_leak():
        leak()

    def test_leak_with_folder(tmp_path):
        leak()

    def test_fails():
        leak()
        assert 0

    def test_skips():
        leak()
        pytest.skip("not here")  # after the leak, so that both meet

    @pytest.fixture
    def broken_set_up():
        raise RuntimeError

    def test_broken_set_up(broken_set_up):
        pass

    @pytest.fixture
    def broken_tear_down():
        yield
        raise RuntimeError("torn")

    def test_broken_tear_down(broken_tear_down):
        leak()

    def test_fails_at_the_second_run_only():
        assert next(RUNS["second"]) != 2

    def test_fails_later():
        assert next(RUNS["later"]) == 1, "a text of \\n two lines"

    @pytest.fixture
    def breaks_later():
        yield
        assert next(RUNS["teardown"]) == 1

    def test_breaks_later(breaks_later):
        pass

    class TestCase(unittest.TestCase):
        def test_fails_later(self):
            for _ in range(2):
                with self.subTest():
                    assert next(RUNS["unittest"]) < 3

        def test_fails_in_part(self):
            with self.subTest():
                leak()
                assert 0

    @pytest.mark.xfail(raises=LeakError)
    def test_expected_leak():
        leak()

    @pytest.mark.xfail(raises=LeakError)
    def test_expected_leak_is_mended():
        pass

    @pytest.mark.xfail(raises=LeakError, strict=True)
    def test_expected_leak_is_mended_strictly():
        pass

    @pytest.mark.xfail(reason="some reason")
    def test_expected_failure():
        assert 0

    @pytest.mark.xfail(reason="some reason")
    def test_unexpected_pass():
        leak()

    @pytest.mark.xfail(strict=True)
    def test_strict_unexpected_pass():
        leak()

    @pytest.mark.no_leak
    @pytest.mark.xfail(strict=True)
    def test_marked_leak_is_an_expected_failure():
        leak()

    def test_forks():
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

    def test_looks_back(looks_back):
        pass

    @pytest.fixture
    def number():
        return 1

    @pytest.fixture
    def box():
        return [1]

    def test_hooks_see_arguments(number, box):
        pass

    def test_environment(monkeypatch):
        assert "test_environment (call)" in os.environ["PYTEST_CURRENT_TEST"]

    @pytest.mark.memguard_skip("it leaks, and we know")
    def test_skip_of_the_measurement():
        leak()
"""
_SUBTESTS = """
    import itertools

    RUNS = itertools.count(1)

    def test_fails_later(subtests):
        with subtests.test():
            assert next(RUNS) == 1

    def test_fails_in_part(subtests):
        with subtests.test():
            leak()
            assert 0
"""


@pytest.fixture(scope="module")
def session(run_project: RunProject) -> Session:
    """One session with tests of every outcome, all of them measured."""
    return run_project(
        {"conftest.py": _CONFTEST, "test_it.py": _TESTS}, "--memguard", "-W", "ignore::DeprecationWarning"
    )


def test_a_leak_fails_its_test(session: Session) -> None:
    """A test that leaks fails in its call phase, as by an assertion."""
    assert session.outcome("test_leak") == "failure"
    assert session.verdict("test_leak") == "leak"


def test_a_leak_says_how_much(session: Session) -> None:
    """The failure's message in the JUnit report names the amount."""
    messages = {case.get("name"): case.find("failure") for case in session.junit.iter("testcase")}
    failure = messages["test_leak"]

    assert failure is not None
    assert str(failure.get("message")).startswith("LeakError: +2 blocks a run")


def test_a_leak_is_reported_with_the_user_s_own_hooks(session: Session) -> None:
    """A hook that looks for ``tmp_path`` where a test failed finds the folder of the user's own run."""
    assert "test_leak_with_folder0" in session.stdout


def test_a_leak_fails_the_session(session: Session) -> None:
    """The exit code is that of failing tests."""
    assert session.returncode == 1


def test_a_clean_test_passes(session: Session) -> None:
    """A test that does not leak passes."""
    assert session.outcome("test_clean") == "passed"
    assert session.verdict("test_clean") in {"clean", "settled"}


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("test_fails", "failure", "it did not pass"),
        ("test_skips", "skipped", "it was skipped"),
        ("test_broken_set_up", "error", "its set-up failed"),
        ("test_broken_tear_down", "error", "its tear-down failed"),
        ("test_expected_failure", "skipped", "it did not pass"),
        ("test_unexpected_pass", "passed", "it is expected to fail, and not with a LeakError"),
        ("test_strict_unexpected_pass", "failure", "it is expected to fail, and not with a LeakError"),
    ],
)
def test_what_does_not_pass_is_not_measured(session: Session, name: str, outcome: str, reason: str) -> None:
    """A test that does not simply pass keeps its outcome, and the document says why it was not measured."""
    result = session.results[name]

    assert (session.outcome(name), result["verdict"], result["reason"]) == (outcome, "skipped", reason)
    assert result["runs"] == 1


def test_a_tear_down_error_is_one_of_the_tear_down(session: Session) -> None:
    """The error of the user's own tear-down is reported in that phase, with the user's code on top."""
    headline = "ERROR at teardown of test_broken_tear_down"
    report = session.stdout.partition(headline)[2].partition("\n___")[0]

    assert 'raise RuntimeError("torn")' in report
    assert "session.py" not in report


def test_one_failure_of_a_repeat_is_tried_again(session: Session) -> None:
    """A test whose second run alone fails is measured with nothing frozen."""
    assert session.outcome("test_fails_at_the_second_run_only") == "passed"
    assert session.verdict("test_fails_at_the_second_run_only") in {"clean", "settled"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_fails_later", "not repeatable: run 2 failed with AssertionError: a text of two lines assert 2 == 1"),
        ("test_breaks_later", "not repeatable: run 2 tear-down failed with AssertionError: assert 2 == 1"),
    ],
)
def test_what_passes_only_once_passes(session: Session, name: str, reason: str) -> None:
    """A test whose repeats fail keeps its outcome; the document says which run failed, and how, in one line."""
    result = session.results[name]

    assert (session.outcome(name), result["verdict"], result["runs"]) == ("passed", "unmeasured", 1)
    assert result["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("name", "outcome", "verdict"),
    [
        ("test_expected_leak", "skipped", "leak"),
        ("test_expected_leak_is_mended", "passed", "clean"),
        ("test_expected_leak_is_mended_strictly", "failure", "clean"),
        ("test_marked_leak_is_an_expected_failure", "skipped", "leak"),
    ],
)
def test_an_expected_leak(session: Session, name: str, outcome: str, verdict: str) -> None:
    """``xfail(raises=LeakError)`` holds for a leak, and notices when it is gone."""
    assert session.outcome(name) == outcome
    assert session.verdict(name).replace("settled", "clean") == verdict


def test_a_test_that_forks(session: Session) -> None:
    """A child process of a test ends where the test says, and the session goes on."""
    assert session.outcome("test_forks") == "passed"
    assert session.results["test_forks"]["runs"] > 1


@pytest.mark.parametrize("name", ["test_looks_back", "test_hooks_see_arguments", "test_environment"])
def test_hooks_and_fixtures_find_what_they_look_for(session: Session, name: str) -> None:
    """A fixture finds the report of the call phase, a hook the test's arguments, and each set-up has its tear-down."""
    assert session.outcome(name) == "passed"
    assert session.results[name]["runs"] > 1


def test_a_test_that_nobody_wants_measured(session: Session) -> None:
    """A test marked ``memguard_skip`` passes, and has no result."""
    assert session.outcome("test_skip_of_the_measurement") == "passed"
    assert "test_skip_of_the_measurement" not in session.results


def test_sub_tests_of_unittest(session: Session) -> None:
    """A test with a failing sub-test is not measured; one whose sub-tests fail in repeats only is not repeatable."""
    assert session.results["TestCase::test_fails_in_part"]["runs"] == 1
    assert session.verdict("TestCase::test_fails_later") == "unmeasured"
    assert session.outcomes["TestCase.test_fails_later"][-1] == "passed"


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="the fixture subtests came with pytest 9")
def test_sub_tests(run_project: RunProject) -> None:
    """The same holds for pytest's own sub-tests, whose failures are counted by test."""
    session = run_project({"test_it.py": _SUBTESTS}, "--memguard")

    assert session.tally == {"failed": 2, "passed": 1, "subtests passed": 1}
    assert session.reason("test_fails_later") == "not repeatable: run 2 failed in a sub-test"
    assert session.reason("test_fails_in_part") == "it did not pass"


def test_the_first_leak_ends_the_session(run_project: RunProject) -> None:
    """``-x`` stops at a leak, and the document holds what was measured until then."""
    source = """
        def test_clean(): pass
        def test_leak(): leak()
        def test_never(): pass
    """

    session = run_project({"test_it.py": source}, "--memguard", "-x")

    assert session.tally == {"failed": 1, "passed": 1}
    assert list(session.results) == ["test_clean", "test_leak"]


def test_a_leak_is_a_last_failure(run_project: RunProject) -> None:
    """``--lf`` runs what leaked the last time."""
    source = """
        def test_clean(): pass
        def test_leak(): leak()
    """

    session = run_project({"test_it.py": source}, "--memguard")
    again = run_project(session, "--memguard", "--lf")

    assert again.tally == {"failed": 1}
    assert list(again.results) == ["test_leak"]


@pytest.mark.parametrize("option", ["--pdb", "--trace"])
def test_the_debugger_keeps_tests_from_being_measured(run_project: RunProject, option: str) -> None:
    """With the debugger on, a test runs once, and the document says why."""
    session = run_project({"test_it.py": "def test_leak(): leak()"}, "--memguard", option, stdin="c\n" * 9)

    assert session.tally == {"passed": 1}
    assert session.reason("test_leak") == "the debugger is on (--pdb or --trace)"


def test_a_breakpoint_is_met_once(run_project: RunProject) -> None:
    """``breakpoint()`` in a test stops in the user's own run, and in no repeat."""
    source = """
        import pdb, pytest
        def test_builtin(): breakpoint()
        def test_pytest(): pytest.set_trace()
        def test_pdb(): pdb.set_trace()
    """

    session = run_project({"test_it.py": source}, "--memguard", stdin="c\n" * 9)

    assert session.stdout.count("(Pdb)") == 3
    assert {result["verdict"] for result in session.document["results"]} == {"unmeasured"}
