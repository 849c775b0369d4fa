"""
How much memory the results of 10,000 clean tests keep, readings included.

``pytest --memguard`` (quick: three runs) runs 10,000 empty tests. At the end everything that is reached from the
session's results is counted once, by kind, with the bytes that the interpreter took for it. Node ids and file names
are pytest's own objects and not counted; what all tests share (verdicts, metrics) is.

Target: 5 MiB.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from rounds import BARE, MEMGUARD, MEMORY, arguments, judged, keep, pytest_command, run, show, with_path

TARGET_BYTES = 5 * 2**20

_COUNT_PLUGIN = '''
"""Count what the results keep, and write it to kept.json."""
import enum
import gc
import json
import sys
import types

import pytest

from pytest_memguard.plugin import options


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    results = session.config.stash[options.KEY].results
    seen = {id(one) for item in session.items for one in (item.nodeid, *item.location)}
    waiting, kept = [results], {}
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (type, enum.Enum, types.ModuleType)):
            continue
        seen.add(id(one))
        entry = kept.setdefault(type(one).__name__, [0, 0])
        entry[0] += 1
        entry[1] += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    levels = {}
    for result in results:
        levels[result.verdict.level.value] = levels.get(result.verdict.level.value, 0) + 1
    with open("kept.json", "w") as file:
        json.dump({"kept": kept, "levels": levels, "results": len(results)}, file)
'''


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--tests", type=int, default=10_000, help="how many tests (10,000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        _write(folder, options.tests)
        run(pytest_command(*MEMGUARD, "-p", "count_plugin", "--memguard"), folder, {**BARE, **with_path(folder)})
        counted = json.loads((folder / "kept.json").read_text(encoding="utf-8"))
    assert counted["results"] == options.tests, counted["results"]
    kept = sorted(counted["kept"].items(), key=lambda entry: -entry[1][1])
    total = sum(size for _, (_, size) in kept)
    rows = [
        (kind, f"{count:,}", f"{size / 2**20:.2f}", f"{size / options.tests:.0f}") for kind, (count, size) in kept[:8]
    ]
    rows.append(
        ("all", f"{sum(count for _, (count, _) in kept):,}", f"{total / 2**20:.2f}", f"{total / options.tests:.0f}")
    )
    show(f"{options.tests:,} tests: {counted['levels']}", ("kind", "objects", "MiB", "bytes a test"), rows)
    print(f"{total / 2**20:.2f} MiB, {judged(total, TARGET_BYTES * options.tests / 10_000)} (5 MiB for 10,000)")
    keep(options.json, "engine_memory", {"target": TARGET_BYTES, **counted})


def _write(folder: Path, tests: int) -> None:
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "count_plugin.py").write_text(_COUNT_PLUGIN, encoding="utf-8")
    for part in range(0, tests, 250):
        text = "\n\n".join(f"def test_{number}():\n    pass\n" for number in range(part, min(part + 250, tests)))
        (folder / f"test_part_{part}.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
