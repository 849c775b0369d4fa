"""
Limits of a scenario, in the manner of k6: ``growth<64B/request``, ``p(95)<250ms``, ``errors<1%``, ``rss<300MiB``.

What is compared is a plain mapping of measurements by name, so that a limit is checked the same way each second of a
run and at its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_memguard.config import nearest
from pytest_memguard.core.units import Unit, amount, duration, parse_size
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["NAMES", "Breach", "Patience", "Threshold", "breaches", "parse"]

#: What a limit may be set on, and what that is.
NAMES: Mapping[str, str] = {
    "growth": "bytes that stay a request, all processes together",
    "blocks": "memory blocks of Python that stay a request",
    "rss": "most resident memory under load, all processes together",
    "uss": "most memory that is the service's alone",
    "rss_growth": "resident memory gained under load",
    "errors": "failed requests of all",
    "rate": "answered requests a second",
    "p(N)": "latency that N % of the requests did not exceed",
    "fds": "descriptors gained under load",
    "threads": "threads gained under load",
}

_RULE = re.compile(r"\s*([a-z_]+(?:\(\s*[0-9.]+\s*\))?)\s*(<=|>=|<|>)\s*(\S.*?)\s*", re.ASCII)
_PERCENTILE = re.compile(r"p\(\s*([0-9]+(?:\.[0-9]+)?)\s*\)", re.ASCII)
_PER_REQUEST = re.compile(r"\s*/\s*(?:request|req|r)\s*$", re.ASCII)
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|min)", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_SIZES = frozenset({"rss", "uss", "rss_growth"})
_WHOLE = 100.0


@dataclass(frozen=True, slots=True)
class Threshold:
    """
    One limit.

    Attributes:
        text: As it was written.
        name: What is measured: one of ``NAMES``, a percentile as ``p(95)``.
        relation: ``<``, ``<=``, ``>`` or ``>=``.
        limit: In bytes, seconds, requests a second, or as a share from 0 to 1.
        abort_after_s: End the run when it was not kept for so long; None: at the end only.

    """

    text: str
    name: str
    relation: str
    limit: float
    abort_after_s: float | None = None

    def holds(self, value: float) -> bool:
        """Whether *value* is within the limit."""
        return {
            "<": value < self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            ">=": value >= self.limit,
        }[self.relation]

    def shown(self, value: float) -> str:
        """Return *value* for people, in the unit of the limit."""
        if self.name.startswith("p("):
            return duration(value)
        if self.name == "errors":
            return f"{value * _WHOLE:.2g} %"
        if self.name == "growth":
            return f"{amount(value, Unit.BYTE)}/request"
        return amount(value, Unit.BYTE if self.name in _SIZES else Unit.COUNT)


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was not kept, and the value; None where it could not be measured."""

    threshold: Threshold
    value: float | None

    def __str__(self) -> str:
        """Return it as a sentence without its end."""
        if self.value is None:
            return f"{self.threshold.text}: it could not be measured"
        return f"{self.threshold.text}: it was {self.threshold.shown(self.value)}"


def parse(text: object, abort_after_s: float | None = None) -> Threshold:
    """
    Return the limit that *text* says.

    Raises:
        ConfigError: it is none; the message says what would be one.

    """
    match = _RULE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f"{text!r} is not a limit; write one as in 'growth<64B/request' or 'p(95)<250ms'")
    name, relation, value = match.groups()
    name = name.replace(" ", "")
    try:
        return Threshold(str(text).strip(), name, relation, _limit(name, value), abort_after_s)
    except (ValueError, ConfigError) as wrong:
        raise ConfigError(f"{text!r} is not a limit: {wrong}") from None


def breaches(thresholds: Iterable[Threshold], measured: Mapping[str, float]) -> tuple[Breach, ...]:
    """Return the limits that *measured* does not keep; what was not measured counts as not kept."""
    found = []
    for threshold in thresholds:
        value = measured.get(threshold.name)
        if value is None or not threshold.holds(value):
            found.append(Breach(threshold, value))
    return tuple(found)


class Patience:
    """Which limits were not kept for as long as they may be; fed while a run goes on."""

    def __init__(self, thresholds: Iterable[Threshold]) -> None:
        self._limits = [one for one in thresholds if one.abort_after_s is not None]
        self._since: dict[Threshold, float] = {}

    def look(self, measured: Mapping[str, float], now_s: float) -> Breach | None:
        """Return the limit for which the run is to end; None while there is none."""
        for threshold in self._limits:
            value = measured.get(threshold.name)
            if value is None or threshold.holds(value):
                self._since.pop(threshold, None)
            elif now_s - self._since.setdefault(threshold, now_s) >= (threshold.abort_after_s or 0.0):
                return Breach(threshold, value)
        return None


def _limit(name: str, value: str) -> float:
    percentile = _PERCENTILE.fullmatch(name)
    if percentile:
        if not 0 < float(percentile[1]) <= _WHOLE:
            raise ValueError(f"{percentile[1]} is no percentile; write one above 0 and up to 100")
        return _time(value)
    if name not in NAMES or name == "p(N)":
        raise ValueError(f"{name!r} is not measured{nearest(name, NAMES)}; there are: {', '.join(NAMES)}")
    return _READERS.get(name, _number)(value)


def _time(value: str) -> float:
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a time; write one as in '250ms' or '1.5s'")
    return float(match[1]) * _SECONDS[match[2]]


def _share(value: str) -> float:
    number = _number(value.removesuffix("%")) / (_WHOLE if value.endswith("%") else 1)
    if number > 1:
        raise ValueError(f"{value!r} is more than all; write a share as in '1%'")
    return number


def _size(value: str) -> float:
    return float(parse_size(value))


def _growth(value: str) -> float:
    return _size(_PER_REQUEST.sub("", value))


def _blocks(value: str) -> float:
    return _number(_PER_REQUEST.sub("", value))


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{value!r} is not a number of 0 or more")
    return number


_READERS: Mapping[str, Callable[[str], float]] = {
    "growth": _growth,
    "blocks": _blocks,
    "errors": _share,
    "rss": _size,
    "uss": _size,
    "rss_growth": _size,
}
