"""`memguard exec`: the command, with the agent inside and all else its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_memguard.agent.client import connect
from pytest_memguard.cli import main

MEMGUARD = (sys.executable, "-c", "import sys; from pytest_memguard.cli import main; sys.exit(main())")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the folders of agents below one of this test, which is short enough for a socket anywhere."""
    with tempfile.TemporaryDirectory(prefix="mg") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start ``memguard exec`` with these arguments."""
    return subprocess.Popen(
        [*MEMGUARD, "exec", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_command_has_the_agent(home: Path) -> None:
    """It can be reached by the number that is printed, which is its own, and leaves nothing behind."""
    process = started(
        "--", sys.executable, "-c", "import sys; print(sys.argv[1:], flush=True); sys.stdin.read()", "-q", "--"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "['-q', '--']\n"
    with connect(process.pid) as client:
        assert client.pid == process.pid
    _, said = process.communicate("")

    assert re.fullmatch(rf"memguard: the agent of process {process.pid} is in .*; try: memguard monitor \d+\n", said)
    assert process.returncode == 0
    assert list(home.glob("*/*")) == []


@pytest.mark.parametrize("code", [0, 1, 42])
def test_the_exit_code_is_passed_through(home: Path, code: int) -> None:
    """What the command ends with, memguard does."""
    process = started("-q", "--", sys.executable, "-c", f"raise SystemExit({code})")

    assert process.communicate("") == ("", "")
    assert process.returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_through(home: Path, number: signal.Signals) -> None:
    """A signal to memguard is one to the command, which answers it in its own way."""
    program = (
        "import signal, sys; signal.signal(int(sys.argv[1]), lambda *_: sys.exit(9)); "
        "print('ready', flush=True); signal.pause()"
    )
    process = started("-q", "--", sys.executable, "-c", program, str(int(number)))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate("")

    assert process.returncode == 9


def test_the_command_gets_the_usual_signals(home: Path) -> None:
    """A pipe that breaks ends a program, as it does without us; Python itself would have ignored it."""
    process = started("-q", "--", "sh", "-c", "kill -PIPE $$; echo still here")

    assert process.communicate("")[0] == ""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("command", ["/nowhere/at/all", "no-such-command-here", ""])
def test_a_command_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """One line says so, the code is 4, and no folder stays."""
    code = main(["exec", "-q", "--", command])

    assert code == 4
    assert f"{command} cannot be run: " in capsys.readouterr().err
    assert list(home.glob("*/*")) == []


def test_a_command_that_is_no_program(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is where the file cannot be run."""
    (tmp_path / "text").write_text("no program")
    code = main(["exec", "-q", "--", str(tmp_path / "text")])

    assert code == 4
    assert "Permission denied" in capsys.readouterr().err


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command it says what to write."""
    assert main(["exec"]) == 2
    assert "memguard exec -- python app.py" in capsys.readouterr().err


def test_a_platform_without_sockets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so."""
    monkeypatch.delattr(os, "geteuid")

    assert main(["exec", "--", "true"]) == 4
    assert "unix sockets" in capsys.readouterr().err
