"""
When somebody must know: high usage, a leak, a collector that frees nothing, rapid growth, and that each is over.

An alert is sent once, not at each reading; it is over when its reason has been gone for as long as the debounce.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_memguard.core.units import Unit, amount, duration
from pytest_memguard.errors import ConfigError
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.sinks import OpenTelemetry, Sink, StatsD, Webhook, to_callback, to_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.readings import GcStats, Reading

__all__ = [
    "KINDS", "RECOVERED", "Alert", "Alerts", "OpenTelemetry", "Rules", "Sink", "StatsD", "Webhook", "to_callback",
    "to_logging",
]  # fmt: skip

KINDS = ("high_usage", "leak", "gc_failure", "rapid_growth")
RECOVERED = "recovered"

_log = logging.getLogger("pytest_memguard.service")


@dataclass(frozen=True, slots=True)
class Alert:
    """
    Something that somebody must know.

    Attributes:
        kind: One of ``KINDS``.
        level: ``warning``, ``critical``, ``emergency``, or ``recovered``.
        text: What happened, in a sentence.
        values: The numbers behind it, in base units, by name.
        at: When, in seconds since 1970.

    """

    kind: str
    level: str
    text: str
    values: Mapping[str, float | str]
    at: float


@dataclass(frozen=True, slots=True)
class Rules:
    """
    When to send which alert.

    Attributes:
        leak_confidence: A leak is sent from this confidence on; minutes alone never reach it.
        limit_soon_s: A leak that will reach the limit within this time is sent at once, however unsure.
        gc_collections: So many full collections in a row must have freed too little, while usage was high.
        gc_least: Share of the objects looked at that they must free.
        growth_share: Growth is rapid from this share of the limit on ...
        growth_s: ... within this time.

    Raises:
        ConfigError: a share outside 0 to 1, or a number that is not positive.

    """

    leak_confidence: float = 0.9
    limit_soon_s: float = 4 * 3600.0
    gc_collections: int = 3
    gc_least: float = 0.01
    growth_share: float = 0.1
    growth_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("leak_confidence", "gc_least", "growth_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"alerts: {name} is {getattr(self, name)!r}; it is a share from 0 to 1")
        for name in ("limit_soon_s", "gc_collections", "growth_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"alerts: {name} is {getattr(self, name)!r}; it must be more than 0")


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why an alert of one kind stands."""

    level: str
    text: str
    values: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(slots=True)
class _State:
    """What became of the alerts of one kind."""

    level: str = ""
    sent_s: float = float("-inf")
    last_seen_s: float = float("-inf")


