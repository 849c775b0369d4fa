"""
``${NAME}`` and ``${NAME:-default}`` in the text of a scenario: variables of the environment.

``$${`` is a plain ``${``. Two names need not be set: MEMGUARD_PYTHON, the interpreter that runs this, and
MEMGUARD_PORT (also MEMGUARD_PORT_2, ...), a free port, the same one throughout the scenario.
"""

from __future__ import annotations

import re
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.scenario.places import Path

__all__ = ["Unset", "filled"]

_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")
_PORT = re.compile(r"MEMGUARD_PORT(_\w+)?")
#: Keys whose values are numbers or flags: what a placeholder alone stands for there is read as one.
_TYPED = re.compile(
    r"\w+_s|rate|connections|requests|workers|frames|weight|times|rounds|keep_alive|verify_tls|redirects"
)


class Unset(Exception):  # noqa: N818 - names what is wrong with a variable
    """A variable that has no value: its name, and where in the scenario it is used."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self.name = name
        self.path = path


def filled(mapping: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """
    Return *mapping* with all placeholders filled in.

    Raises:
        Unset: a variable is not set and has no default.

    """
    ports: dict[str, str] = {}

    def value_of(name: str, default: str | None, path: Path) -> str:
        if environ.get(name):
            return environ[name]
        if default is not None:
            return default
        if name == "MEMGUARD_PYTHON":
            return sys.executable
        if _PORT.fullmatch(name):
            return ports.setdefault(name, str(_free_port()))
        raise Unset(name, path)

    result: dict[str, Any] = _filled(mapping, (), value_of)
    return result


def _filled(value: Any, path: Path, value_of: Callable[[str, str | None, Path], str]) -> Any:  # noqa: ANN401 - as TOML has it
    if isinstance(value, dict):
        return {key: _filled(inner, (*path, key), value_of) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, (*path, at), value_of) for at, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    text = _PLACEHOLDER.sub(lambda found: value_of(found[1], found[3], path) if found[1] else "${", value)
    alone = _PLACEHOLDER.fullmatch(value) is not None
    return _typed(text) if alone and path and _TYPED.fullmatch(str(path[-1])) else text


def _typed(text: str) -> str | float | bool:
    """Return the number or flag that *text* spells; what is neither as it is."""
    if text in ("true", "false"):
        return text == "true"
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
