"""
Whether nobody in Python holds what stays: then C code keeps it, or has lost count of the references to it.

    survivors the collector sees   none of them has a referrer that is older than they are
    text, numbers, C's own         no object refers to more than before the runs, and no large one is new

The holder check looks at containers with a length. This looks at all that the collector sees, and at the dictionaries
and tuples of nothing but text and numbers that hang on it and are not tracked.
"""

from __future__ import annotations

import gc
import re
import sys
from array import array
from itertools import compress
from types import BuiltinFunctionType, FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.holders import thawed
from pytest_memguard.explain.naming import (
    attributes,
    class_module,
    class_names,
    identities,
    is_a,
    kinds_of,
    namespace_name,
    qualified_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["References", "c_callable"]

_BATCH = 1_000
#: With more objects than this nobody is asked: 0.4 us each, twice.
_MOST = 500_000
#: A holder gains a reference in every second run at least.
_LEAST_PER_RUN = 0.5
#: One that each run replaces by a longer one has what the measured runs left, too.
_LARGE_PER_RUN = 3
_UNTRACKED = identities(dict, tuple)
_PLAIN = identities(dict, list, set, tuple)
_OURS = __name__.partition(".")[0] + "."


class References:
    """Counts what every object refers to, and says later whether one has more. Counts lie in arrays of numbers."""

    def __init__(self) -> None:
        self._identities = array("Q")
        self._counts = array("Q")

    def begin(self) -> None:
        """Count; not while allocations are traced, which takes ten times as long."""
        with thawed(gc.get_freeze_count() > 0):
            objects = _holding(gc.get_objects())
            if len(objects) <= _MOST:
                self._identities = array("Q", map(id, objects))
                self._counts = array("Q", map(len, map(gc.get_referents, objects)))

    def grew(self, runs: int, born: Iterable[Any], ours: Sequence[Any]) -> bool:
        """
        Whether an object holds more than before, in step with the runs, or one so large is new; True if unknown.

        Args:
            runs: Since ``begin``.
            born: Objects born in the runs.
            ours: Objects that belong to whoever asks, with all that hangs on them.

        """
        if not self._identities:
            return True
        before = dict(zip(self._identities, self._counts, strict=True))
        for identity in map(id, born):
            before.pop(identity, None)  # another one was there, which is gone
        known = {*before, *map(id, born)}
        skip = _within(ours) | {id(self), *map(id, (before, known, born, ours))}
        with thawed(gc.get_freeze_count() > 0):
            objects = _holding([one for one in gc.get_objects() if id(one) in known])
            counts = map(len, map(gc.get_referents, objects))
            return any(
                count - before[identity] >= max(1.0, _LEAST_PER_RUN * runs)
                if identity in before
                else count >= _LARGE_PER_RUN * runs
                for identity, count in zip(map(id, objects), counts, strict=True)
                if identity not in skip
            )


def _holding(objects: Sequence[Any]) -> list[Any]:
    """Return the objects that may be asked, and what hangs on them that the collector does not track."""
    kinds = kinds_of(objects)
    # A frame has as many variables as its code, and those of who asks are set meanwhile.
    may_be_asked = {identity for identity, kind in kinds.items() if not issubclass(kind, (ModuleType, FrameType))}
    found = list(compress(objects, map(may_be_asked.__contains__, map(id, map(type, objects)))))
    untracked: dict[int, Any] = {}
    for at in range(0, len(found), _BATCH):
        held = gc.get_referents(*found[at : at + _BATCH])
        inner = compress(held, map(_UNTRACKED.__contains__, map(id, map(type, held))))
        untracked.update((id(one), one) for one in inner if not gc.is_tracked(one))
    return [*found, *untracked.values()]


def _within(ours: Sequence[Any]) -> set[int]:
    """Return the identities of some objects, and of the plain containers and objects of ours that hang on them."""
    seen, front = set(map(id, ours)), list(ours)
    while front:
        held = [one for one in gc.get_referents(*front) if _is_part(one) and id(one) not in seen]
        front = list({id(one): one for one in held}.values())
        seen.update(map(id, front))
    return seen


def _is_part(one: object) -> bool:
    return id(type(one)) in _PLAIN or class_module(type(one)).startswith(_OURS)


# -- what a line calls -----------------------------------------------------------------------------------------------

_CALLED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*\(")


def c_callable(source: str, home: str) -> str:
    """Return the name of a function or type in C that a line of a module calls, of another package; empty if none."""
    names = (_full_name(called.split("."), attributes(sys.modules.get(home))) for called in _CALLED.findall(source))
    return next((name for name in names if name.partition(".")[0] not in _EVERYWHERE), "")


_EVERYWHERE = {"", "builtins", *sys.stdlib_module_names}


def _full_name(parts: Sequence[str], names: dict[Any, Any]) -> str:
    """Return what a dotted name stands for, by the module that has it; empty unless that is code in C."""
    *owners, name = parts
    owner = ""
    for part in owners:
        found = names.get(part)
        if not is_a(found, ModuleType, type):
            return ""
        owner, names = namespace_name(found), attributes(found)
    called = names.get(name)
    if called is None or is_a(called, FunctionType, MethodType) or not callable(called):
        return ""
    if is_a(called, type):
        is_python = any(type(value) is FunctionType for _, value in class_names(called))
        return "" if is_python else qualified_name(called)
    if not owner:
        module = called.__module__ if type(called) is BuiltinFunctionType else attributes(called).get("__module__")
        owner = module if type(module) is str else ""
    return owner and f"{owner}.{name}"
