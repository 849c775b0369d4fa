"""
The steps of a baseline: the tables ``[[step]]`` of a scenario, or the usual ones where it has none.

    idle       wait, and see what the service takes once it is ready
    import     import a module in an interpreter of its own, and see what that alone takes
    route      send requests, one route a step, or with routes = "all" the whole mix
    collect    collect garbage, and give free memory back
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_memguard.config import nearest, shown
from pytest_memguard.errors import ConfigError
from pytest_memguard.load.profile import LoadSpec, Route
from pytest_memguard.scenario.places import line_of, toml_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.scenario.spec import Scenario

__all__ = ["StepSpec", "mix_of", "steps_of"]

_IDLE_S = 1.0
_TIMES = 100
_CONCURRENCY = 8
_MOST_STEPS = 50
_MOST_TIMES = 10_000_000
_MOST_CONNECTIONS = 10_000
_LONGEST_S = 86_400.0
#: What uvicorn, gunicorn, hypercorn and the like are told to serve: shop.app:app, shop:make_app().
_APPLICATION = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_][\w.]*(?:\(.*\))?")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class StepSpec:
    """
    One step: exactly one of its last five fields says what is done.

    Attributes:
        connections: Most requests at once.
        times: How many requests.
        idle_s: Wait so long.
        module: Import it.
        routes: Send requests to these.
        collect: Collect garbage and trim.

    """

    name: str
    times: int = _TIMES
    connections: int = 1
    idle_s: float | None = None
    module: str = ""
    routes: tuple[Route, ...] = ()
    collect: bool = False


def steps_of(scenario: Scenario) -> tuple[StepSpec, ...]:
    """
    Return the steps that *scenario* names, or idle, import, first request, each route, all at once, after collecting.

    Raises:
        ConfigError: a table is wrong; the message names file, line, key and value, and what would be right.

    """
    if not scenario.steps:
        return _usual(scenario)
    if len(scenario.steps) > _MOST_STEPS:
        raise _error(scenario, ("step",), f"there are {len(scenario.steps)} steps; {_MOST_STEPS} is the most")
    steps = tuple(_step(scenario, at, table) for at, table in enumerate(scenario.steps))
    names = [step.name for step in steps]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise _error(scenario, ("step", at, "name"), f"step[{at}].name = {name!r} is there twice; give it another")
    return steps


def _usual(scenario: Scenario) -> tuple[StepSpec, ...]:
    steps = [StepSpec("idle", idle_s=_IDLE_S)]
    module = _module_of(scenario.service.command)
    if module:
        steps.append(StepSpec("import", module=module))
    mix = mix_of(scenario)
    if mix:
        steps.append(StepSpec("first request", 1, routes=mix[:1]))
        taken = {step.name for step in steps}
        steps += [StepSpec(one.title, routes=(one,)) for one in mix if one.title not in taken]
        most = scenario.load_spec.connections if scenario.load_spec else _CONCURRENCY
        steps.append(StepSpec(f"{most} at once", max(_TIMES, 10 * most), most, routes=mix))
    return (*steps, StepSpec("after collecting", collect=True))


def _module_of(command: tuple[str, ...]) -> str:
    """Return the module of the application that a command serves; empty where it names none."""
    found = [match[1] for word in command[1:] if (match := _APPLICATION.fullmatch(word))]
    return found[0] if found else ""


def mix_of(scenario: Scenario) -> tuple[Route, ...]:
    """Return the routes of the load, each once; the root where it names none."""
    if scenario.load_spec is None:
        return (Route("/"),) if scenario.url else ()
    return tuple({one.title: one for one in scenario.load_spec.routes}.values()) or (Route("/"),)


# -- tables ----------------------------------------------------------------------------------------------------------


def _step(scenario: Scenario, at: int, table: Mapping[str, Any]) -> StepSpec:
    for key in table:
        if key not in _READERS:
            other = nearest(key, _READERS) or f"; there are {', '.join(_READERS)}"
            raise _error(scenario, ("step", at, key), f"step[{at}].{key} is not a setting of a step{other}")
    deeds = [key for key in _DEEDS if key in table]
    if len(deeds) != 1:
        what = f"has {' and '.join(deeds)}; write one of them" if deeds else f"does nothing; write {', '.join(_DEEDS)}"
        raise _error(scenario, ("step", at), f"step[{at}] {what}")
    values = {key: _value(scenario, at, key, value) for key, value in table.items()}
    deed = deeds[0]
    for key in ("times", "connections"):
        if key in values and deed not in ("route", "routes"):
            raise _error(
                scenario, ("step", at, key), f"step[{at}].{key} is for steps with a route, and this has {deed}"
            )
    values.setdefault("name", _NAMES.get(deed) or str(table[deed]))
    if values.get("routes") == ():
        values["routes"] = mix_of(scenario)
    renamed = {_FIELDS.get(key, key): value for key, value in values.items()}
    return StepSpec(**renamed)


def _value(scenario: Scenario, at: int, key: str, value: object) -> Any:  # noqa: ANN401 - each key has its own type
    try:
        return _READERS[key](value)
    except (ValueError, ConfigError) as wrong:
        words = f"step[{at}].{key} = {shown(value)} {wrong}"
        raise _error(scenario, ("step", at, key), words) from None


def _error(scenario: Scenario, path: tuple[str | int, ...], words: str) -> ConfigError:
    """Return an error with the file and, where it can be found, the line."""
    if scenario.path is None:
        return ConfigError(f"{scenario.name}: {words}")
    line = 0
    with suppress(OSError, ValueError):
        lines = toml_lines(scenario.path.read_text(encoding="utf-8-sig"))
        table = ("tool", "memguard", "scenario", scenario.name) if scenario.path.name == "pyproject.toml" else ()
        line = line_of((*table, *path), lines)
    return ConfigError(f"{scenario.path.name}{f':{line}' if line else ''}: {words}")


# -- values: each reader returns a valid one, or raises ValueError with what is wrong ----------------------------------


def _whole(most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        raise ValueError(f"is not a whole number from 1 to {most}")

    return read


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LONGEST_S:
        return float(value)
    raise ValueError(f"is not a number of seconds from 0 to {_LONGEST_S:g}")


def _name(value: object) -> str:
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise ValueError("is not text of one line")


def _module(value: object) -> str:
    if isinstance(value, str) and _MODULE.fullmatch(value):
        return value
    raise ValueError("is not the name of a module, as in 'shop.app'")


def _route(value: object) -> tuple[Route, ...]:
    try:
        return LoadSpec.from_mapping({"routes": [value]}).routes
    except ConfigError as error:
        raise ValueError(f"is not a route ({error}); write one as in '/items' or 'POST /items'") from None


def _routes(value: object) -> tuple[Route, ...]:
    """Return some routes; none stands for all that the load has."""
    if value == "all":
        return ()
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of routes; write 'all', or ['/items', 'POST /items']")
    return tuple(route for one in value for route in _route(one))


def _true(value: object) -> bool:
    if value is True:
        return True
    raise ValueError("can be true only; leave it out where nothing is to be collected")


_FIELDS = {"import": "module", "route": "routes"}
_NAMES = {"idle_s": "idle", "routes": "routes", "collect": "after collecting"}
_DEEDS = ("idle_s", "import", "route", "routes", "collect")
_READERS: Mapping[str, Callable[[object], Any]] = {
    "name": _name,
    "times": _whole(_MOST_TIMES),
    "connections": _whole(_MOST_CONNECTIONS),
    "idle_s": _seconds,
    "import": _module,
    "route": _route,
    "routes": _routes,
    "collect": _true,
}
