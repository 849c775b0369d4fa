"""
The settings of one session: one frozen value, made of layers, each stronger than the one before.

    defaults < pyproject.toml [tool.memguard] < pytest's ini < environment < command line < marker (marks.py)
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_memguard.core.toml import parse
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

__all__ = [
    "ACCEPTED_FILE", "CHECKS", "CI", "EXPLAIN", "FAIL_ON", "FILE_KEYS", "FLAG_KEYS", "KEYS", "MODES", "POLICIES",
    "Settings", "check_paths", "layer", "nearest", "one_of", "output_path", "read_pyproject", "read_value", "shown",
]  # fmt: skip

#: In pytest's root folder; named here because every session looks for it, and few have to read it.
ACCEPTED_FILE = "memguard-accepted.toml"
#: A table of its own below ``[tool.memguard]``: ``memguard soak`` reads and checks it.
_SCENARIOS = "scenario"
CHECKS = ("marked", "all", "off")
MODES = ("quick", "standard", "deep", "native")
FAIL_ON = ("leak", "growing", "new", "never")
POLICIES = ("calibrated", "points", "correlation", "growth", "any", "all")
EXPLAIN = ("auto", "off", "always", "native")
CI = ("auto", "off", "github")


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Every setting of one session, valid and merged.

    Attributes:
        mode: None where nobody chose: quick for whole suites, standard for marked tests.
        json: Path as it was given; relative ones start at the invocation directory (``output_path``).
        html: Like ``json``.
        origins: For each key that was set, where; no part of comparing two settings.

    """

    check: str = "marked"
    mode: str | None = None
    fail_on: str = "leak"
    confidence: float = 95.0
    policy: str = "calibrated"
    max_runs: int = 65
    budget_s: float = 30.0
    json: str | None = None
    html: str | None = None
    save: str | None = None
    baseline: str | None = None
    explain: str = "auto"
    ci: str = "auto"
    origins: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    def origin(self, key: str) -> str:
        """Return where *key* was set, as messages name it (``pytest.ini: memguard_json``)."""
        return dict(self.origins).get(key, key)

    def as_dict(self) -> dict[str, Any]:
        """Return every setting as JSON can hold it, for the result document."""
        return {key: getattr(self, key) for key in KEYS}


class _Given(NamedTuple):
    """One checked value of one layer, and where it was written."""

    value: Any
    where: str


def layer(  # noqa: PLR0913 - one argument a layer, all by name
    *,
    pyproject: Mapping[str, object] | None,
    pyproject_path: Path | None,
    ini: Mapping[str, str],
    ini_path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | bool | None],
    overridden: Collection[str] = (),
) -> Settings:
    """
    Merge the layers into one value; a wrong value is refused even where a stronger layer hides it.

    Args:
        pyproject: The table ``[tool.memguard]``, None where there is none.
        pyproject_path: The file it stands in.
        ini: Values of pytest's own configuration by key (``memguard_mode``), only those that are set.
        ini_path: The file they stand in, None where they come from ``-o`` alone.
        environ: The environment; only ``MEMGUARD_<KEY>`` is looked at, and an empty value counts as not set.
        flags: Values by option (``--memguard-mode``), None where not given.
        overridden: The keys of *ini* that ``-o`` gave on the command line.

    Raises:
        ConfigError: one line that names place, key, value and what would be right.
    """
    given: dict[str, _Given] = {}
    given.update(_from_pyproject(pyproject or {}, pyproject_path))
    given.update(_from_ini(ini, ini_path, overridden))
    given.update(_from_environment(environ))
    given.update(_from_flags(flags))
    settings = Settings(
        **{key: entry.value for key, entry in given.items()},
        origins=tuple((key, entry.where) for key, entry in given.items()),
    )
    _refuse_one_file_for_two(settings, os.path.normpath)
    return settings


def _from_pyproject(table: Mapping[str, object], path: Path | None) -> dict[str, _Given]:
    place = path.name if path else "pyproject.toml"
    named = {key: value for key, value in table.items() if key != _SCENARIOS}
    for key in named:
        if key not in FILE_KEYS:
            raise ConfigError(f"{place}: tool.memguard.{key} {_not_a_setting(key)}")
    return {key: _checked(key, value, f"{place}: tool.memguard.{key}") for key, value in named.items()}


