"""
Results as one page: the verdict, each cause with its chart and its proof, every test, and the documents themselves.

The page is one file that asks nothing of anyone: style, script and charts are in it, by hash, and with scripts off it
is complete. The same results give the same bytes.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_memguard.core import document
from pytest_memguard.core.causes import causes, expected_loss, growth_of
from pytest_memguard.core.units import Unit, amount, duration
from pytest_memguard.core.values import METRICS, Level
from pytest_memguard.renderers import _footprint, _page, _services
from pytest_memguard.renderers._comparison import change_growth, run_label
from pytest_memguard.renderers._templates import asset, page, policy
from pytest_memguard.renderers._words import (
    an_hour,
    counted_kinds,
    growth_text,
    joined,
    noun_in_full,
    nouns_of,
    per,
    score_text,
    short_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Cause, Change, Comparison, RunResult, SubjectResult

__all__ = ["comparison", "pages", "render"]

#: A document larger than this is offered compressed; every command reads both.
_MOST_PLAIN_BYTES = 32 * 1024
_GZIP_LEVEL = 6
_GROWS = (Level.LEAK, Level.GROWING)
_ORDER = (Level.LEAK, Level.GROWING, Level.BOUNDED, Level.SETTLED, Level.CLEAN, Level.UNMEASURED, Level.SKIPPED)
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
#: Causes that the first screen names, and settings that have a place of their own.
_MOST_FIRST = 5
_TOLD_ELSEWHERE = (*_footprint.SETTINGS, "scenario", "scenarios")


def render(result: RunResult) -> str:
    """Return the page of one session."""
    return pages([("", result)])


def pages(runs: Sequence[tuple[str, RunResult]]) -> str:
    """
    Return one page of several sessions, each with its name, as a file has one; an empty name makes one up.

    Args:
        runs: One session at least.

    """
    shown = [_run(number, name, result, {}) for number, (name, result) in enumerate(runs, start=1)]
    return _whole(_page.sentence([one for _, result in runs for one in result.results]), shown)


def comparison(comparison: Comparison) -> str:
    """Return one page of what changed, then both sessions: the later one first, over what the earlier one did."""
    before, after = comparison.before, comparison.after
    earlier: dict[str, list[SubjectResult]] = {}
    for one in before.results:
        for name in dict.fromkeys(finding.fingerprint for finding in one.findings if finding.fingerprint):
            earlier.setdefault(name, []).append(one)
    runs = [
        _run(1, f"after: {run_label(after)}", after, earlier),
        _run(2, f"before: {run_label(before)}", before, {}),
    ]
    changes = tuple(map(_change, comparison.changes))
    return _whole(_page.sentence_of_changes(comparison), runs, changes, comparison.notes)


def _whole(
    sentence: _page.Sentence,
    runs: Sequence[_Run],
    changes: Sequence[tuple[str, ...]] | None = None,
    notes: Sequence[str] = (),
) -> str:
    styles = asset("vendor/uPlot.min.css", "page.css")
    scripts = (asset("vendor/uPlot.iife.min.js"), asset("page.js"))
    return page(
        "page.html",
        policy=policy(scripts=scripts, styles=(styles,)),
        styles=styles,
        scripts=scripts,
        sentence=sentence,
        runs=runs,
        changes=changes,
        notes=notes,
    )


def _change(change: Change) -> tuple[str, ...]:
    """Return kind, growth, cause, fingerprint and tests of a change."""
    return change.kind, change_growth(change), change.text, change.fingerprint, joined(change.results)


# -- one session -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """One session, as the template shows it."""

    key: str
    name: str
    place: str
    sentence: _page.Sentence
    figures: tuple[tuple[str, str], ...]
    entries: tuple[_page.Entry, ...]
    purpose: str
    nouns: str
    total: str
    each: str
    firsts: tuple[tuple[str, ...], ...]
    more: str
    services: tuple[_services.Service, ...]
    footprint: _footprint.Footprint | None
    has_tests: bool
    one: str
    runs: str
    rows: tuple[_Row, ...]
    quiet: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    unmeasured: tuple[tuple[str, str, tuple[str, ...]], ...]
    control: tuple[tuple[str, str, str, str], ...]
    settings: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]
    repeat: str
    file: str
    size: str
    link: Markup


@dataclass(frozen=True, slots=True)
class _Row:
    """One result in the table of all."""

    level: str
    verdict: str
    score: str
    id: str
    entry: str
    growth: str
    loss: str
    runs: str
    spent: str
    why: str


def _run(number: int, name: str, result: RunResult, earlier: Mapping[str, Sequence[SubjectResult]]) -> _Run:
    key = f"r{number}"
    most = _services.most_of(sum(bool(one.timeline) for one in result.results))
    entries = tuple(_entries(result, key, earlier, most))
    homes = {one: entry.key for entry in reversed(entries) for one in entry.members}
    file, size, link = _download(name.partition(":")[0] or f"memguard-{number}", result)
    return _Run(
        key=key,
        name=name or f"run {number}",
        place=_place(result),
        sentence=_page.sentence(result.results),
        figures=tuple(_figures(result)),
        entries=entries,
        purpose=_services.DEMO if _services.is_demo(result) else "",
        nouns=nouns_of(result.results),
        total=counted_kinds(result.results),
        each=_each(result.results),
        firsts=tuple(map(_first_words, entries[:_MOST_FIRST])),
        more=amount(len(entries) - _MOST_FIRST, Unit.COUNT) if len(entries) > _MOST_FIRST else "",
        services=tuple(_watched(result, key, homes, most)),
        footprint=_footprint.footprint_of(result.settings),
        one="Test" if all(one.kind == "test" for one in result.results) else "Subject",
        runs="Runs" if all(one.x_unit == "run" for one in result.results) else "Runs, requests",
        has_tests=any(one.x_unit == "run" for one in result.results) or not result.results,
        rows=tuple(_row(one, homes.get(id(one), "")) for one in _sorted(result.results)),
        quiet=tuple(_quiet(result.results)),
        unmeasured=tuple(_unmeasured(result.results)),
        control=tuple(_control(result)),
        settings=tuple(
            (str(key), _text(value))
            for key, value in sorted(result.settings.items(), key=_first)
            if str(key) not in _TOLD_ELSEWHERE
        ),
        environment=tuple(_environment(result)),
        packages=tuple(_packages(result.environment)),
        repeat="pytest --memguard" if any(one.kind == "test" for one in result.results) else "",
        file=file,
        size=size,
        link=link,
    )


def _first(pair: tuple[Any, Any]) -> str:
    return str(pair[0])


def _place(result: RunResult) -> str:
    found = result.environment
    parts = [_text(found[key]) for key in ("implementation", "python", "platform", "machine") if found.get(key)]
    return ", ".join([" ".join(parts[:2]), *parts[2:], result.started_at][not parts :])


def _figures(result: RunResult) -> Iterator[tuple[str, str]]:
    """Yield what stands first: label and number."""
    numbers = dict(_counts(result.results))
    answered = [one for one in result.results if one.verdict.level not in _UNANSWERED]
    yield "checked", amount(len(answered), Unit.COUNT)
    for level in _ORDER:
        if level in _GROWS or level.value in numbers:
            yield _page.LEVELS[level], numbers.get(level.value, "0")
    found = [one for one in causes(result.results) if one.x_unit == "run"]
    if found:
        yield "expected loss a run of all", amount(sum(one.loss_bytes for one in found), Unit.BYTE)
    if result.repeat_s:
        yield "spent on repeats", duration(result.repeat_s)


def _counts(results: Sequence[SubjectResult]) -> tuple[tuple[str, str], ...]:
    numbers = dict.fromkeys(_ORDER, 0)
    for one in results:
        numbers[one.verdict.level] += 1
    return tuple((level.value, amount(number, Unit.COUNT)) for level, number in numbers.items() if number)


def _sorted(results: Sequence[SubjectResult]) -> list[SubjectResult]:
    """Return the results: worst verdict first, then the dearest; the rest as they ran."""
    rank = {level: at for at, level in enumerate(_ORDER)}
    return sorted(results, key=lambda one: (rank[one.verdict.level], -expected_loss(one) if one.findings else 0.0))


def _row(result: SubjectResult, entry: str) -> _Row:
    growth = [growth_text(metric, rate) for metric, rate in growth_of(result)]
    unit = "" if result.x_unit == "run" else f" {per(result.x_unit)}{an_hour(growth_of(result), result.x_unit)}"
    level = result.verdict.level
    return _Row(
        level=level.value if level in _GROWS else "",
        verdict=_page.verdict_word(result),
        score="" if level in _UNANSWERED else score_text(result),
        id=result.id,
        entry=entry,
        growth=joined(growth) + (unit if growth else ""),
        loss=f"{expected_loss(result):.6g}" if growth else "",
        runs="" if result.x_unit == "second" else amount(result.runs, Unit.COUNT),
        spent=duration(result.duration_s),
        why=""
        if level is Level.CLEAN
        else result.verdict.reason + (f"; it ended early: {result.stopped}" if result.stopped else ""),
    )


# -- causes ----------------------------------------------------------------------------------------------------------


def _entries(
    result: RunResult, key: str, earlier: Mapping[str, Sequence[SubjectResult]], most: int
) -> Iterator[_page.Entry]:
    """Yield the causes, and what grows without one, by expected loss; over what *earlier* results of the cause did."""
    grown = [one for one in result.results if one.verdict.level in _GROWS]
    members: dict[str, dict[int, SubjectResult]] = {}
    for one in grown:
        for finding in one.findings:
            members.setdefault(finding.fingerprint, {})[id(one)] = one
    found: list[tuple[float, str, Cause | None, list[SubjectResult]]] = [
        (-cause.loss_bytes, cause.fingerprint, cause, list(members[cause.fingerprint].values()))
        for cause in causes(grown)
    ]

    def drawn(place: str, one: SubjectResult) -> _services.Drawn:
        return _services.drawn(place, one, _services.told_of(one, result), most)

    alone = [one for one in grown if not any(finding.fingerprint for finding in one.findings)]
    found += [(-expected_loss(one), one.id, None, [one]) for one in alone]
    for number, (_, _, cause, group) in enumerate(sorted(found, key=lambda one: one[:2]), start=1):
        before = earlier.get(cause.fingerprint, ()) if cause else ()
        yield _page.entry(f"{key}-c{number}", cause, group, before, drawn)


def _first_words(entry: _page.Entry) -> tuple[str, ...]:
    """Return what the first screen says of a cause: its place, who has it, how much, who holds it, what to do."""
    names = entry.names[0].rpartition("::")[2] + (f" and {len(entry.names) - 1} more" if len(entry.names) > 1 else "")
    title = "" if entry.title in entry.names else entry.title
    advice = entry.advice[0] if entry.advice else ""
    return entry.key, entry.level, entry.kind, names, entry.grown or entry.reason, title, advice


def _each(results: Sequence[SubjectResult]) -> str:
    """Return what the growth in the table of all is counted over, where that is one for all."""
    units = {one.x_unit for one in results} or {"run"}
    return per(next(iter(units))) if units == {"run"} else ""


# -- services --------------------------------------------------------------------------------------------------------


def _watched(result: RunResult, key: str, homes: Mapping[int, str], most: int) -> Iterator[_services.Service]:
    """Yield what was watched over time, the worst first."""
    found = [one for one in _sorted(result.results) if one.timeline]
    for number, one in enumerate(found, start=1):
        told = _services.told_of(one, result)
        yield _services.service(f"{key}-s{number}", one, told, homes.get(id(one), ""), most)


# -- the rest --------------------------------------------------------------------------------------------------------


def _quiet(results: Sequence[SubjectResult]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield what settled and what is bounded, each with its name and why it is no leak."""
    for level in (Level.BOUNDED, Level.SETTLED):
        found = [one for one in results if one.verdict.level is level]
        if found:
            yield level.value, tuple((one.id, _page.why_quiet(one)) for one in found)


