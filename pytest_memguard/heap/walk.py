"""
The walk over all objects of this process, which makes the nodes and edges of a snapshot.

The walk must not see itself: everything it builds is made after the collector's list of objects was taken, hangs on
nothing but the local variables of running calls, and those calls are not looked into.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_memguard.heap.addresses import NONE, PAGE_BITS, SKIPPED, SLOT_BITS, SLOT_MASK, Addresses
from pytest_memguard.heap.kinds import Kind, Kinds, is_static
from pytest_memguard.heap.layout import EDGE_FIELDS, ELEMENT, NODE_FIELDS, Edge
from pytest_memguard.heap.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_memguard.heap.stacks import Stacks

__all__ = ["Budget", "Names", "Walk"]

#: They are never freed and hold nothing, yet every second object would have an edge to one of them.
_SINGLETONS = (None, True, False, Ellipsis, NotImplemented, *range(-5, 257))
#: The number of a dictionary that is a part of an object which has no number yet.
_PART = SKIPPED - 1
_LARGEST_SIZE = 0xFFFFFFFF
#: So often is the clock looked at, in objects.
_CLOCK_MASK = 1023
#: So many objects are asked at once for what they hold.
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a walk stops; what it has then is a whole snapshot of fewer objects or edges."""

    max_objects: int
    max_seconds: float
    clock: Callable[[], float] = time.monotonic


class Names(dict[str, int]):
    """The table of strings: a name gets its number when it is first asked for."""

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self)
        return number