def _from_ini(ini: Mapping[str, str], path: Path | None, overridden: Collection[str]) -> dict[str, _Given]:
    given = {}
    for key in FILE_KEYS:
        name = f"memguard_{key}"
        if name in ini:
            place = path.name if path and name not in overridden else "command line"
            given[key] = _checked(key, _typed(key, ini[name]), f"{place}: {name}")
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    given = {}
    for key in KEYS:
        name = f"MEMGUARD_{key.upper()}"
        text = environ.get(name, "").strip()  # `set X=deep && pytest` on Windows keeps the blank
        if text:
            given[key] = _checked(key, _typed(key, text), f"environment: {name}")
    return given


def _from_flags(flags: Mapping[str, str | bool | None]) -> dict[str, _Given]:
    whole, nothing = bool(flags.get("--memguard")), bool(flags.get("--no-memguard"))
    if whole and nothing:
        raise ConfigError("command line: --memguard and --no-memguard contradict each other; give one of them")
    given = {}
    if whole or nothing:
        option, value = ("--memguard", "all") if whole else ("--no-memguard", "off")
        given["check"] = _checked("check", value, f"command line: {option}")
    for option, key in FLAG_KEYS.items():
        text = flags.get(option)
        if text is not None:
            given[key] = _checked(key, _typed(key, text), f"command line: {option}")
    return given


def _checked(key: str, value: object, where: str) -> _Given:
    return _Given(read_value(key, value, where), where)


def _typed(key: str, text: object) -> object:
    """Return *text* as the type that a TOML file would hold; what is no number stays as it is."""
    if key not in _NUMBERS or not isinstance(text, str):
        return text
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text


def _not_a_setting(key: str) -> str:
    if key == "save":
        return "belongs to one run; give --memguard-save=NAME or MEMGUARD_SAVE"
    plain = key.lower().replace("-", "_").removeprefix("memguard_")
    return f"is not a setting{nearest(plain, FILE_KEYS) or '; write one of ' + ', '.join(FILE_KEYS)}"


# Each reader returns a valid value, or raises ValueError with what is wrong; read_value puts the place before it.


def one_of(names: tuple[str, ...]) -> Callable[[object], str]:
    """Return a reader that takes one of *names*, and suggests the nearest for what is none of them."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(f"is none of {', '.join(map(repr, names))}{nearest(value, names)}")

    return read


def _confidence(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 100:  # noqa: PLR2004 - per cent
        return float(value)
    raise ValueError("is not a number above 0 and up to 100")


def _run_count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2:  # noqa: PLR2004 - growth needs two runs
        return value
    raise ValueError("is not a whole number of 2 or more")


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= sys.float_info.max:
        return float(value)
    raise ValueError("is not a number of seconds above 0")


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    raise ValueError("is not a name or path; write text that is not empty")


def _file_path(value: object) -> str:
    text = _text(value)
    if text.endswith(("/", os.sep)):
        raise ValueError("names a folder; write the path of a file in it")
    return text


_UNFIT = frozenset('<>:"/\\|?*')  # what Windows and the artifact stores of CI services refuse in file names
_LONGEST_NAME = 100  # with the suffix, well below the 255 bytes of common file systems


def _save_name(value: object) -> str:
    text = _text(value)
    if _UNFIT & set(text) or not text.isprintable() or text.strip(" .") != text:
        raise ValueError("is not a name; write letters, digits, '-', '_' and inner dots, no path")
    if len(text.encode(errors="replace")) > _LONGEST_NAME:
        raise ValueError(f"is too long for a name; write at most {_LONGEST_NAME} bytes")
    return text


_READERS: Mapping[str, Callable[[object], object]] = {
    "check": one_of(CHECKS),
    "mode": one_of(MODES),
    "fail_on": one_of(FAIL_ON),
    "confidence": _confidence,
    "policy": one_of(POLICIES),
    "max_runs": _run_count,
    "budget_s": _seconds,
    "json": _file_path,
    "html": _file_path,
    "save": _save_name,
    "baseline": _text,
    "explain": one_of(EXPLAIN),
    "ci": one_of(CI),
}
_NUMBERS = frozenset({"confidence", "max_runs", "budget_s"})
KEYS = tuple(_READERS)
FILE_KEYS = tuple(key for key in KEYS if key != "save")
FLAG_KEYS: Mapping[str, str] = {
    f"--memguard-{key.removesuffix('_s').replace('_', '-')}": key for key in KEYS if key != "check"
}


def read_value(key: str, value: object, where: str) -> object:
    """
    Return the valid value of setting *key*.

    Args:
        key: One of ``KEYS``.
        value: As a TOML file or a marker holds it.
        where: Place and key as the user wrote it, the start of the message.

    Raises:
        ConfigError: *value* is not one that *key* may have.
    """
    try:
        return _READERS[key](value)
    except ValueError as wrong:
        raise ConfigError(f"{where} = {shown(value)} {wrong}") from None


def nearest(word: object, names: Iterable[str]) -> str:
    """Return ``; did you mean 'NAME'?`` for the name closest to *word*; empty where none is close."""
    import difflib  # noqa: PLC0415 - only a wrong setting needs it

    close = difflib.get_close_matches(str(word).lower(), tuple(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """Return *value* for a message: one line, at most 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - the 60 of the docstring


