"""Probes: each reads what it says."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import mmap
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace

import pytest

from pytest_memguard import registry
from pytest_memguard.core.ports import Probe
from pytest_memguard.core.values import (
    BLOCKS,
    CHILDREN,
    FDS,
    GC_OBJECTS,
    HEAP,
    MAPPED,
    RSS,
    TASKS,
    THREADS,
    USS,
    Metric,
)
from pytest_memguard.engine import settle
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.probes import heap, interpreter, process, tasks
from pytest_memguard.probes.scripted import ScriptedProbe

MIB = 2**20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
GLIBC = pytest.mark.skipif(not heap.ChunkCache.available(), reason="needs glibc")
HEAP_TOLD = pytest.mark.skipif(not heap.NativeHeap.available(), reason="this C library does not tell")


def read(probe: Probe, at: int = 0) -> list[int]:
    """Return one reading of *probe*."""
    row = array("q", [-1]) * (at + len(probe.metrics))
    probe.read(row, at)
    return row.tolist()


def one(probe: Probe, metric: Metric | None = None) -> int:
    """Return one metric of one reading."""
    return read(probe)[0 if metric is None else probe.metrics.index(metric)]


# -- what is built in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", registry.probes(), ids=lambda probe: type(probe).__name__)
def test_a_probe_writes_where_it_is_told(probe: Probe) -> None:
    """A probe writes one number for each of its metrics, from its place in the row on, and nothing before it."""
    first, *rest = read(probe, at=1)

    assert first == -1
    assert len(rest) == len(probe.metrics)
    assert all(value >= 0 for value in rest)


# -- the interpreter -------------------------------------------------------------------------------------------------


def test_allocated_blocks() -> None:
    """A thousand small objects are a thousand blocks and hardly more."""
    probe = interpreter.AllocatedBlocks()
    before = one(probe)
    kept = [object() for _ in range(1_000)]

    assert probe.metrics == (BLOCKS,)
    assert 1_000 <= one(probe) - before <= 1_010
    assert len(kept) == 1_000


def test_no_allocated_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that does not count blocks is known by that."""
    assert interpreter.AllocatedBlocks.available()
    monkeypatch.delattr(sys, "getallocatedblocks")

    assert not interpreter.AllocatedBlocks.available()


def test_objects_of_the_collector() -> None:
    """Lists are tracked by the collector; frozen ones are not counted."""
    probe = interpreter.CollectorObjects()
    gc.disable()
    try:
        before = one(probe)
        kept: list[list[int]] = [[] for _ in range(1_000)]
        more = one(probe) - before
        gc.freeze()
        frozen = one(probe)
    finally:
        gc.unfreeze()
        gc.enable()

    assert probe.metrics == (GC_OBJECTS,)
    assert 1_000 <= more <= 1_010
    assert frozen < 100
    assert len(kept) == 1_000


# -- the native heap -------------------------------------------------------------------------------------------------


@pytest.fixture
def malloc() -> Iterator[Callable[[int], None]]:
    """Return what takes memory from the C library, until the end of the test."""
    library = ctypes.PyDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    taken: list[int] = []
    yield lambda size: taken.append(library.malloc(size))
    for pointer in taken:
        library.free(pointer)


@HEAP_TOLD
@pytest.mark.parametrize("size", [5_000, 10 * MIB])
def test_native_heap(malloc: Callable[[int], None], size: int) -> None:
    """What malloc hands out shows, whether it comes from the heap or from a mapping of its own."""
    probe = heap.NativeHeap()
    before = one(probe)
    for _ in range(20):
        malloc(size)

    assert probe.metrics == (HEAP,)
    assert 20 * size <= one(probe) - before <= 20 * (size + 2 * mmap.PAGESIZE)


@pytest.mark.parametrize("error", [OSError, NotImplementedError, RuntimeError])
def test_a_heap_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """A platform whose C library refuses to tell its heap has no such probe."""
    import psutil

    def refuse() -> None:
        raise error

    monkeypatch.setattr(psutil, "heap_info", refuse, raising=False)

    assert not heap.NativeHeap.available()


