"""
A scenario: which services to start, how to load them, and what must hold; one frozen value, valid.

    scenario = Scenario.load(Path("shop.toml"))

The same keys stand in a TOML file, in ``[tool.memguard.scenario.NAME]`` of pyproject.toml, or, in the words of a JSON
configuration, in its sections ``monitor`` and ``loadTest``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.config import nearest, one_of, shown
from pytest_memguard.core.toml import parse
from pytest_memguard.core.units import parse_size
from pytest_memguard.errors import ConfigError
from pytest_memguard.load.profile import LoadSpec
from pytest_memguard.load.readers import flag, number, whole
from pytest_memguard.scenario import monitor_json, thresholds
from pytest_memguard.scenario.placeholders import Unset, filled
from pytest_memguard.scenario.places import json_lines, line_of, toml_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.scenario import places
    from pytest_memguard.scenario.thresholds import Threshold

__all__ = ["DIAGNOSE", "SECTIONS", "Diagnose", "Scenario", "ServiceSpec"]

SECTIONS = ("name", "service", "idle", "warm_up", "load", "diagnose", "cool_down", "sampling", "thresholds", "step")
DIAGNOSE = ("auto", "always", "off")

_LONGEST_S = 366 * 86_400.0
_SERVICE = "service"
_ABORT_S = 10.0


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """
    One service to start.

    Attributes:
        command: Program and arguments.
        env: Variables over those of this process.
        cwd: An absolute path.
        ready_url: Asked until it answers below 400; empty: ready when the URL of the load, or the agent, answers.
        memory_limit_bytes: Of all its processes; the service sees it as MEMORY_LIMIT, and above it the run ends.
        stop_timeout_s: From TERM to KILL.
        agent: Whether the agent is put inside; a service that is no Python does not need it.

    """

    command: tuple[str, ...]
    name: str = _SERVICE
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = ""
    ready_url: str = ""
    ready_timeout_s: float = 30.0
    memory_limit_bytes: int | None = None
    stop_timeout_s: float = 10.0
    agent: bool = True


@dataclass(frozen=True, slots=True)
class Diagnose:
    """How to find out what grows: *when* (auto: only where something grew), for how long, and frames of a stack."""

    when: str = "auto"
    duration_s: float = 5.0
    frames: int = 12


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One scenario, valid.

    Attributes:
        name: For people, and for the files of its baselines.
        services: One at least; the first is the one that is loaded where the load has no URL.
        load_spec: The steady load; None: the services are only watched, for the time of *idle_s*.
        warm_up_s: The same load before anything counts.
        interval_s: Between two readings.
        collect: Whether garbage is collected a few times under load, for sharper readings.
        limits: From ``[thresholds]``.
        steps: The tables ``[[step]]``, as they were written.
        hash: Of everything that the measurement depends on; neither of port nor of folder.
        path: The file it comes from; None where it comes from none.
        content: The whole, placeholders filled in, as it was written.

    """

    name: str
    services: tuple[ServiceSpec, ...]
    idle_s: float = 2.0
    warm_up_s: float = 10.0
    load_spec: LoadSpec | None = None
    diagnose: Diagnose = Diagnose()
    cool_down_s: float = 3.0
    trim: bool = True
    interval_s: float = 0.2
    collect: bool = True
    limits: tuple[Threshold, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    hash: str = ""
    path: Path | None = None
    content: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def service(self) -> ServiceSpec:
        """The service that is loaded."""
        return self.services[0]

    @property
    def url(self) -> str:
        """Where the load goes; empty where neither load nor service has a URL."""
        return (self.load_spec.url if self.load_spec else "") or _root_of(self.service.ready_url)

    @classmethod
    def load(cls, path: Path | str, *, environ: Mapping[str, str] = os.environ) -> Scenario:
        """
        Return the scenario in a file.

        Args:
            path: A TOML or JSON file; ``pyproject.toml`` where it has one scenario, ``pyproject.toml#NAME`` where
                it has more; or NAME alone for that of the pyproject.toml here.
            environ: Where placeholders get their values.

        Raises:
            ConfigError: one line that names file, line, key and value, and what would be right.

        """
        file, name = _file_and_name(str(path))
        text = _read(file)
        if file.suffix == ".json":
            content = monitor_json.from_json(text, file.name)
            return cls._from(content, _Source(file.name, json_lines(text), monitor_json.ORIGIN), file, environ)
        content = _parse(text, file.name)
        lines = toml_lines(text)
        if file.name == "pyproject.toml":
            name, table = _named(content, name, file.name)
            source = _Source(file.name, _below(lines, ("tool", "memguard", "scenario", name)))
            return cls._from({"name": name, **table}, source, file, environ)
        return cls._from(content, _Source(file.name, lines), file, environ)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], where: str = "scenario", *, environ: Mapping[str, str] = os.environ
    ) -> Scenario:
        """
        Return the scenario that a plain dict describes, as a TOML file holds it.

        Raises:
            ConfigError: one line that names *where*, key and value, and what would be right.

        """
        return cls._from(mapping, _Source(where, {}), None, environ)

    @classmethod
    def _from(
        cls, written: Mapping[str, Any], source: _Source, path: Path | None, environ: Mapping[str, str]
    ) -> Scenario:
        try:
            content = filled(written, environ)
        except Unset as unset:
            right = f"set it, or write ${{{unset.name}:-default}}"
            raise source.error(unset.path, f"the variable {unset.name} is not set; {right}") from None
        for key in content:
            if key not in SECTIONS:
                other = nearest(key, SECTIONS) or "; there are " + ", ".join(SECTIONS)
                raise source.error((key,), f"{key} is not a section of a scenario{other}")
        folder = path.absolute().parent if path else Path.cwd()
        load = _load(content, source)
        values: dict[str, Any] = {
            "name": source.read(("name",), content.get("name", path.stem if path else "scenario"), _name),
            "services": _services(content, source, folder),
            "load_spec": load,
            "steps": _steps(content, source),
            "path": path,
            "content": content,
            "hash": _hash(written, content),
            **_phases(content, source, load),
            **_limits(content, source),
        }
        return cls(**values)


