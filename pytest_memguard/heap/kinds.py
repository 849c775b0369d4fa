"""
What objects of each type are called in a snapshot, how large they are, and what they hold under which name.

Nothing here calls a method of the user's: attributes are read through the descriptors of the built-in types. The values
of strings and the keys of ordinary dictionaries are not shown unless they are asked for.
"""

from __future__ import annotations

import builtins
import gc
import sys
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import (
    AsyncGeneratorType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)  # fmt: skip
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.naming import class_attribute, class_names, identities, may_be_asked, mro, qualified_name
from pytest_memguard.heap.layout import (
    CLOSURE,
    CODE,
    ELEMENT,
    INTERNAL,
    NATIVE,
    NUMBER,
    OBJECT,
    PROPERTY,
    STRING,
    WEAK,
    Edge,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Kind", "Kinds", "is_static"]

_LONGEST_VALUE = 200
_LARGEST_SHOWN = 10**40

_get_referents = gc.get_referents
_TYPE_DICT: Any = type.__dict__["__dict__"]
_MODULE_DICT: Any = vars(ModuleType)["__dict__"]
_BASES: Any = type.__dict__["__bases__"]
_BASE: Any = type.__dict__["__base__"]
_FLAGS: Any = type.__dict__["__flags__"]

#: Python 3.11 and 3.12, and 3.13 and later: a dictionary of attributes is made when it is first asked for.
_HEAP_TYPE = 1 << 9
_MANAGED_DICT, _INLINE_VALUES = 1 << 4, 1 << 2
_SHOWING = identities(MemberDescriptorType, GetSetDescriptorType)
_C_METHODS = identities(MethodDescriptorType, WrapperDescriptorType)
_SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)
_FRAME_OF = dict(zip(map(id, _SUSPENDED), ("gi_frame", "cr_frame", "ag_frame"), strict=True))
#: What of a function can be asked for without making something that was not there.
_OF_FUNCTION = ("__code__", "__defaults__", "__kwdefaults__", "__qualname__", "__doc__")
#: Every function holds these, and other things hold them anyhow: a tenth of all edges, and they tell nothing.
_OF_EVERY_FUNCTION = frozenset({id(vars(builtins))})


@dataclass(frozen=True, slots=True)
class Kind:
    """How to describe the objects of one type: those without a common ``name`` have a ``naming``."""

    node_type: int
    name: str
    naming: Callable[[Any], str] | None
    edges: Callable[[Any], Iterable[Edge]] | None
    #: The dictionary whose entries are the object's attributes; it is a part of the object.
    owned: Callable[[Any], Any] | None
    size: Callable[[Any], int]


