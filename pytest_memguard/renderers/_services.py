"""What a page says of a service or a process: its limits, its load, its processes, and all that was read, over time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_memguard.core.causes import reproducer
from pytest_memguard.core.units import Unit, amount, digits_between, duration, parse_size, signed
from pytest_memguard.core.values import METRICS, Level
from pytest_memguard.errors import ConfigError
from pytest_memguard.renderers import charts, timelines
from pytest_memguard.renderers._words import counted, growth_text, joined, noun_in_full, nouns_of, per, score_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_memguard.core.values import RunResult, SubjectResult

__all__ = ["DEMO", "Drawn", "Picture", "Rung", "Service", "Told", "drawn", "is_demo", "plotted", "service", "told_of"]

DEMO = "These leaks are there on purpose: this is memguard's demo, and nothing of yours was measured."
_SIZES = ("growth", "rss", "uss", "rss_growth")
_LIMIT = re.compile(r"\s*(?P<name>[a-z_]+(\([^)]*\))?)\s*[<>]=?\s*(?P<value>\S.*?)\s*", re.ASCII)
#: No setting that is told here comes near it, but a document may hold an integer of 400 digits.
_LARGEST = 1e18
#: All results of a document together are drawn at so many times; each at so many at least.
_MOST_OF_ALL, _FEWEST = 16_000, 100


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart: drawn, in words, and what its lines mean; *column* of the table has its numbers."""

    drawn: Markup
    about: str
    legend: tuple[tuple[str, str], ...]
    column: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class Rung:
    """One phase in the table of readings: its name, and for each reading where it was made and what each metric was."""

    name: str
    rows: tuple[tuple[str, ...], ...]


#: Charts, their numbers for the script, the heads of the table of the same numbers, and its rows.
Drawn = tuple[tuple[Picture, ...], Markup, tuple[str, ...], tuple[Rung, ...]]


