"""
Make one result document of several.

They are the shards of one suite, or the environments of a matrix, of one commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.core.merge import merge
from pytest_memguard.renderers.terminal import counted, plain

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("documents", nargs="+", type=Path, metavar="RUN.json", help="result documents, plain or .gz")
    output = "the document that is written; compressed if it ends in .gz"
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help=output)


def run(options: argparse.Namespace) -> int:
    """Write the merged document, and say so."""
    merged = merge(map(store.read, options.documents))
    store.write(merged, options.output)
    results, documents = counted(len(merged.results), "result"), counted(len(options.documents), "document")
    print(f"{results} of {documents} in {plain(str(options.output))}")
    return 0
