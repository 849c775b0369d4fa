"""
Reads a tree of processes: from outside what the kernel counts, from inside what the interpreter does, by its agent.

    tree = Tree(pid)
    reading = tree.sample()          # of the process and of all that it has started
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pytest_memguard.agent import client, folders
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ProcessReading", "Tree", "TreeReading", "label"]

#: The unique set is dear, as the kernel visits each page: the next is read when so many times its cost has passed.
_COST_RATIO = 500
#: New processes are looked for so often.
_CHILDREN_EVERY_S = 1.0
#: An interpreter needs a moment until its agent listens; who has none by then has none.
_LOOK_EVERY_S, _LOOKS = 0.5, 20
#: A process that stands still must not hold up the reading of the others.
_PATIENCE_S = 0.5
#: A tree that starts processes without end is not followed into all of them.
_MOST_PROCESSES = 512


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """
    The counters of one process at one moment; None what nobody tells.

    Attributes:
        pid: Its number.
        started_s: When it was started, by the clock of the system; tells it from a later one of the same number.
        name: What was started, for people; without arguments, which may be secrets.
        rss_bytes: Resident memory.
        uss_bytes: Memory that would be free if it ended, as of a few seconds ago at most.
        fds: Open descriptors.
        threads: Threads, native ones included.
        heap_bytes: In use in the native heap; from the agent, as all that follows.
        mapped_bytes: Private writable memory that is mapped.
        blocks: Memory blocks of the interpreter.
        collections: Of each generation of the collector.
        freed: Objects that the collector has freed.

    """

    pid: int
    started_s: float
    name: str
    rss_bytes: int
    uss_bytes: int | None = None
    fds: int | None = None
    threads: int | None = None
    heap_bytes: int | None = None
    mapped_bytes: int | None = None
    blocks: int | None = None
    collections: tuple[int, ...] = ()
    freed: int = 0

    @property
    def has_agent(self) -> bool:
        """Whether an agent answered."""
        return self.blocks is not None


@dataclass(frozen=True, slots=True)
class TreeReading:
    """
    The counters of a process and of all that it has started, itself first.

    Attributes:
        time_s: By a clock that never goes back.
        processes: One reading each.

    """

    time_s: float
    processes: tuple[ProcessReading, ...]

    def total(self, field: str) -> int | None:
        """Return the sum of *field* over those that tell; None where nobody does."""
        found = [value for one in self.processes if (value := getattr(one, field)) is not None]
        return sum(found) if found else None


class Tree:
    """
    A process and all that it has started.

    Args:
        pid: The process.
        folder: Where its agents are; None to look in all places of this user.
        clock: Never goes back.

    Raises:
        CouldNotRun: there is no such process.

    """

    def __init__(self, pid: int, *, folder: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._watched: dict[int, _Watched] = {}
        self._purse = _Purse()
        self._pids: tuple[int, ...] = (pid,)
        self._looked_s = -_CHILDREN_EVERY_S
        try:
            self._root = psutil.Process(pid)
            self._root.create_time()
        except psutil.NoSuchProcess as error:
            raise CouldNotRun(f"there is no process {pid}") from error
        except psutil.AccessDenied as error:
            raise CouldNotRun(f"process {pid} is of another user, and this one may not look at it") from error

    def sample(self) -> TreeReading:
        """
        Return the counters of this moment.

        Raises:
            CouldNotRun: the process has ended.

        """
        time_s = self._clock()
        if time_s - self._looked_s >= _CHILDREN_EVERY_S:
            self._looked_s, self._pids = time_s, self._family()
        found = {}
        for pid in self._pids:
            watched = self._watched.get(pid)
            with suppress(psutil.Error, OSError):
                if watched is None:
                    watched = _Watched(psutil.Process(pid), self._folder, self._purse)
                reading = watched.read(time_s)
                if reading is not None:
                    found[pid] = watched, reading
        for pid, watched in self._watched.items():
            if pid not in found:
                self._purse.forget(pid)
                watched.close()
        self._watched = {pid: watched for pid, (watched, _) in found.items()}
        if self._root.pid not in found:
            raise CouldNotRun(f"process {self._root.pid} has ended")
        return TreeReading(time_s, tuple(reading for _, reading in found.values()))

    def close(self) -> None:
        """Close the connections to agents."""
        for watched in self._watched.values():
            watched.close()
        self._watched = {}

    def _family(self) -> tuple[int, ...]:
        """Return the process and all below it, each before those that it has started."""
        pids = [self._root.pid]
        for pid in pids:
            if len(pids) < _MOST_PROCESSES:
                pids += _children(pid)
        return tuple(pids[:_MOST_PROCESSES])


class _Purse:
    """What may be spent on dear readings of a tree: one at a time, whose last is the oldest first."""

    def __init__(self) -> None:
        self._free_s = 0.0
        self._read_at_s: dict[int, float] = {}

    def may(self, pid: int, time_s: float) -> bool:
        """Whether *pid* may be read at *time_s*: it never was, or there is money and it is its turn."""
        if pid not in self._read_at_s:
            return True
        return time_s >= self._free_s and self._read_at_s[pid] == min(self._read_at_s.values())

    def spend(self, pid: int, time_s: float, cost_s: float) -> None:
        """Note that reading *pid* at *time_s* has cost so much."""
        self._read_at_s[pid] = time_s
        self._free_s = time_s + _COST_RATIO * cost_s

    def forget(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._read_at_s.pop(pid, None)


class _Watched:
    """One process of a tree, and the connection to its agent."""

    def __init__(self, process: Any, folder: str | None, purse: _Purse) -> None:  # noqa: ANN401 - psutil has no types
        self._process = process
        self._counts = _FileCounts(process.pid) if sys.platform.startswith("linux") else _Counts(process)
        self._folder = folder
        self._purse = purse
        self._started_s: float = process.create_time()
        self._name = label(process)
        self._client: client.Client | None = None
        self._looks, self._look_at_s = 0, 0.0
        self._uss_bytes: int | None = None

    def read(self, time_s: float) -> ProcessReading | None:
        """Return its counters; None where it has ended, be it that nobody has asked for its exit code yet."""
        outside = self._counts.read()
        if outside is None:
            return None
        rss, threads, fds = outside
        inside = self._inside(time_s)
        return ProcessReading(
            pid=self._process.pid,
            started_s=self._started_s,
            name=self._name,
            rss_bytes=rss,
            uss_bytes=self._unique(time_s),
            fds=fds,
            threads=threads,
            heap_bytes=inside.get("heap_bytes"),
            mapped_bytes=inside.get("mapped_bytes"),
            blocks=inside.get("blocks"),
            collections=tuple(inside.get("gc_collections", ())),
            freed=inside.get("gc_freed", 0),
        )

    def _unique(self, time_s: float) -> int | None:
        """Return the unique set, read anew only where that costs little, and in turn with the others."""
        if self._purse.may(self._process.pid, time_s):
            began_s = time.perf_counter()
            self._uss_bytes = _or_none(lambda: self._process.memory_full_info().uss)
            self._purse.spend(self._process.pid, time_s, time.perf_counter() - began_s)
        return self._uss_bytes

    def _inside(self, time_s: float) -> dict[str, Any]:
        if self._client is None and self._looks < _LOOKS and time_s >= self._look_at_s:
            self._looks += 1
            self._look_at_s = time_s + _LOOK_EVERY_S
            self._name = label(self._process)  # a wrapper script becomes another program in its first moments
            self._client = self._connected()
        if self._client is None:
            return {}
        try:
            return self._client.call("stats")
        except CouldNotRun:
            self.close()
            self._looks = 0  # it may only have been busy
            return {}

    def _connected(self) -> client.Client | None:
        path = client.find(self._process.pid, self._folder)
        if path is None:
            return None
        with suppress(CouldNotRun):
            found = client.Client(path, folders.read_token(str(Path(path).parent)), timeout_s=_PATIENCE_S)
            if found.pid == self._process.pid:
                return found
            found.close()
        return None

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


class _Counts:
    """Resident bytes, threads and descriptors of a process, as psutil tells."""

    def __init__(self, process: Any) -> None:  # noqa: ANN401 - psutil has no types
        self._process = process
        self._fds: Callable[[], int] = process.num_fds if hasattr(process, "num_fds") else process.num_handles

    def read(self) -> tuple[int, int | None, int | None] | None:
        """Return them; None where the process has ended."""
        if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
            return None
        return self._process.memory_info().rss, _or_none(self._process.num_threads), _or_none(self._fds)


class _FileCounts:
    """The same, from the files of Linux: a fifth of the time."""

    def __init__(self, pid: int) -> None:
        self._stat, self._fd = f"/proc/{pid}/stat", f"/proc/{pid}/fd"
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._started = b""

    def read(self) -> tuple[int, int | None, int | None] | None:
        """Return them; None where the process has ended, or another one has its number."""
        try:
            with open(self._stat, "rb", buffering=0) as file:  # noqa: PTH123 - no Path objects in a reading
                # The name may have blanks and brackets in it; after it comes the state, field 3 of proc(5).
                fields = file.read(2048).rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, threads, started, pages = fields[0], fields[17], fields[19], fields[21]
        self._started = self._started or started
        if state in b"ZX" or started != self._started:
            return None
        return int(pages) * self._page, int(threads), _or_none(lambda: len(os.listdir(self._fd)))  # noqa: PTH208 - see above


def _or_none(read: Callable[[], int]) -> int | None:
    """Return what *read* does; None where this user may not."""
    try:
        return read()
    except (psutil.AccessDenied, NotImplementedError, PermissionError):
        return None


def _children(pid: int) -> Iterator[int]:
    """Yield the processes that *pid* has started; Linux tells without a look at every process of the machine."""
    if not sys.platform.startswith("linux"):
        with suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(pid).children())
        return
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - a hundred threads are a hundred files
            with suppress(OSError, ValueError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:  # noqa: PTH123 - see above
                yield from map(int, file.read().split())


def label(process: Any) -> str:  # noqa: ANN401 - psutil comes without types
    """Return what was started, for people: the program, and of an interpreter the script or the module."""
    try:
        arguments = process.cmdline()
        name = Path(arguments[0]).name if arguments else process.name()
    except (psutil.Error, OSError):
        return f"process {process.pid}"
    if not name.startswith("python"):
        return name or f"process {process.pid}"
    return f"python{_program(arguments[1:])}"


def _program(arguments: list[str]) -> str:
    """Return the script or the module of an interpreter's arguments."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "-m":
            return f" -m {next(rest, '')}"
        if argument == "-c":
            return " -c"
        if argument in ("-X", "-W"):
            next(rest, "")
        elif not argument.startswith("-"):
            return f" {Path(argument).name}"
    return ""
