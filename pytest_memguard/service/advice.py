"""A verdict on a service in words: why, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.core.units import amount, duration
from pytest_memguard.core.values import BLOCKS, FDS, GC_OBJECTS, HEAP, RSS, THREADS, Estimate, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GARBAGE", "more_load", "more_time", "reason", "recommendations", "too_few"]

_NAMES = {
    BLOCKS: "memory blocks of the interpreter (blocks)",
    GC_OBJECTS: "objects that the collector tracks (gc objects)",
    HEAP: "native heap in use (heap)",
    RSS: "resident memory (rss)",
    FDS: "open descriptors (fds)",
    THREADS: "threads",
}
_WHAT = {
    "none": "{name}: no growth beyond load and swings",
    "leak_python": "{name}: {rate}, without slowing down",
    "leak_native": "{name}: {rate}, and the interpreter's blocks stand still",
    "fragmentation": "{name}: {rate}, and the native heap in use stands still",
    "cache_filling": "{name}: {rate}, {why}",
    "load": "{name} follows the load, and does not grow once the load is taken out",
}
GARBAGE = "what grew was garbage in cycles: a full collection has just freed it"
_SEE = {
    BLOCKS: "Blocks grow: take two heap snapshots a few hundred requests apart and compare them with `memguard diff`; "
    "what grew names its holder.",
    GC_OBJECTS: "GC objects grow: take two heap snapshots a few hundred requests apart and compare them with "
    "`memguard diff`; what grew names its holder.",
    HEAP: "Heap and blocks grow together: something in Python holds large values; take two heap snapshots a few "
    "hundred requests apart and compare them with `memguard diff`.",
    FDS: "Descriptors (fds) grow: look for files, sockets and database connections that are opened for a request and "
    "not closed; use `with`, and a pool with a bound.",
    THREADS: "Threads grow: look for threads, timers and executors that are started for a request; share one "
    "executor, and shut down what you start.",
}
_USUAL = (
    "The usual holders: a list or dict at module level, a cache without a bound, a listener that is never removed, "
    "a session without expiry."
)
_NATIVE = (
    "Heap grows and blocks do not: look at arrays that are kept, and at extension modules and what they are given to "
    "hold; run the same load under `memray run --native`."
)
_TRIM = (
    "RSS grows and heap does not: freed memory is not given back. Call `Guard.emergency()`, which trims the heap; if "
    "it comes back, set MALLOC_ARENA_MAX=2 or recycle workers after so many requests."
)
_LOOK_AGAIN = (
    "Growth slows down or goes into a cache with room left: look again when it is full, and check that its bound fits "
    "into the memory limit."
)
_DO = {
    "none": (),
    "leak_native": (_NATIVE,),
    "fragmentation": (_TRIM,),
    "cache_filling": (_LOOK_AGAIN,),
    "load": ("Nothing leaks: plan memory for the highest load, or bound the requests that run at once.",),
    "restart": ("The process is new: wait until enough readings have come.",),
    "needs_data": ("Wait, or send more requests.",),
}
_COLLECT_FIRST = (
    "No full collection ran meanwhile, so this may be cyclic garbage: call `Guard.collect()` and look again."
)


def recommendations(verdict: str, metric: Metric, *, collected: bool = True) -> tuple[str, ...]:
    """Return what to do about *verdict*, the first thing first; *collected* says whether the collector ran in full."""
    if verdict != "leak_python":
        return _DO[verdict]
    if metric in (FDS, THREADS):
        return (_SEE[metric],)
    first = () if collected else (_COLLECT_FIRST,)
    return (*first, _SEE[metric], _USUAL)


def reason(
    verdict: str, metric: Metric, per_request: Estimate | None, per_hour: Estimate | None, caches: Sequence[str] = ()
) -> str:
    """Return *verdict* in words, with the counter and its growth."""
    why = f"into {', '.join(caches)}" if caches else "more and more slowly"
    return _WHAT[verdict].format(name=_NAMES[metric], rate=_rate(metric, per_request, per_hour), why=why)


def too_few(readings: int, needed: int, needs_s: float, *, restarted: bool) -> str:
    """Say that there are too few readings, and how long to wait."""
    since = " since the process started anew" if restarted else ""
    return f"{readings} of {needed} readings{since}; wait {duration(needs_s)}"


def more_load(metric: Metric, missing: int, needs_s: float) -> str:
    """Say that a counter rose with the requests, but that these came in too few intervals."""
    return (
        f"{_NAMES[metric]} rose with the requests; {missing} more readings under load ({duration(needs_s)}) will tell"
    )


def more_time(metric: Metric, length_s: float, needs_s: float) -> str:
    """Say that memory grows, but may be a cache that fills."""
    return (
        f"{_NAMES[metric]} grew for {duration(length_s)}, as a cache does that fills; wait {duration(needs_s)} to know"
    )


def _rate(metric: Metric, per_request: Estimate | None, per_hour: Estimate | None) -> str:
    for estimate, unit in ((per_request, "a request"), (per_hour, "an hour")):
        if estimate is not None and estimate.low > 0:
            low, high = amount(estimate.low, metric.unit), amount(estimate.high, metric.unit)
            return f"+{amount(estimate.point, metric.unit)} {unit} ({low} to {high} at {estimate.level:.0%})"
    return "grows"