def _unmeasured(results: Sequence[SubjectResult]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield reason, number and names of what has no answer; the most frequent reason first."""
    groups: dict[str, list[SubjectResult]] = {}
    for one in results:
        if one.verdict.level in _UNANSWERED:
            groups.setdefault(one.verdict.reason or one.verdict.level.value, []).append(one)
    for reason, group in sorted(groups.items(), key=lambda group: -len(group[1])):
        yield reason, counted_kinds(group), tuple(one.id for one in group)


def _control(result: RunResult) -> Iterator[tuple[str, str, str, str]]:
    for name, seen in result.control.items():
        metric = METRICS.get(name)
        noun, unit = (noun_in_full(metric), metric.unit) if metric else (short_name(name), Unit.COUNT)
        noisy = "yes" if seen.noisy else "no"
        yield noun, amount(seen.per_run, unit), amount(seen.largest_step, unit), noisy


def _environment(result: RunResult) -> Iterator[tuple[str, str]]:
    yield "started", result.started_at
    yield "took", duration(result.duration_s)
    commit = result.commit or {}
    yield from ((f"commit: {key}", _text(commit[key])) for key in sorted(commit, key=str))
    for key in sorted(result.environment, key=str):
        value = result.environment[key]
        if key == "memory_limit_bytes" and isinstance(value, (int, float)):
            yield "memory limit", amount(value, Unit.BYTE)
        elif key != "packages":
            yield key.replace("_", " "), _text(value)


def _packages(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    packages = environment.get("packages")
    return (
        sorted((str(name), _text(version)) for name, version in packages.items()) if isinstance(packages, dict) else []
    )


def _text(value: object) -> str:
    """Return a value of the document, whatever it is, as text; what is missing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return amount(value, Unit.COUNT)
    return value if isinstance(value, str) else json.dumps(value)


def _download(name: str, result: RunResult) -> tuple[str, str, Markup]:
    """Return file name, size and link of the document itself; a link that holds it works without a script."""
    content = document.dumps(result).encode("ascii")
    stem = short_name(name.removesuffix(".gz").removesuffix(".json"))
    suffix, kind, size = ".json", "application/json", len(content)
    if len(content) > _MOST_PLAIN_BYTES:
        content, suffix, kind = gzip.compress(content, _GZIP_LEVEL, mtime=0), ".json.gz", "application/gzip"
    link = Markup(f"data:{kind};base64,{b64encode(content).decode()}")  # noqa: S704 - letters, digits, + / =
    return stem + suffix, amount(size, Unit.BYTE), link
