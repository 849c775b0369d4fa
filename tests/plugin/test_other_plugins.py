"""Beside other plugins of pytest: what they count, time, try again and cover is the user's own run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject

_TIMEOUTS = """
    import time

    import pytest

    @pytest.mark.timeout(0.5)
    def test_signal():
        time.sleep(0.15)

    @pytest.mark.timeout(0.5, method="thread")
    def test_thread():
        time.sleep(0.15)

    @pytest.mark.timeout(0.5, func_only=True)
    def test_function():
        time.sleep(0.15)

    @pytest.fixture
    def slow_tear_down():
        yield
        time.sleep(5)

    @pytest.mark.timeout(0.5)
    def test_too_slow(slow_tear_down):
        pass

    @pytest.fixture(scope="module")
    def slow_house():
        yield
        time.sleep(5)

    @pytest.mark.timeout(0.5)
    def test_too_slow_after_the_repeats(slow_house):
        pass
"""
_COVERED = """
    import threading

    def twice(number):
        return 2 * number

    def in_thread(number):
        thread = threading.Thread(target=twice, args=(number,))
        thread.start()
        thread.join()
        return number

    def later(runs):
        if next(runs) > 1:
            return "only in a repeat"
        return "in the user's own run"
"""
_COVERING = """
    import itertools
    import pytest
    import shop

    RUNS = itertools.count(1)

    @pytest.fixture
    def closes():
        yield
        shop.twice(3)

    def test_twice(closes):
        assert shop.twice(1) == 2

    def test_thread():
        assert shop.in_thread(1) == 1

    def test_later():
        shop.later(RUNS)
"""
_RETRIES = """
    import itertools
    import pytest

    FAILS, LEAKS = itertools.count(1), itertools.count(1)
    HOUSES = []

    @pytest.fixture(scope="module")
    def house():
        HOUSES.append("built")
        yield

    def test_passes_at_the_second_try(house):
        assert next(FAILS) > 1

    def test_leak(house):
        leak()

    def test_leaks_at_the_first_try(house):
        if next(LEAKS) < 66:
            leak()

    def test_the_house_is_built_once(house):
        assert HOUSES == ["built"]
"""


def test_a_time_limit_is_for_the_user_s_own_run(run_project: RunProject) -> None:
    """Many repeats of a test do not reach its limit; its tear-down does, with or without repeats before it."""
    session = run_project({"test_it.py": _TIMEOUTS}, "--memguard", "--memguard-budget=1", plugins=["timeout"])

    assert [session.outcome(name) for name in ("test_signal", "test_thread", "test_function")] == ["passed"] * 3
    assert [session.results[name]["runs"] > 4 for name in ("test_signal", "test_thread", "test_function")] == [True] * 3
    assert session.outcome("test_too_slow") == "error"
    assert session.outcome("test_too_slow_after_the_repeats") == "error"
    assert session.results["test_too_slow_after_the_repeats"]["runs"] > 1


def test_a_dump_after_too_long_is_not_for_repeats(run_project: RunProject) -> None:
    """``faulthandler_timeout`` counts the user's own run alone."""
    source = "import time\ndef test_it(): time.sleep(0.1)"
    ini = "[pytest]\nfaulthandler_timeout = 0.4\n"

    session = run_project({"test_it.py": source, "pytest.ini": ini}, "--memguard", "--memguard-budget=1")

    assert session.results["test_it"]["runs"] > 4
    assert "Timeout" not in session.stderr


@pytest.mark.parametrize("context", [[], ["--cov-context=test"]], ids=["plain", "contexts"])
def test_coverage_is_that_of_the_user_s_own_run(run_project: RunProject, context: list[str]) -> None:
    """Lines and contexts are those of a run without the plugin; what only a repeat reaches is not covered."""
    files = {"shop.py": _COVERED, "test_it.py": _COVERING}
    options = ["--cov=shop", "--cov-branch", "--cov-report=json", *context]

    sessions = [
        run_project(files, *options, *more, plugins=["pytest_cov"]) for more in (["--no-memguard"], ["--memguard"])
    ]
    covered = [json.loads((one.folder / "coverage.json").read_text(encoding="utf-8"))["files"] for one in sessions]

    assert covered[1] == covered[0]
    assert {result["runs"] > 1 for result in sessions[1].document["results"]} == {True}


def test_what_fails_is_tried_again(run_project: RunProject) -> None:
    """pytest-rerunfailures tries failures again, a leak among them, and the last try counts."""
    session = run_project({"test_it.py": _RETRIES}, "--memguard", "--reruns=1", plugins=["rerunfailures"])

    assert session.tally == {"failed": 1, "passed": 3, "rerun": 3}
    assert session.verdict("test_leak") == "leak"
    assert session.verdict("test_passes_at_the_second_try") in {"clean", "settled"}
    assert session.verdict("test_leaks_at_the_first_try") in {"clean", "settled"}


def test_statistics_of_hypothesis_are_those_of_the_user_s_own_run(run_project: RunProject) -> None:
    """``--hypothesis-show-statistics`` shows each test once, with the examples of the user's own run."""
    source = """
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=50, database=None)
        @given(st.integers())
        def test_it(number):
            pass
    """

    session = run_project(
        {"test_it.py": source}, "--memguard", "--hypothesis-show-statistics", plugins=["hypothesispytest"]
    )

    assert session.stdout.count("50 passing") == 1
    assert session.stdout.count("Stopped because settings.max_examples=50") == 1
