"""
A JSON configuration with the sections ``monitor`` and ``loadTest``, put into the words of a scenario.

    {"monitor": {"command": "python app.py", "readyUrl": "http://127.0.0.1:8000/health", "interval": 1},
     "loadTest": {"url": "http://127.0.0.1:8000/", "concurrency": 10, "duration": 60, "rampUp": 5}}

Times are seconds, as those of `memguard monitor` and `memguard load` are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_memguard.config import nearest, shown
from pytest_memguard.errors import ConfigError
from pytest_memguard.scenario.places import json_lines, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.scenario.places import Path

__all__ = ["ORIGIN", "from_json"]

#: Where each key goes.
_MONITOR: Mapping[str, Path] = {
    "name": ("name",),
    "command": ("service", "command"),
    "env": ("service", "env"),
    "cwd": ("service", "cwd"),
    "readyUrl": ("service", "ready_url"),
    "readyTimeout": ("service", "ready_timeout_s"),
    "memoryLimit": ("service", "memory_limit"),
    "stopTimeout": ("service", "stop_timeout_s"),
    "interval": ("sampling", "interval_s"),
    "duration": ("idle", "duration_s"),
    "warmUp": ("warm_up", "duration_s"),
    "coolDown": ("cool_down", "duration_s"),
    "thresholds": ("thresholds", "limits"),
}
_LOAD_TEST: Mapping[str, Path] = {
    "url": ("load", "url"),
    "concurrency": ("load", "connections"),
    "connections": ("load", "connections"),
    "duration": ("load", "duration_s"),
    "rampUp": ("load", "ramp_up_s"),
    "rate": ("load", "rate"),
    "requests": ("load", "requests"),
    "method": ("load", "method"),
    "headers": ("load", "headers"),
    "body": ("load", "body"),
    "timeout": ("load", "timeout_s"),
    "routes": ("load", "routes"),
    "endpoints": ("load", "routes"),
    "keepAlive": ("load", "keep_alive"),
}
_SECTIONS = {"monitor": _MONITOR, "loadTest": _LOAD_TEST}
#: Where a key of a scenario came from, for the line in a message.
ORIGIN: Mapping[Path, Path] = {
    target: (section, key) for section, keys in _SECTIONS.items() for key, target in reversed(tuple(keys.items()))
}


def from_json(text: str, name: str) -> dict[str, Any]:
    """
    Return the scenario that a JSON configuration describes, as a TOML file would hold it.

    Raises:
        ConfigError: it is not JSON, or has a key that is not known; the message names file, line and key.

    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 0)
        raise ConfigError(f"{name}{f':{line}' if line else ''}: not valid JSON: {error}") from error
    if not isinstance(content, dict) or not {"monitor", "loadTest"} & set(content):
        raise ConfigError(f"{name}: a JSON configuration needs a section monitor or loadTest; it has neither")
    lines = json_lines(text)
    scenario: dict[str, Any] = {}
    for section, given in content.items():
        keys = _SECTIONS.get(section)
        if keys is None:
            continue  # such files are shared with other tools
        if not isinstance(given, dict):
            raise ConfigError(f"{name}:{line_of((section,), lines)}: {section} = {shown(given)} is not an object")
        for key, value in given.items():
            if key not in keys:
                other = nearest(key, keys) or "; there are " + ", ".join(keys)
                raise ConfigError(f"{name}:{line_of((section, key), lines)}: {section}.{key} is not a setting{other}")
            _put(scenario, keys[key], value)
    return scenario


def _put(scenario: dict[str, Any], path: Path, value: object) -> None:
    table = scenario
    for part in path[:-1]:
        table = table.setdefault(str(part), {})
    table[str(path[-1])] = value
