"""From the end of the ladder to a verdict: level, score, reason."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from pytest_memguard.core import calibration
from pytest_memguard.core.ladder import Plan, Step, Suspect, advance
from pytest_memguard.core.policies import combine, correlation, growth, points
from pytest_memguard.core.units import signed
from pytest_memguard.core.values import Holder, Level, Phase, Readings, Verdict

__all__ = ["holder_kind", "judge", "length_of", "rejudge", "score_of"]

_SETTLED = {
    "settled": (Level.SETTLED, "it grew at first and then stopped"),
    "thawed": (Level.SETTLED, "it grew only while the older heap was frozen, and not once that was collected as well"),
    "swings": (Level.SETTLED, "native memory moved up and down, and grew less and less"),
    "filled": (Level.BOUNDED, "it grew for some runs, then stopped, as a cache does that is full"),
    "flushed": (Level.BOUNDED, "what it kept was given back, as a buffer does that is flushed"),
}
_UNFOLLOWED = "it grew, and was not followed: this session has spent its time on others that grow; run this test alone"
#: Scores of growth that ended before the ladder did, by the share of its readings that were made.
_UNDECIDED_SCORE = 50.0


def rejudge(readings: Readings, plan: Plan, holder: Holder, failure: str = "") -> Verdict:
    """Make the verdict again from what is stored; the same as it was."""
    return judge(readings, plan, advance(readings, plan, holder), holder, failure)


def judge(readings: Readings, plan: Plan, step: Step, holder: Holder, failure: str = "") -> Verdict:
    """
    Return the verdict.

    Args:
        readings: All that were taken.
        plan: What they were taken by.
        step: The ladder's last answer.
        holder: What the holder check found.
        failure: Why the measurement was cut short; empty if it was not.

    """
    if failure and not _is_undecided(readings, step):
        return Verdict(Level.UNMEASURED, 0.0, failure, plan.policy)
    verdict = _by_ladder(readings, plan, step, holder, failure)
    return verdict if plan.policy == "calibrated" else _by_policy(verdict, readings, plan)


def _by_policy(verdict: Verdict, readings: Readings, plan: Plan) -> Verdict:
    """Let another score than the calibrated one decide; it looks at the readings alone, whatever the ladder says."""
    policies = _policies(readings, plan, dict(verdict.policies)["calibrated"])
    gate = dict(policies)[plan.policy]
    if gate >= plan.confidence:
        return replace(verdict, level=Level.LEAK, score=gate, policies=policies)
    level = Level.GROWING if verdict.level is Level.LEAK else verdict.level
    return replace(verdict, level=level, score=gate, policies=policies)


def _by_ladder(readings: Readings, plan: Plan, step: Step, holder: Holder, failure: str) -> Verdict:
    suspects = step.suspects
    if failure:
        return _scored(Level.GROWING, _UNDECIDED_SCORE, f"it still grew when this ended: {failure}", readings, plan)
    if step.end == "clean":
        return _clean((len(readings) - 1) * plan.batch, plan.policy)
    told = _told(step.end, holder)
    if told is not None:
        return _scored(*told, readings, plan)
    score = max((score_of(suspect, readings, plan, holder) for suspect in suspects), default=0.0)
    return _gate(score, suspects, readings, plan, holder)


def _told(end: str, holder: Holder) -> tuple[Level, float, str] | None:
    """Return level, score and reason of an end that says them by itself; None where they hang on who grew."""
    if end in _SETTLED:
        level, reason = _SETTLED[end]
        return level, 0.0, reason
    if end == "bounded":
        return Level.BOUNDED, 1.0, _bounded_reason(holder)
    if end == "unfollowed":
        return Level.GROWING, _UNDECIDED_SCORE, _UNFOLLOWED
    if end == "known":
        return Level.GROWING, _UNDECIDED_SCORE, f"what grows is {holder.name}: {holder.why}"
    return (Level.GROWING, _UNDECIDED_SCORE, _rebound_reason(holder)) if end == "rebound" else None


@cache
def _clean(repeats: int, policy: str) -> Verdict:
    policies = (("all", 0.0), ("any", 0.0), ("calibrated", 0.0), ("correlation", 0.0), ("growth", 0.0), ("points", 0.0))
    return Verdict(Level.CLEAN, 0.0, f"nothing grew over {repeats} more runs", policy, policies)


def _is_undecided(readings: Readings, step: Step) -> bool:
    return bool(step.suspects) and Phase.CLIMB in readings.phases and readings.phases.count(Phase.CLIMB) > 1


def _bounded_reason(holder: Holder) -> str:
    limit = f", which holds at most {holder.limit}" if holder.limit is not None else ", which has a limit"
    return f"what grows is {holder.name}{limit}"


def _rebound_reason(holder: Holder) -> str:
    return f"each run binds {holder.name} to a wrapper of its former value: the test does not undo what it patches"


#: Why what grows for sure is no leak yet.
_CUT_SHORT = "; cut short, as runs took long: repeated alone it is decided"


def _gate(score: float, suspects: tuple[Suspect, ...], readings: Readings, plan: Plan, holder: Holder) -> Verdict:
    policies = _policies(readings, plan, score)
    confirmed = any(suspect.confirmed for suspect in suspects)
    level = Level.LEAK if confirmed and score >= plan.confidence else Level.GROWING
    reason = _reason(suspects, readings, holder)
    if confirmed and level is Level.GROWING and length_of(readings) == "short":
        reason += _CUT_SHORT
    return Verdict(level, score, reason, plan.policy, policies)


def _reason(suspects: tuple[Suspect, ...], readings: Readings, holder: Holder) -> str:
    if not suspects:
        return "it grew, but too little to follow within max_runs"
    suspects = tuple(one for one in suspects if one.confirmed) or suspects
    amounts = ", ".join(f"{signed(one.rate, one.metric.unit)} {_noun(one)} a run" for one in suspects)
    held = f", held by {holder.name}" if holder.kind == "unbounded" else ""
    return f"{amounts}, {suspects[0].shape.value} over {readings.runs[-1]} more runs{held}"


def _noun(suspect: Suspect) -> str:
    return suspect.metric.name.replace("_", " ")


def score_of(suspect: Suspect, readings: Readings, plan: Plan, holder: Holder) -> float:
    """
    Return the probability, in percent, that repeating the subject for ever keeps *suspect* growing.

    score = 100 p B / (p B + 1 - p), with B = P(length, shape, holder | leak) / P(the same | clean).
    """
    key = (length_of(readings), suspect.shape.value, holder_kind(suspect, holder))
    clean = calibration.CLEAN.get(key, 1.0)
    leaking = calibration.LEAKING.get(key, 0.0)
    odds = plan.prior * leaking / clean / (1 - plan.prior)
    score = 100.0 * odds / (1.0 + odds)
    return round(score if suspect.confirmed else min(score, _UNDECIDED_SCORE), 1)


def length_of(readings: Readings) -> str:
    """Name how far the ladder went: the whole way, or cut short for slow subjects."""
    return "full" if readings.phases.count(Phase.CONFIRM) > 10 else "short"  # noqa: PLR2004 - 7 in a hurry, 25 or more else


def holder_kind(suspect: Suspect, holder: Holder) -> str:
    """Name what the score takes the holder for: resources and sampled counters are classes of their own."""
    if suspect.metric.resource:
        return "resource"
    return "sampled" if not suspect.metric.exact else holder.kind


def _scored(level: Level, score: float, reason: str, readings: Readings, plan: Plan) -> Verdict:
    return Verdict(level, score, reason, plan.policy, _policies(readings, plan, score))


def _policies(readings: Readings, plan: Plan, calibrated: float) -> tuple[tuple[str, float], ...]:
    """Return every named score of the metric that it is highest for, sorted by name."""
    scores = {"calibrated": calibrated, "correlation": 0.0, "growth": 0.0, "points": 0.0}
    for series in readings.series():
        if plan.metrics and series.metric.name not in plan.metrics:
            continue
        scores["correlation"] = max(scores["correlation"], correlation(series))
        scores["growth"] = max(scores["growth"], growth(series))
        scores["points"] = max(scores["points"], points(series).score)
    scores["any"], scores["all"] = combine(scores, "any"), combine(scores, "all")
    return tuple(sorted((name, round(value, 1)) for name, value in scores.items()))
