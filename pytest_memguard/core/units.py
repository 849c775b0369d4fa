"""The one place that turns a number into text, and text into a number of base units."""

from __future__ import annotations

import math
import re
from enum import Enum

from pytest_memguard.errors import ConfigError

__all__ = ["Unit", "amount", "digits_between", "duration", "parse_allowance", "parse_size", "signed"]


class Unit(str, Enum):
    """Unit of a metric's values; the value is what stands in a result document."""

    BYTE = "byte"
    COUNT = "count"
    SECOND = "second"


_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_FACTORS = {
    "": 1, "b": 1, "byte": 1, "bytes": 1,
    "k": 2**10, "kb": 2**10, "kib": 2**10,
    "m": 2**20, "mb": 2**20, "mib": 2**20,
    "g": 2**30, "gb": 2**30, "gib": 2**30,
    "t": 2**40, "tb": 2**40, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_PER_RUN = re.compile(r"(?:\s*/\s*|\s+(?:per|a)\s+)run\s*$", re.IGNORECASE)
_LARGEST = 2.0**63  # no address space and no file is larger; keeps every size within an int64 array


def amount(value: float, unit: Unit, *, digits: int = 1) -> str:
    """Return *value* as text: sizes in B, KiB, MiB with so many *digits*; "0" only for a true zero."""
    if unit is Unit.SECOND:
        return duration(value)
    if unit is Unit.COUNT:
        return _plain(value)
    size, step = abs(value), 0
    while math.isfinite(size) and round(size, 1) >= 1024 and step < len(_BINARY) - 1:  # noqa: PLR2004 - binary prefix
        size, step = size / 1024, step + 1
    number = _plain(size) if step == 0 else f"{size:.{digits}f}"
    return f"{'-' if value < 0 else ''}{number} {_BINARY[step]}"


def digits_between(low: float, high: float) -> int:
    """Return with how many digits sizes from *low* to *high* are told apart, about fifty of them."""
    span, largest = high - low, max(abs(low), abs(high))
    if not (math.isfinite(span) and span > 0):
        return 1
    scale = 1024.0 ** max(0, math.floor(math.log(max(largest, 1.0), 1024)))
    return min(5, max(1, math.ceil(math.log10(50 * scale / span))))


def signed(value: float, unit: Unit) -> str:
    """Return *value* as text with its sign, as in ``+7`` or ``-1.1 KiB``."""
    return ("+" if value > 0 else "") + amount(value, unit)


def duration(seconds: float) -> str:
    """Return a time span as text: ms below a second, then s, then min."""
    if seconds == 0:
        return "0 s"
    if abs(seconds) < 0.9995:  # noqa: PLR2004 - from here on three digits of ms would read "1e+03"
        return f"{seconds * 1000:.3g} ms"
    if abs(seconds) < 120:  # noqa: PLR2004 - two minutes read better as minutes
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min"


def _plain(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return f"{int(value)}"
    text = f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"
    return text if float(text) else f"{value:.1e}"


def parse_size(text: str | float) -> int:
    """
    Return the number of bytes that *text* names ("24 MB", "64B", "1.5 KiB", 4096).

    KB, MB and GB are powers of 1024 here, as in the tools that tests come from.

    Raises:
        ConfigError: not a size.
    """
    return int(_bytes(text))


def parse_allowance(text: str | float, unit: Unit) -> float:
    """
    Return an allowed growth per run in *unit* ("64 B/run" for bytes, 2 or "2/run" for counts).

    Raises:
        ConfigError: not an amount of that unit.
    """
    bare = _PER_RUN.sub("", text) if isinstance(text, str) else text
    if unit is Unit.BYTE:
        return float(_bytes(bare))
    try:
        value = -1.0 if isinstance(bare, bool) else float(bare)
    except (TypeError, ValueError, OverflowError):
        value = -1.0
    if not 0 <= value < math.inf:
        raise ConfigError(f"{text!r} is not a growth per run; write a number of zero or more, as in '2/run'")
    return value


def _bytes(text: str | float) -> float:
    """Return a size in bytes with its fraction, whole numbers exactly, as allowances may be below a byte a run."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        if not 0 <= text < _LARGEST:
            raise ConfigError(f"{text!r} is not a size: it must be zero or more bytes, below 8 EiB")
        return text
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[2].lower() not in _FACTORS:
        raise ConfigError(f"{text!r} is not a size; write a number and B, KiB, MiB or GiB, as in '64 KiB'")
    size = _number(found[1]) * _FACTORS[found[2].lower()]
    if size >= _LARGEST:
        raise ConfigError(f"{text!r} is not a size: it must be below 8 EiB")
    return size


def _number(digits: str) -> float:
    """Return the number that *digits* spell, as an int where they can be one."""
    if "." in digits or len(digits) > 20:  # noqa: PLR2004 - longer is beyond 8 EiB, and int() refuses 4301 digits
        return float(digits.replace("_", ""))
    return int(digits)
