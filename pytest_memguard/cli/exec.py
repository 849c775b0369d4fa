"""
Run a command with the agent inside.

Everything that it is and does stays its own: its number, signals, exit code. Each Python that it starts, workers
too, answers memguard monitor and memguard snapshot, to this user only. An interpreter that ignores its environment
(python -I, python -E, a frozen program) has no agent. The command comes after --.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from pytest_memguard.agent import folders, launch
from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what to run, with its arguments, after --")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say where the agent is")


def run(options: argparse.Namespace) -> int:
    """Become the command."""
    if not options.command:
        raise ConfigError("write what to run after --, as in `memguard exec -- python app.py`")
    if not hasattr(os, "geteuid"):
        raise CouldNotRun("memguard exec needs unix sockets, which this platform does not have")
    folders.sweep()
    folder, token = folders.create()
    if not options.quiet:
        pid = os.getpid()
        sys.stderr.write(f"memguard: the agent of process {pid} is in {folder}; try: memguard monitor {pid}\n")
        sys.stderr.flush()
    _become(options.command, {**os.environ, **launch.environment(folder, token, owner=os.getpid())}, folder)
    return 0


def _become(command: list[str], environ: dict[str, str], folder: str) -> None:
    """
    Put the command in the place of this process.

    Raises:
        CouldNotRun: it is not there, or cannot be run.

    """
    # The interpreter ignores these, which a program that takes its place would inherit.
    ignored = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ignored}
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - to run it is what was asked for
    except (OSError, ValueError) as error:
        folders.remove(folder)
        reason = getattr(error, "strerror", None) or error
        raise CouldNotRun(f"{plain(command[0])} cannot be run: {reason}") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
