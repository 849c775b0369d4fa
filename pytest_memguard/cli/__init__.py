"""
The command ``memguard``: one file a command, its docstring is the help.

Exit codes: 0 clean, 1 leak or regression, 2 usage or configuration, 3 not decided, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pytest_memguard import __version__
from pytest_memguard.errors import MemguardError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_USAGE, _INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except MemguardError as error:
        sys.stderr.write(f"memguard: {error}\n")
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    from pytest_memguard.cli import accept, compare, history, merge, report  # noqa: PLC0415 - one import a command, here

    parser = argparse.ArgumentParser(prog="memguard", description="Memory leak tests: look at what a run found.")
    parser.add_argument("--version", action="version", version=f"memguard {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    modules = {"accept": accept, "compare": compare, "history": history, "merge": merge, "report": report}
    for name, module in modules.items():
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(name, help=text.splitlines()[0], description=text)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