class Kinds:
    """
    The kinds that were met so far.

    Args:
        values: Show the values of strings and numbers, and the keys of dictionaries.
        disposable: This process is a copy that ends soon: nothing changes under the walk, and what Python makes when it
            is asked for the first time disturbs nobody.
        running: Identities of frames that belong to other threads, and are not to be looked into.

    """

    def __init__(self, *, values: bool, disposable: bool, running: frozenset[int] = frozenset()) -> None:
        self._values, self._disposable, self._running = values, disposable, running
        self._known: dict[int, Kind] = {}
        self._steady: Callable[[Any], Iterable[Any]] = iter if disposable else list
        self._special: dict[int, Callable[[type], Kind]] = {
            id(kind): make
            for kinds, make in (
                ((str,), self._string),
                ((int, float, complex), self._number),
                ((bytes, bytearray), _of_bytes),
                ((CodeType,), _of_code),
                ((FunctionType,), _of_functions),
                (_SUSPENDED, self._suspended),
            )
            for kind in kinds
        }

    def of(self, kind: type) -> Kind:
        """Return how to describe the objects of the type *kind*."""
        found = self._known.get(id(kind))
        if found is None:
            make = self._special.get(id(kind), self._object)
            found = self._known[id(kind)] = make(kind)
        return found

    def forget(self) -> None:
        """Drop all kinds, whose methods hold this: nothing shall be left for the collector."""
        self._known.clear()
        self._special.clear()

    # -- leaves ------------------------------------------------------------------------------------------------------

    def _string(self, _: type) -> Kind:
        return Kind(STRING, "", self._text, None, None, sys.getsizeof)

    def _text(self, one: str) -> str:
        return one[:_LONGEST_VALUE] if self._values else f"str[{len(one)}]"

    def _number(self, kind: type) -> Kind:
        naming = _number_text if self._values else None
        return Kind(NUMBER, kind.__name__, naming, None, None, sys.getsizeof)

    def _suspended(self, kind: type) -> Kind:
        """Name the local variables of a generator or coroutine where its frame may be made, which tells them."""
        frame = _FRAME_OF[id(kind)]

        def edges(one: Any) -> Iterator[Edge]:  # noqa: ANN401 - any of the three
            named = _locals(getattr(one, frame)) if self._disposable else {}
            return _referents(one, named, "ref")

        return Kind(OBJECT, kind.__name__, None, edges, None, sys.getsizeof)

    # -- everything else ---------------------------------------------------------------------------------------------

    def _object(self, kind: type) -> Kind:
        size = _size_of(kind)
        if issubclass(kind, type):
            return Kind(OBJECT, "", _class_name, _class_edges, _own_dictionary_of_class, size)
        if issubclass(kind, ModuleType):
            edges = _Attributes(kind, _MODULE_DICT.__get__, contents=None)
            return Kind(OBJECT, "", _module_name, edges, _MODULE_DICT.__get__, size)
        name = qualified_name(kind)
        special = self._by_base(kind)
        if special is not None:
            return Kind(OBJECT, name, None, special, None, size)
        contents = self._contents(kind)
        if contents is not None and is_static(kind):  # made in C: there is nothing but the contents
            return Kind(OBJECT, name, None, contents, None, size)
        owned = self._dictionary(kind)
        return Kind(OBJECT, name, None, _Attributes(kind, owned, contents), owned, size)

    def _by_base(self, kind: type) -> Callable[[Any], Iterable[Edge]] | None:
        if kind is CellType:
            return _cell_edges
        if kind is MethodType:
            return _method_edges
        if kind is FrameType:
            return self._frame_edges
        return _weak_edges if issubclass(kind, weakref.ref) else None

    def _frame_edges(self, one: FrameType) -> Iterator[Edge]:
        if id(one) in self._running:
            return iter(())
        return _referents(one, _locals(one) if self._disposable else {}, "ref")

    def _contents(self, kind: type) -> Callable[[Any], Iterable[Edge]] | None:
        """Return how to list what a container holds; None for what is no container."""
        if issubclass(kind, dict):
            return self._entries
        base = next((base for base in (*_ORDERED, set, frozenset) if issubclass(kind, base)), None)
        if base is None:
            return None
        return (_Elements if base in _ORDERED else _Items)(base, self._steady)

    def _entries(self, one: Any) -> Iterator[Edge]:  # noqa: ANN401 - dict or a class made from it
        for key, value in self._steady(dict.items(one)):
            if type(key) is str:
                yield PROPERTY, key[:_LONGEST_VALUE] if self._values else "<str key>", value
                yield INTERNAL, "key", key
            else:
                yield PROPERTY, self._key(key), value
                yield INTERNAL, "key", key

    def _key(self, key: object) -> str:
        if self._values and id(type(key)) in _PLAIN:
            return _number_text(key)
        return f"<{qualified_name(type(key))} key>"

    def _dictionary(self, kind: type) -> Callable[[Any], Any] | None:
        """Return how to get at the dictionary of attributes; None where there is none, or asking would make one."""
        descriptor = class_attribute(kind, "__dict__")
        if type(descriptor) is not GetSetDescriptorType:
            return None
        lazy = sys.version_info >= (3, 11) and _FLAGS.__get__(kind) & (_MANAGED_DICT | _INLINE_VALUES)
        return None if lazy and not self._disposable else _Dictionary(descriptor)


_PLAIN = identities(int, float, complex, bool)
_ORDERED = (list, tuple, deque)


