"""How much memory a value holds, estimated with a bound on the work."""

from __future__ import annotations

import gc
import logging
import sys
import types
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MOST_OBJECTS", "Size", "held_size"]

#: Objects that one estimate looks at: about 7 ms.
MOST_OBJECTS = 5_000
#: A container with more elements than this is sampled; so few that a list of ten million does not become a second one.
_LARGE, _SAMPLE = 1000, 100
#: What refers to nothing.
_ATOMS = frozenset({str, bytes, bytearray, int, float, complex, bool, type(None)})
#: What leads out of a value and into the program: their own size counts, what they refer to does not.
_DOORS = (
    type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.FrameType,
    types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.TracebackType, logging.Logger,
)  # fmt: skip


class Size(NamedTuple):
    """
    What an estimate found.

    Attributes:
        bytes: Held in all.
        objects: Looked at.
        whole: Whether there was nothing left to look at.

    """

    bytes: float
    objects: int
    whole: bool


def held_size(value: object, seen: set[int] | None = None, most: int = MOST_OBJECTS) -> Size:
    """
    Estimate the bytes that *value* and all it refers to hold, without running code of it but ``__sizeof__``.

    An object counts once. Large containers are sampled and scaled. Classes, functions and modules count with their own
    size only, as they would be there without the value.

    Args:
        value: Where to begin.
        seen: Identities of objects that count already; those found are added.
        most: Objects to look at before giving up; what is left then is missing in the sum.

    """
    seen = set() if seen is None else seen
    total, objects = 0.0, 0
    left: list[tuple[object, float]] = [(value, 1.0)]
    while left and objects < most:
        one, weight = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        objects += 1
        total += weight * _own_size(one)
        if type(one) not in _ATOMS:
            elements, factor = _referents(one)
            weight *= factor
            left += [(element, weight) for element in elements]
    return Size(total, objects, whole=not left)


def _own_size(one: object) -> int:
    try:
        return sys.getsizeof(one)
    except Exception:  # noqa: BLE001 - a class may have any __sizeof__, and an estimate must not fail for it
        return object.__sizeof__(one)


def _referents(one: object) -> tuple[Iterable[Any], float]:
    """Return what *one* refers to, or some of it and the factor that makes up for the rest."""
    kind = type(one)  # not isinstance: that asks for __class__, which makes lazy objects load themselves
    if issubclass(kind, _DOORS):
        return (), 1.0
    if kind in (list, tuple, dict, set, frozenset, deque):
        length = len(one)  # type: ignore[arg-type] # a container by its type
        if length > _LARGE:
            sample = _sample(one, length)
            return sample, length / (len(sample) / (2 if kind is dict else 1) or 1)
    if issubclass(kind, dict):  # of a dictionary with text for keys, the collector does not know the keys
        return [*dict.copy(one), *gc.get_referents(one)], 1.0  # type: ignore[arg-type] # a dict by its type
    return gc.get_referents(one), 1.0


def _sample(one: Any, length: int) -> list[Any]:  # noqa: ANN401 - any of the built-in containers
    """Return about a hundred elements, evenly spread where that is cheap; for a dictionary its keys and values."""
    if isinstance(one, (list, tuple)):
        return list(one[:: length // _SAMPLE])
    try:
        if isinstance(one, dict):
            return [part for item in islice(one.items(), _SAMPLE) for part in item]
        return list(islice(one, _SAMPLE))
    except RuntimeError:  # another thread changed it meanwhile
        return []
