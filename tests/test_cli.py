"""The command line: documents in, text and exit code out."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_memguard import __version__, cli, store
from pytest_memguard.core import document
from pytest_memguard.core.ladder import Plan
from pytest_memguard.core.values import (
    BLOCKS,
    Estimate,
    Finding,
    Holder,
    Level,
    Phase,
    Readings,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.renderers import terminal

CLEAN = SubjectResult("test_shop.py::test_buy", "test", Verdict(Level.CLEAN, 0.0, "nothing grew"), runs=3)
SETTLED = replace(CLEAN, id="test_shop.py::test_sell", verdict=Verdict(Level.SETTLED, 0.0, "it grew, then stopped"))
LEAK = SubjectResult(
    "test_shop.py::test_search",
    "test",
    Verdict(Level.LEAK, 99.4, "+7 blocks a run"),
    runs=66,
    readings=Readings((BLOCKS,), (0, 1, 2), (Phase.SCREEN,) * 3, array("q", [1_000, 1_007, 1_014])),
    findings=(Finding(BLOCKS, Trend(Shape.EXACT, Estimate(7, 7, 7), 33), 455),),
    holder=Holder("unbounded", "shop.catalog._CACHE", None, 1.0),
    plan=Plan(),
)


def session(*results: SubjectResult) -> RunResult:
    """Return a session."""
    return RunResult("2026-01-02T03:04:05Z", 1.5, environment={"python": "3.13"}, results=results)


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, Path]:
    """Return documents on disk: of a clean session, and of a leaking one."""
    paths = {"clean": tmp_path / "clean.json", "leaking": tmp_path / "leaking.json.gz"}
    store.write(session(CLEAN, SETTLED), paths["clean"])
    store.write(session(LEAK), paths["leaking"])
    return paths


Captured = pytest.CaptureFixture[str]


# -- memguard --------------------------------------------------------------------------------------------------------


def test_version(capsys: Captured) -> None:
    """The version is that of the package."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert (ended.value.code, capsys.readouterr().out) == (0, f"memguard {__version__}\n")


def test_help(capsys: Captured) -> None:
    """The help names every command with the first line of its docstring."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    shown = capsys.readouterr().out

    assert ended.value.code == 0
    assert "report" in shown
    assert "Show what result documents say." in shown


@pytest.mark.parametrize("arguments", [[], ["repot"], ["report"], ["report", "--jsn", "run.json"]])
def test_wrong_usage(arguments: list[str], capsys: Captured) -> None:
    """What is not understood ends with exit code 2 and says why."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: memguard" in capsys.readouterr().err


def test_the_command_that_is_installed() -> None:
    """The package installs the command memguard."""
    command = Path(sys.executable).with_name("memguard")
    if not command.exists():
        pytest.skip("the package is not installed here")
    run = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout, run.stderr) == (0, f"memguard {__version__}\n", "")


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch, stored: dict[str, Path]) -> None:
    """Ctrl-C ends with exit code 130, without a traceback."""

    def interrupt(_path: Path) -> RunResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "read", interrupt)

    assert cli.main(["report", str(stored["clean"])]) == 130


# -- memguard report -------------------------------------------------------------------------------------------------


def test_report_of_a_clean_session(stored: dict[str, Path], capsys: Captured) -> None:
    """A session without a leak is summed up in one line, with exit code 0."""
    code = cli.main(["report", str(stored["clean"])])

    assert (code, capsys.readouterr()) == (0, ("memguard: 2 tests checked: 1 settled, 1 clean\n", ""))


def test_report_in_full(stored: dict[str, Path], capsys: Captured) -> None:
    """With -v the report also says what settled."""
    cli.main(["report", "-v", str(stored["clean"])])

    assert capsys.readouterr().out == (
        "memguard: 2 tests checked: 1 settled, 1 clean\n"
        "settled:\n"
        "  test_shop.py::test_sell: it grew, then stopped\n"
    )  # fmt: skip


def test_report_of_a_leak(stored: dict[str, Path], capsys: Captured) -> None:
    """A session with a leak is summed up, then each leak is told in full, with exit code 1."""
    code = cli.main(["report", str(stored["leaking"])])

    assert code == 1
    assert capsys.readouterr().out == f"{terminal.summary(session(LEAK))}\n\n{terminal.failure(LEAK)}\n"


def test_report_of_several(stored: dict[str, Path], capsys: Captured) -> None:
    """Several documents are reported as one session."""
    code = cli.main(["report", *map(str, stored.values())])

    assert code == 1
    assert capsys.readouterr().out.startswith("memguard: 3 tests checked: 1 leak, 1 settled, 1 clean\n")


@pytest.mark.parametrize(("name", "code"), [("clean", 0), ("leaking", 1)])
def test_report_as_json(stored: dict[str, Path], capsys: Captured, name: str, code: int) -> None:
    """With --json the document itself is printed, and the exit code is the same."""
    actual = cli.main(["report", "--json", str(stored[name])])
    printed = capsys.readouterr().out

    assert actual == code
    assert document.loads(printed) == store.read(stored[name])


def test_report_merges_as_json(stored: dict[str, Path], capsys: Captured) -> None:
    """Several documents are printed as one, with the results of all."""
    cli.main(["report", "--json", *map(str, stored.values())])

    assert [one["id"] for one in json.loads(capsys.readouterr().out)["results"]] == [CLEAN.id, SETTLED.id, LEAK.id]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "this is not JSON"),
        (b'{"schema": "memguard-result/1"}', "missing"),
        (b"\x1f\x8bnot gzip", "this is damaged or was cut short"),
        (b"\xff\xfe", "this is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: Captured, content: bytes | None, says: str) -> None:
    """A file that is missing, damaged or something else ends with exit code 2 and one line that names it."""
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    code = cli.main(["report", str(path)])
    out, err = capsys.readouterr()

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("memguard: ")
    assert "run.json cannot be read" in err
    assert says in err


def test_one_file_that_cannot_be_read_among_others(stored: dict[str, Path], tmp_path: Path, capsys: Captured) -> None:
    """A report is whole or not at all."""
    code = cli.main(["report", str(stored["clean"]), str(tmp_path / "nowhere.json")])

    assert (code, capsys.readouterr().out) == (2, "")
