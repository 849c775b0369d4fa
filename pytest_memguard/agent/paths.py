"""Who holds an object, found from the object up: breadth first over ``gc.get_referrers``, a level at a time."""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from contextlib import suppress
from types import CellType, FrameType, FunctionType, MappingProxyType, MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Lengths", "find_path"]

#: Each level is one pass over the whole heap, the slower the more objects are looked for at once.
_MOST_WIDE, _MOST_DEEP = 64, 30
#: The last of each question; nothing holds it but the question.
_MARK = object()

#: Shorter containers are not remembered: there are very many, and none of them is one that grows with every request.
_SHORT = 16
_CONTAINERS: tuple[tuple[type, Any], ...] = (
    (dict, dict.__len__),
    (list, list.__len__),
    (set, set.__len__),
    (deque, deque.__len__),
)


class Lengths:
    """How many entries the containers had that were long enough, by identity."""

    def __init__(self) -> None:
        self._before: dict[int, int] | None = None

    def remember(self, objects: Iterable[object]) -> None:
        """Remember the lengths of the containers among *objects*."""
        lengths = ((id(one), _length(one)) for one in objects)
        self._before = {identity: length for identity, length in lengths if length >= _SHORT}

    def gained(self, one: object) -> int:
        """Return the entries that a container has gained since; 0 where it is none, or nothing is remembered."""
        if self._before is None:
            return 0
        return max(0, _length(one) - self._before.get(id(one), _SHORT))


def _length(one: object) -> int:
    """Return the entries of a container, without running code of its class; 0 of all else."""
    kind = type(one)
    return next((measure(one) for base, measure in _CONTAINERS if issubclass(kind, base)), 0)


class _Node:
    """An object on the way up, and the one that it holds."""

    __slots__ = ("held", "one")

    def __init__(self, one: object, held: _Node | None) -> None:
        self.one = one
        self.held = held


def find_path(
    sample: object, name: Callable[[type], str], lengths: Lengths, *, budget_s: float
) -> tuple[list[str], list[int], str]:
    """
    Return the hops from a module or a class down to *sample*, what each gained, and why there are none.

    Keys of dictionaries are not shown, as they may be secrets; names of attributes and of what a module has are.
    """
    deadline_s = time.monotonic() + budget_s
    roots = _roots()
    seen = {id(sample), id(roots), id(sys.modules)}
    level = [_Node(sample, None)]
    for _ in range(_MOST_DEEP):
        for node in level:
            if id(node.one) in roots or isinstance(node.one, (ModuleType, type)):
                return *_hops(node, roots, name, lengths), ""
        if time.monotonic() > deadline_s:
            return [], [], f"it was not found within {budget_s:g} s; a heap snapshot has all paths"
        level = _holders(level, seen)
        if not level:
            return [], [], "nothing that the collector sees holds it: a running function, or C code"
    return [], [], f"it is held deeper than {_MOST_DEEP} objects; a heap snapshot has all paths"


def _roots() -> dict[int, str]:
    """Return the names of modules, by the identity of their namespaces."""
    return {id(vars(module)): name for name, module in list(sys.modules.items()) if isinstance(module, ModuleType)}


def _holders(level: list[_Node], seen: set[int]) -> list[_Node]:
    """Return who holds the objects of *level*; not what this search has made itself."""
    held = {id(node.one): node for node in level}
    asked = [*(node.one for node in level), _MARK]
    found = gc.get_referrers(*asked)
    own = {id(level), id(held), id(asked), id(found), *map(id, level)}
    above = []
    for one in found:
        if id(one) in seen or id(one) in own or isinstance(one, (FrameType, _Node)) or _is_marked(one):
            continue
        seen.add(id(one))
        child = next((held[id(inner)] for inner in gc.get_referents(one) if id(inner) in held), None)
        if child is not None:
            above.append(_Node(one, child))
        if len(above) == _MOST_WIDE:
            break
    return above


def _is_marked(one: object) -> bool:
    """Whether *one* is the tuple that the question itself was handed over in, which some versions find."""
    return type(one) is tuple and bool(one) and one[-1] is _MARK


def _hops(
    node: _Node, roots: dict[int, str], name: Callable[[type], str], lengths: Lengths
) -> tuple[list[str], list[int]]:
    hops, gained, above = [_root(node, roots)], [0], None
    while node.held is not None:
        held = node.held.one
        is_namespace = id(node.one) in roots or (above is not None and _namespace(above) is node.one)
        hops.append(f"{_edge(node.one, held, is_namespace=is_namespace)}: {name(type(held))}")
        gained.append(lengths.gained(held))
        above, node = node.one, node.held
    return hops, gained


def _root(node: _Node, roots: dict[int, str]) -> str:
    if isinstance(node.one, ModuleType):
        return f"module {node.one.__name__}"
    if isinstance(node.one, type):
        return f"class {node.one.__module__}.{node.one.__qualname__}"
    return f"module {roots[id(node.one)]}"


def _edge(holder: object, held: object, *, is_namespace: bool) -> str:
    """Return how *holder* holds *held*, without running code of either."""
    if type(holder) is dict:
        return _named(holder, held) or "[...]" if is_namespace else "[...]"
    if type(holder) in (list, tuple, set, frozenset):
        return "[...]"
    if isinstance(holder, FunctionType):
        return ".__closure__" if held is holder.__closure__ else _slot(holder, held)
    if isinstance(holder, CellType):
        return ".cell_contents"
    namespace = _namespace(holder)
    if held is namespace:
        return ".__dict__"
    return _named(namespace, held) or _slot(holder, held)


def _namespace(holder: object) -> Mapping[str, object]:
    """Return where the attributes of *holder* are; an instance gets a dictionary of its own by this from 3.11 on."""
    try:
        found = type.__dict__["__dict__"].__get__(holder) if isinstance(holder, type) else _own_dict(holder)
    except Exception:  # noqa: BLE001 - it has none
        return {}
    return found if isinstance(found, (dict, MappingProxyType)) else {}


def _own_dict(holder: object) -> object:
    return object.__getattribute__(holder, "__dict__")


def _named(namespace: Mapping[str, object], held: object) -> str:
    return next((f".{key}" for key, value in list(namespace.items()) if value is held), "")


def _slot(holder: object, held: object) -> str:
    """Return the slot of *holder* that has *held*: slots of classes, and members of types written in C."""
    for kind in type(holder).__mro__:
        for key, member in list(vars(kind).items()):
            if isinstance(member, MemberDescriptorType):
                with suppress(Exception):  # not set
                    if member.__get__(holder) is held:
                        return f".{key}"
    return ".?"
