"""The settings of a guard: a preset for the platform, then the environment, then what the code says."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.limits import MemoryLimit, memory_limit, size
from pytest_memguard.service.pressure import HYSTERESIS, Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PRESETS", "GuardSettings"]

#: What differs from the defaults, by platform.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "render": {"warning": 0.60, "critical": 0.75, "emergency": 0.90, "interval_s": 15.0, "limit_bytes": 512 * 2**20},
    "local": {"warning": 0.80, "critical": 0.90, "emergency": 0.95, "interval_s": 30.0},
    "container": {"warning": 0.75, "critical": 0.85, "emergency": 0.95, "interval_s": 5.0},
    "default": {"warning": 0.80, "critical": 0.90, "emergency": 0.95, "interval_s": 5.0},
}
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """
    Every setting of one guard, valid and merged.

    Attributes:
        platform: The preset: ``render``, ``local``, ``container`` or ``default``.
        warning: Share of the limit, 0 to 1, at which this level begins; so ``critical`` and ``emergency``.
        hysteresis: How far below its threshold a level is left, as a share of the limit.
        interval_s: Seconds between two readings.
        window: How many readings are kept.
        limit_bytes: The memory limit; ``limit_source`` says who sets it.
        gc_interval_s: Least seconds between two collections that the guard starts; other actions wait as long.
        pause_budget_s: Below critical, no collection is started that is known to take longer.
        proactive_gc: Whether actions run below critical.
        leak_detection: Whether the window is judged while the service runs.
        detection_interval_s: Seconds between two judgements.
        unload: Modules that an emergency removes from ``sys.modules``, with what lies below them.
        trim: Whether an emergency gives free heap back to the system.
        token: What opens the endpoints, 16 bytes or more; without one there are none.
        allowed_peers: Addresses or networks besides loopback that may ask them.
        expose_headers: Whether responses carry memory headers.
        retry_after_s: What a request that is turned away is told to wait.
        cache_size: Entries of a cache that was given no size.
        cache_ttl_s: Seconds that an entry of such a cache lives.
        snapshot_dir: Folder of heap snapshots.

    """

    platform: str = "default"
    warning: float = 0.80
    critical: float = 0.90
    emergency: float = 0.95
    hysteresis: float = HYSTERESIS
    interval_s: float = 5.0
    window: int = 60
    limit_bytes: int = 0
    limit_source: str = ""
    gc_interval_s: float = 30.0
    pause_budget_s: float = 0.05
    proactive_gc: bool = True
    leak_detection: bool = True
    detection_interval_s: float = 60.0
    unload: tuple[str, ...] = ()
    trim: bool = True
    token: str | None = None
    allowed_peers: tuple[str, ...] = ()
    expose_headers: bool = False
    retry_after_s: float = 5.0
    cache_size: int = 1000
    cache_ttl_s: float = 1800.0
    snapshot_dir: str = ".memguard/snapshots"

    @property
    def thresholds(self) -> Thresholds:
        """The three shares, rising."""
        return Thresholds(self.warning, self.critical, self.emergency)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: object) -> GuardSettings:
        """Merge."""
        return cls(**{**PRESETS["default"], **overrides})  # type: ignore[arg-type] # checked below
