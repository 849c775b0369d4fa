"""
The command ``memguard``: one file a command, its docstring is the help.

Every module of this folder is a command, by its own name. Exit codes: 0 clean, 1 leak or regression, 2 usage or
configuration, 3 not decided, 4 could not run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from pytest_memguard import __version__
from pytest_memguard.errors import CouldNotRun, MemguardError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_USAGE, _COULD_NOT_RUN, _INTERRUPTED = 2, 4, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except MemguardError as error:
        sys.stderr.write(f"memguard: {error}\n")
        return _COULD_NOT_RUN if isinstance(error, CouldNotRun) else _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="memguard", description="Memory leak tests of tests and services.")
    parser.add_argument("--version", action="version", version=f"memguard {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in _names():
        module = import_module(f"{__name__}.{name}")
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(name, help=text.splitlines()[0], description=text)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
