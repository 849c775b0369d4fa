"""The verdict on what the demo did since a switch was turned: what came before is another story."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.guard import Guard

__all__ = ["Observation"]


class Observation:
    """Judges the readings of *guard* since the latest beginning."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._began_s = -math.inf

    @property
    def began_s(self) -> float:
        """When it began, by the clock of the readings; minus infinity where all of them count."""
        return self._began_s

    def begin(self) -> None:
        """Forget what was read so far."""
        self._began_s = self._guard.current.time_s

    def detect(self) -> Detection:
        """Return the verdict on what was read since."""
        return self._guard.detect(self._began_s)
