"""
Whose code a line is, and how to name it: file, function, source; stacks become sites with library stretches folded.

Functions are looked up in the source, since neither tracemalloc nor Python 3.10 knows qualified names: so a site has
the same name on every version. Nothing is imported, and no loader of the user's is asked for source.
"""

from __future__ import annotations

import ast
import linecache
import os
import sysconfig
import tokenize
import warnings
from bisect import bisect_right
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from pytest_memguard.core.values import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Line", "Places"]

#: File as the interpreter names it, and line from 1.
Line = tuple[str, int]

_OWN, _LIBRARY, _RUNNER, _OURS = "own", "library", "runner", "ours"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - as in co_filename
_STDLIB = tuple(
    {folder + os.sep for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")) if folder}
    | {os.path.dirname(os.__file__) + os.sep}  # noqa: PTH120 - see above
)
_INSTALLED = ("site-packages", "dist-packages")
#: What runs tests: no culprit, and the end of every stack that is shown.
_RUNNERS = frozenset({"_pytest", "pytest", "pluggy", "xdist", "execnet"})
#: A library that is larger, or a line that is longer, was not written by hand.
_LARGEST_SOURCE, _LONGEST_LINE = 2_000_000, 160
_MOST_FOLDED = 3


class Places:
    """
    What is known about files, for the time of one explanation.

    Args:
        root: Folder of the project; what lies in it and is not installed there is the user's own.
        home_file: File of the test, own wherever it lies.

    """

    def __init__(self, *, root: str = "", home_file: str = "") -> None:
        folders = {root, os.path.realpath(root)} if root else set()
        self._roots = tuple(folder.rstrip(os.sep) + os.sep for folder in folders)
        self._home_file = home_file
        self._kinds: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}
        self._functions: dict[str, _Functions] = {}

    def is_own(self, file: str) -> bool:
        """Whether the user wrote it: neither installed nor part of Python, of pytest or of this package."""
        return self._kind(file) == _OWN

    def user_line(self, stack: Sequence[Line]) -> int | None:
        """
        Return the position in *stack*, innermost line first, of the line to be shown for it.

        That is the innermost own line, else the innermost line of a library; None where there is only the machinery
        that runs the test.
        """
        kinds = [self._kind(file) for file, _ in stack]
        first = next((at for at, kind in enumerate(kinds) if kind != _RUNNER), len(kinds))
        for at in range(first, len(kinds)):
            if kinds[at] == _OWN:
                return at
            if kinds[at] != _LIBRARY:
                break
        return 0 if kinds and kinds[0] == _LIBRARY else None

    def site(self, stack: Sequence[Line], *, bytes_per_run: float = 0.0, blocks_per_run: float = 0.0) -> Site | None:
        """Return *stack*, innermost line first, as a site; None where only the machinery is on it."""
        at = self.user_line(stack)
        if at is None:
            return None
        file, line = stack[at]
        return Site(
            self.shown(file),
            line,
            self.function(file, line),
            bytes_per_run,
            blocks_per_run,
            (self._text(stack[at]), *self._callees(stack[:at]), *self._callers(stack[at + 1 :])),
            self.source(file, line),
        )

    def shown(self, file: str) -> str:
        """Return *file* as people and other machines know it: below the project, or from its package on."""
        for root in self._roots:
            if file.startswith(root) and not _installed(file):
                return _slashed(file[len(root) :])
        return _slashed(_installed(file) or _standard(file) or file)

    def function(self, file: str, line: int) -> str:
        """Return the qualified name of the function around *line*; ``?`` where there is no source to read."""
        if file not in self._functions:
            self._functions[file] = _functions_of("".join(self._source_lines(file)))
        return self._functions[file].around(line)

    def source(self, file: str, line: int) -> str:
        """Return the line without its indent; empty where there is none."""
        lines = self._source_lines(file)
        text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 3]}..."

    def _kind(self, file: str) -> str:
        kind = self._kinds.get(file)
        if kind is None:
            kind = self._kinds[file] = self._find_kind(file)
        return kind

    def _find_kind(self, file: str) -> str:
        if file == self._home_file or file.startswith("<doctest "):
            return _OWN
        if file.startswith(_PACKAGE + os.sep) or _standard(file) == "tracemalloc.py":
            return _OURS
        installed = _installed(file)
        if installed:
            return _RUNNER if _module(installed) in _RUNNERS else _LIBRARY
        return _LIBRARY if file.startswith("<") or _standard(file) else _OWN

    def _callees(self, stack: Sequence[Line]) -> Iterator[str]:
        if stack:
            yield f"calls {self._folded(file for file, _ in reversed(stack))}"

    def _callers(self, stack: Sequence[Line]) -> Iterator[str]:
        kinds = [self._kind(file) for file, _ in stack]
        end = next((at for at, kind in enumerate(kinds) if kind in (_RUNNER, _OURS)), len(kinds))
        last_own = max((at for at in range(end) if kinds[at] == _OWN), default=-1)
        for own, lines in groupby(stack[: last_own + 1], lambda line: self.is_own(line[0])):
            if own:
                yield from map(self._text, lines)
            else:
                yield f"... {self._folded(file for file, _ in lines)}"

    def _folded(self, files: Iterable[str]) -> str:
        modules = [_module(self.shown(file)) for file in files]
        names = list(dict.fromkeys(modules))
        more = ", ..." if len(names) > _MOST_FOLDED else ""
        noun = "frame" if len(modules) == 1 else "frames"
        return f"{len(modules)} {noun} in {', '.join(names[:_MOST_FOLDED])}{more}"

    def _text(self, line: Line) -> str:
        return f"{self.shown(line[0])}:{line[1]} {self.function(*line)}"

    def _source_lines(self, file: str) -> list[str]:
        if file not in self._lines:
            self._lines[file] = _read(file)
        return self._lines[file]


