"""Processes of other programs: the end of their output, and their end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["finished", "output_of", "stopped"]

_END_S = 5.0  # from TERM to KILL
_LOOK_S = 0.05
_TAIL_BYTES = 2000


def output_of(log: Path) -> str:
    """Return the last words that a program wrote, on one line."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-3:])
    return ""


async def finished(processes: Sequence[subprocess.Popen[bytes]], *, timeout_s: float) -> bool:
    """Wait until all have ended, at most *timeout_s*; return whether they have."""
    until = time.monotonic() + timeout_s
    while any(process.poll() is None for process in processes):
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


def stopped(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs, with all that it started: TERM, then KILL."""
    for process in processes:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
    until = time.monotonic() + _END_S
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
        if process.poll() is None:
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a process that leads its own group, and to the group."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.terminate()
