"""Whether a Python object holds more than before is told, whatever sort of object; and what a line calls in C."""

from __future__ import annotations

import gc
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from pytest_memguard.explain.unheld import References, c_callable

pytestmark = pytest.mark.usefixtures("older_heap_rests")
RUNS = 7


class Shelf:
    """What is not looked at by the length of its containers."""

    __slots__ = ("books",)

    def __init__(self) -> None:
        self.books: Any = ()


SHELF = Shelf()
SEEN: dict[int, str] = {}


def _tuple(run: int) -> None:
    SHELF.books = (*SHELF.books, f"book {run}", f"author {run}", f"year {run}")


def _dictionary(run: int) -> None:
    SHELF.books = SHELF.books or {}
    SHELF.books[run] = f"book {run}"


def _replaced(run: int) -> None:
    SHELF.books = [*SHELF.books, f"book {run}", SHELF]


def _module(run: int) -> None:
    SEEN[run] = f"book {run}"


def grew(leak: Callable[[int], object], *, earlier: int = 0) -> bool:
    """Return what is said of some runs of a leak."""
    for run in range(earlier):
        leak(-run - 1)
    gc.collect()
    gc.freeze()
    references = References()
    references.begin()
    gc.freeze()
    for run in range(RUNS):
        leak(run)
        gc.collect()
    born = gc.get_objects()
    found = references.grew(RUNS, born, [references])
    gc.unfreeze()
    SHELF.books = ()
    SEEN.clear()
    return found


@pytest.mark.parametrize("leak", [_tuple, _dictionary, _module, _replaced])
def test_what_a_python_object_holds(leak: Callable[[int], object]) -> None:
    """Untracked dictionaries and tuples, and what is replaced by a longer one, are seen to hold more."""
    assert grew(leak, earlier=20)


def test_what_nobody_holds() -> None:
    """Text that stays by itself is held by nobody."""
    ctypes = pytest.importorskip("ctypes")
    kept: list[int] = [0] * RUNS

    def lose(run: int) -> None:
        text = f"text {run}"
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(text))
        kept[run] = id(text)

    found = grew(lose)
    for address in kept:
        ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))

    assert not found


def test_what_takes_the_place_of_another_does_not_grow() -> None:
    """Of an object at the address of one that is gone, it is not said that it has more than that one had."""
    rows: list[object] = []
    gc.collect()
    references = References()
    references.begin()
    rows += [SHELF] * RUNS
    as_another = references.grew(RUNS, [rows], [references])
    as_before = references.grew(RUNS, [], [references])

    assert (as_another, as_before) == (False, True)


def test_without_a_beginning_nothing_is_known() -> None:
    """Where nobody was asked before, somebody may hold it."""
    assert References().grew(RUNS, [], [])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rows = packer.pack(text)", "packer.pack"),
        ("assert packer.Table(1) == repr(packer.pack)", "packer.Table"),
        ("return pack(rows)", "packer.pack"),
        ("print(len(math.sqrt(2)))", ""),
        ("return python(rows)", ""),
        ("return unknown.pack(rows)", ""),
        ("return packer", ""),
    ],
)
def test_what_a_line_calls(monkeypatch: pytest.MonkeyPatch, source: str, name: str) -> None:
    """Functions and types in C are named, those in Python and of the standard library are not."""
    home, packer = types.ModuleType("home"), types.ModuleType("packer")
    table = type("Table", (), {"__module__": "packer"})
    vars(packer).update(pack=_as_in_c("packer"), Table=table)
    vars(home).update(packer=packer, pack=_as_in_c("packer"), math=math, python=lambda rows: rows)
    monkeypatch.setitem(sys.modules, "home", home)

    assert c_callable(source, "home") == name


def _as_in_c(module: str) -> Any:  # noqa: ANN401 - a callable that is no function in Python
    class Builtin:
        def __call__(self, *_: object) -> object: ...

    one = Builtin()
    vars(one).update(__module__=module, __qualname__="pack")
    return one
