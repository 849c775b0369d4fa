"""
RunResult <-> the result document, as plain dicts and as JSON text; ``docs/reference/result.schema.json`` describes it.

    memguard-result/1   since 0.1. Keys may be added at any time: who reads ignores what it does not know, and
                        takes the usual value for what an older document does not have yet.

Readings, plan and holder are stored whole, so that ``core.verdict.rejudge`` can make each verdict again.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable
from dataclasses import fields
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

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
    from collections.abc import Iterator, Mapping, Sequence
    from enum import Enum

__all__ = ["SCHEMA", "dumps", "from_dict", "loads", "result_from_dict", "result_to_dict", "to_dict"]

SCHEMA = "memguard-result/1"

_TOOL = "pytest-memguard"
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
_LARGEST = sys.float_info.max

#: Takes a value and its place in the document; returns it as the house wants it, or raises DocumentError.
_Reader = Callable[[object, str], Any]


# -- writing ---------------------------------------------------------------------------------------------------------


def dumps(result: RunResult) -> str:
    """
    Return the document as one line of ASCII, which odd text survives (lone surrogates, control characters).

    Raises:
        DocumentError: something in *result* is NaN, infinite or nothing that JSON has; the message says where.

    """
    encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
    try:
        # One at a time: all at once, ten thousand results took twice as long, most of it in the garbage collector.
        results = ",".join(encode(entry) for entry in _entries(result))
        frame = {key: encode(value) for key, value in _frame(result).items()}
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(_first_misfit(to_dict(result)) or _shown(str(error))) from error
    frame["results"] = f"[{results}]"
    return "{" + ",".join(f'"{key}":{text}' for key, text in frame.items()) + "}"


def to_dict(result: RunResult) -> dict[str, Any]:
    """Return the document as dicts, lists, text and numbers."""
    return {**_frame(result), "results": list(_entries(result))}


def _frame(result: RunResult) -> dict[str, Any]:
    """Return the document, its results left empty."""
    return {
        "schema": SCHEMA,
        "tool": {"name": _TOOL, "version": _version(result.environment)},
        "started_at": result.started_at,
        "duration_s": result.duration_s,
        "environment": dict(result.environment),
        "commit": None if result.commit is None else dict(result.commit),
        "settings": dict(result.settings),
        "control": {name: {**_plain(one), "noisy": one.noisy} for name, one in result.control.items()},
        "plans": [_plain(plan) for plan in _plans(result)],
        "results": [],
        "causes": [],
        "summary": _summary(result),
    }


def _plans(result: RunResult) -> dict[Plan, int]:
    """Return the plans that results were measured by, numbered: thousands share one."""
    plans = dict.fromkeys(one.plan for one in result.results if one.plan is not None)
    return {plan: number for number, plan in enumerate(plans)}


def _entries(result: RunResult) -> Iterator[dict[str, Any]]:
    """Yield the entries of ``results``, each with the number of its plan in place of the plan."""
    plans = _plans(result)
    for one in result.results:
        yield _result_to_dict(one, plans.get(one.plan))


def result_to_dict(result: SubjectResult) -> dict[str, Any]:
    """Return one result by itself, its plan inside; plain types only, so that it can travel on a report of xdist."""
    return _result_to_dict(result, _plain(result.plan))


def _result_to_dict(result: SubjectResult, plan: object) -> dict[str, Any]:
    verdict, readings = result.verdict, result.readings
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
        "plan": plan,
        "holder": _plain(result.holder),
        "phases": None if readings is None else _phases_to_list(readings),
        "series": [] if readings is None else _series_to_list(readings),
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
    """Return how many times its plain duration the session took; None where that was too short to tell."""
    ratio = (plain_s + repeat_s) / plain_s if plain_s else 0.0
    return ratio if ratio and isfinite(ratio) else None


def _plain(value: Any) -> Any:  # noqa: ANN401 - a field of a value, whatever it holds
    """Return a value of ``_RECORDS`` as a dict, a tuple as a list, anything else as it is."""
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    keys = _RECORDS.get(type(value))
    return value if keys is None else {key: _plain(getattr(value, key)) for key in keys}


def _phases_to_list(readings: Readings) -> list[list[Any]]:
    """Return name and length of each phase; readings of no metric have no series, and count as none."""
    phases = readings.phases if readings.metrics else ()
    return [[phase.value, len(tuple(same))] for phase, same in groupby(phases)]


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
    """Return name and unit, and the rest too where it does not follow from the name."""
    named = {"metric": metric.name, "unit": metric.unit.value}
    if METRICS.get(metric.name) == metric:
        return named
    return {**named, "exact": metric.exact, "resource": metric.resource, "lower_is_better": metric.lower_is_better}


def _finding_to_dict(finding: Finding) -> dict[str, Any]:
    trend = finding.trend
    return {
        **_metric_to_dict(finding.metric),
        "exact": finding.metric.exact,
        "shape": trend.shape.value,
        "per_run": _plain(trend.slope),
        "total": finding.total,
        "n": trend.n,
        "r": trend.r,
        "least_squares": trend.least_squares,
        "fingerprint": finding.fingerprint,
        "status": finding.status,
        "advice": finding.advice,
        "names": list(finding.names),
        "sites": _plain(finding.sites),
        "types": _plain(finding.types),
        "paths": _plain(finding.paths),
    }


# -- reading ---------------------------------------------------------------------------------------------------------


def loads(text: str) -> RunResult:
    """
    Return what ``dumps`` made *text* from.

    Raises:
        DocumentError: *text* is not JSON, was cut short, or is no result document; one line says what and where.

    """
    constants: list[str] = []

    def read_constant(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        content = json.loads(text, parse_constant=read_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"this is not JSON, or was cut short: {error.msg} at {place}") from error
    except (ValueError, RecursionError) as error:  # a number of 4,300 digits, brackets without end
        raise DocumentError(f"this is not JSON: {_shown(str(error))}") from error
    if constants:
        raise DocumentError(_first_misfit(content) or f"{constants[0]} is not JSON")
    return from_dict(content)


def from_dict(content: Mapping[str, Any]) -> RunResult:
    """
    Return what ``to_dict`` made *content* from.

    Raises:
        DocumentError: *content* is no result document of this schema; one line says what and where.

    """
    _read(content, "", {"schema": _schema}, {})
    _read(content, "", _FOR_OTHERS, {})
    plans = _read(content, "", {}, {"plans": _each(_PLAN)}).get("plans", ())
    found = _read(content, "", {**_RUN, "results": _each(_result_reader(_one_in(plans)))}, {})
    summary = found.pop("summary")
    return RunResult(**found, repeat_s=summary["repeat_s"], plain_s=summary.get("plain_s", 0.0))


def result_from_dict(content: Mapping[str, Any]) -> SubjectResult:
    """
    Return what ``result_to_dict`` made *content* from.

    Raises:
        DocumentError: *content* is no entry of ``results``; one line says what and where.

    """
    result: SubjectResult = _result_reader(_PLAN)(content, "")
    return result


def _schema(value: object, where: str) -> str:
    schema = _text(value, where)
    if schema == SCHEMA:
        return schema
    name, _, number = schema.partition("/")
    is_newer = f"{name}/1" == SCHEMA and number.isdecimal() and number > "1"
    advice = f"a newer {_TOOL} wrote it; update" if is_newer else f"this is not a document of {_TOOL}"
    raise DocumentError(f"{where}: {_shown(schema)} is not {SCHEMA!r}; {advice}")


def _result_reader(plan: _Reader) -> _Reader:
    """Return a reader of results whose plan is read by *plan*."""
    optional = {**_RESULT_MORE, "plan": _or_none(plan)}

    def read(value: object, where: str) -> SubjectResult:
        found = _read(value, where, _RESULT, optional)
        verdict = Verdict(
            found.pop("verdict"),
            found.pop("confidence"),
            found.pop("reason"),
            found.pop("policy", "calibrated"),
            tuple(found.pop("policies").items()),
        )
        readings = _readings(found.pop("series"), found.pop("phases", None), where)
        return SubjectResult(verdict=verdict, readings=readings, **found)

    return read


def _readings(
    series: tuple[dict[str, Any], ...], phases: tuple[tuple[Phase, int], ...] | None, where: str
) -> Readings | None:
    if phases is None:
        if not series:
            return None
        phases = ((Phase.SCREEN, len(series[0]["x"])),)  # the contract alone does not promise them
    runs = tuple(series[0]["x"]) if series else ()
    values = array("q", bytes(8 * len(runs) * len(series)))
    for at, one in enumerate(series):
        if tuple(one["x"]) != runs or len(one["values"]) != len(runs):
            raise DocumentError(_below(where, f"series[{at}]") + ": x and values do not match the x of series[0]")
        values[at :: len(series)] = one["values"]
    if sum(count for _, count in phases) != len(runs):
        raise DocumentError(_below(where, "phases") + f": they do not add up to {len(runs)} readings")
    in_phases = tuple(phase for phase, count in phases for _ in range(count))
    return Readings(tuple(_metric(one) for one in series), runs, in_phases, values)


def _phase_count(value: object, where: str) -> tuple[Phase, int]:
    phase, count = _row(_PHASE, _whole)(value, where)
    if count < 1:
        raise _wrong(value, where, "a phase and how many readings it has")
    return phase, count


def _metric(found: dict[str, Any]) -> Metric:
    name, unit = found.pop("metric"), found.pop("unit")
    usual = METRICS.get(name, Metric(name, unit, exact=False))
    flags = {key: found.pop(key, getattr(usual, key)) for key in ("exact", "resource", "lower_is_better")}
    metric = Metric(name, unit, **flags)
    return usual if metric == usual else metric


def _finding(value: object, where: str) -> Finding:
    found = _read(value, where, _FINDING, _FINDING_MORE)
    measured = {key: found.pop(key, 0) for key in ("n", "r", "least_squares")}
    trend = Trend(found.pop("shape"), found.pop("per_run"), **measured)
    return Finding(metric=_metric(found), trend=trend, **found)


# -- readers ---------------------------------------------------------------------------------------------------------


def _read(
    value: object, where: str, required: Mapping[str, _Reader], optional: Mapping[str, _Reader]
) -> dict[str, Any]:
    """Return an object's values by key, each read by its reader; other keys are left out."""
    entries, found = _object(value, where), {}
    for key, read in required.items():
        if key not in entries:
            raise DocumentError(f"{_below(where, key)}: missing")
        found[key] = read(entries[key], _below(where, key))
    for key, read in optional.items():
        if key in entries:
            found[key] = read(entries[key], _below(where, key))
    return found


