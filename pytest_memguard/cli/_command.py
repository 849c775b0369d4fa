"""A command that is started to be watched, and that is gone afterwards, with all that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from pytest_memguard.agent import folders, launch
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Command"]

_GRACE_S = 5.0
_MOST_LINE = 2000
_PR_SET_PDEATHSIG = 1
_STDERR = 2
#: What was killed is gone within this, unless the machine is very busy.
_GONE_S = 2.0


class Command:
    """
    A started command, in a session of its own, so that Ctrl-C reaches us and not both.

    Args:
        arguments: The program and its arguments.
        says: Takes each line that it writes; None to let it write where we write errors.

    Raises:
        CouldNotRun: it is not there, or cannot be run.

    """

    def __init__(self, arguments: Sequence[str], says: Callable[[str], None] | None = None) -> None:
        self.folder, token = folders.create() if hasattr(os, "geteuid") else ("", "")
        environ = {**os.environ, **(launch.environment(self.folder, token) if self.folder else {})}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - to run it is what was asked for
                arguments,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if says else _STDERR,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_us if sys.platform.startswith("linux") else None,  # noqa: PLW1509 - we have one thread
            )
        except (OSError, ValueError) as error:
            folders.remove(self.folder)
            reason = getattr(error, "strerror", None) or error
            raise CouldNotRun(f"{plain(arguments[0])} cannot be run: {reason}") from error
        if says is not None:
            threading.Thread(target=self._listen, args=(says,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None as long as it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and all that it has started: TERM first, KILL after some seconds."""
        family = self._family()
        with suppress(ProcessLookupError, PermissionError):
            self._signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=_GRACE_S)
        alive = [*{*alive, *self._family()}]
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        with suppress(ProcessLookupError, PermissionError):
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))  # what has left the tree, but not the session
        self._process.wait()
        psutil.wait_procs(alive, timeout=_GONE_S)
        folders.remove(self.folder)

    def _signal(self, number: int) -> None:
        if hasattr(os, "killpg"):
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        return []

    def _listen(self, says: Callable[[str], None]) -> None:
        """Hand on what it writes, line by line; a line without end in pieces."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it was asked for
        with suppress(OSError, ValueError):
            while line := output.readline(_MOST_LINE):
                says(line.decode(errors="replace").rstrip("\n"))


def _end_with_us() -> None:
    """Have the kernel end the child when we are killed, and cannot end it ourselves (prctl(2))."""
    import ctypes  # noqa: PLC0415 - in the child, on Linux only

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
