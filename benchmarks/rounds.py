"""
Measure variants of one thing in turn, and print the medians; the benchmarks beside this file are made of it.

On shared cores two runs a minute apart differ by more than what is compared here. So the variants take turns, the
first of each round moves on by one, and ratios are taken within a round before the median is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: Folders are made here: what a disk does beside would be measured as well (an rmdir took 4 ms on one, 3 us here).
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
_COMPILED = tempfile.TemporaryDirectory(prefix="memguard-compiled-", dir=MEMORY)
#: Only pytest's own plugins, and what is named; compiled files are kept, as in any usual run, but not in the project.
BARE = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONHASHSEED": "0",
    "PYTHONPYCACHEPREFIX": _COMPILED.name,
}
ALL_PLUGINS = {**BARE, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
MEMGUARD = ("-p", "pytest_memguard.plugin")


@dataclass(frozen=True)
class Child:
    """What one child process cost."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    output: str


def arguments(docstring: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser that knows ``--rounds`` and ``--json``."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each variant is measured ({rounds})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all readings to this file")
    return parser


def in_turn(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each variant once a round, after one round that does not count; return its readings by name."""
    names = list(variants)
    readings: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            reading = variants[name]()
            if number >= 0:
                readings[name].append(reading)
    return readings


def ratio(above: Iterable[float], below: Iterable[float]) -> tuple[float, float, float]:
    """Return the median of the rounds' ratios, and the quartiles around it."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else (ratios[0],) * 3
    return median(ratios), low, high


def run(command: Sequence[str | os.PathLike[str]], folder: Path, extra: Mapping[str, str] = BARE) -> Child:
    """
    Run *command* in *folder* and wait for it.

    Raises:
        SystemExit: it failed; its output is the message.

    """
    environment = {**os.environ, **extra}
    began = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in {0, 5}:  # 5: pytest found no test, as some benchmarks mean it to
        raise SystemExit(f"{' '.join(map(str, command))}\n{output}\nexit code {child.returncode}")
    return Child(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)


def with_path(folder: Path) -> dict[str, str]:
    """Return the variable that makes the modules in *folder* importable, before all others."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


def pytest_command(*options: str) -> list[str]:
    """Return a pytest command that keeps no cache."""
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: the first column to the left, figures to the right."""
    table = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(title)
    for number, row in enumerate(table):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip())
        if not number:
            print("  " + "  ".join("-" * width for width in widths))


def judged(value: float, limit: float, *, least: bool = False) -> str:
    """Say whether *value* keeps to its target: at most *limit*, or at least."""
    return "met" if (value >= limit if least else value <= limit) else "MISSED"


def keep(path: Path | None, benchmark: str, figures: Mapping[str, object]) -> None:
    """Write all readings as JSON, if a file was asked for."""
    if path is None:
        return
    where = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
    path.write_text(json.dumps({"benchmark": benchmark, **where, **figures}, indent=1) + "\n", encoding="utf-8")
