"""
RunResult <-> the result document, as plain dicts and as JSON text; ``docs/reference/result.schema.json`` describes it.

    memguard-result/1   since 0.1. Keys may be added at any time: who reads ignores what it does not know, and
                        takes the usual value for what an older document does not have yet.

Readings, plan and holder are stored whole, so that ``core.verdict.rejudge`` can make each verdict again. Keys that an
older document need not have are left out where they say the usual: of ten thousand clean tests that is a tenth.
"""

from __future__ import annotations

import json
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import _reading
from pytest_memguard.core._expect import first_misfit, shown
from pytest_memguard.core._reading import RECORDS, SCHEMA, TOOL
from pytest_memguard.core.causes import causes
from pytest_memguard.core.values import METRICS, Holder, Level, Phase
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_memguard.core.ladder import Plan
    from pytest_memguard.core.values import Cause, Finding, Metric, Readings, RunResult, Series, SubjectResult

__all__ = [
    "SCHEMA", "dumps", "from_dict", "loads", "outlined", "parse", "result_from_dict", "result_to_dict", "to_dict",
    "version_of",
]  # fmt: skip

_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
_UNSEEN = Holder()


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
        raise DocumentError(first_misfit(to_dict(result)) or shown(str(error))) from error
    frame["results"] = f"[{results}]"
    return "{" + ",".join(f'"{key}":{text}' for key, text in frame.items()) + "}"


def to_dict(result: RunResult) -> dict[str, Any]:
    """Return the document as dicts, lists, text and numbers."""
    return {**_frame(result), "results": list(_entries(result))}


def _frame(result: RunResult) -> dict[str, Any]:
    """Return the document, its results left empty."""
    return {
        "schema": SCHEMA,
        "tool": {"name": TOOL, "version": version_of(result.environment)},
        "started_at": result.started_at,
        "duration_s": result.duration_s,
        "environment": dict(result.environment),
        "commit": None if result.commit is None else dict(result.commit),
        "settings": dict(result.settings),
        "control": {name: {**_plain(one), "noisy": one.noisy} for name, one in result.control.items()},
        "plans": [_plain(plan) for plan in _plans(result)],
        "results": [],
        "causes": [_cause_to_dict(cause) for cause in causes(result.results)],
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
        "notes": list(result.notes),
        "runs": result.runs,
        "duration_s": result.duration_s,
        "first_run_s": result.first_run_s,
        "worker": result.worker,
        "plan": plan,
        "series": [*_readings_to_list(readings), *map(_series_to_dict, result.timeline)],
        "findings": [_finding_to_dict(finding) for finding in result.findings],
        **_unusual(result),
    }


def _unusual(result: SubjectResult) -> dict[str, Any]:
    """Return what a reader would not take for granted, were it not there."""
    found: dict[str, Any] = {}
    if result.stopped:
        found["stopped"] = result.stopped
    if result.holder != _UNSEEN:
        found["holder"] = _plain(result.holder)
    readings = result.readings
    if readings is not None and not (readings.metrics and set(readings.phases) <= {Phase.SCREEN}):
        found["phases"] = _phases_to_list(readings)
    return found


def _cause_to_dict(cause: Cause) -> dict[str, Any]:
    """Return a cause, which is found again in the results when the document is read."""
    return {
        "fingerprint": cause.fingerprint,
        "text": cause.text,
        "results": list(cause.results),
        **_metric_to_dict(cause.metric),
        "per_run": cause.per_run,
        "growth": [{**_metric_to_dict(metric), "per_run": rate} for metric, rate in cause.growth],
        "loss_bytes": cause.loss_bytes,
        "reproducer": cause.reproducer,
        **({} if cause.x_unit == "run" else {"x_unit": cause.x_unit}),
    }


def version_of(environment: Mapping[str, Any]) -> str:
    """Return the version that measured, which need not be the one that writes (``memguard merge``)."""
    packages = environment.get("packages")
    version = packages.get(TOOL) if isinstance(packages, dict) else None
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
    """Return a value of ``RECORDS`` as a dict, a tuple as a list, anything else as it is."""
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    keys = RECORDS.get(type(value))
    return value if keys is None else {key: _plain(getattr(value, key)) for key in keys}


def _phases_to_list(readings: Readings) -> list[list[Any]]:
    """Return name and length of each phase; readings of no metric have no series, and count as none."""
    phases = readings.phases if readings.metrics else ()
    return [[phase.value, len(tuple(same))] for phase, same in groupby(phases)]


def _readings_to_list(readings: Readings | None) -> list[dict[str, Any]]:
    if readings is None:
        return []
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


def _series_to_dict(series: Series) -> dict[str, Any]:
    return {
        **_metric_to_dict(series.metric),
        "x": list(series.x),
        "x_unit": series.x_unit,
        "values": list(series.values),
    }


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
    return from_dict(parse(text))


def parse(text: str) -> Any:  # noqa: ANN401 - whatever it holds
    """
    Return what *text* holds, as dicts, lists, text and numbers.

    Raises:
        DocumentError: *text* is not JSON, or was cut short; one line says where.

    """
    constants: list[str] = []

    def read_constant(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        content = json.loads(text, parse_constant=read_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        why = error.msg.removesuffix(" at")  # "Unterminated string starting at"
        raise DocumentError(f"this is not JSON, or was cut short: {why} at {place}") from error
    except (ValueError, RecursionError) as error:  # a number of 4,300 digits, brackets without end
        raise DocumentError(f"this is not JSON: {shown(str(error))}") from error
    if constants:
        raise DocumentError(first_misfit(content) or f"{constants[0]} is not JSON")
    return content


def outlined(content: Any) -> Any:  # noqa: ANN401 - whatever was parsed
    """Return *content* without the readings of tests and callables; what is no document as it is."""
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, list):
        return content
    return {**content, "results": [_outlined(one) for one in results]}


def _outlined(result: Any) -> Any:  # noqa: ANN401 - see above
    is_short = isinstance(result, dict) and result.get("kind") in ("test", "callable") and "series" in result
    return {**result, "series": [], "phases": None, "plan": None} if is_short else result


def from_dict(content: Mapping[str, Any]) -> RunResult:
    """
    Return what ``to_dict`` made *content* from.

    Raises:
        DocumentError: *content* is no result document of this schema; one line says what and where.

    """
    return _reading.run_of(content)


def result_from_dict(content: Mapping[str, Any]) -> SubjectResult:
    """
    Return what ``result_to_dict`` made *content* from.

    Raises:
        DocumentError: *content* is no entry of ``results``; one line says what and where.

    """
    return _reading.result_of(content)
