"""What is reached from where in a graph whose edges lie in one flat list."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from pytest_memguard.heap.layout import EDGE_FIELDS, NODE_FIELDS, WEAK

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["roots_of_the_rest"]


def roots_of_the_rest(edges: array[int], first: array[int], base: int, roots: Iterable[int]) -> array[int]:
    """
    Return the nodes that must be roots as well, so that every node is reached from a root.

    Of those that *roots* do not reach come the ones that nothing holds; then one of each cycle that is left.

    Args:
        edges: EDGE_FIELDS numbers each, those of a node behind those of the node before it.
        first: Where the edges of each node begin, and behind the last one where they end.
        base: Number of the first node.
        roots: Numbers of nodes; where below *base* they are none of these.

    """
    reached = bytearray(len(first) - 1)
    for root in roots:
        _reach(root - base, edges, first, base, reached)
    rest = [place for place, was_reached in enumerate(reached) if not was_reached]
    held = _held_by(rest, edges, first, base)
    found = array("I")
    for wanted in (0, 1):
        for place in rest:
            if not reached[place] and held[place] == wanted:
                found.append(place + base)
                _reach(place, edges, first, base, reached)
    return found


def _reach(place: int, edges: array[int], first: array[int], base: int, reached: bytearray) -> None:
    if place < 0 or reached[place]:
        return
    reached[place] = 1
    todo = array("I", (place,))
    while todo:
        place = todo.pop()
        for target in _targets(place, edges, first, base):
            if not reached[target]:
                reached[target] = 1
                todo.append(target)


def _targets(place: int, edges: array[int], first: array[int], base: int) -> list[int]:
    """Return the places of what a node holds; a weak edge holds nothing."""
    start, end = first[place], first[place + 1]
    return [
        target // NODE_FIELDS - base
        for kind, target in zip(
            edges[start:end:EDGE_FIELDS], edges[start + EDGE_FIELDS - 1 : end : EDGE_FIELDS], strict=True
        )
        if kind != WEAK
    ]


def _held_by(places: Iterable[int], edges: array[int], first: array[int], base: int) -> bytearray:
    """Return for every node whether another one of *places* holds it."""
    held = bytearray(len(first) - 1)
    for place in places:
        for target in _targets(place, edges, first, base):
            if target != place:
                held[target] = 1
    return held
