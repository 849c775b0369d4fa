"""A demo that runs: `memguard serve` in a process of its own, on loopback, with uvicorn."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the demo needs the extra [harness]")


@dataclass(frozen=True)
class Answer:
    """One answer of the demo."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the body holds
        """The body, read as JSON."""
        return json.loads(self.body)


class Demo:
    """A running demo, asked over one connection that stays open."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method: str, path: str, body: object = None, *, raw: bytes | None = None, **headers: str) -> Answer:
        """Send one request, with *body* as JSON, and return the answer."""
        sent = json.dumps(body).encode() if raw is None and body is not None else raw
        if sent is not None:
            headers = {"Content-Type": "application/json"} | {key.replace("_", "-"): headers[key] for key in headers}
        try:
            response = self._sent(method, path, sent, headers)
        except http.client.RemoteDisconnected:  # nothing was asked for some seconds, and it has hung up
            response = self._sent(method, path, sent, headers)
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())

    def _sent(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        self._connection.request(method, path, body, headers)
        return self._connection.getresponse()

    def get(self, path: str) -> Any:  # noqa: ANN401 - see json
        """Return the JSON of a page that is there."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    def post(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - see json
        """Return what a request that does something answers."""
        answer = self.ask("POST", path, body)
        assert answer.status in (200, 201), answer.body
        return answer.json

    def turn(self, name: str, mode: str) -> None:
        """Turn one switch."""
        assert self.ask("PUT", f"/api/leaks/{name}", {"mode": mode}).status == 200

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def serving(folder: Path, *arguments: str, limit_bytes: int = 0, **environ: str) -> Iterator[Demo]:
    """Run `memguard serve` in *folder*, with at most *limit_bytes* of its own if that is set, and end it."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({limit_bytes}, {limit_bytes})); "
    program = f"{limit if limit_bytes else ''}import sys; from pytest_memguard.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--port", "0", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MEM", "COV_", "CACHE_", "PORT"))}
    with (folder / "stderr.txt").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, **environ},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        with process, suppress(ProcessLookupError):
            line = process.stdout.readline()
            errors.seek(0)
            assert "memguard demo at http://" in line, errors.read()
            demo = Demo(process, int(line.split("://")[1].split(" ")[0].rpartition(":")[2]))
            try:
                yield demo
            finally:
                demo.close()
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Return a demo whose guard takes a reading at each 15 ms, and keeps forty of them: 0.6 s."""
    folder = tmp_path_factory.mktemp("demo")
    with serving(
        folder,
        MAX_HEAP_SIZE="2 GiB",
        MEMORY_MONITORING_INTERVAL="15ms",
        MEMGUARD_WINDOW="40",
        MEMORY_LEAK_DETECTION="false",
        HEAP_SNAPSHOT_DIR=str(folder / "snapshots"),
    ) as running:
        yield running


@pytest.fixture(scope="package")
def serve() -> Callable[..., AbstractContextManager[Demo]]:
    """Return what runs another demo: arguments, `limit_bytes` and the environment as for `memguard serve`."""
    return serving
