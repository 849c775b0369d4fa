"""What leaks is explained: in the failing test, in the document, as one cause, and accepted where that is wanted."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_PATTERNS = Path(__file__).parents[2] / "fixtures" / "leak_patterns"
#: The same on every Python and on every worker: whoever changes these makes all baselines out there forget.
_FINGERPRINTS = {
    "test_unbounded_dict.py": "62800e8b278e3184",
    "test_unbounded_list.py": "538a4bce44ba7745",
    "test_unbounded_set.py": "7c07dd8e98c4de5c",
    "test_cache_on_method.py": "397e72fc4237a75b",
    "test_cache_without_limit.py": "353b3008b2a81ce9",
    "test_listener.py": "b9ec3c8b00b65db1",
    "test_logging_handler.py": "b4748ed8a626fc05",
    "test_exception.py": "c1d005d4ee5a3497",
    "test_weak_map.py": "d1c1e1a82add30e5",
    "test_unclosed_file.py": "640f38e33f2a7691",
    "test_context_variable.py": "a42119fc11ede37a",
    "test_wrapped_again.py": "42aa1b2f6dfa58b0",
}

_SHOP = """
    SEEN = {}

    class Order:
        def __init__(self, number):
            self.number = number

    def test_order():
        SEEN[len(SEEN)] = Order(len(SEEN))
"""


@pytest.fixture(scope="module")
def explained(run_project: RunProject) -> Session:
    """One test that leaks objects of the user's own."""
    return run_project({"test_shop.py": _SHOP}, "--memguard")


@pytest.mark.parametrize(
    "line",
    [
        "held by   test_shop.SEEN, which has no limit: +1 entry a run",
        "made at   test_shop.py:",
        "types     test_shop.Order",
        "path      module test_shop",
        "            .SEEN: dict, +1 a run",
        "            [...]: test_shop.Order",
        "advice    test_shop.SEEN is a dict without a limit",
    ],
)
def test_a_failing_test_says_what_to_change(explained: Session, line: str) -> None:
    """What stays, where it was made, who holds it and what to do stand in the failure."""
    assert line in explained.stdout


def test_what_each_run_replaces_is_no_part_of_the_leak(run_project: RunProject) -> None:
    """Objects that a test puts in the place of those of the run before are neither counted nor blamed."""
    source = """
        SETTINGS = {}
        KEPT = []

        class Option: pass

        class Item: pass

        def test_it():
            for number in range(13):
                SETTINGS[number] = Option()
            KEPT.append(Item())
    """
    session = run_project({"test_it.py": source}, "--memguard")
    (finding,) = session.results["test_it"]["findings"]

    assert [(one["type"], one["count_per_run"]) for one in finding["types"]] == [("test_it.Item", 1.0)]
    assert [[hop["name"] for hop in path["hops"]] for path in finding["paths"]] == [["test_it", ".KEPT", "[...]"]]
    assert [site["source"] for site in finding["sites"]] == ["KEPT.append(Item())"]
    assert finding["advice"].startswith("test_it.KEPT is a list without a limit")


def test_an_exception_that_is_kept_keeps_nothing_of_one_repeat(run_project: RunProject) -> None:
    """The frames that make a repeat, which hang on its traceback, hold what those of the one before hold."""
    source = """
        from pathlib import Path

        KEPT = []

        def variables(error):
            frame = error.__traceback__.tb_frame
            found = []
            while frame is not None:
                if "pytest_memguard" in frame.f_code.co_filename:
                    found += [(frame.f_code.co_name, name, id(value)) for name, value in frame.f_locals.items()]
                frame = frame.f_back if frame.f_code.co_name != "run" else None
            return found

        def test_it():
            try:
                raise ValueError
            except ValueError as error:
                KEPT.append(error)
            if len(KEPT) == 4:
                Path("seen.txt").write_text(f"{variables(KEPT[1])}\\n{variables(KEPT[2])}\\n")
    """
    session = run_project({"test_it.py": source}, "--memguard")
    one, next_one = (session.folder / "seen.txt").read_text(encoding="utf-8").splitlines()

    assert "('run', 'self'" in one
    assert one == next_one


def test_a_failure_fits_one_screen(explained: Session) -> None:
    """With all that, it has at most 24 lines."""
    failure = explained.stdout.partition("leak, 9")[2].partition("memguard: ")[0]

    assert len(failure.strip().splitlines()) <= 24


def test_the_document_has_the_explanation(explained: Session) -> None:
    """Sites, types, paths and a fingerprint stand in the document."""
    (finding,) = [one for one in explained.results["test_order"]["findings"] if one["metric"] == "blocks"]

    assert finding["sites"][0]["file"] == "test_shop.py"
    assert "test_shop.Order" in {growth["type"] for growth in finding["types"]}
    assert [hop["name"] for hop in finding["paths"][0]["hops"][:2]] == ["test_shop", ".SEEN"]
    assert len(finding["fingerprint"]) == 16