class _Source:
    """Where values come from: the name for messages, the line of each key, and what keys were called there."""

    def __init__(
        self, name: str, lines: Mapping[places.Path, int], origin: Mapping[places.Path, places.Path] | None = None
    ) -> None:
        self.name = name
        self._lines = lines
        self._origin = origin or {}

    def error(self, path: places.Path, words: str) -> ConfigError:
        line = line_of(self._origin.get(path, path), self._lines)
        return ConfigError(f"{self.name}{f':{line}' if line else ''}: {words}")

    def read(self, path: places.Path, value: object, reader: Callable[[object], Any]) -> Any:  # noqa: ANN401 - each key has its own type
        """Return the valid value of the key at *path*."""
        try:
            return reader(value)
        except (ValueError, ConfigError) as wrong:
            raise self.error(path, f"{_shown_path(path)} = {shown(value)} {wrong}") from None

    def table(self, path: places.Path, value: object, readers: Mapping[str, Callable[[object], Any]]) -> dict[str, Any]:
        """Return the valid values of a table by key."""
        if not isinstance(value, dict):
            raise self.error(path, f"{_shown_path(path)} = {shown(value)} is not a table; write [{path[0]}]")
        for key in value:
            if key not in readers:
                other = nearest(key, readers) or "; there are " + ", ".join(readers)
                raise self.error((*path, key), f"{_shown_path((*path, key))} is not a setting{other}")
        return {key: self.read((*path, key), inner, readers[key]) for key, inner in value.items()}


# -- files -----------------------------------------------------------------------------------------------------------


def _file_and_name(given: str) -> tuple[Path, str]:
    file, _, name = given.partition("#")
    if not name and not Path(given).exists() and re.fullmatch(r"[\w-]+", given) and Path("pyproject.toml").is_file():
        return Path("pyproject.toml"), given
    return Path(file), name


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); `memguard soak --init` writes one") from error
    except ValueError as error:
        raise ConfigError(f"{file}: this is not UTF-8 text") from error


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return parse(text)
    except ValueError as error:
        place = re.search(r"line (\d+)", str(error))
        line = place[1] if place else max(1, text.count("\n"))  # it says "at end of document"
        raise ConfigError(f"{name}:{line}: not valid TOML: {error}") from error


