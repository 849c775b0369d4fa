"""
Limits that stand as a number in the code: ``if len(cache) >= 1000: cache.clear()``.

The code is read and not run: a comparison of the length of a container with a number, in a function that also takes
something away.
"""

from __future__ import annotations

import dis
from itertools import pairwise
from types import FunctionType
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.naming import class_names, is_a, mro

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

__all__ = ["compared_lengths"]

#: Instructions before a comparison that may load both sides of it: len, the container in an attribute, a number.
_SIDES = 8
_TAKING_AWAY = frozenset({"clear", "pop", "popitem", "popleft", "remove", "discard"})
_NUMBERS = ("LOAD_CONST", "LOAD_SMALL_INT")
#: Deleting a part of it, putting a part in its place, and binding its name to another.
_PARTS, _NAMES = ("DELETE_SUBSCR", "STORE_SLICE"), ("STORE_GLOBAL", "STORE_ATTR")


def compared_lengths(owner: object, names: dict[Any, Any], attribute: str) -> Iterator[int]:
    """
    Yield the numbers that the length of a container is compared with, where functions also take something away.

    Args:
        owner: The module, class or instance that has the container.
        names: Its attributes.
        attribute: Which one is the container.

    """
    for function in _functions(owner, names):
        code = function.__code__
        if {"len", attribute} <= set(code.co_names):
            yield from _compared(code, attribute)


def _functions(owner: object, names: dict[Any, Any]) -> Iterator[FunctionType]:
    """Yield the functions of a module and of its classes, of a class, or of the classes of an instance."""
    values = list(names.values())
    yield from _plain(values)
    kinds = [value for value in values if is_a(value, type)] if not is_a(owner, type) else []
    for kind in (*kinds, *(mro(type(owner)) if not is_a(owner, type) else ())):
        yield from _plain(value for _, value in class_names(kind))


def _plain(values: Iterable[Any]) -> Iterator[FunctionType]:
    for value in values:
        wraps = type(value) is classmethod or type(value) is staticmethod  # by identity: see naming.identities
        inner = value.__func__ if wraps else value
        if type(inner) is FunctionType:
            yield inner


def _compared(code: CodeType, attribute: str) -> Iterator[int]:
    instructions = list(dis.get_instructions(code))
    if not _TAKING_AWAY & set(code.co_names) and not _replaces(instructions, attribute):
        return
    for at, one in enumerate(instructions):
        sides = instructions[max(0, at - _SIDES) : at] if one.opname == "COMPARE_OP" else []
        loaded = [side.argval for side in sides]
        if "len" in loaded and attribute in loaded:
            first = loaded.index("len")
            numbers = (*sides[-1:], *sides[max(0, first - 1) : first])  # the right side, and what is loaded before len
            yield from (side.argval for side in numbers if side.opname in _NUMBERS and type(side.argval) is int)


def _replaces(instructions: list[dis.Instruction], attribute: str) -> bool:
    return any(
        one.opname in _PARTS
        or (one.opname == "STORE_SUBSCR" and before.opname == "BUILD_SLICE")  # up to 3.11
        or (one.opname in _NAMES and one.argval == attribute)
        for before, one in pairwise(instructions)
    )