class Walk:
    """
    One walk, in this order: ``number_objects``, ``read_traces`` if tracemalloc is tracing, ``describe_all``.

    Args:
        objects: What ``gc.get_objects()`` returned, before anything else was made; it is taken over.
        stacks: The local variables of all threads.
        base: Number of the first object; nodes that are no objects come before it.
        budget: Where to stop.
        values: Show the values of strings and numbers, and the keys of dictionaries.
        disposable: This process is a forked copy that ends afterwards.
        relax: Called when memory runs out, to make room for writing down what there is.

    Attributes:
        nodes: The nodes of the objects, NODE_FIELDS numbers each.
        edges: Their edges, EDGE_FIELDS numbers each.
        first: Where in ``edges`` those of each object begin, and behind the last one where they end.
        names: The table of strings.
        partial: Why objects or edges are missing; empty where none are.

    """

    __slots__ = (
        "_addresses", "_budget", "_deadline", "_full", "_hurried", "_kinds", "_relax", "_stacks",
        "base", "disposable", "edges", "first", "names", "nodes", "objects", "partial", "traces",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - see Args
        self,
        objects: list[Any],
        stacks: Stacks,
        base: int,
        budget: Budget,
        *,
        values: bool = False,
        disposable: bool = False,
        relax: Callable[[], None] = lambda: None,
    ) -> None:
        self.objects, self._stacks, self.base, self._budget, self._relax = objects, stacks, base, budget, relax
        self.disposable = disposable
        self._deadline = budget.clock() + budget.max_seconds
        self._kinds = Kinds(values=values, disposable=disposable, running=stacks.running)
        self._addresses, self.names = Addresses(), Names({"": 0})
        self.nodes, self.edges, self.first = array("I"), array("I"), array("I")
        self.traces: Traces | None = None
        self._full = self._hurried = False
        self.partial = ""

    def number_of(self, one: object) -> int | None:
        """Return the number of an object; None where it has none."""
        number = self._addresses.number(id(one))
        return number if NONE < number < _PART else None

    # -- numbers -----------------------------------------------------------------------------------------------------

    def number_objects(self) -> None:
        """Give every object that the collector knows a number; a dictionary of attributes has that of its owner."""
        give, number, owned = self._addresses.give, self._addresses.number, self._owned
        for hidden in (*_SINGLETONS, *self._stacks.parts(), self._budget):
            give(id(hidden), SKIPPED)
        objects = self.objects
        objects += _static_classes()
        for one in objects:
            part = owned(one)
            if part is not None:
                give(id(part), _PART)
        room, base, kept = max(0, self._budget.max_objects), self.base, 0
        for one in objects:
            if number(id(one)) == NONE and kept < room:
                give(id(one), base + kept)
                objects[kept] = one
                kept += 1
        if kept >= room:
            self._stop_taking()
        del objects[kept:]
        for place, one in enumerate(objects):
            self._join(one, base + place)

    def _owned(self, one: object) -> Any:  # noqa: ANN401 - a dictionary or None
        ask = self._kinds.of(type(one)).owned
        return None if ask is None else ask(one)

    def _join(self, one: object, number: int) -> None:
        """Give the dictionary of the attributes of *one* its number, unless it is that of another object too."""
        part = self._owned(one)
        if part is not None and self._addresses.number(id(part)) in (NONE, _PART):
            self._addresses.give(id(part), number)

    def _stop_taking(self) -> None:
        self._full = True
        self.partial = self.partial or f"stopped at {self._budget.max_objects} objects"

    def _number(self, one: object) -> int:
        """Return the number of an object that was not met before; it is described later."""
        if self._full:
            return SKIPPED
        if len(self.objects) >= self._budget.max_objects:
            self._stop_taking()
            return SKIPPED
        number = self.base + len(self.objects)
        self._addresses.give(id(one), number)
        self.objects.append(one)
        if self._kinds.of(type(one)).owned is not None:
            self._join(one, number)
        return number

    # -- allocation stacks -------------------------------------------------------------------------------------------

    def read_traces(self) -> None:
        """
        Read where each object was allocated.

        A traced process needs microseconds for every allocation, and the walk makes millions. In a copy all objects are
        found and asked for first; then tracing is stopped.
        """
        self.traces = Traces()
        if not self.disposable:
            return  # each is read as it is met
        number, new = self._addresses.number, self._number
        for batch in _batches(self.objects):
            for one in gc.get_referents(*batch):
                if number(id(one)) == NONE:
                    new(one)
        for one in self.objects:
            self.traces.add(one)
        tracemalloc.stop()

    # -- nodes and edges ---------------------------------------------------------------------------------------------

    def describe_all(self) -> None:
        """Make a node of every object, and edges of what it holds; the list of objects grows meanwhile."""
        describe, clock, deadline = self._describe, self._budget.clock, self._deadline
        for place, one in enumerate(self.objects):
            if place & _CLOCK_MASK == 0 and not self._hurried and clock() > deadline:
                self._hurry(f"stopped after {self._budget.max_seconds:g} s")
            before = len(self.edges)
            try:
                describe(one, place)
            except MemoryError:
                del self.edges[before:], self.nodes[NODE_FIELDS * place :], self.first[place:]
                self._relax()
                self._hurry("stopped at the limit of memory")
                describe(one, place)
        self.first.append(len(self.edges))
        self._kinds.forget()

    def _hurry(self, why: str) -> None:
        """From now on make nodes only, of the objects that are known already."""
        self._hurried = self._full = True
        self.partial = why

    def _describe(self, one: object, place: int) -> None:
        kind, edges = self._kinds.of(type(one)), self.edges
        before = len(edges)
        self.first.append(before)
        if kind.edges is not None and not self._hurried:
            try:
                self._add(kind.edges(one))
            except RuntimeError:  # a container was changed by another thread while it was listed
                self.partial = self.partial or "some containers changed while they were listed"
        name = kind.name if kind.naming is None else kind.naming(one)
        size = self._size(kind, one)
        self.nodes.extend((
            kind.node_type, self.names[name], self._addresses.identity(id(one)), size,
            (len(edges) - before) // EDGE_FIELDS, self._trace(one, place, size), 0,
        ))  # fmt: skip

    def _add(self, found: Iterable[Edge]) -> None:
        """Add the edges of one object; the table of addresses is read here, as a call for each costs a second."""
        pages, names, append = self._addresses.pages, self.names, self.edges.append
        for edge_type, name, target in found:
            address = id(target)
            page = pages.get(address >> PAGE_BITS)
            number = page[address >> SLOT_BITS & SLOT_MASK] if page is not None else NONE
            if number == NONE:
                number = self._number(target)
            if number < _PART:
                append(edge_type)
                append(name if edge_type == ELEMENT else names[name])  # type: ignore[arg-type, index] # see Edge
                append(number * NODE_FIELDS)

    def _size(self, kind: Kind, one: object) -> int:
        try:
            size = kind.size(one)
            if kind.owned is not None:
                part = kind.owned(one)
                size += 0 if part is None else sys.getsizeof(part)
        except Exception:  # noqa: BLE001 - C code of others measures its own objects
            return 0
        return min(size, _LARGEST_SIZE)

    def _trace(self, one: object, place: int, size: int) -> int:
        traces = self.traces
        if traces is None:
            return 0
        number = traces.numbers[place] if place < len(traces.numbers) else self._late_trace(traces, one)
        if number:
            traces.count(number, size)
        return number

    def _late_trace(self, traces: Traces, one: object) -> int:
        return traces.add(one) if tracemalloc.is_tracing() else 0


def _static_classes() -> list[type]:
    """Return the classes made in C that the collector does not list."""
    found: list[type] = []
    todo: list[type] = [object]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            todo += type.__subclasses__(one)
            if is_static(one):
                found.append(one)
    return found


def _batches(growing: list[Any]) -> Iterator[list[Any]]:
    """Yield the elements of a list in parts, with those that are appended meanwhile."""
    start = 0
    while start < len(growing):
        batch = growing[start : start + _BATCH]
        start += len(batch)
        yield batch
