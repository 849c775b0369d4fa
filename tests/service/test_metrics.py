"""The figures for Prometheus: names, values, bounds, several workers, and the dashboard that asks for them."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import prometheus_client
import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from pytest_memguard.core.values import Estimate
from pytest_memguard.errors import ConfigError
from pytest_memguard.service import metrics
from pytest_memguard.service.detection import VERDICTS, Detection
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.settings import GuardSettings

DOCS = Path(__file__).parents[2] / "docs"
LEAK = Detection(
    "leak_python", 0.97, {}, "blocks", Estimate(7.0, 6.5, 7.5), Estimate(25_200.0, 23_000.0, 27_000.0), 1800.0, "", ()
)
#: Prometheus adds these to every series, or the multi-process mode does.
FROM_OUTSIDE = {"job", "instance", "pid"}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def new_guard() -> Guard:
    """Return a guard that has taken its first reading, and takes no other by itself."""
    guard = Guard(GuardSettings(limit_bytes=2**30))
    assert guard.current.rss_bytes
    return guard


@pytest.fixture
def guard() -> Guard:
    """Return a guard that has something to tell."""
    guard = new_guard()
    prices = guard.caches.create("prices")
    prices["tea"] = 4
    for key in ("tea", "tea", "tea", "coffee"):
        prices.get(key)
    for cost_bytes in (-5, 0, 300, 2**30):
        guard.count_request("GET /items/{}", cost_bytes)
    guard.collect()
    return guard


def answer(guard: metrics.Watched) -> str:
    """Return what a scrape of this process gives."""
    return metrics.exposition(guard, environ={})[0].decode()


def read(text: str) -> Samples:
    """Return the samples of an exposition, each of which may be there once only."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one sample."""
    return samples[name, frozenset(labels.items())]


# One process

NAMES = """
process_resident_memory_bytes
process_virtual_memory_bytes
process_cpu_seconds_total
process_start_time_seconds
process_open_fds
process_max_fds
python_info
python_gc_collections_total
python_gc_objects_collected_total
python_gc_objects_uncollectable_total
memory_heap_used_bytes
memory_heap_usage_percent
cache_hit_rate
cache_size_entries
memory_gc_count
memguard_memory_limit_bytes
memguard_native_heap_bytes
memguard_allocated_blocks
memguard_open_descriptors
memguard_threads
memguard_gc_pause_seconds_total
memguard_gc_efficiency
memguard_pressure_level
memguard_shedding
memguard_requests_total
memguard_requests_shed_total
memguard_actions_total
memguard_freed_bytes_total
memguard_action_seconds_total
memguard_action_failures_total
memguard_leak_verdict
memguard_leak_confidence
memguard_growth_per_request
memguard_growth_per_hour
memguard_time_to_limit_seconds
memguard_cache_bytes
memguard_cache_hits_total
memguard_cache_misses_total
memguard_cache_evictions_total
memguard_request_memory_cost_bytes_bucket
memguard_request_memory_cost_bytes_sum
memguard_request_memory_cost_bytes_count
""".split()  # noqa: SIM905 - a list that is read down


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of the process figures")
def test_names(guard: Guard) -> None:
    """These are the names that dashboards rely on, all of them and no others."""
    assert sorted({name for name, _ in read(answer(guard))}) == sorted(NAMES)


def test_parser_of_prometheus_reads_it(guard: Guard) -> None:
    """Every family has a type and a help text."""
    families = list(text_string_to_metric_families(answer(guard)))

    assert {family.type for family in families} == {"gauge", "counter", "histogram"}
    assert [family.name for family in families if not family.documentation] == []


def test_open_metrics_for_those_who_ask(guard: Guard) -> None:
    """The header of the request chooses the format."""
    body, kind = metrics.exposition(guard, "application/openmetrics-text; version=1.0.0", {})

    assert kind.startswith("application/openmetrics-text")
    assert list(openmetrics_parser.text_string_to_metric_families(body.decode()))
    assert metrics.exposition(guard, "text/html", {})[1].startswith("text/plain; version=")


