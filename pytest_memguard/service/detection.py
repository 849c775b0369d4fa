"""
Whether a service leaks: its readings, with load and swings taken out, judged counter by counter.

    window of readings -> a track a counter -> floors over requests and over time -> evidence -> verdict

A counter that grows with each request is judged over completed requests, where these move: a burst of load and an
idle night look the same there. Everything else is judged over time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_memguard.core.floors import WINDOWS
from pytest_memguard.core.policies import Context, combine, correlation, growth, points
from pytest_memguard.core.values import BLOCKS, FDS, GC_OBJECTS, HEAP, RSS, THREADS, Estimate, Metric
from pytest_memguard.service import advice
from pytest_memguard.service.fills import CacheFill
from pytest_memguard.service.tracks import LIVE_FROM_S, SHORTEST_S, Span, Track, interval, long_view, recent

if TYPE_CHECKING:
    from pytest_memguard.service.readings import Reading

__all__ = ["LEAKS", "VERDICTS", "CacheFill", "CacheFills", "Detection", "detect"]

VERDICTS = ("none", "leak_python", "leak_native", "fragmentation", "cache_filling", "load", "restart", "needs_data")
#: Those that somebody must look at.
LEAKS = ("leak_python", "leak_native")

#: So many readings make the windows that a verdict needs.
_READINGS = WINDOWS + 1
# A small object in the interpreter's own allocator, in the mean (16 to 512 bytes).
_BYTES_A_BLOCK = 64
# Objects that leak bring a block for every so many bytes of heap at least; native code brings none.
_HEAP_A_BLOCK = 32 * 1024
# A cache explains growth if it took this share of it: sizes are estimates, and its entries have costs around them.
_EXPLAINED = 0.5
# Of services that grow for no reason we know, so many leak; as for marked tests.
_PRIOR = 0.02
_RESOURCES = (FDS, THREADS)
_MEMORY_GROWS = (*LEAKS, "fragmentation", "cache_filling")
# How sure a verdict can be: a slow cache looks like a leak for minutes, cyclic garbage until it is collected.
_SUREST = {"leak": 0.99, "short": 0.8, "uncollected": 0.7, "none": 0.6, "explained": 0.3}
# Requests came in so few intervals that a pool that filled cannot be told from a leak.
_FEW_STEPS = 3
_HOUR_S = 3600.0


#: Returns what the known bounded caches did since a time.
CacheFills = Callable[[float], Sequence[CacheFill]]


@dataclass(frozen=True, slots=True)
class Detection:
    """
    What the readings say.

    Attributes:
        verdict: One of ``VERDICTS``.
        confidence: How likely it is that memory grows without end, 0 to 1.
        policies: The score of each scoring policy, 0 to 100; an alarm from 95 on.
        metric: The counter that tells most: blocks, gc_objects, heap, rss, fds or threads.
        per_request: Growth of it for each completed request; None where too few came.
        per_hour: Growth of it an hour; None where there are too few readings.
        time_to_limit_s: Until the memory limit is reached at this rate; None where it does not come nearer.
        reason: The verdict in words.
        recommendations: What to do, a sentence each.
        needs_s: How long to wait for a verdict; None where there is one.
        collected: Whether garbage is known not to be what grows: a full collection ran meanwhile.

    """

    verdict: str
    confidence: float
    policies: Mapping[str, float]
    metric: str
    per_request: Estimate | None
    per_hour: Estimate | None
    time_to_limit_s: float | None
    reason: str
    recommendations: tuple[str, ...]
    needs_s: float | None = None
    collected: bool = True

    @property
    def leaks(self) -> bool:
        """Whether this is a leak."""
        return self.verdict in LEAKS


def _no_caches(_: float) -> Sequence[CacheFill]:
    return ()


def detect(
    window: Sequence[Reading],
    *,
    limit_bytes: float | None = None,
    now_s: float | None = None,
    caches: CacheFills = _no_caches,
    garbage: Mapping[Metric, float] | None = None,
) -> Detection:
    """
    Judge the readings of a service.

    Readings that are half a minute apart at most get a quick look, over less than half an hour. A sure verdict on
    memory takes six hours. Where there are both, the long view goes before, if it has something to say.

    Args:
        window: Shape (n,), the oldest first; may be denser at the end.
        limit_bytes: The memory limit; None where there is none.
        now_s: By the clock of the readings; a wait is counted from here. None for the time of the last one.
        caches: Asked for what the bounded caches did since the first of the readings that are judged.
        garbage: What a full collection has freed since the last reading, by counter; it is taken to have come evenly
            since the one before, and growth that it explains is no leak. None where none was run for this.

    Returns:
        The verdict; never an error, however odd the readings are.

    """
    begun = _begin(window)
    readings = window[begun:]
    if len(readings) < _READINGS:
        return _too_few(readings, restarted=begun > 0, now_s=now_s)
    rates = None if garbage is None else _a_second(garbage, readings)
    span = Span(recent(readings), rates)
    verdict, track = _verdict(span, caches)
    long = long_view(readings, rates)
    if long is not None and track.metric not in _RESOURCES:
        ripe, heavier = _verdict(long, caches)
        if not span.dense or ripe in _MEMORY_GROWS or (ripe == "load" and verdict not in LEAKS):
            return _detection(ripe, heavier, long, limit_bytes, caches)
    if verdict == "needs_data":
        return _more_load(span, track)
    if not span.dense and verdict in _MEMORY_GROWS and track.metric not in _RESOURCES:
        return _more_time(span, track)
    return _detection(verdict, track, span, limit_bytes, caches)


def _a_second(garbage: Mapping[Metric, float], readings: Sequence[Reading]) -> dict[Metric, float]:
    """Return how fast garbage came since the last full collection, or since the first reading."""
    full = readings[-1].gc.collections[2]
    since_s = next(reading.time_s for reading in readings if reading.gc.collections[2] == full)
    length_s = max(readings[-1].time_s - since_s, interval(readings))
    return {metric: count / max(length_s, SHORTEST_S) for metric, count in garbage.items()}


def _begin(window: Sequence[Reading]) -> int:
    """Return where the latest process begins: counters that only rise have fallen there."""
    starts = [at for at, (before, after) in enumerate(pairwise(window), start=1) if _is_another(before, after)]
    return starts[-1] if starts else 0


def _is_another(before: Reading, after: Reading) -> bool:
    fewer = any(later < earlier for earlier, later in zip(before.gc.collections, after.gc.collections, strict=True))
    return fewer or after.requests < before.requests or after.time_s < before.time_s


def _verdict(span: Span, caches: CacheFills) -> tuple[str, Track]:
    """Return the verdict and the counter that it speaks of."""
    resources = [span.track(metric) for metric in _RESOURCES]
    for track in resources:
        if track.lasts:
            return "leak_python", track
    memory = [span.track(metric) for metric in (BLOCKS, GC_OBJECTS, HEAP, RSS) if span.has(metric)]
    lasting = [track for track in memory if track.lasts]
    if lasting:
        return _memory_verdict(span, lasting, caches)
    return _verdict_without_leak(span, resources + memory)


def _memory_verdict(span: Span, lasting: Sequence[Track], caches: CacheFills) -> tuple[str, Track]:
    metrics = [track.metric for track in lasting]
    lead = lasting[0]
    if metrics == [RSS] and span.has(HEAP):
        return "fragmentation", lead
    if _explained(span, caches):
        return "cache_filling", lead
    if metrics[0] in (BLOCKS, GC_OBJECTS) or _blocks_follow(span):
        return "leak_python", lead
    return "leak_native", lead


def _blocks_follow(span: Span) -> bool:
    """Return whether blocks rise beside the heap, if not so evenly that they tell by themselves."""
    blocks = span.track(BLOCKS)
    if not span.has(HEAP) or blocks.slope is None:
        return False
    return blocks.slope.low > 0 and blocks.total * _HEAP_A_BLOCK >= span.track(HEAP).total


def _explained(span: Span, caches: CacheFills) -> tuple[str, ...]:
    """Return the names of the caches with room left that took at least half of what was added, if they did."""
    filled = [cache for cache in caches(span.times[0]) if cache.explains]
    grown = _BYTES_A_BLOCK * max(0.0, span.track(BLOCKS).total)
    if span.has(HEAP):
        grown += max(0.0, span.track(HEAP).total)
    enough = sum(cache.bytes for cache in filled) >= _EXPLAINED * grown
    return tuple(cache.name for cache in filled) if enough else ()


def _verdict_without_leak(span: Span, tracks: Sequence[Track]) -> tuple[str, Track]:
    held = [("load", track) for track in tracks if track.is_load]
    held += [("cache_filling", track) for track in tracks if track.slows]
    held += [("needs_data", track) for track in tracks if _rises_in_bursts(track)]
    return held[0] if held else ("none", span.track(RSS))


def _rises_in_bursts(track: Track) -> bool:
    """Return whether a counter rose whenever requests came, which was too seldom to say more."""
    steps = track.busy_steps
    return _FEW_STEPS <= len(steps) < WINDOWS and min(steps) > 0 and sum(steps) >= track.least


def _too_few(readings: Sequence[Reading], *, restarted: bool, now_s: float | None) -> Detection:
    interval_s = interval(readings)
    waited_s = max(0.0, now_s - readings[-1].time_s) if readings and now_s is not None else 0.0
    needs_s = max(0.0, (_READINGS - len(readings)) * interval_s - waited_s)
    verdict = "restart" if restarted else "needs_data"
    reason = advice.too_few(len(readings), _READINGS, needs_s, restarted=restarted)
    return _without_numbers(verdict, RSS, reason, needs_s)


def _more_load(span: Span, track: Track) -> Detection:
    missing = _READINGS - 1 - len(track.busy_steps)
    needs_s = missing * interval(span.readings)
    return _without_numbers("needs_data", track.metric, advice.more_load(track.metric, missing, needs_s), needs_s)


def _more_time(span: Span, track: Track) -> Detection:
    needs_s = max(interval(span.readings), LIVE_FROM_S - span.length_s)
    return _without_numbers("needs_data", track.metric, advice.more_time(track.metric, span.length_s, needs_s), needs_s)


def _without_numbers(verdict: str, metric: Metric, reason: str, needs_s: float) -> Detection:
    words = advice.recommendations(verdict, metric)
    return Detection(verdict, 0.0, _no_scores(), metric.name, None, None, None, reason, words, needs_s)


def _no_scores() -> dict[str, float]:
    return dict.fromkeys(("points", "correlation", "growth", "calibrated", "any", "all"), 0.0)


def _detection(verdict: str, track: Track, span: Span, limit_bytes: float | None, caches: CacheFills) -> Detection:
    per_request, per_hour = track.over_requests, _times(track.over_time, _HOUR_S)
    confidence = _confidence(verdict, track, span)
    limit_s = None if verdict in ("none", "load") else _time_to_limit(span, limit_bytes)
    filled = _explained(span, caches) if verdict == "cache_filling" else ()
    was_garbage = verdict == "none" and any(
        span.track(metric).is_garbage for metric in span.garbage if span.has(metric)
    )
    return Detection(
        verdict=verdict,
        confidence=confidence,
        policies=_policies(track, span, confidence, limit_bytes),
        metric=track.metric.name,
        per_request=per_request,
        per_hour=per_hour,
        time_to_limit_s=limit_s,
        reason=advice.GARBAGE if was_garbage else advice.reason(verdict, track.metric, per_request, per_hour, filled),
        recommendations=advice.recommendations(verdict, track.metric, collected=span.collected),
        collected=span.collected,
    )


def _confidence(verdict: str, track: Track, span: Span) -> float:
    odds = min(track.evidence, 1e9) * _PRIOR / (1 - _PRIOR)
    surest = [_SUREST["leak"]]
    if verdict in ("cache_filling", "load"):
        surest.append(_SUREST["explained"])
    if verdict == "none":
        surest.append(_SUREST["none"])
    if not span.live:
        surest.append(_SUREST["short"])
    if track.metric in (BLOCKS, GC_OBJECTS) and not span.collected:
        surest.append(_SUREST["uncollected"])
    return min(odds / (1 + odds), *surest)


def _policies(track: Track, span: Span, confidence: float, limit_bytes: float | None) -> dict[str, float]:
    """Return the score of each policy: bytes speak for growth and points, the counter itself for correlation."""
    resident = span.track(RSS).floors
    stats = span.readings[-1].gc
    context = Context(limit_bytes=limit_bytes or None, gc_efficiency=stats.efficiency if stats.visited else None)
    scores = {
        "points": points(resident, context).score,
        "correlation": correlation(track.floors),
        "growth": growth(resident),
        "calibrated": 100 * confidence,
    }
    return {**scores, "any": combine(scores, "any"), "all": combine(scores, "all")}


def _time_to_limit(span: Span, limit_bytes: float | None) -> float | None:
    if not limit_bytes:
        return None
    rates = (span.track(metric).over_time for metric in (RSS, HEAP) if span.has(metric))
    rate = next((slope.point for slope in rates if slope is not None and slope.low > 0), None)
    return None if rate is None else max(0.0, limit_bytes - span.readings[-1].used) / rate


def _times(estimate: Estimate | None, factor: float) -> Estimate | None:
    if estimate is None:
        return None
    return Estimate(estimate.point * factor, estimate.low * factor, estimate.high * factor, estimate.level)
