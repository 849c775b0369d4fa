"""The settings of the demo, from the environment."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_memguard.core.units import parse_size
from pytest_memguard.errors import ConfigError
from pytest_memguard.service.settings import GuardSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.demo.switches import Mode

__all__ = ["DemoSettings", "port"]

_PORT = 8000
#: Who tries a leak wants to see the verdict turn: it needs fifteen readings.
_INTERVAL_S = 1.0
_LARGEST_PORT = 65535
_MIB = 2**20
_MOST_BYTES = 2**44
_FACTORS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|)", re.ASCII)
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """
    Every setting of one demo, valid.

    Attributes:
        port: Where it listens; 0 for any that is free.
        guard: The settings of its guard.
        guarded: Whether the guard watches by itself and turns requests away.
        modes: The switches that are not off from the start.
    """

    port: int = _PORT
    guard: GuardSettings = field(default_factory=GuardSettings)
    guarded: bool = True
    modes: Mapping[str, Mode] = field(default_factory=dict)

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        guarded: bool = True,
        modes: Mapping[str, Mode] | None = None,
    ) -> DemoSettings:
        """
        Return the settings that *environ* names; what ``MEMGUARD_*`` says of the guard holds beneath them.

        Raises:
            ConfigError: one of them is wrong; the message names it and says what would be right.
        """
        found = {name: read(environ[key].strip(), key) for key, (name, read) in _GUARD.items() if environ.get(key)}
        if not environ.get("MEMGUARD_INTERVAL_S"):
            found.setdefault("interval_s", _INTERVAL_S)
        where = environ.get("PORT", "").strip()
        return cls(
            port=port(where, "PORT") if where else _PORT,
            guard=GuardSettings.from_environment(environ, **found),
            guarded=guarded,
            modes=modes or {},
        )


def port(text: str, where: str) -> int:
    """
    Return the port that *text* names.

    Raises:
        ConfigError: it names none.
    """
    return _whole(text, where, 0, _LARGEST_PORT)


def _whole(text: str, where: str, least: int, most: int) -> int:
    short = len(text) <= len(str(most))
    if not (short and text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ConfigError(f"{where} = {text[:40]!r} must be a whole number from {least} to {most}")
    return int(text)


def _entries(text: str, where: str) -> int:
    return _whole(text, where, 1, 10**9)


def _size(text: str, where: str) -> int:
    try:
        size = parse_size(text) * (_MIB if text.replace(".", "").isdigit() else 1)
    except ConfigError:
        size = 0
    if not _MIB <= size <= _MOST_BYTES:
        raise ConfigError(
            f"{where} = {text[:40]!r} is no memory limit; write '512 MiB', or the number of MiB alone, as in '512'"
        )
    return size


def _share(text: str, where: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    share = value / _PERCENT if text.endswith("%") or value > 1 else value
    if not 0 < share <= 1:
        raise ConfigError(f"{where} = {text[:40]!r} is no threshold; write a share as in '0.8', or '80%'")
    return share


def _seconds(text: str, where: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _FACTORS_S[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{where} = {text[:40]!r} is no time above zero; write seconds, or '500ms', '30s', '5min'")
    return seconds


def _switch(text: str, where: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ConfigError(f"{where} = {text[:40]!r} must be true or false")
    return _TRUTH[text.lower()]


def _folder(text: str, _where: str) -> str:
    return text


_GUARD: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "HEAP_SNAPSHOT_DIR": ("snapshot_dir", _folder),
    "MAX_HEAP_SIZE": ("limit_bytes", _size),
    "GC_INTERVAL": ("gc_interval_s", _seconds),
    "MEMORY_WARNING_THRESHOLD": ("warning", _share),
    "MEMORY_CRITICAL_THRESHOLD": ("critical", _share),
    "MEMORY_EMERGENCY_THRESHOLD": ("emergency", _share),
    "MEMORY_MONITORING_INTERVAL": ("interval_s", _seconds),
    "MEMORY_LEAK_DETECTION": ("leak_detection", _switch),
    "PROACTIVE_GC_ENABLED": ("proactive_gc", _switch),
    "CACHE_MAX_SIZE": ("cache_size", _entries),
    "CACHE_TTL": ("cache_ttl_s", _seconds),
}
