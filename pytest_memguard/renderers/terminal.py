"""
Results as text for a terminal: a failing test, the end of the session, one line in between.

Nothing is coloured, and whatever comes from outside goes through ``plain``.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_memguard.core.causes import causes, cheapest, expected_loss, growth_of
from pytest_memguard.core.compare import ACCEPTED
from pytest_memguard.core.units import Unit, amount, duration
from pytest_memguard.core.values import METRICS, Level
from pytest_memguard.renderers._comparison import change_counts, comparison, run_label
from pytest_memguard.renderers._failure import failure, repeat, short
from pytest_memguard.renderers._words import (
    LONGEST_NOUN,
    MOST_PARTS,
    aligned,
    columns_of,
    counted,
    counted_kinds,
    growth_text,
    joined,
    limit_text,
    noun_in_full,
    per,
    plain,
    score_text,
    short_name,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Cause, Control, Metric, Phase, RunResult, SubjectResult

__all__ = ["change_counts", "comparison", "counted", "failure", "plain", "run_label", "short", "status", "summary"]

_MOST_LEAKS = 20
_MOST_BOUNDED = 10
_MOST_REASONS = 5
_NO_WIDTH = 10_000
#: A cause is told once, in place of its results, from so many results on.
_LEAST_FOLDED = 2

_CHECKED = (Level.LEAK, Level.GROWING, Level.BOUNDED, Level.SETTLED, Level.CLEAN)
_NOT_CHECKED = (Level.UNMEASURED, Level.SKIPPED)


# -- the end of the session ------------------------------------------------------------------------------------------


def summary(result: RunResult, *, verbosity: int = 0, width: int = 80) -> str:
    """
    Return the section at the end of a session.

    Args:
        result: The whole session.
        verbosity: Below 0 the counts and the leaks only, and nothing where nothing was checked; from 1 on what
            settled, is bounded, could not be measured or shares a cause in full, names not shortened.
        width: Columns of the terminal.

    Returns:
        Lines without a trailing newline; empty where there is no result at all.

    """
    results = result.results
    if not results or (verbosity < 0 and not any(one.verdict.level in _CHECKED for one in results)):
        return ""
    if verbosity < 0:
        return "\n".join([_counts(results), *_losses(results, (Level.LEAK,), width, verbosity)])
    in_full = verbosity >= 1
    room = _NO_WIDTH if in_full else width
    lines = [_counts(results), *_losses(results, (Level.LEAK, Level.GROWING), width, verbosity)]
    lines += _bounded(results, _NO_WIDTH if in_full else _MOST_BOUNDED, room)
    lines += _settled(results) if in_full else []
    lines += _unmeasured(results, room, in_full=in_full)
    return "\n".join([*lines, *_overhead(result), *_control(result.control, width)])


def _of(results: Iterable[SubjectResult], level: Level) -> list[SubjectResult]:
    return [result for result in results if result.verdict.level is level]


def _counts(results: Sequence[SubjectResult]) -> str:
    checked = [result for result in results if result.verdict.level in _CHECKED]
    nothing = "no test" if all(result.kind == "test" for result in results) else "nothing"
    total = counted_kinds(checked) if checked else nothing
    found, left = _words(results, _CHECKED), _words(results, _NOT_CHECKED)
    return f"memguard: {total} checked" + (f": {found}" if found else "") + (f"; {left}" if left else "")


def _words(results: Sequence[SubjectResult], levels: Iterable[Level]) -> str:
    numbers = {level: len(_of(results, level)) for level in levels}
    return ", ".join(f"{amount(number, Unit.COUNT)} {level.value}" for level, number in numbers.items() if number)


@dataclass(frozen=True, slots=True)
class _Loss:
    """A leak, or a cause in place of all its leaks, as it stands in the summary."""

    bytes: float
    verdict: str
    compact: str
    number: str
    name: str
    below: tuple[str, ...] = ()


def _losses(results: Sequence[SubjectResult], levels: Sequence[Level], width: int, verbosity: int) -> list[str]:
    """Return one line a leak or a cause of several, the dearest first."""
    grown = [result for result in results if result.verdict.level in levels]
    found = sorted(_folded(grown, width, verbosity), key=lambda loss: (-loss.bytes, loss.name))
    shown = found[:_MOST_LEAKS]
    lines = aligned((one.verdict, shortened(one.compact, width // 2 - 4), one.number) for one in shown)
    named = [
        text
        for one, line in zip(shown, lines, strict=True)
        for text in (f"  {line}  {_named(one.name, width - 4 - columns_of(line))}", *one.below)
    ]
    return [*named, *_rest(len(found), _MOST_LEAKS)]


def _folded(grown: Sequence[SubjectResult], width: int, verbosity: int) -> Iterator[_Loss]:
    """Yield the causes that several of these results have, then the results that have others as well, or none."""
    several = {cause.fingerprint: cause for cause in causes(grown) if len(cause.results) >= _LEAST_FOLDED}
    for cause in several.values():
        group = [one for one in grown if any(finding.fingerprint == cause.fingerprint for finding in one.findings)]
        yield _loss_of_several(cause, group, width, verbosity)
    for result in grown:
        names = {finding.fingerprint for finding in result.findings} - {""}
        if not names or names - set(several):
            yield _Loss(expected_loss(result), _verdict(result), _compact(result), _runs(result), result.id)


def _loss_of_several(cause: Cause, group: Sequence[SubjectResult], width: int, verbosity: int) -> _Loss:
    surest = max(group, key=lambda one: (one.verdict.level is Level.LEAK, one.verdict.score))
    return _Loss(
        cause.loss_bytes,
        _verdict(surest),
        _compact_growth(cause.growth, cause.x_unit),
        counted_kinds(group),
        cause.text,
        tuple(_below(cause, group, width, verbosity)),
    )


def _below(cause: Cause, group: Sequence[SubjectResult], width: int, verbosity: int) -> Iterator[str]:
    """Yield what stands below a cause: how to repeat it, and all of its results where that is asked for."""
    label, again = "    repeat  ", cheapest(group)
    if verbosity >= 0 and again.kind != "callable":
        for at, line in enumerate(repeat(again, columns=width - len(label))):
            yield (" " * len(label) if at else label) + shortened(line, width - len(label))
    if verbosity >= 1:
        yield from (f"    {plain(name)}" for name in cause.results)


def _verdict(result: SubjectResult) -> str:
    if result.findings and all(finding.status == "known" for finding in result.findings):
        return "accepted" if any(note.startswith(ACCEPTED) for note in result.notes) else "known"
    return f"{result.verdict.level.value} {score_text(result)}"


def _compact(result: SubjectResult) -> str:
    """Return the amount a run in few words, or the reason where no metric was followed."""
    growth = growth_of(result)
    return _compact_growth(growth, result.x_unit) if growth else plain(result.verdict.reason)


def _compact_growth(growth: Iterable[tuple[Metric, float]], x_unit: str) -> str:
    """Return growth in few words: counts with their nouns, then one size."""
    rates = list(growth)
    counts = [growth_text(metric, rate) for metric, rate in rates if metric.unit is not Unit.BYTE]
    sizes = [(metric, rate) for metric, rate in rates if metric.unit is Unit.BYTE]
    if not sizes:
        return f"{joined(counts)} {per(x_unit)}"
    metric, rate = max(sizes, key=lambda one: one[1])
    size = amount(rate, Unit.BYTE) if counts else growth_text(metric, rate)
    before = MOST_PARTS - 1
    return f"{joined([*counts[:before], size, *counts[before:]])} {per(x_unit)}"


def _runs(result: SubjectResult) -> str:
    return duration(result.duration_s) if result.x_unit == "second" else counted(result.runs, result.x_unit)


def _named(name: str, most: int) -> str:
    """Return a name from outside, shortened to *most* columns; never to less than can be recognised."""
    return short_name(name, max(16, most))


def _rest(total: int, shown: int, noun: str = "") -> list[str]:
    return [f"  ... and {amount(total - shown, Unit.COUNT)} more{noun}"] if total > shown else []


def _pair(result: SubjectResult, why: str, width: int) -> str:
    """Return an id and what there is to say about it; each may take what the other leaves, and half at least."""
    room = width - 4
    why = shortened(why, max(room // 2, room - columns_of(plain(result.id))))
    return f"  {_named(result.id, room - columns_of(why))}: {why}"


def _bounded(results: Sequence[SubjectResult], most: int, width: int) -> list[str]:
    found = _of(results, Level.BOUNDED)
    lines = [_pair(result, _bound(result), width) for result in found[:most]]
    return ["bounded:", *lines, *_rest(len(found), most)] if found else []


def _bound(result: SubjectResult) -> str:
    holder = result.holder
    if holder.kind == "bounded" and holder.name:
        return f"{plain(holder.name)}, {limit_text(holder.limit)}"
    return plain(result.verdict.reason)


def _settled(results: Sequence[SubjectResult]) -> list[str]:
    found = _of(results, Level.SETTLED)
    return ["settled:", *(_pair(one, plain(one.verdict.reason), _NO_WIDTH) for one in found)] if found else []


def _unmeasured(results: Sequence[SubjectResult], width: int, *, in_full: bool) -> list[str]:
    groups: dict[str, list[SubjectResult]] = {}
    for result in _of(results, Level.UNMEASURED):
        groups.setdefault(plain(result.verdict.reason), []).append(result)
    most = len(groups) if in_full else _MOST_REASONS
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:most]
    lines = [line for reason, group in largest for line in _reason(reason, group, width, in_full=in_full)]
    rest = _rest(len(groups), most, " reasons")
    return ["not measured:", *lines, *rest] if groups else []


def _reason(reason: str, group: Sequence[SubjectResult], width: int, *, in_full: bool) -> list[str]:
    if len(group) == 1:
        return [_pair(group[0], reason, width)]
    line = shortened(f"  {counted_kinds(group)}: {reason}", width)
    return [line, *(f"    {plain(one.id)}" for one in group)] if in_full else [line]


def _overhead(result: RunResult) -> list[str]:
    if not result.repeat_s:
        return []
    line = f"repeats took {duration(result.repeat_s)}"
    if not result.plain_s:
        return [line]
    return [f"{line}, {amount(round(result.repeat_s / result.plain_s, 1), Unit.COUNT)} x the plain run"]


def _control(control: Mapping[str, Control], width: int) -> list[str]:
    moves = [_move(name, seen) for name, seen in control.items() if seen.noisy or seen.per_run > 0]
    if not moves:
        return []
    return textwrap.wrap(f"while an empty test ran: {', '.join(moves)}", width, subsequent_indent="  ")


def _move(name: str, seen: Control) -> str:
    metric = METRICS.get(name)
    noun, unit = (noun_in_full(metric), metric.unit) if metric else (short_name(name, LONGEST_NOUN), Unit.COUNT)
    if seen.noisy:
        return f"{noun} moved by up to {amount(seen.largest_step, unit)}"
    return f"{noun} grew by {amount(seen.per_run, unit)} a run"


# -- while a test is measured ----------------------------------------------------------------------------------------


def status(test_id: str, runs: int, phase: Phase, *, width: int = 79) -> str:
    """Return the one line that is shown while a test is measured for long, its name shortened to fit *width*."""
    before, after = "memguard: ", f": {phase.value}, run {amount(runs, Unit.COUNT)}"
    room = max(8, width - len(before) - len(after))
    return f"{before}{short_name(test_id, room)}{after}"[:width]