def test_a_psutil_without_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A psutil that knows no heap on this platform has no such probe."""
    import psutil

    monkeypatch.delattr(psutil, "heap_info", raising=False)

    assert not heap.NativeHeap.available()


@GLIBC
@HEAP_TOLD
def test_the_chunk_cache_is_levelled(malloc: Callable[[int], None]) -> None:
    """Chunks that were taken from the cache show once it is levelled, and not before."""
    cache, probe = heap.ChunkCache(), heap.NativeHeap()
    cache.level()
    cache.level()
    before = one(probe)
    for _ in range(5):
        malloc(200)
    hidden = one(probe) - before
    cache.level()

    assert hidden < 208  # the interpreter may take some for itself
    assert 5 * 208 <= one(probe) - before < 6 * 208


@GLIBC
@HEAP_TOLD
def test_levelling_leaves_nothing() -> None:
    """Levelling again and again takes no more memory."""
    cache, probe = heap.ChunkCache(), heap.NativeHeap()
    in_use = []
    for _ in range(5):
        for _ in range(50):
            cache.level()
        in_use.append(one(probe))

    assert 0 in {after - before for before, after in pairwise(in_use)}  # the interpreter may take some for itself


def test_no_chunk_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another C library has no such cache."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert not heap.ChunkCache.available()


# -- what the kernel counts ------------------------------------------------------------------------------------------


@LINUX
def test_mapped_memory() -> None:
    """Private memory shows as mapped when it is mapped, and as resident once it was written to."""
    probe = process.StatMemory()
    mapped, resident = one(probe, MAPPED), one(probe, RSS)
    with mmap.mmap(-1, 32 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        mapped_more, resident_more = one(probe, MAPPED) - mapped, one(probe, RSS) - resident
        for page in range(0, 32 * MIB, mmap.PAGESIZE):
            memory[page] = 1
        resident_in_use = one(probe, RSS) - resident

    assert probe.metrics == (RSS, MAPPED)
    assert 32 * MIB <= mapped_more <= 34 * MIB
    assert resident_more < 8 * MIB
    assert 31 * MIB <= resident_in_use <= 40 * MIB


@pytest.mark.parametrize(("make", "metric"), [(process.ResidentMemory, RSS), (process.PrivateMemory, USS)])
def test_memory_by_psutil(make: Callable[[], Probe], metric: Metric) -> None:
    """Where there is no /proc, resident memory and memory of one's own are asked of psutil."""
    probe = make()
    before = one(probe)
    kept = bytearray(os.urandom(1)) * (32 * MIB)

    assert probe.metrics == (metric,)
    assert 30 * MIB <= one(probe) - before <= 48 * MIB
    assert len(kept) == 32 * MIB


@pytest.fixture(params=[True, False], ids=["by the kernel's files", "by psutil"])
def has_proc(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Have a machine with and without /proc."""
    if not request.param:
        for name in ("_FD", "_TASK", "_STATM"):
            monkeypatch.setattr(process, name, "/nowhere")
    return bool(request.param)


@pytest.mark.usefixtures("has_proc")
def test_descriptors() -> None:
    """An open descriptor counts until it is closed."""
    probe = process.Descriptors()
    before = one(probe)
    reader, writer = os.pipe()
    opened = one(probe)
    os.close(reader)
    os.close(writer)

    assert probe.metrics == (FDS,)
    assert (opened - before, one(probe) - before) == (2, 0)


def test_handles_where_there_are_no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, handles are counted in place of descriptors."""

    class Process:
        def num_handles(self) -> int:
            return 77

    monkeypatch.setattr(process, "_FD", "/nowhere")
    monkeypatch.setattr(process, "_psutil_process", Process)

    assert one(process.Descriptors()) == 77


@LINUX
def test_the_number_of_descriptors_is_true() -> None:
    """Descriptors are counted without the one that counting itself needs."""
    really = sum(1 for number in range(1_024) if is_open(number))

    assert one(process.Descriptors()) == really


def is_open(number: int) -> bool:
    """Tell whether there is a descriptor of that number."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("has_proc")
def test_threads() -> None:
    """A running thread counts until it has ended."""
    probe, go = process.Threads(), threading.Event()
    # Threads of the tests before may still be leaving.
    settle.wait_for_threads(lambda: one(probe), settled=threading.active_count(), grace_s=1)
    before = one(probe)
    thread = threading.Thread(target=go.wait)
    thread.start()
    running = one(probe)
    go.set()
    thread.join()

    assert probe.metrics == (THREADS,)
    assert running - before == 1


@contextlib.contextmanager
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Start a child process that ends when its input does."""
    command = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        yield made


@POSIX
@pytest.mark.usefixtures("has_proc")
def test_children() -> None:
    """A child process counts while it runs, and no more once it was waited for."""
    probe = process.Children()
    before = one(probe)
    with child():
        running = one(probe)

    assert probe.metrics == (CHILDREN,)
    assert (running - before, one(probe) - before) == (1, 0)


@POSIX
def test_a_zombie_is_a_child() -> None:
    """A child that has ended counts until somebody waits for it."""
    probe = process.Children()
    before = one(probe)
    with child() as started:
        assert started.stdin is not None
        started.stdin.close()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
        zombie = one(probe)

    assert (zombie - before, one(probe) - before) == (1, 0)


@LINUX
def test_a_child_of_another_thread() -> None:
    """A child that another thread started is one of this process."""
    probe = process.Children()
    before = one(probe)
    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=lambda: stack.enter_context(child()))
        thread.start()
        thread.join()
        running = one(probe)

    assert running - before == 1


