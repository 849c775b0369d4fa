"""
Measure what a service takes and keeps at each step of its life, and compare it with an earlier version.

The steps are the tables [[step]] of the scenario; without any: idle, the import, the first request, each route, many at
once, and what is left after collecting. Nothing is replaced without --reason: a baseline is raised by a decision.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.errors import ConfigError
from pytest_memguard.renderers.terminal import plain
from pytest_memguard.scenario import footprint, kept
from pytest_memguard.scenario.spec import Scenario
from pytest_memguard.scenario.tables import changes_table, comparison_to_dict, footprint_table

if TYPE_CHECKING:
    import argparse

    from pytest_memguard.scenario.footprint import Footprint, FootprintComparison

__all__ = ["add_arguments", "run"]

_CLEAN, _WORSE, _UNDECIDED = 0, 1, 3
_MOST_RUNS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    add = parser.add_argument
    add("scenario", metavar="SCENARIO.toml", help="the scenario, or its name in pyproject.toml")
    add("-o", "--output", type=Path, metavar="FILE", help="write the footprint to this file")
    compare = "compare with this file (default: the saved footprint of this environment, where there is one)"
    add("-c", "--compare", type=Path, metavar="PREVIOUS", help=compare)
    add("--save", action="store_true", help="keep it in .memguard/footprints, beside the scenario")
    add("--reason", default="", metavar="TEXT", help="why what is there may be replaced; kept in the file")
    add("-n", "--runs", type=_runs, default=3, metavar="N", help="how often it is measured (default: %(default)s)")
    add("--json", action="store_true", help="print footprint and comparison for a machine")
    undecided = "what it means if the two cannot be compared (default: fail, exit code 3)"
    add("--undecided", choices=["pass", "fail"], default="fail", help=undecided)


def _runs(text: str) -> int:
    import argparse  # noqa: PLC0415 - argparse is loaded where this is called

    if not text.isdecimal() or not 1 <= int(text) <= _MOST_RUNS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST_RUNS}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Measure, compare, print, and write what is to be written."""
    from pytest_memguard.scenario import stages  # noqa: PLC0415 - it needs the extra

    scenario = Scenario.load(options.scenario)
    environment = store.environment()
    saved_at = kept.place_of(scenario, environment)
    for place in _places(options, saved_at):
        _require_reason(place, options.reason)
    before = _previous(options.compare, saved_at)
    after = stages.measure(scenario, runs=options.runs, environment=environment, tell=_tell)
    after = replace(after, reason=options.reason, commit=store.commit_of(kept.folder_of(scenario)))
    found = footprint.compare(before, after) if before else None
    _print(after, found, as_json=options.json)
    for place in _places(options, saved_at):
        kept.write(after, place)
        sys.stderr.write(f"written to {plain(str(place))}\n")
    return _code(found, options)


def _places(options: argparse.Namespace, saved_at: Path) -> list[Path]:
    return [place for place in (options.output, saved_at if options.save else None) if place is not None]


def _require_reason(place: Path, reason: str) -> None:
    """Refuse to replace a file without a reason, and a place where no file can be, before anything is measured."""
    if place.is_dir():
        raise ConfigError(f"{plain(str(place))} is a folder; name a file in it")
    if place.exists() and not reason.strip():
        raise ConfigError(f"{plain(str(place))} is there already; say with --reason why it may be replaced")
    if store.FOLDER not in place.parts and not place.absolute().parent.is_dir():
        raise ConfigError(f"{plain(str(place))}: there is no folder for it; make it first")


def _previous(given: Path | None, saved_at: Path) -> Footprint | None:
    if given is not None:
        return kept.read(given)
    return kept.read(saved_at) if saved_at.exists() else None


def _tell(line: str) -> None:
    sys.stderr.write(f"{plain(line)}\n")
    sys.stderr.flush()


def _print(after: Footprint, found: FootprintComparison | None, *, as_json: bool) -> None:
    if as_json:
        content = {
            "footprint": json.loads(footprint.dumps(after)),
            "comparison": None if found is None else comparison_to_dict(found),
        }
        print(json.dumps(content, indent=1))
        return
    often = "once" if after.runs == 1 else f"{after.runs} times"
    print(f"{plain(after.scenario)}, {after.key}, measured {often}\n")
    print(footprint_table(after))
    if found is None:
        print("\nnothing to compare with; keep this with --save")
    elif found.refused:
        print(f"\nnot compared: {plain(found.refused)}")
    else:
        print(f"\n{changes_table(found)}")


def _code(found: FootprintComparison | None, options: argparse.Namespace) -> int:
    """Return the exit code; what is saved with a reason is accepted."""
    if found is None or (options.save and options.reason):
        return _CLEAN
    if found.refused:
        return _CLEAN if options.undecided == "pass" else _UNDECIDED
    return _WORSE if found.worse else _CLEAN
