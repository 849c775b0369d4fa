"""The text of a failing test: how sure, how much, what, held by whom, where from, what to do about it."""

from __future__ import annotations

import re
import shlex
import textwrap
from math import ceil, isfinite
from typing import TYPE_CHECKING

from pytest_memguard.core.causes import growth_of, reproducer
from pytest_memguard.core.units import Unit, amount, digits_between, duration, parse_allowance, signed
from pytest_memguard.core.values import METRICS, Phase, Shape
from pytest_memguard.renderers._words import (
    LONGEST_NAME,
    MOST_PARTS,
    aligned,
    an_hour,
    columns_of,
    counted,
    growth_text,
    joined,
    length_text,
    limit_text,
    noun_in_full,
    noun_of,
    per,
    plain,
    rate_of,
    score_text,
    short_name,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_memguard.core.values import (
        Finding,
        Metric,
        Readings,
        RetentionPath,
        Series,
        Site,
        SubjectResult,
        TypeGrowth,
    )

__all__ = ["failure", "held_by", "limit", "repeat", "shape_words", "short"]

#: A failing test fits one screen of 24 lines; pytest puts a few columns of its own before each.
_LINES, _COLUMNS = 24, 100
_INDENT = 10
_TEXT = _COLUMNS - _INDENT
_MOST_COLUMNS = 4
#: What one of each adds to the limit "growth" of a scenario, in bytes; and how far above it a limit is proposed.
_IN_GROWTH = {"heap": 1, "blocks": 64}
_MARGIN = 1.1
#: Sections that may be cut, in this order, and how far.
_LEAST = (
    ("types", 2), ("made at", 2), ("types", 1), ("note", 2), ("made at", 1), ("path", 5), ("grew", 3), ("path", 3),
)  # fmt: skip

_SHAPES = {
    Shape.FLAT: "it stands still",
    Shape.EXACT: "exactly the same amount every {}",
    Shape.LINEAR: "in step with the number of {}s",
    Shape.LATE: "not evenly, but it does not slow down",
    Shape.SLOWING: "it grows less and less",
    Shape.STEP: "it came in one step",
    Shape.SAWTOOTH: "a part of it is given back from time to time",
}


def failure(result: SubjectResult, *, rerun: str = "") -> str:
    """
    Return the text of a failing test: how sure, how much, what, held by whom, where from, what to do about it.

    Args:
        result: A leak, or growth that fails the test as well.
        rerun: The command that repeats it, where ``pytest ID --memguard`` would not.

    Returns:
        At most 24 lines of at most 100 columns, unless there are more than a dozen metrics.

    """
    head = [shortened(line, _COLUMNS) for line in _head(result)]
    tail = [
        *_labelled("readings", _table(result)),
        *_labelled("repeat", repeat(result, rerun)),
        *_labelled("accept", _acceptance(result)),
    ]
    middle = _fitted(_sections(result), _LINES - len(head) - len(tail) - 2)
    return "\n".join([*head, "", *middle, *([""] if middle else []), *tail])


def short(result: SubjectResult) -> str:
    """Return one line for pytest's short summary, as in "+7 blocks, +1.1 KiB heap a run (leak 99)"."""
    grown = joined([growth_text(metric, rate) for metric, rate in growth_of(result)])
    what = f"{grown} {per(result.x_unit)}" if grown else plain(result.verdict.reason)
    return f"{what} ({result.verdict.level.value} {score_text(result)})"


def _head(result: SubjectResult) -> list[str]:
    verdict, findings = result.verdict, result.findings
    policy = "" if verdict.policy == "calibrated" else f" by the policy {plain(verdict.policy)}"
    # pytest says whose text it is; of what is no test nobody else does.
    name = "" if result.kind == "test" else f": {plain(result.id)}"
    lines = [f"{verdict.level.value}, {score_text(result)} of 100{policy}{name}"]
    if not findings:
        return [*lines, plain(verdict.reason)]
    rates = growth_of(result)
    grown = joined([growth_text(metric, rate, in_full=True) for metric, rate in rates])
    hour = an_hour(rates, result.x_unit)
    lines += [f"{grown} {per(result.x_unit)}{hour}, {length_text(result)}", _shape(result)]
    return [*lines, f"it ended early: {plain(result.stopped)}"] if result.stopped else lines


def _shape(result: SubjectResult) -> str:
    words = {noun_of(finding.metric): shape_words(finding, result.x_unit) for finding in result.findings}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{noun}: {word}" for noun, word in words.items())


def shape_words(finding: Finding, x_unit: str = "run") -> str:
    """Return what a finding's readings do, in words."""
    if x_unit == "second" and finding.trend.shape is Shape.LINEAR:
        return "in step with time"
    return _SHAPES[finding.trend.shape].format(x_unit)


def _labelled(label: str, lines: Iterable[str]) -> list[str]:
    return [f"{'' if at else label:<{_INDENT}}{shortened(line, _TEXT)}" for at, line in enumerate(lines)]


def _fitted(sections: Mapping[str, Sequence[str]], room: int) -> list[str]:
    """Return the sections' lines, cut until all of them fit *room* lines: first what says least, advice never."""
    kept = {label: len(lines) for label, lines in sections.items()}
    for label, least in _LEAST:
        kept[label] = max(min(kept[label], least), kept[label] - max(0, sum(kept.values()) - room))
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
        "held by": held_by(result),
        "made at": [_site(site, per(result.x_unit)) for site in sites],
        "types": [_type(growth, per(result.x_unit)) for growth in types],
        "path": [line for path in paths for line in _path(path)],
        "advice": [line for text in advice for line in _wrapped(text)],
        "note": [line for text in result.notes for line in _wrapped(plain(text))],
    }


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _TEXT, break_on_hyphens=False)


