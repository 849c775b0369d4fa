"""
Which container grew, and whether it may grow for ever.

All containers that the collector sees are counted twice, some runs apart. What grew is named and asked for a limit:
an ``lru_cache`` has one, a deque too, and a cache class keeps one in an attribute. More runs could not tell a leak
from a cache that is not yet full; looking at the holder can.

No user code is called: types, lengths and attribute dictionaries are read past ``__getattribute__`` and ``__len__``.
"""

from __future__ import annotations

import atexit
import gc
import mmap
import re
import sys
from array import array
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import Holder
from pytest_memguard.explain.excuses import given_back, stale_references, weighed
from pytest_memguard.explain.known import known_holder
from pytest_memguard.explain.literals import compared_lengths
from pytest_memguard.explain.naming import LRU, attributes, identities, is_a, kinds_of, lru_name, namespace_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_memguard.core.ports import Gain
    from pytest_memguard.core.values import KnownHolder

__all__ = [
    "ContainerCheck",
    "Grown",
    "Seen",
    "callbacks",
    "callbacks_since",
    "containers_by_measure",
    "own_limit",
    "thawed",
    "untracked",
]


def _lru_length(cache: Any) -> int:  # noqa: ANN401 - the type has no public name
    return int(LRU.cache_info(cache).currsize)


#: How to measure a container without calling a method of the user's.
_LENGTHS: tuple[tuple[type, Callable[[Any], int]], ...] = (
    (LRU, _lru_length),
    (dict, dict.__len__),
    (list, list.__len__),
    (set, set.__len__),
    (deque, deque.__len__),
)
#: Room for this many containers, 16 bytes each; the pages are only touched when they are used.
_CAPACITY = 1 << 22
#: Less than this share of what was gained is no reason for it, however many entries a cache got.
_NOTHING_MUCH = 1 / 3
_STALE = "weak references to what is gone: whoever keeps them drops them in one go, now and then"
#: A holder gains at least this many entries a run (a leak on every fifth run: 0.2).
_LEAST_GROWTH = 0.15
#: Containers named at most; each costs a search for its referrers.
_MOST_NAMED = 6
#: Containers told of at most.
_MOST_GROWN = 24
#: A container is named through so many plain containers around it; each level looks at so many of them.
_NESTED, _WIDEST = 3, 8
_PLAIN = (dict, list, set, tuple, deque)
#: An attribute or constant of such a name that is above the container's length is its limit.
_LIMIT_NAME = re.compile(
    r"max|limit|capacity|bound|threshold|(^|_)cap($|_)|(cache|buffer|batch)_?size|(^|_)(clear|flush)_", re.IGNORECASE
)
_LARGEST_LIMIT = 1 << 24
#: Clearing a bounded cache explains the growth if it gives back this share of it.
_EXPLAINED = 0.8


