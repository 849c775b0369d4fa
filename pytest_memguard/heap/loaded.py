"""A snapshot that was read: its nodes and edges, and what holds what."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_memguard.heap.dominators import dominators, retained_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HeapSnapshot", "Shortest", "Site", "Total"]

_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Total:
    """How many objects, and their bytes."""

    count: int
    bytes: int


class Site(NamedTuple):
    """A line that allocates."""

    file: str
    line: int
    function: str


class Shortest(NamedTuple):
    """
    Shortest paths from the root.

    ``order`` has the nodes, the nearest first; ``parents`` and ``edges`` have for each node the one before it and the
    edge from there, -1 for the root and what is not reached.
    """

    order: array[int]
    parents: array[int]
    edges: array[int]


@dataclass(frozen=True, repr=False, eq=False)
class HeapSnapshot:
    """
    The nodes and edges of one file, by the number of the node; number 0 is the root.

    Attributes:
        kinds: Name of each node's type, as in "object".
        names: What each node is called, as a number of ``strings``.
        identities: The same in two snapshots of a process as long as the object lives.
        sizes: Bytes of each node itself.
        first: Where the edges of each node begin, and behind the last one where they end.
        edge_kinds: Name of the type of each edge, as in "weak".
        labels: What each edge is called: a number of ``strings``, of an "element" the number itself.
        targets: The node that each edge leads to.
        strings: The names.
        traces: Where each node was allocated, as a key of ``sites_by_trace``; 0 where that is not known.
        sites_by_trace: The lines that allocate.

    """

    kinds: list[str]
    names: array[int]
    identities: array[int]
    sizes: array[int]
    first: array[int]
    edge_kinds: list[str]
    labels: array[int]
    targets: array[int]
    strings: list[str]
    traces: array[int] = field(default_factory=lambda: array("Q"))
    sites_by_trace: dict[int, Site] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.names)

    @cached_property
    def is_object(self) -> bytearray:
        """Whether each node is an object, and no root, thread or frame."""
        return bytearray(kind != "synthetic" for kind in self.kinds)

    @property
    def objects(self) -> int:
        """Number of objects."""
        return sum(self.is_object)

    @property
    def edges(self) -> int:
        """Number of references."""
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """Size of all objects."""
        return sum(self.sizes)

    def name(self, node: int) -> str:
        """Return what a node is called."""
        return self.strings[self.names[node]]

    def type_name(self, node: int) -> str:
        """Return the type of a node, so that all strings are one type, and all functions."""
        kind, name = self.kinds[node], self.name(node)
        if kind == "object":
            first = name.partition(" ")[0]
            return first if first in ("module", "class") else name
        return {"string": "str", "closure": "function", "code": "code"}.get(kind, name)

    def label(self, edge: int) -> str:
        """Return what an edge is called; of an element its number in brackets."""
        label = self.labels[edge]
        return f"[{label}]" if self.edge_kinds[edge] in ("element", "hidden") else self.strings[label]

    def types(self) -> dict[str, Total]:
        """Return how many objects there are of each type."""
        return self._totals((self.type_name(node), node) for node in range(len(self)) if self.is_object[node])

    def sites(self) -> dict[Site, Total]:
        """Return what was allocated where and is still there; empty where tracemalloc was not tracing."""
        sites = self.sites_by_trace
        return self._totals((sites[trace], node) for node, trace in enumerate(self.traces) if trace in sites)

    def _totals(self, keyed: Iterator[tuple[Any, int]]) -> dict[Any, Total]:
        counts: dict[Any, list[int]] = {}
        for key, node in keyed:
            total = counts.setdefault(key, [0, 0])
            total[0] += 1
            total[1] += self.sizes[node]
        return {key: Total(*total) for key, total in counts.items()}

    # -- what holds what ---------------------------------------------------------------------------------------------

    @cached_property
    def _holding(self) -> tuple[array[int], array[int]]:
        """Edges that hold, as ``dominators`` wants them."""
        first, targets = array("q", [0]), array("q")
        for node in range(len(self)):
            for edge in range(self.first[node], self.first[node + 1]):
                if self.edge_kinds[edge] != "weak":
                    targets.append(self.targets[edge])
            first.append(len(targets))
        return first, targets

    @cached_property
    def _tree(self) -> tuple[array[int], array[int]]:
        return dominators(*self._holding)

    @property
    def dominators(self) -> array[int]:
        """For each node the nearest one without which it would not be reached; -1 for the root."""
        return self._tree[0]

    @cached_property
    def retained(self) -> array[int]:
        """For each node how many bytes would be free without it."""
        return retained_sizes(self.sizes, *self._tree)

    @cached_property
    def shortest(self) -> Shortest:
        """A shortest path from the root to every node."""
        parents, edges = array("q", [_NOWHERE]) * len(self), array("q", [_NOWHERE]) * len(self)
        order, seen = array("q", [0]), bytearray(len(self))
        seen[0] = 1
        for node in order:  # it grows
            for edge in range(self.first[node], self.first[node + 1]):
                target = self.targets[edge]
                if not seen[target] and self.edge_kinds[edge] != "weak":
                    seen[target] = 1
                    parents[target], edges[target] = node, edge
                    order.append(target)
        return Shortest(order, parents, edges)

    def path(self, node: int) -> tuple[str, ...]:
        """Return a shortest path from the root to a node, as the names of nodes and edges in turn."""
        parts = [self.name(node)]
        while self.shortest.parents[node] != _NOWHERE:
            parts.append(self.label(self.shortest.edges[node]))
            node = self.shortest.parents[node]
            parts.append(self.name(node))
        return tuple(reversed(parts))
