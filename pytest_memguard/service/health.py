"""What a guard says about itself, as JSON can hold it; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import Unit, amount, duration
from pytest_memguard.service.pressure import Pressure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.readings import Reading

__all__ = ["final_report", "growth_rate", "health"]

#: Smaller changes from one half of the window to the next are not called an increase.
_SLIGHT = 0.001
_ADVICE = {
    Pressure.HEALTHY: (),
    Pressure.WARNING: ("memory is above the warning threshold: ask leak-detection what grows",),
    Pressure.CRITICAL: ("memory is critical: caches are being cut; give the process more memory or less work",),
    Pressure.EMERGENCY: ("requests are turned away until memory falls: restart the process if it does not",),
}


def growth_rate(window: Sequence[Reading]) -> float:
    """Return the least-squares growth of the used memory over *window*, in bytes a second; 0 for too few readings."""
    if len(window) < 3:  # noqa: PLR2004 - two points make any line
        return 0.0
    start = window[0].time_s
    times = [reading.time_s - start for reading in window]
    middle = sum(times) / len(times)
    spread = sum((time - middle) ** 2 for time in times)
    base = window[0].used
    if not spread:
        return 0.0
    return sum((time - middle) * (reading.used - base) for time, reading in zip(times, window, strict=True)) / spread


def health(
    level: Pressure, window: Sequence[Reading], limit_bytes: int, platform: str, detection: Detection | None
) -> dict[str, Any]:
    """
    Return the answer of ``/api/memory/health``: sizes in bytes, times in seconds, usages in per cent of the limit.

    Args:
        level: Where the process is.
        window: The latest readings, one at least.
        limit_bytes: The memory limit.
        platform: The preset.
        detection: The latest judgement; None where there was none.

    """
    current = window[-1]
    usages = [100 * reading.used / limit_bytes for reading in window]
    suspected = detection is not None and detection.leaks
    return {
        "status": level.value,
        "currentUsage": {
            "heapUsed": current.used,
            "heapTotal": limit_bytes,
            "usagePercentage": round(usages[-1], 2),
            "platform": platform,
            "residentSetSize": current.rss_bytes,
            "nativeHeap": current.heap_bytes,
            "allocatedBlocks": current.blocks,
        },
        "trend": {
            "timeWindow": round(current.time_s - window[0].time_s, 3),
            "averageUsage": round(sum(usages) / len(usages), 2),
            "peakUsage": round(max(usages), 2),
            "growthRate": round(growth_rate(window), 1),
            "isIncreasing": _increases(window, limit_bytes),
            "leakSuspected": suspected,
        },
        "gcStats": {
            "totalCollections": sum(current.gc.collections),
            "efficiency": round(current.gc.efficiency, 6),
            "averageDuration": round(current.gc.average_s, 6),
        },
        "recommendations": [*_ADVICE[level], *(detection.recommendations if detection is not None else ())],
    }


def _increases(window: Sequence[Reading], limit_bytes: int) -> bool:
    """Whether even the lowest reading of the second half lies above the lowest of the first."""
    half = len(window) // 2
    if half < 2:  # noqa: PLR2004 - one reading is not a half
        return False
    before, after = (min(reading.used for reading in part) for part in (window[:half], window[half:]))
    return after - before > _SLIGHT * limit_bytes


def final_report(  # noqa: PLR0913 - a line of facts, all by name
    *,
    lasted_s: float,
    level: Pressure,
    latest: Reading,
    peak_bytes: int,
    limit_bytes: int,
    actions: int,
    freed_bytes: int,
    shed: int,
) -> str:
    """Return the line that a guard leaves in the log when its process ends."""
    used, peak, limit, freed = (amount(size, Unit.BYTE) for size in (latest.used, peak_bytes, limit_bytes, freed_bytes))
    return (
        f"memguard: watched for {duration(lasted_s)}: {latest.requests} requests, {shed} turned away; memory {used} of "
        f"{limit}, at most {peak}, {level.value}; {sum(latest.gc.collections)} collections in "
        f"{duration(latest.gc.seconds)}, {actions} actions freed {freed}"
    )
