"""The guard inside real servers on loopback: gunicorn with two workers, and uvicorn."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

POSIX = pytest.mark.skipif(os.name != "posix", reason="gunicorn forks")
START_S = 30.0

_COMMON = """
import json, logging, os, threading
logging.basicConfig(level=logging.INFO, format="%(process)d %(message)s")
from pytest_memguard.service import watch

def state():
    guard = application.guard
    return json.dumps({
        "pid": os.getpid(),
        "threads": sum(thread.name == "memguard-monitor" for thread in threading.enumerate()),
        "readings": len(guard.window),
        "requests": guard.requests,
        "status": guard.level.value,
    }).encode()
"""
_WSGI = f"""{_COMMON}
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [state()]

application = watch(app, limit_bytes="2 GiB", interval_s=0.05)
"""
_ASGI = f"""{_COMMON}
async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": state()}})

application = watch(app, limit_bytes="2 GiB", interval_s=0.05)
"""


class Server:
    """A server that runs, and its log."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def get(self) -> dict[str, Any]:
        """Ask once, on a connection of its own."""
        with urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            read: dict[str, Any] = json.load(answer)
        return read

    def until(self, enough: Any) -> dict[int, dict[str, Any]]:  # noqa: ANN401 - a question about the answers
        """Ask until the latest answers by process are enough; return them."""
        answers: dict[int, dict[str, Any]] = {}
        end_s = time.monotonic() + START_S
        while not enough(answers):
            assert time.monotonic() < end_s, answers
            answer = self.get()
            answers[answer["pid"]] = answer
        return answers

    def terminate(self) -> tuple[int, list[str]]:
        """End it with SIGTERM; return its exit code and its log."""
        self.process.send_signal(signal.SIGTERM)
        log = self.process.communicate(timeout=START_S)[0]
        return self.process.returncode, log.splitlines()


@contextmanager
def serve(folder: Path, source: str, *command: str) -> Iterator[Server]:
    """Start a server of an application, and wait until it answers."""
    (folder / "shop.py").write_text(source)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    line = [sys.executable, "-m", *(part.format(port=port) for part in command)]
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        _wait(process, port)
        yield Server(process, port)
    finally:
        process.kill()
        process.communicate()


def _wait(process: subprocess.Popen[str], port: int) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)  # there is nothing to wait for: the port belongs to another process
        else:
            return
    process.kill()
    pytest.fail(f"the server did not start:\n{process.communicate()[0]}")


@POSIX
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["own", "preloaded"])
def test_gunicorn_with_two_workers(preload: list[str], tmp_path: Path) -> None:
    """Each worker is watched by one thread of its own, counts its own requests, and reports when it is terminated."""
    pytest.importorskip("gunicorn", reason="not installed here")
    command = ("gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", *preload, "shop:application")
    with serve(tmp_path, _WSGI, *command) as server:
        answers = server.until(
            lambda answers: (
                len(answers) == 2 and all(one["readings"] > 3 and one["requests"] for one in answers.values())
            )
        )
        code, log = server.terminate()
    reports = [line.split()[0] for line in log if "memguard: watched for" in line]

    assert [one["threads"] for one in answers.values()] == [1, 1]
    assert code == 0
    assert set(map(str, answers)) <= set(reports)
    assert not [line for line in log if "Traceback" in line]


def test_uvicorn(tmp_path: Path) -> None:
    """It is watched, ends in its own time when it is terminated, and reports."""
    pytest.importorskip("uvicorn", reason="not installed here")
    command = ("uvicorn", "--port", "{port}", "--log-level", "info", "shop:application")
    with serve(tmp_path, _ASGI, *command) as server:
        answers = server.until(lambda answers: any(one["readings"] > 3 for one in answers.values()))
        code, log = server.terminate()
    said = [line for line in log if "memguard: watched for" in line]

    assert [one["threads"] for one in answers.values()] == [1]
    assert code in (0, -signal.SIGTERM)
    assert len(said) == 1
    assert any("Finished server process" in line for line in log)
