"""
Which request comes next: the mix of routes in a fixed order, and templates that are filled for each request.

Standard library only, and nothing of this package: the workers of Locust get this file as it stands. The order depends
on nothing but the weights, so that every engine sends the same requests, in whatever number of processes.
"""

from __future__ import annotations

import re
import time
import uuid
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["PLACEHOLDERS", "Template", "cycle"]

_LONGEST_CYCLE = 1000  # weights that need a longer one are rounded to a thousandth
_SPREAD = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: neighbours land far from each other (Knuth, TAOCP 6.4)


def _random(n: int) -> str:
    """Return a number below a million that looks random, and is the same for the same request of every run."""
    return str(((n + 1) * _SPREAD % 2**64 >> 32) % 1_000_000)


_FILL: Mapping[str, Callable[[int], str]] = {
    "n": str,
    "random": _random,
    "time": lambda _n: f"{time.time():.6f}",
    "uuid": lambda _n: str(uuid.uuid4()),
}
PLACEHOLDERS = tuple(_FILL)


def cycle(weights: Sequence[float]) -> tuple[int, ...]:
    """
    Return the order in which routes take turns, as their numbers; request n gets entry n modulo its length.

    Routes are interleaved as evenly as their weights allow, so that even a short run has the mix that was asked for.

    Args:
        weights: One a route, above 0.

    Source:
        The smooth weighted round robin of nginx.
    """
    turns = _turns(weights)
    credit, order = [0] * len(turns), []
    for _ in range(sum(turns)):
        credit = [owed + more for owed, more in zip(credit, turns, strict=True)]
        chosen = max(range(len(turns)), key=credit.__getitem__)
        credit[chosen] -= sum(turns)
        order.append(chosen)
    return tuple(order)


def _turns(weights: Sequence[float]) -> list[int]:
    """Return the number of turns that each route has in one cycle, at least one."""
    if all(weight == int(weight) for weight in weights):
        whole = [int(weight) for weight in weights]
        turns = [weight // gcd(*whole) for weight in whole]
        if sum(turns) <= _LONGEST_CYCLE:
            return turns
    turns = [max(1, round(weight / sum(weights) * _LONGEST_CYCLE)) for weight in weights]
    return [turn // gcd(*turns) for turn in turns]


class Template:
    """
    Text with placeholders in double braces, filled for each request.

    ``{{n}}`` is the number of the request, from 0; ``{{random}}`` a number below a million, ``{{uuid}}`` a new UUID and
    ``{{time}}`` the time in seconds since 1970.

    Raises:
        ValueError: a placeholder that does not exist.
    """

    __slots__ = ("_parts", "text")

    _PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = tuple(self._PLACEHOLDER.split(text))
        for name in self._parts[1::2]:
            if name not in _FILL:
                raise ValueError(f"has {{{{{name}}}}}, which is none of {', '.join(PLACEHOLDERS)}")

    @property
    def constant(self) -> bool:
        """Whether the text is the same for every request."""
        return len(self._parts) == 1

    def fill(self, n: int) -> str:
        """Return the text of request number *n*."""
        if len(self._parts) == 1:
            return self.text
        return "".join(_FILL[part](n) if at % 2 else part for at, part in enumerate(self._parts))
