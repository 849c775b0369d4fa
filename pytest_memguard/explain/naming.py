"""
Names for objects of every kind, without calling a method of theirs.

Types, lengths and attributes are read through the descriptors of the built-in types themselves: past ``__class__``,
``__getattribute__``, ``__len__``, ``__dict__``, ``__repr__`` and their like, which are the user's code.
"""

from __future__ import annotations

import functools
from collections import deque
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "LRU", "attributes", "class_attribute", "class_module", "class_names", "first_name", "function_name",
    "identities", "is_a", "key_text", "kinds_of", "length", "lru_name", "may_be_asked", "members", "mro",
    "namespace_name", "plain", "qualified_name", "text_of", "type_name",
]  # fmt: skip

#: The type of a function that functools.lru_cache made; it has no public name.
LRU = type(functools.lru_cache(int))

_MRO = type.__dict__["__mro__"]
_TYPE_DICT: Any = type.__dict__["__dict__"]
_MODULE_OF = type.__dict__["__module__"]
_QUALNAME_OF = type.__dict__["__qualname__"]
_MODULE_DICT: Any = vars(ModuleType)["__dict__"]

_LENGTHS: tuple[tuple[type, Any], ...] = (
    (dict, dict.__len__), (list, list.__len__), (tuple, tuple.__len__), (set, set.__len__),
    (frozenset, frozenset.__len__), (deque, deque.__len__), (bytearray, bytearray.__len__),
)  # fmt: skip
#: C types whose computed attributes run nobody else's code.
_OPEN_MODULES = frozenset({"_asyncio", "builtins", "functools", "collections", "weakref"})
_PUBLIC = {("_thread", "_local"): "threading.local"}
_LARGEST_NUMBER = 36
_LONGEST_KEY, _MOST_PARTS, _DEEPEST = 40, 4, 3


#: How an instance has a dictionary; a property of that name would be the user's code.
_DESCRIPTORS = frozenset(map(id, (GetSetDescriptorType, MemberDescriptorType)))


# -- types and attributes --------------------------------------------------------------------------------------------


def mro(kind: type) -> tuple[type, ...]:
    """Return a type and its bases; nothing for a half-made class, which has no order yet."""
    bases: tuple[type, ...] | None = _MRO.__get__(kind)
    return bases or ()


def is_a(one: object, *kinds: type) -> bool:
    """Whether *one* is of such a type; unlike isinstance this does not ask for its ``__class__``, which may be code."""
    return issubclass(type(one), kinds)


def identities(*kinds: type) -> frozenset[int]:
    """
    Return the identities of types, to ask ``id(type(one)) in`` them.

    A type itself is never looked for in a set, tuple or dictionary: that calls ``__hash__`` or ``__eq__`` of a user's
    metaclass.
    """
    return frozenset(map(id, kinds))


def kinds_of(objects: Iterable[object]) -> dict[int, type]:
    """Return the types of objects, by identity."""
    types = list(map(type, objects))
    return dict(zip(map(id, types), types, strict=True))


def attributes(owner: object) -> dict[Any, Any]:
    """Return the attributes of *owner* by name: those of its dictionary, else its slots and what a C type shows."""
    found = _dictionary(owner)
    if found is None:
        return dict(members(owner))
    return found if type(found) is dict else _copied(found)


def _dictionary(owner: object) -> Any:  # noqa: ANN401 - a dict, a mappingproxy, or a dict of the user's making
    if is_a(owner, type):
        return _TYPE_DICT.__get__(owner)
    if is_a(owner, ModuleType):
        return _MODULE_DICT.__get__(owner)
    for kind in mro(type(owner)):
        descriptor = _TYPE_DICT.__get__(kind).get("__dict__")
        if descriptor is not None:
            return _read(descriptor, owner) if id(type(descriptor)) in _DESCRIPTORS else None
    return None


def _read(descriptor: Any, owner: object) -> Any:  # noqa: ANN401 - any attribute at all
    with suppress(Exception):  # a slot that is not set, a C attribute that does not like to be asked
        return descriptor.__get__(owner)
    return None


def _copied(mapping: Any) -> dict[Any, Any]:  # noqa: ANN401 - see _dictionary
    if is_a(mapping, dict):
        return dict(dict.items(mapping))
    return dict(mapping) if type(mapping) is type(_TYPE_DICT.__get__(type)) else {}


def members(owner: object) -> Iterator[tuple[str, Any]]:
    """Yield what lies in slots, and what a C type shows of itself."""
    for kind in mro(type(owner)):
        for name, descriptor in class_names(kind):
            if not name.startswith("__") and may_be_asked(kind, descriptor):
                with suppress(Exception):  # see _read
                    yield name, descriptor.__get__(owner)


def may_be_asked(kind: type, descriptor: object) -> bool:
    """Whether an attribute that a C type shows can be read without running anybody's code."""
    computed = type(descriptor) is GetSetDescriptorType
    return type(descriptor) is MemberDescriptorType or (computed and class_module(kind) in _OPEN_MODULES)


def class_attribute(kind: type, name: str) -> Any:  # noqa: ANN401 - any attribute at all
    """Return what stands in a class or one of its bases under *name*, unbound; None where nothing does."""
    return next((names[name] for names in map(_TYPE_DICT.__get__, mro(kind)) if name in names), None)