def _named(content: Mapping[str, Any], name: str, file: str) -> tuple[str, Mapping[str, Any]]:
    """Return name and table of the scenario in a pyproject.toml."""
    table: Any = content
    for part in ("tool", "memguard", "scenario"):
        table = table.get(part, {}) if isinstance(table, dict) else {}
    names = [key for key, value in table.items() if isinstance(value, dict)] if isinstance(table, dict) else []
    if not names:
        raise ConfigError(f"{file}: there is no scenario; write [tool.memguard.scenario.NAME.service]")
    if not name and len(names) == 1:
        name = names[0]
    if name not in names:
        wrong = f"{name!r} is no scenario{nearest(name, names)}" if name else f"give one, as in {file}#{names[0]}"
        raise ConfigError(f"{file}: {wrong}; there are: {', '.join(names)}")
    return name, table[name]


def _below(lines: Mapping[places.Path, int], top: places.Path) -> dict[places.Path, int]:
    return {path[len(top) :]: line for path, line in lines.items() if path[: len(top)] == top}


# -- sections --------------------------------------------------------------------------------------------------------


def _services(content: Mapping[str, Any], source: _Source, folder: Path) -> tuple[ServiceSpec, ...]:
    """Return the services of ``[service]``, ``[service.NAME]`` or ``[[service]]``."""
    given = content.get(_SERVICE)
    if isinstance(given, list) and given:
        return tuple(
            _service(entry, (_SERVICE, at), source, folder, f"{_SERVICE}-{at + 1}") for at, entry in enumerate(given)
        )
    if not isinstance(given, dict):
        raise source.error((_SERVICE,), "there is no service; write [service] with command = [...]")
    if "command" not in given and given and all(isinstance(entry, dict) for entry in given.values()):
        return tuple(_service(entry, (_SERVICE, name), source, folder, name) for name, entry in given.items())
    return (_service(given, (_SERVICE,), source, folder, _SERVICE),)


def _service(entry: object, path: places.Path, source: _Source, folder: Path, name: str) -> ServiceSpec:
    readers = {**_SERVICE_READERS, "cwd": lambda value: _folder(value, folder)}
    values = source.table(path, entry, readers)
    if "command" not in values:
        raise source.error(path, f"{_shown_path(path)}.command is missing; write command = ['python', 'app.py']")
    values["memory_limit_bytes"] = values.pop("memory_limit", None)
    return ServiceSpec(**{"name": name, "cwd": str(folder), **values})


def _load(content: Mapping[str, Any], source: _Source) -> LoadSpec | None:
    if "load" not in content:
        return None
    given = content["load"]
    if not isinstance(given, dict):
        raise source.error(("load",), f"load = {shown(given)} is not a table; write [load]")
    try:
        return LoadSpec.from_mapping(given, "[load]")
    except ConfigError as error:
        words = str(error)
        key = re.match(r"\[load\] (\w+)(?:\[(\d+)\])?", words)
        path: places.Path = ("load",) if key is None else ("load", key[1])
        raise source.error(path if key is None or key[2] is None else (*path, int(key[2])), words) from None


