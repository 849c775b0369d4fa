"""
RunResult <-> the result document, as plain dicts and as JSON text; ``docs/reference/result.schema.json`` describes it.

    memguard-result/1   since 0.1. Keys may be added at any time: who reads ignores what it does not know, and
                        takes the default for what an older document does not have yet.

The readings, the plan and the holder are stored whole, so that ``core.verdict.rejudge`` can make a verdict again.
"""

from __future__ import annotations

import json
import sys
from array import array
from dataclasses import dataclass, fields
from enum import Enum
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pytest_memguard.core.ladder import Plan
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import (
    METRICS,
    Control,
    Estimate,
    Finding,
    Holder,
    Hop,
    Level,
    Metric,
    Phase,
    Readings,
    RetentionPath,
    RunResult,
    Shape,
    Site,
    SubjectResult,
    Trend,
    TypeGrowth,
    Verdict,
)
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["SCHEMA", "dumps", "from_dict", "loads", "result_from_dict", "result_to_dict", "to_dict"]

SCHEMA = "memguard-result/1"

_FAMILY = SCHEMA.partition("/")[0] + "/"
_TOOL = "pytest-memguard"
_KINDS = ("test", "callable", "scenario", "process")
_STATUSES = ("new", "known", "worse", "fixed")
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
_LARGEST = sys.float_info.max
_REQUIRED: Any = object()

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


# -- writing ---------------------------------------------------------------------------------------------------------


def dumps(result: RunResult) -> str:
    """
    Return the document as one line of ASCII, which every encoding and every odd text survives.

    Raises:
        DocumentError: something in *result* is NaN, infinite or no JSON value; the message says where.

    """
    content = to_dict(result)
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(_first_misfit(content) or _shown(str(error))) from error


def to_dict(result: RunResult) -> dict[str, Any]:
    """Return the document as dicts, lists, text and numbers only."""
    return {
        "schema": SCHEMA,
        "tool": {"name": _TOOL, "version": _version(result.environment)},
        "started_at": result.started_at,
        "duration_s": result.duration_s,
        "environment": dict(result.environment),
        "commit": None if result.commit is None else dict(result.commit),
        "settings": dict(result.settings),
        "control": {name: _control_to_dict(control) for name, control in result.control.items()},
        "results": [result_to_dict(one) for one in result.results],
        "causes": [],
        "summary": _summary(result),
    }


def result_to_dict(result: SubjectResult) -> dict[str, Any]:
    """Return one entry of ``results``; of plain types only, so that it may travel between xdist's processes."""
    verdict = result.verdict
    return {
        "id": result.id,
        "kind": result.kind,
        "file": result.file,
        "line": result.line,
        "verdict": verdict.level.value,
        "confidence": verdict.score,
        "policy": verdict.policy,
        "policies": dict(verdict.policies),
        "reason": verdict.reason,
        "stopped": result.stopped,
        "runs": result.runs,
        "duration_s": result.duration_s,
        "first_run_s": result.first_run_s,
        "worker": result.worker,
        "plan": None if result.plan is None else _plan_to_dict(result.plan),
        "holder": _holder_to_dict(result.holder),
        "phases": None if result.readings is None else _phases_to_list(result.readings),
        "series": [] if result.readings is None else _series_to_list(result.readings),
        "findings": [_finding_to_dict(finding) for finding in result.findings],
    }


def _version(environment: Mapping[str, Any]) -> str:
    """Return the version that measured, which need not be the one that writes (``memguard merge``)."""
    packages = environment.get("packages")
    version = packages.get(_TOOL) if isinstance(packages, dict) else None
    return version if isinstance(version, str) else "unknown"


def _summary(result: RunResult) -> dict[str, Any]:
    """Count the verdicts; ``checked`` are those that got an answer."""
    counts = dict.fromkeys(Level, 0)
    for one in result.results:
        counts[one.verdict.level] += 1
    return {
        "checked": sum(count for level, count in counts.items() if level not in _UNANSWERED),
        **{level.value: count for level, count in counts.items()},
        "plain_s": result.plain_s,
        "repeat_s": result.repeat_s,
        "overhead_ratio": _overhead_ratio(result.plain_s, result.repeat_s),
    }


