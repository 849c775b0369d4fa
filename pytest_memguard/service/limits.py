"""How much memory this process may use, who says so, and how much of it is used."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard.core.units import parse_size
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MemoryLimit", "memory_limit", "size", "used_bytes"]

_ROOT = Path("/")
#: A control group without a limit says so with the largest multiple of the page size below 2**63, or with "max".
_NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """
    A limit in bytes.

    Attributes:
        bytes: The limit.
        source: ``cgroup v2``, ``cgroup v1``, ``MEMORY_LIMIT``, ``RLIMIT_AS``, ``RLIMIT_DATA``, ``host``, or what a
            setting says.
        group: Folder of the control group that has the limit, None for other sources.

    """

    bytes: int
    source: str
    group: Path | None = None


def memory_limit(environ: Mapping[str, str] = os.environ, *, root: Path = _ROOT) -> MemoryLimit:
    """
    Return the smallest limit that holds for this process; what the machine has where there is none.

    Args:
        environ: ``MEMORY_LIMIT`` in it is a limit too (``536870912``, ``512 MiB``, ``512Mi``).
        root: Where ``proc`` and ``sys`` lie.

    Raises:
        ConfigError: ``MEMORY_LIMIT`` is no size.

    """
    limits = [*_groups(root), *_named(environ), *_process_limits()]
    return min(limits, key=lambda limit: limit.bytes, default=None) or MemoryLimit(_host_bytes(), "host")


def size(text: str, where: str) -> int:
    """
    Return the bytes that *text* names, also in the form of Kubernetes (``512Mi``).

    Raises:
        ConfigError: it is no size above zero; the message begins with *where*.

    """
    try:
        count = parse_size(f"{text}B" if text[-1:] == "i" else text)
    except ConfigError as wrong:
        raise ConfigError(f"{where} = {wrong}") from None
    if count <= 0:
        raise ConfigError(f"{where} = {text!r} is no limit; write a size above zero, as in '512 MiB'")
    return count


def used_bytes(limit: MemoryLimit, rss_bytes: int, mapped_bytes: int | None = None) -> int:
    """
    Return how much of *limit* is used, counted as whoever enforces it counts.

    A control group counts all its processes, a limit of the address space what is mapped; the others are held against
    the resident memory of this process.
    """
    if limit.group is not None:
        return _group_used(limit.group, limit.source) or rss_bytes
    if limit.source == "RLIMIT_DATA" and mapped_bytes is not None:
        return mapped_bytes
    if limit.source == "RLIMIT_AS":
        return _address_space() or rss_bytes
    return rss_bytes


def _named(environ: Mapping[str, str]) -> Iterator[MemoryLimit]:
    text = environ.get("MEMORY_LIMIT", "").strip()
    if text:
        yield MemoryLimit(size(text, "environment: MEMORY_LIMIT"), "MEMORY_LIMIT")


def _groups(root: Path) -> Iterator[MemoryLimit]:
    """Yield the limits of the control group of this process and of each above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    top = root / "sys/fs/cgroup"
    for line in lines:
        controllers, _, place = line.partition(":")[2].partition(":")
        if not controllers:
            yield from _up(top, place, "memory.max", "cgroup v2")
        elif "memory" in controllers.split(","):
            yield from _up(top / "memory", place, "memory.limit_in_bytes", "cgroup v1")


def _up(top: Path, place: str, name: str, source: str) -> Iterator[MemoryLimit]:
    group = top / place.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(top):
            limit = _number(folder / name)
            if limit is not None and 0 < limit < _NO_LIMIT:
                yield MemoryLimit(limit, source, folder)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_bytes())
    except (OSError, ValueError):  # not there, or "max"
        return None


_USAGE = {"cgroup v2": "memory.current", "cgroup v1": "memory.usage_in_bytes"}
#: What the kernel gives back before it kills: file pages and the caches of the file systems.
_RECLAIMABLE = {
    "cgroup v2": (b"active_file", b"inactive_file", b"slab_reclaimable"),
    "cgroup v1": (b"total_active_file", b"total_inactive_file"),
}


def _group_used(group: Path, source: str) -> int | None:
    """Return what a group uses and cannot give back; None where it does not tell."""
    usage = _number(group / _USAGE[source])
    if usage is None:
        return None
    try:
        lines = (group / "memory.stat").read_bytes().splitlines()
    except OSError:
        return usage
    names = _RECLAIMABLE[source]
    return max(
        0, usage - sum(int(value) for name, _, value in (line.partition(b" ") for line in lines) if name in names)
    )


def _process_limits() -> Iterator[MemoryLimit]:
    """Yield what ``setrlimit`` set; Windows has none."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - POSIX only

    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY:
            yield MemoryLimit(limit, name)


def _address_space() -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - read at each reading; pathlib costs more than it
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import psutil  # noqa: PLC0415 - only where there is no /proc

        used: int = psutil.Process().memory_info().vms
        return used


def _host_bytes() -> int:
    import psutil  # noqa: PLC0415 - heavy; only where nothing nearer says

    total: int = psutil.virtual_memory().total
    return total