def test_values_are_those_of_the_guard(guard: Guard) -> None:
    """What the guard knows is what the exposition says."""
    guard.level = Pressure.CRITICAL
    guard.count_shed()
    samples = read(answer(guard))

    assert value(samples, "memory_heap_used_bytes") == guard.current.used
    assert value(samples, "memory_heap_usage_percent") == pytest.approx(100 * guard.usage)
    assert value(samples, "memguard_memory_limit_bytes") == 2**30
    assert value(samples, "memguard_pressure_level") == 2
    assert value(samples, "memguard_shedding") == 0
    assert value(samples, "memguard_requests_total") == 4
    assert value(samples, "memguard_requests_shed_total") == 1
    assert value(samples, "memguard_actions_total", action="collect") == 1
    assert value(samples, "memguard_action_failures_total", action="collect") == 0


def test_emergency_is_told() -> None:
    """While requests are turned away, both gauges say so."""
    guard = new_guard()
    guard.level = Pressure.EMERGENCY
    samples = read(answer(guard))

    assert (value(samples, "memguard_pressure_level"), value(samples, "memguard_shedding")) == (3, 1)


def test_cache_figures(guard: Guard) -> None:
    """A cache is told by name; one that nobody asked has no rate, so that no alert fires for it."""
    guard.caches.create("unused")
    samples = read(answer(guard))

    assert value(samples, "cache_hit_rate", cache="prices") == 0.75
    assert math.isnan(value(samples, "cache_hit_rate", cache="unused"))
    assert value(samples, "cache_size_entries", cache="prices") == 1
    assert value(samples, "memguard_cache_hits_total", cache="prices") == 3
    assert value(samples, "memguard_cache_misses_total", cache="prices") == 1
    assert value(samples, "memguard_cache_evictions_total", cache="prices") == 0
    assert 200 < value(samples, "memguard_cache_bytes", cache="prices") < 500


def test_costs_are_a_histogram_by_route(guard: Guard) -> None:
    """Buckets add up, and what is freed counts as nothing."""
    samples = read(answer(guard))
    name = "memguard_request_memory_cost_bytes"
    route = {"route": "GET /items/{}"}

    assert value(samples, f"{name}_bucket", le="0.0", **route) == 2
    assert value(samples, f"{name}_bucket", le="256.0", **route) == 2
    assert value(samples, f"{name}_bucket", le="1024.0", **route) == 3
    assert value(samples, f"{name}_bucket", le="+Inf", **route) == value(samples, f"{name}_count", **route) == 4
    assert value(samples, f"{name}_sum", **route) == 2**30 + 295


def test_sum_of_costs_is_never_below_zero() -> None:
    """Requests that freed more than they kept do not turn the sum negative."""
    guard = new_guard()
    guard.count_request("GET /", -500)

    assert value(read(answer(guard)), "memguard_request_memory_cost_bytes_sum", route="GET /") == 0


def test_verdict(guard: Guard) -> None:
    """Exactly one verdict stands, and its figures with it."""
    guard.detection = LEAK
    samples = read(answer(guard))

    assert [one for one in VERDICTS if value(samples, "memguard_leak_verdict", verdict=one)] == ["leak_python"]
    assert value(samples, "memguard_leak_confidence") == 0.97
    assert value(samples, "memguard_growth_per_request", metric="blocks") == 7.0
    assert value(samples, "memguard_growth_per_hour", metric="blocks") == 25_200.0
    assert math.isnan(value(samples, "memguard_growth_per_hour", metric="heap"))
    assert value(samples, "memguard_time_to_limit_seconds") == 1800.0


def test_verdict_before_the_first_one(guard: Guard) -> None:
    """A guard that has not judged yet says that it needs readings."""
    guard.detection = None
    samples = read(answer(guard))

    assert [one for one in VERDICTS if value(samples, "memguard_leak_verdict", verdict=one)] == ["needs_data"]
    assert value(samples, "memguard_leak_confidence") == 0
    assert math.isnan(value(samples, "memguard_growth_per_hour", metric="blocks"))
    assert value(samples, "memguard_time_to_limit_seconds") == math.inf


def test_global_registry_stays_as_it_is(guard: Guard) -> None:
    """Nothing is registered where a service keeps its own metrics."""
    before = prometheus_client.generate_latest().decode()
    answer(guard)

    assert set(re.findall(r"# TYPE (\w+)", prometheus_client.generate_latest().decode())) == set(
        re.findall(r"# TYPE (\w+)", before)
    )


def test_collector_fits_any_registry(guard: Guard) -> None:
    """Who wants one endpoint for all registers the collector with his own metrics."""
    registry = prometheus_client.CollectorRegistry(auto_describe=True)
    prometheus_client.Counter("shop_orders", "Orders.", registry=registry).inc()
    registry.register(metrics.MemguardCollector(guard))
    samples = read(prometheus_client.generate_latest(registry).decode())

    assert (value(samples, "shop_orders_total"), value(samples, "memguard_pressure_level")) == (1, 0)


