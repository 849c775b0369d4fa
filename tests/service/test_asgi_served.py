"""The ASGI middleware on a real server: bad clients, streams, an emergency and what comes after it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pytest_memguard.service import asgi
from pytest_memguard.service.asgi import MemguardASGI
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.settings import GuardSettings

TOKEN = "0123456789abcdef"  # noqa: S105 - of a server that lives for a second
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class _Stream:
    """An application that sends a chunk, and the next one when it is told to; it knows no lifespan."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - callables
        if scope["type"] != "http":
            raise ValueError("only http")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await self.go.wait()
        await send({"type": "http.response.body", "body": b"last"})


class _Served:
    """The application behind the middleware, on uvicorn in a thread."""

    def __init__(self, folder: Path) -> None:
        self.app = _Stream()
        self.guard = Guard(GuardSettings(token=TOKEN, interval_s=600, limit_bytes=2**40, snapshot_dir=str(folder)))
        config = uvicorn.Config(MemguardASGI(self.app, self.guard), port=0, lifespan="on", log_level="critical")
        self.server = uvicorn.Server(config)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self.ready = threading.Event()
        self.thread.start()
        assert self.ready.wait(10)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        serving = asyncio.create_task(self.server.serve())
        while not (self.server.started and self.guard.window) and not serving.done():  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.005)
        self.ready.set()
        await serving

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send one request."""
        connection = self.connect()
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        answered = response.status, response.read()
        connection.close()
        return answered

    def raw(self, request: bytes) -> bytes:
        """Send bytes that need not be a request, and return the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(request)
            return client.makefile("rb").readline()

    def end(self) -> None:
        """End the server."""
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Served]:
    """Return a server that lives for all tests of this file, and whose guard stops with it."""
    served = _Served(tmp_path_factory.mktemp("snapshots"))
    yield served
    ran = served.guard._monitor.running
    served.end()
    assert (ran, served.guard._monitor.running) == (True, False)


def test_stream_arrives_as_it_is_made(served: _Served) -> None:
    """The first chunk is there while the application still waits to make the next one."""
    connection = served.connect()
    connection.request("GET", "/stream")
    response = connection.getresponse()
    first = response.read1(100)
    assert served.loop is not None
    served.loop.call_soon_threadsafe(served.app.go.set)
    rest = response.read()
    connection.close()

    assert (first, rest) == (b"first", b"last")


def test_body_that_does_not_come(served: _Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends half a body is told so in time, and others are served while it is waited for."""
    monkeypatch.setattr(asgi, "_BODY_TIMEOUT_S", 0.2)
    head = (
        f"POST /memguard/snapshot HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 50\r\n\r\n{{"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as slow:
        slow.sendall(head.encode())
        other = served.ask("/")
        line = slow.makefile("rb").readline()

    assert other == (200, b"last")
    assert line.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("size", "status"), [(4096, 200), (4097, 413), (2**20, 413)])
def test_size_of_a_body(served: _Served, size: int, status: int) -> None:
    """A body is read up to 4 KiB; a larger one is refused, and the service goes on."""
    body = b'{"name": "x"}'.ljust(size) if size > 4096 else b" " * size

    assert served.ask("/memguard/gc", "POST", body, **BEARER)[0] == status
    assert served.ask("/")[0] == 200


def test_chunked_body_without_end(served: _Served) -> None:
    """A body that does not say how long it is is not read to the end either."""
    head = (
        f"POST /memguard/gc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"

    assert served.raw(head.encode() + chunk * 5).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "path",
    [
        "/memguard/caches/a%0d%0aX-Evil:%201",
        "/memguard/caches/%00",
        "/memguard/caches/..%2f..%2fhealth",
        "/memguard/%2e%2e/health",
        "/memguard/snapshot/..",
    ],
)
def test_hostile_path(served: _Served, path: str) -> None:
    """A path that carries a header or climbs is a 4xx, and nothing of it becomes a header."""
    connection = served.connect()
    connection.request("DELETE", path, headers=BEARER)
    response = connection.getresponse()
    headers = {name.lower() for name, _ in response.getheaders()}
    response.read()
    connection.close()

    assert 400 <= response.status < 500
    assert headers <= {"content-type", "content-length", "cache-control", "x-content-type-options", "date", "server"}


@pytest.mark.parametrize("name", ["../../evil", "..%2F..%2Fevil", "%2Fetc%2Fevil", "a%00b", "a%0d%0ab"])
def test_hostile_snapshot_name(served: _Served, name: str) -> None:
    """No snapshot is written outside its folder, nor anywhere under such a name."""
    folder = Path(served.guard.settings.snapshot_dir)

    assert served.ask(f"/memguard/snapshot?name={name}", "POST", **BEARER)[0] == 400
    assert list(folder.parent.glob("**/*evil*")) == []


def test_emergency_and_after_it(served: _Served) -> None:
    """One connection lives through an emergency: served, turned away with a time to wait, and served again."""
    connection = served.connect()
    answers = []
    for level in (Pressure.HEALTHY, Pressure.EMERGENCY, Pressure.HEALTHY):
        served.guard.level = level
        connection.request("GET", "/")
        response = connection.getresponse()
        answers.append((response.status, response.getheader("Retry-After")))
        response.read()
    connection.close()

    assert answers == [(200, None), (503, "5"), (200, None)]


def test_clients_at_once_in_an_emergency(served: _Served) -> None:
    """Many clients at once are all answered: with 503, or with 200 where it is about health."""
    served.guard.level = Pressure.EMERGENCY
    answers: list[int] = []

    def client(path: str) -> None:
        answers.extend(served.ask(path)[0] for _ in range(5))

    threads = [threading.Thread(target=client, args=(path,)) for path in ("/", "/health") * 4]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        served.guard.level = Pressure.HEALTHY

    assert sorted(answers) == [200] * 20 + [503] * 20


def test_peer_that_a_proxy_names(served: _Served) -> None:
    """A header that claims a loopback address opens nothing, and the endpoint is there without one."""
    assert served.ask("/memguard/health", **{"X-Forwarded-For": "127.0.0.1"})[0] == 404
    status, body = served.ask("/memguard/health", **BEARER)
    assert (status, json.loads(body)["status"]) == (200, "healthy")
