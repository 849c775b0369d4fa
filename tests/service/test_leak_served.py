"""A service on a real uvicorn in a process of its own: what its guard says after 300 requests, and its snapshot."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pytest_memguard import heap

pytest.importorskip("uvicorn", reason="the server of these tests")

TOKEN = "0123456789abcdef"  # noqa: S105 - of a server that lives for seconds
WARM_UP, REQUESTS = 100, 300

#: The clock counts requests, a second each, and the service has a reading taken after every fifth: as the guard does by
#: itself at its usual interval and a request a second, but also where the cores are busy.
SERVER = dedent("""
    import ctypes, os, sys
    import uvicorn
    from pytest_memguard.service import Guard, MemguardASGI
    from pytest_memguard.service.settings import GuardSettings

    kind, kept, seconds = sys.argv[1], [], 0


    work = {
        "blocks": lambda: kept.append([object() for _ in range(10)]),
        "heap": lambda: ctypes.pythonapi.PyMem_RawMalloc(ctypes.c_size_t(100_000)),
        "fds": lambda: kept.append(open(os.devnull)),
        "cached": lambda: cache.__setitem__(len(cache), bytearray(50_000)),
    }[kind]


    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise ValueError("only http")
        global seconds
        seconds += 1
        if scope["path"] == "/work":
            work()
        if seconds % 5 == 0:
            guard.look()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


    settings = GuardSettings(interval_s=5, window=60, limit_bytes=2**33, token=sys.argv[2], leak_detection=False)
    guard = Guard(settings, clock=lambda: seconds)
    app = MemguardASGI(app, guard)
    cache = guard.caches.create("pages", size=10_000)


    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)


    Server(uvicorn.Config(app, port=0, log_level="critical")).run()
""")


@contextmanager
def served(kind: str, folder: Path | None = None) -> Iterator[http.client.HTTPConnection]:
    """Run a service that keeps something of each request, and return a connection to it."""
    command = [sys.executable, "-c", SERVER, kind, TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()), timeout=60)
        try:
            yield connection
        finally:
            connection.close()
            process.terminate()


def ask(connection: http.client.HTTPConnection, path: str, method: str = "GET", status: int = 200) -> bytes:
    """Send one request, and return the body of its answer."""
    connection.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    assert response.status == status
    return response.read()


def verdict(kind: str) -> dict[str, Any]:
    """Return what the guard says after a warm-up and 300 requests."""
    with served(kind) as connection:
        for _ in range(WARM_UP):
            ask(connection, "/")
        for _ in range(REQUESTS):
            ask(connection, "/work")
        answer: dict[str, Any] = json.loads(ask(connection, "/memguard/leak-detection"))
    return answer


@pytest.mark.parametrize(
    ("kind", "name", "metric", "each"),
    [
        ("blocks", "leak_python", "blocks", (10, 14)),
        ("heap", "leak_native", "heap", (95_000, 110_000)),
        ("fds", "leak_python", "fds", (0.9, 1.1)),
    ],
)
def test_a_leak_is_named(kind: str, name: str, metric: str, each: tuple[float, float]) -> None:
    """The verdict names the counter, and says how much each request leaks."""
    found = verdict(kind)

    assert (found["verdict"], found["metric"]) == (name, metric), found
    assert each[0] <= found["perRequest"]["point"] <= each[1], found


def test_a_cache_that_fills_is_no_leak() -> None:
    """Growth that goes into a known cache with room left is that cache."""
    found = verdict("cached")

    assert found["verdict"] == "cache_filling", found
    assert "into pages" in found["reason"]


def test_a_snapshot_of_the_real_heap(tmp_path: Path) -> None:
    """A snapshot that is asked for over the wire can be read, is its owner's alone, and holds no values."""
    with served("blocks", tmp_path) as connection:
        answered = json.loads(ask(connection, "/memguard/snapshot?name=before", "POST"))
        ask(connection, "/memguard/snapshot?name=before", "POST", status=409)
        ask(connection, "/")
    path = tmp_path / ".memguard" / "snapshots" / "before.heapsnapshot"
    written = path.read_bytes()

    assert answered == {"name": "before", "file": path.name, "bytes": len(written)}
    assert path.stat().st_mode & 0o777 == 0o600
    assert heap.read(path).objects > 10_000
    assert TOKEN.encode() not in written
