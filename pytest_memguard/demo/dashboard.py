"""The dashboard of the demo: one page that carries all it needs, and what its charts and tables show."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pytest_memguard import __version__
from pytest_memguard.renderers._templates import asset, policy
from pytest_memguard.renderers._templates import page as rendered
from pytest_memguard.service.costs import BOUNDS_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.service.guard import Guard

__all__ = ["headers", "page", "shown"]

#: The newest readings that go with each message of the feed, however many the guard keeps.
_MOST_READINGS = 240
_COLUMNS = {
    "time": "time_s",
    "rss": "rss_bytes",
    "heap": "heap_bytes",
    "blocks": "blocks",
    "fds": "fds",
    "threads": "threads",
    "requests": "requests",
}
_STYLES = ("vendor/uPlot.min.css", "page.css", "dashboard.css")
_SCRIPTS = ("vendor/uPlot.iife.min.js", "dashboard.js")
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%230a5bb5' d='M8 0l7 2v6c0 4-3 7-7 8-4-1-7-4-7-8V2z'/%3E"
    "%3Cpath fill='none' stroke='%23fff' stroke-width='1.6' d='M3.5 9h2l1.5-4 2 6 1.5-2h2'/%3E%3C/svg%3E"
)


@cache
def page() -> str:
    """Return the page; it fetches nothing but the feed and the API of the service that it came from."""
    scripts = tuple(asset(name) for name in _SCRIPTS)
    return rendered("dashboard.html", styles=asset(*_STYLES), scripts=scripts, icon=_ICON, version=__version__)


@cache
def headers() -> Mapping[str, str]:
    """Return what the page is sent with: it runs its own scripts, named by hash, and nobody may frame it."""
    own = policy(scripts=tuple(asset(name) for name in _SCRIPTS), styles=(asset(*_STYLES),))
    return {
        "Content-Security-Policy": f"{own}; connect-src 'self'; img-src data:; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def shown(guard: Guard) -> dict[str, object]:
    """Return what the charts and tables show of *guard*, as JSON can hold it: readings column by column."""
    window = guard.window[-_MOST_READINGS:] or (guard.current,)
    readings = {name: [getattr(reading, field) for reading in window] for name, field in _COLUMNS.items()}
    return {
        "limit": {
            "bytes": guard.limit.bytes,
            "source": guard.limit.source,
            "thresholds": list(guard.settings.thresholds),
        },
        "intervalSeconds": guard.settings.interval_s,
        "readings": {**readings, "gc": [reading.gc.seconds for reading in window]},
        "shed": guard.shed,
        "bounds": list(BOUNDS_BYTES),
        "routes": [
            {
                "route": cost.route,
                "measured": cost.measured,
                "meanBytes": cost.mean_bytes,
                "totalBytes": cost.total_bytes,
                "counts": list(cost.counts),
            }
            for cost in guard.routes
        ],
    }
