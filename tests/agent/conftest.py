"""A process with the agent inside, for tests that talk to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from pytest_memguard.agent import folders, launch

LONGEST_S = 20.0

WaitFor = Callable[[Callable[[], object]], None]


class Service:
    """A Python program with the agent inside, and its folder."""

    def __init__(self, process: subprocess.Popen[str], folder: str, token: str) -> None:
        self.process, self.folder, self.token = process, folder, token

    @property
    def path(self) -> str:
        """The socket of the program itself."""
        return folders.socket_path(self.folder, self.process.pid)

    def line(self) -> str:
        """Return the next line that the program prints."""
        output: IO[str] | None = self.process.stdout
        assert output is not None
        return output.readline().rstrip("\n")


Started = Callable[..., AbstractContextManager[Service]]


@contextmanager
def _started(program: str, **variables: str) -> Iterator[Service]:
    """Run *program* with the agent inside; it is ended at the end."""
    folder, token = folders.create()
    environ = {**os.environ, **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**environ, **launch.environment(folder, token, environ)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield Service(process, folder, token)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        folders.remove(folder)


def _wait_for(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    deadline_s = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.005)


WAITING = """
import sys, threading  # as next to every service does
class Session:
    def __init__(self): self.rows = {"secret key": Row()}
class Row: pass
SESSIONS = [Session() for _ in range(10)]
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Return a program that holds ten sessions and waits."""
    with _started(WAITING) as one:
        assert one.line() == "ready"
        yield one


@pytest.fixture
def started() -> Started:
    """Return what runs a program with the agent inside, in a ``with``."""
    return _started


@pytest.fixture
def wait_for() -> WaitFor:
    """Return what waits until something holds."""
    return _wait_for


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the folders of agents of this test below one of its own, which is short enough for a socket anywhere."""
    monkeypatch.delenv("TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="mg") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)