def _overhead_ratio(plain_s: float, repeat_s: float) -> float | None:
    """Return how many times its plain duration a session took; None where the clock was too coarse to tell."""
    ratio = (plain_s + repeat_s) / plain_s if plain_s else 0.0
    return ratio if ratio and isfinite(ratio) else None


def _control_to_dict(control: Control) -> dict[str, Any]:
    return {"per_run": control.per_run, "noisy": control.noisy, "largest_step": control.largest_step}


def _plan_to_dict(plan: Plan) -> dict[str, Any]:
    return {name: _listed(getattr(plan, name)) for name in _PLAN}


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def _holder_to_dict(holder: Holder) -> dict[str, Any]:
    return {"kind": holder.kind, "name": holder.name, "limit": holder.limit, "grew": holder.grew}


def _phases_to_list(readings: Readings) -> list[list[Any]]:
    """Return name and length of each part; readings of no metric have no series and count as none."""
    if not readings.metrics:
        return []
    return [[phase.value, len(tuple(same))] for phase, same in groupby(readings.phases)]


def _series_to_list(readings: Readings) -> list[dict[str, Any]]:
    width = len(readings.metrics)
    return [
        {
            **_metric_to_dict(metric),
            "x": list(readings.runs),
            "x_unit": "run",
            "values": readings.values[at::width].tolist(),
        }
        for at, metric in enumerate(readings.metrics)
    ]


def _metric_to_dict(metric: Metric) -> dict[str, Any]:
    """Return name and unit; of a metric that others brought along all the rest too."""
    if METRICS.get(metric.name) == metric:
        return {"metric": metric.name, "unit": metric.unit.value}
    return {
        "metric": metric.name,
        "unit": metric.unit.value,
        "exact": metric.exact,
        "resource": metric.resource,
        "lower_is_better": metric.lower_is_better,
    }


def _finding_to_dict(finding: Finding) -> dict[str, Any]:
    trend, slope = finding.trend, finding.trend.slope
    return {
        **_metric_to_dict(finding.metric),
        "exact": finding.metric.exact,
        "shape": trend.shape.value,
        "per_run": {"point": slope.point, "low": slope.low, "high": slope.high, "level": slope.level},
        "total": finding.total,
        "n": trend.n,
        "r": trend.r,
        "least_squares": trend.least_squares,
        "fingerprint": finding.fingerprint,
        "status": finding.status,
        "advice": finding.advice,
        "names": list(finding.names),
        "sites": [_site_to_dict(site) for site in finding.sites],
        "types": [_type_to_dict(growth) for growth in finding.types],
        "paths": [{"hops": [_hop_to_dict(hop) for hop in path.hops], "text": path.text} for path in finding.paths],
    }


def _site_to_dict(site: Site) -> dict[str, Any]:
    return {
        "file": site.file,
        "line": site.line,
        "function": site.function,
        "bytes_per_run": site.bytes_per_run,
        "blocks_per_run": site.blocks_per_run,
        "traceback": list(site.traceback),
    }


def _type_to_dict(growth: TypeGrowth) -> dict[str, Any]:
    return {"type": growth.type, "count_per_run": growth.count_per_run, "bytes_per_run": growth.bytes_per_run}


def _hop_to_dict(hop: Hop) -> dict[str, Any]:
    return {
        "kind": hop.kind,
        "name": hop.name,
        "type": hop.type,
        "grows_per_run": hop.grows_per_run,
        "suspect": hop.suspect,
    }


# -- reading ---------------------------------------------------------------------------------------------------------


def loads(text: str) -> RunResult:
    """
    Return what ``dumps`` made *text* from.

    Raises:
        DocumentError: *text* is not JSON, was cut short, or is not a result document; one line says what and where.

    """
    constants: list[str] = []
    try:
        content = json.loads(text, parse_constant=lambda name: constants.append(name) or float(name))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"this is not JSON, or was cut short: {error.msg} at {place}") from None
    except (ValueError, RecursionError) as error:  # a number of more digits than int() takes; brackets without end
        raise DocumentError(f"this is not JSON: {_shown(str(error))}") from None
    if constants:
        raise DocumentError(_first_misfit(content) or f"{constants[0]} is not JSON")
    return from_dict(content)


