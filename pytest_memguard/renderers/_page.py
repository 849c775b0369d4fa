"""What a page says of the results: the verdict in a sentence, and of each cause how much, how sure, who and where."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING

from pytest_memguard.core.causes import X_UNITS, cheapest, expected_loss, growth_of
from pytest_memguard.core.units import Unit, amount, signed
from pytest_memguard.core.values import Level, Phase
from pytest_memguard.renderers import charts
from pytest_memguard.renderers._comparison import change_counts, run_label
from pytest_memguard.renderers._failure import held_by, limit, repeat, shape_words
from pytest_memguard.renderers._scores import policies
from pytest_memguard.renderers._services import Picture, Rung, plotted
from pytest_memguard.renderers._words import (
    an_hour,
    counted,
    counted_kinds,
    growth_text,
    joined,
    length_text,
    limit_text,
    noun_in_full,
    noun_of,
    nouns_of,
    per,
    rate_of,
    score_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from markupsafe import Markup

    from pytest_memguard.core.values import Cause, Comparison, Finding, Metric, Readings, RetentionPath, SubjectResult
    from pytest_memguard.renderers._services import Drawn

__all__ = ["LEVELS", "Entry", "Sentence", "entry", "sentence", "sentence_of_changes", "verdict_word", "why_quiet"]

LEVELS = {
    Level.LEAK: "leak",
    Level.GROWING: "growing, not decided",
    Level.BOUNDED: "bounded",
    Level.SETTLED: "settled",
    Level.CLEAN: "clean",
    Level.UNMEASURED: "not measured",
    Level.SKIPPED: "skipped",
}
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
_GROWS = (Level.LEAK, Level.GROWING)
#: Metrics of one result that are drawn; all of them stand in the table.
_MOST_CHARTS = 3


# -- the verdict -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sentence:
    """The verdict: ``kind`` for its colour (leak, growing, ok, none), one word, and the sentence."""

    kind: str
    word: str
    text: str


def sentence(results: Sequence[SubjectResult]) -> Sentence:
    """Say in a sentence what became of *results*."""
    checked = [one for one in results if one.verdict.level not in _UNANSWERED]
    leaks = [one for one in results if one.verdict.level is Level.LEAK]
    new = [one for one in leaks if not is_accepted(one)]
    growing = [one for one in results if one.verdict.level is Level.GROWING]
    total = counted_kinds(checked)
    unanswered = [one for one in results if one.verdict.level in _UNANSWERED]
    was = "was" if len(unanswered) == 1 else "were"
    rest = f" {counted_kinds(unanswered)} could not be measured or {was} left out." if unanswered else ""
    if new:
        text = f"{counted_kinds(new, of=checked)} {'keeps' if len(new) == 1 else 'keep'} more memory or resources"
        return Sentence("leak", "Leak", f"{text} with every {_over(new)}.{_worst(new)}{rest}")
    if not checked:
        return Sentence("none", "Nothing checked", f"No verdict was reached.{rest}")
    if growing:
        verb = "grows" if len(growing) == 1 else "grow"
        text = f"{counted_kinds(growing, of=checked)} still {verb}, too little or too unevenly to call it a leak."
        return Sentence("growing", "Not decided", f"{text}{rest}")
    known = f" Accepted for a while: {counted(len(leaks), 'known leak')}." if leaks else ""
    repeated = [one.runs for one in checked if one.x_unit == "run"]
    fewest = f"; each was judged over {counted(min(repeated), 'run')} or more" if len(repeated) == len(checked) else ""
    seen = f"In {total}, nothing that can be counted kept growing{fewest}."
    return Sentence("ok", "No new leak found" if leaks else "No leak found", f"{seen}{known}{rest}")


def sentence_of_changes(comparison: Comparison) -> Sentence:
    """Say in a sentence what became of the later session's leaks."""
    text = f"{change_counts(comparison)}, from {run_label(comparison.before)} to {run_label(comparison.after)}."
    if comparison.of("new") or comparison.of("worse"):
        return Sentence("leak", "New or worse leaks" if comparison.of("new") else "Worse leaks", text)
    if not comparison.decided:
        return Sentence("none", "Not compared", text)
    return Sentence("ok", "No new leak", text)