def test_without_explanation(run_project: RunProject) -> None:
    """With ``explain = off`` the verdict is the same, and the holder that decided it is still named."""
    session = run_project({"test_shop.py": _SHOP}, "--memguard", "--memguard-explain=off")

    assert session.verdict("test_order") == "leak"
    assert "held by   test_shop.SEEN" in session.stdout
    assert session.results["test_order"]["findings"][0]["sites"] == []


def test_a_test_that_fails_when_it_is_explained(run_project: RunProject) -> None:
    """A leak stays a leak if the extra runs fail; what could not be found out is said."""
    source = """
        import tracemalloc

        def test_leak():
            assert not tracemalloc.is_tracing()
            leak()
    """
    session = run_project({"test_it.py": source}, "--memguard")

    assert session.verdict("test_leak") == "leak"
    (note,) = session.results["test_leak"]["notes"]
    assert note.startswith("a run of the extra pass failed with AssertionError: assert not True")


@pytest.mark.parametrize("failing", ["raise KeyError('traced')", "pytest.skip('traced')", "raise SystemExit(3)"])
def test_a_callable_that_fails_when_it_is_explained(run_project: RunProject, failing: str) -> None:
    """What it raises in the extra runs is not the test's: the leak is what the test fails with."""
    source = f"""
        import pytest
        import tracemalloc

        KEPT = []

        def add():
            KEPT.append(object())
            if tracemalloc.is_tracing():
                {failing}

        def test_leak(memguard):
            memguard.check(add)
    """
    session = run_project({"test_it.py": source}, "--memguard")
    (result,) = [one for one in session.document["results"] if one["kind"] == "callable"]

    assert session.tally == {"failed": 1}
    assert "held by   test_it.KEPT" in session.stdout
    assert result["notes"][0].startswith("a run of the extra pass ")


def test_a_callable_without_code_is_explained(run_project: RunProject) -> None:
    """Something callable that says it wraps itself is no more than a callable that is not followed by line."""
    source = """
        KEPT = []

        class Add:
            def __init__(self):
                self.__wrapped__ = self

            def __call__(self):
                KEPT.append(object())

        def test_leak(memguard):
            memguard.check(Add())
    """
    session = run_project({"test_it.py": source}, "--memguard")

    assert "path      module test_it" in session.stdout


def test_a_mistake_of_the_explanation_costs_no_verdict(run_project: RunProject) -> None:
    """The leak is reported; that there is no explanation is said."""
    conftest = """
        from pytest_memguard.engine import extra

        def fail(self):
            raise LookupError("no such thing")

        extra.ExtraPass.explain = fail
    """
    session = run_project({"conftest.py": conftest, "test_shop.py": _SHOP}, "--memguard")

    assert session.verdict("test_order") == "leak"
    assert session.results["test_order"]["notes"] == [
        "not explained: memguard itself failed with LookupError: no such thing"
    ]


def test_what_is_taken_over_says_where_from(run_project: RunProject) -> None:
    """The fourth test with one holder is told what the first was, and not what went wrong there."""
    source = """
        import pytest
        import tracemalloc

        KEPT = []

        @pytest.mark.parametrize("number", range(5))
        def test_it(number):
            KEPT.append([])
            if number == 0:
                tracemalloc.stop()
    """
    session = run_project({"test_it.py": source}, "--memguard")
    notes = [session.results[f"test_it[{number}]"]["notes"] for number in range(5)]

    assert notes[0] == ["the test stopped tracemalloc: no allocation sites"]
    assert notes[1:3] == [[], []]
    assert notes[3] == notes[4]
    assert notes[3][0].startswith("as explained for test_it.py::test_it[0], ")


def test_fifty_tests_that_leak_through_one_cache_are_one_cause(run_project: RunProject) -> None:
    """They are told as one, with the cheapest of them to repeat."""
    source = """
        import pytest

        CACHE = {}

        def price(number):
            CACHE[len(CACHE)] = [number]

        @pytest.mark.parametrize("number", range(50))
        def test_price(number):
            price(number)
    """
    session = run_project({"test_shop.py": source}, "--memguard")
    (cause,) = session.document["causes"]
    summary = session.stdout.partition("memguard: ")[2].partition("short test summary")[0]

    assert session.tally == {"failed": 50}
    assert len(cause["results"]) == 50
    assert cause["reproducer"].startswith("pytest 'test_shop.py::test_price[")
    assert summary.count("test_shop.CACHE") == 1
    assert "50 tests" in summary


