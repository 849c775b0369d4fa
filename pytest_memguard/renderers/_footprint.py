"""The footprint of a session, as a table for its page: what each step took and kept, and what changed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import Unit, amount

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SETTINGS", "Footprint", "footprint_of"]

#: Where a document holds it.
_STEPS, _COMPARED, _MEASURED = SETTINGS = ("footprint", "footprint compared", "footprint measured")
_KINDS = ("worse", "better")


@dataclass(frozen=True, slots=True)
class Footprint:
    """
    What a page shows of a footprint.

    Attributes:
        heads: Of the columns after the first.
        rows: Name of a step, and its cells.
        measured: How often, in words; empty where that is not known.
        changes: Kind, step, amount, before, after.
        said: Of the comparison, a sentence each.

    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    measured: str
    changes: tuple[tuple[str, ...], ...]
    said: tuple[str, ...]


def footprint_of(settings: Mapping[str, Any]) -> Footprint | None:
    """Return the footprint that the settings of a session hold; None where they hold none."""
    found = settings.get(_STEPS)
    steps = {str(name): _cells(value) for name, value in found.items()} if isinstance(found, Mapping) else {}
    if not steps:
        return None
    heads = tuple(dict.fromkeys(head for cells in steps.values() for head in cells))
    heads = tuple(sorted(heads, key=lambda head: head != "requests"))  # stable: only that one moves to the front
    compared = settings.get(_COMPARED)
    told = compared if isinstance(compared, Mapping) else {}
    changes = [one for one in _list(told, "changes") if isinstance(one, Mapping)]
    return Footprint(
        heads,
        tuple((name, tuple(cells.get(head, "-") for head in heads)) for name, cells in steps.items()),
        _measured(settings.get(_MEASURED)),
        tuple(_changed(one) for kind in _KINDS for one in changes if one.get("kind") == kind),
        tuple(_said(told, changes)),
    )


def _cells(value: object) -> dict[str, str]:
    """Return the amounts of a step by name; earlier documents have them in one text."""
    if isinstance(value, Mapping):
        return {str(name): str(text) for name, text in value.items()}
    return {"taken and kept": str(value)}


def _measured(times: object) -> str:
    if not isinstance(times, int):
        return ""
    return "Measured once." if times == 1 else f"Measured {times} times: medians, with half the range."


def _changed(one: Mapping[str, Any]) -> tuple[str, ...]:
    units = {unit.value: unit for unit in Unit}
    unit = units.get(str(one.get("unit")), Unit.COUNT)
    amounts = [one.get(when) for when in ("before", "after")]
    shown = [amount(value, unit) if isinstance(value, (int, float)) else "-" for value in amounts]
    return str(one.get("kind")), str(one.get("step")), str(one.get("metric")).replace("_", " "), *shown


def _said(told: Mapping[str, Any], changes: list[Mapping[str, Any]]) -> Iterator[str]:
    if told.get("refused"):
        yield f"Not compared with the saved one: {told['refused']}."
    elif changes and not any(one.get("kind") in _KINDS for one in changes):
        yield f"As it was saved: none of {len(changes)} amounts has changed."
    yield from (f"Note: {note}." for note in _list(told, "notes"))


def _list(told: Mapping[str, Any], key: str) -> list[Any]:
    value = told.get(key)
    return list(value) if isinstance(value, (list, tuple)) else []