def _grown(result: SubjectResult) -> list[str]:
    rows = [
        (
            noun_in_full(finding.metric),
            f"{signed(rate_of(finding, result), finding.metric.unit)} {per(result.x_unit)}",
            f"{signed(finding.total, finding.metric.unit)} in all",
        )
        for finding in result.findings
    ]
    lines = zip(result.findings, aligned(rows), strict=True)
    each = " a run" if result.x_unit == "run" else ""  # longer words leave no room to say it twice
    return [line + _detail(finding, line, each) for finding, line in lines]


def _detail(finding: Finding, line: str, each: str) -> str:
    """Return what stands behind a finding's amounts: the names of a resource, or the interval of an estimate."""
    if finding.names:
        return f": {_names(finding.names, _TEXT - columns_of(line) - 2)}"
    unit, slope = finding.metric.unit, finding.trend.slope
    low, high = amount(slope.low, unit), amount(slope.high, unit)
    if low == high or not isfinite(slope.low) or not isfinite(slope.high):
        return ""
    return f" ({low} to {high}{each})"


def _names(names: Iterable[str], room: int) -> str:
    unlike = [plain(name) for name in dict.fromkeys(names)]
    texts = [joined(unlike, most) for most in range(MOST_PARTS, 0, -1)]
    return next((text for text in texts if columns_of(text) <= room), shortened(texts[-1], room))


def held_by(result: SubjectResult) -> list[str]:
    """Return who keeps what grew, in a line; empty where nothing is known of it."""
    holder = result.holder
    if holder.kind == "native":
        return [_native(result)]
    if holder.kind == "hidden":
        return ["objects stay, nothing found keeps them"]
    if holder.kind not in ("bounded", "unbounded") or not holder.name:
        return []
    limit = "which has no limit" if holder.kind == "unbounded" else limit_text(holder.limit)
    return [f"{short_name(holder.name)}, {limit}{_gained(holder.grew)}"]


def _native(result: SubjectResult) -> str:
    if result.findings and all(finding.metric.resource for finding in result.findings):
        return "no Python object: look for what is opened or started, and not closed or joined"
    return "nothing that the garbage collector sees has grown: look in C code"


def _gained(grew: float) -> str:
    number = signed(grew, Unit.COUNT)
    return f": {number} {'entry' if number == '+1' else 'entries'} a run" if grew else ""


def _site(site: Site, each: str) -> str:
    place = f"{short_name(site.file)}:{site.line} {short_name(site.function, 24)}"
    return f"{shortened(place, LONGEST_NAME)}  {_both(site.bytes_per_run, site.blocks_per_run, 'block')} {each}"


def _type(growth: TypeGrowth, each: str) -> str:
    return f"{short_name(growth.type)}  {_both(growth.bytes_per_run, growth.count_per_run, 'object')} {each}"


def _both(size: float, count: float, noun: str) -> str:
    number = signed(count, Unit.COUNT)
    if not size or not count:  # what is opened has no size, and what C code allocates is no block
        return signed(size, Unit.BYTE) if size else number
    return f"{signed(size, Unit.BYTE)}, {number} {noun}{'' if number == '+1' else 's'}"


def _path(path: RetentionPath) -> list[str]:
    text = path.text or " -> ".join(hop.name for hop in path.hops)
    return [plain(line).rstrip() for line in text.splitlines()]


def _table(result: SubjectResult) -> list[str]:
    """Return what each part of the measurement added, so that a reader can check the verdict with bare eyes."""
    readings = result.readings
    if not result.findings:
        return []
    if readings is None:
        return _timeline_table(result)
    metrics = [finding.metric for finding in result.findings if finding.metric in readings.metrics][:_MOST_COLUMNS]
    rows = [_row(readings, phase, metrics) for phase in Phase if readings.phases.count(phase) > 1]
    return aligned([("", "", *map(noun_of, metrics)), *rows]) if rows else []


