"""Repeats leave the process, pytest and the test itself as a plain run leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

#: Writes down, after each test, all that a repeat might have changed.
_CONFTEST = """
    import gc, json, logging, os, random, signal, sys, threading, warnings
    import pytest

    STATES = {}
    CALLS = {"setup": {}, "teardown": {}, "last of its class": []}
    ITEMS = {}

    def hooks():
        return sys.unraisablehook, threading.excepthook, sys.breakpointhook, sys.stdout, sys.stderr, pytest.set_trace

    def pytest_sessionstart():
        global FROZEN, HOOKS
        FROZEN = gc.get_freeze_count()  # Python 3.12 freezes some objects itself
        HOOKS = hooks()

    def pytest_runtest_setup(item):
        CALLS["setup"][item.name] = CALLS["setup"].get(item.name, 0) + 1

    def pytest_runtest_teardown(item, nextitem):
        CALLS["teardown"][item.name] = CALLS["teardown"].get(item.name, 0) + 1
        if nextitem is None or not nextitem.name or nextitem.parent is not item.parent:
            CALLS["last of its class"].append(item.name)
        ITEMS[item.name] = item

    def pytest_runtest_logfinish(nodeid, location):
        item = ITEMS[nodeid.rpartition("::")[2]]
        STATES[item.name] = {
            "random": random.getstate()[1][-1] + sum(random.getstate()[1]) % 1_000_003,
            "hooks": [one == other for one, other in zip(hooks(), HOOKS)],
            "alarm": [str(signal.getsignal(signal.SIGALRM)), signal.getitimer(signal.ITIMER_REAL)],
            "collector": [gc.get_freeze_count() in {0, FROZEN}, gc.isenabled(), gc.get_threshold()],
            "descriptors": [os.fstat(number).st_ino for number in (1, 2)],
            "filters": len(warnings.filters),
            "environment": sorted(os.environ),
            "threads": threading.active_count(),
            "log": [len(logging.getLogger().handlers), logging.getLogger().level],
            "attributes": sorted(vars(item)),
            "markers": [marker.name for marker in item.own_markers],
            "properties": [one for one in item.user_properties if not str(one[0]).startswith("memguard.")],
            "sections": item._report_sections,
            "kept": getattr(item, "kept", None),
            "folders": sorted(os.listdir(item.config._tmp_path_factory.getbasetemp())),
            "numbers": dict(getattr(item.config._tmp_path_factory, "_next_number", {})),
            "stash": len(item.stash),
        }

    def pytest_sessionfinish(session):
        (session.config.rootpath / "states.json").write_text(json.dumps([STATES, CALLS]))
"""
_TESTS = """
    import gc, itertools, logging, random, sys, threading, warnings
    import pytest

    WIDE, KEPT, ASKED = itertools.count(1), itertools.count(1), []
    random.seed(1)

    @pytest.fixture(autouse=True)
    def noisy():
        print("before")
        yield
        print("after")

    def test_draws_a_number():
        random.random()

    def test_warns():
        warnings.warn("once")

    def test_thread_fails():
        thread = threading.Thread(target=int, args=("no number",))
        thread.start()
        thread.join()

    class Fragile:
        def __del__(self):
            raise ValueError("in a finalizer")

    def test_finalizer_fails():
        Fragile()

    def test_finalizer_of_a_cycle_fails():
        knot = Fragile()
        knot.knot = knot

    @pytest.fixture(scope="module")
    def wide_folder(tmp_path_factory):
        return tmp_path_factory.mktemp("wide")

    def test_wide_folder(wide_folder):
        ASKED.append(wide_folder.is_dir())

    def test_folders(tmp_path, tmp_path_factory):
        assert tmp_path_factory.mktemp("numbered").name in {"numbered0", "numbered1"}

    def test_marks_itself(request):
        request.node.add_marker("none")
        assert len(request.node.own_markers) == 1

    def test_notes(request):
        request.node.user_properties.append(("a", 1))
        request.node.add_report_section("call", "note", "a text")
        assert len(request.node.user_properties) == 1
        request.node.kept = next(KEPT)
        request.node.stash[pytest.StashKey()] = 1

    @pytest.mark.parametrize("number", [1, 2])
    class TestOfAClass:
        def test_method(self, number):
            logging.getLogger("it").warning("a line")

        def test_other_method(self, number, tmp_path):
            pass
