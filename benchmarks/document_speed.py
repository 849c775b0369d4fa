"""
The result document of 10,000 tests: how long it takes to make, write and read, and how large it is.

Clean tests as a quick session measures them, and among them one in a hundred that grew and was followed to the end
(65 runs, with a finding). Written and read through ``store``, as a session does, into memory where there is such a
file system.

Targets: written within 2 s, 15 MB at most.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from pytest_memguard import registry, store
from pytest_memguard.core.document import dumps
from pytest_memguard.core.values import RunResult, SubjectResult
from pytest_memguard.engine.assess import Identity, assess
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.engine.watch import Watch
from pytest_memguard.config import Settings
from pytest_memguard.plugin.plans import plan_for

from engine_memory import measured
from rounds import MEMORY, arguments, judged, keep, show

TARGET_S = 2.0
TARGET_BYTES = 15_000_000


class _Leak:
    """A subject that keeps a list each time."""

    def __init__(self) -> None:
        self.kept: list[list[int]] = []

    def run(self) -> None:
        """Leak."""
        self.kept.append([1, 2, 3])


def _session(tests: int) -> RunResult:
    recorder = Recorder(registry.probes())
    names = [(f"tests/unit/test_module_{n // 50}.py::test_{n}[case-{n}]", f"tests/unit/test_{n // 50}.py") for n in range(tests)]
    results: list[SubjectResult] = measured(names, recorder, "quick")
    plan = plan_for(Settings(check="all"), None, curious=True)
    leak = assess(Watch(_Leak(), recorder, plan).measure(), Identity("leak", "test", "tests/unit/test_leak.py", 3))
    assert leak.findings, leak.verdict
    for at in range(50, tests, 100):
        results[at] = replace(leak, id=results[at].id)
    return RunResult("2026-11-21T00:00:00+00:00", 60.0, store.environment(), None, {}, {}, tuple(results), 30.0, 10.0)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--tests", type=int, default=10_000, help="how many results (10,000)")
    options = parser.parse_args()
    result = _session(options.tests)
    seconds: dict[str, list[float]] = {"dumps": [], "write": [], "read": []}
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        path = Path(name) / "memguard.json"
        for _ in range(options.rounds):
            steps = {"dumps": lambda: dumps(result), "write": lambda: store.write(result, path), "read": lambda: store.read(path)}
            for step, act in steps.items():
                began = time.perf_counter()
                act()
                seconds[step].append(time.perf_counter() - began)
        size = path.stat().st_size
    rows = [(step, f"{median(values):.2f}", f"{median(values) / options.tests * 1e6:.0f}") for step, values in seconds.items()]
    show(f"{options.tests:,} tests, median of {options.rounds} rounds", ("document", "s", "us a test"), rows)
    print(f"size: {size / 1e6:.1f} MB, {size / options.tests:.0f} bytes a test, {judged(size, TARGET_BYTES)} (15 MB)")
    written = median(seconds["write"])
    print(f"write: {written:.2f} s, {judged(written, TARGET_S)} ({TARGET_S:g} s)")
    keep(options.json, "document_speed", {"size_bytes": size, "seconds": seconds})


if __name__ == "__main__":
    sys.exit(main())
