"""Reads ``.heapsnapshot`` files: those written here, and those of others that have the same columns."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from array import array
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_memguard.errors import DocumentError
from pytest_memguard.heap.loaded import HeapSnapshot, Site

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["HeapSnapshot", "read"]

_GZIP_MAGIC = b"\x1f\x8b"
_AT_ONCE = 1 << 20
#: The header has the names of the columns and a few numbers.
_LONGEST_HEADER = 1 << 20
_NUMBERS = re.compile(rb"[0-9,\s]*")
_NODE_COLUMNS = ("type", "name", "id", "self_size", "edge_count")
_EDGE_COLUMNS = ("type", "name_or_index", "to_node")


def read(path: str | os.PathLike[str]) -> HeapSnapshot:
    """
    Return the snapshot in a file, compressed or not.

    Raises:
        DocumentError: it cannot be read, was cut short, or is no heap snapshot; one line says why.

    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any path that open takes
            packed = file.peek(2).startswith(_GZIP_MAGIC)
            return _Reader(gzip.GzipFile(fileobj=file) if packed else file).read()
    except (DocumentError, OSError, EOFError, MemoryError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error or type(error).__name__
        raise DocumentError(f"{Path(path)} cannot be read: {reason}") from error
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
        raise DocumentError(f"{Path(path)} cannot be read: it is no heap snapshot, or was cut short") from error


class _Reader:
    """
    Reads a file from its beginning to its end, without ever having all of it as text.

    ``nodes`` and ``edges`` are most of it, and come right behind the header in every file that DevTools reads.
    """

    def __init__(self, file: gzip.GzipFile | BinaryIO) -> None:
        self._file, self._buffer = file, b""

    def read(self) -> HeapSnapshot:
        """Read all of it."""
        header = self._header()
        nodes = self._numbers("nodes", header["node_count"] * len(header["meta"]["node_fields"]))
        edges = self._numbers("edges", header["edge_count"] * len(header["meta"]["edge_fields"]))
        rest = json.loads(b"{" + (self._buffer + self._file.read()).lstrip(b" \t\r\n,"))
        return _loaded(header["meta"], nodes, edges, rest)

    def _header(self) -> dict[str, Any]:
        self._fill(_LONGEST_HEADER)
        found = re.search(rb',\s*"nodes"\s*:\s*\[', self._buffer)
        if found is None or not self._buffer.lstrip().startswith(b"{"):
            raise DocumentError("it is no heap snapshot")
        start, self._buffer = self._buffer[: found.start()], self._buffer[found.end() :]
        header: dict[str, Any] = json.loads(start + b"}")["snapshot"]
        return header

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and (more := self._file.read(size - len(self._buffer))):
            self._buffer += more

    def _numbers(self, name: str, count: int) -> array[int]:
        """Read a list of numbers, and what stands before the list behind it."""
        if name == "edges":
            self._skip_to(rb'\s*,\s*"edges"\s*:\s*\[')
        numbers = array("Q")
        while True:
            self._fill(_AT_ONCE)
            end = _NUMBERS.match(self._buffer).end()  # type: ignore[union-attr] # it matches nothing at least
            last = self._buffer[end : end + 1] == b"]"
            if not last:
                end = self._buffer.rfind(b",", 0, end) + 1
            text, self._buffer = self._buffer[:end], self._buffer[end + last :]
            if text.strip(b" \t\r\n,"):
                numbers.extend(map(int, text.strip(b" \t\r\n,").split(b",")))
            if last:
                break
            if not text:
                raise DocumentError("it was cut short, or has something else than numbers among its nodes and edges")
        if len(numbers) != count:
            raise DocumentError(f"its header counts {count} numbers of {name}, and it has {len(numbers)}")
        return numbers

    def _skip_to(self, pattern: bytes) -> None:
        self._fill(_AT_ONCE)
        found = re.match(pattern, self._buffer)
        if found is None:
            raise DocumentError("its nodes are not followed by its edges")
        self._buffer = self._buffer[found.end() :]


def _loaded(meta: dict[str, Any], nodes: array[int], edges: array[int], rest: dict[str, Any]) -> HeapSnapshot:
    node = _columns(meta["node_fields"], nodes, _NODE_COLUMNS)
    edge = _columns(meta["edge_fields"], edges, _EDGE_COLUMNS)
    first = array("Q", accumulate(node["edge_count"], initial=0))
    width, count = len(meta["node_fields"]), len(node["id"])
    if first[-1] != len(edge["to_node"]):
        raise DocumentError(f"its nodes count {first[-1]} edges, and it has {len(edge['to_node'])}")
    targets = array("Q", (target // width for target in edge["to_node"]))
    if count == 0 or max(targets, default=0) >= count or any(target % width for target in edge["to_node"]):
        raise DocumentError("an edge of it leads to no node")
    traces = node.get("trace_node_id", array("Q"))
    return HeapSnapshot(
        kinds=_named(meta["node_types"][0], node["type"]),
        names=_within(node["name"], len(rest["strings"])),
        identities=node["id"],
        sizes=node["self_size"],
        first=first,
        edge_kinds=_named(meta["edge_types"][0], edge["type"]),
        labels=edge["name_or_index"],
        targets=targets,
        strings=rest["strings"],
        traces=traces,
        sites_by_trace=dict(_sites(meta, rest)) if any(traces) else {},
    )


def _columns(fields: list[str], numbers: array[int], wanted: tuple[str, ...]) -> dict[str, array[int]]:
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise DocumentError(f"its columns lack {missing[0]!r}")
    return {name: numbers[place :: len(fields)] for place, name in enumerate(fields)}


def _named(names: list[str], numbers: array[int]) -> list[str]:
    return [names[number] for number in numbers]


def _within(numbers: array[int], count: int) -> array[int]:
    if max(numbers, default=0) >= count:
        raise DocumentError("a name in it is no string of its table")
    return numbers


def _sites(meta: dict[str, Any], rest: dict[str, Any]) -> Iterator[tuple[int, Site]]:
    """Yield the line that each node of the trace tree stands for."""
    width, infos, strings = len(meta["trace_function_info_fields"]), rest["trace_function_infos"], rest["strings"]
    todo = [rest["trace_tree"]]
    while todo:
        rows = todo.pop()
        for start in range(0, len(rows), len(meta["trace_node_fields"])):
            number, function, _, _, below = rows[start : start + len(meta["trace_node_fields"])]
            _, name, file, _, line, _ = infos[function * width : (function + 1) * width]
            yield number, Site(strings[file], line, strings[name])
            todo.append(below)
