"""Takes a heap snapshot of this process."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard.errors import CouldNotRun, DocumentError, MemguardError
from pytest_memguard.heap.document import part_of, save
from pytest_memguard.heap.forking import Answer, cannot_fork, in_copy
from pytest_memguard.heap.graph import build
from pytest_memguard.heap.stacks import Stacks, read_stacks
from pytest_memguard.heap.walk import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_MEMORY_BYTES", "MAX_OBJECTS", "MAX_SECONDS", "Summary", "write"]

#: A walk of ten million objects takes about a minute.
MAX_OBJECTS, MAX_SECONDS = 10_000_000, 60.0
#: A hundred bytes for every object, and some air.
MAX_MEMORY_BYTES = 2 << 30
#: To write down what was found may take as long as the walk, and longer on a slow disk.
_PATIENCE, _PATIENCE_S = 4, 60


@dataclass(frozen=True, slots=True)
class Summary:
    """
    What was written.

    Attributes:
        objects: Number of objects in it.
        edges: Number of references between them.
        bytes: Size of the file.
        pause_s: How long this process stood still for it.
        duration_s: How long it took in all.
        path: The file.
        partial: Why objects or edges are missing; empty where none are.
        note: What else is to be said, as that the process stood still because no copy could be made.
        memory_bytes: How much more memory than the process its copy needed; 0 where there was none.

    """

    objects: int
    edges: int
    bytes: int
    pause_s: float
    duration_s: float
    path: Path
    partial: str = ""
    note: str = ""
    memory_bytes: int = 0


def write(  # noqa: PLR0913 - what is shown, and four limits
    path: str | os.PathLike[str],
    *,
    values: bool = False,
    max_objects: int = MAX_OBJECTS,
    max_seconds: float = MAX_SECONDS,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
    fork: bool = True,
) -> Summary:
    """
    Write a heap snapshot of this process, for Chrome DevTools, memlab or ``read``.

    The walk is made in a forked copy, so that the process stands still for the fork only. Where that cannot be had,
    ``note`` says so, the process stands still for all of it, and attributes of instances have no names.
    Garbage is part of the snapshot: call ``gc.collect()`` before, where that matters.

    Args:
        path: The file, compressed where it ends in ``.gz``; written whole or not at all, with mode 0600.
        values: Write the values of strings and numbers, and the keys of dictionaries: they may be secrets.
        max_objects: Most objects in it; others are left out, and ``partial`` says so.
        max_seconds: Longest walk; what was not looked into by then has no edges, and ``partial`` says so.
        max_memory_bytes: How much more memory than the process its copy may need.
        fork: Whether to make a copy where that can be had.

    Raises:
        DocumentError: the file cannot be written.
        CouldNotRun: the copy died; nothing was written.

    """
    file = Path(path)
    part = part_of(file)
    _try_place(file, part)
    why_not = cannot_fork() if fork else "no copy was wanted"
    budget = Budget(max_objects, max_seconds)
    started = time.perf_counter()
    stacks = read_stacks()
    stacks_s = time.perf_counter() - started

    def work(relax: Callable[[], None], *, disposable: bool = True) -> Answer:
        return _take(file, part, stacks, budget, relax, values=values, disposable=disposable)

    try:
        if why_not:
            answer = work(lambda: None, disposable=False)
            pause_s, stacks_s = time.perf_counter() - started, 0.0
            note = f"taken in the process itself, which stood still: {why_not}"
        else:
            patience = max_seconds * _PATIENCE + _PATIENCE_S
            answer, pause_s = in_copy(work, memory_bytes=max_memory_bytes, seconds=patience)
            note = ""
    except OSError as error:
        raise _cannot(file, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            part.unlink()
    if "error" in answer:
        problem = answer["error"]
        raise _cannot(file, problem) if answer.get("file") else CouldNotRun(f"no heap snapshot was taken: {problem}")
    return Summary(**answer, path=file, pause_s=pause_s + stacks_s, duration_s=time.perf_counter() - started, note=note)


def _try_place(path: Path, part: Path) -> None:
    """
    Refuse a place that cannot be written before the heap is walked, which may take a minute.

    Raises:
        DocumentError: it cannot be written.

    """
    if os.path.lexists(path) and not path.is_file():
        raise _cannot(path, "it is not a regular file")
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # its name may be too long, where that of the part is not
        part.touch(exist_ok=False)
        part.unlink()
    except (OSError, ValueError) as error:
        raise _cannot(path, getattr(error, "strerror", None) or str(error)) from error


def _take(  # noqa: PLR0913 - all of it comes from the caller of write
    path: Path,
    part: Path,
    stacks: Stacks,
    budget: Budget,
    relax: Callable[[], None],
    *,
    values: bool,
    disposable: bool,
) -> Answer:
    before = _resident_bytes()
    graph = build(stacks, budget, values=values, disposable=disposable, relax=relax)
    relax()
    size = save(graph, path, part, native_bytes=max(0, before - graph.bytes))
    memory = max(0, _peak_bytes() - before) if disposable else 0
    return {
        "objects": graph.objects, "edges": graph.edge_count, "bytes": size, "partial": graph.partial,
        "memory_bytes": memory,
    }  # fmt: skip


def _resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the system has no such file."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _peak_bytes() -> int:
    """Return the most resident memory that this process ever had; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _cannot(path: Path, reason: str) -> MemguardError:
    return DocumentError(f"{path} cannot be written: {reason}")
