"""
What a heap snapshot of a service costs: the pause, time and size per object, and the memory of the copy.

A process imports a web framework and makes so many objects in all, then writes snapshots of itself. The memory of the
copy is what it needs beyond what the process has ("own", from its peak), and also with the pages that it had to copy
("unshared", from the kernel's own counters, read while it runs).

Target with 200,000 objects: pause at most 10 ms; per object at most 10 us of processor time, 60 bytes of file, 200 bytes
of memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median

from pytest_memguard import heap

TARGETS = {"pause_ms": 10, "us": 10, "bytes": 60, "own": 200}


class Session:
    """What a service keeps of somebody."""

    def __init__(self, number: int) -> None:
        self.number, self.name, self.items = number + 1000, f"user {number}", [number + 2000]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200_000, help="of the process (200000)")
    parser.add_argument("--rounds", type=int, default=5, help="snapshots; medians are shown (5)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(_measured(options.objects, options.rounds)))
        return
    command = [sys.executable, __file__, "--inside", "--objects", str(options.objects), "--rounds", str(options.rounds)]
    rounds = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name in rounds[0]:
        value = median(row[name] for row in rounds)
        target = (
            f"   target {TARGETS[name]}: {'met' if value <= TARGETS[name] else 'MISSED'}" if name in TARGETS else ""
        )
        print(f"{name:12} {value:12.1f}{target}")


def _measured(objects: int, rounds: int) -> list[dict[str, float]]:
    import starlette.applications
    import starlette.routing

    assert starlette
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.heapsnapshot"
        there = heap.write(path).objects
        kept = [Session(number) for number in range(max(0, objects - there) // 5)]
        gc.collect()
        rows = [_row(path) for _ in range(rounds)]
    assert kept
    return rows


def _row(path: Path) -> dict[str, float]:
    unshared = _Unshared()
    before = os.times()
    with unshared:
        summary = heap.write(path)
    after = os.times()
    used = sum(after[2:4]) - sum(before[2:4])
    return {
        "objects": summary.objects,
        "pause_ms": summary.pause_s * 1e3,
        "us": used / summary.objects * 1e6,
        "bytes": summary.bytes / summary.objects,
        "own": summary.memory_bytes / summary.objects,
        "unshared": unshared.most / summary.objects,
    }


class _Unshared:
    """The most memory that a child of this process has to itself."""

    def __init__(self) -> None:
        self.most, self._ended = 0, threading.Event()

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text(encoding="ascii").split():
                    self.most = max(self.most, _private_bytes(int(child)))


def _private_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
