"""
Find out everything about a service: its footprint step by step, whether it leaks under load, and what grew in it.

That is `memguard baseline`, `memguard soak` and two heap snapshots in one. Written into one folder: memguard.json,
memguard-report.html and memguard-footprint.json; the snapshots go into .memguard/snapshots, beside the scenario.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.core import document
from pytest_memguard.errors import ConfigError
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pytest_memguard.scenario.analyze import Analysis

__all__ = ["add_arguments", "run"]

_DOCUMENT, _REPORT, _FOOTPRINT = "memguard.json", "memguard-report.html", "memguard-footprint.json"
_MOST_RUNS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    add = parser.add_argument
    add("scenario", metavar="SCENARIO.toml", help="the scenario, or its name in pyproject.toml")
    folder = "folder for document, report and footprint (default: the current one)"
    add("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help=folder)
    add("-n", "--runs", type=int, default=1, metavar="N", help="how often the footprint is measured (default: 1)")
    add("--json", action="store_true", help="print the result document instead of the account")
    undecided = "what to end with where it cannot be told: 0 or 1 (default: 3)"
    add("--undecided", choices=("pass", "fail"), help=undecided)


def run(options: argparse.Namespace) -> int:
    """Analyze, print what was found, and write the files."""
    if not 1 <= options.runs <= _MOST_RUNS:
        raise ConfigError(f"--runs = {options.runs} is not a whole number from 1 to {_MOST_RUNS}")
    if not options.output.is_dir():
        raise ConfigError(f"--output = {plain(str(options.output))!r} is not a folder; make it first")
    from pytest_memguard.scenario.analyze import analyze  # noqa: PLC0415 - psutil and the load
    from pytest_memguard.scenario.spec import Scenario  # noqa: PLC0415 - as above

    found = analyze(Scenario.load(options.scenario), runs=options.runs, notice=_tell)
    _write(found, options.output)
    print(document.dumps(found.run) if options.json else "\n".join(_lines(found, options.output)))
    return found.exit_code(options.undecided)


def _tell(line: str) -> None:
    sys.stderr.write(f"{plain(line)}\n")
    sys.stderr.flush()


def _write(found: Analysis, folder: Path) -> None:
    from pytest_memguard import registry  # noqa: PLC0415 - once there is something to render
    from pytest_memguard.scenario import kept  # noqa: PLC0415 - see run

    store.write(found.run, folder / _DOCUMENT)
    store.write_text(registry.renderers()["html"](found.run), folder / _REPORT)
    kept.write(found.footprint, folder / _FOOTPRINT)


def _lines(found: Analysis, folder: Path) -> Iterator[str]:
    from pytest_memguard.cli.soak import summary  # noqa: PLC0415 - its words
    from pytest_memguard.scenario.tables import changes_table, footprint_table  # noqa: PLC0415 - see run

    yield "1. What it takes and keeps, step by step"
    yield footprint_table(found.footprint)
    if found.comparison is None:
        yield "nothing to compare with; `memguard baseline --save` keeps a footprint"
    elif found.comparison.refused:
        yield f"not compared: {plain(found.comparison.refused)}"
    else:
        yield changes_table(found.comparison)
    yield "\n2. Under load"
    yield summary(found.soaked)
    yield "\n3. What grew"
    if found.pair is None:
        yield f"no heap snapshots: {plain(found.without_pair)}"
    else:
        yield from found.pair.lines()
        yield f"snapshots: {plain(str(found.pair.before))}, {plain(str(found.pair.after))} (Chrome > DevTools > Memory)"
    yield f"\nWritten: {', '.join(plain(str(folder / name)) for name in (_REPORT, _DOCUMENT, _FOOTPRINT))}"