class Alerts:
    """
    Sends alerts to sinks.

    Args:
        sinks: Where to.
        debounce_s: An alert of one kind is not sent again within this time, and is over when its reason has been gone
            for as long. One that becomes more serious is sent at once.
        clock: The time of day, in seconds since 1970.
        rules: When to send which.

    """

    def __init__(
        self,
        sinks: Iterable[Sink] = (),
        debounce_s: float = 60.0,
        clock: Callable[[], float] = time.time,
        rules: Rules | None = None,
    ) -> None:
        if not debounce_s >= 0:
            raise ConfigError(f"alerts: debounce_s is {debounce_s!r}; it must be 0 or more")
        self.sinks = tuple(sinks)
        self._debounce_s = debounce_s
        self._clock = clock
        self._rules = rules if rules is not None else Rules()
        self._states = {kind: _State() for kind in KINDS}
        self._recent: deque[tuple[float, int]] = deque(maxlen=1000)
        self._gc: GcStats | None = None
        self._detection: Detection | None = None

    @property
    def standing(self) -> tuple[str, ...]:
        """The kinds that were sent and are not over."""
        return tuple(kind for kind, state in self._states.items() if state.level)

    def notice(
        self,
        reading: Reading,
        *,
        level: Pressure,
        limit_bytes: float,
        detection: Detection | None = None,
    ) -> tuple[Alert, ...]:
        """
        Look at a reading, and send what must be known.

        Args:
            reading: The latest; times do not fall.
            level: The pressure at it.
            limit_bytes: The memory limit.
            detection: The latest verdict; None where there is no new one.

        Returns:
            What was sent.

        """
        self._detection = detection or self._detection
        reasons = {
            "high_usage": self._high_usage(reading, level, limit_bytes),
            "leak": self._leak(),
            "gc_failure": self._gc_failure(reading, level),
            "rapid_growth": self._rapid_growth(reading, limit_bytes),
        }
        steps = (self._step(kind, reason, reading.time_s) for kind, reason in reasons.items())
        alerts = tuple(alert for alert in steps if alert is not None)
        for alert in alerts:
            self._send(alert)
        return alerts

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what still waits, for so many seconds at most, and end the threads of the sinks."""
        end_s = time.monotonic() + timeout_s
        for sink in self.sinks:
            try:
                sink.close(max(0.0, end_s - time.monotonic()))
            except Exception:  # noqa: BLE001 - the others must be closed all the same
                _log.exception("a sink of alerts could not be closed")

    def _step(self, kind: str, reason: _Reason | None, now_s: float) -> Alert | None:
        """Return what is to be sent of one kind, and remember it."""
        state = self._states[kind]
        if reason is not None:
            state.last_seen_s = now_s
            return self._raised(kind, reason, state, now_s)
        if state.level and now_s - state.last_seen_s >= self._debounce_s:
            state.level = ""
            return Alert(kind, RECOVERED, f"{_TITLES[kind]} is over", {}, self._clock())
        return None

    def _raised(self, kind: str, reason: _Reason, state: _State, now_s: float) -> Alert | None:
        worse = state.level and _rank(reason.level) > _rank(state.level)
        again = not state.level and now_s - state.sent_s >= self._debounce_s
        if not (worse or again):
            return None
        state.level, state.sent_s = reason.level, now_s
        return Alert(kind, reason.level, reason.text, reason.values, self._clock())

    def _send(self, alert: Alert) -> None:
        for sink in self.sinks:
            try:
                sink(alert)
            except Exception:  # noqa: BLE001 - a sink of somebody else's must not end the monitor
                _log.exception("a sink of alerts failed")

    def _high_usage(self, reading: Reading, level: Pressure, limit_bytes: float) -> _Reason | None:
        if level is Pressure.HEALTHY:
            return None
        usage = reading.used / limit_bytes
        text = f"memory is at {usage:.0%} of {amount(limit_bytes, Unit.BYTE)} ({level.value})"
        return _Reason(level.value, text, {"usage": usage, "used_bytes": reading.used, "limit_bytes": limit_bytes})

    def _leak(self) -> _Reason | None:
        found = self._detection
        if found is None or not found.leaks:
            return None
        soon = found.time_to_limit_s is not None and found.time_to_limit_s < self._rules.limit_soon_s
        if not soon and found.metric not in ("fds", "threads") and found.confidence < self._rules.leak_confidence:
            return None
        values: dict[str, float | str | None] = {
            "verdict": found.verdict,
            "metric": found.metric,
            "confidence": found.confidence,
            "per_request": found.per_request.point if found.per_request else None,
            "per_hour": found.per_hour.point if found.per_hour else None,
            "time_to_limit_s": found.time_to_limit_s,
        }
        known = {name: value for name, value in values.items() if value is not None}
        return _Reason("critical" if soon else "warning", _sentences(found), known)

    def _gc_failure(self, reading: Reading, level: Pressure) -> _Reason | None:
        """Compare the collector's counts with those when usage became high."""
        if level is Pressure.HEALTHY:
            self._gc = None
            return None
        before = self._gc = self._gc or reading.gc
        collections = reading.gc.collections[2] - before.collections[2]
        freed, visited = reading.gc.freed - before.freed, reading.gc.visited - before.visited
        if collections < self._rules.gc_collections:
            return None
        efficiency = freed / visited if visited > 0 else float(freed > 0)
        if efficiency >= self._rules.gc_least:
            self._gc = reading.gc
            return None
        text = f"{collections} full collections freed {freed} objects ({efficiency:.2%}) while usage was high"
        return _Reason("warning", text, {"collections": collections, "freed": freed, "efficiency": efficiency})

    def _rapid_growth(self, reading: Reading, limit_bytes: float) -> _Reason | None:
        recent = self._recent
        recent.append((reading.time_s, reading.used))
        while reading.time_s - recent[0][0] > self._rules.growth_s:
            recent.popleft()
        since_s, least = min(recent, key=lambda pair: pair[1])
        grown = reading.used - least
        if grown < self._rules.growth_share * limit_bytes:
            return None
        text = f"memory grew by {amount(grown, Unit.BYTE)} within {duration(reading.time_s - since_s)}"
        return _Reason("warning", text, {"grown_bytes": grown, "limit_bytes": limit_bytes})


_TITLES = {
    "high_usage": "high memory usage",
    "leak": "the leak",
    "gc_failure": "the collector's failure to free memory",
    "rapid_growth": "rapid growth",
}


def _rank(level: str) -> int:
    return Pressure(level).rank


def _sentences(found: Detection) -> str:
    limit = f"; the limit is reached in {duration(found.time_to_limit_s)}" if found.time_to_limit_s is not None else ""
    advice = f". {found.recommendations[0]}" if found.recommendations else ""
    return f"{found.verdict}: {found.reason}{limit}{advice}"
