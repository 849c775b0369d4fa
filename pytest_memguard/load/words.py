"""What a run of load says to people: a line a second, and a few at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.core.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_memguard.load.result import LoadResult, RouteResult, SecondCounts

__all__ = ["per_cent", "second_line", "summary"]

_MOST_ROUTES = 20
_MOST_KINDS = 12


def second_line(counts: SecondCounts) -> str:
    """Return one second on one line."""
    return f"{counts.second + 1:>5} s  {counts.completed:>7} answered  {counts.errors:>6} failed"


def per_cent(share: float) -> str:
    """Return a share as per cent; "0 %" only for a true zero."""
    return f"{share * 100:.2g} %" if share < 1 else "100 %"


def summary(result: LoadResult) -> str:
    """Return what was measured, for people."""
    return "\n".join(_lines(result))


def _lines(result: LoadResult) -> Iterator[str]:
    took = f"{_count(result.requests, 'request')} in {duration(result.duration_s)}"
    yield f"{result.url}: {took} ({result.model} model, {result.engine})"
    yield f"  throughput  {result.throughput:.1f} answered a second"
    yield f"  failed      {result.failed} ({per_cent(result.error_share)}){_kinds(result)}"
    if result.percentiles:
        values = ", ".join(f"{name} {duration(latency_s)}" for name, latency_s in result.percentiles.items())
        longest = f", longest {duration(result.latency.longest_s)}" if result.latency.count else ""
        since = ", from when each was due" if result.model == "open" and result.latency.count else ""
        yield f"  latency     {values}{longest}{since}"
    if len(result.routes) > 1:
        yield from map(_route, result.routes[:_MOST_ROUTES])
        if len(result.routes) > _MOST_ROUTES:
            yield f"  ... and {len(result.routes) - _MOST_ROUTES} more routes, in the document (--json)"
    if result.unsent:
        yield f"  not sent    {_count(result.unsent, 'request')} became due while every connection was busy"
    if result.stopped:
        yield f"  ended early {result.stopped}"


def _kinds(result: LoadResult) -> str:
    shown = [f"{kind}: {number}" for kind, number in list(result.errors.items())[:_MOST_KINDS]]
    more = len(result.errors) - len(shown)
    if more:
        shown.append(f"{more} more kinds")
    return f": {', '.join(shown)}" if shown else ""


def _route(route: RouteResult) -> str:
    latency = f", p50 {duration(route.latency.percentile(50))}, p99 {duration(route.latency.percentile(99))}"
    return (
        f"  route       {route.name}: {route.requests}, {route.errors} failed{latency if route.latency.count else ''}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