def class_names(kind: type) -> list[tuple[str, Any]]:
    """Return what stands in a class itself, by name, unbound."""
    return [(name, value) for name, value in list(_TYPE_DICT.__get__(kind).items()) if type(name) is str]


def class_module(kind: type) -> str:
    """Return the name of the module that a class says it stands in."""
    return plain(_MODULE_OF.__get__(kind))


def first_name(names: dict[Any, Any], held: object) -> str:
    """Return the name under which *held* stands in a namespace; empty where it does not."""
    name = next((key for key, value in list(names.items()) if value is held), None)
    return name if type(name) is str else ""


def length(container: object) -> int | None:
    """Return the number of entries of a built-in container, or of a class made from one; None of all else."""
    if is_a(container, LRU):
        return int(LRU.cache_info(container).currsize)  # type: ignore[arg-type] # asked just before
    return next((int(measure(container)) for base, measure in _LENGTHS if is_a(container, base)), None)


# -- names -----------------------------------------------------------------------------------------------------------


def qualified_name(kind: type) -> str:
    """Return the name of a class with its module, that of a built-in without: ``shop.Cart``, ``dict``."""
    module, name = class_module(kind), plain(_QUALNAME_OF.__get__(kind))
    return _PUBLIC.get((module, name)) or (name if module == "builtins" else f"{module}.{name}")


def type_name(one: object) -> str:
    """Return the qualified name of the type of *one*."""
    return qualified_name(type(one))


def namespace_name(owner: object) -> str:
    """Return what stands before the dot in the name of an attribute: of a module, of a class or of an instance's."""
    if is_a(owner, ModuleType):
        return plain(attributes(owner).get("__name__"))
    return qualified_name(owner if is_a(owner, type) else type(owner))  # type: ignore[arg-type] # asked just before


def text_of(one: object) -> str:
    """Return what *one* is, for people: its type, and the name that a function, class or module has."""
    kind = type(one)
    if kind is FunctionType:
        return f"function {function_name(one)}"
    if kind is MethodType:
        return f"bound method {_callable_name(one.__func__)}"  # type: ignore[attr-defined] # a method has it
    if kind is BuiltinFunctionType:
        # Not its __qualname__: that asks the class of its object.
        return f"function {_owner_of(one)}.{plain(one.__name__)}"  # type: ignore[attr-defined] # it has one
    if is_a(one, type):
        return f"class {namespace_name(one)}"
    if is_a(one, ModuleType):
        return f"module {namespace_name(one)}"
    return qualified_name(kind)


def _owner_of(function: Any) -> str:  # noqa: ANN401 - a function in C
    owner = function.__self__
    return namespace_name(owner) if is_a(owner, ModuleType, type) else type_name(owner)


def function_name(function: Any) -> str:  # noqa: ANN401 - FunctionType, which mypy does not know to have these
    """Return the qualified name of a function made by ``def`` or ``lambda``."""
    return f"{plain(function.__module__)}.{plain(function.__qualname__)}"


def _callable_name(one: object) -> str:
    return function_name(one) if type(one) is FunctionType else type_name(one)


def lru_name(cache: object, *, with_place: bool = True) -> str:
    """Return the name of the function that an lru_cache stands before, with its file and line."""
    names = attributes(cache)
    function = names.get("__wrapped__")
    name = f"{plain(names.get('__module__'))}.{plain(names.get('__qualname__'))}"
    if type(function) is not FunctionType or not with_place:
        return name
    code = function.__code__
    return f"{name} ({code.co_filename.rpartition('/')[2]}:{code.co_firstlineno})"


def plain(text: object) -> str:
    """Return a text as an exact str; ``?`` where it is none."""
    if type(text) is str:
        return text
    return str.__str__(text) if is_a(text, str) else "?"


# -- keys ------------------------------------------------------------------------------------------------------------


def key_text(key: object) -> str:
    """
    Return a key for people, at most 40 columns, without control characters.

    Texts, numbers and tuples of them are shown, of all else the type.
    """
    return _cut(_key(key, 0))


def _key(key: object, depth: int) -> str:
    kind = type(key)
    if kind is str or kind is bytes:
        return repr(_cut_value(key))
    if kind is int:
        return _number(key)
    if kind is float or kind is bool or kind is complex or key is None:
        return repr(key)
    if kind is tuple and depth < _DEEPEST:
        return _tuple(key, depth)
    word, named = ("class ", key) if is_a(key, type) else ("", kind)
    return f"<{word}{plain(_QUALNAME_OF.__get__(named)).rpartition('.')[2]}>"


def _number(key: Any) -> str:  # noqa: ANN401 - an int
    # Addresses and idents of threads say nothing; more than 4300 digits raise.
    return repr(key) if key.bit_length() <= _LARGEST_NUMBER else f"<int of {key.bit_length()} bits>"


def _tuple(key: Any, depth: int) -> str:  # noqa: ANN401 - a tuple
    parts = [_key(part, depth + 1) for part in key[:_MOST_PARTS]]
    more = ", ..." if len(key) > _MOST_PARTS else "," if len(key) == 1 else ""
    return f"({', '.join(parts)}{more})"


def _cut_value(key: Any) -> Any:  # noqa: ANN401 - str or bytes
    return key if len(key) <= _LONGEST_KEY else key[:_LONGEST_KEY]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_KEY else f"{text[: _LONGEST_KEY - 3]}..."
