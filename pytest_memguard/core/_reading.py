"""
The result document, key by key: plain dicts -> values.

Required keys are those of the contract, optional ones what was added to it since.
"""

from __future__ import annotations

from array import array
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pytest_memguard.core._expect import (
    Reader,
    below,
    between,
    by_name,
    each,
    fields_of,
    flag,
    free,
    keys,
    mapping,
    member,
    number,
    one_in,
    one_of,
    or_none,
    row,
    shown,
    text,
    whole,
    whole_numbers,
    wrong,
)
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
    Series,
    Shape,
    Site,
    SubjectResult,
    Trend,
    TypeGrowth,
    Verdict,
)
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RECORDS", "SCHEMA", "TOOL", "result_of", "run_of"]

SCHEMA = "memguard-result/1"
TOOL = "pytest-memguard"

#: Values whose fields are keys of the document, with those fields; filled by ``_record``.
RECORDS: dict[type, tuple[str, ...]] = {}


def run_of(content: Mapping[str, Any]) -> RunResult:
    """
    Return the session that *content* describes.

    Raises:
        DocumentError: it is no result document of this schema; one line says what and where.

    """
    if "schema" not in mapping(content, ""):
        raise DocumentError(f"schema: missing; this is not a document of {TOOL}")
    fields_of(content, "", {"schema": _schema}, {})
    fields_of(content, "", _FOR_OTHERS, {})
    plans = fields_of(content, "", {}, {"plans": each(_PLAN)}).get("plans", ())
    found = fields_of(content, "", {**_RUN, "results": each(_result_reader(one_in(plans)))}, {})
    summary = found.pop("summary")
    return RunResult(**found, repeat_s=summary["repeat_s"], plain_s=summary.get("plain_s", 0.0))


def result_of(content: Mapping[str, Any]) -> SubjectResult:
    """
    Return the result that *content* describes, its plan inside.

    Raises:
        DocumentError: it is no entry of ``results``; one line says what and where.

    """
    result: SubjectResult = _result_reader(_PLAN)(content, "")
    return result


def _schema(value: object, where: str) -> str:
    schema = text(value, where)
    if schema == SCHEMA:
        return schema
    name, _, version = schema.partition("/")
    is_newer = f"{name}/1" == SCHEMA and version.isdecimal() and version > "1"
    advice = f"a newer {TOOL} wrote it; update" if is_newer else f"this is not a document of {TOOL}"
    raise DocumentError(f"{where}: {shown(schema)} is not {SCHEMA!r}; {advice}")


def _result_reader(plan: Reader) -> Reader:
    """Return a reader of results whose plan is read by *plan*."""
    optional = {**_RESULT_MORE, "plan": or_none(plan)}

    def read(value: object, where: str) -> SubjectResult:
        found = fields_of(value, where, _RESULT, optional)
        verdict = Verdict(
            found.pop("verdict"),
            found.pop("confidence"),
            found.pop("reason"),
            found.pop("policy", "calibrated"),
            tuple(found.pop("policies").items()),
        )
        series = found.pop("series")
        readings = _readings([one for one in series if one["x_unit"] == "run"], found.pop("phases", None), where)
        timeline = tuple(_over_time(one) for one in series if one["x_unit"] == "second")
        return SubjectResult(verdict=verdict, readings=readings, timeline=timeline, **found)

    return read


def _readings(
    series: Sequence[dict[str, Any]], phases: tuple[tuple[Phase, int], ...] | None, where: str
) -> Readings | None:
    if phases is None:
        if not series:
            return None
        phases = ((Phase.SCREEN, len(series[0]["x"])),)  # the contract alone does not promise them
    runs = tuple(series[0]["x"]) if series else ()
    values = array("q", bytes(8 * len(runs) * len(series)))
    for at, one in enumerate(series):
        if tuple(one["x"]) != runs or len(one["values"]) != len(runs):
            raise DocumentError(below(where, f"series[{at}]") + ": x and values do not match the x of series[0]")
        values[at :: len(series)] = one["values"]
    if sum(count for _, count in phases) != len(runs):
        raise DocumentError(below(where, "phases") + f": they do not add up to {len(runs)} readings")
    in_phases = tuple(phase for phase, count in phases for _ in range(count))
    return Readings(tuple(_metric(one) for one in series), runs, in_phases, values)


def _over_time(found: dict[str, Any]) -> Series:
    x, values, unit = found.pop("x"), found.pop("values"), found.pop("x_unit")
    return Series(_metric(found), x, values, unit)


def _series(value: object, where: str) -> dict[str, Any]:
    """Read a series: of whole numbers, packed, over runs; of any numbers over seconds."""
    over = fields_of(value, where, _X_UNIT, {})["x_unit"]
    found = fields_of(value, where, {**_METRIC, **_SERIES[over]}, _METRIC_MORE)
    if over == "second" and len(found["x"]) != len(found["values"]):
        raise DocumentError(f"{where}: {len(found['x'])} positions for {len(found['values'])} values")
    return {**found, "x_unit": over}


def _phase_count(value: object, where: str) -> tuple[Phase, int]:
    phase, count = row(_PHASE, whole)(value, where)
    if count < 1:
        raise wrong(value, where, "a phase and how many readings it has")
    return phase, count


def _metric(found: dict[str, Any]) -> Metric:
    name, unit = found.pop("metric"), found.pop("unit")
    usual = METRICS.get(name, Metric(name, unit, exact=False))
    flags = {key: found.pop(key, getattr(usual, key)) for key in ("exact", "resource", "lower_is_better")}
    metric = Metric(name, unit, **flags)
    return usual if metric == usual else metric


