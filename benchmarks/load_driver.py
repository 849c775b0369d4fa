"""
How much load one CPU-second of the client makes: the built-in engine against a trivial service in another process.

Target: at least 8,000 requests per CPU-second of the client. Wall-clock rates depend on the machine's other work.

    python benchmarks/load_driver.py            # 3 rounds of 5 s at 32 connections, then open model at 2,000/s
    python benchmarks/load_driver.py --seconds 10 --rounds 5 --connections 8
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time

from pytest_memguard.load.driver import Driver
from pytest_memguard.load.profile import LoadSpec

_SERVICE = """
import asyncio, sys

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 11\\r\\nContent-Type: text/plain\\r\\n\\r\\nhello world"

class Service(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, content):
        self.transport.write(ANSWER * content.count(b"\\r\\n\\r\\n"))

async def main():
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", _SERVICE], stdin=-1, stdout=-1, text=True) as service:
        url = f"http://127.0.0.1:{service.stdout.readline().strip()}/"
        common = {"duration_s": options.seconds, "ramp_up_s": 0, "connections": options.connections}
        print(
            f"{'model':<12}{'requests':>10}{'errors':>8}{'a second':>10}{'a CPU-second':>14}{'p50 ms':>8}{'p99 ms':>8}"
        )
        closed = [_round(LoadSpec(url, **common)) for _ in range(options.rounds)]
        _round(LoadSpec(url, **common, rate=2000.0))
        service.stdin.close()
    print(f"closed, median: {statistics.median(closed):,.0f} requests a CPU-second (target 8,000)")


def _round(spec: LoadSpec) -> float:
    cpu, wall = time.process_time(), time.perf_counter()
    result = asyncio.run(Driver(spec).run())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    latency = [f"{result.percentile(p) * 1000:>8.2f}" for p in (50, 99)]
    counts = f"{result.requests:>10,}{result.failed:>8}{result.requests / wall:>10,.0f}{result.requests / cpu:>14,.0f}"
    print(f"{result.model:<12}{counts}{''.join(latency)}", flush=True)
    return result.requests / cpu


if __name__ == "__main__":
    main()
