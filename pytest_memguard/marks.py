"""What the markers on a test say: arguments in, checked values out. The strongest layer of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_memguard.config import nearest, read_value, shown
from pytest_memguard.core.units import Unit, parse_allowance, parse_size
from pytest_memguard.core.values import METRICS
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_memguard.config import Settings

__all__ = ["MarkSettings", "for_test", "read_limit_memory", "read_no_cycles", "read_no_leak", "read_skip"]

_NO_LEAK = ("mode", "confidence", "policy", "max_runs", "allow", "metrics", "reset", "only_if_passed")
_SETTINGS = ("mode", "confidence", "policy", "max_runs")


@dataclass(frozen=True, slots=True)
class MarkSettings:
    """
    What ``no_leak`` says about one test; None and empty where it says nothing.

    Attributes:
        allow: Metric name and allowed growth per run in that metric's unit, one pair a metric.
        metrics: Names of the only metrics to judge; empty for all.
        reset: Called between runs, never measured.

    """

    mode: str | None = None
    confidence: float | None = None
    policy: str | None = None
    max_runs: int | None = None
    allow: tuple[tuple[str, float], ...] = ()
    metrics: tuple[str, ...] = ()
    reset: Callable[[], object] | None = None
    only_if_passed: bool = True


def for_test(settings: Settings, mark: MarkSettings | None) -> Settings:
    """
    Return the settings of one test, its mode decided: the marker's, the session's, or the default.

    Args:
        settings: The session's.
        mark: None for a test without the marker ``no_leak``.
    """
    if mark is None:
        return replace(settings, mode=settings.mode or "quick")
    said = {key: getattr(mark, key) for key in _SETTINGS if getattr(mark, key) is not None}
    return replace(settings, **{"mode": settings.mode or "standard", **said})


def read_no_leak(args: Sequence[object], kwargs: Mapping[str, object], where: str) -> MarkSettings:
    """
    Return what ``no_leak(...)`` on the test *where* says; an argument that is None counts as not given.

    Raises:
        ConfigError: one line that names the test, the argument, its value and what would be right.
    """
    here = f"{where}: no_leak"
    if args:
        raise ConfigError(f"{here}({shown(args[0])}) takes named arguments only, as in no_leak(mode='deep')")
    _refuse_unknown(kwargs, _NO_LEAK, here)
    read: dict[str, Any] = {}
    for key, value in kwargs.items():
        if value is not None:
            read[key] = _no_leak_argument(key, value, f"{here}: {key}")
    return MarkSettings(**read)


def _no_leak_argument(key: str, value: object, here: str) -> object:
    if key in _SETTINGS:
        return read_value(key, value, here)
    return {"allow": _allowances, "metrics": _metrics, "reset": _reset, "only_if_passed": _flag}[key](value, here)


def _allowances(value: object, here: str) -> tuple[tuple[str, float], ...]:
    if isinstance(value, Mapping):
        return tuple((_metric(name, here), _allowance(name, amount, here)) for name, amount in value.items())
    unit, allowed = _plain_allowance(value, here)
    return tuple((name, allowed) for name, metric in METRICS.items() if metric.unit is unit)


def _allowance(name: str, value: object, here: str) -> float:
    if not isinstance(value, (str, int, float)):
        raise ConfigError(f"{here}[{name!r}] = {shown(value)} is not a growth per run")
    try:
        return parse_allowance(value, METRICS[name].unit)
    except ConfigError as wrong:
        raise ConfigError(f"{here}[{name!r}]: {wrong}") from None


def _plain_allowance(value: object, here: str) -> tuple[Unit, float]:
    """Return the unit that an amount without a metric's name is in: a bare number counts, a size does not."""
    if isinstance(value, (str, int, float)):
        for unit in (Unit.COUNT, Unit.BYTE) if isinstance(value, str) else (Unit.COUNT,):
            with suppress(ConfigError):
                return unit, parse_allowance(value, unit)
    raise ConfigError(
        f"{here} = {shown(value)} is not a growth per run; write a size as in '64 B/run', a count as in '2/run', "
        "or {'metric': amount}"
    )


def _metrics(value: object, here: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)) or not value:
        raise ConfigError(f"{here} = {shown(value)} is not a list of metrics; write one or more, as in ['blocks']")
    names = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
    return tuple(dict.fromkeys(_metric(name, here) for name in names))


def _metric(name: object, here: str) -> str:
    if isinstance(name, str) and name in METRICS:
        return name
    close = nearest(name, METRICS) or f"; write one of {', '.join(METRICS)}"
    raise ConfigError(f"{here}: {shown(name)} is not a metric{close}")


def _reset(value: object, here: str) -> Callable[[], object]:
    from inspect import iscoroutinefunction  # noqa: PLC0415 - pytest has it loaded when a marker is read

    if not callable(value):
        raise ConfigError(f"{here} = {shown(value)} is not callable; give a function without arguments")
    if iscoroutinefunction(value):
        raise ConfigError(f"{here} = {shown(value)} is async and would never run; give a plain function")
    return value


def _flag(value: object, here: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{here} = {shown(value)} is neither True nor False")


def read_limit_memory(args: Sequence[object], kwargs: Mapping[str, object], where: str) -> int:
    """
    Return the bytes that ``limit_memory("24 MB")`` allows one run of the test *where*.

    Raises:
        ConfigError: not exactly one size above zero.
    """
    here = f"{where}: limit_memory"
    if len(args) != 1 or kwargs:
        raise ConfigError(f"{here} takes exactly one size, as in limit_memory('24 MB')")
    size = args[0]
    if not isinstance(size, (str, int, float)):
        raise ConfigError(f"{here}: {shown(size)} is not a size; write one as in limit_memory('24 MB')")
    try:
        limit = parse_size(size)
    except ConfigError as wrong:
        raise ConfigError(f"{here}: {wrong}") from None
    if limit == 0:
        raise ConfigError(f"{here}: {shown(size)} leaves nothing to run in; write a size above zero")
    return limit


def read_no_cycles(args: Sequence[object], kwargs: Mapping[str, object], where: str) -> int:
    """
    Return how many objects ``no_cycles(max=0)`` lets the test *where* leave to the collector.

    Raises:
        ConfigError: not a whole number of zero or more.
    """
    value = _only(args, kwargs, "max", 0, f"{where}: no_cycles")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ConfigError(f"{where}: no_cycles: max = {shown(value)} is not a whole number of 0 or more")


def read_skip(args: Sequence[object], kwargs: Mapping[str, object], where: str) -> str:
    """
    Return the reason that ``memguard_skip(reason)`` on the test *where* gives; empty where it gives none.

    Raises:
        ConfigError: not one text.
    """
    value = _only(args, kwargs, "reason", "", f"{where}: memguard_skip")
    if isinstance(value, str):
        return value
    raise ConfigError(f"{where}: memguard_skip: reason = {shown(value)} is not text")


def _only(args: Sequence[object], kwargs: Mapping[str, object], name: str, default: object, here: str) -> object:
    """Return the one argument that a marker takes, by position or by name."""
    _refuse_unknown(kwargs, (name,), here)
    given = [*args, *kwargs.values()]
    if len(given) > 1:
        raise ConfigError(f"{here} takes one argument, {name}; {len(given)} are given")
    return given[0] if given else default


def _refuse_unknown(kwargs: Mapping[str, object], names: tuple[str, ...], here: str) -> None:
    for key in kwargs:
        if key not in names:
            close = nearest(key, names) or f"; write one of {', '.join(names)}"
            raise ConfigError(f"{here} does not take {key}={shown(kwargs[key])}{close}")
