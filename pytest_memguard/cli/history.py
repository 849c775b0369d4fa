"""
Show how each cause grew over the commits.

Result documents that are named are added first. The file is made again from documents if it is lost: name those that
are kept; baselines in .memguard/baselines are taken as well.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import history, store
from pytest_memguard.cli.compare import write_text
from pytest_memguard.core import past
from pytest_memguard.errors import ConfigError, DocumentError
from pytest_memguard.renderers import history as shown
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["add_arguments", "run"]

_FILE = Path(store.FOLDER) / "history.sqlite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("documents", nargs="*", type=Path, metavar="RUN.json", help="result documents to add")
    parser.add_argument("--file", type=Path, default=_FILE, metavar="FILE", help=f"the history (default: {_FILE})")
    parser.add_argument("--since", metavar="DATE or COMMIT", help="leave out what was before, as in 2026-01-31")
    parser.add_argument("--cause", metavar="FINGERPRINT", default="", help="only this one, by its first digits")
    parser.add_argument("--format", choices=["text", "json", "html"], default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this file instead of printing")


def run(options: argparse.Namespace) -> int:
    """Add what was named, and show the trends."""
    _add(options.documents, options.file)
    sessions = history.read(options.file)
    if options.since:
        left = past.since(sessions, options.since)
        if sessions and not left:
            raise ConfigError(
                f"--since = {plain(options.since)!r} is no date or commit that anything was measured from"
            )
        sessions = left
    tests = {test for one in sessions for leak in one.leaks for test in leak.tests}
    names = tests | {test.partition("::")[0] for test in tests}
    trends = past.trends(sessions, {name: history.number_of(name) for name in names})
    trends = tuple(one for one in trends if one.fingerprint.startswith(options.cause))
    commits = len({(one.sha or one.time, one.dirty) for one in sessions})
    write_text(_text(trends, commits, options.format), options.output)
    return 0


def _add(documents: Sequence[Path], file: Path) -> None:
    if not documents:
        if not history.is_there(file):
            raise ConfigError(f"there is no history in {plain(str(file))}; name result documents to make one")
        if history.is_damaged(file):
            raise DocumentError(f"{plain(str(file))} is damaged; name result documents to make it again")
        return
    runs = [store.read(path, outline=True) for path in documents]
    if history.is_damaged(file):
        aside = history.set_aside(file)
        sys.stderr.write(f"memguard: {plain(str(file))} was damaged, is now {plain(aside.name)}, and is made again\n")
    if not history.is_there(file):
        runs += [store.read(path) for path in sorted(file.parent.glob("baselines/*/*.json"))]
    history.add(file, runs)


def _text(trends: Sequence[past.CauseTrend], commits: int, name: str) -> str:
    if name == "json":
        return json.dumps(shown.to_dict(trends, commits), indent=2)
    return shown.page(trends, commits) if name == "html" else shown.text(trends, commits)
