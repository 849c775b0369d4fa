"""
Which container grew, and may it grow for ever?

All containers that the collector sees are counted twice, some runs apart. What grew is named and asked for a limit:
an ``lru_cache`` has one, a deque too, and a cache class keeps one in an attribute. More runs could not tell a leak
from a cache that is not yet full; looking at the holder can.

No user code is called: types, lengths and attribute dictionaries are read past ``__getattribute__`` and ``__len__``.
"""

from __future__ import annotations

import functools
import gc
import mmap
import re
import sys
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import Holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ContainerCheck"]

_LRU = type(functools.lru_cache(int))
_LENGTHS: tuple[tuple[type, Callable[[Any], int]], ...] = (
    (dict, dict.__len__),
    (list, list.__len__),
    (set, set.__len__),
    (deque, deque.__len__),
)
#: Room for this many containers, 24 bytes each; the pages are only touched when they are used.
_CAPACITY = 1 << 22
#: A holder gains at least this many entries a run (a leak on every fifth run: 0.2).
_LEAST_GROWTH = 0.15
#: Containers named at most; each costs a search for its referrers.
_MOST_NAMED = 6
#: A container is named through so many plain containers around it; each level looks at so many of them.
_NESTED, _WIDEST = 3, 8
_PLAIN = (dict, list, set, tuple, deque)
#: An attribute or constant of such a name that is above the container's length is its limit.
_LIMIT_NAME = re.compile(r"max|limit|capacity|bound|(^|_)cap($|_)|cache_?size|buffer_?size", re.IGNORECASE)
_LARGEST_LIMIT = 1 << 24
#: Clearing a bounded cache explains the growth if it gives back this share of it.
_EXPLAINED = 0.8


@dataclass(slots=True)
class _Grown:
    container: Any
    length: int
    gained: int
    name: str = ""
    limit: int | None = None

    @property
    def bounded(self) -> bool:
        return self.limit is not None


