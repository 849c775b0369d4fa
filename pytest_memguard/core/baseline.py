"""
A baseline: what is left of a session when only its leaks matter, small and sorted, to be read in a pull request.

    memguard-baseline/1   {"schema", "tool", "saved_at", "commit", "environment": {...},
                           "files": {file: number of tests measured},
                           "metrics": {name: {...}},  only those that are not built in
                           "leaks": [{"fingerprint", "text", "verdict",
                                      "tests": {id: {metric: [point, low, high] growth a run}}}]}

It is read as a session again, in which each leaking test stands for itself and each file for its other tests.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import _expect as expect
from pytest_memguard.core._reading import TOOL
from pytest_memguard.core.causes import causes
from pytest_memguard.core.compare import estimate_of
from pytest_memguard.core.document import version_of
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import (
    METRICS,
    Estimate,
    Finding,
    Level,
    Metric,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SCHEMA", "dumps", "from_dict", "to_dict"]

SCHEMA = "memguard-baseline/1"

_GROWS = (Level.LEAK, Level.GROWING)
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
#: What the size of objects may depend on; the rest would only be noise in a pull request.
_ENVIRONMENT = ("python", "implementation", "platform", "machine", "libc", "allocator", "free_threaded", "merged")
_DIGITS = 6


def dumps(run: RunResult) -> str:
    """Return the baseline of *run* as ASCII text with one entry a line, the same for the same leaks."""
    content = to_dict(run)
    try:
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(expect.first_misfit(content) or expect.shown(str(error))) from error


def to_dict(run: RunResult) -> dict[str, Any]:
    """Return the baseline of *run* as dicts, lists, text and numbers."""
    files: dict[str, int] = {}
    for one in run.results:
        if one.verdict.level not in _UNANSWERED:
            files[_file(one)] = files.get(_file(one), 0) + 1
    leaks = _leaks(run)
    metrics = {finding.metric for one in run.results for finding in one.findings if one.verdict.level in _GROWS}
    return {
        "schema": SCHEMA,
        "tool": {"name": TOOL, "version": version_of(run.environment)},
        "saved_at": run.started_at,
        "commit": None if run.commit is None else dict(run.commit),
        "environment": _environment(run.environment),
        "files": files,
        "metrics": {one.name: _metric_to_dict(one) for one in metrics if METRICS.get(one.name) != one},
        "leaks": [leaks[key] for key in sorted(leaks)],
    }


def _environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: environment[key] for key in _ENVIRONMENT if environment.get(key) is not None}
    if isinstance(kept.get("platform"), str):
        kept["platform"] = kept["platform"].partition("-")[0]  # the release of a kernel changes with each machine
    return kept


def _file(result: SubjectResult) -> str:
    return result.file or result.id.partition("::")[0]


def _leaks(run: RunResult) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the entries of leaks by fingerprint and, of those that have none, by test."""
    grown = [one for one in run.results if one.verdict.level in _GROWS]
    texts = {cause.fingerprint: cause.text for cause in causes(grown)}
    leaks: dict[tuple[str, str], dict[str, Any]] = {}
    for result in grown:
        for name, findings in _by_fingerprint(result).items():
            text = texts.get(name) or result.verdict.reason
            empty = {"fingerprint": name, "text": text, "verdict": Level.GROWING.value, "tests": {}}
            leak = leaks.setdefault((name, "" if name else result.id), empty)
            if result.verdict.level is Level.LEAK:
                leak["verdict"] = Level.LEAK.value
            rates = leak["tests"].setdefault(result.id, {})
            for finding in findings:
                _add(rates, finding, result)
    return leaks


def _by_fingerprint(result: SubjectResult) -> dict[str, list[Finding]]:
    """Return the findings by fingerprint; those without one only where none has."""
    groups: dict[str, list[Finding]] = {}
    for finding in result.findings:
        groups.setdefault(finding.fingerprint, []).append(finding)
    if len(groups) > 1:
        groups.pop("", None)
    return groups or {"": []}


def _add(rates: dict[str, list[float]], finding: Finding, result: SubjectResult) -> None:
    """Add the growth by one metric; of two of one test (a matrix) the larger counts."""
    grown = estimate_of(finding, result)
    entry = [_rounded(number) for number in (grown.point, grown.low, grown.high)]
    rates[finding.metric.name] = max(rates.get(finding.metric.name, entry), entry)


