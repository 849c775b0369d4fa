"""What both middlewares do with a request: let it in, turn it away, answer it themselves, and count it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Generic

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.costs import Measured, Sampler, generic, kept_bytes
from pytest_memguard.service.endpoints import shed, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_memguard.service.endpoints import Response
    from pytest_memguard.service.guard import Guard

__all__ = ["HEALTH_PATHS", "PREFIX", "Gate"]

_log = logging.getLogger("pytest_memguard.service")

#: Where the endpoints are, unless the middleware is told otherwise.
PREFIX = "/memguard"
#: Answered while requests are turned away, with what lies below them: a supervisor must see that the process lives.
HEALTH_PATHS = ("/health", "/healthz", "/livez", "/readyz")

_NOT_FOUND = "(not found)"
_NOWHERE = "\n"  # no path begins with that
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Gate(Generic[Measured]):
    """
    The guard of one middleware, and its rules.

    Args:
        guard: What watches; made from *settings* where there is none.
        prefix: Path of the endpoints; empty for no endpoints, token or not.
        health_paths: Answered also while requests are turned away.
        settings: Of the guard that is to be made.
        sample: What a request that is measured is.

    Raises:
        ConfigError: *prefix* or *settings* are wrong, or there are a guard and settings.

    """

    def __init__(
        self,
        guard: Guard | None,
        prefix: str,
        health_paths: Iterable[str],
        settings: Mapping[str, Any],
        sample: type[Measured],
    ) -> None:
        if guard is not None and settings:
            raise ConfigError(f"middleware: {', '.join(settings)} must be set on the guard that is given as well")
        if prefix and (prefix[0] != "/" or prefix[-1] == "/"):
            raise ConfigError(f"middleware: prefix = {prefix!r} must begin with a slash and not end with one")
        self.guard = guard if guard is not None else _made(settings)
        self._prefix = prefix
        self.watched = prefix or _NOWHERE
        self.shows_headers = self.guard.settings.expose_headers
        self.sampler = Sampler(kept_bytes(), sample)
        self.guard.counters.append(self.sampler.completed)
        self.started = False
        #: Whether a request needs no more than to be counted, as long as nothing else is due.
        self.steady = False
        self._health_paths = tuple(health_paths)
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the guard once; a service whose guard cannot start serves all the same."""
        with self._starting:
            if self.started:
                return
            self.started = True
            self.steady = not self.shows_headers
            try:
                self.guard.start()
            except Exception:  # noqa: BLE001 - whatever it is, the service is worth more
                _log.exception("memguard could not start and does not watch this process")

    def stop(self) -> None:
        """Stop the guard; the next request starts it again."""
        with self._starting:
            self.started = self.steady = False
            self.guard.stop()

    def concerns(self, path: str) -> bool:
        """Whether the gate may have to answer a request."""
        return self.guard.shedding or path.startswith(self.watched)

    def endpoint(self, path: str) -> str | None:
        """Return the part of *path* behind the prefix, or nothing where it lies elsewhere."""
        return within(self._prefix, path)

    def turned_away(self, path: str) -> Response | None:
        """Return the answer to a request for which there is no memory left, or nothing if it is let in."""
        guard = self.guard
        if not guard.shedding or any(within(one, path) is not None for one in self._health_paths):
            return None
        guard.count_shed()
        return shed(guard.level.value, guard.retry_after_s)

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers that say how the memory of this process is."""
        guard = self.guard
        return (
            (b"X-Memory-Status", guard.level.value.encode()),
            (b"X-Memory-Usage", f"{guard.usage:.1%}".encode()),
            (b"X-Memory-RSS", str(guard.current.rss_bytes).encode()),
        )

    def count(self, cost_bytes: int, method: str, path: str, route: str | None, *, found: bool) -> None:
        """Note what a request kept, under the route that the application names or else a generic path."""
        name = route or (generic(path) if found else _NOT_FOUND)
        self.guard.routes.count(f"{method if method in _METHODS else '(other)'} {name}", cost_bytes)


def _made(settings: Mapping[str, Any]) -> Guard:
    from pytest_memguard.service.guard import Guard  # noqa: PLC0415 - not where a guard is given
    from pytest_memguard.service.settings import GuardSettings  # noqa: PLC0415 - the same

    return Guard(GuardSettings.from_environment(**settings))
