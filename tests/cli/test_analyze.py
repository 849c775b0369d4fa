"""``memguard analyze``: what is printed and written, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_memguard import store
from pytest_memguard.cli import main
from pytest_memguard.core.values import Level, RunResult, SubjectResult, Verdict
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario import analyze
from pytest_memguard.scenario.analyze import Analysis
from pytest_memguard.scenario.footprint import Footprint, Range, Step
from pytest_memguard.scenario.soak import Outcome, SoakResult
from pytest_memguard.scenario.spec import Scenario

Captured = pytest.CaptureFixture[str]

SCENARIO = """
[service]
command = ["python", "app.py"]
ready_url = "http://127.0.0.1:8000/"
"""


def analysis(outcome: Outcome) -> Analysis:
    """Return an analysis whose soak ended so."""
    scenario = Scenario.from_mapping({"name": "shop", "service": {"command": ["python"]}})
    level = {Outcome.LEAK: Level.LEAK, Outcome.CLEAN: Level.CLEAN}.get(outcome, Level.UNMEASURED)
    result = SubjectResult("shop", "scenario", Verdict(level, 99.0, "the words of the verdict"), runs=500)
    run = RunResult("2026-01-02T03:04:05+00:00", 1.0, results=(result,))
    step = Step("idle", {"rss": Range(2**25, 2**25, 2**25)})
    taken = Footprint("shop", scenario.hash, 1, (step,), run.started_at, "1.0")
    return Analysis(taken, None, SoakResult(scenario, outcome, run), None, "no agent answers", 61.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which has a scenario."""
    (tmp_path / "shop.toml").write_text(SCENARIO, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.CLEAN, 0),
        (Outcome.LEAK, 1),
        (Outcome.LIMIT, 1),
        (Outcome.UNDECIDED, 3),
        (Outcome.COULD_NOT_RUN, 4),
        (Outcome.INTERRUPTED, 130),
    ],
)
def test_files_are_written_whatever_came_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, outcome: Outcome, code: int
) -> None:
    """Document, report and footprint are there, and the exit code is that of the soak."""
    monkeypatch.setattr(analyze, "analyze", lambda *_, **__: analysis(outcome))

    assert main(["analyze", "shop.toml"]) == code
    shown = capsys.readouterr().out
    assert "idle   32.0 MiB" in shown
    assert "the words of the verdict" in shown
    assert "no heap snapshots: no agent answers" in shown
    assert sorted(path.name for path in folder.iterdir()) == [
        "memguard-footprint.json", "memguard-report.html", "memguard.json", "shop.toml",
    ]  # fmt: skip
    read = store.read(folder / "memguard.json")
    assert read.results[0].notes == ("no heap snapshots: no agent answers",)
    assert read.settings["footprint"] == {"idle": {"RSS": "32.0 MiB"}}


@pytest.mark.parametrize(("undecided", "code"), [("pass", 0), ("fail", 1)])
@pytest.mark.usefixtures("folder")
def test_undecided_can_be_decided(monkeypatch: pytest.MonkeyPatch, capsys: Captured, undecided: str, code: int) -> None:
    """--undecided says what it means; --json prints the document."""
    monkeypatch.setattr(analyze, "analyze", lambda *_, **__: analysis(Outcome.UNDECIDED))

    assert main(["analyze", "shop.toml", "--json", f"--undecided={undecided}"]) == code
    assert json.loads(capsys.readouterr().out)["schema"] == "memguard-result/1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.toml"], "memguard: nothing.toml: cannot be read"),
        (["shop.toml", "-o", "nowhere"], "memguard: --output = 'nowhere' is not a folder; make it first"),
        (["shop.toml", "-n", "0"], "memguard: --runs = 0 is not a whole number from 1 to 100"),
        (["shop.toml", "-n", "101"], "memguard: --runs = 101 is not a whole number from 1 to 100"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_one_line(capsys: Captured, arguments: list[str], message: str) -> None:
    """What is wrong is said before anything is started."""
    assert main(["analyze", *arguments]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_service_that_does_not_start(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Exit code 4, and no file."""

    def fail(*_: object, **__: object) -> None:
        raise CouldNotRun("service was not ready within 30.0 s")

    monkeypatch.setattr(analyze, "analyze", fail)

    assert main(["analyze", "shop.toml"]) == 4
    assert capsys.readouterr().err == "memguard: service was not ready within 30.0 s\n"
    assert [path.name for path in folder.iterdir()] == ["shop.toml"]
