"""
What travels, of 10,000 tests with 200 leaks: the document, the report and the comparison, in seconds and bytes.

Clean tests as a quick session measures them (nine metrics, three runs), and 200 that leak, each for a cause of its own:
followed to the end (65 runs), with sites, types and a path. Written and read through ``store``, as a session does;
report and comparison are whole commands, interpreter and all. The page is opened in chromium, where there is one.
The second column is what the processor did, which other work on the machine changes less.

Targets: document written in 1 s, 15 MB; report made in 3 s, 5 MB, first paint 1 s, a letter in its search 50 ms;
comparison of two documents 2 s.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from rounds import MEMORY, arguments, judged, keep, show

from pytest_memguard import registry, store
from pytest_memguard.config import Settings
from pytest_memguard.core.document import dumps
from pytest_memguard.core.values import Holder, Hop, Level, RetentionPath, RunResult, Site, SubjectResult, TypeGrowth
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


#: Each letter of a search, typed, from the letter to the layout of the rows that it leaves.
_TYPED = """new Promise(resolve => {
    const field = document.querySelector('.tools input'), spans = [], letters = [...'test_module_19'];
    const next = () => {
        if (!letters.length) return resolve(spans);
        const began = performance.now();
        field.value += letters.shift();
        field.oninput();
        document.querySelector('.all').getBoundingClientRect();
        spans.push(performance.now() - began);
        setTimeout(next);
    };
    next();
})"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def _explained(leak: SubjectResult, number: int, name: str) -> SubjectResult:
    """Return *leak* as another one: of a test and a cause of its own, with all that the extra pass finds."""
    file = name.partition("::")[0]
    stack = tuple(f"shop/layer_{depth}.py:{number % 300 + 1} Service.step_{depth}" for depth in range(6))
    hops = (
        Hop("module", "shop.catalog", "module"),
        Hop("attribute", f"._CACHE_{number}", "dict", 1.0, suspect=True),
        Hop("item", "[...]", "shop.catalog.Answer"),
    )
    path = RetentionPath(hops, "\n".join(f"{'  ' * depth}{hop.name}: {hop.type}" for depth, hop in enumerate(hops)))
    sites = tuple(
        Site(f"shop/catalog_{at}.py", number % 400 + 1, "Catalog.search", 1100.0, 7.0, stack, "self.kept.append(found)")
        for at in range(3)
    )
    types = tuple(TypeGrowth(f"shop.catalog.Answer{at}", 1.0, 400.0) for at in range(3))
    why = {"sites": sites, "types": types, "paths": (path,), "advice": "bound it: functools.lru_cache(maxsize=...)"}
    findings = tuple(replace(finding, fingerprint=f"{number:016x}", **why) for finding in leak.findings)
    holder = Holder("unbounded", f"shop.catalog._CACHE_{number}", None, 1.0)
    verdict = replace(leak.verdict, level=Level.LEAK, score=97.0)  # nobody looked for a holder, so it was not sure
    return replace(leak, id=name, file=file, verdict=verdict, findings=findings, holder=holder)


def _session(tests: int, leaks: int) -> RunResult:
    recorder, settings = Recorder(registry.probes()), Settings(check="all")
    results = []
    for number in range(tests):
        file = f"tests/unit/test_module_{number // 50}.py"
        identity = Identity(f"{file}::test_{number}[case-{number}]", "test", file, number % 500 + 1, None, 0.0012)
        results.append(assess(Watch(_Nothing(), recorder, plan_for(settings, None, curious=False)).measure(), identity))
    plan = plan_for(settings, None, curious=True)
    leak = assess(Watch(_Leak(), recorder, plan).measure(), Identity("leak", "test", "tests/unit/test_leak.py", 3))
    assert leak.findings, leak.verdict
    for number in range(leaks):
        at = number * tests // leaks
        results[at] = _explained(leak, number, results[at].id)
    return RunResult("2026-11-21T00:00:00+00:00", 60.0, store.environment(), None, {}, {}, tuple(results), 30.0, 10.0)