def test_process_figures_without_proc(guard: Guard) -> None:
    """Where the system has no /proc, the guard's own reading stands in."""
    families = {family.name: family for family in metrics._Process(guard, proc="/nowhere").collect()}

    assert list(families) == ["process_resident_memory_bytes", "process_open_fds"]
    assert families["process_resident_memory_bytes"].samples[0].value == guard.current.rss_bytes


def test_missing_extra_is_one_clear_line() -> None:
    """Without prometheus_client, a message says what to install."""
    code = "import sys; sys.modules['prometheus_client'] = None; import pytest_memguard.service.metrics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == (
        'pytest_memguard.errors.ConfigError: metrics need prometheus-client: pip install "pytest-memguard[service]"'
    )


# Names from outside

HOSTILE = 'a"} 1\nmemguard_shedding 1\n\\ \x00 \ud800 \u202e'


def test_hostile_names_stay_in_their_labels() -> None:
    """Quotes, line ends, control characters and halves of pairs end no label and break no encoding."""
    guard = new_guard()
    guard.count_request(HOSTILE, 1)
    samples = read(answer(guard))
    routes = {dict(labels)["route"] for name, labels in samples if name.endswith("cost_bytes_count")}

    assert routes == {'a"} 1\\nmemguard_shedding 1\\n\\ \\x00 \\ud800 \\u202e'}
    assert value(samples, "memguard_shedding") == 0


@pytest.mark.parametrize(("length", "expected"), [(100, "x" * 100), (101, "x" * 97 + "...")])
def test_labels_are_bounded_in_length(length: int, expected: str) -> None:
    """A long name is cut, and says so."""
    assert metrics.label("x" * length) == expected


def test_names_that_are_the_same_when_cut_are_added_up() -> None:
    """Two series of one name would make Prometheus refuse the whole answer."""
    guard = new_guard()
    guard.count_request("x" * 150 + "1", 10)
    guard.count_request("x" * 150 + "2", 20)
    samples = read(answer(guard))

    assert value(samples, "memguard_request_memory_cost_bytes_sum", route="x" * 97 + "...") == 30


@pytest.mark.parametrize(("caches", "labels"), [(100, 100), (101, 101), (150, 101)])
def test_labels_are_bounded_in_number(caches: int, labels: int) -> None:
    """A hundred caches are told by name, all others together."""
    guard = new_guard()
    for number in range(caches):
        guard.caches.create(f"cache {number}")["key"] = number
    samples = read(answer(guard))
    sizes = [count for (name, _), count in samples.items() if name == "cache_size_entries"]

    assert (len(sizes), sum(sizes)) == (labels, caches)


def test_routes_are_bounded_in_number() -> None:
    """Ten thousand paths make no ten thousand series."""
    guard = new_guard()
    for number in range(10_000):
        guard.count_request(f"/path/{number}", 1)
    samples = read(answer(guard))
    counts = [count for (name, _), count in samples.items() if name.endswith("cost_bytes_count")]

    assert len(counts) <= 201
    assert sum(counts) == 10_000


# Several workers

WORKER = dedent("""
    import os, sys
    from prometheus_client import Counter
    from pytest_memguard.service.guard import Guard
    from pytest_memguard.service.metrics import exposition
    from pytest_memguard.service.settings import GuardSettings
    from pytest_memguard.service.workers import share

    Counter("shop_orders", "A metric of the service, in files of the same folder.").inc()
    guard = Guard(GuardSettings(limit_bytes=2**30))
    cache = guard.caches.create("prices")
    cache["tea"] = 1
    cache.get("tea")
    for cost_bytes in map(int, sys.argv[1:]):
        guard.count_request("GET /", cost_bytes)
    share(guard, os.environ["PROMETHEUS_MULTIPROC_DIR"])
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        sys.stdout.write(exposition(guard)[0].decode() + "# END\\n")
        sys.stdout.flush()
""")


@contextmanager
def worker(folder: Path, *costs: int) -> Iterator[subprocess.Popen[str]]:
    """Start a worker that has shared its figures, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, costs)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(process.pid)
        yield process
        process.kill()


def scrape(process: subprocess.Popen[str]) -> Samples:
    """Ask a worker for its answer to a scrape."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return read("".join(iter(process.stdout.readline, "# END\n")))


