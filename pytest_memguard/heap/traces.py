"""Where objects were allocated, as the tree of calls that DevTools shows as "Allocation stack"."""

from __future__ import annotations

import tracemalloc
from array import array
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import CodeType

__all__ = ["FUNCTION_FIELDS", "Functions", "Traces"]

FUNCTION_FIELDS = 6
#: DevTools and json nest a list for every call.
_DEEPEST = 64


class Traces:
    """
    The tree of allocation stacks: every node is a line, below the line that called it.

    ``numbers`` has the node of each object in the order that they were added; 0 where none is known.
    """

    __slots__ = ("_bytes", "_children", "_counts", "_known", "_lines", "numbers")

    def __init__(self) -> None:
        self.numbers = array("I")
        self._children: list[dict[tuple[str, int], int]] = [{}]
        self._lines: list[tuple[str, int]] = [("", 0)]
        self._counts, self._bytes = array("Q", [0]), array("Q", [0])
        self._known: dict[Any, int] = {}

    def add(self, one: object) -> int:
        """Add the stack that allocated *one*, and return its node in the tree; 0 where that is not known."""
        found = tracemalloc.get_object_traceback(one)
        number = 0
        if found is not None:
            number = self._known.get(found, 0) or self._known.setdefault(found, self._insert(found))
        self.numbers.append(number)
        return number

    def count(self, number: int, size: int) -> None:
        """Say that a node of the tree, which is not the root, allocated one more object of that *size*."""
        self._counts[number - 1] += 1
        self._bytes[number - 1] += size

    def _insert(self, calls: Sequence[tracemalloc.Frame]) -> int:
        place = 0
        for call in calls[-_DEEPEST:]:  # the oldest call comes first
            line = (call.filename, call.lineno)
            below = self._children[place]
            if line not in below:
                below[line] = len(self._lines)
                self._lines.append(line)
                self._children.append({})
                self._counts.append(0)
                self._bytes.append(0)
            place = below[line]
        return place + 1

    def tree(self) -> list[Any]:
        """Return the tree as nested lists: node, function, objects, bytes, children."""
        number = {line: function for function, line in enumerate(dict.fromkeys(self._lines))}
        rows: list[list[Any]] = [
            [place + 1, number[line], self._counts[place], self._bytes[place], []]
            for place, line in enumerate(self._lines)
        ]
        for row, below in zip(rows, self._children, strict=True):
            row[4].extend(value for child in below.values() for value in rows[child])
        return rows[0]

    def functions(self, names: Mapping[str, int], functions: Functions) -> array[int]:
        """Return a row for every line of the tree: number, name, file, number of the file, line, column."""
        scripts = {"": 0}
        rows = array("I")
        for place, (file, line) in enumerate(dict.fromkeys(self._lines)):
            name = functions.name(file, line) if file else "(root)"
            rows.extend((place, names[name], names[file], scripts.setdefault(file, len(scripts)), line, 0))
        return rows


class Functions:
    """Which function a line is in: tracemalloc does not say, but the code objects of the heap do."""

    __slots__ = ("_by_file",)

    def __init__(self, codes: Iterable[CodeType]) -> None:
        self._by_file: dict[str, list[tuple[int, int, str]]] = {}
        for code in codes:
            last = max((line for _, _, line in code.co_lines() if line), default=code.co_firstlineno)
            name = str(getattr(code, "co_qualname", code.co_name))  # 3.11+
            self._by_file.setdefault(code.co_filename, []).append((code.co_firstlineno, last, name))

    def name(self, file: str, line: int) -> str:
        """Return the innermost function around a line; of an unknown one its file and line."""
        around = [entry for entry in self._by_file.get(file, ()) if entry[0] <= line <= entry[1]]
        return max(around)[2] if around else f"{PurePath(file).name}:{line}"
