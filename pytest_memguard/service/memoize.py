"""Functions, methods and coroutine functions that keep their results in a bounded cache."""

from __future__ import annotations

import functools
import inspect
import itertools
import weakref
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pytest_memguard.service.bounded import BoundedCache, OwnedKey

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["memoized"]

_MISSING = object()


def memoized(
    function: Function,
    create: Callable[[], BoundedCache],
    key: Callable[..., Hashable] | None = None,
) -> Function:
    """
    Return *function* with its results kept in the cache that *create* makes, which is its ``cache`` attribute.

    Args:
        function: As it stands under ``def`` or ``async def``, inside or outside of a class.
        create: Makes the cache; called once, after *function* was found fit.
        key: Makes the key of an entry from the arguments, the instance of a method left out.

    Raises:
        TypeError: *function* is no plain function, or a generator function.

    """
    if not isinstance(function, FunctionType):
        raise TypeError(
            f"{function!r} is no plain function; put @staticmethod, @classmethod or @property above @cached"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator function; what it returns can be used only once")
    cache = create()
    key_of = _all_arguments() if key is None else key
    kept = _kept(function, cache, key_of)
    if _stands_in_class(function):
        return cast("Function", _Method(function, kept, _kept(function, cache, _Owners(cache, key_of).key)))
    return cast("Function", kept)


def _all_arguments() -> Callable[..., Hashable]:
    from cachetools.keys import hashkey  # noqa: PLC0415 - an extra, found when the cache was made

    return hashkey


def _stands_in_class(function: FunctionType) -> bool:
    around = function.__qualname__.rpartition(".")[0]
    return bool(around) and not around.endswith("<locals>")


def _kept(function: FunctionType, cache: BoundedCache, key: Callable[..., Hashable]) -> FunctionType:
    """Return a real function, so that frameworks see what they look for: a signature, a coroutine function."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passes on whatever the function takes
            at = key(*args, **kwargs)
            found = cache.get(at, _MISSING)
            if found is _MISSING:
                found = cache[at] = await function(*args, **kwargs)
            return found
    else:

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passes on whatever the function takes
            at = key(*args, **kwargs)
            found = cache.get(at, _MISSING)
            if found is _MISSING:
                found = cache[at] = function(*args, **kwargs)
            return found

    call.cache = cache  # type: ignore[attr-defined] # for whoever wants to look or to clear
    return cast("FunctionType", call)


class _Method:
    """A function in a class: its first argument is an instance, which the cache must not keep alive."""

    def __init__(self, function: FunctionType, plain: FunctionType, method: FunctionType) -> None:
        functools.update_wrapper(self, function)
        self.cache: BoundedCache = method.cache  # type: ignore[attr-defined] # set by the decorator
        self._plain = plain
        self._method = method

    def __get__(self, instance: object | None, owner: type | None = None) -> FunctionType | MethodType:
        return self._method if instance is None else MethodType(self._method, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passes on whatever the function takes
        """Call it as a static method or a class method does, which have no instance."""
        return self._plain(*args, **kwargs)


class _Mark(weakref.ref[Any]):
    """A weak reference that knows whose it is when there is nobody left to ask."""

    __slots__ = ("identity", "number")

    identity: int
    number: int


class _Owners:
    """Gives instances numbers, which stand in keys for them, and disowns their entries when they are gone."""

    def __init__(self, cache: BoundedCache, key: Callable[..., Hashable]) -> None:
        self._cache = cache
        self._key = key
        self._marks: dict[int, _Mark] = {}
        self._numbers = itertools.count()

    def key(self, instance: object, /, *args: Any, **kwargs: Any) -> OwnedKey:  # noqa: ANN401 - whatever the method takes
        """Return the key of a call of a method."""
        return OwnedKey(self._number(instance), self._key(*args, **kwargs))

    def _number(self, instance: object) -> int:
        mark = self._marks.get(id(instance))
        if mark is not None and mark() is instance:
            return mark.number
        try:
            mark = _Mark(instance, self._forget)
        except TypeError:
            kind = type(instance).__qualname__
            raise TypeError(f"{kind} cannot be referred to weakly; add '__weakref__' to its __slots__") from None
        mark.identity, mark.number = id(instance), next(self._numbers)
        return self._marks.setdefault(mark.identity, mark).number

    def _forget(self, mark: _Mark) -> None:
        self._marks.pop(mark.identity, None)
        self._cache.disown(mark.number)