class ContainerCheck:
    """
    The holder check: notes the length of every container, and later says which grew and whether it has a limit.

    The notes lie in anonymous memory that is mapped beforehand: in the interpreter's or the C library's heap they
    would be read as growth of the subject.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _CAPACITY * 24)
        self._notes = memoryview(self._memory).cast("Q")
        self._count = 0

    def begin(self) -> None:
        """Note the length of every container."""
        notes, at = self._notes, 3
        with _thawed():
            for container, length in _containers():
                if at == len(notes):
                    break
                notes[at], notes[at + 1], notes[at + 2] = id(container), id(type(container)), length
                at += 3
        notes[1] = at
        notes[0] = sys.getallocatedblocks()

    def finish(self, runs: int) -> Holder:
        """Say who grew since ``begin``; a bounded ``lru_cache`` among them is cleared to see what goes with it."""
        # With the older heap frozen, what the collector sees was born since: no container that grew, but perhaps one
        # at the address of another that is gone.
        born = set(map(id, gc.get_objects())) if gc.get_freeze_count() else set()
        gained_blocks = sys.getallocatedblocks() - self._notes[0]
        with _thawed():
            grown = self._grown(runs, born)
            _name(grown)
            return _verdict(grown, runs, len(born), gained_blocks)

    def close(self) -> None:
        """Give the memory back."""
        self._notes.release()
        self._memory.close()

    def _grown(self, runs: int, born: set[int]) -> list[_Grown]:
        end = self._notes[1]
        ids, types, lengths = (self._notes[start:end:3].tolist() for start in (3, 4, 5))
        before = dict(zip(zip(ids, types, strict=True), lengths, strict=True))
        grown = []
        for container, length in _containers():
            gained = length - before.get((id(container), id(type(container))), length)
            if gained >= max(1.0, _LEAST_GROWTH * runs) and id(container) not in born:
                grown.append(_Grown(container, length, gained))
        grown.sort(key=lambda one: -one.gained)
        return grown[:_MOST_NAMED]


@contextmanager
def _thawed() -> Iterator[None]:
    """Let the collector see the older heap for a moment, without collecting it."""
    was_enabled, was_frozen = gc.isenabled(), gc.get_freeze_count() > 0
    gc.disable()
    gc.unfreeze()
    try:
        yield
    finally:
        if was_frozen:
            gc.freeze()
        if was_enabled:
            gc.enable()


def _containers() -> Iterator[tuple[Any, int]]:
    """Yield every container that can be found, with its length; plain dictionaries of numbers and text included."""
    tracked = gc.get_objects()
    for candidate in tracked:
        length = _length(candidate)
        if length is not None and candidate is not tracked:
            yield candidate, length
    # Up to 3.13 a dictionary that holds only atoms is not tracked: it hangs from a module, a class or an instance.
    # Modules are walked through their dictionaries, which are tracked: gc.get_referents on a module corrupts the
    # collector on 3.12.1 once asyncio has run (cpython issue 122695).
    for candidate in tracked:
        if type(candidate) is dict:
            for value in candidate.values():
                if type(value) is dict and not gc.is_tracked(value):
                    yield value, len(value)


def _length(candidate: Any) -> int | None:  # noqa: ANN401 - any object at all
    kind = type(candidate)
    if kind is _LRU:
        return int(candidate.cache_info().currsize)
    mro = type.__dict__["__mro__"].__get__(kind)
    for base, length in _LENGTHS:
        if base in mro:
            return length(candidate)
    return None


# -- names and limits ------------------------------------------------------------------------------------------------


def _name(grown: list[_Grown]) -> None:
    for one in grown:
        one.limit = _own_limit(one.container)
        one.name = _lru_name(one.container) if type(one.container) is _LRU else ""
        if not one.name:
            _find_owner(one)


def _own_limit(container: Any) -> int | None:  # noqa: ANN401 - see _length
    if type(container) is _LRU:
        limit = container.cache_parameters()["maxsize"]
        return None if limit is None else int(limit)
    if isinstance(container, deque):
        return container.maxlen
    return None


def _lru_name(cache: Any) -> str:  # noqa: ANN401 - see _length
    function = getattr(cache, "__wrapped__", None)
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename.rpartition('/')[2]}:{code.co_firstlineno})" if code is not None else ""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}{where}"


def _find_owner(one: _Grown) -> None:
    """Look for a module, class or instance that holds the container, for its name and its limit."""
    inner: list[Any] = [one.container]
    for depth in range(_NESTED):
        outer = [referrer for held in inner for referrer in gc.get_referrers(held) if referrer is not inner]
        for held in inner:
            if any(_owns(one, referrer, held, "[...]" * depth) for referrer in outer):
                return
        inner = [referrer for referrer in outer if type(referrer) in _PLAIN][:_WIDEST]


def _owns(one: _Grown, referrer: Any, held: Any, suffix: str) -> bool:  # noqa: ANN401 - any object at all
    if type(referrer) is dict:
        owners = [owner for owner in gc.get_referrers(referrer) if _is_namespace(owner, referrer)]
        return any(_describe(one, owner, referrer, held, suffix) for owner in owners)
    if type(referrer) is _LRU:
        one.name, one.limit = _lru_name(referrer), _own_limit(referrer)
        return True
    return type(referrer) not in _PLAIN and _describe(one, referrer, _attributes(referrer), held, suffix)


def _is_namespace(owner: object, names: dict[Any, Any]) -> bool:
    return isinstance(owner, (ModuleType, type)) or _attributes(owner) is names


def _attributes(owner: object) -> dict[Any, Any]:
    try:
        found = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else dict(found)


def _describe(one: _Grown, owner: object, names: dict[Any, Any], held: object, suffix: str) -> bool:
    attribute = next((key for key, value in list(names.items()) if value is held), None)
    if not isinstance(attribute, str):
        return False
    is_global = isinstance(owner, (ModuleType, type))
    one.name = f"{_owner_name(owner, names)}.{attribute}{suffix}"
    if one.limit is None and not suffix:
        one.limit = _constant_limit(one, attribute, names) if is_global else _attribute_limit(one, names)
    return True


def _owner_name(owner: object, names: dict[Any, Any]) -> str:
    if type(owner) is ModuleType:
        return str(names.get("__name__", "?"))
    kind = owner if isinstance(owner, type) else type(owner)
    return f"{kind.__module__}.{kind.__qualname__}"


def _attribute_limit(one: _Grown, names: dict[Any, Any]) -> int | None:
    limits = [value for key, value in list(names.items()) if _is_limit(key, value, one.length)]
    return min(limits, default=None)


def _constant_limit(one: _Grown, attribute: str, names: dict[Any, Any]) -> int | None:
    """A module's or class's constant is a limit if one function there uses it together with the container."""
    functions = [value for value in list(names.values()) if isinstance(value, FunctionType)]
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


def _verdict(grown: list[_Grown], runs: int, born: int, gained_blocks: int) -> Holder:
    grown = [one for one in grown if one.name]
    bounded = [one for one in grown if one.bounded]
    caches = [one for one in bounded if type(one.container) is _LRU]
    if caches and _clearing_explains(caches, gained_blocks):
        return _holder("bounded", caches[0], runs)
    if bounded and bounded[0].gained >= _EXPLAINED * grown[0].gained:
        return _holder("bounded", bounded[0], runs)
    if grown:
        return _holder("unbounded", grown[0], runs)
    return Holder("native" if born < _LEAST_GROWTH * runs else "hidden")


def _holder(kind: str, one: _Grown, runs: int) -> Holder:
    return Holder(kind, one.name, one.limit, one.gained / runs)


def _clearing_explains(caches: list[_Grown], gained_blocks: int) -> bool:
    before = sys.getallocatedblocks()
    for one in caches:
        one.container.cache_clear()
    gc.collect()
    return before - sys.getallocatedblocks() >= _EXPLAINED * gained_blocks
