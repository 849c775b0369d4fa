"""
Whether a large live heap makes a test's measurement dearer: 1,000,000 live objects beside 10,000.

The overhead of a test is the CPU time of the run loop under ``pytest --memguard`` (quick: three runs) less that of the
loop of three plain repeats, by the number of tests. A conftest.py makes the objects (dicts that hold a list, so the
collector knows both).

Target: overhead with 1,000,000 / overhead with 10,000 <= 1.3.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import count as count_up
from pathlib import Path
from statistics import median

from rounds import BARE, MEMGUARD, MEMORY, arguments, in_turn, judged, keep, pytest_command, ratio, run, show, with_path
from suite_ratio import clocked, write_plugins, write_suite

TARGET = 1.3
FEW, MANY = 10_000, 1_000_000


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--tests", type=int, default=400, help="size of the suite (400)")
    parser.add_argument("--work", type=float, default=0.3, help="scale of the tests' own time of 0.2 to 1 ms (0.3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        _measure(Path(name), options)


def _measure(folder: Path, options) -> None:  # noqa: ANN001 - what argparse makes
    for count in (FEW, MANY):
        write_suite(folder / str(count), options.tests, options.work)
        text = f"HELD = [{{number: []}} for number in range({count // 2})]\n"
        (folder / str(count) / "conftest.py").write_text(text, encoding="utf-8")
    write_plugins(folder)
    switches = {"3 times": ("-p", "repeat_plugin"), "memguard": (*MEMGUARD, "--memguard")}
    numbers = count_up()

    def measured(count: int, variant: str) -> float:
        basetemp = folder / f"tmp-{next(numbers)}"
        command = pytest_command("-p", "clock_plugin", "--basetemp", str(basetemp), *switches[variant])
        child = run(command, folder / str(count), {**BARE, **with_path(folder)})
        return clocked(child.output)[0]

    readings = in_turn(
        {
            f"{variant} {count}": lambda count=count, variant=variant: measured(count, variant)
            for count in (FEW, MANY)
            for variant in switches
        },
        options.rounds,
    )
    overhead = {
        count: [
            (guarded - plain) / options.tests
            for guarded, plain in zip(readings[f"memguard {count}"], readings[f"3 times {count}"], strict=True)
        ]
        for count in (FEW, MANY)
    }
    rows = [
        (
            f"{count:,}",
            f"{median(readings[f'3 times {count}']) / options.tests * 1e6:.0f}",
            f"{median(readings[f'memguard {count}']) / options.tests * 1e6:.0f}",
            f"{median(overhead[count]) * 1e6:.0f}",
        )
        for count in (FEW, MANY)
    ]
    header = ("live objects", "3 times, us a test", "memguard, us a test", "overhead, us a test")
    show(f"{options.tests} tests, median of {options.rounds} rounds", header, rows)
    of_medians = median(overhead[MANY]) / median(overhead[FEW])
    _, low, high = ratio(overhead[MANY], overhead[FEW])
    print(f"{MANY:,} / {FEW:,} = {of_medians:.2f} ({low:.2f}-{high:.2f}), {judged(of_medians, TARGET)} ({TARGET})")
    keep(options.json, "live_objects", {"target": TARGET, "tests": options.tests, "loop_cpu_s": readings})


if __name__ == "__main__":
    sys.exit(main())
