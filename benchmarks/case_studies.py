"""
The two case studies of docs/explanation/case-studies.md, measured: what requests keep before and after the repair.

    python benchmarks/case_studies.py [REQUESTS]
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

CASES = ("sessions", "reconnect")
WARM_UP = 500
#: Sixty readings: a window that still fills is itself something that grows.
WINDOW_S = 3.2


class Demo:
    """A running demo."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - whatever it answers
        """Send a request, and return the JSON of its answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        return json.loads(self._connection.getresponse().read())

    def visit(self, times: int) -> list[float]:
        """Ask for an item again and again, and return how long each answer took, in seconds."""
        durations = []
        for _ in range(times):
            began = time.perf_counter()
            self.ask("GET", "/api/items/5")
            durations.append(time.perf_counter() - began)
        return durations


@contextmanager
def serving() -> Iterator[Demo]:
    """Run the demo."""
    program = "import sys; from pytest_memguard.cli import main; sys.exit(main(['serve', '--port', '0']))"
    environ = {**os.environ, "MEMORY_MONITORING_INTERVAL": "50ms", "MAX_HEAP_SIZE": "512"}
    with subprocess.Popen([sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Demo(int(process.stdout.readline().split("://")[1].split(" ")[0].rpartition(":")[2]))
        process.terminate()


def measured(case: str, mode: str, requests: int) -> tuple[str, ...]:
    """Return a row of the table."""
    with serving() as demo:
        demo.ask("PUT", f"/api/leaks/{case}", {"mode": mode})
        demo.visit(WARM_UP)
        time.sleep(WINDOW_S)
        demo.ask("POST", "/api/memory/gc")
        before = demo.ask("GET", "/api/memory-stats")["counters"]
        durations = demo.visit(requests)
        verdict = demo.ask("GET", "/api/memory/leak-detection")
        demo.ask("POST", "/api/memory/gc")
        stats = demo.ask("GET", "/api/memory-stats")
    grown = {name: stats["counters"][name] - before[name] for name in ("blocks", "heap", "rss")}
    return (
        case,
        mode,
        f"{stats['held'].get(case, 0):,}",
        f"{grown['blocks'] / requests:+.2f}",
        f"{grown['heap'] / requests:+,.0f} B",
        f"{grown['rss'] / 2**20:+.1f} MiB",
        f"{median(durations) * 1000:.2f} ms",
        f"{verdict['verdict']} ({verdict['metric']})",
    )


def main(requests: int) -> None:
    """Print the table."""
    print(f"| case, {requests:,} requests | mode | held | blocks/request | heap/request | RSS | median | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        for mode in ("leaky", "fixed"):
            print(f"| {' | '.join(measured(case, mode, requests))} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
