"""``memguard baseline``: what is printed, what is written, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard.cli import main
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario import stages
from pytest_memguard.scenario.footprint import Footprint, Range, Step
from pytest_memguard.scenario.spec import Scenario

Captured = pytest.CaptureFixture[str]
Measure = Callable[[float], None]

SCENARIO = """
[service]
command = ["python", "app.py"]
ready_url = "http://127.0.0.1:8000/"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which has a scenario."""
    (tmp_path / "shop.toml").write_text(SCENARIO, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Return what sets the memory, in MiB, that the service is measured to take."""

    def set_to(mib: float) -> None:
        def measure(scenario: Scenario, *, runs: int, environment: Mapping[str, Any], tell: object) -> Footprint:
            idle = Step("idle", {"rss": Range.of([mib * 2**20] * runs), "kept": Range.of([2048.0])})
            return Footprint(scenario.name, scenario.hash, runs, (idle,), "2026-01-02T03:04:05Z", "1.0", environment)

        monkeypatch.setattr(stages, "measure", measure)

    return set_to


def saved(folder: Path) -> Path:
    """Return the one footprint that was saved."""
    (file,) = (folder / ".memguard" / "footprints" / "shop").iterdir()
    return file


def test_first_footprint_is_printed_and_kept_on_demand(folder: Path, takes: Measure, capsys: Captured) -> None:
    """Without an earlier one there is nothing to compare with, and without --save nothing is written."""
    takes(40)

    assert main(["baseline", "shop.toml"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[2:] == [
        "after       RSS      kept",
        "idle   40.0 MiB  +2.0 KiB",
        "",
        "nothing to compare with; keep this with --save",
    ]
    assert not (folder / ".memguard").exists()
    assert main(["baseline", "shop.toml", "--save"]) == 0
    assert json.loads(saved(folder).read_text(encoding="ascii"))["steps"][0]["after"]["rss"] == [40 * 2**20] * 3


@pytest.mark.parametrize(
    ("now", "code", "line"),
    [
        (44.1, 1, "worse  idle  RSS  40.0 MiB  ->  44.1 MiB  +4.1 MiB (+10%)"),
        (30, 0, "better  idle  RSS  40.0 MiB  ->  30.0 MiB  -10.0 MiB (-25%)"),
        (43.9, 0, "as before: none of 2 amounts has changed"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_comparison_decides_the_exit_code(takes: Measure, capsys: Captured, now: float, code: int, line: str) -> None:
    """With a saved footprint the exit code tells whether more is taken."""
    takes(40)
    main(["baseline", "shop.toml", "--save"])
    takes(now)

    assert main(["baseline", "shop.toml"]) == code
    assert line in capsys.readouterr().out.splitlines()


def test_saved_footprint_is_replaced_with_a_reason_only(folder: Path, takes: Measure, capsys: Captured) -> None:
    """Nobody raises a baseline in passing; with a reason, which is kept, more may be taken."""
    takes(40)
    main(["baseline", "shop.toml", "--save"])
    takes(80)
    capsys.readouterr()

    assert main(["baseline", "shop.toml", "--save"]) == 2
    assert "is there already; say with --reason why it may be replaced" in capsys.readouterr().err
    assert main(["baseline", "shop.toml", "--save", "--reason", "the price list is in memory now"]) == 0
    content = json.loads(saved(folder).read_text(encoding="ascii"))
    assert content["reason"] == "the price list is in memory now"
    assert content["steps"][0]["after"]["rss"] == [80 * 2**20] * 3


def test_output_is_not_replaced_without_a_reason(folder: Path, takes: Measure, capsys: Captured) -> None:
    """-o writes a file, and asks for a reason where one is there."""
    takes(40)

    assert main(["baseline", "shop.toml", "-o", "now.json"]) == 0
    assert main(["baseline", "shop.toml", "-o", "now.json"]) == 2
    assert main(["baseline", "shop.toml", "-o", "now.json", "--reason", "again"]) == 0
    assert main(["baseline", "shop.toml", "-o", "no/such/folder.json"]) == 2
    assert "there is no folder for it; make it first" in capsys.readouterr().err
    assert main(["baseline", "shop.toml", "-o", "."]) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["now.json", "shop.toml"]


def test_compare_with_a_file(folder: Path, takes: Measure, capsys: Captured) -> None:
    """-c names the earlier footprint; JSON has both of what was found."""
    takes(40)
    main(["baseline", "shop.toml", "-o", "before.json"])
    takes(60)
    capsys.readouterr()

    assert main(["baseline", "shop.toml", "-c", "before.json", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["footprint"]["schema"] == "memguard-footprint/1"
    assert content["comparison"]["changes"][0] == {
        "kind": "worse", "step": "idle", "metric": "rss", "unit": "byte", "before": 40 * 2**20, "after": 60 * 2**20,
    }  # fmt: skip


def test_other_scenario_is_not_compared_in_silence(folder: Path, takes: Measure, capsys: Captured) -> None:
    """A scenario that has changed is not decided, unless that may pass."""
    takes(40)
    main(["baseline", "shop.toml", "-o", "before.json"])
    (folder / "shop.toml").write_text(SCENARIO + "\n[[step]]\nidle_s = 1\n", encoding="utf-8")
    capsys.readouterr()

    assert main(["baseline", "shop.toml", "-c", "before.json"]) == 3
    assert "\nnot compared: the scenario has changed since (its hash was " in capsys.readouterr().out
    assert main(["baseline", "shop.toml", "-c", "before.json", "--undecided=pass"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.toml"], "memguard: nothing.toml: cannot be read"),
        (["shop.toml", "-c", "nothing.json"], "memguard: nothing.json cannot be read: No such file"),
        (["shop.toml", "-c", "shop.toml"], "memguard: shop.toml cannot be read: this is not JSON"),
        (["wrong.toml"], "memguard: wrong.toml:5: step[0].times = 0 is not a whole number"),
    ],
)
def test_bad_input_is_one_line(folder: Path, capsys: Captured, arguments: list[str], message: str) -> None:
    """What is wrong is said in a line before anything is started."""
    wrong = '[service]\ncommand = ["python"]\n[[step]]\nroute = "/"\ntimes = 0\n'
    (folder / "wrong.toml").write_text(wrong, encoding="utf-8")

    assert main(["baseline", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


@pytest.mark.parametrize("runs", ["0", "101", "some"])
@pytest.mark.usefixtures("folder")
def test_number_of_runs_is_checked(runs: str, capsys: Captured) -> None:
    """It is measured once at least, and a hundred times at most."""
    with pytest.raises(SystemExit) as ended:
        main(["baseline", "shop.toml", "--runs", runs])
    assert ended.value.code == 2
    assert f"{runs!r} is not a whole number from 1 to 100" in capsys.readouterr().err


def test_service_that_does_not_start(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Exit code 4: nothing was measured, and nothing is written."""

    def fail(*_: object, **__: object) -> None:
        raise CouldNotRun("service was not ready within 30.0 s")

    monkeypatch.setattr(stages, "measure", fail)

    assert main(["baseline", "shop.toml", "--save"]) == 4
    assert capsys.readouterr().err == "memguard: service was not ready within 30.0 s\n"
    assert not (folder / ".memguard").exists()
