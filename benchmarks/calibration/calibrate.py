"""
Count how clean and leaking tests end a ladder, and make the table behind the calibrated score from the counts.

    python benchmarks/calibration/calibrate.py count --clean RUN.json... --leaking RUN.json... [--except PATTERN...]
    python benchmarks/calibration/calibrate.py table

``count`` reads result documents: clean ones of suites that are known not to leak (tests that are known to grow for
real are named with --except and leave both counts), leaking ones of tests that are known to leak. It writes
``counts.json`` beside this script. ``table`` turns it into ``pytest_memguard/core/calibration.py``.

A test ends confirmed or not; if it does, it has a length (full, or short for slow tests), a shape and a holder. Few
clean tests get there, so ends are pooled into classes, and the share of clean tests is the upper 95 % bound of a
Poisson count (Garwood, Biometrika 28, 437, 1936): a small corpus cannot give a high score. Whether a clean test would
have ended in a short ladder is read off the first readings of its long one, and any that still grew there counts.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pytest_memguard import store
from pytest_memguard.core.ladder import HURRIED_CLIMB, advance, suspects_of
from pytest_memguard.core.values import Level, Phase, Readings, SubjectResult
from pytest_memguard.core.verdict import holder_kind, length_of

HERE = Path(__file__).parent
COUNTS = HERE / "counts.json"
TABLE = HERE.parent.parent / "pytest_memguard" / "core" / "calibration.py"

LENGTHS = ("full", "short")
SHAPES = ("exact", "linear", "late")
HOLDERS = ("unbounded", "hidden", "native", "resource", "sampled", "unseen")
NOT_COUNTED = (Level.SKIPPED, Level.UNMEASURED)


def class_of(length: str, shape: str, holder: str) -> str:
    """Pool ends that are equally telling: uneven growth of memory that nothing is seen to hold is not as good as others."""
    if holder == "unseen":
        return f"{length} unseen"
    if shape == "late" and holder in ("native", "sampled"):
        return f"{length} uneven native"
    return f"{length} steady"


def end_of(result: SubjectResult) -> str | None:
    """Return the class in which a measurement ended confirmed; None if it did not."""
    step = advance(result.readings, result.plan, result.holder)
    ends = [
        class_of(length_of(result.readings), suspect.shape.value, holder_kind(suspect, result.holder))
        for suspect in step.suspects
        if suspect.confirmed
    ]
    return min(ends, key=_strength, default=None)


def short_end_of(result: SubjectResult) -> str | None:
    """Return the class in which a short ladder might have ended: whatever still grew where it stops climbing."""
    readings = result.readings
    screen = readings.phases.count(Phase.SCREEN)
    if readings.phases.count(Phase.CLIMB) <= HURRIED_CLIMB or result.holder.kind in ("bounded", "rebound"):
        return None
    end = screen + HURRIED_CLIMB + 1
    width = len(readings.metrics)
    head = Readings(readings.metrics, readings.runs[:end], readings.phases[:end], readings.values[: end * width])
    ends = [
        class_of("short", suspect.shape.value, holder_kind(suspect, result.holder))
        for suspect in suspects_of(head, replace(result.plan, hurried=True))
        if suspect.shape.value in SHAPES
    ]
    return min(ends, key=_strength, default=None)


def _strength(name: str) -> int:
    return ("steady", "native", "unseen").index(name.split()[-1])


def count(options: argparse.Namespace) -> int:
    """Write counts.json."""
    tally = {"clean": Counter(), "leaking": Counter(), "tests": Counter(), "documents": {}}
    for kind in ("clean", "leaking"):
        for path in getattr(options, kind):
            seen = _tally(path, kind, options.excepted, tally)
            name = f"{kind}/{path.stem}"
            tally["documents"][name] = seen
            print(f"{name}: {seen}")
    COUNTS.write_text(json.dumps(tally, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def _tally(path: Path, kind: str, excepted: list[str], tally: dict) -> dict:
    seen = Counter()
    for result in store.read(path).results:
        if result.verdict.level in NOT_COUNTED or result.readings is None or not len(result.readings):
            continue
        if any(fnmatch.fnmatch(result.id, f"*{pattern}*") for pattern in excepted):
            seen["excepted"] += 1
            continue
        tally["tests"][kind] += 1
        seen["tests"] += 1
        for end in filter(None, (end_of(result), short_end_of(result))):
            tally[kind][end] += 1
            seen[end] += 1
            if kind == "clean" and end.startswith("full"):
                print(f"  {end}: {result.id}", file=sys.stderr)
    return dict(seen)


def upper_bound(events: int) -> float:
    """Return the upper 95 % bound of the mean of a Poisson count."""
    low, high = float(events), 10.0 * events + 20.0
    for _ in range(100):
        middle = (low + high) / 2
        below = sum(math.exp(k * math.log(middle) - middle - math.lgamma(k + 1)) for k in range(events + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high


def table(_options: argparse.Namespace) -> int:
    """Write core/calibration.py."""
    counts = json.loads(COUNTS.read_text(encoding="utf-8"))
    tests = counts["tests"]
    clean, leaking = [], []
    for length in LENGTHS:
        for shape in SHAPES:
            for holder in HOLDERS:
                name = class_of(length, shape, holder)
                key = f'("{length}", "{shape}", "{holder}")'
                clean.append(f"    {key}: {upper_bound(counts['clean'].get(name, 0)) / tests['clean']:.3g},")
                leaking.append(
                    f"    {key}: {min(tests['leaking'], max(1, counts['leaking'].get(name, 0))) / tests['leaking']:.3g},"
                )
    TABLE.write_text(
        TEMPLATE.format(
            clean_tests=tests["clean"],
            leaking_tests=tests["leaking"],
            clean="\n".join(clean),
            leaking="\n".join(leaking),
        ),
        encoding="utf-8",
    )
    return 0


TEMPLATE = '''"""
How often clean and leaking tests end a ladder alike: the table behind the calibrated score.

Made by ``benchmarks/calibration/calibrate.py`` from {clean_tests} clean and {leaking_tests} leaking tests; not edited by
hand. Ends that are equally telling share the counts of their class.
"""

from __future__ import annotations

__all__ = ["CLEAN", "LEAKING", "VERSION"]

VERSION = "2026.1"

#: P(length, shape, holder | clean): upper 95 % bound from the counts.
CLEAN: dict[tuple[str, str, str], float] = {{
{clean}
}}

#: P(length, shape, holder | leaking).
LEAKING: dict[tuple[str, str, str], float] = {{
{leaking}
}}
'''


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    counting = commands.add_parser("count")
    counting.add_argument("--clean", nargs="*", type=Path, default=[])
    counting.add_argument("--leaking", nargs="*", type=Path, default=[])
    counting.add_argument("--except", nargs="*", default=[], dest="excepted")
    counting.set_defaults(run=count)
    commands.add_parser("table").set_defaults(run=table)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
