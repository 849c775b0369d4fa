"""A comparison of two sessions as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.core.compare import KINDS
from pytest_memguard.core.units import Unit, amount, signed
from pytest_memguard.renderers._words import joined, noun_in_full, noun_of, per, plain

if TYPE_CHECKING:
    from pytest_memguard.core.values import Change, Comparison, RunResult

__all__ = ["change_counts", "change_growth", "comparison", "run_label"]

_SHA_DIGITS = 10
_DAY = 10
_MOST_TESTS = 3


def comparison(comparison: Comparison) -> str:
    """Return what changed, a leak each two or three lines, then what else there is to know."""
    sides = f"from {run_label(comparison.before)} to {run_label(comparison.after)}"
    lines = [f"memguard: {change_counts(comparison)}, {sides}"]
    for change in comparison.changes:
        lines += _lines(change)
    return "\n".join([*lines, *(f"note: {plain(note)}" for note in comparison.notes)])


def change_counts(comparison: Comparison) -> str:
    """Return how many leaks are of which kind, as in "1 new, 2 known"."""
    numbers = {kind: len(comparison.of(kind)) for kind in KINDS}
    words = [f"{amount(number, Unit.COUNT)} {kind}" for kind, number in numbers.items() if number]
    if words:
        return ", ".join(words)
    return "no leak in either" if comparison.decided else "nothing that could be compared"


def change_growth(change: Change) -> str:
    """Return the growth before and after, as in "+7 -> +70 blocks a run"."""
    if change.verdict == "footprint":
        sizes = [amount(one or 0, change.metric.unit) for one in (change.before, change.after)]
        return f"{' -> '.join(sizes)} {noun_in_full(change.metric)}"
    numbers = [signed(one, change.metric.unit) for one in (change.before, change.after) if one is not None]
    if not numbers:
        return "growth that nothing is known of"
    was = " was" if change.after is None else ""
    texts = list(dict.fromkeys(numbers))
    return f"{was} {' -> '.join(texts)} {noun_of(change.metric, texts[-1])} {per(change.x_unit)}".strip()


def run_label(run: RunResult) -> str:
    """Return which session it is: its commit, else its day."""
    commit = run.commit or {}
    sha, day = str(commit.get("sha") or "")[:_SHA_DIGITS], str(commit.get("time") or run.started_at)[:_DAY]
    if not sha:
        return plain(f"the session of {day}")
    return plain(f"{sha}{' with changes' if commit.get('dirty') else ''} ({day})")


def _lines(change: Change) -> list[str]:
    named = f"  [{change.fingerprint}]" if change.fingerprint else ""
    unsure = ", not sure to be a leak" if change.verdict == "growing" else ""
    head = f"  {change.kind:5}  {change_growth(change)}{unsure}{plain(named)}"
    tests = joined([plain(name) for name in change.results], _MOST_TESTS)
    return [head, f"         {plain(change.text)}", *([f"         in {tests}"] if tests else [])]
