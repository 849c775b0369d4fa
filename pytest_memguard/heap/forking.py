"""
Runs something in a forked copy of this process, which says on a pipe what came out, and ends.

The copy has one thread, the one that forked. It shares no open file with its parent but that pipe: a connection that
the parent closes is closed, and a signal or a lack of memory ends the copy first.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "cannot_fork", "in_copy", "is_forking"]

#: What the copy says: a JSON object.
Answer = dict[str, Any]

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM")
#: Highest of the copy's files that is closed where the system has no limit worth the name.
_MOST_FILES = 1 << 20
#: Room to write down what there is after memory has run out.
_RESERVE_BYTES = 128 << 20
_forking: set[int] = set()


def cannot_fork() -> str:
    """Return why a copy of this process cannot be made; empty where it can."""
    if not hasattr(os, "fork"):
        return "this platform has no fork"
    if sys.platform == "darwin":
        return "system libraries of macOS do not survive a fork"
    if "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("os"):
        return "gevent has replaced os.fork"
    return ""


def is_forking() -> bool:
    """
    Whether this thread is making such a copy, or this process is one.

    For ``os.register_at_fork``: what a forked worker starts again must not be started in a copy.
    """
    return threading.get_ident() in _forking


def in_copy(work: Callable[[Callable[[], None]], Answer], *, memory_bytes: int, seconds: float) -> tuple[Answer, float]:
    """
    Run *work* in a copy of this process, and return its answer and how long this process had to stop for it.

    Args:
        work: Is called in the copy, with what makes room once memory has run out.
        memory_bytes: So much more memory than this process may the copy have.
        seconds: After that the copy is ended.

    Raises:
        CouldNotRun: the copy was ended, or died.

    """
    reading, writing = os.pipe()
    try:
        started = time.perf_counter()
        child = _fork()
        if child == 0:
            _be_the_copy(work, writing, memory_bytes)
        pause_s = time.perf_counter() - started
        os.close(writing)
        writing = -1
        return _answer_of(child, reading, seconds), pause_s
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def _fork() -> int:
    me = threading.get_ident()
    _forking.add(me)
    try:
        with warnings.catch_warnings():
            # 3.12+ warns where there are other threads: the copy takes none of their locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError as error:
        _forking.discard(me)
        raise CouldNotRun(f"no copy of process {os.getpid()} can be made: {error.strerror}") from error
    if child:
        _forking.discard(me)
    return child


# -- in the copy -----------------------------------------------------------------------------------------------------


def _be_the_copy(work: Callable[[Callable[[], None]], Answer], writing: int, memory_bytes: int) -> None:
    """Do the work and end; nothing that the process has planned for its end happens here."""
    try:
        answer: Answer = {}
        try:
            gc.disable()
            _stand_apart(writing)
            answer = work(_limit_memory(memory_bytes))
        except OSError as error:
            answer = {"error": error.strerror or str(error), "file": True}
        except MemoryError:
            answer = {"error": "the limit of memory was too low even to begin"}
        except BaseException as error:  # noqa: BLE001 - it is told, and must not unwind into the service's code
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _stand_apart(writing: int) -> None:
    """Take no part in what the process does: its signals, its files, its share of the processor and of memory."""
    signal.set_wakeup_fd(-1)
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    most = min(os.sysconf("SC_OPEN_MAX"), _MOST_FILES)
    os.closerange(3, writing)
    os.closerange(max(3, writing + 1), most)
    with suppress(OSError):
        os.nice(5)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - Linux
        file.write("1000")  # if somebody has to go, then the copy


def _limit_memory(memory_bytes: int) -> Callable[[], None]:
    """Let this process have so much more memory than now, and return what raises that limit by the reserve."""
    try:
        import resource  # noqa: PLC0415 - not on Windows

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - Linux
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    except (ImportError, OSError):
        return lambda: None

    def limit(most: int) -> None:
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))

    limit(now + memory_bytes)
    return lambda: limit(now + memory_bytes + _RESERVE_BYTES)


# -- in the process --------------------------------------------------------------------------------------------------


def _answer_of(child: int, reading: int, seconds: float) -> Answer:
    """Wait for the copy to end, or end it: whatever happens here, it is gone afterwards."""
    said, ended = b"", False
    try:
        said, ended = _read_all(reading, seconds)
    finally:
        if not ended:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        status = _reap(child)
    if not ended:
        raise CouldNotRun(f"the copy of process {os.getpid()} was ended: it was not done after {seconds:g} s")
    if not said:
        raise CouldNotRun(f"the copy of process {os.getpid()} died{_how(status)}")
    answer: Answer = json.loads(said)
    return answer


def _read_all(reading: int, seconds: float) -> tuple[bytes, bool]:
    """Return what comes out of a pipe, and whether it was closed in time."""
    said, deadline = b"", time.monotonic() + seconds
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    while waiting.poll(max(0, deadline - time.monotonic()) * 1000):
        part = os.read(reading, 1 << 16)
        if not part:
            return said, True
        said += part
    return said, False


def _reap(child: int) -> int | None:
    """Return how the copy ended; None where the process lets somebody else ask."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:
        return None


def _how(status: int | None) -> str:
    if status is None or status >= 0:
        return ""
    name = signal.Signals(-status).name
    return f" by {name}" + (", as a rule because memory was short" if name == "SIGKILL" else "")
