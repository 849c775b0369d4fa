"""
The result document of 10,000 tests: how long it takes to make, write and read, and how large it is.

Clean tests as a quick session measures them, and among them one in a hundred that leaks and was followed to the end
(65 runs, with its finding). Written and read through ``store``, as a session does; ``.gz`` is the compressed kind.

No target: what ``pytest --memguard-json`` adds at the end of a session.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from rounds import MEMORY, arguments, keep, show

from pytest_memguard import registry, store
from pytest_memguard.config import Settings
from pytest_memguard.core.document import dumps
from pytest_memguard.core.values import RunResult
from pytest_memguard.engine.assess import Identity, assess
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.engine.watch import Watch
from pytest_memguard.plugin.plans import plan_for


class _Nothing:
    """A subject that does nothing."""

    def run(self) -> None:
        """Do nothing."""


class _Leak:
    """A subject that keeps a list each time."""

    def __init__(self) -> None:
        self.kept: list[list[int]] = []

    def run(self) -> None:
        """Leak."""
        self.kept.append([1, 2, 3])


def _session(tests: int) -> RunResult:
    recorder, settings = Recorder(registry.probes()), Settings(check="all")
    results = []
    for number in range(tests):
        file = f"tests/unit/test_module_{number // 50}.py"
        identity = Identity(f"{file}::test_{number}[case-{number}]", "test", file, number % 500 + 1, None, 0.0012)
        results.append(assess(Watch(_Nothing(), recorder, plan_for(settings, None, curious=False)).measure(), identity))
    plan = plan_for(settings, None, curious=True)
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
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        plain, packed = Path(name) / "memguard.json", Path(name) / "memguard.json.gz"
        steps = {
            "make the text": lambda: dumps(result),
            "write .json": lambda: store.write(result, plain),
            "read .json": lambda: store.read(plain),
            "write .json.gz": lambda: store.write(result, packed),
            "read .json.gz": lambda: store.read(packed),
        }
        for _ in range(options.rounds):
            for step, act in steps.items():
                began = time.perf_counter()
                act()
                seconds.setdefault(step, []).append(time.perf_counter() - began)
        sizes = {path.suffix: path.stat().st_size for path in (plain, packed)}
    rows = [
        (step, f"{median(values):.2f}", f"{median(values) / options.tests * 1e6:.0f}")
        for step, values in seconds.items()
    ]
    title = f"{options.tests:,} tests, {options.tests // 100} of them leaks, median of {options.rounds} rounds"
    show(title, ("document", "s", "us a test"), rows)
    for suffix, size in sizes.items():
        print(f"size {suffix}: {size / 1e6:.2f} MB, {size / options.tests:.0f} bytes a test")
    keep(options.json, "document_speed", {"size_bytes": sizes, "seconds": seconds})


if __name__ == "__main__":
    sys.exit(main())
