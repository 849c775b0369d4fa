"""
Say what grew between two heap snapshots.

A and B are .heapsnapshot files, compressed or not, of one process or of two runs of one program: by type, by the line
that allocated (where tracemalloc was tracing), and by the place where the growth hangs, with all that it keeps alive.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard import heap
from pytest_memguard.cli.compare import write_text
from pytest_memguard.core.units import Unit, amount, parse_size, signed
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from pytest_memguard.heap.difference import Change
    from pytest_memguard.heap.loaded import Site

__all__ = ["add_arguments", "run"]

_CLEAN, _GREW = 0, 1
_ROWS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("before", type=Path, metavar="A", help="the earlier snapshot")
    parser.add_argument("after", type=Path, metavar="B", help="the later snapshot")
    parser.add_argument("--top", type=int, default=_ROWS, metavar="N", help=f"most rows of each table ({_ROWS})")
    parser.add_argument("--json", action="store_true", help="all of it, for machines")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this file instead of printing")
    limit = "exit with 1 if objects grew by more in all, as in 1MiB (default: never)"
    parser.add_argument("--max-growth", metavar="SIZE", help=limit)


def run(options: argparse.Namespace) -> int:
    """Print what is different, and say by the exit code whether it is too much."""
    limit = None if options.max_growth is None else parse_size(options.max_growth)
    found = heap.compare(heap.read(options.before), heap.read(options.after))
    shown = json.dumps(found.to_dict(), indent=2) if options.json else "\n".join(_lines(found, options.top))
    write_text(shown, options.output)
    return _GREW if limit is not None and found.growth.bytes > limit else _CLEAN


def _lines(found: heap.HeapDiff, top: int) -> Iterator[str]:
    yield (
        f"memguard: {signed(found.growth.count, Unit.COUNT)} objects, {signed(found.growth.bytes, Unit.BYTE)}"
        f" (from {found.before.count} objects, {amount(found.before.bytes, Unit.BYTE)})"
    )
    if not found.same_process:
        yield "note: these are two processes; what is the same is told by names, not by identity"
    yield from _table("where it hangs, with all that it keeps alive", found.paths, top, lambda key: key.text)
    yield from _table("types", found.types, top, str)
    yield from _table("lines that allocate", found.sites, top, _line)


def _line(site: Site) -> str:
    """Return a line that allocates, and its function where that is known."""
    return f"{site.file}:{site.line}" + ("" if ":" in site.function else f" in {site.function}")


def _table(title: str, changes: Sequence[Change[Any]], top: int, text: Callable[[Any], str]) -> Iterator[str]:
    rows = [change for change in changes if change.bytes > 0 or change.count > 0]
    if not rows:
        return
    yield f"{title}:"
    for change in rows[:top]:
        count, size = signed(change.count, Unit.COUNT), signed(change.bytes, Unit.BYTE)
        yield f"  {count:>9} {size:>12}  {plain(text(change.key))}"
    if len(rows) > top:
        yield f"  ... and {len(rows) - top} more"
