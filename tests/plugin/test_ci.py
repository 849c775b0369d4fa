"""What a session tells its CI service, without being asked and when it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

_SHOP = """
    KEPT = []

    def test_keeps():
        KEPT.append(bytearray(100))

    def test_clean():
        pass

    def test_callable(memguard):
        memguard.check(len, "")
"""


def properties_of(session: Session, name: str) -> dict[str, str]:
    """Return memguard's properties of one test in pytest's JUnit report."""
    (case,) = [case for case in session.junit.iter("testcase") if case.get("name") == name]
    return {str(one.get("name")): str(one.get("value")) for one in case.iter("property")}


def github(tmp_path: Path, workspace: Path | None = None) -> dict[str, str]:
    """Return the environment of a step of GitHub Actions."""
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(workspace or tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }


def commands_of(session: Session) -> list[str]:
    """Return the workflow commands that were written."""
    return [line for line in session.stdout.splitlines() if line.startswith("::")]


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_junit_properties(run_project: RunProject, arguments: tuple[str, ...]) -> None:
    """What was measured stands in pytest's own report, from workers too."""
    session = run_project({"test_shop.py": _SHOP}, "--memguard", *arguments, plugins=["xdist"])

    leaks, clean = properties_of(session, "test_keeps"), properties_of(session, "test_clean")
    assert leaks["memguard.verdict"] == "leak"
    assert leaks["memguard.blocks_per_run"] == "2"
    assert leaks["memguard.site"] == "test_shop.py:5"
    assert leaks["memguard.fingerprint"] == session.document["causes"][0]["fingerprint"]
    assert clean["memguard.verdict"] == session.verdict("test_clean")
    assert properties_of(session, "test_callable")["memguard.subject"].endswith("::len")


def test_properties_of_a_test_that_is_tried_again(run_project: RunProject) -> None:
    """Only those of the last try are there, each once."""
    session = run_project(
        {"test_it.py": "def test_it():\n    leak()\n"}, "--memguard", "--reruns=1", plugins=["rerunfailures"]
    )
    cases = list(session.junit.iter("testcase"))

    names = [str(one.get("name")) for one in cases[-1].iter("property")]
    assert "memguard.verdict" in names
    assert len(names) == len(set(names))


def test_annotations_and_a_summary_in_github_actions(run_project: RunProject, tmp_path: Path) -> None:
    """A leak is an error at its line, and the summary of the step says more."""
    session = run_project({"test_shop.py": _SHOP}, "--memguard", "-n", "2", plugins=["xdist"], environ=github(tmp_path))

    (command,) = commands_of(session)
    assert command.startswith("::error file=test_shop.py,line=5,title=Memory leak%3A +2 blocks")
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("<!-- memguard -->\n\n## memguard: 1 of ")
    assert "<code>CPython " in summary


def test_a_project_in_a_folder_of_its_repository(run_project: RunProject, tmp_path: Path) -> None:
    """Annotations point from the top of the repository on."""
    session = run_project({"test_it.py": "def test_it():\n    leak()\n"}, document=False)

    again = run_project(session, "--memguard", environ=github(tmp_path, workspace=session.folder.parent))

    assert commands_of(again)[0].startswith(f"::error file={session.folder.name}/test_it.py,")


@pytest.mark.parametrize(
    ("arguments", "number"),
    [(("--memguard-ci=off",), 0), (("--memguard-ci=github",), 1), ((), 1), (("--no-memguard",), 0)],
)
def test_what_was_asked_for(run_project: RunProject, tmp_path: Path, arguments: tuple[str, ...], number: int) -> None:
    """It can be switched off, and nothing is said where nothing was checked."""
    arguments = arguments if "--no-memguard" in arguments else ("--memguard", *arguments)
    session = run_project({"test_it.py": "def test_it():\n    leak()\n"}, *arguments, environ=github(tmp_path))

    assert len(commands_of(session)) == number
    assert (tmp_path / "summary.md").exists() == bool(number)


@pytest.mark.parametrize(("environ", "number"), [({}, 0), ({"MEMGUARD_CI": "github"}, 1), ({"GITLAB_CI": "true"}, 0)])
def test_elsewhere(run_project: RunProject, environ: dict[str, str], number: int) -> None:
    """Without GitHub Actions nothing is written for it, unless that is asked for."""
    session = run_project({"test_it.py": "def test_it():\n    leak()\n"}, "--memguard", environ=environ)

    assert len(commands_of(session)) == number


def test_what_a_baseline_knows_is_not_annotated(run_project: RunProject, tmp_path: Path) -> None:
    """A known leak stands in the summary only, and fails nothing."""
    before = run_project({"test_it.py": "def test_it():\n    leak()\n"}, "--memguard", "--memguard-save=main")
    after = run_project(before, "--memguard", "--memguard-baseline=main", environ=github(tmp_path))

    assert (before.returncode, after.returncode) == (1, 0)
    assert commands_of(after) == []
    assert "(1 known)" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_a_summary_that_cannot_be_written(run_project: RunProject, tmp_path: Path) -> None:
    """The session ends as it would, and says so."""
    environ = {**github(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path)}
    session = run_project({"test_it.py": "def test_it():\n    pass\n"}, "--memguard", environ=environ)

    assert session.returncode == 0
    assert "memguard: the summary of this step cannot be written: Is a directory" in session.stdout
