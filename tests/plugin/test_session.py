"""A session from its options to its document: settings, exit codes, what is written when, and what is not touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema  # type: ignore[import-untyped] # it has no types of its own
import pytest

from pytest_memguard import store

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_TWO = """
    import pytest

    def test_clean():
        pass

    @pytest.mark.no_leak
    def test_leak():
        leak()
"""


@pytest.mark.parametrize(
    ("options", "checked"),
    [
        ([], ["test_leak"]),
        (["--memguard"], ["test_clean", "test_leak"]),
        (["--no-memguard"], []),
        (["-o", "memguard_check=all"], ["test_clean", "test_leak"]),
        (["-o", "memguard_check=off", "--memguard"], ["test_clean", "test_leak"]),
    ],
)
def test_which_tests_are_checked(run_project: RunProject, options: list[str], checked: list[str]) -> None:
    """Marked tests by default, all or none if somebody says so."""
    session = run_project({"test_it.py": _TWO}, *options)

    assert list(session.results) == checked


def test_a_setting_of_pyproject_is_heard(run_project: RunProject) -> None:
    """``[tool.memguard]`` sets what the command line does not."""
    pyproject = "[tool.memguard]\ncheck = 'all'\nfail_on = 'never'\n"

    session = run_project({"test_it.py": _TWO, "pyproject.toml": pyproject})

    assert list(session.results) == ["test_clean", "test_leak"]
    assert session.returncode == 0


def test_a_setting_of_the_environment_is_heard(run_project: RunProject) -> None:
    """``MEMGUARD_*`` sets what the command line does not."""
    session = run_project({"test_it.py": _TWO}, environ={"MEMGUARD_FAIL_ON": "never"})

    assert session.document["settings"]["fail_on"] == "never"
    assert session.returncode == 0


@pytest.mark.parametrize(("fail_on", "outcomes"), [("leak", [0, 1]), ("growing", [1, 1]), ("never", [0, 0])])
def test_what_fails_a_test(run_project: RunProject, fail_on: str, outcomes: list[int]) -> None:
    """``--memguard-fail-on`` says from which verdict on a test fails; a leak that nobody is sure of is growing."""
    unsure, sure = "--memguard-confidence=100", "--memguard-confidence=90"

    sessions = [run_project({"test_it.py": _TWO}, f"--memguard-fail-on={fail_on}", one) for one in (unsure, sure)]

    assert [session.verdict("test_leak") for session in sessions] == ["growing", "leak"]
    assert [session.returncode for session in sessions] == outcomes


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--memguard-json=no/such/folder.json",
            "--memguard-json = 'no/such/folder.json' cannot be written: there is no",
        ),
        ("--memguard-mode=dep", "--memguard-mode = 'dep' is none of"),
        ("--memguard-max-runs=1", "--memguard-max-runs = 1 is not a whole number of 2 or more"),
    ],
)
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["here", "workers"])
def test_a_wrong_option_is_refused_before_the_first_test(
    run_project: RunProject, option: str, message: str, workers: list[str]
) -> None:
    """A setting that cannot be is one line, and no test runs."""
    plugins = ["xdist"] if workers else []

    session = run_project({"test_it.py": _TWO}, option, *workers, plugins=plugins, document=False)

    assert (session.returncode, session.tally) == (4, {})
    assert session.stderr.startswith(f"ERROR: command line: {message}")
    assert len(session.stderr.strip().splitlines()) == 1


def test_the_document_is_valid(run_project: RunProject, pytestconfig: pytest.Config) -> None:
    """What is written fits the schema, and is read again."""
    schema = json.loads((pytestconfig.rootpath / "docs/reference/result.schema.json").read_text(encoding="utf-8"))

    session = run_project({"test_it.py": _TWO}, "--memguard")

    jsonschema.validate(session.document, schema)
    assert len(store.read(session.folder / "memguard.json").results) == 2


def test_the_document_tells_settings_and_seconds(run_project: RunProject) -> None:
    """The document holds the settings of the session, and how long tests and repeats took."""
    document = run_project({"test_it.py": _TWO}, "--memguard", "--memguard-max-runs=33").document

    assert document["settings"]["max_runs"] == 33
    assert document["duration_s"] >= document["summary"]["repeat_s"] > 0
    assert document["summary"]["leak"] == 1
    assert document["control"]["blocks"]["per_run"] == 0


def test_the_document_survives_an_interrupt(run_project: RunProject) -> None:
    """After Ctrl-C the document holds what was measured until then."""
    source = """
        def test_first(): pass
        def test_interrupt(): raise KeyboardInterrupt
        def test_last(): pass
    """

    session = run_project({"test_it.py": source}, "--memguard")

    assert session.returncode == 2
    assert list(session.results) == ["test_first"]


def test_the_document_survives_an_interrupt_of_a_repeat(run_project: RunProject) -> None:
    """So it does when Ctrl-C comes while a test is repeated, and its fixtures are torn down."""
    source = """
        import itertools
        import pytest
        RUNS = itertools.count(1)
        @pytest.fixture(scope="module")
        def house():
            yield
            print("the house is torn down")
        def test_first(house): pass
        def test_interrupt(house):
            if next(RUNS) == 2:
                raise KeyboardInterrupt
        def test_last(): pass
    """

    session = run_project({"test_it.py": source}, "--memguard", "-s")

    assert session.returncode == 2
    assert list(session.results) == ["test_first"]
    assert session.stdout.count("the house is torn down") == 1


def test_a_document_that_cannot_be_written_any_more_is_named(run_project: RunProject) -> None:
    """Where its place went while tests ran, that is told, the rest is written, and the session has not passed."""
    source = """
        import shutil
        def test_removes_its_folder(request):
            shutil.rmtree(request.config.rootpath / "reports", ignore_errors=True)
    """

    session = run_project(
        {"test_it.py": source, "conftest.py": "import os; os.mkdir('reports')"},
        "--memguard", "--memguard-json=reports/memguard.json", "--memguard-html=page.html", "--memguard-save=main",
        document=False,
    )  # fmt: skip

    assert "memguard.json cannot be written: " in session.stdout
    assert "1 passed" in session.stdout
    assert session.returncode == 4
    assert (session.folder / "page.html").exists()
    assert "baseline main of 1 test" in session.stdout


def test_a_strict_suite_has_nothing_to_complain_of(run_project: RunProject) -> None:
    """A suite with strict settings and warnings as errors passes, every marker known."""
    ini = """
        [pytest]
        addopts = --strict-config --strict-markers
        filterwarnings = error
    """
    source = """
        import pytest
        from pytest_memguard import limit_memory, memguard_skip, no_cycles, no_leak

        @no_leak(mode="quick")
        @limit_memory("100 MB")
        @no_cycles(max=100)
        def test_it(memguard, tmp_path):
            memguard.check(len, "")

        @memguard_skip
        def test_other(): pass
    """

    session = run_project({"test_it.py": source, "pytest.ini": ini}, "--memguard")

    assert session.tally == {"passed": 2}
    assert session.stderr == ""


def test_the_markers_are_announced(run_project: RunProject) -> None:
    """``--markers`` lists the four markers."""
    session = run_project({}, "--markers", document=False)

    found = [line.split("(")[0] for line in session.stdout.splitlines() if line.startswith("@pytest.mark.")]

    assert {f"@pytest.mark.{name}" for name in ("no_leak", "memguard_skip", "limit_memory", "no_cycles")} <= set(found)


def test_a_session_that_checks_nothing_says_nothing(run_project: RunProject) -> None:
    """Without marks and options the plugin adds no line."""
    session = run_project({"test_it.py": "def test_it(): pass"}, document=False)

    assert "memguard" not in session.stdout


def test_collecting_checks_nothing(run_project: RunProject) -> None:
    """``--collect-only`` runs no test, and writes a document without results."""
    session = run_project({"test_it.py": _TWO}, "--memguard", "--collect-only")

    assert session.document["results"] == []
    assert session.returncode == 0


def test_no_terminal_is_needed(run_project: RunProject) -> None:
    """Without pytest's terminal the tests are measured, and the document is written."""
    session = run_project({"test_it.py": _TWO}, "--memguard", "-p", "no:terminalreporter")

    assert session.verdict("test_leak") == "leak"
    assert session.returncode == 1


@pytest.fixture(scope="module")
def broken(run_project: RunProject) -> Session:
    """Run a session in which a probe of somebody else breaks while a test is measured."""
    conftest = """
        from pytest_memguard import registry
        from pytest_memguard.core.units import Unit
        from pytest_memguard.core.values import Metric

        class Broken:
            metrics = (Metric("broken", Unit.COUNT, exact=True),)
            readings = 0
            def read(self, row, at):
                self.readings += 1
                if self.readings == 3:
                    raise OSError("the meter is gone")
                row[at] = 0

        probes = registry.probes
        registry.probes = lambda: (*probes(), Broken())
    """
    return run_project({"conftest.py": conftest, "test_it.py": _TWO}, "--memguard")


def test_a_mistake_of_ours_breaks_no_session(broken: Session) -> None:
    """What goes wrong in the measurement is the reason of a result, and the session goes on."""
    assert broken.tally == {"passed": 1, "failed": 1}
    assert broken.reason("test_clean") == "memguard itself failed with OSError: the meter is gone"
