"""Writes a graph as a ``.heapsnapshot`` file: whole or not at all, and readable by its owner only."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from pytest_memguard.heap.layout import META, NODE_FIELDS

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pytest_memguard.heap.graph import Graph

__all__ = ["part_of", "save"]

#: The page of a service is better compressed a little than held up: level 1 halves the time of 6 for a tenth more.
_GZIP_LEVEL = 1
_OWNER_ONLY = 0o600
#: So many numbers become text at once.
_CHUNK = NODE_FIELDS * 4096
_STRINGS_AT_ONCE = 4096


def part_of(path: Path) -> Path:
    """Return a new name beside *path*, for the file until it is whole."""
    return path.with_name(f".memguard-{os.urandom(6).hex()}.part")


def save(graph: Graph, path: Path, part: Path, *, native_bytes: int = 0) -> int:
    """
    Write *graph* to *path*, compressed where that ends in ``.gz``, and return the size of the file.

    Args:
        graph: Nodes, edges, names.
        path: Takes the place of what was there before.
        part: Beside it; there is no such file before and after.
        native_bytes: Memory of the process besides its objects.

    Raises:
        OSError: it cannot be written; what was there before is still there.

    """
    try:
        with _created(part, compressed=path.suffix == ".gz") as file:
            _write(graph, file, native_bytes)
        size = part.stat().st_size
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return size


@contextmanager
def _created(part: Path, *, compressed: bool) -> Iterator[IO[bytes]]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(part, flags, _OWNER_ONLY), "wb", buffering=1 << 16) as file:  # noqa: PTH123 - a descriptor
        if not compressed:
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as packed:
            yield packed  # type: ignore[misc] # it is written to as any other file


def _write(graph: Graph, file: IO[bytes], native_bytes: int) -> None:
    infos = graph.traces.functions(graph.names, graph.functions) if graph.traces is not None else ()
    tree = graph.traces.tree() if graph.traces is not None else []
    header = {
        "meta": META,
        "node_count": graph.node_count,
        "edge_count": graph.edge_count,
        "trace_function_count": len(infos) // len(META["trace_function_info_fields"]),
        "extra_native_bytes": native_bytes,
    }
    file.write(b'{"snapshot":' + _text(header))
    _write_numbers(file, b"nodes", graph.nodes)
    _write_numbers(file, b"edges", graph.edges)
    _write_numbers(file, b"trace_function_infos", (infos,) if infos else ())
    file.write(b',\n"trace_tree":' + _text(tree))
    file.write(b',\n"samples":[],\n"locations":[]')
    _write_strings(file, list(graph.names))
    file.write(b"}\n")


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _write_numbers(file: IO[bytes], name: bytes, parts: Iterable[array[int]]) -> None:
    file.write(b',\n"' + name + b'":[')
    comma = b""
    for part in parts:
        for start in range(0, len(part), _CHUNK):
            file.write(comma + ",".join(map(str, part[start : start + _CHUNK])).encode("ascii"))
            comma = b",\n"
    file.write(b"]")


def _write_strings(file: IO[bytes], strings: list[str]) -> None:
    file.write(b',\n"strings":[')
    comma = b""
    for start in range(0, len(strings), _STRINGS_AT_ONCE):
        file.write(comma + _text(strings[start : start + _STRINGS_AT_ONCE])[1:-1])
        comma = b",\n"
    file.write(b"]")