def _record(kind: type, required: Mapping[str, _Reader], optional: Mapping[str, _Reader]) -> _Reader:
    """Return a reader of objects whose keys are the fields of a value of *kind*, and have it written likewise."""
    _RECORDS[kind] = (*required, *optional)
    return lambda value, where: kind(**_read(value, where, required, optional))


def _wrong(value: object, where: str, what: str) -> DocumentError:
    return DocumentError(f"{where or 'the document'}: {_shown(value)} is not {what}")


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _named(where: str, key: object) -> str:
    """Return the place of a key that anything may be chosen for."""
    return _below(where, key) if isinstance(key, str) and key.isidentifier() else f"{where}[{_shown(key)}]"


def _shown(value: object) -> str:
    """Return *value* for a message: one line, at most 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - the 60 of the docstring


def _first_misfit(content: object, where: str = "") -> str:
    """Return where the first value stands that JSON does not have, and which; empty where there is none."""
    try:
        return next(_misfits(content, where), "")
    except RecursionError:
        return f"{where or 'the document'}: it is nested too deep, or holds itself"


def _misfits(value: object, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                yield f"{_named(where, key)}: the key is not text"
            yield from _misfits(entry, _named(where, key))
    elif isinstance(value, (list, tuple)):
        for at, entry in enumerate(value):
            yield from _misfits(entry, f"{where}[{at}]")
    elif isinstance(value, float) and not isfinite(value):
        yield f"{where}: {value!r} is not a number"
    elif not (value is None or isinstance(value, (str, int, float))):
        yield f"{where}: {_shown(value)} is not a JSON value"


def _free(value: object, where: str) -> dict[str, Any]:
    entries = dict(_object(value, where))
    misfit = _first_misfit(entries, where)
    if misfit:
        raise DocumentError(misfit)
    return entries


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    return value


def _list(value: object, where: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, where, "a list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, where, "text")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, where, "true or false")
    return value


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, where, "a whole number")
    return value


def _number(value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not -_LARGEST <= value <= _LARGEST:
        raise _wrong(value, where, "a number")
    return value


def _whole_numbers(value: object, where: str) -> array[int]:
    entries = _list(value, where)
    try:
        if set(map(type, entries)) <= {int}:
            return array("q", entries)
    except OverflowError:
        pass
    raise _wrong(value, where, "a list of whole numbers of 64 bits")


def _or_none(read: _Reader) -> _Reader:
    return lambda value, where: None if value is None else read(value, where)


def _choice(choices: Mapping[str, object], what: str) -> _Reader:
    def read(value: object, where: str) -> object:
        if not isinstance(value, str) or value not in choices:
            raise _wrong(value, where, what)
        return choices[value]

    return read


def _member(kind: type[Enum], what: str) -> _Reader:
    return _choice({member.value: member for member in kind}, what)


def _one_of(*names: str) -> _Reader:
    return _choice({name: name for name in names}, " or ".join(map(repr, names)))


def _one_in(values: Sequence[object]) -> _Reader:
    def read(value: object, where: str) -> object:
        number = _whole(value, where)
        if not 0 <= number < len(values):
            raise _wrong(value, where, f"the number of one of {len(values)}")
        return values[number]

    return read


def _each(read: _Reader) -> _Reader:
    return lambda value, where: tuple(read(one, f"{where}[{at}]") for at, one in enumerate(_list(value, where)))


def _row(*readers: _Reader) -> _Reader:
    def read(value: object, where: str) -> tuple[Any, ...]:
        entries = _list(value, where)
        if len(entries) != len(readers):
            raise _wrong(value, where, f"a list of {len(readers)}")
        return tuple(one(entry, f"{where}[{at}]") for at, (one, entry) in enumerate(zip(readers, entries, strict=True)))

    return read


def _by_name(read: _Reader) -> _Reader:
    return lambda value, where: {name: read(one, _named(where, name)) for name, one in _object(value, where).items()}


def _keys(required: Mapping[str, _Reader], optional: Mapping[str, _Reader]) -> _Reader:
    return lambda value, where: _read(value, where, required, optional)


# -- the document, key by key: required are those of the contract, optional what was added to it --------------------

_PHASE = _member(Phase, "a phase")
#: Values whose fields are keys of the document, with those fields; filled by ``_record``.
_RECORDS: dict[type, tuple[str, ...]] = {}
_ESTIMATE = _record(Estimate, {"point": _number, "low": _number, "high": _number, "level": _number}, {})
_HOP = _record(Hop, {"kind": _text, "name": _text, "type": _text, "grows_per_run": _number, "suspect": _flag}, {})
_PATH = _record(RetentionPath, {"hops": _each(_HOP), "text": _text}, {})
_TYPE = _record(TypeGrowth, {"type": _text, "count_per_run": _number, "bytes_per_run": _number}, {})
_SITE = _record(
    Site,
    {
        "file": _text,
        "line": _whole,
        "function": _text,
        "bytes_per_run": _number,
        "blocks_per_run": _number,
        "traceback": _each(_text),
    },
    {},
)
_HOLDER = _record(Holder, {}, {"kind": _text, "name": _text, "limit": _or_none(_whole), "grew": _number})
_CONTROL = _record(Control, {"per_run": _number}, {"largest_step": _number})

_SCALARS: Mapping[type, _Reader] = {str: _text, bool: _flag, int: _whole, float: _number}
_TABLES: Mapping[str, _Reader] = {
    "allow": _each(_row(_text, _number)),
    "metrics": _each(_text),
    "control": _each(_row(_text, _number, _number)),
}
#: Every field of a plan by the type of its default, so that a field that is added there is stored as well.
_PLAN = _record(
    Plan, {}, {field.name: _TABLES.get(field.name) or _SCALARS[type(field.default)] for field in fields(Plan)}
)

_METRIC: Mapping[str, _Reader] = {"metric": _text, "unit": _member(Unit, "a unit")}
_METRIC_MORE: Mapping[str, _Reader] = {"exact": _flag, "resource": _flag, "lower_is_better": _flag}
_FINDING: Mapping[str, _Reader] = {
    **_METRIC,
    "exact": _flag,
    "shape": _member(Shape, "a shape"),
    "per_run": _ESTIMATE,
    "total": _number,
    "fingerprint": _text,
    "status": _or_none(_one_of("new", "known", "worse", "fixed")),
    "advice": _text,
    "sites": _each(_SITE),
    "types": _each(_TYPE),
    "paths": _each(_PATH),
}
_FINDING_MORE: Mapping[str, _Reader] = {
    **_METRIC_MORE,
    "n": _whole,
    "r": _number,
    "least_squares": _number,
    "names": _each(_text),
}
#: A service's readings have seconds at their side; a SubjectResult cannot hold them yet.
_SERIES: Mapping[str, _Reader] = {**_METRIC, "x": _whole_numbers, "x_unit": _one_of("run"), "values": _whole_numbers}
_RESULT: Mapping[str, _Reader] = {
    "id": _text,
    "kind": _one_of("test", "callable", "scenario", "process"),
    "file": _text,
    "line": _whole,
    "verdict": _member(Level, "a verdict"),
    "confidence": _number,
    "policies": _by_name(_number),
    "reason": _text,
    "runs": _whole,
    "duration_s": _number,
    "worker": _or_none(_text),
    "series": _each(_keys(_SERIES, _METRIC_MORE)),
    "findings": _each(_finding),
}
_RESULT_MORE: Mapping[str, _Reader] = {
    "policy": _text,
    "stopped": _text,
    "first_run_s": _number,
    "holder": _HOLDER,
    "phases": _or_none(_each(_phase_count)),
}
_SUMMARY: Mapping[str, _Reader] = {
    "checked": _whole,
    **{level.value: _whole for level in Level},
    "repeat_s": _number,
    "overhead_ratio": _or_none(_number),
}
_RUN: Mapping[str, _Reader] = {
    "started_at": _text,
    "duration_s": _number,
    "environment": _free,
    "commit": _or_none(_free),
    "settings": _free,
    "control": _by_name(_CONTROL),
    "summary": _keys(_SUMMARY, {"plain_s": _number}),
}
#: Written for other readers, and made anew when the document is written again.
_FOR_OTHERS: Mapping[str, _Reader] = {
    "tool": _keys({"name": _text, "version": _text}, {}),
    "control": _by_name(_keys({"noisy": _flag}, {})),
    "causes": _each(_object),
}