"""


@pytest.fixture(scope="module")
def sessions(run_project: RunProject) -> tuple[Session, Session]:
    """Run the same project plainly and measured."""
    project = {"conftest.py": _CONFTEST, "test_it.py": _TESTS}
    few = "--memguard-max-runs=4"  # what repeats leave does not depend on their number

    return run_project(project, "--no-memguard"), run_project(project, "--memguard", few, "--memguard-fail-on=never")


def _states(session: Session) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    states, calls = json.loads((session.folder / "states.json").read_text(encoding="utf-8"))
    return states, calls


def test_all_were_repeated(sessions: tuple[Session, Session]) -> None:
    """The comparisons of this file are about tests that were run again."""
    assert {result["runs"] > 1 for result in sessions[1].document["results"]} == {True}
    assert sessions[0].document["results"] == []


@pytest.mark.parametrize(
    "what",
    [
        "random", "hooks", "alarm", "collector", "descriptors", "filters", "environment", "threads", "log",
        "attributes", "markers", "properties", "sections", "kept", "folders", "numbers", "stash",
    ],
)  # fmt: skip
def test_after_each_test_it_is_as_in_a_plain_run(sessions: tuple[Session, Session], what: str) -> None:
    """What a hook sees after each test does not depend on whether the test was repeated."""
    plain, measured = ({name: state[what] for name, state in _states(session)[0].items()} for session in sessions)
    if what == "descriptors":  # each session has its own files, the same ones all the time
        plain, measured = (
            {name: value == state["test_warns"] for name, value in state.items()} for state in (plain, measured)
        )

    assert measured == plain


def test_every_set_up_has_its_tear_down(sessions: tuple[Session, Session]) -> None:
    """The hooks of set-up are called as often as those of tear-down."""
    _, calls = _states(sessions[1])

    assert calls["setup"] == calls["teardown"]


def test_the_next_test_is_a_test(sessions: tuple[Session, Session]) -> None:
    """A hook that looks at the next test takes no repeat for the last one of its class."""
    plain, measured = (_states(session)[1]["last of its class"] for session in sessions)

    assert measured == plain


def test_warnings_and_errors_of_threads_and_finalizers_are_shown_once(sessions: tuple[Session, Session]) -> None:
    """pytest's summary of warnings has the same entries."""
    texts = ("UserWarning: once", "PytestUnhandledThreadExceptionWarning", "ValueError: in a finalizer")
    counts = [[session.stdout.count(text) for text in texts] for session in sessions]

    assert counts[1][:2] == counts[0][:2]
    assert 1 <= counts[1][2] <= counts[0][2]  # of a cycle, it is shown when the collector happens to run


def test_a_wide_fixture_that_a_repeat_asks_for_first_keeps_its_folder(run_project: RunProject) -> None:
    """Only what belongs to the repeat is taken away after it."""
    source = """
        import itertools
        import pytest

        RUNS = itertools.count(1)

        @pytest.fixture(scope="module")
        def wide_folder(tmp_path_factory):
            return tmp_path_factory.mktemp("wide")

        def test_asks_later(request):
            if next(RUNS) > 2:
                request.getfixturevalue("wide_folder")

        def test_folder_is_there(wide_folder):
            assert wide_folder.is_dir()
    """

    session = run_project({"test_it.py": source}, "--memguard")

    assert session.tally == {"passed": 2}
    assert session.results["test_asks_later"]["runs"] > 2


def test_a_repeat_that_hangs_is_ended(run_project: RunProject) -> None:
    """A test whose second run would wait for ever passes; the document says why it is not measured."""
    source = """
        import itertools
        import threading
        import pytest

        CALLS, TEAR_DOWNS = itertools.count(1), itertools.count(1)

        def test_hangs_later():
            if next(CALLS) > 1:
                threading.Event().wait()

        @pytest.fixture
        def hangs_later():
            yield
            if next(TEAR_DOWNS) > 1:
                threading.Event().wait()

        def test_tear_down_hangs_later(hangs_later):
            pass

        def test_next():
            pass
    """

    session = run_project({"test_it.py": source}, "--memguard", "--memguard-budget=0.5")

    assert session.tally == {"passed": 3}
    assert session.reason("test_hangs_later") == "not repeatable: run 2 did not end within 0.5 s"
    assert session.reason("test_tear_down_hangs_later") == "not repeatable: run 2 did not end within 0.5 s"
    assert session.results["test_next"]["runs"] > 1


def test_a_session_stopped_by_a_test_is_not_measured_on(run_project: RunProject) -> None:
    """A test that stops the session passes, and nothing is repeated any more."""
    source = """
        def test_stops(request):
            request.session.shouldstop = "enough"

        def test_never():
            pass
    """

    session = run_project({"test_it.py": source}, "--memguard")

    assert session.reason("test_stops") == "the session is stopping"
    assert session.tally == {"passed": 1}


def test_a_test_of_an_unknown_kind_is_not_measured(run_project: RunProject) -> None:
    """An item that is no Python test passes, and the document says why it was not repeated."""
    conftest = """
        import pytest

        class Line(pytest.Item):
            def runtest(self):
                assert self.name

        class Lines(pytest.File):
            def collect(self):
                return [Line.from_parent(self, name=line) for line in self.path.read_text().split()]

        def pytest_collect_file(file_path, parent):
            return Lines.from_parent(parent, path=file_path) if file_path.suffix == ".txt" else None
    """

    session = run_project({"conftest.py": conftest, "lines.txt": "one two"}, "--memguard")

    assert session.tally == {"passed": 2}
    assert session.verdict("one") == "unmeasured"
    assert session.reason("one") == "a Line cannot be run again: it is no test function, method or doctest"


def test_a_slow_test_is_not_repeated_beyond_the_budget(run_project: RunProject) -> None:
    """A test that the budget cannot even repeat twice is run once."""
    source = "import time\ndef test_slow(): time.sleep(0.3)"

    session = run_project({"test_it.py": source}, "--memguard", "--memguard-budget=0.5")

    assert session.tally == {"passed": 1}
    assert session.reason("test_slow") == "over the budget of 0.5 s: one run took 0.3 s"
