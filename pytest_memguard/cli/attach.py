"""
Put the agent into a process that runs already.

That takes Python 3.14 or later on both sides, of the same version, and the right to look into the process. It starts at
the next step of its main thread: one that waits, for a connection or in a sleep, does so once it has something to do.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pytest_memguard.agent import client, folders
from pytest_memguard.errors import ConfigError, CouldNotRun

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["add_arguments", "run"]

_WAIT_S = 5.0
_LOOK_EVERY_S = 0.02
_PACKAGE = Path(__file__).resolve().parents[1]
#: Runs in the other process, between two steps of its main thread: whatever happens, that goes on.
_SCRIPT = """\
try:
    import sys
    if "pytest_memguard" not in sys.modules:
        from importlib.util import module_from_spec, spec_from_file_location
        spec = spec_from_file_location(
            "pytest_memguard", {init!r}, submodule_search_locations=[{package!r}]
        )
        sys.modules["pytest_memguard"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["pytest_memguard"])
    from pytest_memguard.agent.server import start
    start({folder!r})
except BaseException as error:
    import os
    with open({problem!r} + ".part", "w") as file:
        file.write(f"{{type(error).__name__}}: {{error}}")
    os.replace({problem!r} + ".part", {problem!r})
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("pid", type=int, metavar="PID", help="the process")
    parser.add_argument(
        "--wait", type=float, default=_WAIT_S, metavar="SECONDS", help="how long to wait for it (default: %(default)g)"
    )


def run(options: argparse.Namespace) -> int:
    """Attach, and say where the agent is."""
    if not options.wait > 0:
        raise ConfigError(f"--wait = {options.wait:g}: write a number above 0")
    pid = options.pid
    _require_own(pid)
    if (path := _answering(pid)) is None:
        path = attach(pid, wait_s=options.wait)
    print(f"process {pid} answers at {path}; try: memguard monitor {pid}")
    return 0


def attach(pid: int, *, wait_s: float = _WAIT_S, execute: Callable[[int, str], Any] | None = None) -> str:
    """
    Start the agent in process *pid*, and return its socket.

    Raises:
        CouldNotRun: this interpreter or that one cannot do it, or the process did not come to it in time.

    """
    execute = execute or getattr(sys, "remote_exec", None)
    if execute is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise CouldNotRun(
            f"memguard attach needs Python 3.14 or later on both sides, and this is {version}: start the process with "
            "`memguard exec -- COMMAND`, or call pytest_memguard.agent.start() in it"
        )
    folder, _ = folders.create()
    path, problem = folders.socket_path(folder, pid), f"{folder}/attach.error"
    try:
        _send(pid, execute, folder, problem)
        _wait(pid, path, problem, wait_s)
    except BaseException:
        folders.remove(folder)
        raise
    return path


def _send(pid: int, execute: Callable[[int, str], Any], folder: str, problem: str) -> None:
    script = Path(folder, "attach.py")
    script.write_text(
        _SCRIPT.format(init=str(_PACKAGE / "__init__.py"), package=str(_PACKAGE), folder=folder, problem=problem),
        encoding="utf-8",
    )
    script.chmod(0o600)
    try:
        execute(pid, str(script))
    except PermissionError as error:
        raise CouldNotRun(
            f"process {pid} may not be looked into: that takes root, or CAP_SYS_PTRACE, or kernel.yama.ptrace_scope=0"
        ) from error
    except ProcessLookupError as error:
        raise CouldNotRun(f"there is no process {pid}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise CouldNotRun(
            f"process {pid} takes no agent: {error}; it must be Python of this very version "
            f"({'.'.join(map(str, sys.version_info[:2]))}) that does not forbid it (PYTHON_DISABLE_REMOTE_DEBUG)"
        ) from error


def _wait(pid: int, path: str, problem: str, wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    while not Path(path).exists():
        if Path(problem).exists():
            raise CouldNotRun(f"the agent did not start in process {pid}: {Path(problem).read_text(encoding='utf-8')}")
        if not psutil.pid_exists(pid):
            raise CouldNotRun(f"process {pid} has ended")
        if time.monotonic() > deadline_s:
            raise CouldNotRun(
                f"process {pid} did not come to it within {wait_s:g} s: its main thread waits in a system call; send "
                "it something to do, such as a request, and try again"
            )
        time.sleep(_LOOK_EVERY_S)


def _require_own(pid: int) -> None:
    try:
        owner = psutil.Process(pid).uids().effective if hasattr(psutil.Process, "uids") else None
    except psutil.NoSuchProcess as error:
        raise CouldNotRun(f"there is no process {pid}") from error
    if owner is not None and owner != os.geteuid():
        raise CouldNotRun(f"process {pid} is of another user (uid {owner}): run memguard attach as that user")


def _answering(pid: int) -> str | None:
    """Return the socket of an agent that is there already."""
    path = client.find(pid)
    if path is None:
        return None
    try:
        client.Client(path, folders.read_token(str(Path(path).parent))).close()
    except CouldNotRun:
        return None
    return path