def test_each_worker_answers_for_all(tmp_path: Path) -> None:
    """Whichever worker is asked: counters and histograms are sums, gauges are told apart by pid."""
    with worker(tmp_path, 10, 300) as one, worker(tmp_path, 2000) as other:
        first, second = scrape(one), scrape(other)
        pids = {str(one.pid), str(other.pid)}
    name = "memguard_request_memory_cost_bytes"

    for samples in (first, second):
        assert {dict(labels)["pid"] for key, labels in samples if key == "memory_heap_used_bytes"} == pids
        assert {dict(labels).get("pid") for key, labels in samples if key == "process_resident_memory_bytes"} == pids
        assert value(samples, "memguard_requests_total") == 3
        assert value(samples, "memguard_cache_hits_total", cache="prices") == 2
        assert value(samples, f"{name}_bucket", le="256.0", route="GET /") == 1
        assert value(samples, f"{name}_bucket", le="1024.0", route="GET /") == 2
        assert value(samples, f"{name}_bucket", le="+Inf", route="GET /") == 3
        assert value(samples, f"{name}_count", route="GET /") == 3
        assert value(samples, f"{name}_sum", route="GET /") == 2310
    assert {key for key, _ in first} == {name for name in NAMES if "action" not in name and "freed" not in name}


def test_repeated_scrapes_count_nothing_twice(tmp_path: Path) -> None:
    """Totals are written as they are, however often."""
    with worker(tmp_path, 300) as process:
        for _ in range(3):
            samples = scrape(process)

    assert value(samples, "memguard_requests_total") == 1
    assert value(samples, "memguard_request_memory_cost_bytes_count", route="GET /") == 1


def test_dead_worker_uses_no_memory(tmp_path: Path) -> None:
    """The gauges of a worker that died are gone; what it counted stays."""
    with worker(tmp_path, 10) as one:
        with worker(tmp_path, 20) as other:
            before = scrape(one)
        after = scrape(one)

    assert sum(key == "memory_heap_used_bytes" for key, _ in before) == 2
    assert [dict(labels)["pid"] for key, labels in after if key == "memory_heap_used_bytes"] == [str(one.pid)]
    assert value(after, "memguard_requests_total") == 2
    assert other.pid != one.pid


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_worker_has_files_of_its_own(tmp_path: Path) -> None:
    """A worker that is forked after the guard was made shares its own figures, not its parent's again."""
    code = WORKER.partition("print(os.getpid()")[0] + dedent("""
        if os.fork() == 0:
            guard.count_request("GET /", 1)
            share(guard, os.environ["PROMETHEUS_MULTIPROC_DIR"])
            sys.stdout.write(exposition(guard)[0].decode())
            sys.stdout.flush()
            os._exit(0)
        os.wait()
    """)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, "10"],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    samples = read(done.stdout)

    assert len({dict(labels)["pid"] for key, labels in samples if key == "memguard_pressure_level"}) == 2
    assert value(samples, "memguard_requests_total") == 1 + 1  # one before the fork, one after it


def test_missing_folder_is_named(guard: Guard, tmp_path: Path) -> None:
    """A folder that is not there is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=r"PROMETHEUS_MULTIPROC_DIR = '.*gone' is no folder; make it before"):
        metrics.exposition(guard, environ={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "gone")})


def test_folder_that_was_named_too_late(guard: Guard, tmp_path: Path) -> None:
    """Once prometheus_client is imported, it is too late to say that there are several workers."""
    with pytest.raises(ConfigError, match="was set too late; set it before prometheus_client is imported"):
        metrics.exposition(guard, environ={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})


WATCHING = dedent("""
    import sys
    from pytest_memguard.service import watch

    guard = watch(environ={}, limit_bytes="1 GiB", interval_s=3600)
    guard.look()
    guard.count_request("GET /", 10)
    guard.look()
    print(guard._monitor.running, flush=True)
    sys.stdin.readline()
    guard.stop()
