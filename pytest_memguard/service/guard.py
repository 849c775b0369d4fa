"""The guard of one process: it reads, judges the pressure, and acts on it."""

from __future__ import annotations

import logging
import math
import os
import time
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import Unit, amount, duration
from pytest_memguard.service.costs import RouteCosts, kept_bytes
from pytest_memguard.service.ending import Ending
from pytest_memguard.service.health import final_report, health
from pytest_memguard.service.judgement import Judgement
from pytest_memguard.service.limits import used_bytes
from pytest_memguard.service.locks import fork_safe_lock
from pytest_memguard.service.monitor import Monitor, Reader
from pytest_memguard.service.pressure import Pressure, next_level
from pytest_memguard.service.relief import Relief
from pytest_memguard.service.settings import GuardSettings
from pytest_memguard.service.snapshots import take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_memguard.service.actions import Action, Outcome
    from pytest_memguard.service.alerts import Alerts, Sink
    from pytest_memguard.service.caches import Caches
    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.readings import Reading

__all__ = ["Guard"]

_log = logging.getLogger("pytest_memguard.service")

#: The next look comes after this share of the interval: what fills the memory does not wait for the next reading. A
#: little less than all of it, so that an emergency is seen within an interval also where the thread wakes late.
_HASTE = {Pressure.HEALTHY: 0.98, Pressure.WARNING: 0.5, Pressure.CRITICAL: 0.1, Pressure.EMERGENCY: 0.1}
#: Collections that free less of the limit when memory is critical have failed.
_WORTH_IT = 0.01
_COUNTERS = ("rss_bytes", "heap_bytes", "mapped_bytes", "blocks", "fds", "threads")