class _Dictionary:
    """Asks an object for its dictionary of attributes; None where that fails, or the user made it another mapping."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: Any) -> None:  # noqa: ANN401 - a getset descriptor
        self._descriptor = descriptor

    def __call__(self, one: object) -> dict[Any, Any] | None:
        try:
            found = self._descriptor.__get__(one)
        except Exception:  # noqa: BLE001 - an object half made; then it has no attributes yet
            return None
        return found if type(found) is dict else None


#: The collector is told of the last element first.
_FORWARD = 1 if _get_referents([0, 1])[0] == 0 else -1


class _Elements:
    """Lists the elements of lists, tuples and deques by their number."""

    __slots__ = ("_iterate", "_steady")

    def __init__(self, base: Any, steady: Callable[[Any], Iterable[Any]]) -> None:  # noqa: ANN401 - a type of container
        self._iterate, self._steady = base.__iter__, steady

    def __call__(self, one: Any) -> Iterator[Edge]:  # noqa: ANN401 - a container
        # C code may have made a list or a tuple and not filled it yet: to read such an item ends the process.
        plain = type(one) is list or type(one) is tuple
        values = _get_referents(one)[::_FORWARD] if plain else self._steady(self._iterate(one))
        for number, value in enumerate(values):
            yield ELEMENT, number, value


class _Items(_Elements):
    """Lists the items of sets, which have no number."""

    __slots__ = ()

    def __call__(self, one: Any) -> Iterator[Edge]:  # noqa: ANN401 - a container
        for value in self._steady(self._iterate(one)):
            yield INTERNAL, "item", value


class _Attributes:
    """Lists the attributes of the instances of a class, then what it holds as a container, then what has no name."""

    __slots__ = ("_contents", "_descriptors", "_kind", "_owned")

    def __init__(
        self,
        kind: type,
        owned: Callable[[Any], Any] | None,
        contents: Callable[[Any], Iterable[Edge]] | None,
    ) -> None:
        self._kind, self._owned, self._contents = kind, owned, contents
        self._descriptors = tuple(_descriptors(kind))

    def __call__(self, one: Any) -> Iterator[Edge]:  # noqa: ANN401 - an instance
        owned = self._owned(one) if self._owned is not None else None
        done = set()
        if owned is not None:
            done.add(id(owned))
            for key, value in list(owned.items()):
                done.add(id(value))
                yield PROPERTY, _attribute_name(key), value
        if self._contents is None:
            yield from self._unnamed(one, done)
            return
        yield from self._contents(one)
        yield from self._members(one)
        yield INTERNAL, "__class__", self._kind

    def _unnamed(self, one: object, done: set[int]) -> Iterator[Edge]:
        """Yield what the collector knows *one* to hold, by the name of the slot where there is one."""
        slots = {id(value): name for _, name, value in self._members(one)} if self._descriptors else {}
        for number, value in enumerate(_get_referents(one)):
            if value is self._kind:
                yield INTERNAL, "__class__", value
            elif id(value) in slots:
                yield PROPERTY, slots[id(value)], value
            elif id(value) not in done:
                yield INTERNAL, f"ref {number}", value

    def _members(self, one: object) -> Iterator[Edge]:
        for name, descriptor in self._descriptors:
            with suppress(Exception):  # a slot that is not set, a C attribute that does not like to be asked
                yield PROPERTY, name, descriptor.__get__(one)


def _descriptors(kind: type) -> Iterator[tuple[str, Any]]:
    for base in mro(kind):
        for name, descriptor in class_names(base):
            shown = id(type(descriptor)) in _SHOWING and not name.startswith("__")
            if shown and may_be_asked(base, descriptor):
                yield name, descriptor


def _attribute_name(key: object) -> str:
    """Return the name of an attribute; what is no name may be anything that the user put there."""
    return key if type(key) is str and key.isidentifier() else "<key>"


def _of_bytes(kind: type) -> Kind:
    return Kind(NATIVE, kind.__name__, None, None, None, sys.getsizeof)


def _of_code(_: type) -> Kind:
    return Kind(CODE, "", _code_name, _code_edges, None, sys.getsizeof)


def _of_functions(_: type) -> Kind:
    return Kind(CLOSURE, "", _function_name, _function_edges, None, sys.getsizeof)


# -- one type each ---------------------------------------------------------------------------------------------------


def _cell_edges(one: CellType) -> Iterator[Edge]:
    for value in _get_referents(one):
        yield PROPERTY, "cell_contents", value


def _method_edges(one: MethodType) -> Iterator[Edge]:
    yield PROPERTY, "__self__", one.__self__
    yield INTERNAL, "__func__", one.__func__


def _weak_edges(one: weakref.ref[Any]) -> Iterator[Edge]:
    referent = weakref.ref.__call__(one)
    if referent is not None:
        yield WEAK, "referent", referent
    yield from _referents(one, {}, "ref")


def _code_edges(one: CodeType) -> Iterator[Edge]:
    yield INTERNAL, "co_consts", one.co_consts  # the collector does not look into code, which holds nested code there


def _function_edges(one: Any) -> Iterator[Edge]:  # noqa: ANN401 - FunctionType, which mypy does not know to have these
    cells = one.__closure__ or ()
    for name, cell in zip(one.__code__.co_freevars, cells, strict=False):
        yield PROPERTY, f"closure {name}", cell
    names = {id(getattr(one, name)): name for name in _OF_FUNCTION}
    names[id(one.__globals__)] = "__globals__"
    done = _OF_EVERY_FUNCTION.union(map(id, cells), (id(one.__module__), id(one.__name__)))
    yield from _referents(one, names, "ref", INTERNAL, done - names.keys())


def _class_edges(one: type) -> Iterator[Edge]:
    owned = _own_dictionary_of_class(one)
    done = {id(owned)}
    for key, value in list(_TYPE_DICT.__get__(one).items()):
        done.add(id(value))
        yield PROPERTY, _attribute_name(key), value
    done.add(id(_BASE.__get__(one)))  # it stands in __mro__ as well
    names = {id(mro(one)): "__mro__", id(_BASES.__get__(one)): "__bases__"}
    yield from _referents(one, names, "ref", INTERNAL, done)


def is_static(one: type) -> bool:
    """Whether a class is made in C once and for all; the collector does not list those."""
    return not _FLAGS.__get__(one) & _HEAP_TYPE


def _own_dictionary_of_class(one: type) -> dict[Any, Any] | None:
    """Return the dictionary behind the read-only view that a class shows of its attributes."""
    found = _get_referents(_TYPE_DICT.__get__(one))
    return found[0] if found and type(found[0]) is dict else None


def _referents(
    one: object,
    names: dict[int, str],
    other: str,
    edge_type: int = PROPERTY,
    done: frozenset[int] | set[int] = frozenset(),
) -> Iterator[Edge]:
    """Yield what the collector knows *one* to hold, with the *names* that some of it has by identity."""
    for number, value in enumerate(_get_referents(one)):
        if id(value) not in done:
            name = names.get(id(value))
            yield (INTERNAL, f"{other} {number}", value) if name is None else (edge_type, name, value)


def _locals(frame: FrameType | None) -> dict[int, str]:
    """Return the names of local variables by the identity of what they hold."""
    if frame is None:
        return {}
    return {id(value): f"local {name}" for name, value in frame.f_locals.items()}


# -- names and sizes -------------------------------------------------------------------------------------------------


def _number_text(one: Any) -> str:  # noqa: ANN401 - a number
    if type(one) is int and not -_LARGEST_SHOWN < one < _LARGEST_SHOWN:
        return "int"
    return repr(one)


def _code_name(one: CodeType) -> str:
    return str(getattr(one, "co_qualname", one.co_name))  # 3.11+


def _function_name(one: FunctionType) -> str:
    return f"{one.__module__}.{one.__qualname__}"


def _module_name(one: ModuleType) -> str:
    name = _MODULE_DICT.__get__(one).get("__name__")
    return f"module {name}" if type(name) is str else "module"


def _class_name(one: type) -> str:
    return f"class {qualified_name(one)}"


def _size_of(kind: type) -> Callable[[Any], int]:
    """Return what measures the instances of *kind*; ``__sizeof__`` may be the user's code, and is not called then."""
    if id(type(class_attribute(kind, "__sizeof__"))) in _C_METHODS:
        return sys.getsizeof
    return object.__sizeof__
