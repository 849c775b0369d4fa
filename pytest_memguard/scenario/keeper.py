"""
A process that starts a service, and that sees to its end whatever becomes of whoever asked for it.

    python -I -S keeper.py  <  {"command": [...], "env": {...}, "cwd": "...", "kept": "..."}

It is told what to do on stdin, a line each (``tail``, ``stop SECONDS``), and answers on stdout, a JSON object a line.
When stdin ends, who asked is gone: then it ends the service too. On Linux whatever the service starts and leaves
becomes a child of the keeper, so that nothing can leave the tree; and if the keeper is killed, so is the service.
The standard library alone, and little of it: there is one such process for each service.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEPT"]

#: The variable that marks whatever belongs to a run: its number, and for a service a colon and a number.
KEPT = "MEMGUARD_KEPT"

_TAIL_BYTES = 16 * 1024
_READ_BYTES = 1 << 18
#: Enough for what is in the pipe when the service ends; others may write into it without end.
_MOST_READS = 64
_LOOK_S = 0.5
_STEP_S = 0.02
#: For a service whose asker is gone: long enough to close its files.
_ORPHAN_GRACE_S = 1.0
#: A process in a system call that cannot be interrupted outlives KILL; it is not waited for any longer.
_MOST_KILL_S = 10.0
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # of prctl(2)
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


class _Order(TypedDict):
    """What is to be kept."""

    command: list[str]
    env: dict[str, str]
    cwd: str | None
    kept: str


class _Keeper:
    """One service, from its start to its end."""

    def __init__(self, order: _Order) -> None:
        self._kept = order["kept"]
        self._tail = b""
        self._written = 0
        self._code: int | None = None
        self._input = b""
        self._is_asked_to_end = self._is_childless = False
        self._output, end = os.pipe()
        os.set_blocking(self._output, False)
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._ask_to_end)
        self._pid = _start(order, end)
        os.close(end)

    def keep(self) -> None:
        """Watch until the service is to end."""
        _tell(event="started", pid=self._pid)
        was_childless = False
        while not self._is_asked_to_end:
            for ready in self._wait(_LOOK_S, with_input=True):
                if ready == sys.stdin.fileno() and not self._obey():
                    return
            if self._reap():
                _tell(event="exit", code=self._code, tail=self._words())
            if self._is_childless and not was_childless:
                _tell(event="empty")
            was_childless = self._is_childless
        self.end(_ORPHAN_GRACE_S, orphaned=True)

    def _ask_to_end(self, *_: object) -> None:
        self._is_asked_to_end = True

    def _obey(self) -> bool:
        """Do what came on stdin; return whether to go on."""
        came = os.read(sys.stdin.fileno(), 4096)
        if not came:
            self.end(_ORPHAN_GRACE_S, orphaned=True)
            return False
        *lines, self._input = (self._input + came).split(b"\n")
        for line in lines:
            word, _, rest = line.decode().partition(" ")
            if word == "stop":
                self.end(float(rest))
                return False
            if word == "tail":
                _tell(event="tail", tail=self._words(), written=self._written)
        return True

    def end(self, grace_s: float, *, orphaned: bool = False) -> None:
        """End the service and all that it has started: TERM to the first, TERM to the others, KILL."""
        until = time.monotonic() + grace_s
        asked: set[int] = set()
        killed: set[int] = set()
        while time.monotonic() < until + _MOST_KILL_S:
            self._reap()
            alive = self._family(orphaned=orphaned)
            if self._is_childless and not alive:
                break
            if time.monotonic() >= until:
                killed |= {pid for pid in alive if _signal(pid, _KILL)}
            else:
                leader_first = {self._pid} & alive or alive
                asked |= {pid for pid in leader_first - asked if _signal(pid, signal.SIGTERM)}
            self._wait(_STEP_S)
        _tell(event="gone", code=self._code, killed=len(killed), tail=self._words())

    def _family(self, *, orphaned: bool) -> set[int]:
        return _below(os.getpid()) | _marked(self._kept.partition(":")[0] if orphaned else self._kept)

    def _wait(self, seconds: float, *, with_input: bool = False) -> list[int]:
        """Wait until something happens; take what the service writes meanwhile."""
        sources = [self._wake, *([self._output] if self._output >= 0 else ())]
        if with_input:
            sources.append(sys.stdin.fileno())
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._wake in ready:
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._output in ready:
            self._take()
        return ready

    def _take(self) -> bool:
        """Take what the service has written; return whether there was anything."""
        try:
            came = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not came:
            os.close(self._output)
            self._output = -1
        self._written += len(came)
        self._tail = (self._tail + came)[-_TAIL_BYTES:]
        return bool(came)

    def _reap(self) -> bool:
        """Take the exit codes of what has ended; return whether the service itself was among it."""
        ended = False
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self._pid:
                    self._code, ended = os.waitstatus_to_exitcode(status), True
        except ChildProcessError:
            self._is_childless = True
        return ended

    def _words(self) -> str:
        for _ in range(_MOST_READS):
            if self._output < 0 or not self._take():
                break
        return self._tail.decode(errors="replace")


def _start(order: _Order, output: int) -> int:
    """Start the command in a session of its own, and return its number."""
    process = subprocess.Popen(  # noqa: S603 - the user's own command
        order["command"],
        env=order["env"],
        cwd=order["cwd"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_prctl(_DEATH_SIGNAL, _KILL),  # noqa: PLW1509 - there is one thread here
    )
    process.returncode = 0  # whoever ends is reaped here, and nowhere else
    return process.pid


def _prctl(option: int, value: int) -> Callable[[], object] | None:
    """Return what calls prctl(2), which Linux alone has; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # noqa: PLC0415 - on Linux only

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(option, value, 0, 0, 0)


def _below(pid: int) -> set[int]:
    """Return the processes that *pid* has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, level = set[int](), [pid]
    while level:
        level = [child for parent in level for child in children.get(parent, ()) if child not in found]
        found.update(level)
    return found


def _parents() -> list[tuple[int, int]]:
    """Return each process that runs, and who has started it."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112 - pathlib costs more than the rest
        words = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=False).stdout.split()  # noqa: S607 - of the system
        numbers = [int(word) for word in words]
        return list(zip(numbers[::2], numbers[1::2], strict=False))
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if name.isdecimal():
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found.append((int(name), int(parent)))
    return found


def _marked(kept: str) -> set[int]:
    """Return the processes that have the mark *kept*, or one below it, in their environment."""
    mark, below = f"{KEPT}={kept}".encode(), f"{KEPT}={kept}:".encode()
    found = set()
    for pid, _ in _parents() if os.path.isdir("/proc/self") else ():  # noqa: PTH112 - as above
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
            if any(entry == mark or entry.startswith(below) for entry in file.read().split(b"\0")):
                found.add(pid)
    return found - {os.getpid()}


def _signal(pid: int, number: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False


def _tell(**event: object) -> None:
    with suppress(OSError):  # nobody listens any more
        os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN, which the service would inherit.
        signal.signal(number, lambda *_: None)
    subreaper = _prctl(_SUBREAPER, 1)
    if subreaper is not None:
        subreaper()
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
        line = source.readline()
    if not line:
        return
    try:
        keeper = _Keeper(json.loads(line))
    except (OSError, ValueError) as error:
        _tell(
            event="failed", reason=getattr(error, "strerror", None) or str(error), file=getattr(error, "filename", None)
        )
        return
    keeper.keep()


if __name__ == "__main__":
    _main()
