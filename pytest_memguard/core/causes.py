"""
Results -> causes: what a hundred tests leak through one cache is one cause.

Findings of one fingerprint are one cause. What has no fingerprint, as nothing is known of it, is none.
"""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING

from pytest_memguard.core.fingerprint import chief_site, is_telling, suspects
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import Cause, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Finding, Metric, RetentionPath, SubjectResult

__all__ = ["X_UNITS", "causes", "cheapest", "expected_loss", "growth_of", "loss_of", "rate_of", "reproducer"]

#: What one more of something is worth in bytes: a small object, and what the kernel keeps for a socket or a thread.
_BLOCK_BYTES, _RESOURCE_BYTES = 64, 64 * 1024
_GROWS = (Level.LEAK, Level.GROWING)
#: What growth is counted over; what can be repeated exactly comes first.
X_UNITS = ("run", "request", "second")
#: What holds for a resource is told by its maker; only these kinds of holder have a name that says who it is.
_NAMED = ("bounded", "unbounded")

#: Such a name follows what stands before it: ``.attribute``, ``['key']``, ``[...]``.
_CONTINUES = re.compile(r"\.\w|\[")

_Group = list[tuple["SubjectResult", "Finding"]]


def causes(results: Sequence[SubjectResult]) -> tuple[Cause, ...]:
    """
    Fold the findings of all leaks and of all growth by fingerprint.

    Returns:
        Resources first, for they run out; then the dearest first.

    """
    groups: dict[str, _Group] = {}
    for result in results:
        if result.verdict.level in _GROWS:
            for finding in result.findings:
                if finding.fingerprint:
                    groups.setdefault(finding.fingerprint, []).append((result, finding))
    found = [_cause(name, group) for name, group in groups.items()]
    return tuple(sorted(found, key=lambda one: (not one.metric.resource, -one.loss_bytes, one.fingerprint)))


def cheapest(results: Iterable[SubjectResult]) -> SubjectResult:
    """Return the result that is measured again in the least time."""
    return min(results, key=lambda one: (one.kind != "test", one.first_run_s * one.runs, one.id))


def expected_loss(result: SubjectResult) -> float:
    """Return the bytes a run that are expected to be lost: what grows, times how likely it is a leak."""
    rates = {metric: _finite(rate) for metric, rate in growth_of(result)}
    return _finite(_finite(result.verdict.score) / 100 * loss_of(rates))


def loss_of(rates: Mapping[Metric, float]) -> float:
    """Return what growth by these rates a run takes, in bytes."""
    sizes = [rate for metric, rate in rates.items() if metric.unit is Unit.BYTE]
    counts = [rate * _weight(metric) for metric, rate in rates.items() if metric.unit is Unit.COUNT]
    # Heap and mapped memory see the same bytes, so the largest stands for all of them.
    return _finite(max(sizes, default=0.0) + sum(counts))


def rate_of(finding: Finding, result: SubjectResult) -> float:
    """Return the growth a run (request, second): the slope, or the mean where it comes too rarely for a slope."""
    point = finding.trend.slope.point
    return point if point > 0 else finding.total / max(1, _length(result))


def growth_of(result: SubjectResult) -> tuple[tuple[Metric, float], ...]:
    """Return the growth of each metric; of several processes of one service all together."""
    rates: dict[Metric, float] = {}
    for finding in result.findings:
        rates[finding.metric] = rates.get(finding.metric, 0.0) + rate_of(finding, result)
    return tuple(rates.items())


def _length(result: SubjectResult) -> float:
    """Return what growth is divided by to get its rate."""
    return {"run": result.runs - 1, "request": result.runs}.get(result.x_unit, result.duration_s)


def _weight(metric: Metric) -> int:
    return _RESOURCE_BYTES if metric.resource else _BLOCK_BYTES


def _finite(value: float) -> float:
    """Return *value* as JSON can hold it: sums of what a document may hold are beyond the largest number."""
    return float(max(-sys.float_info.max, min(sys.float_info.max, value)))


# -- one cause -------------------------------------------------------------------------------------------------------


def _cause(name: str, group: _Group) -> Cause:
    results = {id(result): result for result, _ in group}
    first = min(group, key=lambda one: one[0].id)
    x_unit = min((result.x_unit for result, _ in group), key=X_UNITS.index)
    alike = [one for one in group if one[0].x_unit == x_unit]
    return Cause(
        fingerprint=name,
        text=_text(*first),
        results=tuple(dict.fromkeys(one.id for one in results.values())),
        growth=tuple(_growth(alike)),
        reproducer=reproducer(cheapest(results.values())),
        loss_bytes=_finite(sum(_losses(alike))),
        x_unit=x_unit,
    )


def reproducer(result: SubjectResult) -> str:
    """Return the command that measures *result* again; empty where it is not known."""
    if result.kind == "test":
        return f"pytest {shlex.quote(result.id)} --memguard"
    if result.kind == "process":
        return f"memguard monitor -d {max(1, round(result.duration_s))} -- COMMAND"
    if result.kind == "scenario" and result.file.endswith(".py"):  # its test has soaked it
        return f"pytest {shlex.quote(result.id)}"
    if result.kind == "scenario" and result.file:
        part = f"#{result.id}" if result.file == "pyproject.toml" else ""
        return f"memguard soak {shlex.quote(result.file + part)}"
    return ""


def _growth(group: _Group) -> Iterator[tuple[Metric, float]]:
    """Yield the growth of all results together: resources first, then the largest size, then the rest."""
    rates: dict[Metric, float] = {}
    for result, finding in group:
        rates[finding.metric] = _finite(rates.get(finding.metric, 0.0) + _finite(rate_of(finding, result)))
    order = {Unit.BYTE: 0, Unit.COUNT: 1, Unit.SECOND: 2}
    yield from sorted(rates.items(), key=lambda one: (not one[0].resource, order[one[0].unit], -one[1], one[0].name))


def _losses(group: _Group) -> Iterator[float]:
    rates: dict[int, dict[Metric, float]] = {}
    scores: dict[int, float] = {}
    for result, finding in group:
        known = rates.setdefault(id(result), {})
        known[finding.metric] = _finite(known.get(finding.metric, 0.0) + _finite(rate_of(finding, result)))
        scores[id(result)] = _finite(result.verdict.score) / 100
    for key, grown in rates.items():
        yield _finite(scores[key] * loss_of(grown))


def _text(result: SubjectResult, finding: Finding) -> str:
    """Return who holds it, the head of its path or where it is made, in that order."""
    if not finding.metric.resource:
        if result.holder.name and result.holder.kind in _NAMED:
            return result.holder.name
        if finding.paths and finding.paths[0].hops and (is_telling(finding.paths[0]) or not finding.sites):
            return _head(finding.paths[0])
    if finding.sites:
        site = chief_site(finding.sites)
        verb = "opened" if finding.metric.name == "fds" else "started" if finding.metric.resource else "allocated"
        return f"{verb} in {site.function} ({site.file}:{site.line})"
    if finding.names:
        return ", ".join(dict.fromkeys(finding.names[:2]))
    return result.holder.name or result.verdict.reason


def _head(path: RetentionPath) -> str:
    """Return the names of the hops from the root down to the last suspect one, as one expression where they are one."""
    last = (suspects(path) or path.hops)[-1]
    text = ""
    for hop in path.hops[: path.hops.index(last) + 1]:
        text += hop.name if not text or _CONTINUES.match(hop.name) else f" -> {hop.name}"
    return text