def read_pyproject(path: Path) -> Mapping[str, object] | None:
    """
    Return the table ``[tool.memguard]`` of a TOML file; None where there is no file or no such table.

    A file that nowhere says "memguard" is not parsed: a broken one is then not this package's business.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or ``tool.memguard`` is no table.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read ({error.strerror})") from error
    if b"memguard" not in content:
        return None
    tool = _parse(content, path.name).get("tool")
    table = tool.get("memguard") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path.name}: tool.memguard = {shown(table)} is not a table; write [tool.memguard]")
    return table


def _parse(content: bytes, name: str) -> dict[str, Any]:
    try:
        return parse(content.decode())
    except ValueError as error:  # bad UTF-8 is one as well
        raise ConfigError(f"{name}: not valid TOML: {error}") from error


def output_path(given: str, invocation_dir: Path) -> Path:
    """Return where a file is written: ``~`` expanded, relative paths from *invocation_dir*."""
    return invocation_dir / os.path.expanduser(given)  # noqa: PTH111 - Path.expanduser raises where there is no home


def check_paths(settings: Settings, invocation_dir: Path) -> None:
    """
    Refuse output paths that the end of the session could not write, while nothing has run yet.

    Raises:
        ConfigError: one line that names place, key, path and what is wrong with it.
    """
    for key in ("json", "html"):
        given = getattr(settings, key)
        wrong = _why_not_writable(output_path(given, invocation_dir)) if given else ""
        if wrong:
            raise ConfigError(f"{settings.origin(key)} = {shown(given)} {wrong}")
    _refuse_one_file_for_two(settings, lambda given: os.path.realpath(output_path(given, invocation_dir)))


def _why_not_writable(path: Path) -> str:
    folder = os.fspath(path.parent)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on names it may not look at
        return "is a folder; write the path of a file in it"
    if not os.path.isdir(folder):  # noqa: PTH112 - as above
        return f"cannot be written: there is no folder {folder!r}; create it first"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot be written: the folder {folder!r} is not writable; choose another"
    if not os.path.exists(path):  # noqa: PTH110 - as above
        return ""
    if not os.path.isfile(path):  # noqa: PTH113 - as above
        return "is not a regular file; choose another path"
    return "" if os.access(path, os.W_OK) else "is a file that is not writable; choose another path"


def _refuse_one_file_for_two(settings: Settings, located: Callable[[str], str]) -> None:
    if settings.json and settings.html and located(settings.json) == located(settings.html):
        raise ConfigError(
            f"{settings.origin('html')} = {shown(settings.html)} is the file of {settings.origin('json')} too; "
            "give each its own path"
        )
