"""
What the middleware costs a service, and how it answers when memory is short.

Per request: an application that does nothing is called 20,000 times as it is, and behind the middleware, in turn; the
difference of the medians of single calls is what the middleware adds. Throughput: the same application on uvicorn
(h11, asyncio) in a process of its own, with and without, under 16 connections that are kept open, with several pairs
of such processes; CPU seconds of the server a request stand beside the wall time, as the cores are shared. Turned away: the time of a 503, alone and through
uvicorn. Pauses: the longest gap of an event loop while ``POST /memguard/gc`` collects among so many objects.

Targets: 50 us a request at the median, 2 % of the throughput, 1 ms a 503; 50 ms pause, which a full collection passes
where there are many objects, as it holds the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rounds import MEMORY, arguments, in_turn, judged, keep, ratio, show, with_path

from pytest_memguard.service.asgi import MemguardASGI
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.settings import GuardSettings
from pytest_memguard.service.wsgi import MemguardWSGI

TARGET_US, TARGET_LOSS, TARGET_SHED_MS, TARGET_PAUSE_MS = 50.0, 1.02, 1.0, 50.0
CALLS = 20_000
CONNECTIONS = 16
TOKEN = "0123456789abcdef"  # noqa: S105 - of a server that lives for seconds

_SERVER = """
import os
from pytest_memguard.service.asgi import MemguardASGI

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"11")]})
    await send({"type": "http.response.body", "body": b"hello world"})

if os.environ.get("GUARDED"):
    app = MemguardASGI(app)
