"""
What the installed plugin costs a session that does not use it.

pytest is started with the plugin and with ``-p no:memguard``, in turn: for ``pytest --version``, on an empty folder
and on a folder of ten tests. Time is wall time of the process; memory is its peak resident set.

Targets: at most 5 ms and 1 MiB more; none of psutil, pympler, objgraph and jinja2 imported.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from rounds import (
    ALL_PLUGINS,
    BARE,
    MEMGUARD,
    MEMORY,
    arguments,
    in_turn,
    judged,
    keep,
    pytest_command,
    run,
    show,
    with_path,
)

TARGET_MS = 5.0
TARGET_KIB = 1024
HEAVY = ("psutil", "pympler", "objgraph", "jinja2")

_NAMES_PLUGIN = '''
"""Print which modules this session imported."""
import sys


def pytest_unconfigure():
    print("imported", *sorted(sys.modules))
'''


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=21)
    parser.add_argument("--all-plugins", action="store_true", help="with every plugin that is installed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        _measure(Path(name), options)


def _measure(folder: Path, options) -> None:  # noqa: ANN001 - what argparse makes
    for name in ("empty", "ten"):
        (folder / name).mkdir()
        (folder / name / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    tests = "\n\n".join(f"def test_{number}():\n    pass\n" for number in range(10))
    (folder / "ten" / "test_ten.py").write_text(tests, encoding="utf-8")
    (folder / "names_plugin.py").write_text(_NAMES_PLUGIN, encoding="utf-8")
    environment = {**(ALL_PLUGINS if options.all_plugins else BARE), **with_path(folder)}
    sides = {
        "with": () if options.all_plugins else MEMGUARD,
        "without": ("-p", "no:memguard") if options.all_plugins else (),
    }
    cases = {"--version": ("empty", "--version"), "empty": ("empty",), "ten tests": ("ten",)}
    peaks: dict[str, list[float]] = {}

    def measured(case: str, side: str) -> float:
        where, *more = cases[case]
        child = run(pytest_command(*sides[side], *more), folder / where, environment)
        peaks.setdefault(f"{case} {side}", []).append(child.peak_rss_bytes / 1024)
        return child.wall_s * 1e3

    readings = in_turn(
        {f"{case} {side}": lambda case=case, side=side: measured(case, side) for case in cases for side in sides},
        options.rounds,
    )
    peaks = {name: values[1:] for name, values in peaks.items()}  # without the round that does not count
    rows, failures = [], []
    for case in cases:
        more_ms, more_kib = (_median_difference(values, case) for values in (readings, peaks))
        rows.append(
            (
                case,
                f"{median(readings[f'{case} without']):.1f}",
                f"{more_ms:+.1f}",
                judged(more_ms, TARGET_MS),
                f"{median(peaks[f'{case} without']):,.0f}",
                f"{more_kib:+,.0f}",
                judged(more_kib, TARGET_KIB),
            )
        )
        failures += _heavy_imports(folder, environment, sides, cases[case])
    header = ("session", "ms without", "ms more", f"<= {TARGET_MS:g}", "KiB without", "KiB more", f"<= {TARGET_KIB}")
    show(f"median of {options.rounds} rounds; differences are taken within a round", header, rows)
    print(f"imported with the plugin, of {', '.join(HEAVY)}: {', '.join(sorted(set(failures))) or 'none'}")
    keep(options.json, "startup", {"wall_ms": readings, "peak_rss_kib": peaks, "heavy_imports": failures})


def _median_difference(values: dict[str, list[float]], case: str) -> float:
    return median(one - other for one, other in zip(values[f"{case} with"], values[f"{case} without"], strict=True))


def _heavy_imports(
    folder: Path, environment: dict[str, str], sides: dict[str, tuple[str, ...]], case: tuple[str, ...]
) -> list[str]:
    """Return the heavy modules that the plugin's presence alone brings in."""
    where, *more = case
    imported = {}
    for side in sides:
        child = run(pytest_command("-p", "names_plugin", *sides[side], *more), folder / where, environment)
        line = next((line for line in child.output.splitlines() if line.startswith("imported")), "")
        assert line or "--version" in more, child.output  # pytest 9 answers --version before it loads any plugin
        imported[side] = set(line.split())
    return [name for name in HEAVY if name in imported["with"] - imported["without"]]


if __name__ == "__main__":
    sys.exit(main())
