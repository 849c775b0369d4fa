"""How full the caches were: what went into each of them since a given time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from pytest_memguard.service.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_memguard.service.caches import Caches, CacheStatistics

__all__ = ["CacheFill", "FillLog"]

#: Notes that are kept. When there are more, they are thinned until they lie a tenth of their age apart.
_MOST, _APART = 256, 0.1


class CacheFill(NamedTuple):
    """What one bounded cache did in a while: entries *added*, *room* for more, and the bytes that they took."""

    name: str
    added: int
    room: int
    bytes: int

    @property
    def explains(self) -> bool:
        """Whether it took something in, and will have to stop."""
        return self.added > 0 and self.room > 0


class FillLog:
    """Remembers how many entries each cache had, in a few numbers that become no more."""

    def __init__(self) -> None:
        self._times = array("d")
        self._entries: dict[str, array[int]] = {}
        self._lock = fork_safe_lock()

    def note(self, time_s: float, caches: Caches) -> None:
        """Remember how full *caches* are; times do not fall."""
        now = {name: len(caches.get(name)) for name in caches.names()}
        with self._lock:
            for name, entries in now.items():
                self._entries.setdefault(name, array("q", bytes(8 * len(self._times)))).append(entries)
            self._times.append(time_s)
            if len(self._times) > _MOST:
                self._thin()

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._times = array("d")
            self._entries.clear()

    def _thin(self) -> None:
        times = self._times
        kept = [0]
        for at in range(1, len(times) - 1):
            if times[at + 1] - times[kept[-1]] > _APART * (times[-1] - times[at]):
                kept.append(at)
        kept.append(len(times) - 1)
        self._times = array("d", (times[at] for at in kept))
        self._entries = {name: array("q", (row[at] for at in kept)) for name, row in self._entries.items()}

    def since(self, time_s: float, caches: Iterable[CacheStatistics]) -> tuple[CacheFill, ...]:
        """Return what each cache took in since the latest note before *time_s*, or since the first one."""
        with self._lock:
            at = max(0, bisect_right(self._times, time_s) - 1)
            before = {name: row[at] for name, row in self._entries.items()}
            known = bool(self._times)
        return tuple(_fill(cache, before.get(cache.name, 0) if known else cache.entries) for cache in caches)


def _fill(cache: CacheStatistics, before: int) -> CacheFill:
    added = cache.entries - before
    taken = cache.bytes * added // cache.entries if cache.entries else 0
    return CacheFill(cache.name, added, cache.size - cache.entries, taken)
