"""``memguard demo``: one short form of it with a real service, and its words where something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_memguard import store
from pytest_memguard.cli import demo, main
from pytest_memguard.core.values import Level, RunResult, SubjectResult, Verdict
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario.soak import Outcome, SoakResult
from pytest_memguard.scenario.spec import Scenario

for extra in ("aiohttp", "starlette", "uvicorn"):
    pytest.importorskip(extra, reason="the demo needs the extra [harness]")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scenarios need a POSIX system")

Captured = pytest.CaptureFixture[str]


def session(name: str, level: Level) -> RunResult:
    """Return a session with one result."""
    result = SubjectResult(name, "scenario", Verdict(level, 99.0, f"the reason of {name}"), runs=100)
    return RunResult("2026-01-02T03:04:05+00:00", 1.0, results=(result,), settings={"scenario": {"name": name}})


def soaked(outcome: Outcome) -> SoakResult:
    """Return a soak that ended so."""
    level = {Outcome.LEAK: Level.LEAK, Outcome.CLEAN: Level.CLEAN}.get(outcome, Level.UNMEASURED)
    scenario = Scenario.from_mapping({"service": {"command": ["python"]}})
    return SoakResult(scenario, outcome, session("cache, leaky", level))


class _Hurried:
    """A service of the demo, read four times as often over half of the time."""

    def __init__(self, service: demo._Service) -> None:
        self.name = service.name
        self._service = service

    def scenario(self, seconds: float) -> dict[str, Any]:
        """Return its scenario."""
        hurried = {"warm_up": {"duration_s": 0.5}, "diagnose": {"duration_s": 0.5}, "sampling": {"interval_s": 0.05}}
        return {**self._service.scenario(seconds / 2), **hurried}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the current folder; the demo has one clean test, and one service, that leaks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_SERVICES", demo._SERVICES[:1])
    monkeypatch.setattr(demo, "_tested", lambda: session("test_shop.py::test_page", Level.CLEAN))
    monkeypatch.setattr(demo, "_soaked", lambda *_: soaked(Outcome.LEAK))
    return tmp_path


def test_demo_with_one_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Tests and a leaky service, for real: found, told, written, ended with 1, and nothing is left running."""
    monkeypatch.setattr(demo, "_SERVICES", (_Hurried(demo._SERVICES[0]),))
    monkeypatch.chdir(tmp_path)

    assert main(["demo"]) == 1
    shown = capsys.readouterr().out
    assert "   leak     test_cart_follows_the_price\n" in shown
    assert "   leak     unbounded-cache, leaky\n" in shown
    assert "            held by " in shown or "            allocated in " in shown
    assert "\n3 leaks found in " in shown
    assert "These leaks are there on purpose; they are why this command ends with exit code 1.\n" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memguard-report.html", "memguard.json"]
    assert [one.verdict.level.value for one in store.read(tmp_path / "memguard.json").results] == [
        "leak", "leak", "settled", "leak",
    ]  # fmt: skip
    here = {one.pid for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)}
    assert here == {os.getpid()}


def test_document_holds_what_each_scenario_was(quick: Path) -> None:
    """Tests and services are one document, with the settings of each."""
    assert main(["demo"]) == 1

    read = store.read(quick / "memguard.json")
    assert [one.id for one in read.results] == ["test_shop.py::test_page", "cache, leaky"]
    assert read.settings["scenarios"] == {"cache, leaky": {"name": "cache, leaky"}}


def test_without_leaks_it_says_why(quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Where nothing was found the demo does not boast: not decided, and what to try."""
    monkeypatch.setattr(demo, "_soaked", lambda *_: soaked(Outcome.CLEAN))

    assert main(["demo", "-o", str(quick)]) == 3
    assert "No leak was found, though there are some" in capsys.readouterr().out


def test_interrupted_soak_ends_it(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the demo with 130, and no file is there."""
    monkeypatch.setattr(demo, "_soaked", lambda *_: soaked(Outcome.INTERRUPTED))

    assert main(["demo"]) == 130
    assert list(quick.iterdir()) == []


def test_service_that_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, quick: Path
) -> None:
    """A service that dies is told with its name, exit code 4."""
    from pytest_memguard.scenario import soak

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_tested", lambda: session("test_shop.py::test_page", Level.CLEAN))
    monkeypatch.setattr(soak, "soak", lambda *_, **__: soaked(Outcome.COULD_NOT_RUN))

    assert main(["demo"]) == 4
    assert capsys.readouterr().err == "memguard: unbounded-cache, leaky: the reason of cache, leaky\n"


def test_tests_that_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pytest does not get to its tests, its last words are told."""
    monkeypatch.setattr(demo, "_environment", lambda: {**os.environ, "PYTEST_ADDOPTS": "--no-such-option"})
    with pytest.raises(CouldNotRun, match=r"could not be run \(pytest ended with 4\): .*no-such-option"):
        demo._tested()


@pytest.mark.parametrize("seconds", ["5.9", "601", "long"])
def test_duration_is_checked(seconds: str, capsys: Captured) -> None:
    """Too short a load cannot tell, and a demo is no soak."""
    with pytest.raises(SystemExit):
        main(["demo", "--duration", seconds])
    assert f"{seconds!r} is not a number of seconds from 6 to 600" in capsys.readouterr().err


def test_folder_is_checked(tmp_path: Path, capsys: Captured) -> None:
    """The report needs a folder that is there."""
    assert main(["demo", "-o", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder; make it first" in capsys.readouterr().err


def test_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Without the extra one line says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    assert main(["demo"]) == 2
    assert capsys.readouterr().err == 'memguard: memguard demo needs uvicorn: pip install "pytest-memguard[harness]"\n'


def test_scenarios_of_the_demo_are_valid() -> None:
    """Two leak and one is repaired; every scenario is one that a file could hold."""
    found = [Scenario.from_mapping(service.scenario(12.0)) for service in demo._SERVICES]

    assert [one.name for one in found] == [
        "unbounded-cache, leaky", "event-listener, leaky", "unbounded-cache, repaired",
    ]  # fmt: skip


def test_interrupt_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while a service is under load ends it, whatever it had started."""
    program = "import sys; from pytest_memguard.cli import main; sys.exit(main(['demo']))"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("2."):
                break
        mine = psutil.Process(process.pid)
        until = time.monotonic() + 20
        while not any("serve" in one.cmdline() for one in _children(mine)) and time.monotonic() < until:
            time.sleep(0.05)
        children = _children(mine)
        process.send_signal(signal.SIGINT)
        code = process.wait(20)

    assert children
    assert code == 130
    assert [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert list(tmp_path.iterdir()) == []


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []
