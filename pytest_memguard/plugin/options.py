"""
The options that pytest is taught, and the settings that come of them.

This module is imported with every pytest session, also those that never check a test: it imports nothing heavy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_memguard.config import Settings

__all__ = ["KEY", "add_options", "anything_set", "is_guarding", "read_settings"]

#: Where a session's settings and results lie in ``config.stash``.
KEY = pytest.StashKey[object]()

_MEMGUARD, _NO_MEMGUARD = "--memguard", "--no-memguard"

# option, what stands for its value in the help, ini key ("" where a file may not set it), help
_OPTIONS = (
    ("--memguard-mode", "quick/standard/deep/native", "memguard_mode",
     "Runs of a clean test: 3, 5 or 17; native: batches for C extensions (default: quick; standard if marked)."),
    ("--memguard-fail-on", "leak/growing/new/never", "memguard_fail_on",
     "What fails a test; new: what is not in the baseline (default: leak)."),
    ("--memguard-confidence", "SCORE", "memguard_confidence",
     "Score, above 0 and up to 100, from which a finding is a leak (default: 95)."),
    ("--memguard-policy", "NAME", "memguard_policy",
     "Who decides: calibrated, points, correlation, growth, any or all (default: calibrated)."),
    ("--memguard-max-runs", "N", "memguard_max_runs", "Most runs of one test (default: 65)."),
    ("--memguard-budget", "SECONDS", "memguard_budget_s", "Most seconds spent on one test (default: 30)."),
    ("--memguard-json", "PATH", "memguard_json", "Write the result document to this file."),
    ("--memguard-html", "PATH", "memguard_html", "Write the report to this file."),
    ("--memguard-save", "NAME", "", "Keep this run as baseline NAME in .memguard/."),
    ("--memguard-baseline", "NAME or PATH", "memguard_baseline",
     "Compare with this baseline; leaks that it knows do not fail."),
    ("--memguard-explain", "auto/off/always", "memguard_explain",
     "The extra pass with stacks and paths (default: auto, for what is not clean)."),
    ("--memguard-ci", "auto/off/github", "memguard_ci",
     "Annotations and the summary of the step (default: auto, in GitHub Actions)."),
)  # fmt: skip
_INI_KEYS = ("memguard_check", *(key for _, _, key, _ in _OPTIONS if key))


def add_options(parser: pytest.Parser) -> None:
    """Register the command-line group "memguard" and the ini keys; every default is None, for "not set"."""
    group = parser.getgroup("memguard", "memory leaks (memguard)")
    group.addoption(
        _MEMGUARD, dest=_dest(_MEMGUARD), action="store_const", const=True, default=None,
        help="Check every test that passes, not only those marked no_leak.",
    )  # fmt: skip
    group.addoption(
        _NO_MEMGUARD, dest=_dest(_NO_MEMGUARD), action="store_const", const=True, default=None,
        help="Check nothing, not even marked tests.",
    )  # fmt: skip
    parser.addini("memguard_check", "Which tests are checked: marked, all or off.", type="string", default=None)
    for option, metavar, ini_key, text in _OPTIONS:
        group.addoption(option, dest=_dest(option), metavar=metavar, default=None, help=text)
        if ini_key:
            parser.addini(ini_key, f"Default for {option}.", type="string", default=None)


def anything_set(config: pytest.Config) -> bool:
    """Whether any setting was given anywhere; cheap, for sessions that do not use the plugin at all."""
    if any(value is not None for value in _flags(config).values()):
        return True
    if any(name.startswith("MEMGUARD_") for name in os.environ):
        return True
    try:
        if any(config.getini(key) is not None for key in _INI_KEYS):
            return True
    except (TypeError, pytest.UsageError):
        return True  # set to something wrong: reading the settings will say so
    try:
        return b"memguard" in _pyproject_path(config).read_bytes()
    except OSError:
        return False


def is_guarding(config: pytest.Config) -> bool:
    """Whether settings were read in this session: a test was to be checked, or something was set."""
    return KEY in config.stash


def read_settings(config: pytest.Config) -> Settings:
    """
    Return the settings of a session, from every layer but the markers.

    Raises:
        ConfigError: one line that names place, key, value and what would be right.
    """
    from pytest_memguard.config import check_paths, layer, read_pyproject  # noqa: PLC0415 - not before it is needed

    pyproject_path = _pyproject_path(config)
    settings = layer(
        pyproject=read_pyproject(pyproject_path),
        pyproject_path=pyproject_path,
        ini=_ini_values(config),
        ini_path=config.inipath,
        environ=os.environ,
        flags=_flags(config),
        overridden=_overridden(config),
    )
    if not hasattr(config, "workerinput"):  # an xdist worker writes no file, and may run on another machine
        check_paths(settings, config.invocation_params.dir)
    return settings


def _dest(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _pyproject_path(config: pytest.Config) -> Path:
    """Return pyproject.toml of the root, or the one that ``-c`` names."""
    if config.inipath is not None and config.inipath.name == "pyproject.toml":
        return config.inipath
    return config.rootpath / "pyproject.toml"


def _ini_values(config: pytest.Config) -> dict[str, str]:
    values = {key: _ini_value(config, key) for key in _INI_KEYS}
    return {key: value for key, value in values.items() if value is not None}


def _ini_value(config: pytest.Config, key: str) -> str | None:
    """Return the value of *key*, None where it is not set; pytest 9 refuses TOML values that are no text."""
    from pytest_memguard.errors import ConfigError  # noqa: PLC0415 - not before it is needed

    try:
        value: str | None = config.getini(key)
    except (TypeError, pytest.UsageError) as error:
        place = config.inipath.name if config.inipath else "command line"
        raise ConfigError(f"{place}: {key} is not text; write its value in quotes") from error
    return value


def _overridden(config: pytest.Config) -> frozenset[str]:
    """Return the ini keys that ``-o KEY=VALUE`` gave."""
    return frozenset(entry.partition("=")[0].strip() for entry in config.getoption("override_ini") or ())


def _flags(config: pytest.Config) -> dict[str, str | bool | None]:
    options = (_MEMGUARD, _NO_MEMGUARD, *(option for option, _, _, _ in _OPTIONS))
    flags: dict[str, str | bool | None] = {option: config.getoption(_dest(option)) for option in options}
    if flags[_MEMGUARD] and flags[_NO_MEMGUARD]:
        flags.update(_typed_over_addopts(config))
    return flags


def _typed_over_addopts(config: pytest.Config) -> dict[str, None]:
    """Return the one of the two opposite switches that only ``addopts`` gave, to be dropped: the typed one wins."""
    typed = {option for option in (_MEMGUARD, _NO_MEMGUARD) if option in config.invocation_params.args}
    return dict.fromkeys({_MEMGUARD, _NO_MEMGUARD} - typed) if len(typed) == 1 else {}
