"""
What one run leaves that only the garbage collector frees: how much, of which types, and one of the cycles.

The collector is asked to keep what it finds (``gc.DEBUG_SAVEALL``). By then weak references are cleared and finalizers
have run, as in any collection; they do not run again when the objects are let go.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from dataclasses import dataclass
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import TypeGrowth
from pytest_memguard.explain.edges import steps
from pytest_memguard.explain.naming import attributes, class_module, is_a, mro, qualified_name, type_name
from pytest_memguard.explain.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType

__all__ = ["CycleReport", "cycles"]

_MOST_TYPES = 10
#: Cycles are sought among so many objects: 0.1 s.
_MOST_OBJECTS = 20_000
_LONGEST_TEXT = 8
#: Whose size Python tells without asking the user; all others are asked as plain objects.
_SIZED = (dict, list, set, tuple, deque, frozenset)
_CODES: dict[type, str] = {
    FunctionType: "__code__", FrameType: "f_code", GeneratorType: "gi_code", CoroutineType: "cr_code",
    AsyncGeneratorType: "ag_code",
}  # fmt: skip
#: No good place to begin: part of what a cycle is of, and not what it is of.
_INCIDENTAL = frozenset({*_CODES, *_SIZED, CellType, MethodType, TracebackType})


@dataclass(frozen=True, slots=True)
class CycleReport:
    """
    What only the garbage collector freed after one run.

    Attributes:
        objects: How many.
        types: Which, the user's own first, then most objects.
        text: One cycle, as in ``shop.Node.parent -> shop.Node.children -> list[...] -> shop.Node``; empty where
            nothing was found.

    """

    objects: int = 0
    types: tuple[TypeGrowth, ...] = ()
    text: str = ""


def cycles(run: Callable[[], object], *, root: str = "", home_file: str = "") -> CycleReport:
    """
    Make one run, and say what cycles it leaves; call it with the older heap frozen, and finalizers silenced.

    Args:
        run: Makes one run; what it raises is passed on.
        root: Folder of the project: of several cycles, one of its own objects is shown.
        home_file: File of the test.

    """
    was_enabled, flags = gc.isenabled(), gc.get_debug()
    gc.collect()
    kept = len(gc.garbage)
    gc.disable()
    try:
        run()
        gc.set_debug(gc.DEBUG_SAVEALL)
        found = gc.collect()
        gc.set_debug(flags)
        return _report(gc.garbage[kept:], found, Places(root=root, home_file=home_file))
    finally:
        gc.set_debug(flags)
        del gc.garbage[kept:]
        gc.collect()
        if was_enabled:
            gc.enable()


def _report(found: list[Any], count: int, places: Places) -> CycleReport:
    own = [_is_own(one, places) for one in found]
    return CycleReport(count, _types(found, own), _text(found[:_MOST_OBJECTS], own))


def _is_own(one: object, places: Places) -> bool:
    """Whether the user wrote the class of an object, or the code of a function, frame or coroutine."""
    attribute = _CODES.get(type(one))
    if attribute is not None:
        code: CodeType = getattr(one, attribute)
        return places.is_own(code.co_filename)
    if type(one) in (MethodType, TracebackType):
        return False
    kind: Any = one if is_a(one, type) else type(one)
    module = sys.modules.get(class_module(kind))
    file = attributes(module).get("__file__") if is_a(module, ModuleType) else None
    return type(file) is str and places.is_own(file)


def _types(found: Sequence[Any], own: Sequence[bool]) -> tuple[TypeGrowth, ...]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    foreign: set[str] = set()
    for one, is_own in zip(found, own, strict=True):
        name = type_name(one)
        counts[name] += 1
        sizes[name] += _size(one)
        if not is_own or type(one) in _CODES:
            foreign.add(name)
    ranked = sorted(counts, key=lambda name: (name in foreign, -counts[name], name))
    return tuple(TypeGrowth(name, counts[name], sizes[name]) for name in ranked[:_MOST_TYPES])


def _size(one: object) -> int:
    bases = mro(type(one))
    kind = next((kind for kind in _SIZED if kind in bases), object)
    return int(kind.__sizeof__(one))


# -- one cycle -------------------------------------------------------------------------------------------------------


def _text(found: Sequence[Any], own: Sequence[bool]) -> str:
    edges = _edges(found)
    knots = _knots(edges)
    if not knots:
        return ""
    knot = min(knots, key=lambda knot: (not any(own[at] for at in knot), len(knot)))
    start = min(knot, key=lambda at: (not own[at], type(found[at]) in _INCIDENTAL, is_a(found[at], type), at))
    return _shown([found[at] for at in _way_round(edges, start, set(knot))])


def _edges(found: Sequence[Any]) -> list[list[int]]:
    """Return, for each object, the positions of those that it refers to."""
    at = {id(one): position for position, one in enumerate(found)}
    return [[at[id(held)] for held in _held_by(one) if id(held) in at] for one in found]


def _held_by(one: Any) -> list[Any]:  # noqa: ANN401 - any object at all
    # On 3.12.1 get_referents on a module corrupts the collector once asyncio has run (cpython issue 122695).
    return [attributes(one)] if is_a(one, ModuleType) else gc.get_referents(one)


def _knots(edges: Sequence[Sequence[int]]) -> list[list[int]]:
    """
    Return the sets of positions that can all be reached from each other, single ones only if they refer to themselves.

    Source:
        Tarjan (1972), SIAM J. Comput. 1, 146-160; with a stack of its own, since chains are long.
    """
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    on_the_way: list[int] = []
    waiting: set[int] = set()
    knots: list[list[int]] = []
    for root in range(len(edges)):
        todo: list[tuple[int, Iterator[int]]] = [] if root in number else [(root, iter(edges[root]))]
        while todo:
            at, rest = todo[-1]
            if at not in number:
                number[at] = low[at] = len(number)
                on_the_way.append(at)
                waiting.add(at)
            new = None
            for held in rest:
                if held not in number:
                    new = held
                    break
                if held in waiting:
                    low[at] = min(low[at], number[held])
            if new is not None:
                todo.append((new, iter(edges[new])))
                continue
            todo.pop()
            if todo:
                low[todo[-1][0]] = min(low[todo[-1][0]], low[at])
            if low[at] == number[at]:
                knots.append(_cut_off(on_the_way, at))
                waiting.difference_update(knots[-1])
    return [knot for knot in knots if len(knot) > 1 or knot[0] in edges[knot[0]]]


def _cut_off(stack: list[int], at: int) -> list[int]:
    """Return the end of *stack* from *at* on, and take it away."""
    knot = [stack.pop()]
    while knot[-1] != at:
        knot.append(stack.pop())
    return knot


def _way_round(edges: Sequence[Sequence[int]], start: int, knot: set[int]) -> list[int]:
    """Return the shortest way from *start* back to it, both ends included."""
    came_from: dict[int, int] = {}
    front = deque([start])
    while front:
        at = front.popleft()
        for held in edges[at]:
            if held == start:
                way = [start, at]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1] if at != start else [start, start]
            if held in knot and held not in came_from:
                came_from[held] = at
                front.append(held)
    return [start]


def _shown(chain: Sequence[Any]) -> str:
    parts, owner = [], chain[0]
    for step in steps(chain):
        joint = "" if step.name[:1] in ".[" else " "
        name = "" if step.kind == "reference" else f"{joint}{step.name}"
        times = f" ({step.times} times)" if step.times > 1 else ""
        parts.append(f"{_name(owner)}{name}{times}")
        owner = step.one
    if len(parts) > _LONGEST_TEXT:
        parts[_LONGEST_TEXT:] = [f"... {len(parts) - _LONGEST_TEXT} more"]
    return " -> ".join([*parts, _name(owner)])


def _name(one: object) -> str:
    return qualified_name(one) if is_a(one, type) else type_name(one)  # type: ignore[arg-type] # asked just before
