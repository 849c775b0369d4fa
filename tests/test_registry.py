"""The composition root: built-ins and strangers enter by the same hooks."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_memguard import hookspecs, registry
from pytest_memguard.core.ports import ChunkCache, HolderCheck, Probe, Renderer
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import (
    BLOCKS,
    CHILDREN,
    FDS,
    HEAP,
    MAPPED,
    RSS,
    TASKS,
    THREADS,
    KnownHolder,
    Metric,
    RunResult,
)
from pytest_memguard.explain.holders import ContainerCheck
from pytest_memguard.probes import heap, interpreter, process
from pytest_memguard.probes.scripted import ScriptedProbe
from pytest_memguard.renderers import terminal

SOCKETS = Metric("sockets", Unit.COUNT, exact=True, resource=True)


@pytest.fixture
def register() -> Iterator[Callable[[object], None]]:
    """Return what registers a plugin of memguard's own, until the end of the test."""
    manager, registered = registry._plugins(), []

    def add(plugin: object) -> None:
        registered.append(plugin)
        manager.register(plugin)

    yield add
    for plugin in registered:
        manager.unregister(plugin)


def names_of(probes: Sequence[Probe]) -> list[str]:
    """Return the names of all metrics, in the order in which they are read."""
    return [metric.name for probe in probes for metric in probe.metrics]


# -- probes ----------------------------------------------------------------------------------------------------------


def test_the_built_in_probes() -> None:
    """What can be counted here is read by the built-ins, each metric once."""
    names = names_of(registry.probes())

    assert len(names) == len(set(names))
    assert {metric.name for metric in (BLOCKS, RSS, FDS, THREADS, CHILDREN, TASKS)} <= set(names)


def test_probes_are_made_anew() -> None:
    """Whoever asks gets probes of its own."""
    assert not set(map(id, registry.probes())) & set(map(id, registry.probes()))


def test_a_probe_of_somebody_else(register: Callable[[object], None]) -> None:
    """A plugin's probe is read after the built-ins."""

    class Plugin:
        @hookspecs.hookimpl
        def memguard_probes(self) -> list[Probe]:
            return [ScriptedProbe({SOCKETS: [5]})]

    built_in = names_of(registry.probes())
    register(Plugin())

    assert names_of(registry.probes()) == [*built_in, "sockets"]


def test_a_metric_that_is_read_already(register: Callable[[object], None]) -> None:
    """A plugin's probe of a metric that a built-in reads is left out, and so is all else that it reads."""

    class Plugin:
        @hookspecs.hookimpl
        def memguard_probes(self) -> list[Probe]:
            return [ScriptedProbe({FDS: [5], SOCKETS: [5]})]

    built_in = names_of(registry.probes())
    register(Plugin())

    assert names_of(registry.probes()) == built_in


def test_a_plugin_that_adds_nothing(register: Callable[[object], None]) -> None:
    """A plugin may have no probe for this platform."""

    class Plugin:
        @hookspecs.hookimpl
        def memguard_probes(self) -> list[Probe]:
            return []

    built_in = names_of(registry.probes())
    register(Plugin())

    assert names_of(registry.probes()) == built_in


def test_a_poor_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter without block counts, a C library that does not tell and no /proc leave what psutil can read."""
    for kind in (interpreter.AllocatedBlocks, heap.NativeHeap, process.StatMemory):
        monkeypatch.setattr(kind, "available", staticmethod(lambda: False))
    found = registry.probes()

    assert names_of(found) == ["gc_objects", "rss", "fds", "threads", "children", "tasks"]
    assert [text.partition(":")[0] for text in registry.missing(found)] == [
        "this interpreter does not count allocated blocks",
        "this C library does not tell its heap in use",
        "this platform does not tell mapped memory",
    ]


def test_nothing_is_missing_where_all_is_read() -> None:
    """Where all important metrics are read, nothing is said to be missing."""
    assert registry.missing([ScriptedProbe({BLOCKS: [1], HEAP: [1], MAPPED: [1]})]) == ()


# -- holder checks, chunk caches, renderers --------------------------------------------------------------------------


def test_the_built_in_holder_check() -> None:
    """Who holds what grows is looked for by the container census."""
    check = registry.holder_check("test_shop")
    assert check is not None
    check.close()

    assert type(check) is ContainerCheck
    assert check._home == "test_shop"


def test_a_holder_check_of_somebody_else(register: Callable[[object], None]) -> None:
    """A plugin's holder check takes the place of the built-in one; a plugin without one leaves it to others."""
    asked: list[str] = []

    class Without:
        @hookspecs.hookimpl
        def memguard_holder_check(self) -> None:
            asked.append("without")

    class With:
        @hookspecs.hookimpl
        def memguard_holder_check(self) -> Callable[[str], HolderCheck]:
            return asked.append  # type: ignore[return-value]

    register(With())
    register(Without())

    assert registry.holder_check("test_shop") is None
    assert asked == ["without", "test_shop"]


