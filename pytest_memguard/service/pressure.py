"""How near the limit a process is, as one of four levels; pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["HYSTERESIS", "Pressure", "Thresholds", "next_level"]

#: A level is left this far below where it was entered (two per cent of the limit), so that it does not flutter.
HYSTERESIS = 0.02


class Pressure(str, Enum):
    """What a share of the limit means; ordered by ``rank``."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"

    @property
    def rank(self) -> int:
        """Position of the level, from 0 (healthy) to 3 (emergency)."""
        return _ORDER.index(self)


_ORDER = tuple(Pressure)


class Thresholds(NamedTuple):
    """The shares of the limit at which the levels above healthy begin, rising."""

    warning: float
    critical: float
    emergency: float


def next_level(
    level: Pressure, usage: float, thresholds: Thresholds | tuple[float, float, float], hysteresis: float = HYSTERESIS
) -> Pressure:
    """
    Return the level that follows *level* at this usage.

    A level is entered at its threshold and left *hysteresis* below it, both in one step however far the usage moved.
    A usage that is no number changes nothing.

    Args:
        level: Where the process was.
        usage: Share of the limit, 0 to 1 or more.
        thresholds: Warning, critical, emergency.
        hysteresis: As a share of the limit.

    """
    if usage != usage:  # noqa: PLR0124 - only NaN differs from itself
        return level
    reached = 0
    for rank, threshold in enumerate(thresholds, start=1):
        if usage >= threshold - (hysteresis if rank <= level.rank else 0.0):
            reached = rank
    return _ORDER[reached]
