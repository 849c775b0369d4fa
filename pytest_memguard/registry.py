"""The composition root: names the built-ins, loads entry points, hands out lists."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

import pluggy

from pytest_memguard import hookspecs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_memguard.core.ports import ChunkCache, HolderCheck, Probe, Renderer
    from pytest_memguard.core.values import KnownHolder, RunResult

__all__ = ["chunk_cache", "holder_check", "known_holders", "missing", "probes", "renderers"]


class _BuiltIns:
    """What ships with the package, entering by the same hooks as everybody else."""

    @hookspecs.hookimpl
    def memguard_probes(self) -> Sequence[Probe]:
        """Return the probes that work on this platform."""
        from pytest_memguard.probes import heap, interpreter, process, tasks  # noqa: PLC0415 - only where measured

        found: list[Probe] = []
        if interpreter.AllocatedBlocks.available():
            found.append(interpreter.AllocatedBlocks())
        found.append(interpreter.CollectorObjects())
        if heap.NativeHeap.available():
            found.append(heap.NativeHeap())
        found.append(process.StatMemory() if process.StatMemory.available() else process.ResidentMemory())
        found += [process.Descriptors(), process.Threads(), process.Children(), tasks.PendingTasks()]
        return found

    @hookspecs.hookimpl
    def memguard_holder_check(self) -> Callable[[str], HolderCheck]:
        """Return the container census."""
        from pytest_memguard.explain.holders import ContainerCheck  # noqa: PLC0415 - only for what grows

        return functools.partial(ContainerCheck, known=known_holders())

    @hookspecs.hookimpl
    def memguard_known_holders(self) -> Sequence[KnownHolder]:
        """Return the list that ships with the package."""
        from pytest_memguard.explain import known  # noqa: PLC0415 - only for what grows

        return known.known_holders()

    @hookspecs.hookimpl
    def memguard_renderers(self) -> Mapping[str, Renderer]:
        """Return the terminal summary, and what is imported once it is asked for."""
        from pytest_memguard.renderers.terminal import summary  # noqa: PLC0415 - only where something is shown

        return {
            "terminal": summary,
            "html": _later("html"),
            "junit": _later("junit"),
            "github": _later("github"),
            "markdown": _later("markdown"),
            "sarif": _later("sarif"),
            "gitlab": _later("gitlab"),
        }


def _later(module: str) -> Renderer:
    """Return the renderer ``render`` of a module in ``renderers``, which is imported at the first call."""

    def render(result: RunResult) -> str:
        text: str = importlib.import_module(f"pytest_memguard.renderers.{module}").render(result)
        return text

    return render


@functools.cache
def _plugins() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("memguard")
    manager.add_hookspecs(hookspecs)
    manager.register(_BuiltIns(), "built-ins")
    manager.load_setuptools_entrypoints("memguard")
    return manager


def probes() -> tuple[Probe, ...]:
    """Return all probes that work here, each metric once: the built-ins first, then what others add."""
    found: list[Probe] = []
    seen: set[str] = set()
    for named in _plugins().hook.memguard_probes()[::-1]:
        for probe in named:
            names = {metric.name for metric in probe.metrics}
            if not names & seen:
                found.append(probe)
                seen |= names
    return tuple(found)


def known_holders() -> tuple[KnownHolder, ...]:
    """Return all known holders, those of others first."""
    return tuple(holder for named in _plugins().hook.memguard_known_holders() for holder in named)


def missing(present: Sequence[Probe]) -> tuple[str, ...]:
    """Say, in words, what cannot be read on this platform."""
    names = {metric.name for probe in present for metric in probe.metrics}
    words = {
        "blocks": "this interpreter does not count allocated blocks: small leaks of Python objects will not be seen",
        "heap": "this C library does not tell its heap in use: leaks in C code will not be seen",
        "mapped": "this platform does not tell mapped memory: leaked mappings will not be seen",
    }
    return tuple(text for name, text in words.items() if name not in names)


def holder_check(home: str = "") -> HolderCheck | None:
    """Return a new holder check for a subject that stands in the module *home*."""
    factory = _plugins().hook.memguard_holder_check()
    return factory(home) if factory is not None else None


def chunk_cache() -> ChunkCache | None:
    """Return the C library's cache of freed chunks, where it is one that hides small leaks."""
    from pytest_memguard.probes import heap  # noqa: PLC0415 - only where measured

    return heap.ChunkCache() if heap.ChunkCache.available() else None


def renderers() -> dict[str, Renderer]:
    """Return all renderers by name."""
    found: dict[str, Renderer] = {}
    for named in reversed(_plugins().hook.memguard_renderers()):
        found.update(named)
    return found