def from_dict(content: Mapping[str, Any]) -> RunResult:
    """
    Return what ``to_dict`` made *content* from.

    Raises:
        DocumentError: *content* is not a result document of this schema; one line says what and where.

    """
    try:
        return _run_result(_part(content, ""))
    except RecursionError:
        raise DocumentError("it is nested too deep for a result document") from None


def result_from_dict(content: Mapping[str, Any]) -> SubjectResult:
    """
    Return what ``result_to_dict`` made *content* from.

    Raises:
        DocumentError: *content* is not an entry of ``results``; one line says what and where.

    """
    return _result(_part(content, ""))


def _run_result(part: _Part) -> RunResult:
    _require_schema(part)
    _require_derived(part)
    summary = part.part("summary")
    control = part.part("control")
    return RunResult(
        started_at=part.get("started_at", _text),
        duration_s=part.get("duration_s", _number),
        environment=_mapping(part, "environment"),
        commit=None if part.get("commit", _anything) is None else _mapping(part, "commit"),
        settings=_mapping(part, "settings"),
        control={name: _control(control.part(name)) for name in control.content},
        results=tuple(_result(one) for one in part.parts("results")),
        repeat_s=summary.get("repeat_s", _number),
        plain_s=summary.get("plain_s", _number, 0.0),
    )


def _require_schema(part: _Part) -> None:
    schema = part.get("schema", _text)
    if schema == SCHEMA:
        return
    what = f"is not {SCHEMA!r}, which is all that this version reads"
    newer = schema.startswith(_FAMILY) and schema != f"{_FAMILY}0"
    raise DocumentError(f"schema: {_shown(schema)} {what}{f'; a newer {_TOOL} wrote it' if newer else ''}")


def _require_derived(part: _Part) -> None:
    """Check what is written for other readers, and made anew when it is written again."""
    tool, summary = part.part("tool"), part.part("summary")
    for key in ("name", "version"):
        tool.get(key, _text)
    for key in ("checked", *(level.value for level in Level)):
        summary.get(key, _whole)
    summary.get("overhead_ratio", _or_none(_number))
    part.parts("causes")


def _control(part: _Part) -> Control:
    part.get("noisy", _flag)
    return Control(part.get("per_run", _number), part.get("largest_step", _number, 0.0))


def _result(part: _Part) -> SubjectResult:
    return SubjectResult(
        id=part.get("id", _text),
        kind=part.get("kind", _KIND),
        verdict=_verdict(part),
        runs=part.get("runs", _whole),
        duration_s=part.get("duration_s", _number),
        first_run_s=part.get("first_run_s", _number, 0.0),
        file=part.get("file", _text),
        line=part.get("line", _whole),
        worker=part.get("worker", _or_none(_text)),
        readings=_readings(part),
        findings=tuple(_finding(one) for one in part.parts("findings")),
        holder=_holder(part.part("holder", {})),
        plan=None if part.get("plan", _anything, None) is None else _plan(part.part("plan")),
        stopped=part.get("stopped", _text, ""),
    )


def _verdict(part: _Part) -> Verdict:
    policies = part.part("policies")
    return Verdict(
        level=part.get("verdict", _LEVEL),
        score=part.get("confidence", _number),
        reason=part.get("reason", _text),
        policy=part.get("policy", _text, "calibrated"),
        policies=tuple((name, policies.get(name, _number)) for name in policies.content),
    )


def _holder(part: _Part) -> Holder:
    return Holder(
        kind=part.get("kind", _text, "unseen"),
        name=part.get("name", _text, ""),
        limit=part.get("limit", _or_none(_whole), None),
        grew=part.get("grew", _number, 0.0),
    )


def _plan(part: _Part) -> Plan:
    return Plan(**{name: part.get(name, read, default) for name, (read, default) in _PLAN.items()})


def _readings(part: _Part) -> Readings | None:
    series = part.parts("series")
    if not series and part.get("phases", _anything, None) is None:
        return None
    runs = tuple(series[0].get("x", _whole_numbers)) if series else ()
    values = array("q", bytes(8 * len(runs) * len(series)))
    for at, one in enumerate(series):
        values[at :: len(series)] = _column(one, runs)
    return Readings(tuple(_metric(one) for one in series), runs, _phases(part, len(runs)), values)