class Guard:
    """
    Watches the memory of its process, and defends it when it runs short.

    Args:
        settings: Made from the environment where none are given.
        caches: Named caches, cut when memory is critical and cleared in an emergency.
        alerts: An ``Alerts``, or the sinks of one.
        actions: The service's own actions, besides the built-in ones.
        requests: How many requests are completed so far; counted by ``count_request`` where none is given.
        read: Makes the readings (``monitor.Reader`` where none is given).
        clock: Never goes back.

    Raises:
        ConfigError: The settings or the environment hold a value that is not valid.

    """

    def __init__(  # noqa: PLR0913 - all but the settings by name
        self,
        settings: GuardSettings | None = None,
        *,
        caches: Caches | None = None,
        alerts: Alerts | Iterable[Sink] = (),
        actions: Iterable[Action] = (),
        requests: Callable[[], int] | None = None,
        read: Callable[..., Reading] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings if settings is not None else GuardSettings.from_environment()
        self.limit = self.settings.limit()
        self.shedding = False
        self.level = Pressure.HEALTHY
        self.routes = RouteCosts()
        self.shed = 0
        self.detection: Detection | None = None
        self.alerts = _alerts(alerts)
        self._caches = caches
        self._requests = requests
        self._clock = clock
        self._counted = 0
        #: Of the middlewares, which count requests themselves: a call less for each of them.
        self.counters: list[Callable[[], int]] = []
        self._lock = fork_safe_lock()
        self._monitor = self._new_monitor(read)
        self._relief = Relief(
            self.settings,
            self._monitor.collections,
            caches=lambda: self._caches,
            forget=self.routes.clear,
            actions=actions,
            kept=kept_bytes(),
            resident=lambda: self._monitor.read().rss_bytes,
            clock=clock,
        )
        self._judgement = Judgement(self._monitor, self._relief, self.limit.bytes, lambda: self._caches, clock)
        self._ending = Ending(self._report, self.stop)
        self._began_s = self._next_detection_s = clock()
        self._peak_bytes = 0
        self._alarmed = False
        self._reported = True
        self._shown: set[str] = set()
        self._share: Callable[[], None] | None = None

    def start(self) -> None:
        """
        Begin to watch; harmless where it does.

        Raises:
            ConfigError: ``PROMETHEUS_MULTIPROC_DIR`` is set, and cannot be used.

        """
        if not self._monitor.running:
            self._share = self._sharing(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
            self._reported = False
            self._monitor.start()
            self._ending.arm()
            self._monitor.wake()

    def stop(self) -> None:
        """Stop watching, and leave a report in the log; harmless where it does not watch."""
        self._ending.disarm()
        self._monitor.stop()
        self._report()
        if self.alerts is not None:
            self.alerts.close()

    def alarm(self) -> None:
        """Say that memory has run out: the emergency begins at once, and is dealt with in the guard's own thread."""
        self._alarmed = True
        self.level = Pressure.EMERGENCY
        self._monitor.wake()

    def look(self) -> Reading:
        """Take a reading now, in this thread, and do what is due."""
        return self._monitor.sample()

    # What it knows

    @property
    def current(self) -> Reading:
        """The latest reading."""
        return self._monitor.latest

    @property
    def window(self) -> tuple[Reading, ...]:
        """The latest readings, an interval apart, the oldest first."""
        return self._monitor.window

    @property
    def history(self) -> tuple[Reading, ...]:
        """Readings of up to a day, a minute apart, and then the window."""
        return self._monitor.history

    @property
    def usage(self) -> float:
        """Share of the limit that is used: 0 to 1, or more."""
        return self.current.used / self.limit.bytes

    def unique_bytes(self) -> int:
        """Return what would be free if this process ended (USS), read now; takes milliseconds in a large process."""
        from pytest_memguard.probes.process import PrivateMemory  # noqa: PLC0415 - only where it is asked for

        row = array("q", [0])
        PrivateMemory().read(row, 0)
        return row[0]

    @property
    def level(self) -> Pressure:
        """How short memory is."""
        return self._level

    @level.setter
    def level(self, level: Pressure) -> None:
        self._level = level
        self.shedding = level is Pressure.EMERGENCY

    @property
    def retry_after_s(self) -> float:
        """What a request that is turned away is told to wait."""
        return self.settings.retry_after_s

    @property
    def requests(self) -> int:
        """Requests completed so far, in this process."""
        return self._completed() if self._requests is None else self._requests()

    @property
    def caches(self) -> Caches:
        """The named caches; made when they are first asked for, where none were given."""
        if self._caches is None:
            from pytest_memguard.service.caches import Caches  # noqa: PLC0415 - needs cachetools

            self._caches = Caches(self.settings.cache_size, self.settings.cache_ttl_s)
        return self._caches

    def count_request(self, route: str, cost_bytes: int | None) -> None:
        """Count a completed request, and what it kept where that was measured."""
        with self._lock:
            self._counted += 1
            if cost_bytes is not None:
                self.routes.count(route, cost_bytes)

    def count_shed(self) -> None:
        """Count a request that was turned away."""
        with self._lock:
            self.shed += 1

    def health(self) -> dict[str, Any]:
        """Return the state and the trend as JSON can hold them; sizes in bytes, usages in per cent."""
        window = self.window or (self.current,)
        return health(self.level, window, self.limit.bytes, self.settings.platform, self.detection)

    def metrics(self) -> dict[str, Any]:
        """Return all counters as JSON can hold them, in base units."""
        current = self.current
        stats = current.gc
        return {
            "level": self.level.value,
            "usage": self.usage,
            "limit_bytes": self.limit.bytes,
            "limit_source": self.limit.source,
            "used_bytes": current.used,
            **{name: getattr(current, name) for name in _COUNTERS},
            "requests": self.requests,
            "requests_shed": self.shed,
            "gc": {**asdict(stats), "efficiency": stats.efficiency},
            "actions": {name: asdict(done) for name, done in tuple(self._relief.done.items())},
        }

    # What it does

    def detect(self, since_s: float = -math.inf) -> Detection:
        """
        Judge the readings so far: does it leak, how much a request and an hour, and when is the memory full.

        Growth that may be garbage is told from a leak by one full collection, if that keeps to the pause budget.

        Args:
            since_s: Leave out what was read up to then, by the guard's clock; such a verdict is not kept.

        """
        found = self._judgement.detect(since_s)
        if since_s == -math.inf:
            self.detection = found
        return found

    def collect(self) -> Outcome:
        """Run a full collection now."""
        return self._relief.collect()

    def emergency(self) -> tuple[Outcome, ...]:
        """Do now all that frees memory; empty while that is being done already."""
        return self._relief.emergency()

    def snapshot(self, name: str) -> Path:
        """
        Write a heap snapshot, without values, and return where it lies.

        Args:
            name: Up to 64 letters, digits, ``-``, ``_`` and inner dots; no path.

        Raises:
            ConfigError: *name* is none of these.
            FileExistsError: There is one of that name.
            MemguardError: It could not be taken or written.

        """
        return take(Path(self.settings.snapshot_dir), name)

    # What happens in its thread

    def _completed(self) -> int:
        return self._counted + sum(counter() for counter in self.counters)

    def _new_monitor(self, read: Callable[..., Reading] | None) -> Monitor:
        settings = self.settings
        read = read or Reader(lambda rss, mapped: used_bytes(self.limit, rss, mapped))
        monitor = Monitor(settings.interval_s, settings.window, read, self._clock, lambda: self.requests)
        monitor.listeners.append(self._judge)
        monitor.failures.append(self._failed)
        monitor.births.append(self._be_born)
        return monitor

    def _sharing(self, folder: str | None) -> Callable[[], None] | None:
        """Return what shares the figures with the other workers; None where there is no *folder* for that."""
        if not folder:
            return None
        from pytest_memguard.service import workers  # noqa: PLC0415 - heavy; only where there are workers

        workers.require(folder)
        return lambda: workers.share(self, folder)

    def _judge(self, reading: Reading) -> None:
        """Take notice of a reading: change the level, do what is due, tell who is to know."""
        self._judgement.note(reading.time_s)
        usage = reading.used / self.limit.bytes
        self._peak_bytes = max(self._peak_bytes, reading.used)
        alarmed, self._alarmed = self._alarmed, False
        before = self.level
        self.level = (
            Pressure.EMERGENCY
            if alarmed
            else next_level(before, usage, self.settings.thresholds, self.settings.hysteresis)
        )
        self._monitor.pace_s = self.settings.interval_s * _HASTE[self.level]
        outcomes = self._relief.relieve(self.level, usage)
        self._tell(before, usage, outcomes)
        detection = self._due_detection(reading.time_s)
        if self._share is not None:
            self._share()
        if self.alerts is not None:
            self.alerts.notice(reading, level=self.level, limit_bytes=self.limit.bytes, detection=detection)

    def _due_detection(self, now_s: float) -> Detection | None:
        """Judge the readings if it is time to; None where it is not."""
        if not self.settings.leak_detection or now_s < self._next_detection_s:
            return None
        self._next_detection_s = now_s + self.settings.detection_interval_s
        return self.detect()

    def _tell(self, before: Pressure, usage: float, outcomes: tuple[Outcome, ...]) -> None:
        """Log a change of the level and what was done."""
        if self.level is not before:
            _log.log(
                logging.INFO if self.level.rank < before.rank else logging.WARNING,
                "memguard: memory is %s, %.0f %% of %s (was %s)",
                self.level.value,
                100 * usage,
                amount(self.limit.bytes, Unit.BYTE),
                before.value,
            )
        for outcome in outcomes:
            _log.info(
                "memguard: %s freed %s in %s",
                outcome.name,
                amount(outcome.freed_bytes, Unit.BYTE),
                duration(outcome.duration_s),
            )

    def _failed(self, error: Exception) -> None:
        """Take notice of what went wrong in the thread; out of memory is an emergency, whatever the usage says."""
        if isinstance(error, MemoryError):
            self.level = Pressure.EMERGENCY
            self._relief.emergency()
        elif (text := f"{type(error).__name__}: {error}") not in self._shown:
            self._shown.add(text)
            _log.warning("memguard: a reading failed", exc_info=error)

    def _be_born(self) -> None:
        """Begin anew in a forked child."""
        self.level = Pressure.HEALTHY
        self.detection = None
        self._counted -= self._completed()  # the counters go on
        self.shed = self._peak_bytes = 0
        self._began_s = self._clock()
        self.routes.clear()
        self._relief.done.clear()
        self._judgement.clear()

    def _report(self) -> None:
        """Leave a report in the log, once for each start."""
        if self._reported:
            return
        self._reported = True
        done = self._relief.done.values()
        _log.info(
            final_report(
                lasted_s=self._clock() - self._began_s,
                level=self.level,
                latest=self.current,
                peak_bytes=self._peak_bytes,
                limit_bytes=self.limit.bytes,
                actions=sum(one.runs for one in done),
                freed_bytes=sum(one.freed_bytes for one in done),
                shed=self.shed,
            )
        )


def _alerts(given: Alerts | Iterable[Sink]) -> Alerts | None:
    """Return alerts as they are, or to these sinks; None for no sinks."""
    if given == ():
        return None
    from pytest_memguard.service.alerts import Alerts  # noqa: PLC0415 - only where a guard is made

    if isinstance(given, Alerts):
        return given
    sinks = tuple(given)
    return Alerts(sinks) if sinks else None