def _phases(content: Mapping[str, Any], source: _Source, load: LoadSpec | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if load is not None:
        values["warm_up_s"] = min(10.0, load.duration_s / 4)
    else:
        values |= {"idle_s": 60.0, "warm_up_s": 0.0}
    for section, readers in _PHASE_READERS.items():
        found = source.table((section,), content.get(section, {}), readers)
        values |= {_FIELDS.get((section, key), key): value for key, value in found.items()}
    values["diagnose"] = Diagnose(**source.table(("diagnose",), content.get("diagnose", {}), _DIAGNOSE_READERS))
    return values


def _limits(content: Mapping[str, Any], source: _Source) -> dict[str, Any]:
    given = source.table(("thresholds",), content.get("thresholds", {}), _THRESHOLD_READERS)
    after_s = given.get("abort_after_s", _ABORT_S) if given.get("abort", "abort_after_s" in given) else None
    limits = []
    for at, one in enumerate(given.get("limits", ())):
        path: places.Path = ("thresholds", "limits", at)
        entry = one if isinstance(one, dict) else {"limit": one}
        values = source.table(path, entry, _LIMIT_READERS)
        try:
            limits.append(thresholds.parse(values.get("limit"), values.get("abort_after_s", after_s)))
        except ConfigError as error:
            raise source.error(path, f"thresholds.limits[{at}]: {error}") from None
    return {"limits": tuple(limits)}


def _steps(content: Mapping[str, Any], source: _Source) -> tuple[Mapping[str, Any], ...]:
    given = content.get("step", [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise source.error(("step",), f"step = {shown(given)} is not a list of tables; write [[step]]")
    return tuple(given)


def _hash(written: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Return what tells two scenarios apart: services as they are written, load and phases as they are."""
    measured: dict[str, Any] = {key: value for key, value in content.items() if key not in ("name", "thresholds")}
    measured[_SERVICE] = written.get(_SERVICE)
    if isinstance(measured.get("load"), dict):
        measured["load"] = {key: value for key, value in measured["load"].items() if key != "url"}
    text = json.dumps(measured, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown_path(path: places.Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _root_of(url: str) -> str:
    match = re.match(r"https?://[^/?#]+", url)
    return f"{match[0]}/" if match else ""


# -- values: each reader returns a valid one, or raises ValueError with what is wrong ----------------------------------


_seconds = partial(number, high=_LONGEST_S)
_UNFIT = frozenset('<>:"/\\|?*')
_LONGEST_NAME = 100


def _name(value: object) -> str:
    fits = isinstance(value, str) and value.isprintable() and value.strip(" .") == value and not _UNFIT & set(value)
    if fits and 0 < len(str(value)) <= _LONGEST_NAME:
        return str(value)
    raise ValueError("is not a name that can be part of a file's name; write letters, digits, '-', '_' and inner dots")


def _command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into words ({error})") from None
    if isinstance(value, (list, tuple)) and value and all(isinstance(word, (str, int, float)) for word in value):
        words = tuple(map(str, value))
        if words[0] and not any("\0" in word for word in words):
            return words
    raise ValueError("is not a program and its arguments, as in ['python', 'app.py']")


def _environment(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError("is not a table of variables; write env = { PORT = '8000' }")  # noqa: TRY004 - readers raise this alone
    for name, text in value.items():
        if not name or "=" in name or "\0" in f"{name}{text}" or not isinstance(text, (str, int, float)):
            raise ValueError(f"has {name} = {shown(text)}, which is not a variable and its text")
    return tuple((name, str(text).lower() if isinstance(text, bool) else str(text)) for name, text in value.items())


def _folder(value: object, base: Path) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("is not a folder")
    folder = base / os.path.expanduser(value)  # noqa: PTH111 - Path.expanduser raises where there is no home
    if not folder.is_dir():
        raise ValueError("is no folder that exists")
    return str(folder)


def _url(value: object) -> str:
    if not value:
        raise ValueError("is not a URL; write one as in http://127.0.0.1:8000/")
    return LoadSpec.from_mapping({"url": value}).url


def _size(value: object) -> int:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise ValueError("is not a size; write one as in '300 MiB'")  # noqa: TRY004 - readers raise this alone
    size = parse_size(value)
    if not size:
        raise ValueError("is no limit; write one as in '300 MiB'")
    return size


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError("is not a list, as in ['growth<64B/request', 'errors<1%']")


def _any(value: object) -> object:
    return value


_SERVICE_READERS: Mapping[str, Callable[[object], Any]] = {
    "name": _name,
    "command": _command,
    "env": _environment,
    "cwd": _any,
    "ready_url": _url,
    "ready_timeout_s": _seconds(0),
    "memory_limit": _size,
    "stop_timeout_s": _seconds(0, or_low=True),
    "agent": flag,
}
_PHASE_READERS: Mapping[str, Mapping[str, Callable[[object], Any]]] = {
    "idle": {"duration_s": _seconds(0, or_low=True)},
    "warm_up": {"duration_s": _seconds(0, or_low=True)},
    "cool_down": {"duration_s": _seconds(0, or_low=True), "trim": flag},
    "sampling": {"interval_s": _seconds(0.02, or_low=True), "collect": flag},
}
_FIELDS = {
    ("idle", "duration_s"): "idle_s",
    ("warm_up", "duration_s"): "warm_up_s",
    ("cool_down", "duration_s"): "cool_down_s",
}
_DIAGNOSE_READERS: Mapping[str, Callable[[object], Any]] = {
    "when": one_of(DIAGNOSE),
    "duration_s": _seconds(0),
    "frames": whole(1, 64),
}
_THRESHOLD_READERS: Mapping[str, Callable[[object], Any]] = {
    "limits": _list,
    "abort": flag,
    "abort_after_s": _seconds(0, or_low=True),
}
_LIMIT_READERS: Mapping[str, Callable[[object], Any]] = {
    "limit": _any,
    "abort_after_s": _seconds(0, or_low=True),
}
