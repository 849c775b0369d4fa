"""`memguard attach`: the agent put into a process that runs already; what 3.14 does is played by a double."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_memguard.agent.client import Client, connect
from pytest_memguard.cli import attach as module
from pytest_memguard.cli import main
from pytest_memguard.cli.attach import attach
from pytest_memguard.errors import CouldNotRun

#: Runs each script whose path comes in, as ``sys.remote_exec`` has a process do it.
OBEDIENT = """
import sys
for path in sys.stdin:
    exec(compile(open(path.strip()).read(), path.strip(), "exec"), {})
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the folders of agents of this test below its own folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """Return a running Python without the agent."""
    with subprocess.Popen([sys.executable, "-c", OBEDIENT], stdin=subprocess.PIPE, text=True) as one:
        yield one
        one.kill()


@pytest.fixture
def execute(process: subprocess.Popen[str]) -> Callable[[int, str], None]:
    """Return a double of ``sys.remote_exec``."""

    def send(pid: int, path: str) -> None:
        assert pid == process.pid
        assert process.stdin is not None
        process.stdin.write(path + "\n")
        process.stdin.flush()

    return send


def test_a_process_gets_the_agent(home: Path, process: subprocess.Popen[str], execute: Callable[..., None]) -> None:
    """The script starts the agent in it, and it is found by its number."""
    path = attach(process.pid, execute=execute)
    token = (Path(path).parent / "token").read_text()
    with Client(path, token) as client, connect(process.pid) as found:
        assert client.pid == found.pid == process.pid


def test_it_is_attached_once(
    home: Path, process: subprocess.Popen[str], execute: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Where an agent answers already, its place is said and nothing is done."""
    monkeypatch.setattr(sys, "remote_exec", execute, raising=False)
    codes = [main(["attach", str(process.pid)])]
    monkeypatch.delattr(sys, "remote_exec")
    codes.append(main(["attach", str(process.pid)]))
    first, second = capsys.readouterr().out.splitlines()

    assert codes == [0, 0]
    assert first == second
    assert f"process {process.pid} answers at" in first


def test_an_older_interpreter(
    home: Path, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before 3.14 one clear word says what to do instead."""
    monkeypatch.delattr(sys, "remote_exec", raising=False)

    assert main(["attach", str(process.pid)]) == 4
    assert "needs Python 3.14 or later" in capsys.readouterr().err


def test_a_process_that_sits_in_a_system_call(home: Path, process: subprocess.Popen[str]) -> None:
    """It is given up after a while, with an explanation, and nothing stays behind."""
    with pytest.raises(CouldNotRun, match="waits in a system call"):
        attach(process.pid, wait_s=0.05, execute=lambda *_: None)

    assert list(home.glob("*/*")) == []


def test_a_process_that_ends_meanwhile(home: Path, process: subprocess.Popen[str]) -> None:
    """It says so."""

    def execute(pid: int, path: str) -> None:
        process.kill()
        process.wait()

    with pytest.raises(CouldNotRun, match="has ended"):
        attach(process.pid, execute=execute)


def test_an_agent_that_does_not_start(home: Path, process: subprocess.Popen[str], execute: Callable[..., None]) -> None:
    """What went wrong in there is told here, and the process goes on."""

    def spoil(pid: int, path: str) -> None:
        (Path(path).parent / "token").unlink()
        execute(pid, path)

    with pytest.raises(CouldNotRun, match="has no token"):
        attach(process.pid, execute=spoil)

    assert process.poll() is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(1, "Operation not permitted"), "CAP_SYS_PTRACE"),
        (ProcessLookupError(3, "No such process"), "no process"),
        (RuntimeError("Failed to find the PyRuntime section"), "PyRuntime"),
    ],
)
def test_what_can_be_refused(home: Path, process: subprocess.Popen[str], error: Exception, words: str) -> None:
    """Each refusal is one clear line."""

    def refuse(pid: int, path: str) -> None:
        raise error

    with pytest.raises(CouldNotRun, match=words):
        attach(process.pid, execute=refuse)

    assert list(home.glob("*/*")) == []


def test_a_process_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, with code 4."""
    assert main(["attach", str(2**22 + 1)]) == 4
    assert "there is no process" in capsys.readouterr().err


def test_a_process_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even tried: the other could not reach the agent's folder."""
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)

    with pytest.raises(CouldNotRun, match="another user"):
        module._require_own(os.getpid())


@pytest.mark.parametrize("wait", ["0", "-1", "nan"])
def test_an_impossible_wait(capsys: pytest.CaptureFixture[str], wait: str) -> None:
    """A wait of nothing is refused."""
    assert main(["attach", "1", f"--wait={wait}"]) == 2
    assert "--wait" in capsys.readouterr().err
