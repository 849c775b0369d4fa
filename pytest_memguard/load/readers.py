"""Plain values of a scenario file: each reader returns a valid one, or raises ValueError with what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["flag", "number", "whole"]


def number(low: float, high: float, *, or_low: bool = False) -> Callable[[object], float]:
    """Return a reader that takes a number above *low*, or from *low* on, up to *high*."""

    def read(value: object) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            at_least = value >= low if or_low else value > low
            if at_least and value <= high:
                return float(value)
        least = f"of {low:g} or more," if or_low else f"above {low:g}"
        raise ValueError(f"is not a number {least} up to {high:,.10g}")

    return read


def whole(low: int, high: int) -> Callable[[object], int]:
    """Return a reader that takes a whole number from *low* to *high*."""

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"is not a whole number from {low} to {high}")

    return read


def flag(value: object) -> bool:
    """Take true or false."""
    if isinstance(value, bool):
        return value
    raise ValueError("is neither true nor false")
