"""What a footprint, and what became of it, says to people and to machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import amount, signed
from pytest_memguard.renderers.terminal import plain
from pytest_memguard.scenario.footprint import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Change
    from pytest_memguard.scenario.footprint import Footprint, FootprintComparison, Range

__all__ = ["changes_table", "comparison_to_dict", "footprint_table", "step_cells"]

_TITLES = {
    "rss": "RSS",
    "uss": "USS",
    "heap": "heap",
    "blocks": "blocks",
    "fds": "fds",
    "threads": "threads",
    "kept": "kept",
    "kept_blocks": "kept blocks",
}
_KEPT = ("kept", "kept_blocks")


def footprint_table(footprint: Footprint) -> str:
    """Return one line a step: what is taken after it, and what it leaves behind; medians, with half the range."""
    names = [name for name in METRICS if any(name in step.after for step in footprint.steps)]
    head = ["after", *(_TITLES[name] for name in names)]
    rows = ([plain(step.name), *(_cell(name, step.after) for name in names)] for step in footprint.steps)
    return "\n".join(_aligned([head, *rows]))


def _cell(name: str, after: Mapping[str, Range]) -> str:
    if name not in after:
        return "-"
    one, unit = after[name], METRICS[name].unit
    text = signed(round(one.median), unit) if name in _KEPT else amount(round(one.median), unit)
    half = round((one.high - one.low) / 2)
    return f"{text} ±{amount(half, unit)}" if half else text


def step_cells(footprint: Footprint, requests: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """Return the amounts of each step by title, and how many *requests* it sent, where it is one that sends any."""
    return {
        step.name: {
            **({"requests": str(requests[step.name])} if step.name in requests else {}),
            **{_TITLES[name]: _cell(name, step.after) for name in METRICS if name in step.after},
        }
        for step in footprint.steps
    }


def changes_table(comparison: FootprintComparison) -> str:
    """Return one line a change, the worse ones first; then the notes."""
    changes = [*comparison.worse, *comparison.better]
    rows = [_change(change) for change in changes]
    lines = [*_aligned(rows), *(f"note: {plain(note)}" for note in comparison.notes)]
    if not changes:
        lines.insert(0, f"as before: none of {len(comparison.changes)} amounts has changed")
    return "\n".join(lines)


def _change(change: Change) -> list[str]:
    unit, was, now = change.metric.unit, change.before or 0.0, change.after or 0.0
    share = f" ({(now - was) / was:+.0%})" if was > 0 else ""
    name = _TITLES[change.metric.name]
    step = plain(change.results[0])
    return [change.kind, step, name, amount(was, unit), "->", amount(now, unit), f"{signed(now - was, unit)}{share}"]


def comparison_to_dict(comparison: FootprintComparison) -> dict[str, Any]:
    """Return a comparison as JSON can hold it."""
    return {
        "refused": comparison.refused,
        "notes": list(comparison.notes),
        "changes": [
            {
                "kind": change.kind,
                "step": change.results[0],
                "metric": change.metric.name,
                "unit": change.metric.unit.value,
                "before": change.before,
                "after": change.after,
            }
            for change in comparison.changes
        ],
    }


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield one line a row, the first column to the left, the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        first, *others = row
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells]).rstrip()
