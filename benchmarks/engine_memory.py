"""
How much memory the results of 10,000 clean tests keep, readings included.

Made as a session makes them: one recorder with every probe of this platform, a plan for each test from the settings,
``Watch.measure`` of something empty, ``assess``. Node ids and file names are pytest's own and not counted. Counted are
the bytes that tracemalloc sees kept in the end.

Target: 5 MiB.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from dataclasses import replace
from statistics import median

from pytest_memguard import registry
from pytest_memguard.config import Settings
from pytest_memguard.core.values import Level, SubjectResult
from pytest_memguard.engine.assess import Identity, assess
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.engine.watch import Budget, Watch
from pytest_memguard.plugin.plans import plan_for

from rounds import arguments, judged, keep, show

TARGET_BYTES = 5 * 2**20


class _Nothing:
    """A subject that does nothing."""

    def run(self) -> None:
        """Do nothing."""


def measured(names: list[tuple[str, str]], recorder: Recorder, mode: str) -> list[SubjectResult]:
    """Return the results of as many empty subjects as there are *names*."""
    settings, subject, control = Settings(check="all", mode=mode), _Nothing(), ()
    results = []
    for number, (name, file) in enumerate(names):
        plan = replace(plan_for(settings, None, curious=False), control=control)
        record = Watch(subject, recorder, plan, Budget(settings.budget_s, 2.0)).measure()
        results.append(assess(record, Identity(name, "test", file, number % 200 + 1, None, 0.001 * number)))
    return results


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--tests", type=int, default=10_000, help="how many results (10,000)")
    options = parser.parse_args()
    files = [f"tests/unit/test_module_{number}.py" for number in range(options.tests // 50 + 1)]
    names = [(f"{files[number // 50]}::test_{number}[case-{number}]", files[number // 50]) for number in range(options.tests)]
    recorder = Recorder(registry.probes())
    measured(names[:100], recorder, "quick")
    kept: dict[str, list[int]] = {}
    seconds: dict[str, list[float]] = {}
    for mode in ("quick", "standard"):
        for _ in range(options.rounds):
            began = time.perf_counter()
            measured(names, recorder, mode)
            seconds.setdefault(mode, []).append(time.perf_counter() - began)
            kept.setdefault(mode, []).append(_kept(names, recorder, mode))
    rows = [
        (
            mode,
            f"{median(kept[mode]) / 2**20:.2f}",
            f"{median(kept[mode]) / options.tests:.0f}",
            f"{median(seconds[mode]) / options.tests * 1e6:.0f}",
        )
        for mode in kept
    ]
    header = ("mode", "MiB", "bytes a test", "us a test (engine alone, nothing run)")
    show(f"{options.tests:,} clean tests, {len(recorder.metrics)} metrics, median of {options.rounds}", header, rows)
    most = median(kept["quick"])
    print(f"quick: {most / 2**20:.2f} MiB, {judged(most, TARGET_BYTES)} (5 MiB)")
    keep(options.json, "engine_memory", {"target": TARGET_BYTES, "kept_bytes": kept, "seconds": seconds})


def _kept(names: list[tuple[str, str]], recorder: Recorder, mode: str) -> int:
    gc.collect()
    tracemalloc.start(1)
    before = tracemalloc.get_traced_memory()[0]
    results = measured(names, recorder, mode)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    levels = [one.verdict.level for one in results]
    assert levels.count(Level.CLEAN) > 0.99 * len(levels), levels
    return after - before


if __name__ == "__main__":
    sys.exit(main())