def _finding(value: object, where: str) -> Finding:
    found = fields_of(value, where, _FINDING, _FINDING_MORE)
    measured = {key: found.pop(key, 0) for key in ("n", "r", "least_squares")}
    trend = Trend(found.pop("shape"), found.pop("per_run"), **measured)
    return Finding(metric=_metric(found), trend=trend, **found)


# -- the keys ----------------------------------------------------------------------------------------------------------


def _record(kind: type, required: Mapping[str, Reader], optional: Mapping[str, Reader]) -> Reader:
    """Return a reader of objects whose keys are the fields of a value of *kind*, and have it written likewise."""
    RECORDS[kind] = (*required, *optional)
    return lambda value, where: kind(**fields_of(value, where, required, optional))


_COUNT, _SECONDS, _SCORE = between(whole, 0), between(number, 0), between(number, 0, 100)
_PHASE = member(Phase, "a phase")
_ESTIMATE = _record(Estimate, {"point": number, "low": number, "high": number, "level": number}, {})
_HOP = _record(Hop, {"kind": text, "name": text, "type": text, "grows_per_run": number, "suspect": flag}, {})
_PATH = _record(RetentionPath, {"hops": each(_HOP), "text": text}, {})
_TYPE = _record(TypeGrowth, {"type": text, "count_per_run": number, "bytes_per_run": number}, {})
_SITE = _record(
    Site,
    {
        "file": text,
        "line": whole,
        "function": text,
        "bytes_per_run": number,
        "blocks_per_run": number,
        "traceback": each(text),
    },
    {"source": text},
)
_HOLDER = _record(Holder, {}, {"kind": text, "name": text, "limit": or_none(whole), "grew": number, "why": text})
_CONTROL = _record(Control, {"per_run": number}, {"largest_step": number})

_SCALARS: Mapping[type, Reader] = {str: text, bool: flag, int: whole, float: number}
_TABLES: Mapping[str, Reader] = {
    "allow": each(row(text, number)),
    "metrics": each(text),
    "control": each(row(text, number, number)),
}
#: Every field of a plan by the type of its default, so that a field that is added there is stored as well.
_PLAN = _record(
    Plan, {}, {field.name: _TABLES.get(field.name) or _SCALARS[type(field.default)] for field in fields(Plan)}
)

_METRIC: Mapping[str, Reader] = {"metric": text, "unit": member(Unit, "a unit")}
_METRIC_MORE: Mapping[str, Reader] = {"exact": flag, "resource": flag, "lower_is_better": flag}
_FINDING: Mapping[str, Reader] = {
    **_METRIC,
    "exact": flag,
    "shape": member(Shape, "a shape"),
    "per_run": _ESTIMATE,
    "total": number,
    "fingerprint": text,
    "status": or_none(one_of("new", "known", "worse", "fixed")),
    "advice": text,
    "sites": each(_SITE),
    "types": each(_TYPE),
    "paths": each(_PATH),
}
_FINDING_MORE: Mapping[str, Reader] = {
    **_METRIC_MORE,
    "n": _COUNT,
    "r": number,
    "least_squares": number,
    "names": each(text),
}
_X_UNIT: Mapping[str, Reader] = {"x_unit": one_of("run", "second")}
_SERIES: Mapping[str, Mapping[str, Reader]] = {
    "run": {"x": whole_numbers, "values": whole_numbers},
    "second": {"x": each(number), "values": each(number)},
}
_RESULT: Mapping[str, Reader] = {
    "id": text,
    "kind": one_of("test", "callable", "scenario", "process"),
    "file": text,
    "line": _COUNT,
    "verdict": member(Level, "a verdict"),
    "confidence": _SCORE,
    "policies": by_name(_SCORE),
    "reason": text,
    "runs": _COUNT,
    "duration_s": _SECONDS,
    "worker": or_none(text),
    "series": each(_series),
    "findings": each(_finding),
}
_RESULT_MORE: Mapping[str, Reader] = {
    "policy": text,
    "stopped": text,
    "notes": each(text),
    "first_run_s": _SECONDS,
    "holder": _HOLDER,
    "phases": or_none(each(_phase_count)),
}
_SUMMARY: Mapping[str, Reader] = {
    "checked": _COUNT,
    **{level.value: _COUNT for level in Level},
    "repeat_s": _SECONDS,
    "overhead_ratio": or_none(number),
}
_RUN: Mapping[str, Reader] = {
    "started_at": text,
    "duration_s": _SECONDS,
    "environment": free,
    "commit": or_none(free),
    "settings": free,
    "control": by_name(_CONTROL),
    "summary": keys(_SUMMARY, {"plain_s": _SECONDS}),
}
_CAUSE: Mapping[str, Reader] = {"fingerprint": text, "text": text, "results": each(text), "per_run": number}
_CAUSE_MORE: Mapping[str, Reader] = {
    **_METRIC,
    **_METRIC_MORE,
    "growth": each(keys({**_METRIC, "per_run": number}, _METRIC_MORE)),
    "loss_bytes": number,
    "reproducer": text,
    "x_unit": text,
}
#: Written for other readers, and made anew when the document is written again.
_FOR_OTHERS: Mapping[str, Reader] = {
    "tool": keys({"name": text, "version": text}, {}),
    "control": by_name(keys({"noisy": flag}, {})),
    "causes": each(keys(_CAUSE, _CAUSE_MORE)),
}