def _command(*arguments: str) -> None:
    """Run ``memguard``; 1 is its word for a leak."""
    code = "import sys; from pytest_memguard.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr


def _in_browser(page: Path, rounds: int) -> dict[str, list[float]]:
    """Return how long the first paint took, and the slowest letter of a search; nothing without a browser."""
    spec = importlib.util.spec_from_file_location(
        "browsers", Path(__file__).parents[1] / "tests" / "browser" / "conftest.py"
    )
    assert spec is not None
    assert spec.loader is not None
    browsers: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(browsers)
    path = next(filter(None, map(shutil.which, browsers._NAMES)), None)
    if path is None:
        return {}
    found: dict[str, list[float]] = {"first paint": [], "slowest letter of a search": []}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = browsers.Browser(path, Path(profile))
        try:
            for _ in range(rounds):
                tab = browsers.Tab(browser)
                tab.open(page)
                found["first paint"].append(tab.run(_PAINTED) / 1000)
                found["slowest letter of a search"].append(max(tab.run(_TYPED)) / 1000)
        finally:
            browser.close()
    return found


def _timed(
    steps: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the seconds of each step, which take turns: by the clock, and of the processor."""
    seconds: dict[str, list[float]] = {step: [] for step in steps}
    cpu: dict[str, list[float]] = {step: [] for step in steps}
    for _ in range(rounds):
        for step, act in steps.items():
            began, used = time.perf_counter(), _cpu_s()
            act()
            seconds[step].append(time.perf_counter() - began)
            cpu[step].append(_cpu_s() - used)
    return seconds, cpu


def _cpu_s() -> float:
    """Return what this process and its children have used so far."""
    return sum(os.times()[:4])


_LIMITS_S = {
    "write .json": 1.0,
    "write .json.gz": 1.0,
    "memguard report": 3.0,
    "memguard compare": 2.0,
    "first paint": 1.0,
    "slowest letter of a search": 0.05,
}
_LIMITS_MB = {"memguard.json": 15, "report.html": 5}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--tests", type=int, default=10_000, help="how many results (10,000)")
    parser.add_argument("--leaks", type=int, default=200, help="how many of them leak (200)")
    options = parser.parse_args()
    result = _session(options.tests, options.leaks)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        plain, packed, page = folder / "memguard.json", folder / "memguard.json.gz", folder / "report.html"
        steps: dict[str, Callable[[], object]] = {
            "make the text": lambda: dumps(result),
            "write .json": lambda: store.write(result, plain),
            "read .json": lambda: store.read(plain),
            "write .json.gz": lambda: store.write(result, packed),
            "read .json.gz": lambda: store.read(packed),
            "memguard report": lambda: _command("report", str(plain), "-o", str(page)),
            "memguard compare": lambda: _command("compare", str(plain), str(packed)),
        }
        seconds, cpu = _timed(steps, options.rounds)
        seconds |= _in_browser(page, options.rounds)
        sizes = {path.name: path.stat().st_size for path in (plain, packed, page)}
    rows = [
        (
            step,
            f"{median(values):.3f}",
            f"{median(cpu[step]):.3f}" if step in cpu else "",
            f"{max(values):.3f}",
            _word(median(values), _LIMITS_S.get(step)),
        )
        for step, values in seconds.items()
    ]
    title = f"{options.tests:,} tests, {options.leaks} of them leaks, {options.rounds} rounds"
    show(title, ("step", "median s", "cpu s", "most s", "limit"), rows)
    for file, size in sizes.items():
        print(f"{file}: {size / 1e6:.2f} MB  {_word(size / 1e6, _LIMITS_MB.get(file))}".rstrip())
    keep(options.json, "document_speed", {"size_bytes": sizes, "seconds": seconds, "cpu_seconds": cpu})


def _word(value: float, limit: float | None) -> str:
    return "" if limit is None else f"{limit:g} {judged(value, limit)}"


if __name__ == "__main__":
    sys.exit(main())
