"""The verdict on what the demo did since a switch was turned: what came before is another story."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.service.detection import CacheFill, detect

if TYPE_CHECKING:
    from pytest_memguard.service.caches import CacheStatistics
    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.guard import Guard

__all__ = ["Observation"]


class Observation:
    """Judges the readings of *guard* since the latest beginning."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._began_s = float("-inf")
        self._entries: dict[str, int] = {}

    @property
    def began_s(self) -> float:
        """When it began, by the clock of the readings; minus infinity where all of them count."""
        return self._began_s

    def begin(self) -> None:
        """Forget what was read so far."""
        self._began_s = self._guard.current.time_s
        self._entries = {cache.name: cache.entries for cache in self._guard.caches.statistics()}

    def detect(self) -> Detection:
        """Return the verdict on what was read since."""
        history = self._guard.history
        readings = tuple(reading for reading in history if reading.time_s > self._began_s)
        return detect(
            readings,
            limit_bytes=self._guard.limit.bytes,
            caches=[self._fill(cache) for cache in self._guard.caches.statistics()],
            taken=len(history),
        )

    def _fill(self, cache: CacheStatistics) -> CacheFill:
        added = cache.entries - self._entries.get(cache.name, 0)
        taken = cache.bytes * added // cache.entries if cache.entries else 0
        return CacheFill(cache.name, added, cache.size - cache.entries, taken)