@pytest.mark.parametrize("workers", [0, 2])
def test_fingerprints_are_the_same_everywhere(run_project: RunProject, workers: int) -> None:
    """Ten leaks and more have the fingerprints that they have on every version of Python, with and without workers."""
    project = {name: (_PATTERNS / name).read_text(encoding="utf-8") for name in _FINGERPRINTS}
    session = run_project(project, "--memguard", "-k", "leaky", "-n", str(workers), plugins=["xdist"])
    found = {
        result["id"].partition("::")[0]: {finding["fingerprint"] for finding in result["findings"]}
        for result in session.document["results"]
    }

    assert found == {name: {fingerprint} for name, fingerprint in _FINGERPRINTS.items()}


def test_what_a_test_tool_keeps_is_found_out_by_the_explanation(run_project: RunProject) -> None:
    """Where the holder check sees nobody, and the path ends at a test tool, the leak is none of the test's."""
    tool = """
        import threading

        class Log:
            def __init__(self):
                self.of_thread = threading.local()
                self.of_thread.seen = []

        LOG = Log()
    """
    conftest = """
        from pytest_memguard import hookspecs, registry
        from pytest_memguard.core.values import KnownHolder

        class Tool:
            @hookspecs.hookimpl
            def memguard_known_holders(self):
                return [KnownHolder("tool.Log.seen", "tool", "it notes each run")]

        registry._plugins().register(Tool())
    """
    test = "import tool\n\ndef test_it():\n    tool.LOG.of_thread.seen.append(object())\n"
    files = {"tool.py": tool, "conftest.py": conftest, "test_it.py": test}
    session = run_project(files, "--memguard", "-p", "no:cacheprovider", environ={"PYTHONPATH": "."})

    assert (session.verdict("test_it"), session.outcome("test_it")) == ("growing", "passed")
    assert session.reason("test_it") == "what grows is tool.LOG: it notes each run"


# -- accepted leaks --------------------------------------------------------------------------------------------------


def _accepted(fingerprint: str, until: date, more: str = "") -> str:
    return f"""
        [[accepted]]
        fingerprint = "{fingerprint}"
        reason = "repaired in the next version"
        until = {until}
        {more}
    """


def _fingerprint(session: Session) -> str:
    fingerprint: str = session.results["test_order"]["findings"][0]["fingerprint"]
    return fingerprint


_TODAY = date.today()  # noqa: DTZ011 - the day here is meant, as in the file
_TOMORROW = _TODAY + timedelta(days=1)
_YESTERDAY = _TODAY - timedelta(days=1)


def test_an_accepted_leak_does_not_fail(run_project: RunProject, explained: Session) -> None:
    """It passes, is reported apart, and is marked as known in the document."""
    accepted = _accepted(_fingerprint(explained), _TOMORROW)
    session = run_project({"test_shop.py": _SHOP, "memguard-accepted.toml": accepted}, "--memguard")

    assert session.tally == {"passed": 1}
    assert "  accepted  " in session.stdout
    assert (session.verdict("test_order"), session.results["test_order"]["findings"][0]["status"]) == ("leak", "known")


@pytest.mark.parametrize(
    ("until", "more", "words"),
    [
        (_YESTERDAY, "", "it was accepted until"),
        (_TOMORROW, 'at_most = "0.5/run"', "accepted is 0.5/run"),
    ],
)
def test_what_is_no_longer_accepted_fails(
    run_project: RunProject, explained: Session, until: date, more: str, words: str
) -> None:
    """After its last day, or above its cap, a leak fails again, and it is said why."""
    accepted = _accepted(_fingerprint(explained), until, more)
    session = run_project({"test_shop.py": _SHOP, "memguard-accepted.toml": accepted}, "--memguard")

    assert session.tally == {"failed": 1}
    assert words in session.stdout


def test_an_entry_that_nothing_needs_is_reported(run_project: RunProject) -> None:
    """After a whole suite, not after a part of it."""
    project = {"test_it.py": "def test_it(): pass", "memguard-accepted.toml": _accepted("0" * 16, _TOMORROW)}

    assert "0000000000000000 was not found; remove the entry" in run_project(project, "--memguard").stdout
    assert "was not found" not in run_project(project, "--memguard", "-k", "it").stdout


def test_a_wrong_file_of_accepted_leaks(run_project: RunProject) -> None:
    """One line names the file, the entry, the key and what would be right, before the first test."""
    project = {"test_it.py": "def test_it(): pass", "memguard-accepted.toml": '[[accepted]]\nfingerprint = "12"\n'}
    session = run_project(project, "--memguard", document=False)

    assert session.returncode == pytest.ExitCode.USAGE_ERROR
    assert "memguard-accepted.toml: entry 1" in session.stderr
