"""The whole graph of a snapshot: the objects, and above them the roots that hold them."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from array import array
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING

from pytest_memguard.heap.layout import EDGE_FIELDS, ELEMENT, INTERNAL, NODE_FIELDS, PROPERTY, SHORTCUT, SYNTHETIC
from pytest_memguard.heap.reach import roots_of_the_rest
from pytest_memguard.heap.traces import Functions
from pytest_memguard.heap.walk import Budget, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_memguard.heap.stacks import Stacks
    from pytest_memguard.heap.traces import Traces

__all__ = ["Graph", "build"]

_GC_ROOTS, _MODULES, _STACKS, _HELD, _FIRST_STACK = 1, 2, 3, 4, 5
_HEADS = ("", "(GC roots)", "(modules)", "(thread stacks)", "(held by C code or by nothing gc can see)")

#: Type, name or number, and the number of the node that it leads to.
_Link = tuple[int, "str | int", int]


@dataclass(frozen=True, slots=True)
class Graph:
    """
    Nodes and edges in the layout of the file, in two parts each: what is no object, and the objects.

    ``partial`` says why objects or edges are missing, and is empty where none are.
    """

    nodes: tuple[array[int], array[int]]
    edges: tuple[array[int], array[int]]
    names: dict[str, int]
    traces: Traces | None
    functions: Functions
    partial: str

    @property
    def node_count(self) -> int:
        """Number of nodes, with those that are no objects."""
        return sum(map(len, self.nodes)) // NODE_FIELDS

    @property
    def edge_count(self) -> int:
        """Number of edges."""
        return sum(map(len, self.edges)) // EDGE_FIELDS

    @property
    def objects(self) -> int:
        """Number of objects."""
        return len(self.nodes[1]) // NODE_FIELDS

    @property
    def bytes(self) -> int:
        """Size of all objects."""
        return sum(self.nodes[1][3::NODE_FIELDS])


def build(
    stacks: Stacks,
    budget: Budget,
    *,
    values: bool = False,
    disposable: bool = False,
    relax: Callable[[], None] = lambda: None,
) -> Graph:
    """
    Describe all objects of this process; for the arguments see ``Walk``.

    Objects that only the collector would free are among them: none is freed here.
    """
    objects = gc.get_objects()  # before anything of our own is made
    base = _FIRST_STACK + sum(1 + len(stack.frames) for stack in stacks.stacks)
    walk = Walk(objects, stacks, base, budget, values=values, disposable=disposable, relax=relax)
    walk.number_objects()
    if tracemalloc.is_tracing():
        walk.read_traces()
    walk.describe_all()
    return _with_roots(walk, stacks)


def _with_roots(walk: Walk, stacks: Stacks) -> Graph:
    heads = [*zip(_HEADS, _links(walk, stacks), strict=True), *_calls(walk, stacks)]
    nodes, edges = array("I"), array("I")
    for number, (name, links) in enumerate(heads):
        nodes.extend((SYNTHETIC, walk.names[name], 2 * number + 1, 0, len(links), 0, 0))
        for kind, label, target in links:
            edges.extend((kind, label if isinstance(label, int) else walk.names[label], target * NODE_FIELDS))
    functions = Functions(one for one in walk.objects if walk.traces is not None and type(one) is CodeType)
    return Graph((nodes, walk.nodes), (edges, walk.edges), walk.names, walk.traces, functions, walk.partial)


def _links(walk: Walk, stacks: Stacks) -> Iterator[list[_Link]]:
    """Yield what each of the heads holds; the shortcuts of the first are what DevTools takes for the user's roots."""
    modules = _module_links(walk)
    calls = [link for _, links in _calls(walk, stacks) for link in links]
    roots = (number for _, _, number in (*modules, *calls))
    held = roots_of_the_rest(walk.edges, walk.first, walk.base, roots)
    yield [(SHORTCUT, "modules", _MODULES), (SHORTCUT, "stacks", _STACKS), (ELEMENT, 1, _GC_ROOTS)]
    yield [(INTERNAL, "modules", _MODULES), (INTERNAL, "stacks", _STACKS), (INTERNAL, "c", _HELD)]
    yield modules
    yield _thread_links(stacks)
    yield [(ELEMENT, place, number) for place, number in enumerate(held)]


def _module_links(walk: Walk) -> list[_Link]:
    found = [("sys.modules", sys.modules), *sys.modules.items()]
    return [(PROPERTY, str(name), number) for name, one in found if (number := walk.number_of(one)) is not None]


def _thread_links(stacks: Stacks) -> list[_Link]:
    links: list[_Link] = []
    number = _FIRST_STACK
    for stack in stacks.stacks:
        links.append((PROPERTY, f"thread {stack.thread}", number))
        number += 1 + len(stack.frames)
    return links


def _calls(walk: Walk, stacks: Stacks) -> Iterator[tuple[str, list[_Link]]]:
    """Yield name and links of every thread and, behind it, of its frames: in the order of their numbers."""
    number = _FIRST_STACK
    for stack in stacks.stacks:
        below = enumerate(stack.frames, number + 1)
        yield f"thread {stack.thread}", [(INTERNAL, frame.name, place) for place, frame in below]
        number += 1 + len(stack.frames)
        for frame in stack.frames:
            yield (
                f"frame {frame.name}",
                [
                    (PROPERTY, f"local {name}", found)
                    for name, value in frame.variables
                    if (found := walk.number_of(value)) is not None
                ],
            )