def _column(part: _Part, runs: tuple[int, ...]) -> array[int]:
    part.get("x_unit", _RUN)
    values = part.get("values", _whole_numbers)
    if tuple(part.get("x", _whole_numbers)) != runs:
        part.refuse("x", "is not that of the first series")
    if len(values) != len(runs):
        part.refuse("values", f"is not one for each of {len(runs)} runs")
    return values


def _phases(part: _Part, n: int) -> tuple[Phase, ...]:
    """Return the phase of each reading; a document without them knows no other than the screen."""
    rows = part.get("phases", _rows(_PHASE, _count), [["screen", n]] if n else [])
    if sum(count for _, count in rows) != n:
        part.refuse("phases", f"does not add up to {n} readings")
    return tuple(phase for phase, count in rows for _ in range(count))


def _metric(part: _Part) -> Metric:
    name, unit = part.get("metric", _text), part.get("unit", _UNIT)
    usual = METRICS.get(name, Metric(name, unit, exact=False))
    exact, resource = part.get("exact", _flag, usual.exact), part.get("resource", _flag, usual.resource)
    metric = Metric(name, unit, exact, resource, part.get("lower_is_better", _flag, usual.lower_is_better))
    return usual if metric == usual else metric


def _finding(part: _Part) -> Finding:
    part.get("exact", _flag)
    return Finding(
        metric=_metric(part),
        trend=_trend(part),
        total=part.get("total", _number),
        fingerprint=part.get("fingerprint", _text),
        status=part.get("status", _or_none(_STATUS)),
        advice=part.get("advice", _text),
        sites=tuple(_site(one) for one in part.parts("sites")),
        types=tuple(_type(one) for one in part.parts("types")),
        paths=tuple(_path(one) for one in part.parts("paths")),
        names=part.get("names", _texts, []),
    )


def _trend(part: _Part) -> Trend:
    slope = part.part("per_run")
    return Trend(
        shape=part.get("shape", _SHAPE),
        slope=Estimate(*(slope.get(key, _number) for key in ("point", "low", "high", "level"))),
        n=part.get("n", _whole, 0),
        r=part.get("r", _number, 0.0),
        least_squares=part.get("least_squares", _number, 0.0),
    )


def _site(part: _Part) -> Site:
    return Site(
        file=part.get("file", _text),
        line=part.get("line", _whole),
        function=part.get("function", _text),
        bytes_per_run=part.get("bytes_per_run", _number),
        blocks_per_run=part.get("blocks_per_run", _number),
        traceback=part.get("traceback", _texts),
    )


def _type(part: _Part) -> TypeGrowth:
    return TypeGrowth(part.get("type", _text), part.get("count_per_run", _number), part.get("bytes_per_run", _number))


def _path(part: _Part) -> RetentionPath:
    return RetentionPath(tuple(_hop(one) for one in part.parts("hops")), part.get("text", _text))


def _hop(part: _Part) -> Hop:
    return Hop(
        kind=part.get("kind", _text),
        name=part.get("name", _text),
        type=part.get("type", _text),
        grows_per_run=part.get("grows_per_run", _number),
        suspect=part.get("suspect", _flag),
    )


def _mapping(part: _Part, key: str) -> dict[str, Any]:
    """Return an object that may hold whatever JSON can."""
    inner = part.part(key)
    misfit = next(_misfits(inner.content, inner.where), "")
    if misfit:
        raise DocumentError(misfit)
    return dict(inner.content)


# -- one object of a document ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """One object of a document, and where it stands, for messages."""

    content: Mapping[str, Any]
    where: str

    def get(self, key: str, read: Callable[[Any], T], default: Any = _REQUIRED) -> T:
        """
        Return the value of *key* as *read* makes it; *default*, as JSON has it, where there is none.

        Raises:
            DocumentError: the key is missing, or *read* raised ValueError with what is wrong.

        """
        value = self.content.get(key, default)
        if value is _REQUIRED:
            raise DocumentError(f"{_below(self.where, key)}: missing")
        try:
            return read(value)
        except ValueError as wrong:
            raise DocumentError(f"{_below(self.where, key)}: {_shown(value)} {wrong}") from None

    def refuse(self, key: str, wrong: str) -> NoReturn:
        """Say that the value of *key* does not fit the others."""
        raise DocumentError(f"{_below(self.where, key)}: {_shown(self.content.get(key))} {wrong}")

    def part(self, key: str, default: Any = _REQUIRED) -> _Part:
        """Return the object that *key* holds."""
        return _part(self.get(key, _anything, default), _below(self.where, key))

    def parts(self, key: str) -> list[_Part]:
        """Return the objects of the list that *key* holds."""
        where = _below(self.where, key)
        return [_part(entry, f"{where}[{at}]") for at, entry in enumerate(self.get(key, _list))]


