"""The named caches of a program, which a guard can shrink and clear; each is a ``BoundedCache``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.bounded import SIZE, TTL_S, BoundedCache, CacheStatistics, checked_size, checked_ttl
from pytest_memguard.service.locks import fork_safe_lock
from pytest_memguard.service.sizes import MOST_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["BoundedCache", "CacheStatistics", "Caches"]

Function = TypeVar("Function", bound="Callable[..., Any]")

#: More than any program writes down: names of caches made from what users send end here.
_MOST_CACHES = 1000
#: Objects that are looked at in each of many caches.
_FEWEST_OBJECTS = 200


class Caches:
    """
    The caches of a program, by name.

    Args:
        default_size: Most entries of a cache that is made without a size.
        default_ttl_s: Seconds an entry of it lives.
        clock: Monotonic seconds.

    """

    def __init__(
        self,
        default_size: int = SIZE,
        default_ttl_s: float = TTL_S,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.default_size = checked_size("default", default_size)
        self.default_ttl_s = checked_ttl("default", default_ttl_s)
        self._clock = clock
        self._caches: dict[str, BoundedCache] = {}
        self._lock = fork_safe_lock()

    def create(
        self,
        name: str,
        size: int | None = None,
        ttl_s: float | None = None,
        *,
        sizer: Callable[[Any], int] | None = None,
    ) -> BoundedCache:
        """
        Make a cache; see ``BoundedCache`` for the arguments.

        Raises:
            ConfigError: the name is taken, or an argument is wrong.

        """
        size = self.default_size if size is None else size
        ttl_s = self.default_ttl_s if ttl_s is None else ttl_s
        cache = BoundedCache(name, size, ttl_s, sizer=sizer, clock=self._clock)
        with self._lock:
            if name in self._caches:
                raise ConfigError(f"there is a cache {name!r} already; give this one another name, or get() that one")
            if len(self._caches) >= _MOST_CACHES:
                raise ConfigError(f"{name!r} would be cache {_MOST_CACHES + 1}; use one cache and longer keys")
            self._caches[name] = cache
        return cache

    def get(self, name: str) -> BoundedCache:
        """
        Return the cache of that name.

        Raises:
            KeyError: there is none.

        """
        return self._caches[name]

    def names(self) -> tuple[str, ...]:
        """Return the names, in the order in which the caches were made."""
        return tuple(self._caches)

    def statistics(self) -> tuple[CacheStatistics, ...]:
        """Return the figures of all caches; many of them share the work that estimates may be."""
        caches = self._all()
        most_objects = max(MOST_OBJECTS // max(len(caches), 1), _FEWEST_OBJECTS)
        return tuple(cache.statistics(most_objects) for cache in caches)

    def clear(self, name: str) -> int:
        """
        Empty one cache, and return the number of entries dropped.

        Raises:
            KeyError: there is none of that name.

        """
        return self.get(name).clear()

    def clear_all(self) -> int:
        """Empty all caches, and return the number of entries dropped."""
        return sum(cache.clear() for cache in self._all())

    def expire(self) -> int:
        """Drop from all caches what is over its time, and return how many entries."""
        return sum(cache.expire() for cache in self._all())

    def shrink(self, share: float) -> int:
        """Drop *share* of the entries of each cache, the least useful first, and return how many in all."""
        return sum(cache.shrink(share) for cache in self._all())

    def cached(
        self,
        name: str,
        size: int | None = None,
        ttl_s: float | None = None,
        *,
        key: Callable[..., Hashable] | None = None,
        sizer: Callable[[Any], int] | None = None,
    ) -> Callable[[Function], Function]:
        """
        Keep the results of a function, a method or a coroutine function in a cache of that name.

        A method does not keep its instance: entries go when the instance does. What is raised is not kept. Calls at the
        same time for the same key may each compute the value.

        Args:
            name: Of the new cache.
            size: Most entries.
            ttl_s: Seconds an entry lives.
            key: Makes the key of an entry from the arguments, the instance of a method left out; all of them otherwise.
            sizer: Returns the bytes of a value.

        Raises:
            ConfigError: the name is taken, or an argument is wrong.

        """
        from pytest_memguard.service.memoize import memoized  # noqa: PLC0415 - only where the decorator is used

        def decorate(function: Function) -> Function:
            return memoized(function, lambda: self.create(name, size, ttl_s, sizer=sizer), key)

        return decorate

    def _all(self) -> tuple[BoundedCache, ...]:
        with self._lock:
            return tuple(self._caches.values())
