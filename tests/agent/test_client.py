"""The end that asks: what it finds, and what it says when nobody answers."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_memguard.agent import client as module
from pytest_memguard.agent import folders
from pytest_memguard.agent.client import Client, connect, find
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from tests.agent.conftest import Service, WaitFor


@contextmanager
def answering(tmp_path: Path, *answers: bytes) -> Iterator[str]:
    """Listen as an agent does, and answer each line with the next of *answers*; then close."""
    path = f"{tmp_path}/one.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as lines:
                for answer in answers:
                    lines.readline()
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_it_is_found_by_the_number_of_the_process(service: Service) -> None:
    """The number is enough: folder and token are found."""
    with connect(service.process.pid) as found:
        assert found.pid == service.process.pid
        assert found.path == service.path


def test_a_process_without_an_agent() -> None:
    """It says how to start one."""
    with pytest.raises(CouldNotRun, match="memguard exec"):
        connect(os.getpid())


def test_a_wrong_token(service: Service) -> None:
    """The agent says nothing, so the client says what it may be."""
    with pytest.raises(CouldNotRun, match="token"):
        Client(service.path, "wrong")


def test_a_command_that_fails(service: Service) -> None:
    """What the agent answers is told, and the connection can be used further."""
    with Client(service.path, service.token) as found:
        with pytest.raises(CouldNotRun, match="trace first"):
            found.call("sites")

        assert found.call("ping")["pid"] == service.process.pid


def test_a_process_that_stands_still(service: Service, wait_for: WaitFor) -> None:
    """The client does not wait for ever."""
    process = psutil.Process(service.process.pid)
    with Client(service.path, service.token, timeout_s=0.1) as found:
        os.kill(service.process.pid, signal.SIGSTOP)
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        try:
            with pytest.raises(CouldNotRun, match="stands still"):
                found.call("stats")
        finally:
            os.kill(service.process.pid, signal.SIGCONT)


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    """A socket that nobody listens at is no agent."""
    path = f"{tmp_path}/one.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)

    with pytest.raises(CouldNotRun, match="no agent answers"):
        Client(path, "token")


@pytest.mark.parametrize("answer", [b"", b"half a li", b"no json\n"])
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    """Nothing, half a line and no JSON are one clear error."""
    with answering(tmp_path, answer) as path, pytest.raises(CouldNotRun, match="does not answer ping"):
        Client(path, "token")


def test_an_answer_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read into memory for ever."""
    monkeypatch.setattr(module, "_MOST_ANSWER", 1000)

    with answering(tmp_path, b"x" * 2000) as path, pytest.raises(CouldNotRun, match="does not end"):
        Client(path, "token")


def test_the_folder_of_another_process_is_not_looked_into(home: Path) -> None:
    """Sockets are found by number in each folder of this user, and nowhere else."""
    folder, token = folders.create()
    Path(folder, "123.sock").touch()

    assert find(123) == f"{folder}/123.sock"
    assert find(124) is None
    assert find(123, str(home)) is None
    assert folders.read_token(folder) == token