@dataclass(frozen=True, slots=True)
class Told:
    """
    What the settings of a session tell of one of its services.

    Attributes:
        limits: Text of each limit, whether it was kept, and what was measured.
        load: Label and value.
        routes: Name, requests, failed ones and latencies of each.
        processes: Title and number, what is said of it, its growth and why.

    """

    command: str = ""
    phases: timelines.Phases = ()
    limits: tuple[tuple[str, str, str], ...] = ()
    lines: tuple[tuple[str, float], ...] = ()
    load: tuple[tuple[str, str], ...] = ()
    processes: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One service or process, as the template shows it."""

    key: str
    kind: str
    level: str
    verdict: str
    score: str
    id: str
    reason: str
    entry: str
    told: Told
    pictures: tuple[Picture, ...]
    plotted: Markup
    columns: tuple[str, ...]
    rungs: tuple[Rung, ...]
    thinned: str
    notes: tuple[str, ...]
    command: str


def service(key: str, result: SubjectResult, told: Told, entry: str, most: int) -> Service:
    """Return what there is to show of one service or process; *entry* is the id of its cause, *most* as ``most_of``."""
    times = timelines.shown_times(result.timeline, most)
    pictures = list(timelines.charts_of(result, times, told.phases, dict(told.lines)))
    metrics = [chart.metric for chart in pictures]
    read = max((len(series.x) for series in result.timeline), default=0)
    thinned = f"{counted(len(times), 'reading')} of {amount(read, Unit.COUNT)}, with every highest and lowest"
    return Service(
        key=key,
        kind=nouns_of([result], many=False),
        level=result.verdict.level.value,
        verdict="not decided" if result.verdict.level is Level.UNMEASURED else result.verdict.level.value,
        score=score_text(result),
        id=result.id,
        reason=result.verdict.reason,
        entry=entry,
        told=told,
        pictures=tuple(_picture(key, number, chart, number) for number, chart in enumerate(pictures)),
        plotted=plotted(pictures, times),
        columns=tuple(map(noun_in_full, metrics)),
        rungs=tuple(Rung(*rung) for rung in timelines.rows(result, times, told.phases, metrics)),
        thinned=thinned if len(times) < read else "",
        notes=result.notes,
        command=reproducer(result),
    )


def most_of(number: int) -> int:
    """Return at how many times each of *number* results may be drawn, so that a page stays small."""
    return max(_FEWEST, min(timelines.MOST_TIMES, _MOST_OF_ALL // max(1, number)))


def drawn(key: str, result: SubjectResult, told: Told, most: int) -> Drawn:
    """Return the charts of what grows, their numbers for the script, and the table of the same numbers."""
    times = timelines.since_load(timelines.shown_times(result.timeline, most), told.phases)
    metrics = list(dict.fromkeys(finding.metric for finding in result.findings))
    pictures = list(timelines.charts_of(result, times, told.phases, dict(told.lines), metrics))
    columns = [chart.metric for chart in pictures]
    return (
        tuple(_picture(key, number, chart, number) for number, chart in enumerate(pictures)),
        plotted(pictures, times),
        tuple(map(noun_in_full, columns)),
        tuple(Rung(*rung) for rung in timelines.rows(result, times, told.phases, columns)) if columns else (),
    )


def plotted(pictures: Sequence[charts.Chart], x: Sequence[float]) -> Markup:
    """Return the numbers of the charts as JSON that ends no element."""
    if not pictures:
        return Markup()
    rungs = [list(rung) for rung in pictures[0].rungs]
    numbers = {"x": list(x), "rungs": rungs, "charts": [chart.plotted(x) for chart in pictures]}
    text = json.dumps(numbers, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))  # noqa: S704 - escaped for where it stands


def _picture(key: str, number: int, chart: charts.Chart, column: int) -> Picture:
    unit = chart.metric.unit
    digits = digits_between(min(chart.y), max(chart.y))
    first, high, last = (amount(one, unit, digits=digits) for one in (chart.y[0], max(chart.y), chart.y[-1]))
    about = f"{first} at first, {high} at most, {last} in the end"
    if chart.line:
        slope = chart.line.slope
        about += f"; fitted {signed(slope.point, unit)} a second"
        about += f" ({amount(slope.low, unit)} to {amount(slope.high, unit)})"
    picture = charts.svg(chart, f"{key}-g{number}", about)
    return Picture(picture, about, tuple(charts.legend(chart)), column, noun_in_full(chart.metric))


# -- what the settings tell ------------------------------------------------------------------------------------------


def told_of(result: SubjectResult, run: RunResult) -> Told:
    """Return what the settings of *run* tell of *result*; whatever a document holds there does no harm."""
    found = _section(result, run)
    services = [one for one in _list(found, "services") if isinstance(one, Mapping)]
    return Told(
        command="\n".join(" ".join(map(str, _list(one, "command"))) for one in services),
        phases=tuple(_phases(found)),
        limits=tuple(_limits(found)),
        lines=tuple(_lines(found)),
        load=tuple(_load(found.get("load"))),
        processes=tuple(_processes(found, result)),
    )


def is_demo(run: RunResult) -> bool:
    """Whether a session is that of ``memguard demo``, which leaks on purpose."""
    scenarios = run.settings.get("scenarios")
    if not isinstance(scenarios, Mapping) or not scenarios:
        return False
    commands = [
        [str(part) for part in _list(one, "command")]
        for scenario in scenarios.values()
        if isinstance(scenario, Mapping)
        for one in _list(scenario, "services")
        if isinstance(one, Mapping)
    ]
    return bool(commands) and all("serve" in one and {"--leak", "--fixed"} & set(one) for one in commands)


def _section(result: SubjectResult, run: RunResult) -> Mapping[str, Any]:
    several = run.settings.get("scenarios")
    own = several.get(result.id) if isinstance(several, Mapping) else run.settings.get("scenario")
    if result.kind != "scenario" or not isinstance(own, Mapping) or own.get("name") != result.id:
        return {}
    return own


def _list(section: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = section.get(key)
    return value if isinstance(value, list | tuple) else ()


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) >= _LARGEST:
        return None
    return float(value)


def _phases(section: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    for one in _list(section, "phases"):
        begin, end = (
            (_number(one.get(key)) for key in ("begin_s", "end_s")) if isinstance(one, Mapping) else (None, None)
        )
        if begin is not None and end is not None:
            yield str(one.get("name", "")), begin, end


def _limits(section: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for one in _list(section, "limits"):
        if isinstance(one, Mapping):
            text = str(one.get("limit", ""))
            yield text, "kept" if one.get("kept") else "not kept", _measured(text, _number(one.get("measured")))


def _measured(text: str, value: float | None) -> str:
    found = _LIMIT.fullmatch(text)
    name = found["name"] if found else ""
    if value is None:
        return "not measured"
    if name.startswith("p("):
        return duration(value)
    if name == "errors":
        return f"{amount(round(100 * value, 2), Unit.COUNT)} %"
    size = amount(value, Unit.BYTE if name in _SIZES else Unit.COUNT)
    return size + {"growth": " a request", "blocks": " a request", "rate": " a second"}.get(name, "")


def _lines(section: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the limits that can be drawn: of what a metric may be at most."""
    for one in _list(section, "limits"):
        found = _LIMIT.fullmatch(str(one.get("limit", ""))) if isinstance(one, Mapping) else None
        if found and found["name"] in ("rss", "uss"):
            try:
                yield found["name"], float(parse_size(found["value"]))
            except ConfigError:  # a document may hold what no scenario could
                continue


def _load(load: object) -> Iterator[tuple[str, str]]:
    """Yield label and value of what was measured of the load."""
    if not isinstance(load, Mapping):
        return
    counts = [(label, _number(load.get(key))) for label, key in (("answered", "completed"), ("not sent", "unsent"))]
    yield from (
        (label, amount(number, Unit.COUNT))
        for label, number in counts
        if number or (label == "answered" and number is not None)
    )
    throughput = _number(load.get("throughput"))
    if throughput is not None:
        yield "a second", amount(round(throughput, 1), Unit.COUNT)
    errors = load.get("errors")
    if isinstance(errors, Mapping):
        kinds = [f"{key} {amount(number, Unit.COUNT)}" for key, value in errors.items() if (number := _number(value))]
        yield "failed", joined(kinds, 8) or "0"
    percentiles = load.get("percentiles_s")
    if isinstance(percentiles, Mapping):
        yield from (
            (f"latency {key}", duration(number))
            for key, value in percentiles.items()
            if (number := _number(value)) is not None
        )


def _processes(section: Mapping[str, Any], result: SubjectResult) -> Iterator[tuple[str, str, str, str]]:
    for one in _list(section, "processes"):
        if isinstance(one, Mapping):
            rates = one.get("per_request")
            grown = [
                growth_text(METRICS[name], number)
                for name, value in (rates.items() if isinstance(rates, Mapping) else ())
                if name in METRICS and (number := _number(value)) is not None
            ]
            text = f"{joined(grown)} {per(result.x_unit)}" if grown else ""
            title = f"{one.get('title', '')} ({one.get('pid', '')})"
            yield title, str(one.get("says", "")), text, str(one.get("reason", ""))
