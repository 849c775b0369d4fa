"""
A cache that cannot become a leak: it has a limit, a time to live, and figures that tell whether it pays.

It is cachetools' ``TTLCache`` (the least recently used entry makes room), behind a lock.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.locks import fork_safe_lock
from pytest_memguard.service.sizes import MOST_OBJECTS, held_size

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from types import ModuleType

__all__ = ["SIZE", "TTL_S", "BoundedCache", "CacheStatistics", "OwnedKey", "checked_size", "checked_ttl"]

_LOG = logging.getLogger(__name__)
#: Entries of a cache for which nobody says otherwise, and seconds that one lives.
SIZE, TTL_S = 1000, 1800.0
_LONGEST_NAME = 100
#: Entries that are sized for an estimate of all, and those they are spread over.
_SIZED, _SPREAD = 128, 10_000
#: Objects that an entry has at least.
_FEW = 4
#: What cachetools needs itself for an entry: 180 to 240 bytes (measured, CPython 3.10 to 3.13).
_ENTRY_BYTES = 210
#: Owners that may be gone before a miss looks for their entries, as a share of the entries: keeps the search cheap.
_ORPHAN_SHARE = 0.25


class OwnedKey(NamedTuple):
    """A key of an entry that goes when its owner does; see ``BoundedCache.disown``."""

    owner: int
    rest: Hashable


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """
    The figures of a cache.

    Attributes:
        name: Of the cache.
        entries: In it now, none of them expired.
        size: Most entries.
        hits: Look-ups that found something, since the start.
        misses: Look-ups that did not.
        evictions: Entries that made room for others, or were dropped to save memory.
        hit_rate: Hits among the look-ups, in [0, 1]; 0 where nothing was looked up.
        bytes: Estimated, keys and the cache's own cost included.
        expired: Entries that were dropped when their time was over.
        ttl_s: Seconds an entry lives; None for no limit.

    """

    name: str
    entries: int
    size: int
    hits: int
    misses: int
    evictions: int
    hit_rate: float
    bytes: int
    expired: int
    ttl_s: float | None


class BoundedCache:
    """
    A mapping that holds at most *size* entries, each for at most *ttl_s* seconds.

    Args:
        name: For figures and messages.
        size: Most entries; the least recently used makes room.
        ttl_s: Seconds an entry lives; ``math.inf`` for no limit.
        sizer: Returns the bytes of a value; otherwise they are estimated.
        clock: Monotonic seconds.

    """

    def __init__(
        self,
        name: str,
        size: int = SIZE,
        ttl_s: float = TTL_S,
        *,
        sizer: Callable[[Any], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = _checked_name(name)
        self.size = checked_size(name, size)
        self.ttl_s = checked_ttl(name, ttl_s)
        self._cachetools = _cachetools()
        self._sizer = sizer
        self._clock = clock
        self._lock = fork_safe_lock()
        self._entries = self._empty()
        self._ownerless: deque[int] = deque()
        self._hits = self._misses = self._evicted = self._expired = 0
        self._changes = 0
        self._estimate: tuple[int, int] = (-1, 0)

    def __getitem__(self, key: Hashable) -> Any:  # noqa: ANN401 - a cache holds anything
        with self._lock:
            try:
                value = self._entries[key]
            except KeyError:
                self._misses += 1
                dropped = self._drop_orphans(_ORPHAN_SHARE)
            else:
                self._hits += 1
                return value
        del dropped  # after the lock is given back, here and below: whatever is freed may run code
        raise KeyError(key)

    def get(self, key: Hashable, default: Any = None) -> Any:  # noqa: ANN401 - a cache holds anything
        """Return the value at *key*, or *default*; counts as a look-up."""
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: Hashable, value: Any) -> None:  # noqa: ANN401 - a cache holds anything
        with self._lock:
            dropped = self._drop_expired()
            if key in self._entries:
                dropped.append(self._peek(key))
            elif len(self._entries) >= self.size:
                dropped.append(self._entries.popitem())
                self._evicted += 1
            self._entries[key] = value
            self._changes += 1
        del dropped

    def __delitem__(self, key: Hashable) -> None:
        with self._lock:
            dropped = self._peek(key)
            del self._entries[key]
            self._changes += 1
        del dropped

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._entries

    def __len__(self) -> int:
        self.expire()
        with self._lock:
            return len(self._entries)

    def __iter__(self) -> Iterator[Hashable]:
        """Go through the keys that are there now."""
        self.expire()
        with self._lock:
            return iter(list(self._entries))

    def __repr__(self) -> str:
        return f"<BoundedCache {self.name!r}: {len(self)} of {self.size} entries>"

    def clear(self) -> int:
        """Drop everything, and return the number of entries dropped."""
        with self._lock:
            dropped, self._entries = self._entries, self._empty()
            self._ownerless.clear()
            self._changes += 1
        return len(dropped)

    def expire(self) -> int:
        """Drop what is no longer of use: over its time, or without its owner; return how many."""
        with self._lock:
            dropped = self._drop_expired() + self._drop_orphans(0)
        return len(dropped)

    def shrink(self, share: float) -> int:
        """
        Drop *share* of the entries, useless and least recently used ones first, and return how many.

        Args:
            share: Of the entries there are, in [0, 1]; rounded up to whole entries.

        """
        if not 0 <= share <= 1:
            raise ValueError(f"share = {share!r}; a cache shrinks by a share from 0 to 1")
        with self._lock:
            wanted = math.ceil(share * self._stored())
            dropped = self._drop_expired() + self._drop_orphans(0)
            useless = len(dropped)
            while len(dropped) < wanted and self._stored():
                dropped.append(self._entries.popitem())
            self._evicted += len(dropped) - useless
            self._changes += bool(dropped)
        return len(dropped)

    def disown(self, owner: int) -> None:
        """Let the entries at ``OwnedKey(owner, ...)`` go soon; needs no lock, so a weak reference may call it."""
        self._ownerless.append(owner)

    def statistics(self, most_objects: int = MOST_OBJECTS) -> CacheStatistics:
        """
        Return the figures; drops what has expired first.

        Args:
            most_objects: To look at for the estimate of the bytes.

        """
        self.expire()
        bytes_held = self._bytes(most_objects)
        with self._lock:
            looked_up = self._hits + self._misses
            return CacheStatistics(
                name=self.name,
                entries=self._stored(),
                size=self.size,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evicted,
                hit_rate=self._hits / looked_up if looked_up else 0.0,
                bytes=bytes_held,
                expired=self._expired,
                ttl_s=self.ttl_s if math.isfinite(self.ttl_s) else None,
            )

    def _empty(self) -> Any:  # noqa: ANN401 - typed by name only in some releases of cachetools
        return self._cachetools.TTLCache(self.size, self.ttl_s, timer=self._clock)

    def _peek(self, key: Hashable) -> Any:  # noqa: ANN401 - a cache holds anything
        """Return the value at *key*, expired or not, without making it the most recently used."""
        return self._cachetools.Cache.__getitem__(self._entries, key)

    def _stored(self) -> int:
        """Return the number of entries, expired ones included, which ``len`` would drop."""
        return int(self._cachetools.Cache.__len__(self._entries))

    def _drop_expired(self) -> list[Any]:
        dropped = list(self._entries.expire())
        self._expired += len(dropped)
        self._changes += bool(dropped)
        return dropped

    def _drop_orphans(self, share: float) -> list[Any]:
        """Drop the entries whose owners are gone, once these are more than *share* of the entries."""
        if len(self._ownerless) <= share * self._stored():
            return []
        gone = {self._ownerless.popleft() for _ in range(len(self._ownerless))}
        orphans = [key for key in self._entries if isinstance(key, OwnedKey) and key.owner in gone]
        self._changes += bool(orphans)
        return [(key, self._entries.pop(key, None)) for key in orphans]

    def _bytes(self, most_objects: int) -> int:
        """Return an estimate, from some of the entries where there are many; kept until an entry comes or goes."""
        with self._lock:
            changes, entries = self._changes, self._stored()
            if changes == self._estimate[0]:
                return self._estimate[1]
            sample = self._sample(min(_SIZED, most_objects // _FEW))
        estimated = self._entry_bytes(sample, entries, most_objects)  # not under the lock: it takes milliseconds
        self._estimate = (changes, estimated)
        return estimated

    def _sample(self, most: int) -> list[tuple[Hashable, Any]]:
        """Return about *most* entries, evenly spread over the cache."""
        step = max(min(self._stored(), _SPREAD) // most, 1)
        keys = self._cachetools.Cache.__iter__(self._entries)  # ten times as fast as one that looks at the time
        return [(key, self._peek(key)) for key in islice(keys, 0, _SPREAD, step)]

    def _entry_bytes(self, sample: list[tuple[Hashable, Any]], entries: int, left: int) -> int:
        total, sized = 0.0, 0
        seen: set[int] = set()
        for entry in sample:
            key, value = entry
            if self._sizer is None:
                size = held_size(entry, seen, left)
                total += size.bytes - sys.getsizeof(entry)
            else:
                size = held_size(key, seen, left)
                total += size.bytes + self._sized(value)
            left -= size.objects
            sized += 1
            if left <= 0:
                break
        return round(total / sized * entries) + entries * _ENTRY_BYTES if sized else 0

    def _sized(self, value: Any) -> float:  # noqa: ANN401 - a cache holds anything
        try:
            return self._sizer(value)  # type: ignore[misc] # asked where there is one
        except Exception:  # noqa: BLE001 - figures must not fail for a sizer, which may raise anything
            _LOG.exception("cache %r: its sizer failed; from now on sizes are estimated", self.name)
            self._sizer = None
            return held_size(value).bytes


def _checked_name(name: str) -> str:
    if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable():
        return name
    raise ConfigError(f"cache name {name!r:.150}; it must be 1 to {_LONGEST_NAME} printable characters")


def checked_size(name: str, size: int) -> int:
    """
    Return *size*, if it is one that cache *name* may have.

    Raises:
        ConfigError: it is not.

    """
    if isinstance(size, int) and not isinstance(size, bool) and size >= 1:
        return size
    raise ConfigError(f"cache {name!r}: size = {size!r}; it must be a whole number of entries, 1 or more")


def checked_ttl(name: str, ttl_s: float) -> float:
    """
    Return *ttl_s*, if it is a time that entries of cache *name* may live.

    Raises:
        ConfigError: it is not.

    """
    if isinstance(ttl_s, (int, float)) and not isinstance(ttl_s, bool) and ttl_s > 0:
        return float(ttl_s)
    raise ConfigError(f"cache {name!r}: ttl_s = {ttl_s!r}; it must be seconds above 0, or math.inf for no limit")


def _cachetools() -> ModuleType:
    try:
        import cachetools  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError('caches need cachetools: pip install "pytest-memguard[service]"') from None
    return cachetools