""")


def _watching(folder: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", WATCHING], env=environ, text=True, **pipes)


def test_a_guard_shares_at_each_reading(tmp_path: Path) -> None:
    """Whoever is asked knows of a worker that was never asked itself."""
    with _watching(tmp_path) as silent:
        assert silent.stdout is not None
        assert silent.stdout.readline() == "True\n"
        with worker(tmp_path) as asked:
            samples = scrape(asked)
        _, errors = silent.communicate("\n", timeout=20)

    assert errors == ""
    assert value(samples, "memguard_requests_total") == 1
    assert str(silent.pid) in {dict(labels)["pid"] for name, labels in samples if name == "memguard_shedding"}


def test_a_guard_does_not_start_without_its_folder(tmp_path: Path) -> None:
    """A folder that is named and not there stops the service at its start, in one line."""
    with _watching(tmp_path / "gone") as process:
        _, errors = process.communicate("\n", timeout=20)

    assert process.returncode == 1
    assert errors.splitlines()[-1].endswith("gone' is no folder; make it before the service starts")


# What asks for them

#: Strings, ranges, selectors and groupings; then functions, and words of the language.
_NOT_METRICS = (r'"[^"]*"', r"\[[^]]*]|\{[^}]*}|\b(?:by|on) \([^)]*\)", r"\b\w+ *\(|\b(?:and|or|unless|Inf)\b")


def dashboard() -> dict[str, object]:
    """Return the Grafana dashboard."""
    loaded: dict[str, object] = json.loads((DOCS / "grafana" / "memguard-dashboard.json").read_text(encoding="utf-8"))
    return loaded


def queries() -> dict[str, str]:
    """Return every query of the dashboard and of the alert rules, by where it stands."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]  # type: ignore[attr-defined]
        for target in panel.get("targets", ())
    }
    rules = (DOCS / "grafana" / "memguard-alerts.yml").read_text(encoding="utf-8")
    found.update(re.findall(r"- alert: (\w+)\n +expr: (.+)\n", rules))
    assert rules.count("expr:") == rules.count("- alert:") == len(re.findall(r"- alert: \w+\n +expr: .+\n", rules))
    return found


def metrics_in(query: str) -> set[str]:
    """Return the names of metrics in a query."""
    for pattern in _NOT_METRICS:
        query = re.sub(pattern, " ", query)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*", query))


def labels_in(query: str) -> set[str]:
    """Return the names of labels in a query."""
    matched = re.findall(r"[{,] ?(\w+) ?(?:=~|!=|!~|=)", query)
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    return {*matched, *(name.strip() for group in grouped for name in group.split(","))}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of the process figures")
@pytest.mark.parametrize("place", queries())
def test_query_asks_for_what_there_is(place: str, guard: Guard) -> None:
    """Every name in a query is in the exposition, with the labels that the query uses."""
    query = queries()[place]
    samples = read(answer(guard))
    labels = {label for name, pairs in samples for label, _ in pairs if name in metrics_in(query)}

    assert metrics_in(query)
    assert metrics_in(query) - {name for name, _ in samples} == set()
    assert labels_in(query) - labels - FROM_OUTSIDE == set()
    assert all(query.count(opening) == query.count(closing) for opening, closing in ("()", "{}", "[]"))


def test_queries_of_the_test_are_understood() -> None:
    """The reader of queries finds names and labels, and takes neither functions nor strings for them."""
    query = 'sum by (le, route) (rate(some_total{job=~"x y", a="b"}[5m])) and on (job) other < +Inf'

    assert metrics_in(query) == {"some_total", "other"}
    assert labels_in(query) == {"le", "route", "job", "a"}


def test_dashboard_is_one_that_grafana_reads() -> None:
    """Panels have different ids and do not overlap, and every query uses the chosen data source."""
    panels: list[dict[str, dict[str, int]]] = dashboard()["panels"]  # type: ignore[assignment]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len({json.dumps(panel["id"]) for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert set(re.findall(r'"uid": "(.*?)"', json.dumps(panels))) == {"${datasource}"}


def test_every_name_of_ours_is_explained() -> None:
    """The page on Prometheus has a row for each name, and none for what is not there."""
    page = (DOCS / "how-to" / "prometheus.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z_]+)(?:\{[a-z, ]+\})?` \|", page, re.MULTILINE))
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) if "cost" in name else name for name in NAMES}

    assert rows == {name for name in ours if not name.startswith(("process_", "python_"))}


def test_every_alert_is_explained() -> None:
    """The page on Prometheus names each alert."""
    page = (DOCS / "how-to" / "prometheus.md").read_text(encoding="utf-8")
    rules = (DOCS / "grafana" / "memguard-alerts.yml").read_text(encoding="utf-8")

    assert set(re.findall(r"`(Memguard[A-Z]\w+)`", page)) - {"MemguardCollector"} == set(
        re.findall(r"- alert: (\w+)", rules)
    )