def _rounded(number: float) -> float:
    value = float(f"{number:.{_DIGITS}g}")
    return int(value) if value.is_integer() and abs(value) < 10**_DIGITS else value


def _metric_to_dict(metric: Metric) -> dict[str, Any]:
    return {"unit": metric.unit.value, "exact": metric.exact, "resource": metric.resource}


# -- reading ---------------------------------------------------------------------------------------------------------


def from_dict(content: Mapping[str, Any]) -> RunResult:
    """
    Return the session that a baseline stands for.

    Raises:
        DocumentError: *content* is no baseline of this schema; one line says what and where.

    """
    expect.fields_of(content, "", {"schema": _schema}, {})
    found = expect.fields_of(content, "", _BASELINE, {"metrics": expect.by_name(expect.keys(_METRIC, {}))})
    metrics = {**METRICS, **{name: _metric(name, one) for name, one in found.get("metrics", {}).items()}}
    results = [*_results(found["leaks"], metrics), *_placeholders(found["files"])]
    environment, commit = found["environment"], found["commit"]
    return RunResult(found["saved_at"], 0.0, environment=environment, commit=commit, results=tuple(results))


def _results(leaks: tuple[dict[str, Any], ...], metrics: Mapping[str, Metric]) -> Iterator[SubjectResult]:
    """Yield a result for each leaking test, all of its leaks in it; what has no fingerprint in one of its own."""
    findings: dict[tuple[str, bool], list[Finding]] = {}
    verdicts: dict[tuple[str, bool], Verdict] = {}
    for at, leak in enumerate(leaks):
        for name, rates in leak["tests"].items():
            key = name, bool(leak["fingerprint"])
            if key not in verdicts or leak["verdict"] is Level.LEAK:
                verdicts[key] = Verdict(leak["verdict"], 0.0, leak["text"])
            findings.setdefault(key, []).extend(_findings(leak, rates, metrics, f"leaks[{at}].tests"))
    for key, found in findings.items():
        name = key[0]
        yield SubjectResult(name, "test", verdicts[key], file=name.partition("::")[0], findings=tuple(found))


def _findings(
    leak: Mapping[str, Any], rates: Mapping[str, tuple[float, ...]], metrics: Mapping[str, Metric], where: str
) -> Iterator[Finding]:
    for metric, (point, low, high) in rates.items():
        if metric not in metrics:
            raise DocumentError(f"{where}: {expect.shown(metric)} is not among the metrics")
        trend = Trend(Shape.LINEAR, Estimate(point, low, high), 0)
        yield Finding(metrics[metric], trend, 0.0, leak["fingerprint"], names=(leak["text"],))


def _placeholders(files: Mapping[str, int]) -> Iterator[SubjectResult]:
    for file, count in files.items():
        yield SubjectResult(file, "test", Verdict(Level.CLEAN, 0.0, f"stands for the {count} tests of it"), file=file)


def _metric(name: str, found: Mapping[str, Any]) -> Metric:
    return Metric(name, found["unit"], exact=found["exact"], resource=found["resource"])


def _schema(value: object, where: str) -> str:
    schema = expect.text(value, where)
    if schema == SCHEMA:
        return schema
    name, _, version = schema.partition("/")
    is_newer = f"{name}/1" == SCHEMA and version.isdecimal()
    advice = f"a newer {TOOL} wrote it; update" if is_newer else f"this is not a baseline of {TOOL}"
    raise DocumentError(f"{where}: {expect.shown(schema)} is not {SCHEMA!r}; {advice}")


_METRIC: Mapping[str, expect.Reader] = {
    "unit": expect.member(Unit, "a unit"),
    "exact": expect.flag,
    "resource": expect.flag,
}
_LEAK: Mapping[str, expect.Reader] = {
    "fingerprint": expect.text,
    "text": expect.text,
    "verdict": expect.member(Level, "a verdict"),
    "tests": expect.by_name(expect.by_name(expect.row(expect.number, expect.number, expect.number))),
}
_BASELINE: Mapping[str, expect.Reader] = {
    "saved_at": expect.text,
    "commit": expect.or_none(expect.free),
    "environment": expect.free,
    "files": expect.by_name(expect.whole),
    "leaks": expect.each(expect.keys(_LEAK, {})),
}
