"""
How many calls a second ``memguard.check`` makes of an empty callable, in native mode (batches of 32 calls).

A test makes 50 checks a round; timed is all of ``check``: settling, readings, verdict and result. Beside it stands the
same number of calls in a plain loop.

Target: 20,000 calls a second or more.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from rounds import BARE, MEMGUARD, MEMORY, arguments, judged, keep, pytest_command, run, show

TARGET = 20_000

_TEST = """
import json
import time


def empty():
    pass


def test_calls(memguard):
    guard = memguard.using(mode="native")
    rounds = []
    for _ in range({rounds} + 1):
        made, levels = 0, []
        began = time.perf_counter()
        for _ in range({checks}):
            result = guard.check(empty)
            made += result.runs
            levels.append(result.verdict.level.value)
        checked = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(made):
            empty()
        plain = time.perf_counter() - began
        rounds.append({{"calls": made, "check_s": checked, "clean": levels.count("clean"), "plain_s": plain}})
        assert set(levels) <= {{"clean", "settled"}}, levels
    with open("rounds.json", "w") as file:
        json.dump(rounds[1:], file)
"""


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--checks", type=int, default=50, help="checks a round (50)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        text = _TEST.format(rounds=options.rounds, checks=options.checks)
        (folder / "test_calls.py").write_text(text, encoding="utf-8")
        run(pytest_command(*MEMGUARD), folder, BARE)
        rounds = json.loads((folder / "rounds.json").read_text(encoding="utf-8"))
    checked = median(one["calls"] / one["check_s"] for one in rounds)
    plain = median(one["calls"] / one["plain_s"] for one in rounds)
    a_check = median(one["check_s"] for one in rounds) / options.checks
    calls = median(one["calls"] for one in rounds) / options.checks
    rows = [
        ("memguard.check", f"{checked:,.0f}", f"{a_check * 1e3:.2f}", f"{calls:.0f}"),
        ("plain loop", f"{plain:,.0f}", f"{calls / plain * 1e3:.2f}", f"{calls:.0f}"),
    ]
    show(f"median of {options.rounds} rounds", ("native mode", "calls a second", "ms a check", "calls"), rows)
    print(f"{checked:,.0f} calls a second, {judged(checked, TARGET, least=True)} ({TARGET:,})")
    print(f"clean: {sum(one['clean'] for one in rounds)} of {options.rounds * options.checks}")
    keep(options.json, "check_calls", {"target": TARGET, "rounds": rounds})


if __name__ == "__main__":
    sys.exit(main())
