"""Under pytest-xdist the workers measure and the controller writes: one document, whatever becomes of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_TESTS = """
    import os

    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_clean(number):
        pass

    def test_leak():
        leak()

    def test_crash():
        os._exit(1)

    def test_callable(memguard):
        memguard.check(len, "")
"""
_GROUPS = """
    import pytest

    @pytest.mark.xdist_group("one")
    def test_first():
        pass

    @pytest.mark.xdist_group(name="one")
    def test_second():
        leak()

    def test_alone():
        pass
"""
_HOLDER = """
    globals()["half of a pair \\udc80"] = []

    def test_name():
        globals()["half of a pair \\udc80"].append(bytearray(100))
"""


@pytest.fixture(scope="module")
def session(run_project: RunProject) -> Session:
    """Run a project on two workers, one of which dies."""
    return run_project({"test_it.py": _TESTS}, "--memguard", "-n", "2", plugins=["xdist"])


def test_only_the_test_that_kills_its_worker_is_lost(session: Session) -> None:
    """The results of a worker that dies are there, up to the test that killed it."""
    assert "test_crash" not in session.results
    assert session.tally == {"failed": 2, "passed": 7}
    assert len(session.results) == 9


def test_results_name_their_worker(session: Session) -> None:
    """Each result says which worker it comes from, that of a callable too."""
    workers = {result["worker"] for result in session.document["results"]}

    assert None not in workers
    assert len(workers) >= 2
    assert session.results["test_callable::len"]["kind"] == "callable"


def test_a_leak_on_a_worker_fails_the_controller(session: Session) -> None:
    """The controller's exit code is that of failing tests, and the leak is one of them."""
    assert session.returncode == 1
    assert "LeakError: +2 blocks a run" in session.stdout


@pytest.fixture(scope="module")
def grouped(run_project: RunProject) -> Session:
    """Run a project whose tests are grouped by worker."""
    options = ["--memguard", "-n", "2", "--dist", "loadgroup"]

    return run_project({"test_it.py": _GROUPS}, *options, plugins=["xdist"])


def test_groups_leave_the_names_alone(grouped: Session) -> None:
    """With ``--dist loadgroup`` results have the same ids as without xdist."""
    assert {result["id"] for result in grouped.document["results"]} == {
        "test_it.py::test_alone",
        "test_it.py::test_first",
        "test_it.py::test_second",
    }


def test_seconds_and_control_come_from_the_workers(grouped: Session) -> None:
    """What workers know beyond their results is in the document as well."""
    assert grouped.document["summary"]["repeat_s"] > 0
    assert grouped.document["control"]["blocks"]["per_run"] == 0


def test_odd_text_reaches_the_controller(run_project: RunProject) -> None:
    """A leak whose description has half a surrogate pair in it neither kills the worker nor is it lost."""
    session = run_project({"test_it.py": _HOLDER}, "--memguard", "-n", "1", plugins=["xdist"])

    assert session.tally == {"failed": 1}
    assert session.verdict("test_name") == "leak"


def test_marks_alone_are_enough(run_project: RunProject) -> None:
    """Where nothing but a marker asks for a check, the controller still gets the results."""
    source = "import pytest\n@pytest.mark.no_leak\ndef test_marked(): pass\ndef test_unmarked(): pass"

    session = run_project({"test_it.py": source}, "-n", "1", plugins=["xdist"])

    assert list(session.results) == ["test_marked"]


def test_a_wrong_argument_on_a_worker_is_one_line(run_project: RunProject) -> None:
    """A marker's wrong argument ends the session as it does without workers."""
    source = "import pytest\n@pytest.mark.no_leak(mod='deep')\ndef test_it(): pass\ndef test_other(): pass"

    session = run_project({"test_it.py": source}, "-n", "2", plugins=["xdist"], document=False)

    assert session.returncode == 4
    assert session.stderr == "ERROR: test_it.py::test_it: no_leak does not take mod='deep'; did you mean 'mode'?\n\n"


def test_an_interrupt_on_a_worker_leaves_a_document(run_project: RunProject) -> None:
    """What was measured until a test interrupts its worker is in the document."""
    source = "def test_first(): pass\ndef test_interrupt(): raise KeyboardInterrupt\ndef test_last(): pass"

    session = run_project({"test_it.py": source}, "--memguard", "-n", "1", plugins=["xdist"])

    assert session.returncode == 2
    assert list(session.results) == ["test_first"]


def test_a_switch_typed_over_addopts_reaches_the_workers(run_project: RunProject) -> None:
    """``--no-memguard`` on the command line is stronger than ``--memguard`` in ``addopts`` on workers too."""
    files = {"test_it.py": "def test_it(): pass", "pytest.ini": "[pytest]\naddopts = --memguard\n"}

    session = run_project(files, "--no-memguard", "-n", "1", plugins=["xdist"])

    assert session.tally == {"passed": 1}
    assert session.document["results"] == []