def _row(readings: Readings, phase: Phase, metrics: Iterable[Metric]) -> tuple[str, ...]:
    runs = readings.runs_of(phase)
    columns = [(metric, readings.column(metric, phase)) for metric in metrics]
    added = [signed(values[-1] - values[0], metric.unit) for metric, values in columns]
    return (phase.value, counted(runs[-1] - runs[0], "run"), *added)


def _timeline_table(result: SubjectResult) -> list[str]:
    """Return where each metric that grows stood first, last and at its highest."""
    grown = dict.fromkeys(finding.metric for finding in result.findings)
    series = [one for one in result.timeline if one.metric in grown and one.x][:_MOST_COLUMNS]
    if not series:
        return []
    begin, end = min(one.x[0] for one in series), max(one.x[-1] for one in series)
    columns = [_stood(one) for one in series]
    rows = zip((f"at {duration(begin)}", "highest", f"at {duration(end)}"), *columns, strict=True)
    return aligned([("", *(noun_of(one.metric) for one in series)), *rows])


def _stood(series: Series) -> tuple[str, str, str]:
    """Return the first, the highest and the last value."""
    values, unit = series.values, series.metric.unit
    digits = digits_between(min(values), max(values))
    first, highest, last = (amount(one, unit, digits=digits) for one in (values[0], max(values), values[-1]))
    return first, highest, last


def repeat(result: SubjectResult, rerun: str = "", *, columns: int = _TEXT) -> list[str]:
    """Return the command that measures *result* again, on as many lines as it takes; none where it is not known."""
    if result.kind in ("scenario", "process"):
        again = reproducer(result)
        return [plain(again)] if again else []
    return _command(result.id, rerun, columns)


def _command(test_id: str, rerun: str, columns: int) -> list[str]:
    """Return the first command that fits and can be pasted: a wider choice of tests beats a cut name."""
    if _can_be_pasted(rerun, columns):
        return [rerun]
    for choice in _choices(test_id):
        quoted = shlex.quote(choice)
        for lines in ([f"pytest {quoted} --memguard"], ["pytest --memguard \\", f"  {quoted}"]):
            if all(_can_be_pasted(line, columns) for line in lines):
                return lines
    return [plain(f"pytest {test_id} --memguard")]


def _can_be_pasted(line: str, columns: int) -> bool:
    return line.isprintable() and 0 < columns_of(line) <= columns


def _choices(test_id: str) -> list[str]:
    """Return the id, then what contains it: the function with all its parameters, the class, the file."""
    file, _, name = test_id.partition("::")
    parts = [file, *filter(None, name.partition("[")[0].split("::"))]
    return [test_id, *("::".join(parts[:end]) for end in range(len(parts), 0, -1))]


def limit(result: SubjectResult) -> str:
    """Return what its scenario may say to allow the growth; empty where it has no file, or no limit speaks of it."""
    rates = {metric.name: rate for metric, rate in growth_of(result)}
    if (
        result.kind != "scenario"
        or not result.file
        or result.x_unit != "request"
        or not rates.keys() <= _IN_GROWTH.keys()
    ):
        return ""
    size = sum(_IN_GROWTH[name] * rate for name, rate in rates.items())
    return f'limits = ["growth<{amount(ceil(size * _MARGIN), Unit.COUNT)}B/request"]'


def _acceptance(result: SubjectResult) -> list[str]:
    if result.kind in ("scenario", "process"):
        allowed = limit(result)
        return [f"{allowed} below [thresholds] in its scenario"] if allowed else []
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
    lines = [line.replace("\xa0", " ") for line in folded]
    # All of them: as long as one is not accepted, the test fails.
    known = dict.fromkeys(finding.fingerprint for finding in result.findings if finding.fingerprint)
    commands = [f'memguard accept RUN.json {one} --reason "..."' for one in known] or [skip]
    return [*lines, *(f"{'and' if at else 'or'} {command}" for at, command in enumerate(commands))]


def _allowance(finding: Finding, result: SubjectResult) -> str:
    """Return the growth a run as text, rounded up so that the text, read back, covers it."""
    unit, high = finding.metric.unit, finding.trend.slope.high
    most = max(rate_of(finding, result), high if isfinite(high) else 0.0)
    most = ceil(most) if most > 1 or unit is Unit.BYTE else most
    text = amount(most, unit)
    # One decimal and two digits are off by less than a twentieth.
    return text if parse_allowance(text, unit) >= most else amount(most * 1.05, unit)
