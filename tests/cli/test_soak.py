"""``memguard soak``: a scenario in, a verdict, a document and an exit code out."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_memguard import cli, store
from pytest_memguard.scenario.spec import Scenario

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need unix sockets and signals")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "scenario" / "answering.py"
Captured = pytest.CaptureFixture[str]

SCENARIO = f"""
[service]
command = ["${{MEMGUARD_PYTHON}}", "{SCRIPT}", "MODE", "${{MEMGUARD_PORT}}"]
ready_url = "http://127.0.0.1:${{MEMGUARD_PORT}}/"
[idle]
duration_s = 0.1
[warm_up]
duration_s = 0.2
[load]
rate = 250
duration_s = SECONDS
[sampling]
interval_s = 0.04
[diagnose]
duration_s = 0.4
[cool_down]
duration_s = 0.1
[thresholds]
limits = ["growth<64B/request", "p(50)<5s"]
"""


def written(folder: Path, mode: str, seconds: float = 2.4) -> str:
    """Write a scenario, and return its path."""
    path = folder / "shop.toml"
    path.write_text(SCENARIO.replace("MODE", mode).replace("SECONDS", str(seconds)))
    return str(path)


def test_leaky(tmp_path: Path, capsys: Captured) -> None:
    """A leak ends with 1; told are growth, place, load and limits; the document and the page are written."""
    document, page = tmp_path / "run.json.gz", tmp_path / "report.html"
    code = cli.main(["soak", written(tmp_path, "leaky"), "--json", str(document), "--html", str(page)])
    out, err = capsys.readouterr()
    lines = out.splitlines()

    assert code == 1
    assert lines[0].startswith("shop: leak, 9")
    assert any("allocated at " in line and "answering.py" in line for line in lines)
    assert lines[lines.index("  held by module __main__") + 1].startswith("      .KEPT: list, +1 a request ")
    assert any(line.startswith("  load: ") for line in lines)
    assert any(line.startswith("  NOT KEPT  growth<64B/request: 1.") for line in lines)
    assert any(line.startswith("  kept      p(50)<5s: ") for line in lines)
    assert "s  load, 250 requests a second for 2.4 s" in err
    assert store.read(document).results[0].verdict.level.value == "leak"
    assert page.read_text().startswith("<!doctype html>")


def test_undecided(tmp_path: Path, capsys: Captured) -> None:
    """A load that is too short ends as --undecided says; the document can be printed instead of words."""
    code = cli.main(["soak", written(tmp_path, "repaired", 0.4), "-q", "--undecided", "pass", "--json", "-"])
    out, err = capsys.readouterr()

    assert (code, err) == (0, "")
    assert json.loads(out)["results"][0]["verdict"] == "unmeasured"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go into an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init(folder: Path, capsys: Captured) -> None:
    """--init writes a scenario that is valid, and never over one that is there."""
    assert cli.main(["soak", "--init"]) == 0
    assert Scenario.load("scenario.toml").name == "shop"
    assert cli.main(["soak", "--init"]) == 2
    assert "scenario.toml is there already" in capsys.readouterr().err
    assert cli.main(["soak", "--init", "other.toml"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give a scenario, as in `memguard soak scenario.toml`"),
        (["none.toml"], 2, "none.toml: cannot be read"),
        (["bad.toml"], 2, "bad.toml:1: servce is not a section of a scenario"),
        (["gone.toml"], 4, "service: no-such-program cannot be started"),
        (["gone.toml", "--json", "no/run.json"], 2, "--json = 'no/run.json' cannot be written"),
        (["gone.toml", "--html", "."], 2, "--html = '.' cannot be written"),
    ],
)
def test_wrong(folder: Path, capsys: Captured, arguments: list[str], code: int, message: str) -> None:
    """What cannot be done is told on one line, with the exit code for it."""
    (folder / "bad.toml").write_text("[servce]\n")
    (folder / "gone.toml").write_text("[service]\ncommand = 'no-such-program'\n")

    assert cli.main(["soak", "-q", *arguments]) == code
    assert f"memguard: {message}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    """Load the benchmark that kills."""
    spec = importlib.util.spec_from_file_location("soak_kills", ROOT / "benchmarks" / "soak_kills.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("part", "after_s"), [("service", 1.0), ("ourselves", 1.2), ("driver", 0.9)])
def test_kills(kills: ModuleType, tmp_path: Path, part: str, after_s: float) -> None:
    """Whatever is killed: nothing is left, nothing hangs, and there is a document or a word."""
    assert kills.kill_once(part, tmp_path, after_s) == ""
