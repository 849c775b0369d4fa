"""
What an agent can be asked, each a function of the request that returns what JSON has.

``stats`` is cheap and keeps nothing, so it may be asked while a service is measured. What walks the heap (gc, types,
sites, path, snapshot) belongs before a measurement or after it.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pytest_memguard import __version__
from pytest_memguard.agent.counters import read_counters, trim_heap
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    import tracemalloc
    from collections.abc import Callable, Hashable, Mapping

    from pytest_memguard.agent.paths import Lengths

__all__ = ["commands"]

_PROTOCOL = 1
_MOST_ROWS, _ROWS = 1000, 50
_MOST_FRAMES = 64
_MOST_TEXT = 300
_MOST_SECONDS = 600.0

Request = dict[str, Any]
Answer = dict[str, Any]


def commands(folder: str) -> dict[str, Callable[[Request], Answer]]:
    """Return the commands by name; *folder* is where files go."""
    tracing = _Tracing()
    types = _Types()
    sites = _Remembered()
    snapshots = itertools.count(1)
    return {
        "ping": _ping,
        "stats": read_counters,
        "gc": _collect,
        "trim": lambda _: {"released": trim_heap()},
        "trace": tracing.switch,
        "sites": lambda request: _sites(request, sites),
        "types": types.answer,
        "path": lambda request: _path(request, types.lengths),
        "snapshot": lambda request: _snapshot(request, f"{folder}/{os.getpid()}-{next(snapshots)}"),
    }


# -- arguments -------------------------------------------------------------------------------------------------------


def _whole(request: Request, name: str, low: int, high: int, default: int) -> int:
    """Return a whole number of the request, within its limits."""
    value = request.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise CouldNotRun(f"{name} = {str(value)[:40]} is not a whole number from {low} to {high}")
    return value


def _seconds(request: Request, name: str, default: float) -> float:
    value = request.get(name, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= _MOST_SECONDS:
        raise CouldNotRun(f"{name} = {str(value)[:40]} is not a time above 0 and up to {_MOST_SECONDS:g} s")
    return value


def _flag(request: Request, name: str, *, default: bool = False) -> bool:
    value = request.get(name, default)
    if not isinstance(value, bool):
        raise CouldNotRun(f"{name} = {str(value)[:40]} is neither true nor false")
    return value


# -- cheap -----------------------------------------------------------------------------------------------------------


def _ping(_: Request) -> Answer:
    return {
        "pid": os.getpid(),
        "protocol": _PROTOCOL,
        "memguard": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
    }


def _collect(request: Request) -> Answer:
    passes = _whole(request, "passes", 1, 5, 1)
    began = time.perf_counter()
    freed = [gc.collect() for _ in range(passes)]
    return {"freed": sum(freed), "garbage": len(gc.garbage), "pause_s": time.perf_counter() - began}


# -- allocations -----------------------------------------------------------------------------------------------------


class _Tracing:
    """Switches tracemalloc, and leaves it alone where somebody else has."""

    def __init__(self) -> None:
        self._is_ours = False

    def switch(self, request: Request) -> Answer:
        """Trace allocations from now on, with so many frames, or stop."""
        import tracemalloc  # noqa: PLC0415 - 1.6 MB; only where it is asked for

        on = _flag(request, "on", default=True)
        frames = _whole(request, "frames", 1, _MOST_FRAMES, 1)
        if on and not tracemalloc.is_tracing():
            tracemalloc.start(frames)
            self._is_ours = True
        elif not on and self._is_ours:
            tracemalloc.stop()
            self._is_ours = False
        is_tracing = tracemalloc.is_tracing()
        foreign = is_tracing and not self._is_ours
        return {
            "tracing": is_tracing,
            "frames": tracemalloc.get_traceback_limit() if is_tracing else 0,
            "note": "the service traces by itself, so its own setting was kept" if foreign else "",
        }


class _Remembered:
    """Amounts (bytes, count) by key, of the last time that they were to be remembered."""

    def __init__(self) -> None:
        self._before: dict[Hashable, tuple[int, int]] | None = None

    def ranked(self, now: Mapping[Hashable, tuple[int, int]], request: Request) -> list[tuple[Hashable, int, int]]:
        """Return key, bytes and count, the largest first, or what was gained since where a difference is asked for."""
        amounts: Mapping[Hashable, tuple[int, int]] = now
        if _flag(request, "difference"):
            amounts = self._gained(now)
        if _flag(request, "remember"):
            self._before = dict(now)
        rows = [(key, size, count) for key, (size, count) in amounts.items() if size or count]
        rows.sort(key=lambda row: (row[1], row[2]), reverse=True)
        return rows[: _whole(request, "limit", 1, _MOST_ROWS, _ROWS)]

    def _gained(self, now: Mapping[Hashable, tuple[int, int]]) -> dict[Hashable, tuple[int, int]]:
        before = self._before
        if before is None:
            raise CouldNotRun("there is nothing to compare with: ask with remember = true first")
        gained = {}
        for key in {**before, **now}:
            (size, count), (old_size, old_count) = now.get(key, (0, 0)), before.get(key, (0, 0))
            gained[key] = (size - old_size, count - old_count)
        return gained


def _sites(request: Request, remembered: _Remembered) -> Answer:
    import tracemalloc  # noqa: PLC0415 - see _Tracing

    if not tracemalloc.is_tracing():
        raise CouldNotRun("allocations are not traced: ask for trace first")
    own = [
        tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__),
        tracemalloc.Filter(inclusive=False, filename_pattern=f"{os.path.dirname(__file__)}/*", all_frames=True),  # noqa: PTH120 - as tracemalloc has it
    ]
    statistics = tracemalloc.take_snapshot().filter_traces(own).statistics("traceback")
    now: dict[Hashable, tuple[int, int]] = {_frames(one.traceback): (one.size, one.count) for one in statistics}
    rows = remembered.ranked(now, request)
    return {
        "rows": [{"frames": key, "bytes": size, "count": count} for key, size, count in rows],
        "total": len(now),
        "bytes": sum(size for size, _ in now.values()),
    }


def _frames(traceback: tracemalloc.Traceback) -> tuple[tuple[str, int], ...]:
    """Return file and line of each call, the innermost first; the callers of what is deep are left out."""
    innermost_first = reversed(tuple(traceback))
    return tuple((frame.filename[-_MOST_TEXT:], frame.lineno) for frame in innermost_first)


# -- objects ---------------------------------------------------------------------------------------------------------


class _Types:
    """Counts the objects that the collector tracks, with their own sizes; remembers how long containers are."""

    def __init__(self) -> None:
        self._remembered = _Remembered()
        self.lengths: Lengths | None = None

    def answer(self, request: Request) -> Answer:
        """Return the types that have most."""
        if _flag(request, "remember"):
            self._remember_lengths()  # first, as it loads modules, which are no growth
        objects = gc.get_objects()
        counts: Counter[type] = Counter()
        sizes: Counter[type] = Counter()
        for one in objects:
            kind = type(one)
            counts[kind] += 1
            sizes[kind] += _size(one)
        total = len(objects)
        del objects
        now: dict[Hashable, tuple[int, int]] = {}
        for kind, count in counts.items():
            name = _name(kind)
            size, before = now.get(name, (0, 0))
            now[name] = (size + sizes[kind], before + count)
        rows = self._remembered.ranked(now, request)
        return {"rows": [{"type": key, "bytes": size, "count": count} for key, size, count in rows], "total": total}

    def _remember_lengths(self) -> None:
        if _may_seek_paths():
            from pytest_memguard.agent.paths import Lengths  # noqa: PLC0415 - 30,000 blocks, for who asks

            self.lengths = Lengths()
            self.lengths.remember()


def _may_seek_paths() -> bool:
    """
    Whether the agent may load what seeks paths: it needs ``threading``.

    Up to 3.12 the thread that loads this first is taken for the main one, for which the end of the program waits; and
    the thread of the agent never ends. Next to every service has loaded it.
    """
    return sys.version_info >= (3, 13) or "threading" in sys.modules


def _size(one: object) -> int:
    """Return the size of *one* alone; 0 where its class has a faulty ``__sizeof__``."""
    try:
        return sys.getsizeof(one, 0)
    except Exception:  # noqa: BLE001 - a foreign method
        return 0


def _name(kind: type) -> str:
    """Return module and name of a type; both may be anything, as may what a metaclass says."""
    try:
        return f"{kind.__module__}.{kind.__qualname__}"[:_MOST_TEXT]
    except Exception:  # noqa: BLE001 - a foreign metaclass
        return type.__repr__(kind)[:_MOST_TEXT]


def _path(request: Request, lengths: Lengths | None) -> Answer:
    """Find who holds objects of a type, or, where none is named, what a container that grew keeps."""
    wanted = request.get("type", "")
    if not isinstance(wanted, str) or len(wanted) > _MOST_TEXT or not (wanted or "gained" in request):
        raise CouldNotRun("path needs the type that is looked for, as in type = 'shop.Session'")
    newest = _whole(request, "newest", 1, sys.maxsize, 1)
    least = _whole(request, "gained", 1, sys.maxsize, 1)
    budget_s = _seconds(request, "budget_s", 2.0)
    found = [one for one in gc.get_objects() if _name(type(one)) == wanted] if wanted else []
    count = len(found)
    if wanted and not found:
        return {"type": wanted, "count": 0, "hops": [], "why": "the collector tracks no object of this type"}
    if not _may_seek_paths():
        why = "the program has not loaded threading; a heap snapshot has all paths"
        return {"type": wanted, "count": count, "hops": [], "why": why}
    from pytest_memguard.agent.paths import Lengths, find_path  # noqa: PLC0415 - 30,000 blocks, for who asks

    hops, why = find_path(found, lengths or Lengths(), came=newest, least=least, budget_s=budget_s)
    return {"type": wanted, "count": count, "hops": hops, "why": why}


# -- snapshot --------------------------------------------------------------------------------------------------------


def _snapshot(request: Request, stem: str) -> Answer:
    """Write a heap snapshot into the folder of the agent; whoever asked takes it from there."""
    from dataclasses import asdict  # noqa: PLC0415 - a service need not have it

    from pytest_memguard import heap  # noqa: PLC0415 - where a snapshot is asked for

    ending = ".heapsnapshot.gz" if _flag(request, "compress") else ".heapsnapshot"
    limits: dict[str, Any] = {}
    if "max_objects" in request:
        limits["max_objects"] = _whole(request, "max_objects", 1, 1 << 31, 1)
    if "max_memory_bytes" in request:
        limits["max_memory_bytes"] = _whole(request, "max_memory_bytes", 1, 1 << 50, 1)
    if "max_seconds" in request:
        limits["max_seconds"] = _seconds(request, "max_seconds", 1.0)
    summary = heap.write(
        stem + ending, values=_flag(request, "values"), fork=_flag(request, "fork", default=True), **limits
    )
    return {**asdict(summary), "path": str(summary.path)}
