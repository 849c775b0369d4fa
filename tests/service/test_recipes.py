"""The recipes of the documentation: each page's code and command, as they stand there, on a real server."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
TOKEN = "recipe-token-0123456789"  # noqa: S105 - of a server that lives for a second

_CODE = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^```shell\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_START_S = 20.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and its signals are not there on Windows")


@dataclass(frozen=True)
class _Recipe:
    page: str
    server: str
    path: str
    body: bytes
    route: str


_RECIPES = [
    _Recipe("fastapi", "uvicorn", "/squares/7", b'{"square":49}', "GET /squares/{number}"),
    _Recipe("starlette", "uvicorn", "/greet/ann", b"hello ann", "GET /greet/{name}"),
    _Recipe("flask", "gunicorn", "/greet/ann", b"hello ann", "GET /greet/<name>"),
    _Recipe("django", "uvicorn", "/admin/login/", b"<!DOCTYPE html>", "GET /admin/login/"),
    _Recipe("django", "gunicorn", "/admin/login/", b"<!DOCTYPE html>", "GET /admin/login/"),
]


class _Server:
    """A server that runs a page's command."""

    def __init__(self, recipe: _Recipe, folder: Path) -> None:
        self.recipe = recipe
        text = (HOW_TO / f"{recipe.page}.md").read_text(encoding="utf-8")
        self.files = _write(text, folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (command,) = (one for one in _COMMAND.findall(text) if one.startswith(recipe.server))
        assert "8000" in command
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *shlex.split(command.replace("8000", str(self.port)))],
                cwd=folder,
                env={**os.environ, "MEMGUARD_TOKEN": TOKEN, "MEMGUARD_LIMIT_BYTES": "4 GiB"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def wait(self) -> None:
        """Wait until the server takes connections."""
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s and self.process.poll() is None:
            try:
                self.ask("/health")
            except OSError:
                time.sleep(0.02)  # there is nothing to wait for but the port itself
            else:
                return
        raise AssertionError(f"the server did not start:\n{self.said()}")

    def said(self) -> str:
        """Return the output of the server."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def _write(text: str, folder: Path) -> list[str]:
    """Write the files of a page; Django's into a new project."""
    files = _CODE.findall(text)
    if any("/" in name for name, _ in files):
        subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", "."], cwd=folder, check=True)
    for name, source in files:
        (folder / name).write_text(source, encoding="utf-8")
    return [name for name, _ in files]


@pytest.fixture(scope="module", params=_RECIPES, ids=lambda recipe: f"{recipe.page} on {recipe.server}")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Server]:
    """Return a server that runs a recipe, and end it in good order."""
    server = _Server(request.param, tmp_path_factory.mktemp("recipe"))
    try:
        server.wait()
        yield server
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=10)
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
    assert "Traceback" not in server.said()


def _bearer(server: _Server, path: str, method: str = "GET") -> Any:  # noqa: ANN401 - what JSON holds
    status, headers, body = server.ask(path, method, Authorization=f"Bearer {TOKEN}")
    assert status == 200, body
    assert headers.get("Cache-Control", headers.get("cache-control")) == "no-store"
    return json.loads(body)


def test_application_answers(server: _Server) -> None:
    """The application works as without the guard."""
    status, _, body = server.ask(server.recipe.path)

    assert status == 200
    assert server.recipe.body in body[:200]


def test_guard_answers_who_may_ask(server: _Server) -> None:
    """With the token the guard tells its state."""
    health = _bearer(server, "/memguard/health")

    assert health["status"] == "healthy"
    assert health["currentUsage"]["heapUsed"] > 10**6


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-Forwarded-For": "127.0.0.1"}])
def test_nobody_else_finds_it(server: _Server, headers: dict[str, str]) -> None:
    """Without the token there is nothing."""
    status, _, body = server.ask("/memguard/health", **headers)

    assert (status, body) == (404, b'{"error": "not found"}')


def test_route_is_named(server: _Server) -> None:
    """What requests cost is told by the route that the framework names."""
    text, ends_s = "", time.monotonic() + 60.0
    while time.monotonic() < ends_s:  # not every request is measured, nor by the worker that is asked then
        server.ask(server.recipe.path)
        text = server.ask("/memguard/metrics", Authorization=f"Bearer {TOKEN}")[2].decode()
        if server.recipe.route in text:
            break

    assert server.recipe.route in text


def test_collecting(server: _Server) -> None:
    """The guard can be told to collect."""
    assert _bearer(server, "/memguard/gc", "POST")["outcome"]["error"] is None


def test_caches(server: _Server) -> None:
    """The caches of the guard are listed; that of the FastAPI page holds what was asked for."""
    server.ask(server.recipe.path)
    caches = {cache["name"]: cache["entries"] for cache in _bearer(server, "/memguard/caches")["caches"]}

    assert caches == ({"squares": 1} if server.recipe.page == "fastapi" else {})
