"""The settings of a guard: a preset for the platform, then the environment, then what the code says."""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.limits import MemoryLimit, memory_limit, size
from pytest_memguard.service.pressure import HYSTERESIS, Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KEYS", "PRESETS", "SHORTEST_TOKEN", "GuardSettings", "platform_of"]

_MIB = 2**20
#: What each platform sets; ``limit_bytes`` stands only where no limit can be found.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "render": {"warning": 0.60, "critical": 0.75, "emergency": 0.90, "interval_s": 15.0, "limit_bytes": 512 * _MIB},
    "local": {"warning": 0.80, "critical": 0.90, "emergency": 0.95, "interval_s": 30.0},
    "container": {"warning": 0.75, "critical": 0.85, "emergency": 0.95, "interval_s": 5.0},
    "default": {"warning": 0.80, "critical": 0.90, "emergency": 0.95, "interval_s": 5.0},
}
#: A token of fewer bytes does not open the endpoints: it is all that keeps others out.
SHORTEST_TOKEN = 16
_LONGEST_WINDOW = 100_000  # readings, 13 MB


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """
    Every setting of one guard, valid and merged; made by ``from_environment``.

    Attributes:
        platform: The preset: ``render``, ``local``, ``container`` or ``default``.
        warning: Share of the limit, 0 to 1, at which this level begins; so ``critical`` and ``emergency``.
        hysteresis: How far below its threshold a level is left, as a share of the limit.
        interval_s: Seconds between two readings.
        window: How many readings are kept.
        limit_bytes: The memory limit; None where ``limits.memory_limit`` is to find it.
        gc_interval_s: Least seconds between two runs of one action, a collection above all.
        pause_budget_s: Below critical, no collection is started that is known to take longer.
        proactive_gc: Whether anything is done below critical.
        leak_detection: Whether the readings are judged while the service runs, every ``detection_interval_s``.
        trim: Whether an emergency gives free heap back to the system.
        unload: Modules that an emergency removes from ``sys.modules``, and what lies below them.
        token: What opens the endpoints, 16 bytes or more; without one there are none.
        allowed_peers: Addresses or networks besides loopback that may use them.
        expose_headers: Whether responses carry memory headers.
        retry_after_s: What a request that is turned away is told to wait.
        cache_size: Entries of a cache for which no size is given; ``cache_ttl_s``, how long one lives.
        snapshot_dir: Folder of heap snapshots.

    """

    platform: str = "default"
    warning: float = 0.80
    critical: float = 0.90
    emergency: float = 0.95
    hysteresis: float = HYSTERESIS
    interval_s: float = 5.0
    window: int = 60
    limit_bytes: int | None = None
    gc_interval_s: float = 30.0
    pause_budget_s: float = 0.05
    proactive_gc: bool = True
    leak_detection: bool = True
    detection_interval_s: float = 60.0
    trim: bool = True
    unload: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    allowed_peers: tuple[str, ...] = ()
    expose_headers: bool = False
    retry_after_s: float = 5.0
    cache_size: int = 1000
    cache_ttl_s: float = 1800.0
    snapshot_dir: str = ".memguard/snapshots"

    def __post_init__(self) -> None:
        """
        Refuse a value that its setting may not have, and thresholds that do not rise.

        Raises:
            ConfigError: One line that names key, value and what would be right.

        """
        for key in KEYS:
            object.__setattr__(self, key, _checked(key, getattr(self, key), f"guard: {key}"))
        if not 0 < self.warning < self.critical < self.emergency:
            raise ConfigError(
                f"guard: warning = {self.warning}, critical = {self.critical}, emergency = {self.emergency} do not "
                "rise; each must be above the one before it"
            )

    @property
    def thresholds(self) -> Thresholds:
        """The three shares, rising."""
        return Thresholds(self.warning, self.critical, self.emergency)

    def limit(self, environ: Mapping[str, str] = os.environ) -> MemoryLimit:
        """
        Return the limit that holds: the setting, else what is found, else the platform's.

        Raises:
            ConfigError: ``MEMORY_LIMIT`` in *environ* is no size.

        """
        if self.limit_bytes is not None:
            return MemoryLimit(self.limit_bytes, "setting")
        found = memory_limit(environ)
        preset: int | None = PRESETS[self.platform].get("limit_bytes")
        if found.source == "host" and preset is not None:
            return MemoryLimit(preset, f"preset {self.platform}")
        return found

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: object) -> GuardSettings:
        """
        Merge the preset of the platform, ``MEMGUARD_<KEY>`` of *environ*, and *overrides*, the strongest last.

        An empty variable counts as not set; a wrong one is refused even where an override hides it.

        Raises:
            ConfigError: One line that names place, key, value and what would be right.

        """
        for key in overrides:
            if key not in KEYS:
                raise ConfigError(f"guard: {key} is not a setting{_nearest(key)}")
        given = {key: value for key in KEYS if (value := _from_variable(key, environ)) is not None}
        given.update({key: _checked(key, value, f"guard: {key}") for key, value in overrides.items()})
        platform = given.setdefault("platform", platform_of(environ))
        preset = {key: value for key, value in PRESETS[platform].items() if key != "limit_bytes"}
        return cls(**{**preset, **given})


