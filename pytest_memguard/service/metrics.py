"""
A guard's figures for Prometheus.

    MemguardCollector  for a registry of your own, or prometheus_client's
    registry           one registry with everything: the guard's figures, and the standard ones of process and collector
    exposition         the answer to a scrape, of this process or of all workers

With ``PROMETHEUS_MULTIPROC_DIR`` set, each worker leaves its figures there, and whichever is asked answers for all:
counters and histograms as sums, gauges one a worker with the label ``pid``.
"""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.costs import BOUNDS_BYTES, OTHER
from pytest_memguard.service.detection import VERDICTS

try:
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ImportError:
    raise ConfigError('metrics need prometheus-client: pip install "pytest-memguard[service]"') from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from pytest_memguard.service.caches import Caches, CacheStatistics
    from pytest_memguard.service.costs import RouteCost
    from pytest_memguard.service.detection import Detection
    from pytest_memguard.service.limits import MemoryLimit
    from pytest_memguard.service.pressure import Pressure
    from pytest_memguard.service.readings import Reading

__all__ = ["MemguardCollector", "exposition", "label", "registry"]

#: Values that one label may take; what comes after them is added up as ``(other)``.
MOST_LABELS = 100
_LONGEST_LABEL = 100
#: What a leak may show in; all are there always, so that none stays behind in the files of a worker.
_COUNTERS = ("blocks", "gc_objects", "heap", "rss", "fds", "threads")
_ACTIONS = (
    ("memguard_actions", "Runs of actions that give memory back."),
    ("memguard_freed_bytes", "Bytes that the actions freed."),
    ("memguard_action_seconds", "Time that the actions took."),
    ("memguard_action_failures", "Runs of actions that failed."),
)
_LOOK_UPS = (
    ("memguard_cache_hits", "Look-ups that found something."),
    ("memguard_cache_misses", "Look-ups that did not."),
    ("memguard_cache_evictions", "Entries that made room or were dropped to save memory."),
)
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Watched(Protocol):
    """What is read of a guard."""

    level: Pressure
    limit: MemoryLimit
    shed: int
    detection: Detection | None

    @property
    def usage(self) -> float:
        """Share of the limit that is used."""
        ...

    @property
    def shedding(self) -> bool:
        """Whether requests are turned away."""
        ...

    @property
    def current(self) -> Reading:
        """The latest reading."""
        ...

    @property
    def requests(self) -> int:
        """Requests completed so far."""
        ...

    @property
    def caches(self) -> Caches:
        """The named caches."""
        ...

    @property
    def routes(self) -> Iterable[RouteCost]:
        """What requests kept, by route."""
        ...

    def metrics(self) -> dict[str, Any]:
        """Return the counters; of these, what the actions did."""
        ...