"""
_REQUEST = b"GET /items/7 HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _app(scope: object, receive: object, send: Callable[..., Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello world"})


async def _nothing(message: object = None) -> None: ...


def _scope(path: str = "/items/7", method: str = "GET") -> dict[str, Any]:
    headers = [(b"authorization", b"Bearer " + TOKEN.encode())]
    return {"type": "http", "path": path, "method": method, "headers": headers, "client": ("127.0.0.1", 1)}


def _asgi_us(app: Callable[..., Awaitable[None]]) -> float:
    async def call() -> float:
        took, scope = [], _scope()
        for _ in range(CALLS):
            began = time.perf_counter_ns()
            await app(scope, _nothing, _nothing)
            took.append(time.perf_counter_ns() - began)
        return median(took) / 1e3

    return asyncio.run(call())


def _wsgi_us(app: Callable[..., Iterable[bytes]]) -> float:
    environ, took = {"PATH_INFO": "/items/7", "REQUEST_METHOD": "GET"}, []
    for _ in range(CALLS):
        began = time.perf_counter_ns()
        chunks = app(environ, _start)
        for _ in chunks:
            pass
        if hasattr(chunks, "close"):
            chunks.close()
        took.append(time.perf_counter_ns() - began)
    return median(took) / 1e3


def _start(status: str, headers: object) -> None: ...


def _wsgi_app(environ: object, start_response: Callable[..., None]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello world"]


class _Uvicorn:
    """One uvicorn in a process of its own."""

    def __init__(self, folder: Path, *, guarded: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        environment = {**os.environ, **with_path(folder), "GUARDED": "1" if guarded else ""}
        command = [sys.executable, "-m", "uvicorn", "served:app", "--port", str(self.port), "--log-level", "error"]
        self.process = subprocess.Popen([*command, "--no-access-log"], cwd=folder, env=environment)
        self.cpu_s: list[float] = []
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.02)
            else:
                return

    def us_a_request(self, requests: int) -> float:
        """Return the wall time of a request under load; the server's CPU time goes to ``cpu_s``."""
        before, began = self._cpu_s(), time.perf_counter()
        asyncio.run(_load(self.port, requests))
        took_s = time.perf_counter() - began
        self.cpu_s.append((self._cpu_s() - before) / requests)
        return took_s / requests * 1e6

    def _cpu_s(self) -> float:
        """Return the CPU time of all its threads; in nanoseconds where the system tells (Linux), else in ticks."""
        tasks = list(Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"))
        if tasks:
            return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])

    def end(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


async def _load(port: int, requests: int) -> None:
    async def one(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(share):
            writer.write(_REQUEST)
            await reader.readuntil(b"hello world")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one(requests // CONNECTIONS) for _ in range(CONNECTIONS)))


def _shed_ms() -> float:
    guard = Guard(GuardSettings(interval_s=600, limit_bytes=2**40))
    middleware = MemguardASGI(_app, guard)

    async def call() -> float:
        took = []
        await middleware(_scope(), _nothing, _nothing)
        for _ in range(2_000):
            guard.level = Pressure.EMERGENCY
            began = time.perf_counter_ns()
            await middleware(_scope(), _nothing, _nothing)
            took.append(time.perf_counter_ns() - began)
        return sorted(took)[int(len(took) * 0.99)] / 1e6

    result = asyncio.run(call())
    guard.stop()
    return result


def _pause_ms(objects: int) -> tuple[float, float]:
    """Return the longest gap of the loop while the guard collects, and the CPU time of one collection; medians of 5."""
    heap = [[] for _ in range(objects)]
    guard = Guard(GuardSettings(token=TOKEN, interval_s=600, limit_bytes=2**40))
    middleware = MemguardASGI(_app, guard)

    async def gap_ms() -> float:
        asked = asyncio.create_task(middleware(_scope("/memguard/gc", "POST"), _body, _nothing))
        longest, before = 0.0, time.perf_counter()
        while not asked.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        return longest * 1e3

    def alone_ms() -> float:
        began = time.thread_time()
        gc.collect()
        return (time.thread_time() - began) * 1e3

    readings = median(asyncio.run(gap_ms()) for _ in range(5)), median(alone_ms() for _ in range(5))
    guard.stop()
    del heap
    return readings


async def _body() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=21)
    parser.add_argument("--pairs", type=int, default=12, help="pairs of servers, with and without (12)")
    parser.add_argument("--requests", type=int, default=3_200, help="requests a round through uvicorn (3,200)")
    options = parser.parse_args()
    asgi, wsgi = MemguardASGI(_app, interval_s=5, limit_bytes=2**40), MemguardWSGI(_wsgi_app, interval_s=5)
    calls = in_turn(
        {
            "asgi with": lambda: _asgi_us(asgi),
            "asgi without": lambda: _asgi_us(_app),
            "wsgi with": lambda: _wsgi_us(wsgi),
            "wsgi without": lambda: _wsgi_us(_wsgi_app),
        },
        options.rounds,
    )
    asgi.guard.stop()
    wsgi.guard.stop()
    rows = []
    for kind in ("asgi", "wsgi"):
        more = median(calls[f"{kind} with"]) - median(calls[f"{kind} without"])
        rows.append((kind, f"{median(calls[f'{kind} without']):.2f}", f"{more:.2f}", judged(more, TARGET_US)))
    show("median call, us", ("interface", "without", "more", f"<= {TARGET_US:g}"), rows)
    served = _throughput(options.pairs, options.rounds, options.requests)
    shed_ms = _shed_ms()
    print(f"503, 99 of 100: {shed_ms:.3f} ms, {judged(shed_ms, TARGET_SHED_MS)} (1 ms)")
    pauses = {objects: _pause_ms(objects) for objects in (10_000, 100_000, 300_000, 1_000_000, 3_000_000)}
    rows = [
        (f"{objects:,}", f"{pause:.1f}", f"{alone:.1f}", judged(pause, TARGET_PAUSE_MS))
        for objects, (pause, alone) in pauses.items()
    ]
    show("longest gap of the loop at POST gc, ms", ("objects", "gap", "collection, CPU", "<= 50"), rows)
    keep(options.json, "service_middleware", {"calls_us": calls, **served, "shed_ms": shed_ms, "pauses_ms": pauses})


def _throughput(pairs: int, rounds: int, requests: int) -> dict[str, object]:
    """Compare several pairs of servers: two processes of one program differ by more than the guard, run after run."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        (Path(name) / "served.py").write_text(_SERVER, encoding="utf-8")
        measured = [_pair(Path(name), rounds, requests) for _ in range(pairs)]
    rows = []
    for what, side in (("wall", 0), ("server CPU", 1)):
        values = [pair[side] for pair in measured]
        middle, low, high = ratio([pair["with"] for pair in values], [pair["without"] for pair in values])
        figures = (f"{median(pair['without'] for pair in values):.1f}", f"{middle:.3f}", f"{low:.3f} - {high:.3f}")
        rows.append((what, *figures, judged(middle, TARGET_LOSS)))
    show("uvicorn, us a request", ("time", "without", "with / without", "quartiles", f"<= {TARGET_LOSS:g}"), rows)
    return {"wall_us": [wall for wall, _ in measured], "cpu_us": [cpu for _, cpu in measured]}


def _pair(folder: Path, rounds: int, requests: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median wall and CPU time of a request through a server with the guard and one without."""
    servers = {side: _Uvicorn(folder, guarded=side == "with") for side in ("with", "without")}
    try:
        walls = in_turn({side: lambda one=one: one.us_a_request(requests) for side, one in servers.items()}, rounds)
    finally:
        for one in servers.values():
            one.end()
    cpus = {side: median(one.cpu_s[1:]) * 1e6 for side, one in servers.items()}
    return {side: median(readings) for side, readings in walls.items()}, cpus


if __name__ == "__main__":
    main()
