"""The guard of one process: reads, judges the pressure, and acts on it."""

from __future__ import annotations

import gc
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.actions import Action, Actions, Outcome, carry_out
from pytest_memguard.service.limits import memory_limit
from pytest_memguard.service.monitor import Monitor, Reading
from pytest_memguard.service.pressure import Pressure, next_level
from pytest_memguard.service.routes import RouteCosts
from pytest_memguard.service.settings import GuardSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_memguard.service.caches import Caches
    from pytest_memguard.service.detection import Detection

__all__ = ["Guard", "watch"]


class Guard:
    """Watches and defends the memory of its process."""

    def __init__(
        self,
        settings: GuardSettings | None = None,
        *,
        caches: Caches | None = None,
        alerts: Any = (),
        actions: Iterable[Action] = (),
        requests: Callable[[], int] | None = None,
    ) -> None:
        self.settings = settings if settings is not None else GuardSettings.from_environment()
        self.alerts = alerts
        self.level = Pressure.HEALTHY
        self.routes = RouteCosts()
        self._caches = caches
        self._requests = requests
        self._limit = memory_limit()
        self.monitor = Monitor(self.settings.interval_s, self.settings.window, requests=lambda: self.requests)
        self.monitor.listeners.append(self._judge)
        self._actions = Actions((Action("collect", 100, 0.70, gc.collect), *actions))

    def start(self) -> None:
        """Begin to watch; harmless where it does."""
        self.monitor.sample()
        self.monitor.start()

    def stop(self) -> None:
        """Stop watching; harmless where it does not."""
        self.monitor.stop()

    @property
    def limit_bytes(self) -> int:
        """The memory limit."""
        return self.settings.limit_bytes or self._limit.bytes

    @property
    def requests(self) -> int:
        """Requests completed so far."""
        return self._requests() if self._requests is not None else self.routes.total

    @property
    def window(self) -> tuple[Reading, ...]:
        """The latest readings, the oldest first."""
        return self.monitor.window

    @property
    def current(self) -> Reading:
        """The latest reading."""
        window = self.monitor.window
        return window[-1] if window else self.monitor.sample()

    @property
    def usage(self) -> float:
        """Share of the limit that is used."""
        return self.current.used / self.limit_bytes

    @property
    def shedding(self) -> bool:
        """Whether requests are to be turned away."""
        return self.level is Pressure.EMERGENCY

    @property
    def retry_after_s(self) -> float:
        """What a request that is turned away is told to wait."""
        return self.settings.retry_after_s

    @property
    def caches(self) -> Caches:
        """The named caches."""
        if self._caches is None:
            from pytest_memguard.service.caches import Caches  # noqa: PLC0415 - needs cachetools

            self._caches = Caches(self.settings.cache_size, self.settings.cache_ttl_s)
        return self._caches

    def count_request(self, route: str, cost_bytes: int) -> None:
        """Count a completed request and what it cost."""
        self.routes.count(route, cost_bytes)

    def collect(self) -> Outcome:
        """Run a full collection."""
        return carry_out(Action("collect", 100, 0.0, gc.collect), lambda: self.current.rss_bytes)

    def emergency(self) -> tuple[Outcome, ...]:
        """Do all that frees memory."""
        return (self.collect(),)

    def detect(self) -> Detection:
        """Judge the window."""
        from pytest_memguard.service.detection import detect  # noqa: PLC0415 - only where it is asked for

        return detect(self.window, limit_bytes=self.limit_bytes)

    def health(self) -> dict[str, Any]:
        """Return the state as JSON can hold it."""
        return {"status": self.level.value}

    def metrics(self) -> dict[str, Any]:
        """Return the counters as JSON can hold them."""
        return {"rss_bytes": self.current.rss_bytes}

    def snapshot(self, name: str) -> Path:
        """Write a heap snapshot."""
        raise ConfigError(f"snapshot {name!r}: not there yet")

    def _judge(self, reading: Reading) -> None:
        self.level = next_level(self.level, reading.used / self.limit_bytes, self.settings.thresholds)
        self._actions.relieve(self.level, reading.used / self.limit_bytes)


def watch(app: Any = None, *, environ: Mapping[str, str] = os.environ, **settings: Any) -> Any:  # noqa: ANN401 - any app
    """Start a guard, and wrap *app* in the middleware that suits it; without an app, return the guard."""
    guard = Guard(GuardSettings.from_environment(environ, **settings))
    guard.start()
    if app is None:
        return guard
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):
        from pytest_memguard.service.asgi import MemguardASGI  # noqa: PLC0415 - one of the two

        return MemguardASGI(app, guard)
    from pytest_memguard.service.wsgi import MemguardWSGI  # noqa: PLC0415 - one of the two

    return MemguardWSGI(app, guard)
