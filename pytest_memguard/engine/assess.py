"""A finished measurement -> the result of its subject: verdict, findings, amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_memguard.core.trend import READINGS_NEEDED, fit
from pytest_memguard.core.values import (
    Estimate,
    Finding,
    Level,
    Phase,
    Readings,
    Series,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.core.verdict import judge

if TYPE_CHECKING:
    from pytest_memguard.core.ladder import Plan, Suspect
    from pytest_memguard.engine.watch import Record

__all__ = ["Identity", "assess", "not_measured"]

_WITH_FINDINGS = (Level.LEAK, Level.GROWING, Level.BOUNDED)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a subject is called and where it stands."""

    id: str
    kind: str = "test"
    file: str = ""
    line: int = 0
    worker: str | None = None
    first_run_s: float = 0.0


def assess(record: Record, identity: Identity) -> SubjectResult:
    """Return the result of a measurement."""
    verdict = judge(record.readings, record.plan, record.step, record.holder, record.failure)
    findings: tuple[Finding, ...] = ()
    if verdict.level in _WITH_FINDINGS:
        findings = tuple(_finding(suspect, record) for suspect in _of_interest(record.step.suspects))
    return SubjectResult(
        id=identity.id,
        kind=identity.kind,
        verdict=verdict,
        runs=1 + (record.readings.runs[-1] if len(record.readings) else 0),
        duration_s=record.duration_s,
        first_run_s=identity.first_run_s,
        file=identity.file,
        line=identity.line,
        worker=identity.worker,
        readings=record.readings,
        findings=findings,
        holder=record.holder,
        plan=record.plan,
        stopped=record.failure,
    )


def not_measured(identity: Identity, level: Level, reason: str) -> SubjectResult:
    """Return the result of a subject that was not, or could not be, measured."""
    return SubjectResult(
        id=identity.id,
        kind=identity.kind,
        verdict=Verdict(level, 0.0, reason),
        runs=1,
        first_run_s=identity.first_run_s,
        file=identity.file,
        line=identity.line,
        worker=identity.worker,
    )


def _of_interest(suspects: tuple[Suspect, ...]) -> tuple[Suspect, ...]:
    """Return those whose growth was confirmed, if any was: the others only shook along."""
    return tuple(suspect for suspect in suspects if suspect.confirmed) or suspects


def _finding(suspect: Suspect, record: Record) -> Finding:
    readings, plan = record.readings, record.plan
    columns = [readings.column(suspect.metric, phase) for phase in Phase]
    total = sum(values[-1] - values[0] for values in columns if values)
    return Finding(suspect.metric, _trend(suspect, readings, plan), total)


def _trend(suspect: Suspect, readings: Readings, plan: Plan) -> Trend:
    """Fit the last phase that is long enough, and keep the shape and the rate that the verdict was made from."""
    for phase in (Phase.CONFIRM, Phase.CLIMB, Phase.SCREEN):
        values = readings.column(suspect.metric, phase)
        if len(values) >= READINGS_NEEDED:
            fitted = fit(Series(suspect.metric, readings.runs_of(phase), values))
            slope = _agreed(fitted.slope, suspect, plan) if suspect.confirmed else fitted.slope
            return Trend(suspect.shape, slope, fitted.n, fitted.r, fitted.least_squares)
    return Trend(suspect.shape, Estimate(suspect.rate, suspect.rate, suspect.rate, 0.0), len(readings))


def _agreed(slope: Estimate, suspect: Suspect, plan: Plan) -> Estimate:
    """Return *slope* around the confirmed rate: a median of slopes also counts what grew beside it, once each."""
    rate = suspect.rate + sum(amount for name, amount in plan.allow if name == suspect.metric.name)
    return Estimate(rate, min(slope.low, rate), max(slope.high, rate), slope.level)