class MemguardCollector(Collector):
    """Reads a guard when Prometheus asks; nothing is counted twice."""

    def __init__(self, guard: Watched) -> None:
        self._guard = guard

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, of which the documentation has a table."""
        guard = self._guard
        yield from _memory(guard, guard.current)
        yield from _collections(guard.current)
        yield from _defence(guard)
        yield from _verdict(guard.detection)
        yield from _caches(guard.caches.statistics())
        yield _costs(guard.routes)


def registry(guard: Watched) -> CollectorRegistry:
    """Return a new registry with the figures of *guard* and the standard ones; the global one stays as it is."""
    made = CollectorRegistry()
    made.register(_Process(guard))
    GCCollector(registry=made)
    PlatformCollector(registry=made)
    made.register(MemguardCollector(guard))
    return made


def exposition(guard: Watched, accept: str = "", environ: Mapping[str, str] = os.environ) -> tuple[bytes, str]:
    """
    Return the answer to a scrape, and its content type.

    Args:
        guard: Of this process.
        accept: The header of the request: OpenMetrics for those who ask for it, else Prometheus' own text format.
        environ: Where ``PROMETHEUS_MULTIPROC_DIR`` is looked up; set, the answer is that of all workers.

    Raises:
        ConfigError: ``PROMETHEUS_MULTIPROC_DIR`` cannot be used.

    """
    encode, content_type = choose_encoder(accept)
    folder = environ.get(_FOLDER)
    if not folder:
        return encode(registry(guard)), content_type
    from pytest_memguard.service.workers import of_all_workers, share  # noqa: PLC0415 - only where there are workers

    share(guard, folder)
    return encode(of_all_workers(folder)), content_type


def label(text: str) -> str:
    """Return *text* from outside as the value of a label: of bounded length, and printable."""
    plain = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return plain if len(plain) <= _LONGEST_LABEL else f"{plain[: _LONGEST_LABEL - 3]}..."


class _Process(Collector):
    """The standard process_* figures; where the system has no /proc, those that the guard can read."""

    def __init__(self, guard: Watched, proc: str = "/proc") -> None:
        self._guard = guard
        self._collector = ProcessCollector(registry=None, proc=proc)

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        families = list(self._collector.collect())
        if not families:
            reading = self._guard.current
            families = [
                _gauge("process_resident_memory_bytes", "Resident memory size in bytes.", reading.rss_bytes),
                _gauge("process_open_fds", "Number of open file descriptors.", reading.fds),
            ]
        yield from families


def _memory(guard: Watched, reading: Reading) -> Iterator[Metric]:
    yield _gauge("memory_heap_used_bytes", "Memory that counts against the limit.", reading.used)
    yield _gauge("memory_heap_usage_percent", "The same, in per cent of the limit.", 100 * guard.usage)
    yield _gauge("memguard_memory_limit_bytes", "The memory limit of the process.", guard.limit.bytes)
    if reading.heap_bytes is not None:
        yield _gauge("memguard_native_heap_bytes", "In use in the native heap.", reading.heap_bytes)
    yield _gauge("memguard_allocated_blocks", "Memory blocks of the interpreter.", reading.blocks)
    yield _gauge("memguard_open_descriptors", "Open file descriptors or handles.", reading.fds)
    yield _gauge("memguard_threads", "Threads, native ones included.", reading.threads)


def _collections(reading: Reading) -> Iterator[Metric]:
    rows = {str(generation): count for generation, count in enumerate(reading.gc.collections)}
    text = "Collections since the guard started; only rises, and is a gauge to keep its name."
    yield _gauges("memory_gc_count", text, "generation", rows)
    yield _counter("memguard_gc_pause_seconds", "Time in collections since the guard started.", reading.gc.seconds)
    yield _gauge("memguard_gc_efficiency", "Share of the objects looked at that was freed.", reading.gc.efficiency)


def _defence(guard: Watched) -> Iterator[Metric]:
    text = "0 healthy, 1 warning, 2 critical, 3 emergency."
    yield _gauge("memguard_pressure_level", text, guard.level.rank)
    yield _gauge("memguard_shedding", "1 while requests are turned away.", guard.shedding)
    yield _counter("memguard_requests", "Requests completed.", guard.requests)
    yield _counter("memguard_requests_shed", "Requests turned away.", guard.shed)
    done = _folded({label(name): _of_action(row) for name, row in guard.metrics()["actions"].items()})
    for at, (name, text) in enumerate(_ACTIONS):
        yield _counters(name, text, "action", {action: row[at] for action, row in done.items()})


def _of_action(done: Mapping[str, float]) -> tuple[float, ...]:
    return done["runs"], done["freed_bytes"], done["seconds"], done["failures"]


def _verdict(detection: Detection | None) -> Iterator[Metric]:
    verdict = "needs_data" if detection is None else detection.verdict
    rows = {one: one == verdict for one in VERDICTS}
    yield _gauges("memguard_leak_verdict", "1 for the present verdict, 0 for the others.", "verdict", rows)
    sure = 0.0 if detection is None else detection.confidence
    yield _gauge("memguard_leak_confidence", "How likely it is that memory grows without end, 0 to 1.", sure)
    per_request = None if detection is None else detection.per_request
    per_hour = None if detection is None else detection.per_hour
    unknown = dict.fromkeys(_COUNTERS, float("nan"))
    for name, text, estimate in (
        ("memguard_growth_per_request", "Growth of the counter that tells most, a request.", per_request),
        ("memguard_growth_per_hour", "Growth of the counter that tells most, an hour.", per_hour),
    ):
        known = {} if detection is None or estimate is None else {detection.metric: estimate.point}
        yield _gauges(name, text, "metric", {**unknown, **known})
    left_s = None if detection is None else detection.time_to_limit_s
    text = "Until the limit is reached at the present growth; infinite where it is not."
    yield _gauge("memguard_time_to_limit_seconds", text, float("inf") if left_s is None else left_s)


def _caches(all_figures: Iterable[CacheStatistics]) -> Iterator[Metric]:
    rows = _folded(
        {
            label(figures.name): (figures.hits, figures.misses, figures.evictions, figures.entries, figures.bytes)
            for figures in all_figures
        }
    )
    rates = {name: row[0] / (row[0] + row[1]) if row[0] + row[1] else float("nan") for name, row in rows.items()}
    yield _gauges("cache_hit_rate", "Hits among the look-ups, 0 to 1; no number before the first one.", "cache", rates)
    yield _gauges("cache_size_entries", "Entries in the cache.", "cache", {name: row[3] for name, row in rows.items()})
    held = {name: row[4] for name, row in rows.items()}
    yield _gauges("memguard_cache_bytes", "Bytes in the cache, estimated.", "cache", held)
    for at, (name, text) in enumerate(_LOOK_UPS):
        yield _counters(name, text, "cache", {cache: row[at] for cache, row in rows.items()})


def _costs(routes: Iterable[RouteCost]) -> Metric:
    family = HistogramMetricFamily(
        "memguard_request_memory_cost_bytes", "Memory that measured requests kept.", labels=["route"]
    )
    merged = _merged((label(cost.route), (cost.total_bytes, *cost.counts)) for cost in routes)
    bounds = [*map(floatToGoString, BOUNDS_BYTES), "+Inf"]
    for route, (total, *counts) in merged.items():
        # Requests may free more than they keep, and a sum that falls reads as a restart: so the sum is 0 at least.
        family.add_metric([route], list(zip(bounds, accumulate(counts), strict=True)), max(0, total))
    return family


def _folded(rows: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Return the first rows as they are, and all others added up in one."""
    return _merged((name if at < MOST_LABELS else OTHER, row) for at, (name, row) in enumerate(rows.items()))


def _merged(rows: Iterable[tuple[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """Add up the rows that have the same name: cut names may be the same, and a series may be there only once."""
    merged: dict[str, tuple[float, ...]] = {}
    for name, row in rows:
        before = merged.get(name)
        merged[name] = row if before is None else tuple(map(sum, zip(before, row, strict=True)))
    return merged


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, label_name: str, rows: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=[label_name]), rows)


def _counters(name: str, text: str, label_name: str, rows: Mapping[str, float]) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=[label_name]), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Mapping[str, float]) -> Metric:
    for value_of_label, value in rows.items():
        family.add_metric([value_of_label], float(value))
    return family
