"""
Show what result documents say.

Several documents (shards, Python versions) are shown as one. The exit code is 1 if there is a leak in them.
"""

from __future__ import annotations

import functools
import json
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.core import document
from pytest_memguard.core.values import Level
from pytest_memguard.renderers import terminal

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("documents", nargs="+", type=Path, metavar="RUN.json", help="result documents, plain or .gz")
    verbose = "name what settled and what was not measured"
    parser.add_argument("-v", "--verbose", action="count", default=0, help=verbose)
    parser.add_argument("--json", action="store_true", help="print the merged document instead")


def run(options: argparse.Namespace) -> int:
    """Print the summary, then the text of each leak."""
    merged = functools.reduce(operator.add, map(store.read, options.documents))
    leaks = [result for result in merged.results if result.verdict.level is Level.LEAK]
    if options.json:
        json.dump(document.to_dict(merged), sys.stdout)
    else:
        texts = [terminal.summary(merged, verbosity=options.verbose), *map(terminal.failure, leaks)]
        sys.stdout.write("\n\n".join(filter(None, texts)) + "\n")
    return int(bool(leaks))