def _part(content: object, where: str) -> _Part:
    if not isinstance(content, dict):
        raise DocumentError(f"{where or 'the document'}: {_shown(content)} is not an object")
    return _Part(content, where)


def _below(where: str, key: object) -> str:
    if not (isinstance(key, str) and key.isidentifier()):
        return f"{where}[{_shown(key)}]"
    return f"{where}.{key}" if where else key


def _shown(value: object) -> str:
    """Return *value* for a message: one line, at most 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - the 60 of the docstring


def _first_misfit(content: object) -> str:
    """Return where the first value stands that JSON cannot hold, and why; empty where there is none."""
    try:
        return next(_misfits(content, ""), "")
    except RecursionError:
        return "it is nested too deep, or holds itself"


def _misfits(value: object, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                yield f"{where or 'the document'}: the key {_shown(key)} is not text"
            yield from _misfits(entry, _below(where, key))
    elif isinstance(value, (list, tuple)):
        for at, entry in enumerate(value):
            yield from _misfits(entry, f"{where}[{at}]")
    elif isinstance(value, float):
        if not isfinite(value):
            yield f"{where}: {value!r} is not a number"
    elif not (value is None or isinstance(value, (str, int))):
        yield f"{where}: {_shown(value)} is not a JSON value"


# -- readers: each returns a valid value, or raises ValueError with what is wrong ------------------------------------


def _anything(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")  # noqa: TRY004 - a reader's one error; _Part puts the place before it
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false")  # noqa: TRY004 - see _text
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is not a whole number")
    return value


def _count(value: Any) -> int:
    if _whole(value) < 1:
        raise ValueError("is not a whole number above 0")
    return int(value)


def _number(value: Any) -> float:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
    if not fits:
        raise ValueError("is not a number")
    return float(value)


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("is not a list")  # noqa: TRY004 - see _text
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(entry) for entry in _list(value))


def _whole_numbers(value: Any) -> array[int]:
    entries = _list(value)
    if not set(map(type, entries)) <= {int}:
        raise ValueError("is not a list of whole numbers")
    try:
        return array("q", entries)
    except OverflowError:
        raise ValueError("is not a list of whole numbers of 64 bits") from None


def _rows(*readers: Callable[[Any], Any]) -> Callable[[Any], tuple[tuple[Any, ...], ...]]:
    def read(value: Any) -> tuple[tuple[Any, ...], ...]:
        rows = [_list(row) for row in _list(value)]
        if any(len(row) != len(readers) for row in rows):
            raise ValueError(f"is not a list of lists of {len(readers)}")
        return tuple(tuple(one(entry) for one, entry in zip(readers, row, strict=True)) for row in rows)

    return read


def _or_none(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


def _member(kind: type[E], what: str) -> Callable[[Any], E]:
    def read(value: Any) -> E:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"is not {what}") from None

    return read


def _one_of(names: Sequence[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"is not {' or '.join(map(repr, names))}")
        return str(value)

    return read


_LEVEL = _member(Level, "a verdict")
_SHAPE = _member(Shape, "a shape")
_UNIT = _member(Unit, "a unit")
_PHASE = _member(Phase, "a phase")
_KIND = _one_of(_KINDS)
_STATUS = _one_of(_STATUSES)
#: Readings have a number of runs at their side; a service's, which have seconds, are not part of documents yet.
_RUN = _one_of(("run",))

_SCALARS: Mapping[type, Callable[[Any], Any]] = {str: _text, bool: _flag, int: _whole, float: _number}
_TABLES: Mapping[str, Callable[[Any], Any]] = {
    "allow": _rows(_text, _number),
    "metrics": _texts,
    "control": _rows(_text, _number, _number),
}
#: Every field of a plan with its reader and its default, so that a field added there is stored here as well.
_PLAN: Mapping[str, tuple[Callable[[Any], Any], Any]] = {
    field.name: (_TABLES.get(field.name) or _SCALARS[type(field.default)], field.default) for field in fields(Plan)
}