class _Functions:
    """The functions and classes of one source text, by their lines."""

    def __init__(self, source: str) -> None:
        self._spans = sorted(_spans(source))
        self._starts = [start for start, _, _ in self._spans]
        self._nothing = "<module>" if source else "?"

    def around(self, line: int) -> str:
        """Return the innermost one around *line*."""
        for at in range(bisect_right(self._starts, line) - 1, -1, -1):
            _, end, name = self._spans[at]
            if line <= end:
                return name
        return self._nothing


#: The tests of one file are explained one after the other, and reading a long one takes 20 ms.
_functions_of = lru_cache(maxsize=8)(_Functions)


def _spans(source: str) -> Iterator[tuple[int, int, str]]:
    """Yield first line, last line and qualified name of each function and class, with as many steps as nodes."""
    todo: list[tuple[ast.AST, str]] = [(tree, "") for tree in _parsed(source)]
    while todo:
        node, prefix = todo.pop()
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                name = prefix + getattr(child, "name", "<lambda>")
                decorators: list[ast.expr] = getattr(child, "decorator_list", [])
                start = min([child.lineno, *(decorator.lineno for decorator in decorators)])
                # On its first line, a lambda cannot be told from the statement that it stands in.
                start += isinstance(child, ast.Lambda)
                yield start, child.end_lineno or start, name
                inner = f"{name}." if isinstance(child, ast.ClassDef) else f"{name}.<locals>."
            todo.append((child, inner))


def _parsed(source: str) -> list[ast.AST]:
    try:
        with warnings.catch_warnings():  # an odd escape in the user's source, say
            warnings.simplefilter("ignore")
            return [ast.parse(source)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _read(file: str) -> list[str]:
    """Return the lines of a file, or of code that somebody generated and told linecache; none if they are too many."""
    cached = linecache.cache.get(file)
    if type(cached) is tuple and len(cached) == 4 and type(cached[2]) is list:  # noqa: PLR2004 - shorter ones are lazy
        return cached[2]
    try:
        if os.path.getsize(file) > _LARGEST_SOURCE:  # noqa: PTH202 - as in co_filename
            return []
        with tokenize.open(file) as source:
            return source.readlines()
    except (OSError, SyntaxError, ValueError):
        return []


def _installed(file: str) -> str:
    """Return what follows ``site-packages``; empty where it is not installed."""
    for folder in _INSTALLED:
        _, found, name = file.rpartition(f"{os.sep}{folder}{os.sep}")
        if found:
            return name
    return ""


def _standard(file: str) -> str:
    """Return the name of a file of the standard library in it; empty of others."""
    return next((file[len(folder) :] for folder in _STDLIB if file.startswith(folder)), "")


def _module(shown: str) -> str:
    """Return the top-level module of a file: ``asyncio`` of ``asyncio/tasks.py`` and of ``<frozen asyncio.tasks>``."""
    if shown.startswith("<"):
        _, frozen, name = shown.strip(">").partition("<frozen ")
        return name.partition(".")[0] if frozen else "generated code"
    return shown.replace(os.sep, "/").partition("/")[0].removesuffix(".py")


def _slashed(file: str) -> str:
    return file.replace(os.sep, "/")