def _worst(leaks: Sequence[SubjectResult]) -> str:
    worst = max(leaks, key=expected_loss)
    rates = growth_of(worst)
    grown = joined([growth_text(metric, rate) for metric, rate in rates])
    hour = an_hour(rates, worst.x_unit)
    return f" The dearest, {worst.id}, gains {grown} {per(worst.x_unit)}{hour}." if grown else ""


def _over(results: Sequence[SubjectResult]) -> str:
    return " or ".join(unit for unit in X_UNITS if unit in {one.x_unit for one in results})


def is_accepted(result: SubjectResult) -> bool:
    """Whether all that grows is known and accepted for a while."""
    return bool(result.findings) and all(finding.status == "known" for finding in result.findings)


def verdict_word(result: SubjectResult) -> str:
    """Return the verdict in a word."""
    return "accepted" if is_accepted(result) and result.verdict.level is Level.LEAK else result.verdict.level.value


def why_quiet(result: SubjectResult) -> str:
    """Say why growth that was seen is no leak, and who it was."""
    holder = result.holder
    if holder.kind == "bounded" and holder.name:
        return f"{result.verdict.reason}: {holder.name}, {limit_text(holder.limit)}"
    return result.verdict.reason


# -- one cause -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was made: how much of it stays, its line, and the calls that led there."""

    where: str
    kept: str
    source: str
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """One hop of a retention path."""

    name: str
    kind: str
    type: str
    grows: str
    suspect: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One cause, as the template shows it; in detail the one of its results that is measured again fastest.

    Attributes:
        members: Identities of the results, for the links from the table of all.

    """

    key: str
    members: tuple[int, ...]
    level: str
    verdict: str
    score: str
    title: str
    fingerprint: str
    grown: str
    loss: str
    example: str
    names: tuple[str, ...]
    nouns: str
    kind: str
    each: str
    over: str
    amounts: tuple[tuple[str, str, str, str, str, str], ...]
    resources: tuple[str, ...]
    held: tuple[str, ...]
    pictures: tuple[Picture, ...]
    plotted: Markup
    columns: tuple[str, ...]
    rungs: tuple[Rung, ...]
    gainers: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]
    reason: str
    policies: tuple[tuple[str, str, str, bool], ...]
    paths: tuple[tuple[tuple[Link, ...], tuple[str, ...]], ...]
    places: tuple[Place, ...]
    types: tuple[tuple[str, str, str], ...]
    limit: str
    advice: tuple[str, ...]
    notes: tuple[str, ...]
    command: str


def entry(
    key: str,
    cause: Cause | None,
    group: Sequence[SubjectResult],
    earlier: Sequence[SubjectResult] = (),
    watched: Callable[[str, SubjectResult], Drawn] | None = None,
) -> Entry:
    """
    Return what there is to say of one cause.

    Args:
        key: Id of its place in the page.
        cause: None for a result that grows and has none.
        group: Its results, one at least.
        earlier: Results of the session before that have the same cause.
        watched: Draws what was watched over time, by its place in the page.

    """
    example = cheapest(group)
    # The same test is what can be compared; another one of the cause is better than none.
    before = min(earlier, key=lambda one: (one.id != example.id, one.id), default=None)
    surest = max(group, key=lambda one: (one.verdict.level is Level.LEAK, not is_accepted(one), one.verdict.score))
    findings = [one for one in example.findings if cause is None or one.fingerprint == cause.fingerprint]
    rates = cause.growth if cause else growth_of(example)
    x_unit = cause.x_unit if cause else example.x_unit
    moved = _moved(_read([one.metric for one in findings], example), example)
    seen = watched(key, example) if watched and example.timeline else _drawn(key, example, findings, before)
    pictures, numbers, columns, rungs = seen
    return Entry(
        key=key,
        members=tuple(map(id, group)),
        level=surest.verdict.level.value,
        verdict=verdict_word(surest),
        score=score_text(surest),
        title=(cause.text if cause else "") or example.id,
        fingerprint=cause.fingerprint if cause else "",
        grown=_grown(rates, x_unit),
        loss=amount(cause.loss_bytes if cause else expected_loss(example), Unit.BYTE),
        example=example.id,
        names=tuple(dict.fromkeys(one.id for one in group)),
        nouns=nouns_of(group),
        kind=nouns_of([example], many=False),
        each=per(x_unit),
        over="" if example.x_unit == "run" else length_text(example),
        amounts=tuple(_amount(one, example) for one in findings),
        resources=tuple(dict.fromkeys(name for one in findings for name in one.names)),
        held=tuple(held_by(example)),
        pictures=pictures,
        plotted=numbers,
        columns=columns,
        rungs=rungs,
        gainers=tuple(noun_in_full(metric) for metric in moved),
        steps=tuple(_steps(example, moved)),
        reason=_reason(example),
        policies=tuple(policies(example)),
        paths=tuple(
            _path(path, per(example.x_unit)) for path in dict.fromkeys(path for one in findings for path in one.paths)
        ),
        places=tuple(_places(findings, per(example.x_unit))),
        types=tuple(_types(findings)),
        limit=limit(example),
        advice=tuple(dict.fromkeys(one.advice for one in findings if one.advice)),
        notes=() if watched and example.timeline else example.notes,  # they stand with the service
        command="\n".join(repeat(example, columns=100)),
    )


def _grown(rates: Sequence[tuple[Metric, float]], x_unit: str) -> str:
    if not rates:
        return ""
    return f"{joined([growth_text(*one) for one in rates], len(rates))} {per(x_unit)}{an_hour(rates, x_unit)}"


def _drawn(key: str, example: SubjectResult, findings: Sequence[Finding], before: SubjectResult | None) -> Drawn:
    """Return the charts of what was repeated, their numbers for the script, and the table of the same numbers."""
    metrics = _read([one.metric for one in findings], example)
    shown = charts.positions(example.readings, metrics[0]) if example.readings and metrics else []
    found = [(one, chart) for one in findings if (chart := charts.chart_of(one, example, shown, before))][:_MOST_CHARTS]
    return (
        tuple(_picture(key, number, *one, metrics) for number, one in enumerate(found)),
        plotted([chart for _, chart in found], found[0][1].x if found else ()),
        tuple(noun_in_full(metric) for metric in metrics),
        tuple(_rungs(example.readings, metrics, shown)) if example.readings else (),
    )


def _amount(finding: Finding, result: SubjectResult) -> tuple[str, str, str, str, str, str]:
    """Return metric, growth a run, its interval, the total, how it was read, and its shape."""
    unit, slope = finding.metric.unit, finding.trend.slope
    if not (isfinite(slope.low) and isfinite(slope.high)):
        interval = "not known"
    elif slope.low == slope.high:
        interval = "exactly"
    else:
        level = amount(round(slope.level * 100, 1), Unit.COUNT)
        interval = f"{amount(slope.low, unit)} to {amount(slope.high, unit)} ({level} %)"
    read = "counted" if finding.metric.exact else "sampled"
    grown = signed(rate_of(finding, result), unit)
    shape = shape_words(finding, result.x_unit)
    return noun_in_full(finding.metric), grown, interval, signed(finding.total, unit), read, shape


def _reason(result: SubjectResult) -> str:
    ended = f" It ended early: {result.stopped}." if result.stopped else ""
    return f"{result.verdict.level.value}, {score_text(result)} of 100: {result.verdict.reason}.{ended}"


# -- readings --------------------------------------------------------------------------------------------------------


def _read(metrics: Sequence[Metric], result: SubjectResult) -> list[Metric]:
    """Return those of *metrics* that were read, each once."""
    return [one for one in dict.fromkeys(metrics) if result.readings is not None and one in result.readings.metrics]


def _moved(metrics: Sequence[Metric], result: SubjectResult) -> list[Metric]:
    """Return *metrics*, then what else did not stand still."""
    if result.readings is None:
        return []
    others = [one for one in result.readings.metrics if one not in metrics]
    return [*metrics, *(one for one in others if len(set(result.readings.column(one))) > 1)]


def _rungs(readings: Readings, metrics: Sequence[Metric], shown: Sequence[int]) -> Iterator[Rung]:
    columns = [charts.growth_since(readings, metric) for metric in metrics]
    for phase, same in groupby(shown, key=readings.phases.__getitem__):
        rows = [
            (
                amount(readings.runs[at], Unit.COUNT),
                *(_cell(one[at], metric) for one, metric in zip(columns, metrics, strict=True)),
            )
            for at in same
        ]
        yield Rung(phase.value, tuple(rows))


def _cell(reading: tuple[Phase, int, int], metric: Metric) -> str:
    return signed(reading[2], metric.unit)


def _steps(result: SubjectResult, metrics: Sequence[Metric]) -> Iterator[tuple[str, ...]]:
    """Yield of each phase its runs, and what each metric gained in it."""
    readings = result.readings
    for phase in dict.fromkeys(readings.phases) if readings else ():
        runs = readings.runs_of(phase) if readings else ()
        columns = [(metric, readings.column(metric, phase)) for metric in metrics] if readings else []
        gained = [signed(values[-1] - values[0], metric.unit) if values else "-" for metric, values in columns]
        yield phase.value, counted(runs[-1] - runs[0], "run"), *gained


def _picture(key: str, number: int, finding: Finding, chart: charts.Chart, metrics: Sequence[Metric]) -> Picture:
    last, unit = chart.y[-1], chart.metric.unit
    about = f"{signed(last, unit)} {noun_of(chart.metric)} over {counted(int(chart.x[-1] - chart.x[0]), 'run')}; "
    slope = finding.trend.slope
    accepted = f"{amount(chart.allowed, unit)} a run" if chart.allowed else "none"
    about += f"fitted {signed(slope.point, unit)} a run, accepted {accepted}; {shape_words(finding)}"
    drawn = charts.svg(chart, f"{key}-g{number}", about)
    return Picture(
        drawn, about, tuple(charts.legend(chart)), metrics.index(chart.metric) if chart.metric in metrics else -1
    )


# -- who and where ---------------------------------------------------------------------------------------------------


def _path(path: RetentionPath, each: str) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    """Return the hops, and the text of the path line by line."""
    hops = tuple(
        Link(
            hop.name,
            hop.kind,
            hop.type,
            f"{signed(hop.grows_per_run, Unit.COUNT)} {each}" if hop.grows_per_run else "",
            hop.suspect,
        )
        for hop in path.hops
    )
    return hops, tuple(path.text.splitlines())


def _places(findings: Sequence[Finding], each: str) -> Iterator[Place]:
    for site in dict.fromkeys(site for finding in findings for site in finding.sites):
        parts = [f"{signed(site.bytes_per_run, Unit.BYTE)}"] if site.bytes_per_run else []
        number = signed(site.blocks_per_run, Unit.COUNT)
        noun = "block" if site.bytes_per_run else "of it"
        parts += [f"{number} {noun}{'s' if noun == 'block' and number != '+1' else ''}"] if site.blocks_per_run else []
        where = f"{site.file}:{amount(site.line, Unit.COUNT)} {site.function}"
        yield Place(where, f"{', '.join(parts) or '0'} {each}", site.source, site.traceback)


def _types(findings: Sequence[Finding]) -> Iterator[tuple[str, str, str]]:
    for one in dict.fromkeys(grown for finding in findings for grown in finding.types):
        yield one.type, signed(one.count_per_run, Unit.COUNT), signed(one.bytes_per_run, Unit.BYTE)