def test_children_without_waitid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that cannot ask for any child at all counts them one by one."""
    monkeypatch.delattr(os, "waitid", raising=False)

    assert one(process.Children()) >= 0


@LINUX
def test_a_thread_that_ends_while_children_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is gone before its children were read has none."""
    probe = process.Children()
    before = one(probe)
    listdir = os.listdir
    monkeypatch.setattr(process._OS, "listdir", lambda path: [*listdir(path), "0"])
    with child():
        running = one(probe)

    assert running - before == 1


@LINUX
def test_the_files_of_proc_are_read_though_os_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that puts another file system in the place of the real one does not blind the probes."""
    monkeypatch.setattr(process, "os", SimpleNamespace(sysconf=os.sysconf))

    assert process.StatMemory.available()
    assert all(one(probe()) > 0 for probe in (process.StatMemory, process.Descriptors, process.Threads))


def test_a_process_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the whole of /proc is out of reach, the error says so in words."""
    psutil = pytest.importorskip("psutil")

    def refuse() -> None:
        raise psutil.NoSuchProcess(1)

    monkeypatch.setattr(psutil, "Process", refuse)

    with pytest.raises(CouldNotRun, match="/proc cannot be read: the file system is replaced"):
        process._psutil_process()


# -- asyncio ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="tasks are hidden from 3.14 on")
def test_pending_tasks() -> None:
    """A task counts from when it is made until it is done."""
    probe = tasks.PendingTasks()

    async def work() -> Sequence[int]:
        before, go = one(probe), asyncio.Event()
        waiting = [asyncio.create_task(go.wait()) for _ in range(3)]
        created = one(probe)
        await asyncio.sleep(0)
        started = one(probe)
        go.set()
        await asyncio.gather(*waiting)
        return created - before, started - before, one(probe) - before

    assert probe.metrics == (TASKS,)
    assert asyncio.run(work()) == (3, 3, 0)


@pytest.mark.skipif(not (3, 12) <= sys.version_info < (3, 14), reason="eager from 3.12 on, hidden from 3.14 on")
def test_eager_tasks() -> None:
    """A task that began to run when it was made counts as well."""
    probe = tasks.PendingTasks()

    async def work() -> int:
        go = asyncio.Event()
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        before = one(probe)
        waiting = asyncio.create_task(go.wait())
        seen = one(probe) - before
        go.set()
        await waiting
        return seen

    assert asyncio.run(work()) == 1


def test_no_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asyncio was never imported there are no tasks, and it is not imported to find out."""
    monkeypatch.delitem(sys.modules, "asyncio.tasks")

    assert one(tasks.PendingTasks()) == 0
    assert "asyncio.tasks" not in sys.modules


class Task:
    """A task in the books of some version of asyncio."""

    def __init__(self, *, done: bool) -> None:
        self._done = done

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self._done


@pytest.mark.parametrize("books", [("_all_tasks",), ("_scheduled_tasks",), ("_scheduled_tasks", "_eager_tasks"), ()])
def test_the_books_of_every_version(monkeypatch: pytest.MonkeyPatch, books: Sequence[str]) -> None:
    """Each version of asyncio keeps its tasks elsewhere; those that are done do not count."""
    module = type(sys)("asyncio.tasks")
    for name in books:
        setattr(module, name, {Task(done=False), Task(done=False), Task(done=True)})
    monkeypatch.setitem(sys.modules, "asyncio.tasks", module)

    assert one(tasks.PendingTasks()) == 2 * len(books)


# -- the fake --------------------------------------------------------------------------------------------------------


def test_a_script_is_played() -> None:
    """A scripted probe says one number a run for each metric; the last one stands for all that follow."""
    probe = ScriptedProbe({BLOCKS: [10, 20, 30], FDS: [3]})
    seen = []
    for _ in range(4):
        seen.append(read(probe, at=1))
        probe.run()

    assert probe.metrics == (BLOCKS, FDS)
    assert seen == [[-1, 10, 3], [-1, 20, 3], [-1, 30, 3], [-1, 30, 3]]


def test_a_script_can_be_read_twice() -> None:
    """Reading does not move the script: only runs do."""
    probe = ScriptedProbe({BLOCKS: [10, 20]})

    assert [read(probe), read(probe)] == [[10], [10]]


def test_a_script_without_numbers() -> None:
    """A metric without a number is refused by name."""
    with pytest.raises(ValueError, match="fds: a script needs one number at least"):
        ScriptedProbe({BLOCKS: [1], FDS: []})
