"""The command `memguard serve`."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memguard.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.demo.conftest import Demo

    Serve = Callable[..., AbstractContextManager[Demo]]


def test_switches_are_set_from_the_start(serve: Serve, tmp_path: Path) -> None:
    """--leak and --fixed take names with commas, and may be given twice."""
    arguments = ("--leak", "thread,timer", "--leak", "closure", "--fixed", "sessions")
    with serve(tmp_path, *arguments, MAX_HEAP_SIZE="300") as demo:
        modes = {
            switch["name"]: switch["mode"] for switch in demo.get("/api/leaks")["leaks"] if switch["mode"] != "off"
        }
        health = demo.get("/api/memory/health")

    assert modes == {"thread": "leaky", "timer": "leaky", "closure": "leaky", "sessions": "fixed"}
    assert health["currentUsage"]["heapTotal"] == 300 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_ends_when_told_to(serve: Serve, tmp_path: Path) -> None:
    """SIGTERM ends the service, also while somebody listens to the feed and leaks are held."""
    with serve(tmp_path, "--leak", "thread,database,open-file,pending-task") as demo:
        demo.get("/api/items/1")
        with socket.create_connection(("127.0.0.1", demo.port), timeout=10) as stream:
            stream.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
            stream.recv(1)
            demo.process.send_signal(signal.SIGTERM)
            code = demo.process.wait(15)

    assert code in (0, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text(encoding="utf-8")


def test_list_names_every_leak(capsys: pytest.CaptureFixture[str]) -> None:
    """--list shows a line a leak: name, counter, and why in a sentence."""
    assert main(["serve", "--list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert lines[0] == "module-list       blocks   A list of the module to which every request adds."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--leak", "treads"], "--leak = 'treads' is no leak (did you mean 'thread'?); there are: module-list, "),
        (["--fixed", ""], "--fixed = '' is no leak; there are: module-list, "),
        (["--port", "99999"], "--port = '99999' must be a whole number from 0 to 65535"),
        (["--leak", "timer", "--fixed", "timer"], "timer cannot be leaky and fixed"),
    ],
)
def test_wrong_argument_is_one_clear_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """A wrong argument ends with 2, and a line that says what would be right."""
    assert main(["serve", *arguments]) == 2

    assert words in capsys.readouterr().err


def test_wrong_variable_is_one_clear_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong variable of the environment ends with 2, before anything is opened."""
    monkeypatch.setenv("MEMORY_WARNING_THRESHOLD", "120%")

    assert main(["serve"]) == 2
    assert "memguard: MEMORY_WARNING_THRESHOLD = '120%' is no threshold" in capsys.readouterr().err


def test_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that somebody else has ends with 4: it could not run."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 4

    assert f"cannot listen at 127.0.0.1:{port}: " in capsys.readouterr().err


def test_missing_extra_is_one_clear_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvicorn the command says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    assert main(["serve"]) == 2
    assert 'memguard serve needs uvicorn: pip install "pytest-memguard[harness]"' in capsys.readouterr().err
