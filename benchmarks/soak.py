"""
Soaks small services, leaky and repaired, and prints how often each was called what it is.

    python benchmarks/soak.py                      64 B a request in 20,000 requests, 1 KiB a request in 20 s at 200/s
    python benchmarks/soak.py --rounds 20          so often each, and the repaired twin of each
    python benchmarks/soak.py --short              300 requests right after the start: 1 KiB a request, a clean http.server
    python benchmarks/soak.py --demo               each leak switch of the demo, leaky and repaired
    python benchmarks/soak.py --frameworks         Flask under gunicorn with 2 workers, FastAPI under uvicorn

Target: 20 of 20 each; each switch caught leaky and clean repaired. Of a clean service that has hardly begun, "clean" and
"undecided" are both right, a leak is not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import textwrap
import time
from collections import deque
from pathlib import Path

from pytest_memguard.errors import MemguardError
from pytest_memguard.scenario.soak import SoakResult, soak
from pytest_memguard.scenario.spec import Scenario

# -- a service of our own --------------------------------------------------------------------------------------------

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_KEPT: list[object] = []
_LAST: deque[object] = deque(maxlen=100)
#: What one request keeps: sys.getsizeof says 64 of the first, 1,081 of the second.
_KEEP = {
    "64": lambda: _KEPT.append(bytes(31)),
    "1024": lambda: _KEPT.append(bytearray(1024)),
    "64-repaired": lambda: _LAST.append(bytes(31)),
    "1024-repaired": lambda: _LAST.append(bytearray(1024)),
}


class _Answering(asyncio.Protocol):
    """Answers every request alike."""

    def __init__(self, mode: str) -> None:
        self._keep = _KEEP[mode]
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._keep()
            self._transport.write(_ANSWER)  # type: ignore[attr-defined] # a stream


async def _serve(mode: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(mode), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def _own(mode: str) -> dict[str, object]:
    """Return the scenario of one mode: 20,000 requests of 64 B, or 20 s of 1 KiB at 200 a second."""
    rate, seconds = (1000, 20) if mode.startswith("64") else (200, 20)
    return {
        "name": mode,
        "service": {
            "command": [sys.executable, __file__, "--serve", mode, "${MEMGUARD_PORT}"],
            "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/",
        },
        "idle": {"duration_s": 0.5},
        "warm_up": {"duration_s": 3},
        "load": {"rate": rate, "duration_s": seconds, "connections": 8},
        "cool_down": {"duration_s": 1},
        "diagnose": {"duration_s": 2},
    }


def _short(mode: str, folder: Path) -> dict[str, object]:
    """Return the scenario of 300 requests with next to no warm-up, to a service of ours or the `http.server` of Python."""
    command = [sys.executable, "-m", "http.server", "${MEMGUARD_PORT}", "--bind", "127.0.0.1"]
    service = {"command": command, "cwd": str(folder), "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/"}
    return {
        **_own(mode if mode in _KEEP else "64"),
        "name": f"{mode}, short",
        **({} if mode in _KEEP else {"service": service}),
        "warm_up": {"duration_s": 0.3},
        "load": {"rate": 100, "duration_s": 3, "connections": 4},
        "sampling": {"interval_s": 0.1},
    }


# -- services of others ----------------------------------------------------------------------------------------------

_FLASK = """
from flask import Flask, request
app = Flask(__name__)
SEEN = {}
@app.get("/items/<int:number>")
def item(number):
    key = request.headers.get("X-Request", "") if LEAKY else number % 50
    SEEN[key] = {"path": request.path, "number": number}
    return {"number": number, "seen": len(SEEN)}
"""
_FASTAPI = """
from fastapi import FastAPI
app = FastAPI()
LISTENERS = []
class Listener:
    def __init__(self, number):
        self.number = number
        self.buffer = bytearray(256)
@app.get("/items/{number}")
async def item(number: int):
    listener = Listener(number)
    LISTENERS.append(listener)
    if not LEAKY:
        LISTENERS.remove(listener)
    return {"number": number, "listeners": len(LISTENERS)}
