"""
Which node holds which alone: the tree of dominators, and with it what each node keeps alive.

Source:
    Lengauer and Tarjan (1979), ACM TOPLAS 1, 121-141: the simple variant, with path compression.
"""

from __future__ import annotations

from array import array

__all__ = ["dominators", "retained_sizes"]

_NOWHERE = -1


def dominators(first: array[int], targets: array[int]) -> tuple[array[int], array[int]]:
    """
    Return the immediate dominator of every node, and the nodes in the order of a depth-first search from node 0.

    Args:
        first: Where in *targets* those of each node begin, and behind the last one where they end.
        targets: The nodes that edges lead to; only edges that hold.

    Returns:
        The dominator of node 0 and of nodes that are not reached is -1. The order has only nodes that are reached, and
        a dominator before what it dominates.

    """
    order, parents = _depth_first(first, targets)
    place = array("q", [_NOWHERE]) * (len(first) - 1)
    for number, node in enumerate(order):
        place[node] = number
    above = _Forest(len(order))
    semi = array("q", range(len(order)))
    found = array("q", [0]) * len(order)
    buckets: dict[int, list[int]] = {}
    come_from, starts = _reversed(first, targets, order, place)
    for number in range(len(order) - 1, 0, -1):
        for source in come_from[starts[number] : starts[number + 1]]:
            semi[number] = min(semi[number], semi[above.least(source, semi)])
        buckets.setdefault(semi[number], []).append(number)
        parent = parents[number]
        above.link(parent, number)
        for other in buckets.pop(parent, ()):
            least = above.least(other, semi)
            found[other] = least if semi[least] < semi[other] else parent
    for number in range(1, len(order)):
        if found[number] != semi[number]:
            found[number] = found[found[number]]
    result = array("q", [_NOWHERE]) * (len(first) - 1)
    for number in range(1, len(order)):
        result[order[number]] = order[found[number]]
    return result, order


def retained_sizes(sizes: array[int], above: array[int], order: array[int]) -> array[int]:
    """Return for every node its size and that of all it dominates; see ``dominators``."""
    retained = array("Q", sizes)
    for node in reversed(order):
        if above[node] != _NOWHERE:
            retained[above[node]] += retained[node]
    return retained


class _Forest:
    """The trees that grow together while the nodes are looked at, last first."""

    __slots__ = ("_above", "_least")

    def __init__(self, count: int) -> None:
        self._above = array("q", [_NOWHERE]) * count
        self._least = array("q", range(count))

    def link(self, parent: int, child: int) -> None:
        self._above[child] = parent

    def least(self, node: int, semi: array[int]) -> int:
        """Return the node of least semidominator on the way up from *node*, and shorten that way."""
        above, least = self._above, self._least
        if above[node] == _NOWHERE:
            return node
        way = []
        while above[above[node]] != _NOWHERE:
            way.append(node)
            node = above[node]
        last = node
        while way:
            node = way.pop()
            parent = above[node]
            if semi[least[parent]] < semi[least[node]]:
                least[node] = least[parent]
            above[node] = above[parent]
            last = node
        return least[last]


def _depth_first(first: array[int], targets: array[int]) -> tuple[array[int], array[int]]:
    """Return the reached nodes in depth-first order, and the number of each one's parent in that order."""
    order, parents = array("q"), array("q")
    seen = bytearray(len(first) - 1)
    seen[0] = 1
    order.append(0)
    parents.append(_NOWHERE)
    way, next_edge = array("q", [0]), array("q", [first[0]])  # numbers in the order, and where to go on there
    while way:
        edge = next_edge[-1]
        if edge == first[order[way[-1]] + 1]:
            way.pop()
            next_edge.pop()
            continue
        next_edge[-1] += 1
        target = targets[edge]
        if not seen[target]:
            seen[target] = 1
            parents.append(way[-1])
            way.append(len(order))
            order.append(target)
            next_edge.append(first[target])
    return order, parents


def _reversed(
    first: array[int], targets: array[int], order: array[int], place: array[int]
) -> tuple[array[int], array[int]]:
    """Return the edges the other way round, between numbers of the order: sources, and where those of each begin."""
    starts = array("q", [0]) * (len(order) + 1)
    for node in order:
        for target in targets[first[node] : first[node + 1]]:
            starts[place[target] + 1] += 1
    for number in range(len(order)):
        starts[number + 1] += starts[number]
    sources = array("q", [0]) * starts[-1]
    filled = array("q", starts)
    for number, node in enumerate(order):
        for target in targets[first[node] : first[node + 1]]:
            sources[filled[place[target]]] = number
            filled[place[target]] += 1
    return sources, starts
