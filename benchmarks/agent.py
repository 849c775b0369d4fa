"""
What it costs to watch: a core's share at 5 readings a second, and what the agent costs the process it is in.

    python benchmarks/agent.py [--seconds 20]

Targets: sampling at 5 Hz at most 1 % of a core; 200 `stats` keep 0 blocks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import psutil

from pytest_memguard.agent import folders, launch
from pytest_memguard.agent.client import Client
from pytest_memguard.agent.outside import Tree

INTERVAL_S = 0.2
WORKERS = """
import os, sys, time
held = [bytearray(1000) for _ in range(50_000)]
for _ in range({workers}):
    if os.fork() == 0:
        break
else:
    print("ready", flush=True)
time.sleep(600)
"""


def started(workers: int) -> tuple[subprocess.Popen[bytes], str, str]:
    """Start a program of 70 MB with the agent inside, and so many workers."""
    folder, token = folders.create()
    program = [sys.executable, "-W", "ignore", "-c", WORKERS.format(workers=workers)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, env={**os.environ, **launch.environment(folder, token)}, start_new_session=True
    )
    process.stdout.readline()
    return process, folder, token


def ended(process: subprocess.Popen[bytes], folder: str) -> None:
    """End it with its workers."""
    os.killpg(process.pid, 9)
    process.communicate()
    folders.remove(folder)


def sampling(workers: int, seconds: float) -> tuple[float, float]:
    """Return the share of a core that sampling takes, ours and the watched processes' together with their agents."""
    process, folder, _ = started(workers)
    try:
        tree = Tree(process.pid, folder=folder)
        for _ in range(3):
            tree.sample()
            time.sleep(INTERVAL_S)
        watched = [psutil.Process(one.pid) for one in tree.sample().processes]
        theirs = -sum(sum(one.cpu_times()[:2]) for one in watched)
        ours, count = -time.process_time(), round(seconds / INTERVAL_S)
        for _ in range(count):
            tree.sample()
            time.sleep(INTERVAL_S)
        ours += time.process_time()
        theirs += sum(sum(one.cpu_times()[:2]) for one in watched)
        tree.close()
        return ours / (count * INTERVAL_S), theirs / (count * INTERVAL_S)
    finally:
        ended(process, folder)


def stats() -> tuple[float, float, int]:
    """Return median and 99th percentile of a round trip of `stats`, and the blocks that 200 of them keep."""
    process, folder, token = started(0)
    try:
        with Client(folders.socket_path(folder, process.pid), token) as client:
            before = [client.call("stats")["blocks"] for _ in range(20)][-1]
            times = []
            for _ in range(200):
                began = time.perf_counter()
                after = client.call("stats")["blocks"]
                times.append(time.perf_counter() - began)
        return statistics.median(times), sorted(times)[197], after - before
    finally:
        ended(process, folder)


def startup(rounds: int = 15) -> tuple[float, float]:
    """Return how much longer an interpreter takes to start with the agent, and how much more it holds (USS)."""
    folder, token = folders.create()
    variables = {"without": {}, "with": launch.environment(folder, token)}
    times, sizes = {"without": [], "with": []}, {}
    for name, added in variables.items():
        environ = {**os.environ, **added}
        for _ in range(rounds):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], env=environ, check=True)
            times[name].append(time.perf_counter() - began)
        with subprocess.Popen([sys.executable, "-c", "input()"], env=environ, stdin=subprocess.PIPE) as process:
            time.sleep(0.5)
            sizes[name] = psutil.Process(process.pid).memory_full_info().uss
            process.communicate(b"\n")
    folders.remove(folder)
    return min(times["with"]) - min(times["without"]), sizes["with"] - sizes["without"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    for workers in (0, 4):
        ours, theirs = sampling(workers, seconds)
        print(f"5 Hz, {1 + workers} process(es): {ours:.2%} of a core here, {theirs:.2%} in them")
    median_s, high_s, blocks = stats()
    print(f"stats: {median_s * 1e6:.0f} us median, {high_s * 1e6:.0f} us p99; 200 keep {blocks} blocks")
    start_s, bytes_ = startup()
    print(f"agent: {start_s * 1e3:+.1f} ms at start, {bytes_ / 2**20:+.1f} MiB unique")


if __name__ == "__main__":
    main()