"""
_COMMANDS = {
    "flask": [sys.executable, "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:${MEMGUARD_PORT}", "app:app"],
    "fastapi": [sys.executable, "-m", "uvicorn", "--port", "${MEMGUARD_PORT}", "--log-level", "warning", "app:app"],
}


def framework(name: str, folder: Path, *, leaky: bool, seconds: float = 15) -> dict[str, object]:
    """Return the scenario of a small application in *folder*."""
    source = {"flask": _FLASK, "fastapi": _FASTAPI}[name]
    (folder / "app.py").write_text(f"LEAKY = {leaky}\n" + textwrap.dedent(source))
    return {
        "name": f"{name}, {'leaky' if leaky else 'repaired'}",
        "service": {
            "command": _COMMANDS[name],
            "cwd": str(folder),
            "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/items/1",
        },
        "idle": {"duration_s": 0.5},
        "warm_up": {"duration_s": 4},
        "load": {
            "rate": 100,
            "duration_s": seconds,
            "connections": 8,
            # Workers of the kind "sync" take a connection for each request.
            "keep_alive": name != "flask",
            "routes": ["/items/{{random}}"],
            "headers": {"X-Request": "{{uuid}}"},
        },
        "diagnose": {"duration_s": 3},
        "cool_down": {"duration_s": 1},
    }


# -- the demo --------------------------------------------------------------------------------------------------------


_MEMGUARD = "import sys; from pytest_memguard.cli import main; sys.exit(main())"


def demo(name: str, *, leaky: bool, rate: float = 20, seconds: float = 14, warm_up_s: float = 3) -> dict[str, object]:
    """Return the scenario of one switch of the demo."""
    return {
        "name": f"{name}, {'leaky' if leaky else 'repaired'}",
        "service": {
            "command": [
                sys.executable, "-c", _MEMGUARD, "serve", "--port", "${MEMGUARD_PORT}",
                "--leak" if leaky else "--fixed", name,
            ],
            "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/health",
        },
        "idle": {"duration_s": 0.2},
        "warm_up": {"duration_s": warm_up_s},
        "load": {"rate": rate, "duration_s": seconds, "connections": 4, "routes": ["/api/items"]},
        "diagnose": {"duration_s": 2},
        "cool_down": {"duration_s": 0.5},
    }  # fmt: skip


# -- the table -------------------------------------------------------------------------------------------------------


_LEAKY, _REPAIRED, _NO_LEAK = ("leak",), ("clean",), ("clean", "undecided")


def _soaked(scenario: dict[str, object], *, loud: bool) -> SoakResult | str:
    try:
        return soak(Scenario.from_mapping(scenario, "benchmark"), notice=print if loud else lambda _: None)
    except MemguardError as error:
        return str(error)


def _row(scenario: dict[str, object], allowed: tuple[str, ...], *, loud: bool) -> bool:
    began_s = time.monotonic()
    result = _soaked(scenario, loud=loud)
    took_s = time.monotonic() - began_s
    if isinstance(result, str):
        print(f"{scenario['name']:28} {result}", flush=True)
        return False
    right = result.outcome.value in allowed
    verdict = result.result.verdict
    print(
        f"{scenario['name']!s:28} {'' if right else 'WRONG':5} {result.outcome.value:10} {verdict.score:4.0f} "
        f"{result.result.runs:6} requests {took_s:5.1f} s  {verdict.reason}",
        flush=True,
    )
    for finding in result.result.findings[:1] if allowed == _LEAKY else ():
        for site in finding.sites[:2]:
            print(f"{'':34} {site.file}:{site.line} {site.function} {site.bytes_per_run:.0f} B {site.source}")
        for path in finding.paths[:1]:
            print(f"{'':34} {path.text}")
    return right


def _cases(options: argparse.Namespace) -> list[tuple[dict[str, object], tuple[str, ...]]]:
    """Return the scenarios of one round, and what may come of each."""
    sides = ((True, _LEAKY), (False, _REPAIRED))
    if options.demo is not None:
        from pytest_memguard.demo.leaks import LEAKS

        names = options.demo or [leak.name for leak in LEAKS]
        return [(demo(name, leaky=leaky), allowed) for name in names for leaky, allowed in sides]
    if options.frameworks:
        return [(framework(name, _folder(), leaky=leaky), allowed) for name in _COMMANDS for leaky, allowed in sides]
    if options.short:
        return [(_short("1024", _folder()), _LEAKY), (_short("clean http.server", _folder()), _NO_LEAK)]
    return [(_own(mode), _REPAIRED if "repaired" in mode else _LEAKY) for mode in _KEEP]


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="memguard-soak-"))


def main() -> int:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs=2, metavar=("MODE", "PORT"), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--demo", nargs="*", metavar="SWITCH")
    parser.add_argument("--frameworks", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--loud", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.serve[0], int(options.serve[1])))
        return 0
    cases = _cases(options)
    right = [_row(case, allowed, loud=options.loud) for _ in range(options.rounds) for case, allowed in cases]
    print(f"{sum(right)} of {len(right)} right")
    return int(not all(right))


if __name__ == "__main__":
    sys.exit(main())
