"""
Results as text for a terminal: a failing test, the end of the session, one line in between.

Nothing is coloured, and whatever comes from outside goes through ``plain``: a test's id, a path or a socket's name
must not be able to move the cursor.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from math import ceil, isfinite
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width

from pytest_memguard.core.units import Unit, amount, duration, parse_allowance, signed
from pytest_memguard.core.values import METRICS, Level, Phase, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_memguard.core.values import (
        Control,
        Finding,
        Metric,
        Readings,
        RetentionPath,
        RunResult,
        Site,
        SubjectResult,
        TypeGrowth,
    )

__all__ = ["failure", "plain", "short", "status", "summary"]

#: A failing test fits one screen of 24 lines; pytest puts a few columns of its own before each.
_LINES, _COLUMNS = 24, 100
_INDENT = 10
_TEXT = _COLUMNS - _INDENT
#: Names longer than this are shortened in the middle, so that numbers beside them stay in sight.
_LONGEST_NAME = 56
_LONGEST_NOUN = 23
_MOST_PARTS = 3
_MOST_COLUMNS = 4
_MOST_LEAKS = 20
_MOST_BOUNDED = 10
_MOST_REASONS = 5
_NO_WIDTH = 10_000
#: What one more of something is worth in bytes: a small object, and what the kernel keeps for a socket or a thread.
_BLOCK_BYTES, _RESOURCE_BYTES = 64, 64 * 1024

#: Metric -> one of it, many of it, and in full. Those in bytes are called by their short name where room is scarce.
_NOUNS = {
    "blocks": ("block", "blocks", "blocks of Python memory"),
    "gc_objects": ("object", "objects", "Python objects"),
    "container_items": ("item", "items", "items in containers"),
    "fds": ("fd", "fds", "open file descriptors"),
    "threads": ("thread", "threads", "running threads"),
    "children": ("child", "children", "child processes"),
    "tasks": ("task", "tasks", "pending asyncio tasks"),
    "heap": ("heap", "heap", "native heap"),
    "mapped": ("mapped", "mapped", "mapped memory"),
    "rss": ("RSS", "RSS", "resident memory"),
    "uss": ("USS", "USS", "memory of its own"),
    "traced": ("traced", "traced", "traced memory"),
}
_SHAPES = {
    Shape.FLAT: "it stands still",
    Shape.EXACT: "exactly the same amount every run",
    Shape.LINEAR: "in step with the number of runs",
    Shape.LATE: "not evenly, but it does not slow down",
    Shape.SLOWING: "it grows less and less",
    Shape.STEP: "it came in one step",
    Shape.SAWTOOTH: "a part of it is given back from time to time",
}
_CHECKED = (Level.LEAK, Level.GROWING, Level.BOUNDED, Level.SETTLED, Level.CLEAN)
_NOT_CHECKED = (Level.UNMEASURED, Level.SKIPPED)


# -- text from outside -----------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Return *text* on one line, with everything that does not simply print escaped as in a string literal."""
    if text.isprintable():
        return text
    folded = re.sub(r"[\r\n]+\s*|\t", " ", text)
    return "".join(char if char.isprintable() else _escaped(char) for char in folded)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _columns(text: str) -> int:
    """Return how many columns *text* takes: letters of East Asia take two, accents that combine none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)


def _shortened(text: str, most: int) -> str:
    """Return *text*, made to fit *most* columns by leaving out its middle."""
    shortened = text
    for kept in range(most - 3, -1, -1):
        if _columns(shortened) <= most:
            break
        shortened = text[: kept // 2] + "..." + text[len(text) - (kept - kept // 2) :]
    return shortened


def _name(text: str, most: int = _LONGEST_NAME) -> str:
    return _shortened(plain(text), most)


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line a row, the cells of a column under each other."""
    rows = list(rows)
    widths = [max(map(_columns, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{amount(number, Unit.COUNT)} {one if number == 1 else many or one + 's'}"


# -- amounts ---------------------------------------------------------------------------------------------------------


def _rate(finding: Finding, result: SubjectResult) -> float:
    """Return the growth a run: the slope, or the mean where growth comes too rarely for a median of slopes."""
    point = finding.trend.slope.point
    return point if point > 0 else finding.total / max(1, result.runs - 1)


def _noun(metric: Metric, number: str = "") -> str:
    one, many, _ = _NOUNS.get(metric.name, (metric.name.replace("_", " "),) * 3)
    return _name(one if number == "+1" else many, _LONGEST_NOUN)


def _in_full(metric: Metric) -> str:
    return _name(_NOUNS.get(metric.name, (metric.name.replace("_", " "),))[-1], _LONGEST_NOUN)


def _grows(finding: Finding, result: SubjectResult, *, in_full: bool = False) -> str:
    """Return the growth a run with its noun, as in "+7 blocks"; a size's noun may be given in full."""
    metric = finding.metric
    number = signed(_rate(finding, result), metric.unit)
    noun = _in_full(metric) if in_full and metric.unit is Unit.BYTE else _noun(metric, number)
    return f"{number} {noun}"


def _joined(parts: Sequence[str], most: int = _MOST_PARTS) -> str:
    rest = len(parts) - most
    return ", ".join(parts[:most]) + (f" and {amount(rest, Unit.COUNT)} more" if rest > 0 else "")


def _score(result: SubjectResult) -> str:
    return amount(int(result.verdict.score), Unit.COUNT)


# -- a failing test --------------------------------------------------------------------------------------------------


def failure(result: SubjectResult, *, rerun: str = "") -> str:
    """
    Return the text of a failing test: how sure, how much, what, held by whom, where from, what to do about it.

    Args:
        result: A leak, or growth that fails the test as well.
        rerun: The command that repeats it, where ``pytest ID --memguard`` would not.

    Returns:
        At most 24 lines of at most 100 columns, unless there are more than a dozen metrics.

    """
    head = [_shortened(line, _COLUMNS) for line in _head(result)]
    tail = [
        *_labelled("readings", _table(result)),
        *_labelled("repeat", _command(result.id, rerun)),
        *_labelled("accept", _acceptance(result)),
    ]
    middle = _fitted(_sections(result), _LINES - len(head) - len(tail) - 2)
    return "\n".join([*head, "", *middle, *([""] if middle else []), *tail])


def short(result: SubjectResult) -> str:
    """Return one line for pytest's short summary, as in "+7 blocks, +1.1 KiB heap a run (leak 99)"."""
    grown = _joined([_grows(finding, result) for finding in result.findings])
    what = f"{grown} a run" if grown else plain(result.verdict.reason)
    return f"{what} ({result.verdict.level.value} {_score(result)})"


def _head(result: SubjectResult) -> list[str]:
    verdict, findings = result.verdict, result.findings
    policy = "" if verdict.policy == "calibrated" else f" by the policy {plain(verdict.policy)}"
    lines = [f"{verdict.level.value}, {_score(result)} of 100{policy}"]
    if not findings:
        return [*lines, plain(verdict.reason)]
    grown = _joined([_grows(finding, result, in_full=True) for finding in findings])
    lines += [f"{grown} a run, over {_counted(result.runs - 1, 'more run')}", _shape(findings)]
    return [*lines, f"it ended early: {plain(result.stopped)}"] if result.stopped else lines


def _shape(findings: Sequence[Finding]) -> str:
    words = {_noun(finding.metric): _SHAPES[finding.trend.shape] for finding in findings}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{noun}: {word}" for noun, word in words.items())


def _labelled(label: str, lines: Iterable[str]) -> list[str]:
    return [f"{'' if at else label:<{_INDENT}}{_shortened(line, _TEXT)}" for at, line in enumerate(lines)]


def _fitted(sections: Mapping[str, Sequence[str]], room: int) -> list[str]:
    """Return the sections' lines, the longest section cut until all of them fit *room* lines."""
    kept = {label: min(len(lines), room) for label, lines in sections.items()}
    while sum(kept.values()) > room and max(kept.values()) > 1:
        kept[max(kept, key=kept.__getitem__)] -= 1
    return [line for label, lines in sections.items() for line in _labelled(label, _cut(lines, kept[label]))]


def _cut(lines: Sequence[str], most: int) -> list[str]:
    if len(lines) <= max(1, most):
        return list(lines)
    shown = lines[: max(1, most - 1)]
    return [*shown, f"... and {len(lines) - len(shown)} more"] if most > 1 else list(shown)


def _sections(result: SubjectResult) -> dict[str, list[str]]:
    """Return what the explanation found, in the order in which it is read; nothing yet is an empty section."""
    findings = result.findings
    sites = dict.fromkeys(site for finding in findings for site in finding.sites)
    types = dict.fromkeys(growth for finding in findings for growth in finding.types)
    paths = dict.fromkeys(path for finding in findings for path in finding.paths)
    advice = dict.fromkeys(plain(finding.advice) for finding in findings)
    return {
        "grew": _grown(result),
        "held by": _held_by(result),
        "made at": [_site(site) for site in sites],
        "types": [_type(growth) for growth in types],
        "path": [line for path in paths for line in _path(path)],
        "advice": [line for text in advice for line in textwrap.wrap(text, _TEXT)],
    }


def _grown(result: SubjectResult) -> list[str]:
    rows = [
        (
            _in_full(finding.metric),
            f"{signed(_rate(finding, result), finding.metric.unit)} a run",
            f"{signed(finding.total, finding.metric.unit)} in all",
        )
        for finding in result.findings
    ]
    return [line + _detail(finding, line) for finding, line in zip(result.findings, _aligned(rows), strict=True)]


def _detail(finding: Finding, line: str) -> str:
    """Return what stands behind a finding's amounts: the names of a resource, or the interval of an estimate."""
    if finding.names:
        return f": {_names(finding.names, _TEXT - _columns(line) - 2)}"
    unit, slope = finding.metric.unit, finding.trend.slope
    low, high = amount(slope.low, unit), amount(slope.high, unit)
    if low == high or not isfinite(slope.low) or not isfinite(slope.high):
        return ""
    return f" ({low} to {high} a run)"


def _names(names: Iterable[str], room: int) -> str:
    unlike = [plain(name) for name in dict.fromkeys(names)]
    texts = [_joined(unlike, most) for most in range(_MOST_PARTS, 0, -1)]
    return next((text for text in texts if _columns(text) <= room), _shortened(texts[-1], room))


def _held_by(result: SubjectResult) -> list[str]:
    holder = result.holder
    if holder.kind == "native":
        return [_native(result)]
    if holder.kind == "hidden":
        return ["objects stay, nothing found keeps them"]
    if holder.kind not in ("bounded", "unbounded") or not holder.name:
        return []
    limit = "which has no limit" if holder.kind == "unbounded" else _limit(holder.limit)
    return [f"{_name(holder.name)}, {limit}{_gained(holder.grew)}"]


def _native(result: SubjectResult) -> str:
    if result.findings and all(finding.metric.resource for finding in result.findings):
        return "no Python object: look for what is opened or started, and not closed or joined"
    return "nothing that the garbage collector sees has grown: look in C code"


def _limit(limit: int | None) -> str:
    return "which has a limit" if limit is None else f"at most {_counted(limit, 'entry', 'entries')}"


def _gained(grew: float) -> str:
    number = signed(grew, Unit.COUNT)
    return f": {number} {'entry' if number == '+1' else 'entries'} a run" if grew else ""


def _site(site: Site) -> str:
    place = f"{_name(site.file)}:{site.line} {_name(site.function, 24)}"
    return f"{_shortened(place, _LONGEST_NAME)}  {_both(site.bytes_per_run, site.blocks_per_run, 'block')}"


def _type(growth: TypeGrowth) -> str:
    return f"{_name(growth.type)}  {_both(growth.bytes_per_run, growth.count_per_run, 'object')}"


def _both(size: float, count: float, noun: str) -> str:
    number = signed(count, Unit.COUNT)
    return f"{signed(size, Unit.BYTE)}, {number} {noun}{'' if number == '+1' else 's'} a run"


def _path(path: RetentionPath) -> list[str]:
    text = path.text or " -> ".join(hop.name for hop in path.hops)
    return [plain(line).rstrip() for line in text.splitlines()]


def _table(result: SubjectResult) -> list[str]:
    """Return what each part of the measurement added, so that a reader can check the verdict with bare eyes."""
    readings = result.readings
    if readings is None or not result.findings:
        return []
    metrics = [finding.metric for finding in result.findings if finding.metric in readings.metrics][:_MOST_COLUMNS]
    rows = [_row(readings, phase, metrics) for phase in Phase if readings.phases.count(phase) > 1]
    return _aligned([("", "", *map(_noun, metrics)), *rows]) if rows else []


def _row(readings: Readings, phase: Phase, metrics: Iterable[Metric]) -> tuple[str, ...]:
    runs = readings.runs_of(phase)
    columns = [(metric, readings.column(metric, phase)) for metric in metrics]
    added = [signed(values[-1] - values[0], metric.unit) for metric, values in columns]
    return (phase.value, _counted(runs[-1] - runs[0], "run"), *added)


def _command(test_id: str, rerun: str) -> list[str]:
    """Return the first command that fits and can be pasted: a wider choice of tests beats a cut name."""
    if _can_be_pasted(rerun):
        return [rerun]
    for choice in _choices(test_id):
        quoted = shlex.quote(choice)
        for lines in ([f"pytest {quoted} --memguard"], ["pytest --memguard \\", f"  {quoted}"]):
            if all(map(_can_be_pasted, lines)):
                return lines
    return [plain(f"pytest {test_id} --memguard")]


def _can_be_pasted(line: str) -> bool:
    return line.isprintable() and 0 < _columns(line) <= _TEXT


def _choices(test_id: str) -> list[str]:
    """Return the id, then what contains it: the function with all its parameters, the class, the file."""
    file, _, name = test_id.partition("::")
    parts = [file, *filter(None, name.partition("[")[0].split("::"))]
    return [test_id, *("::".join(parts[:end]) for end in range(len(parts), 0, -1))]


def _acceptance(result: SubjectResult) -> list[str]:
    allowed = ", ".join(
        f'"{finding.metric.name}": "{_allowance(finding, result)}/run"'
        for finding in result.findings
        if finding.metric.name in METRICS
    )
    skip = '@pytest.mark.memguard_skip(reason="...")'
    if not allowed:
        return [skip]
    # A long line is folded between metrics only: hard spaces keep a name and its amount in one piece.
    text = re.sub(r"(\d|:) ", "\\1\xa0", f"@pytest.mark.no_leak(allow={{{allowed}}})")
    folded = textwrap.wrap(text, _TEXT, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [*(line.replace("\xa0", " ") for line in folded), f"or {skip}"]


def _allowance(finding: Finding, result: SubjectResult) -> str:
    """Return the growth a run as text, rounded up so that the text, read back, covers it."""
    unit, high = finding.metric.unit, finding.trend.slope.high
    most = max(_rate(finding, result), high if isfinite(high) else 0.0)
    most = ceil(most) if most > 1 or unit is Unit.BYTE else most
    text = amount(most, unit)
    # One decimal and two digits are off by less than a twentieth.
    return text if parse_allowance(text, unit) >= most else amount(most * 1.05, unit)


# -- the end of the session ------------------------------------------------------------------------------------------


def summary(result: RunResult, *, verbosity: int = 0, width: int = 80) -> str:
    """
    Return the section at the end of a session.

    Args:
        result: The whole session.
        verbosity: Below 0 the counts and the leaks only, and nothing where nothing was checked; from 1 on what
            settled, is bounded or could not be measured in full, names not shortened.
        width: Columns of the terminal.

    Returns:
        Lines without a trailing newline; empty where there is no result at all.

    """
    results = result.results
    if not results or (verbosity < 0 and not any(one.verdict.level in _CHECKED for one in results)):
        return ""
    if verbosity < 0:
        return "\n".join([_counts(results), *_losses(results, (Level.LEAK,), width)])
    in_full = verbosity >= 1
    room = _NO_WIDTH if in_full else width
    lines = [_counts(results), *_losses(results, (Level.LEAK, Level.GROWING), width)]
    lines += _bounded(results, _NO_WIDTH if in_full else _MOST_BOUNDED, room)
    lines += _settled(results) if in_full else []
    lines += _unmeasured(results, room, in_full=in_full)
    return "\n".join([*lines, *_overhead(result), *_control(result.control, width)])


def _of(results: Iterable[SubjectResult], level: Level) -> list[SubjectResult]:
    return [result for result in results if result.verdict.level is level]


def _counts(results: Sequence[SubjectResult]) -> str:
    noun = "test" if all(result.kind == "test" for result in results) else "subject"
    checked = [result for result in results if result.verdict.level in _CHECKED]
    total = _counted(len(checked), noun) if checked else f"no {noun}"
    found, left = _words(results, _CHECKED), _words(results, _NOT_CHECKED)
    return f"memguard: {total} checked" + (f": {found}" if found else "") + (f"; {left}" if left else "")


def _words(results: Sequence[SubjectResult], levels: Iterable[Level]) -> str:
    numbers = {level: len(_of(results, level)) for level in levels}
    return ", ".join(f"{amount(number, Unit.COUNT)} {level.value}" for level, number in numbers.items() if number)


def _losses(results: Sequence[SubjectResult], levels: Sequence[Level], width: int) -> list[str]:
    """Return one line a leak, the dearest first."""
    found = sorted((one for one in results if one.verdict.level in levels), key=lambda one: (-_loss(one), one.id))
    shown = found[:_MOST_LEAKS]
    lines = _aligned((_verdict(one), _shortened(_compact(one), width // 2 - 4), _runs(one)) for one in shown)
    named = [f"  {line}  {_id(one, width - 4 - _columns(line))}" for one, line in zip(shown, lines, strict=True)]
    return [*named, *_rest(len(found), _MOST_LEAKS)]


def _loss(result: SubjectResult) -> float:
    """Return the bytes a run that are expected to be lost: what grows, times how likely it is a leak."""
    sizes = [_rate(one, result) for one in result.findings if one.metric.unit is Unit.BYTE]
    counts = [
        _rate(one, result) * (_RESOURCE_BYTES if one.metric.resource else _BLOCK_BYTES)
        for one in result.findings
        if one.metric.unit is Unit.COUNT
    ]
    # Heap and mapped memory see the same bytes, so the largest stands for all of them.
    return result.verdict.score / 100 * (max(sizes, default=0.0) + sum(counts))


def _verdict(result: SubjectResult) -> str:
    return f"{result.verdict.level.value} {_score(result)}"


def _compact(result: SubjectResult) -> str:
    """Return the amount a run in few words: counts with their nouns, then one size."""
    counts = [_grows(one, result) for one in result.findings if one.metric.unit is not Unit.BYTE]
    sizes = [one for one in result.findings if one.metric.unit is Unit.BYTE]
    if not result.findings:
        return plain(result.verdict.reason)
    if not sizes:
        return _joined(counts) + " a run"
    largest = max(sizes, key=lambda one: _rate(one, result))
    size = amount(_rate(largest, result), Unit.BYTE) if counts else _grows(largest, result)
    before = _MOST_PARTS - 1
    return _joined([*counts[:before], size, *counts[before:]]) + " a run"


def _runs(result: SubjectResult) -> str:
    return _counted(result.runs, "run")


def _id(result: SubjectResult, most: int) -> str:
    """Return the id, shortened to *most* columns; never to less than can be recognised."""
    return _name(result.id, max(16, most))


def _rest(total: int, shown: int, noun: str = "") -> list[str]:
    return [f"  ... and {amount(total - shown, Unit.COUNT)} more{noun}"] if total > shown else []


def _pair(result: SubjectResult, why: str, width: int) -> str:
    """Return an id and what there is to say about it; each may take what the other leaves, and half at least."""
    room = width - 4
    why = _shortened(why, max(room // 2, room - _columns(plain(result.id))))
    return f"  {_id(result, room - _columns(why))}: {why}"


def _bounded(results: Sequence[SubjectResult], most: int, width: int) -> list[str]:
    found = _of(results, Level.BOUNDED)
    lines = [_pair(result, _bound(result), width) for result in found[:most]]
    return ["bounded:", *lines, *_rest(len(found), most)] if found else []


def _bound(result: SubjectResult) -> str:
    holder = result.holder
    if holder.kind == "bounded" and holder.name:
        return f"{plain(holder.name)}, {_limit(holder.limit)}"
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
    line = _shortened(f"  {_counted(len(group), 'test')}: {reason}", width)
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
    noun, unit = (_in_full(metric), metric.unit) if metric else (_name(name, _LONGEST_NOUN), Unit.COUNT)
    if seen.noisy:
        return f"{noun} moved by up to {amount(seen.largest_step, unit)}"
    return f"{noun} grew by {amount(seen.per_run, unit)} a run"


# -- while a test is measured ----------------------------------------------------------------------------------------


def status(test_id: str, runs: int, phase: Phase, *, width: int = 79) -> str:
    """Return the one line that is shown while a test is measured for long, its name shortened to fit *width*."""
    before, after = "memguard: ", f": {phase.value}, run {amount(runs, Unit.COUNT)}"
    room = max(8, width - len(before) - len(after))
    return f"{before}{_name(test_id, room)}{after}"[:width]
