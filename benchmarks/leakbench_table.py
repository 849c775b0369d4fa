"""
Make the table of LeakBench results from the files that its runner wrote (--out), one row a case.

    python benchmarks/leakbench_table.py FIRST.json SECOND.json ...

Each cell says how often the side was judged right, over all files, and the verdicts with the runs they took.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path


def main() -> int:
    """Print the table."""
    cases: dict[str, dict[str, list[dict]]] = defaultdict(lambda: {"leaky": [], "fixed": []})
    for name in sys.argv[1:]:
        for row in json.loads(Path(name).read_text(encoding="utf-8")):
            cases[row["id"]][row["side"]].append(row)
    print("| case | kind | leaky side | fixed side |\n| --- | --- | --- | --- |")
    for case, sides in sorted(cases.items()):
        kind = next((row["kind"] for row in sides["leaky"]), "")
        print(f"| {case} | {kind} | {_cell(sides['leaky'])} | {_cell(sides['fixed'])} |")
    for side, word in (("leaky", "leaks caught"), ("fixed", "fixes left alone")):
        right = sum(bool(row["ok"]) for sides in cases.values() for row in sides[side])
        print(f"\n{word}: {right}/{sum(len(sides[side]) for sides in cases.values())}")
    return 0


def _cell(rows: list[dict]) -> str:
    told = sorted({f"{row['verdict']} ({row['runs']} runs)" for row in rows})
    return f"{sum(bool(row['ok']) for row in rows)}/{len(rows)} {', '.join(told)}"


if __name__ == "__main__":
    sys.exit(main())