def platform_of(
    environ: Mapping[str, str],
    *,
    limit: Callable[[Mapping[str, str]], MemoryLimit] = memory_limit,
    tty: Callable[[], bool] | None = None,
) -> str:
    """
    Return the preset that suits where this process runs.

    Args:
        environ: ``RENDER`` in it means that platform.
        limit: Finds the memory limit; one of a control group means a container.
        tty: Whether a terminal is attached, which means somebody's own machine.

    """
    if environ.get("RENDER", "").strip():
        return "render"
    if limit(environ).group is not None:
        return "container"
    return "local" if (tty or _has_terminal)() else "default"


def _has_terminal() -> bool:
    with suppress(AttributeError, ValueError, OSError):  # no stderr at all, or a closed one
        return sys.stderr.isatty()
    return False


def _from_variable(key: str, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - of the type of its setting
    name = f"MEMGUARD_{key.upper()}"
    text = environ.get(name, "").strip()
    return _checked(key, text, f"environment: {name}") if text else None


def _checked(key: str, value: object, where: str) -> Any:  # noqa: ANN401 - of the type of its setting
    try:
        return _READERS[key](value)
    except ValueError as wrong:
        shown = "..." if key == "token" else f"{value!r:.60}"  # a token that is nearly right is still a secret
        raise ConfigError(f"{where} = {shown} {wrong}") from None


def _nearest(key: str) -> str:
    from pytest_memguard.config import nearest  # noqa: PLC0415 - only for a message

    return nearest(key, KEYS) or f"; write one of {', '.join(KEYS)}"


# Each reader takes a value, or the text of one, and returns the value, or raises ValueError with what is wrong.


def _platform(value: object) -> str:
    if isinstance(value, str) and value in PRESETS:
        return value
    raise ValueError(f"is none of {', '.join(map(repr, PRESETS))}")


def _share(value: object) -> float:
    text = str(value).strip()
    with suppress(ValueError):
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        if 0 <= share <= 1 and not isinstance(value, bool):
            return share
    raise ValueError("is not a share of the limit; write 0.75 or '75%'")


def _seconds(value: object) -> float:
    with suppress(ValueError):
        seconds = float(str(value))
        if 0 < seconds < math.inf and not isinstance(value, bool):
            return seconds
    raise ValueError("is not a number of seconds above 0")


def _count(most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        with suppress(ValueError):
            count = int(str(value))
            if 0 < count <= most and not isinstance(value, bool):
                return count
        raise ValueError(f"is not a whole number from 1 to {most}")

    return read


def _limit_bytes(value: object) -> int | None:
    if value is None:
        return None
    try:
        return size(value if isinstance(value, str) else str(value), "")
    except ConfigError:
        raise ValueError("is not a size above zero; write bytes, or text as in '512 MiB'") from None


_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _switch(value: object) -> bool:
    known = _SWITCH.get(str(value).lower())
    if known is None:
        raise ValueError("is neither yes nor no; write 1 or 0")
    return known


def _names(value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if isinstance(names, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in names):
        return tuple(name.strip() for name in names if name.strip())
    raise ValueError("is not a list of names; write them with commas between")


def _peers(value: object) -> tuple[str, ...]:
    peers = _names(value)
    if peers:
        from ipaddress import ip_network  # noqa: PLC0415 - only where somebody else is let in

        for peer in peers:
            try:
                ip_network(peer)
            except ValueError as wrong:
                raise ValueError(f"is not a list of addresses or networks: {wrong}") from None
    return peers


def _token(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) >= SHORTEST_TOKEN:
        return value
    raise ValueError(f"is no token; write {SHORTEST_TOKEN} or more printable ASCII characters, from a random source")


def _folder(value: object) -> str:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if isinstance(text, str) and text.strip() and "\0" not in text:
        return text
    raise ValueError("is not a path of a folder")


_READERS: Mapping[str, Callable[[object], Any]] = {
    "platform": _platform,
    "warning": _share,
    "critical": _share,
    "emergency": _share,
    "hysteresis": _share,
    "interval_s": _seconds,
    "window": _count(_LONGEST_WINDOW),
    "limit_bytes": _limit_bytes,
    "gc_interval_s": _seconds,
    "pause_budget_s": _seconds,
    "proactive_gc": _switch,
    "leak_detection": _switch,
    "detection_interval_s": _seconds,
    "trim": _switch,
    "unload": _names,
    "token": _token,
    "allowed_peers": _peers,
    "expose_headers": _switch,
    "retry_after_s": _seconds,
    "cache_size": _count(2**31),
    "cache_ttl_s": _seconds,
    "snapshot_dir": _folder,
}
#: All settings, in the order in which they are documented; each is also read from ``MEMGUARD_<KEY>``.
KEYS = tuple(_READERS)
