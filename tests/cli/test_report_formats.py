"""``memguard report --format NAME``: what CI services read, made from a stored document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_memguard import store
from pytest_memguard.cli import main
from pytest_memguard.core.values import (
    BLOCKS,
    Estimate,
    Finding,
    Level,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)

_GROWTH = Finding(BLOCKS, Trend(Shape.EXACT, Estimate(2.0, 2.0, 2.0), 33), total=130.0, fingerprint="c0ffee")
_LEAK = SubjectResult(
    "tests/test_it.py::test", "test", Verdict(Level.LEAK, 99.0, "it grew"), runs=66, file="tests/test_it.py", line=3,
    findings=(_GROWTH,),
)  # fmt: skip
_CI = ("GITHUB_ACTIONS", "GITLAB_CI")


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a document with one leak; the current folder is the one that it lies in."""
    for name in _CI:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    store.write(RunResult("2026-01-01T00:00:00+00:00", 5.0, results=(_LEAK,)), tmp_path / "run.json")
    return "run.json"


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("github", "::error file=tests/test_it.py,line=3,"),
        ("gitlab", "[\n {"),
        ("junit", "<?xml "),
        ("markdown", "<!-- memguard -->\n"),
        ("sarif", '{\n "$schema"'),
    ],
)
def test_every_format(document: str, name: str, beginning: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The text is printed, or written to a file; the exit code tells that there is a leak."""
    assert main(["report", document, "--format", name]) == 1
    printed = capsys.readouterr().out
    assert main(["report", document, "--format", name, "-o", "out.txt"]) == 1

    assert printed.startswith(beginning)
    assert Path("out.txt").read_text(encoding="utf-8").rstrip() == printed.rstrip()


def test_paths_from_the_top_of_the_repository(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a job of GitLab a project in a folder of its repository names files as GitLab does."""
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path.parent))

    main(["report", document, "--format", "gitlab"])

    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["location"]["path"] == f"{tmp_path.name}/tests/test_it.py"
