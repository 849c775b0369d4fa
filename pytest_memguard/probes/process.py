"""What the kernel counts for this process: resident and mapped memory, descriptors, threads, children."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import CHILDREN, FDS, MAPPED, RSS, THREADS, USS
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

__all__ = ["Children", "Descriptors", "PrivateMemory", "ResidentMemory", "StatMemory", "Threads"]

_STATM = "/proc/self/statm"
_FD = "/proc/self/fd"
_TASK = "/proc/self/task"
# Most that is asked of a file of /proc at once.
_CHUNK = 1 << 16
_READ_ONLY = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
# The real functions. pyfakefs replaces ``os`` in every module, functions that are attributes of a module, and default
# arguments if it is told to; what is in a field of an object it leaves alone.
_OS = SimpleNamespace(
    close=os.close,
    exists=os.path.exists,
    isdir=os.path.isdir,
    listdir=os.listdir,
    open=os.open,
    read=os.read,
    stat=os.stat,
)


def _psutil_process() -> Any:  # noqa: ANN401 - psutil comes without types
    import psutil  # noqa: PLC0415 - heavy; only where a test is checked

    try:
        return psutil.Process()
    except psutil.NoSuchProcess as error:
        raise CouldNotRun("/proc cannot be read: the file system is replaced (by pyfakefs, perhaps)") from error


class StatMemory:
    """Resident bytes and private writable bytes mapped (data segment, heap, anonymous maps), from one read (Linux)."""

    metrics = (RSS, MAPPED)

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")

    @staticmethod
    def available() -> bool:
        """Whether the kernel has the file."""
        return bool(_OS.exists(_STATM))

    def read(self, row: array[int], at: int) -> None:
        """Write resident, then mapped bytes."""
        descriptor = _OS.open(_STATM, _READ_ONLY)
        try:
            fields = _OS.read(descriptor, 256).split()
        finally:
            _OS.close(descriptor)
        row[at] = int(fields[1]) * self._page
        row[at + 1] = int(fields[5]) * self._page


class ResidentMemory:
    """Resident bytes, where there is no ``/proc``."""

    metrics = (RSS,)

    def __init__(self) -> None:
        self._memory_info: Callable[[], Any] = _psutil_process().memory_info

    def read(self, row: array[int], at: int) -> None:
        """Write resident bytes."""
        row[at] = self._memory_info().rss


class PrivateMemory:
    """Bytes that would be free if this process ended (USS); dear, so only where it is asked for."""

    metrics = (USS,)

    def __init__(self) -> None:
        self._memory_full_info: Callable[[], Any] = _psutil_process().memory_full_info

    def read(self, row: array[int], at: int) -> None:
        """Write unique bytes."""
        row[at] = self._memory_full_info().uss


class Descriptors:
    """Open file descriptors (handles on Windows)."""

    metrics = (FDS,)

    def __init__(self) -> None:
        self._count = None if _OS.isdir(_FD) else _descriptor_counter()

    def read(self, row: array[int], at: int) -> None:
        """Write the number of open descriptors; the one that lists the folder is not counted."""
        row[at] = len(_OS.listdir(_FD)) - 1 if self._count is None else self._count()


def _descriptor_counter() -> Callable[[], int]:
    process = _psutil_process()
    count: Callable[[], int] = process.num_handles if hasattr(process, "num_handles") else process.num_fds
    return count


class Threads:
    """Threads of the process, native ones included."""

    metrics = (THREADS,)

    def __init__(self) -> None:
        self._count: Callable[[], int] | None = None if _OS.isdir(_TASK) else _psutil_process().num_threads

    def read(self, row: array[int], at: int) -> None:
        """Write the number of threads: a folder of ``/proc`` has one link a thread besides its own two."""
        row[at] = _OS.stat(_TASK).st_nlink - 2 if self._count is None else self._count()


class Children:
    """Child processes that were started and not waited for, zombies included."""

    metrics = (CHILDREN,)

    def __init__(self) -> None:
        self._waitid = getattr(os, "waitid", None)

    def read(self, row: array[int], at: int) -> None:
        """Write the number of children; a process that has none is known by one system call."""
        row[at] = self._count() if self._has_any() else 0

    def _has_any(self) -> bool:
        if self._waitid is None:
            return True
        try:
            self._waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _count(self) -> int:
        try:
            threads = _OS.listdir(_TASK)
        except OSError:
            return len(_psutil_process().children())
        total = 0
        for thread in threads:
            try:
                total += len(_read(f"{_TASK}/{thread}/children").split())
            except OSError:
                continue
        return total


def _read(path: str) -> bytes:
    """Return what is in a file of ``/proc``, with half the system calls of ``open``."""
    descriptor = _OS.open(path, _READ_ONLY)
    try:
        text = b""
        while more := _OS.read(descriptor, _CHUNK):
            text += more
        return text
    finally:
        _OS.close(descriptor)
