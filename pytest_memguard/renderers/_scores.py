"""How sure: every named score of a result, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.core import calibration
from pytest_memguard.core.ladder import suspects_of
from pytest_memguard.core.policies import Points, correlation, growth, points
from pytest_memguard.core.units import Unit, amount
from pytest_memguard.core.verdict import holder_kind, length_of, score_of
from pytest_memguard.renderers._words import noun_in_full

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_memguard.core.values import Series, SubjectResult

__all__ = ["policies"]

_FULL_POINTS = (
    ("growth_rate", "growth rate", 40), ("consistent_growth", "consistent growth", 20), ("high_peak", "high peak", 20),
    ("low_gc_efficiency", "low collector efficiency", 15), ("other_risk", "other risk", 5),
)  # fmt: skip


def policies(result: SubjectResult) -> Iterator[tuple[str, str, str, bool]]:
    """Yield each named score: name, score, the parts that it is made of, and whether it decided."""
    parts = _parts(result)
    for name, score in result.verdict.policies:
        yield name, amount(score, Unit.COUNT), parts.get(name, ""), name == result.verdict.policy


def _parts(result: SubjectResult) -> dict[str, str]:
    """Return in words what each score is made of, as far as the readings tell."""
    parts = {"any": "the largest of the four", "all": "the smallest of the four"}
    if result.readings is None or not len(result.readings):
        return parts
    judged = result.plan.metrics if result.plan else ()
    series = [one for one in result.readings.series() if not judged or one.metric.name in judged]
    try:
        return {**parts, **_parts_of_series(series), "calibrated": _calibrated(result)}
    except (ArithmeticError, LookupError, ValueError):  # readings that no ladder made; a document may hold them
        return parts


def _parts_of_series(series: Sequence[Series]) -> dict[str, str]:
    if not series:
        return {}
    highest = max(series, key=lambda one: points(one).score)
    straightest, steepest = max(series, key=correlation), max(series, key=growth)
    return {
        "points": f"{_points(points(highest))}; of {noun_in_full(highest.metric)}",
        "correlation": f"how straight it rises; of {noun_in_full(straightest.metric)}",
        "growth": f"how much from one reading to the next; of {noun_in_full(steepest.metric)}",
    }


def _points(found: Points) -> str:
    texts = [
        f"{label} {amount(round(getattr(found, name), 1), Unit.COUNT)} of {amount(full, Unit.COUNT)}"
        for name, label, full in _FULL_POINTS
    ]
    return ", ".join(texts)


def _calibrated(result: SubjectResult) -> str:
    """Say how often leaking and clean tests end like this one."""
    if result.plan is None or result.readings is None:
        return ""
    suspects = suspects_of(result.readings, result.plan)
    if not suspects:
        return "no metric was followed to its end"
    best = max(suspects, key=lambda one: score_of(one, result.readings, result.plan, result.holder))  # type: ignore[arg-type] # not None, see above
    key = (length_of(result.readings), best.shape.value, holder_kind(best, result.holder))
    leaking, clean = calibration.LEAKING.get(key, 0.0), calibration.CLEAN.get(key, 1.0)
    return (
        f"{noun_in_full(best.metric)} ends {', '.join(key)}: so do {_percent(leaking)} of leaking and at most"
        f" {_percent(clean)} of clean tests; {_percent(result.plan.prior)} are expected to leak"
    )


def _percent(share: float) -> str:
    return f"{amount(float(f'{100 * share:.3g}'), Unit.COUNT)} %"