def test_known_holders_of_somebody_else(register: Callable[[object], None]) -> None:
    """What another plugin knows stands before what ships with the package."""
    own = KnownHolder("tool.SEEN", "tool", "it keeps all")

    class Plugin:
        @hookspecs.hookimpl
        def memguard_known_holders(self) -> list[KnownHolder]:
            return [own]

    register(Plugin())

    assert registry.known_holders()[0] == own
    assert len(registry.known_holders()) > 1


def test_nobody_checks_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody offers a holder check, there is none."""
    manager = registry.pluggy.PluginManager("memguard")
    manager.add_hookspecs(hookspecs)
    monkeypatch.setattr(registry, "_plugins", lambda: manager)

    assert registry.holder_check() is None


@pytest.mark.parametrize("glibc", [True, False])
def test_the_chunk_cache(monkeypatch: pytest.MonkeyPatch, glibc: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Where the C library is glibc, its cache of freed chunks can be levelled."""

    class Chunks:
        @staticmethod
        def available() -> bool:
            return glibc

        def level(self) -> None: ...

    monkeypatch.setattr(heap, "ChunkCache", Chunks)
    found: ChunkCache | None = registry.chunk_cache()

    assert isinstance(found, Chunks) is glibc


def test_the_built_in_renderers() -> None:
    """The terminal summary is a renderer like any other, and so is what CI services read."""
    found = registry.renderers()

    assert found["terminal"] is terminal.summary
    assert {"github", "gitlab", "junit", "markdown", "sarif"} <= set(found)


def test_a_renderer_of_somebody_else(register: Callable[[object], None]) -> None:
    """A plugin adds renderers, and one of a name that is taken takes its place."""

    def shout(_result: RunResult) -> str:
        return "LEAK!"

    class Plugin:
        @hookspecs.hookimpl
        def memguard_renderers(self) -> Mapping[str, Renderer]:
            return {"shout": shout, "terminal": shout}

    built_in = set(registry.renderers())
    register(Plugin())
    found = registry.renderers()

    assert found["terminal"] is found["shout"] is shout
    assert set(found) == {*built_in, "shout"}


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package plugs in by an entry point of the group memguard."""
    package = tmp_path / "sockets_probe"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pytest_memguard.hookspecs import hookimpl\n"
        "@hookimpl\n"
        "def memguard_renderers():\n"
        "    return {'sockets': str}\n"
    )
    metadata = tmp_path / "sockets_probe-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sockets-probe\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[memguard]\nsockets = sockets_probe\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._plugins.cache_clear()
    try:
        found = registry.renderers()
    finally:
        registry._plugins.cache_clear()

    assert {"sockets", "terminal"} <= set(found)


def test_importing_the_registry_is_cheap() -> None:
    """Probes, renderers and what they need are imported when somebody asks for them."""
    program = (
        "import sys, pytest_memguard.registry\n"
        "late = {'psutil', 'asyncio', 'pytest_memguard.probes.heap', 'pytest_memguard.explain.holders'}\n"
        "print(late & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.stderr) == ("set()", "")


def test_a_reading_of_a_stranger(register: Callable[[object], None]) -> None:
    """A plugin's probe is read like any other."""
    probe: Probe = ScriptedProbe({SOCKETS: [5]})

    class Plugin:
        @hookspecs.hookimpl
        def memguard_probes(self) -> list[Probe]:
            return [probe]

    register(Plugin())
    row = array("q", [0])
    registry.probes()[-1].read(row, 0)

    assert row[0] == 5