@dataclass(slots=True, eq=False)
class Grown:
    """
    A container that grew over some runs.

    Attributes:
        container: The object itself, alive; None of the callbacks of atexit, which nobody can see.
        length: Entries it has now.
        gained: Entries more than before the runs.
        name: Where it is, for people; empty where nobody names it.
        limit: Most entries it can hold, where known.

    """

    container: Any
    length: int
    gained: int
    name: str = ""
    limit: int | None = None

    @property
    def bounded(self) -> bool:
        """Whether it has a limit."""
        return self.limit is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a check remembers of a container that grew, without keeping it alive.

    Attributes:
        identity: Its ``id``, and that of its type.
        name, limit: As in ``Grown``.

    """

    identity: int
    kind: int
    name: str
    limit: int | None


class ContainerCheck:
    """
    The holder check: notes the length of every container, and later says which grew and whether it has a limit.

    The notes lie in anonymous memory that is mapped beforehand: in the interpreter's or the C library's heap they
    would be read as growth of the subject.

    Args:
        home: Name of the module that the subject itself stands in.
        known: Holders whose growth says nothing about the subject, besides those that ship with the package.

    Attributes:
        seen: The containers that grew, for whoever follows them further; set by ``finish``.

    """

    def __init__(self, home: str = "", known: Sequence[KnownHolder] = ()) -> None:
        self._home = home
        self._known = known
        self._memory = mmap.mmap(-1, _CAPACITY * 16)
        self._notes = memoryview(self._memory).cast("Q")
        self._groups = array("Q", [0]) * (len(_LENGTHS) + 1)
        self._frozen = False
        self._callbacks = 0
        self.seen: tuple[Seen, ...] | None = None

    def begin(self) -> None:
        """Note the length of every container."""
        self._frozen = gc.get_freeze_count() > 0  # counted one by one: 10 ms with a million objects alive
        notes, at = self._notes, 0
        with thawed(self._frozen):
            for group, (containers, measure) in enumerate(containers_by_measure()):
                end = min(at + 2 * len(containers), len(notes))
                count = (end - at) // 2
                notes[at : at + count] = memoryview(array("Q", map(id, containers[:count])))
                notes[at + count : end] = memoryview(array("Q", map(measure, containers[:count])))
                self._groups[group] = count
                at = end
        self._callbacks = callbacks()

    def finish(self, runs: int, gains: Sequence[Gain] = ()) -> Holder:
        """
        Say who grew since ``begin``; an ``lru_cache`` with a limit is cleared to see what goes with it.

        Args:
            runs: So many ago.
            gains: What a holder with a limit must explain to be taken for the reason.

        """
        # With the older heap frozen, what the collector sees was born since: no container that grew, but perhaps one
        # at the address of another that is gone. No list of it: that would keep what is cleared.
        born = set(map(id, gc.get_objects())) if self._frozen else set[int]()
        with thawed(self._frozen):
            grown = self._grown(runs, born)
            named = [one for at, one in enumerate(grown) if at < _MOST_NAMED or type(one.container) is LRU]
            _name(named)
            self.seen = tuple(Seen(id(one.container), id(type(one.container)), one.name, one.limit) for one in grown)
            stale = stale_references(grown, gains)
            if stale is not None:
                return replace(_holder("known", stale, runs), name=stale.name or "a list that C code keeps", why=_STALE)
            holder = _verdict(named, runs, gains, born, self._known)
            return _rebound(self._home, born, runs) or holder if holder.kind == "hidden" else holder

    def grown(self, runs: int) -> list[Grown]:
        """
        Return the containers that grew since ``begin``, named, with their limits, those that gained most first.

        Other than ``finish`` this clears nothing and decides nothing. With a frozen heap all that lives is frozen
        afterwards: what was born in the runs is to be asked for before.
        """
        born = set(map(id, gc.get_objects())) if self._frozen else set()
        with thawed(self._frozen):
            grown = self._grown(runs, born)
            _name(grown[:_MOST_NAMED])
        return grown + callbacks_since(self._callbacks)

    def close(self) -> None:
        """Give the memory back."""
        self._notes.release()
        self._memory.close()

    def _grown(self, runs: int, born: set[int]) -> list[Grown]:
        before = self._before()
        least = max(1.0, _LEAST_GROWTH * runs)
        grown = []
        for containers, measure in containers_by_measure():
            ids, lengths = list(map(id, containers)), list(map(measure, containers))
            for container, identity, length in zip(containers, ids, lengths, strict=True):
                if length - before.get(identity, length) >= least and identity not in born:
                    grown.append(Grown(container, length, length - before[identity]))
        grown.sort(key=lambda one: -one.gained)
        return grown[:_MOST_GROWN]

    def _before(self) -> dict[int, int]:
        before: dict[int, int] = {}
        at = 0
        for count in self._groups:
            ids, lengths = self._notes[at : at + count], self._notes[at + count : at + 2 * count]
            before.update(zip(ids.tolist(), lengths.tolist(), strict=True))
            at += 2 * count
        return before


def callbacks() -> int:
    """Return the number of callbacks of atexit."""
    return atexit._ncallbacks()  # noqa: SLF001 - there is no other way to count them


def callbacks_since(before: int) -> list[Grown]:
    """Return the callbacks of atexit as a container, if there are more than *before*."""
    now = callbacks()
    return [Grown(None, now, now - before, "atexit")] if now > before else []


@contextmanager
def thawed(was_frozen: bool) -> Iterator[None]:  # noqa: FBT001 - the only thing there is to say
    """Let the collector see the older heap for a moment, without collecting it."""
    was_enabled = gc.isenabled()
    gc.disable()
    gc.unfreeze()
    try:
        yield
    finally:
        if was_frozen:
            gc.freeze()
        if was_enabled:
            gc.enable()


def containers_by_measure() -> list[tuple[list[Any], Callable[[Any], int]]]:
    """Return every container that can be found, by what measures it; dictionaries of numbers and text included."""
    tracked = gc.get_objects()
    kinds = kinds_of(tracked)
    # By identity: looked up in a set, or compared, a class calls methods of its metaclass.
    alike = [
        ({identity for identity, kind in kinds.items() if issubclass(kind, base)}, measure)
        for base, measure in _LENGTHS
    ]
    containers = _alike(tracked, set().union(*(same for same, _ in alike)))
    found = [(_alike(containers, same), measure) for same, measure in alike]
    found.append((untracked(), dict.__len__))
    return found


def _alike(tracked: list[Any], kinds: set[int]) -> list[Any]:
    # A function of its own: up to 3.11 a comprehension keeps the list in a cell, and a cell that is older than the list
    # stands in it. That cycle would hold every object of this moment until the whole heap is collected.
    found = compress(tracked, map(kinds.__contains__, map(id, map(type, tracked))))
    return [one for one in found if one is not tracked]


def untracked() -> list[dict[Any, Any]]:
    """
    Return dictionaries that hold only atoms, which the collector does not track up to 3.13.

    They are looked for where they live long: in modules, in their classes, and in the instances that modules name.
    Modules are walked through their dictionaries: gc.get_referents on a module corrupts the collector on 3.12.1 once
    asyncio has run (cpython issue 122695). It makes no instance dictionary that was not there.
    """
    if sys.version_info >= (3, 14):
        return []
    named = {
        id(value): value
        for module in list(sys.modules.values())
        for value in list(attributes(module).values())
        if id(type(value)) not in _ATOMS
    }
    owners = [value for value in named.values() if type(value) is not dict]
    inner = [one for one in gc.get_referents(*owners) if type(one) is dict]
    found = [value for value in named.values() if type(value) is dict]
    found += inner
    for one in inner:
        found += [value for value in list(one.values()) if type(value) is dict]
    return list({id(one): one for one in found if not gc.is_tracked(one)}.values())


_ATOMS = identities(
    int, str, bytes, float, bool, type(None), tuple, list, set, frozenset, ModuleType, FunctionType, type(len)
)


# -- names and limits ------------------------------------------------------------------------------------------------


def _name(grown: list[Grown]) -> None:
    for one in grown:
        one.limit = own_limit(one.container)
        one.name = lru_name(one.container) if type(one.container) is LRU else ""
        if not one.name:
            _find_owner(one)


def own_limit(container: Any) -> int | None:  # noqa: ANN401 - any object at all
    """Return the most entries that an lru_cache or a deque takes; None of all else, or where there is no limit."""
    if type(container) is LRU:
        limit = container.cache_parameters()["maxsize"]
        return None if limit is None else int(limit)
    if is_a(container, deque):
        limit = deque.maxlen.__get__(container)
        return None if limit is None else int(limit)
    return None


def _find_owner(one: Grown) -> None:
    """Look for a module, class or instance that holds the container, for its name and its limit."""
    inner: list[Any] = [one.container]
    for depth in range(_NESTED):
        outer = [referrer for held in inner for referrer in gc.get_referrers(held) if referrer is not inner]
        for held in inner:
            if any(_owns(one, referrer, held, "[...]" * depth) for referrer in outer):
                return
        inner = [referrer for referrer in outer if _is_plain(referrer)][:_WIDEST]


def _owns(one: Grown, referrer: Any, held: Any, suffix: str) -> bool:  # noqa: ANN401 - any object at all
    if type(referrer) is Grown:
        return False
    if type(referrer) is dict:
        owners = [owner for owner in gc.get_referrers(referrer) if _is_namespace(owner, referrer)]
        return any(_describe(one, owner, referrer, held, suffix) for owner in owners)
    if type(referrer) is LRU:
        one.name, one.limit = lru_name(referrer), own_limit(referrer)
        return True
    return _describe(one, referrer, attributes(referrer), held, suffix)


def _is_plain(referrer: object) -> bool:
    return is_a(referrer, *_PLAIN)


def _is_namespace(owner: object, names: dict[Any, Any]) -> bool:
    return is_a(owner, ModuleType, type) or attributes(owner) is names


def _describe(one: Grown, owner: object, names: dict[Any, Any], held: object, suffix: str) -> bool:
    attribute = next((key for key, value in list(names.items()) if value is held), None)
    if type(attribute) is not str:
        return False
    is_global = is_a(owner, ModuleType, type)
    one.name = f"{namespace_name(owner)}.{attribute}{suffix}"
    if one.limit is None and not suffix:
        named = _constant_limit(one, attribute, names) if is_global else _attribute_limit(one, names)
        one.limit = named or _literal_limit(one, attribute, owner, names)
    return True


def _literal_limit(one: Grown, attribute: str, owner: object, names: dict[Any, Any]) -> int | None:
    numbers = [number for number in compared_lengths(owner, names, attribute) if one.length < number <= _LARGEST_LIMIT]
    return min(numbers, default=None)


def _attribute_limit(one: Grown, names: dict[Any, Any]) -> int | None:
    limits = [value for key, value in list(names.items()) if _is_limit(key, value, one.length)]
    return min(limits, default=None)


def _constant_limit(one: Grown, attribute: str, names: dict[Any, Any]) -> int | None:
    """Return a constant of a module or class that one function there uses together with the container."""
    functions = [value for value in list(names.values()) if type(value) is FunctionType]
    limits = [
        value
        for key, value in list(names.items())
        if _is_limit(key, value, one.length)
        and any({key, attribute} <= set(function.__code__.co_names) for function in functions)
    ]
    return min(limits, default=None)


def _is_limit(key: object, value: object, length: int) -> bool:
    return (
        type(key) is str and type(value) is int and length < value <= _LARGEST_LIMIT and bool(_LIMIT_NAME.search(key))
    )


# -- verdict ---------------------------------------------------------------------------------------------------------


def _verdict(
    grown: list[Grown], runs: int, gains: Sequence[Gain], born: set[int], more: Sequence[KnownHolder]
) -> Holder:
    grown = [one for one in grown if one.name]
    grown, bounded = _without_excuses(grown, gains, born)
    if bounded is not None:
        return _holder("bounded", bounded, runs)
    known = [known_holder(one.name, more) for one in grown]
    unknown = [one for one, tool in zip(grown, known, strict=True) if tool is None]
    if unknown:
        return _holder("unbounded", unknown[0], runs)
    if grown and known[0] is not None:
        return replace(_holder("known", grown[0], runs), why=known[0].why)
    return Holder("native" if len(born) < _LEAST_GROWTH * runs else "hidden")


def _without_excuses(grown: list[Grown], gains: Sequence[Gain], born: set[int]) -> tuple[list[Grown], Grown | None]:
    """Return the container with a limit that explains what was gained, if one does, and else those that may."""
    bounded = [one for one in grown if one.bounded]
    caches = [one for one in bounded if type(one.container) is LRU]
    if caches:
        share = given_back(caches, gains)
        if share >= _EXPLAINED:
            return grown, caches[0]
        if share < _NOTHING_MUCH:
            # The table of a cache that is a Python function is listed under the same name.
            emptied = {one.name for one in caches}
            grown = [one for one in grown if one.name not in emptied]
            bounded = [one for one in bounded if one.name not in emptied]
    if bounded and bounded[0].gained >= _EXPLAINED * grown[0].gained:
        others = [one for one in bounded if one not in caches]
        if not born or len(others) < len(bounded) or weighed(others, gains, born) >= _NOTHING_MUCH:
            return grown, bounded[0]
        grown = [one for one in grown if not one.bounded]
    return grown, None


def _holder(kind: str, one: Grown, runs: int) -> Holder:
    return Holder(kind, one.name, one.limit, one.gained / runs)


def _rebound(home: str, born: set[int], runs: int) -> Holder | None:
    """
    Look for an attribute of the subject's own module that each run binds to a wrapper of its former value.

    Such a chain grows with every repeat of the test, but a program that patches once has one link: it is named, and
    is no leak of what is tested.
    """
    module = sys.modules.get(home)
    for owner in (module, *(value for value in attributes(module).values() if is_a(value, type))):
        for name, value in list(attributes(owner).items()):
            if id(value) in born and _links(value, born) >= max(2.0, runs / 2):
                return Holder("rebound", f"{namespace_name(owner)}.{name}", None, 1.0)
    return None


def _links(value: object, born: set[int]) -> int:
    """Return how many objects of the type of *value* hang on it, through objects born in the same runs."""
    kind, links, seen, front = type(value), 0, {id(value)}, [value]
    while front:
        inner = [one for one in gc.get_referents(*front) if id(one) in born and id(one) not in seen]
        front = list({id(one): one for one in inner}.values())
        seen.update(map(id, front))
        links += sum(type(one) is kind for one in front)
    return links
