"""
What each edge of a chain of objects is called: attribute, key, closure variable, default argument, local, ...

A chain as the collector sees it goes through dictionaries of attributes, tuples of closures and cells; people do not
want to read of those. So several links of the chain become one step.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from contextvars import Context, ContextVar
from dataclasses import dataclass, replace
from itertools import islice, pairwise
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
from weakref import ReferenceType

from pytest_memguard.explain.naming import (
    LRU,
    attributes,
    class_attribute,
    class_names,
    first_name,
    function_name,
    identities,
    is_a,
    key_text,
    may_be_asked,
    mro,
    plain,
    qualified_name,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["LOCAL", "Step", "frame_locals", "is_plain", "steps"]

#: What Python's threading.local is made from.
LOCAL: type = __import__("_thread")._local  # noqa: SLF001 - the name it has

#: No dictionary is searched further than this for the key of a value, newest entries first.
_MOST_KEYS = 100_000
_LONGEST_NAMED = 1_000
#: Attributes of C types that are made when they are asked for, or are of no interest.
_SKIPPED = frozenset(
    {"__dict__", "__weakref__", "__annotations__", "__annotate__", "__type_params__", "__class__", "__doc__",
     "__code__", "__globals__", "f_locals", "gi_frame", "cr_frame", "ag_frame"}
)  # fmt: skip
_CONTEXT_NODES = frozenset({"hamt", "hamt_array_node", "hamt_bitmap_node", "hamt_collision_node"})
_COROUTINES = (GeneratorType, CoroutineType, AsyncGeneratorType)
_ELEMENTS = (list, tuple, set, frozenset, deque)
_EXACT = identities(dict, *_ELEMENTS)
_SUSPENDED = identities(*_COROUTINES)
_WITHOUT_ATTRIBUTES = identities(FunctionType, FrameType, TracebackType, *_COROUTINES)
_PLAIN = (
    dict, *_ELEMENTS, CellType, FunctionType, MethodType, LRU, functools.partial, ReferenceType, FrameType,
    TracebackType, *_COROUTINES, Context,
)  # fmt: skip
#: Dictionaries of the standard library that keep their entries in another one.
_WRAPPERS = frozenset(
    {"weakref.WeakKeyDictionary", "weakref.WeakValueDictionary", "_weakrefset.WeakSet", "collections.UserDict",
     "collections.UserList"}
)  # fmt: skip
#: Of a code object: local variables lie in the frame, and not in a dictionary.
_OPTIMIZED = 1


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """
    One named edge, and the object it leads to.

    Attributes:
        kind: Sort of edge, as in ``core.values.Hop``.
        name: Of the edge, as in ``core.values.Hop``.
        one: The object it leads to.
        via: Identities of the objects between that were left out, and of the object itself.
        times: How many such steps were folded into this one.
        text: What it says to people, where that is not the name.

    """

    kind: str
    name: str
    one: Any
    via: tuple[int, ...] = ()
    times: int = 1
    text: str = ""


def is_plain(one: object) -> bool:
    """Whether *one* is a container, a function or the like: an object that has no meaning of its own."""
    return is_a(one, *_PLAIN) or _is_wrapper(one)


def steps(chain: Sequence[Any], growing: frozenset[int] = frozenset()) -> list[Step]:
    """
    Return the named edges of a chain of objects, from the first object, which is no step, to the last.

    Args:
        chain: Objects, each held by the one before.
        growing: Identities of containers whose keys differ from run to run, and say nothing.

    """
    found: list[Step] = []
    at = 0
    while at < len(chain) - 1:
        step = _step(chain, at, growing)
        found.append(step)
        at += len(step.via)
    return _folded(_unwrapped(chain[0], found))


def _step(chain: Sequence[Any], at: int, growing: frozenset[int]) -> Step:
    owner, held = chain[at], chain[at + 1]
    for namer in _NAMERS:
        found = namer(chain, at)
        if found is not None:
            kind, name, width = found
            return Step(kind, name, chain[at + width], tuple(map(id, chain[at + 1 : at + width + 1])))
    if is_a(owner, dict):
        return Step("item", _item_name(owner, held, growing), held, (id(held),))
    if is_a(owner, *_ELEMENTS):
        return _element(owner, held)
    return Step("reference", ".__class__" if held is type(owner) else "...", held, (id(held),))


# -- edges of one sort each; what they return is kind, name and how many links that makes ----------------------------

_Named = tuple[str, str, int] | None


def _of_function(chain: Sequence[Any], at: int) -> _Named:
    function: Any = chain[at]
    if type(function) is not FunctionType:
        return None
    link: Any = chain[at + 1]
    inner = chain[at + 2] if len(chain) > at + 2 else None
    if link is function.__closure__ and inner is not None:
        variable = function.__code__.co_freevars[_position(link, inner)]
        width = 3 if len(chain) > at + 3 and type(inner) is CellType else 2
        return "cell", f"{function_name(function)}.{variable}", width
    defaults: Any = function.__defaults__
    if link is defaults and inner is not None:
        parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
        parameter = parameters[len(parameters) - len(defaults) + _position(defaults, inner)]
        return "default", f"{function_name(function)}({parameter}=)", 2
    by_name: Any = function.__kwdefaults__
    if link is by_name and inner is not None:
        return "default", f"{function_name(function)}({first_name(by_name, inner)}=)", 2
    return None


def _position(parts: Any, held: object) -> int:  # noqa: ANN401 - a tuple
    return next((at for at, part in enumerate(parts) if part is held), 0)


def _of_method(chain: Sequence[Any], at: int) -> _Named:
    method = chain[at]
    if type(method) is not MethodType:
        return None
    return ("method", ".__self__", 1) if chain[at + 1] is method.__self__ else ("function", ".__func__", 1)


def _of_cell(chain: Sequence[Any], at: int) -> _Named:
    return ("cell", "closure variable", 1) if type(chain[at]) is CellType else None


def _of_cache(chain: Sequence[Any], at: int) -> _Named:
    if not is_a(chain[at], LRU) or chain[at + 1] is attributes(chain[at]):
        return None
    if chain[at + 1] is attributes(chain[at]).get("__wrapped__"):
        return "function", ".__wrapped__", 1
    is_inner = type(chain[at + 1]) is dict and len(chain) > at + 2
    return "cache", "[...]", 2 if is_inner else 1


def _of_local(chain: Sequence[Any], at: int) -> _Named:
    """Name an attribute of a threading.local: it lies in a dictionary for each thread, within a dictionary of them."""
    if not is_a(chain[at], LOCAL):
        return None
    end = at + 1
    while end < len(chain) - 1 and (type(chain[end]) is dict or "localdummy" in type_name(chain[end])):
        name = first_name(chain[end], chain[end + 1]) if type(chain[end]) is dict else ""
        end += 1
        if name:
            return "attribute", f".{name}", end - at
    return None


def _of_context(chain: Sequence[Any], at: int) -> _Named:
    if type(chain[at]) is not Context and type_name(chain[at]) not in _CONTEXT_NODES:
        return None
    end = at + 1
    while end < len(chain) - 1 and type_name(chain[end]) in _CONTEXT_NODES:
        end += 1
    return "context", _variable_name(chain[end - 1], chain[end]), end - at


def _variable_name(node: object, held: object) -> str:
    """Return the name of the context variable that has the value *held*: both stand side by side in a node."""
    parts = list(node.values()) if type(node) is Context else gc.get_referents(node)
    if type(node) is Context:
        parts = [part for pair in node.items() for part in reversed(pair)]
    for part, neighbour in pairwise(parts):
        if part is held and type(neighbour) is ContextVar:
            return f"contextvar {plain(neighbour.name)}"
    return "contextvar"


def _of_attributes(chain: Sequence[Any], at: int) -> _Named:
    owner, held = chain[at], chain[at + 1]
    if is_a(owner, *_ELEMENTS, dict) and id(type(owner)) in _EXACT:
        return None
    if type(held) is dict and len(chain) > at + 2 and _is_namespace(owner, held):
        name = first_name(held, chain[at + 2])
        return ("attribute", f".{name}", 2) if name else None
    if is_a(owner, ModuleType, type):
        name = first_name(attributes(owner), held)
    elif id(type(owner)) in _WITHOUT_ATTRIBUTES:
        name = ""
    else:
        name = first_name(attributes(owner), held)
    return ("attribute", f".{name}", 1) if name else None


def _is_namespace(owner: object, names: dict[Any, Any]) -> bool:
    return is_a(owner, type) or attributes(owner) is names


def _of_exception(chain: Sequence[Any], at: int) -> _Named:
    error, held = chain[at], chain[at + 1]
    if not is_a(error, BaseException):
        return None
    for name in ("__traceback__", "__cause__", "__context__"):
        if vars(BaseException)[name].__get__(error) is held:
            return "traceback" if name == "__traceback__" else "attribute", f".{name}", 1
    return None


def _of_traceback(chain: Sequence[Any], at: int) -> _Named:
    trace = chain[at]
    if type(trace) is not TracebackType:
        return None
    return "traceback", ".tb_next" if chain[at + 1] is trace.tb_next else ".tb_frame", 1


def _of_frame(chain: Sequence[Any], at: int) -> _Named:
    frame, held = chain[at], chain[at + 1]
    if type(frame) is not FrameType:
        return None
    if held is frame.f_back:
        return "reference", ".f_back", 1
    return "local", f"{plain(frame.f_code.co_name)}.{_local_name(frame, held)}", 1


def _of_coroutine(chain: Sequence[Any], at: int) -> _Named:
    owner = chain[at]
    if id(type(owner)) not in _SUSPENDED:
        return None
    prefix = {GeneratorType: "gi", CoroutineType: "cr", AsyncGeneratorType: "ag"}[type(owner)]
    if chain[at + 1] is getattr(owner, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await"):
        return "reference", ".await", 1
    frame = getattr(owner, f"{prefix}_frame")
    width = 2 if chain[at + 1] is frame and len(chain) > at + 2 else 1
    name = _local_name(frame, chain[at + width]) if frame is not None else "?"
    return "local", f"{plain(owner.__name__)}.{name}", width


def _local_name(frame: FrameType, held: object) -> str:
    return next((name for name, value in frame_locals(frame) if value is held), "(stack)")


def frame_locals(frame: FrameType) -> list[tuple[str, Any]]:
    """Return the local variables of a frame, without leaving a copy of them in the frame."""
    names: Any = frame.f_locals
    found = [(str(name), value) for name, value in _pairs(names) if type(name) is str]
    # Up to 3.12 a frame keeps the dictionary that was made for us, and all values with it; nobody else has it, if
    # only the frame, the variable and the call refer to it.
    is_copy = sys.version_info < (3, 13) and frame.f_code.co_flags & _OPTIMIZED
    if is_copy and sys.getrefcount(names) <= _REFERENCES:
        names.clear()
    return found


_REFERENCES = 3


def _pairs(names: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - dict, or a proxy from 3.13 on, or the user's own
    if type(names) is dict or type(names).__name__ == "FrameLocalsProxy":
        return list(names.items())
    return list(dict.items(names)) if is_a(names, dict) else []


def _of_weak_reference(chain: Sequence[Any], at: int) -> _Named:
    return ("callback", "callback", 1) if is_a(chain[at], ReferenceType) else None


def _of_members(chain: Sequence[Any], at: int) -> _Named:
    owner, held = chain[at], chain[at + 1]
    if is_a(owner, type, ModuleType):
        return None
    for kind in mro(type(owner)):
        for name, descriptor in class_names(kind):
            asked = name not in _SKIPPED and may_be_asked(kind, descriptor)
            if asked and _value_of(descriptor, owner) is held:
                return "attribute", f".{name}", 1
    return None


def _value_of(descriptor: Any, owner: object) -> Any:  # noqa: ANN401 - any attribute at all
    try:
        return descriptor.__get__(owner)
    except Exception:  # noqa: BLE001 - a slot that is not set, a C attribute that does not like to be asked
        return None


_NAMERS: tuple[Callable[[Sequence[Any], int], _Named], ...] = (
    _of_function, _of_method, _of_cell, _of_cache, _of_local, _of_context, _of_exception, _of_traceback, _of_frame,
    _of_coroutine, _of_weak_reference, _of_attributes, _of_members,
)  # fmt: skip


# -- entries ---------------------------------------------------------------------------------------------------------


def _item_name(owner: Any, held: object, growing: frozenset[int]) -> str:  # noqa: ANN401 - a dict
    entries = list(islice(reversed(dict.items(owner)), _MOST_KEYS))
    for key, value in entries:
        if value is held:
            is_telling = type(key) is str and id(owner) not in growing and dict.__len__(owner) <= _LONGEST_NAMED
            return f"[{key_text(key)}]" if is_telling else "[...]"
    return "[...] (key)" if any(key is held for key, _ in entries) else "[...]"


def _element(owner: Any, held: object) -> Step:  # noqa: ANN401 - a list, tuple, set or deque
    fields = class_attribute(type(owner), "_fields") if is_a(owner, tuple) else None
    if type(fields) is tuple and len(fields) == tuple.__len__(owner):
        names = (field for field, value in zip(fields, tuple.__iter__(owner), strict=False) if value is held)
        return Step("attribute", f".{plain(next(names, '?'))}", held, (id(held),))
    return Step("element", "[...]", held, (id(held),))


# -- steps that say little by themselves -----------------------------------------------------------------------------


def _unwrapped(first: object, found: Sequence[Step]) -> list[Step]:
    """Leave out the dictionary within a WeakKeyDictionary and the like."""
    owner, kept = first, list[Step]()
    pending: tuple[int, ...] = ()
    for at, step in enumerate(found):
        is_inner = _is_wrapper(owner) and step.name == ".data"
        if is_inner and at + 1 < len(found):
            pending = step.via
        elif is_inner and kept:
            kept[-1] = replace(kept[-1], via=(*kept[-1].via, *step.via))
        else:
            if step.kind == "cache":
                # What grows is the cache, not what lies in the dictionary within it.
                pending = (*pending, *step.via[:-1])
            if pending and kept:
                kept[-1] = replace(kept[-1], via=(*kept[-1].via, *pending))
            kept.append(step)
            pending = ()
        owner = step.one
    return kept


def _is_wrapper(one: object) -> bool:
    return any(qualified_name(kind) in _WRAPPERS for kind in mro(type(one)))


def _folded(found: list[Step]) -> list[Step]:
    """Fold what repeats: one step, or a group of two or three, as in a linked list or the frames of a traceback."""
    kept: list[Step] = []
    at = 0
    while at < len(found):
        width, times = max(_repeats(found, at), key=lambda one: one[0] * one[1] if one[1] > 1 else 1)
        last = at + width * times
        group = found[last - width : last]
        if times > 1:
            via = tuple(one for step in found[at:last] for one in step.via)
            group[-1] = replace(group[-1], times=times, via=via)
        kept += group if times > 1 else found[at : at + 1]
        at = last if times > 1 else at + 1
    return kept


def _repeats(found: list[Step], at: int) -> Iterator[tuple[int, int]]:
    for width in (1, 2, 3):
        times = 1
        while all(
            at + times * width + k < len(found) and _alike(found[at + k], found[at + times * width + k])
            for k in range(width)
        ):
            times += 1
        yield width, times


def _alike(one: Step, other: Step) -> bool:
    return (one.kind, one.name) == (other.kind, other.name) and type(one.one) is type(other.one)
