"""
Readers of JSON values: each takes a value and its place in a document, and returns it as the house wants it.

    entries = fields_of(content, "", {"name": text, "lines": each(whole)}, {"note": or_none(text)})

What does not fit raises DocumentError with one line that says where it stands, what it is and what it should be.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from enum import Enum

__all__ = [
    "Reader", "below", "between", "by_name", "each", "fields_of", "first_misfit", "flag", "free", "keys", "mapping",
    "member", "named", "number", "one_in", "one_of", "or_none", "row", "sequence", "shown", "text", "whole",
    "whole_numbers", "wrong",
]  # fmt: skip

_LARGEST = sys.float_info.max

#: Takes a value and its place in the document; returns it as the house wants it, or raises DocumentError.
Reader = Callable[[object, str], Any]


def fields_of(
    value: object, where: str, required: Mapping[str, Reader], optional: Mapping[str, Reader]
) -> dict[str, Any]:
    """Return an object's values by key, each read by its reader; other keys are left out."""
    entries, found = mapping(value, where), {}
    for key, read in required.items():
        if key not in entries:
            raise DocumentError(f"{below(where, key)}: missing")
        found[key] = read(entries[key], below(where, key))
    for key, read in optional.items():
        if key in entries:
            found[key] = read(entries[key], below(where, key))
    return found


def wrong(value: object, where: str, what: str) -> DocumentError:
    """Return the error that says what *value* is not."""
    return DocumentError(f"{where or 'the document'}: {shown(value)} is not {what}")


def below(where: str, key: str) -> str:
    """Return the place of *key* in the object at *where*."""
    return f"{where}.{key}" if where else key


def named(where: str, key: object) -> str:
    """Return the place of a key that anything may be chosen for."""
    return below(where, key) if isinstance(key, str) and key.isidentifier() else f"{where}[{shown(key)}]"


def shown(value: object) -> str:
    """Return *value* for a message: one line, at most 60 characters."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 60 else f"{line[:57]}..."  # noqa: PLR2004 - the 60 of the docstring


def first_misfit(content: object, where: str = "") -> str:
    """Return where the first value stands that JSON does not have, and which; empty where there is none."""
    try:
        return next(_misfits(content, where), "")
    except RecursionError:
        return f"{where or 'the document'}: it is nested too deep, or holds itself"


def _misfits(value: object, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                yield f"{named(where, key)}: the key is not text"
            yield from _misfits(entry, named(where, key))
    elif isinstance(value, (list, tuple)):
        for at, entry in enumerate(value):
            yield from _misfits(entry, f"{where}[{at}]")
    elif isinstance(value, float) and not isfinite(value):
        yield f"{where}: {value!r} is not a number"
    elif not (value is None or isinstance(value, (str, int, float))):
        yield f"{where}: {shown(value)} is not a JSON value"


def free(value: object, where: str) -> dict[str, Any]:
    """Read an object whose keys are free, as long as JSON has what is in it."""
    entries = dict(mapping(value, where))
    misfit = first_misfit(entries, where)
    if misfit:
        raise DocumentError(misfit)
    return entries


def mapping(value: object, where: str) -> dict[str, Any]:
    """Read an object."""
    if not isinstance(value, dict):
        raise wrong(value, where, "an object")
    return value


def sequence(value: object, where: str) -> Sequence[Any]:
    """Read a list; a document that never was text may have a tuple."""
    if not isinstance(value, (list, tuple)):
        raise wrong(value, where, "a list")
    return value


def text(value: object, where: str) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise wrong(value, where, "text")
    return value


def flag(value: object, where: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise wrong(value, where, "true or false")
    return value


def whole(value: object, where: str) -> int:
    """Read a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(value, where, "a whole number")
    return value


def number(value: object, where: str) -> float:
    """Read a number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not -_LARGEST <= value <= _LARGEST:
        raise wrong(value, where, "a number")
    return value


def between(read: Reader, low: float, high: float = _LARGEST) -> Reader:
    """Return a reader of what *read* takes and is neither below *low* nor above *high*."""
    what = f"{low:g} or more" if high == _LARGEST else f"from {low:g} to {high:g}"

    def within(value: object, where: str) -> float:
        found: float = read(value, where)
        if not low <= found <= high:
            raise wrong(value, where, what)
        return found

    return within


def whole_numbers(value: object, where: str) -> array[int]:
    """Read a list of whole numbers of 64 bits, packed."""
    entries = sequence(value, where)
    try:
        if set(map(type, entries)) <= {int}:
            return array("q", entries)
    except OverflowError:
        pass
    raise wrong(value, where, "a list of whole numbers of 64 bits")


def or_none(read: Reader) -> Reader:
    """Return a reader that lets null pass."""
    return lambda value, where: None if value is None else read(value, where)


def _choice(choices: Mapping[str, object], what: str) -> Reader:
    def read(value: object, where: str) -> object:
        if not isinstance(value, str) or value not in choices:
            raise wrong(value, where, what)
        return choices[value]

    return read


def member(kind: type[Enum], what: str) -> Reader:
    """Return a reader of the values of an enum."""
    return _choice({one.value: one for one in kind}, what)


def one_of(*names: str) -> Reader:
    """Return a reader of some words."""
    return _choice({name: name for name in names}, " or ".join(map(repr, names)))


def one_in(values: Sequence[object]) -> Reader:
    """Return a reader of positions in *values*, which returns what stands there."""

    def read(value: object, where: str) -> object:
        at = whole(value, where)
        if not 0 <= at < len(values):
            raise wrong(value, where, f"the number of one of {len(values)}")
        return values[at]

    return read


def each(read: Reader) -> Reader:
    """Return a reader of lists, as tuples."""
    return lambda value, where: tuple(read(one, f"{where}[{at}]") for at, one in enumerate(sequence(value, where)))


def row(*readers: Reader) -> Reader:
    """Return a reader of lists with one entry a reader, as tuples."""

    def read(value: object, where: str) -> tuple[Any, ...]:
        entries = sequence(value, where)
        if len(entries) != len(readers):
            raise wrong(value, where, f"a list of {len(readers)}")
        return tuple(one(entry, f"{where}[{at}]") for at, (one, entry) in enumerate(zip(readers, entries, strict=True)))

    return read


def by_name(read: Reader) -> Reader:
    """Return a reader of objects whose keys are names that anybody chose."""
    return lambda value, where: {name: read(one, named(where, name)) for name, one in mapping(value, where).items()}


def keys(required: Mapping[str, Reader], optional: Mapping[str, Reader]) -> Reader:
    """Return a reader of objects, as dicts; see ``fields_of``."""
    return lambda value, where: fields_of(value, where, required, optional)
