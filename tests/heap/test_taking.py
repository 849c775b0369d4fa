"""``heap.write``: what stands in a snapshot, what it costs, and what happens when it cannot be had."""

from __future__ import annotations

import gc
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_memguard import heap
from pytest_memguard.errors import CouldNotRun, DocumentError
from pytest_memguard.heap import forking, taking
from pytest_memguard.heap.loaded import HeapSnapshot

HAS_FORK = not forking.cannot_fork()
needs_fork = pytest.mark.skipif(not HAS_FORK, reason="this platform makes no copies of a process")


def open_files() -> list[str]:
    """Return the descriptors of this process."""
    return sorted(file.name for file in Path("/proc/self/fd").iterdir())


def is_gone(child: int) -> bool:
    """Tell whether a process that was forked here has ended and been asked for."""
    try:
        os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the processes that are forked in the test: there may be others, of earlier tests."""
    forked: list[int] = []
    fork = os.fork

    def noted() -> int:
        child = fork()
        forked.extend([child] if child else [])
        return child

    monkeypatch.setattr(os, "fork", noted)
    return forked


@pytest.fixture
def _no_collection_by_itself() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def path_to(snapshot: HeapSnapshot, name: str) -> str:
    """Return the path to the first node of that name, as text."""
    node = next(node for node in range(len(snapshot)) if snapshot.name(node) == name)
    return " ".join(snapshot.path(node))


def edges_of(snapshot: HeapSnapshot, name: str) -> dict[str, str]:
    """Return what the first node of that name holds, by the name of the edge."""
    node = next(node for node in range(len(snapshot)) if snapshot.name(node) == name)
    rows = range(snapshot.first[node], snapshot.first[node + 1])
    return {snapshot.label(edge): snapshot.name(snapshot.targets[edge]) for edge in rows}


# -- what stands in it -----------------------------------------------------------------------------------------------


def test_a_global_is_found_by_its_name(before: HeapSnapshot) -> None:
    """A module holds its globals by name, and an object its attributes, without dictionaries in between."""
    path = " modules (modules) __main__ module __main__ SESSIONS dict <str key> __main__.Session"

    assert path_to(before, "__main__.Session") == path
    assert edges_of(before, "__main__.Session") == {"payload": "bytearray", "__class__": "class __main__.Session"}


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("__main__.Slotted", {"left": "list", "__class__": "class __main__.Slotted"}),
        ("cell", {"cell_contents": "list"}),
        ("generator" if sys.version_info >= (3, 11) else "frame", {"local local": "list"}),
    ],
)
def test_what_holds_without_a_dictionary_has_names_too(before: HeapSnapshot, name: str, edges: dict[str, str]) -> None:
    """Slots, closures and the local variables of generators are named."""
    nodes = [node for node in range(len(before)) if before.name(node) == name]
    found = [
        {before.label(edge): before.name(before.targets[edge]) for edge in range(before.first[n], before.first[n + 1])}
        for n in nodes
    ]

    assert any(edges.items() <= one.items() for one in found)


def test_a_class_holds_its_attributes(before: HeapSnapshot) -> None:
    """What hangs on a class is found by its name."""
    assert edges_of(before, "class __main__.Cached")["cache"] == "dict"


def test_values_are_left_out_unless_asked_for(planted: Path) -> None:
    """No string of the program and no key of a dictionary stands in a file that was made without --values."""
    texts = [(planted / name).read_text(encoding="ascii") for name in ("a.heapsnapshot", "values.heapsnapshot")]

    assert ["hunter2-in-a-cache" in text for text in texts] == [False, True]
    assert ['"user-7"' in text for text in texts] == [False, True]
    assert ['"key-of-a-cache"' in text for text in texts] == [False, True]


def test_local_variables_of_all_threads_are_roots(program: Callable[[str], Any], tmp_path: Path) -> None:
    """What only a thread's local variable holds is found below that thread, although the copy has one thread."""
    program("""
class OnlyHere: pass
ready, go = threading.Event(), threading.Event()
def wait(held):
    ready.set()
    go.wait()
thread = threading.Thread(target=lambda: wait(OnlyHere()))
thread.start()
ready.wait()
heap.write("x.heapsnapshot")
go.set()
thread.join()
""")
    path = path_to(heap.read(tmp_path / "x.heapsnapshot"), "__main__.OnlyHere")

    assert path.startswith(" stacks (thread stacks) thread ")
    assert path.endswith("frame __main__.wait local held __main__.OnlyHere")


def test_weak_references_hold_nothing(program: Callable[[str], Any], tmp_path: Path) -> None:
    """A weak reference is drawn as one, and does not count as a holder."""
    program("""
import weakref
class Seen: pass
class Holder: pass
WEAK = Seen()
HELD = Holder(); HELD.it = WEAK
WATCH = weakref.ref(WEAK)
del WEAK
heap.write("x.heapsnapshot")
""")
    found = heap.read(tmp_path / "x.heapsnapshot")
    node = next(node for node in range(len(found)) if found.name(node) == "__main__.Seen")

    assert found.name(found.dominators[node]) == "__main__.Holder"
    assert "weak" in {found.edge_kinds[edge] for edge, target in enumerate(found.targets) if target == node}


def test_garbage_is_seen_and_not_collected(program: Callable[[str], Any], tmp_path: Path) -> None:
    """A cycle that nothing holds is in the snapshot, below a root of its own; its finalizer does not run."""
    count = program("""
gc.collect(); gc.disable()
class Cycle:
    def __del__(self): print('"finalized"')
one = Cycle(); one.me = one; del one
heap.write("x.heapsnapshot")
sys.stdout.flush()
os._exit(0)
""")
    path = path_to(heap.read(tmp_path / "x.heapsnapshot"), "__main__.Cycle")

    assert count is None
    assert "held by C code or by nothing gc can see" in path


def test_the_walk_does_not_see_itself(program: Callable[[str], Any], tmp_path: Path) -> None:
    """No object of the walk is in what it describes: one that saw its own lists would never end."""
    program('heap.write("x.heapsnapshot")\nheap.write("y.heapsnapshot", fork=False)')

    for name in ("x.heapsnapshot", "y.heapsnapshot"):
        types = heap.read(tmp_path / name).types()
        assert [kind for kind in types if kind.startswith("pytest_memguard.heap.walk.")] == []
        assert [kind for kind in types if kind.startswith("pytest_memguard.heap.kinds._Dict")] == []


def test_no_code_of_the_program_is_called(program: Callable[[str], Any], tmp_path: Path) -> None:
    """Objects that answer to being looked at are described without their being asked."""
    program("""
def never(*_, **__): raise SystemExit("asked")
class Meta(type):
    __eq__ = __hash__ = __getattribute__ = never
class Touchy(metaclass=Meta):
    __sizeof__ = __repr__ = __hash__ = __eq__ = __len__ = __iter__ = __bool__ = __getattribute__ = never
class List(list):
    __iter__ = __len__ = __sizeof__ = never
class Dict(dict):
    __iter__ = __len__ = items = keys = values = never
THINGS = [object.__new__(Touchy), List([["in a list"]]), Dict(key=["in a dict"])]
heap.write("x.heapsnapshot")
heap.write("y.heapsnapshot", fork=False)
os._exit(0)
""")
    for name in ("x.heapsnapshot", "y.heapsnapshot"):
        types = heap.read(tmp_path / name).types()
        assert [types[f"__main__.{kind}"].count for kind in ("Touchy", "List", "Dict")] == [1, 1, 1]


@needs_fork
def test_allocation_stacks_when_tracing(program: Callable[[str], Any], tmp_path: Path) -> None:
    """Objects know the line that made them and the function around it, where tracemalloc was tracing."""
    still = program("""
import tracemalloc
tracemalloc.start(4)
def allocate():
    return [bytearray(1000) for _ in range(50)]
KEPT = allocate()
heap.write("x.heapsnapshot")
print(json.dumps(tracemalloc.is_tracing()))
""")
    sites = heap.read(tmp_path / "x.heapsnapshot").sites()
    ours = {site.function: total.count for site, total in sites.items() if Path(site.file).name == "program.py"}

    assert still is True
    assert max(count for function, count in ours.items() if function.startswith(("allocate", "<listcomp>"))) >= 50


# -- what it costs ---------------------------------------------------------------------------------------------------


def test_the_summary_tells_what_was_written(tmp_path: Path) -> None:
    """Counts, size and times are those of the file."""
    summary = heap.write(tmp_path / "x.heapsnapshot.gz", max_objects=50_000)
    found = heap.read(summary.path)

    assert (summary.objects, summary.edges) == (found.objects, found.edges)
    assert summary.bytes == summary.path.stat().st_size
    assert 0 < summary.pause_s <= summary.duration_s
    assert summary.partial == "stopped at 50000 objects"


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """A snapshot has mode 0600, whatever the process's mask says, and replaces what was there."""
    (tmp_path / "x.heapsnapshot").write_text("old", encoding="ascii")
    old = os.umask(0)
    try:
        summary = heap.write(tmp_path / "x.heapsnapshot", max_objects=1000)
    finally:
        os.umask(old)

    assert stat.S_IMODE(summary.path.stat().st_mode) == 0o600 or sys.platform == "win32"
    assert [file.name for file in tmp_path.iterdir()] == ["x.heapsnapshot"]


@needs_fork
@pytest.mark.usefixtures("_no_collection_by_itself")
def test_the_process_is_as_it_was(tmp_path: Path, children: list[int]) -> None:
    """No child, no open file, no dictionary of attributes and no garbage collection are left by a snapshot."""

    class Plain:
        def __init__(self) -> None:
            self.attribute = 1

    one = Plain()
    heap.write(tmp_path / "warm.heapsnapshot", max_objects=1000)
    files, held, runs = open_files(), len(gc.get_referents(one)), gc.get_stats()[2]["collections"]
    heap.write(tmp_path / "x.heapsnapshot", max_objects=1000)

    assert open_files() == files
    assert len(gc.get_referents(one)) == held
    assert gc.get_stats()[2]["collections"] == runs
    assert [is_gone(child) for child in children] == [True, True]


def test_containers_that_c_code_has_not_filled_yet(program: Callable[[str], Any]) -> None:
    """To read an item of a list or tuple that has room and no items ends the process: they have no edges."""
    objects = program("""
import ctypes
for make in (ctypes.pythonapi.PyList_New, ctypes.pythonapi.PyTuple_New):
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_ssize_t]
KEPT = [ctypes.pythonapi.PyList_New(3), ctypes.pythonapi.PyTuple_New(3)]
print(heap.write("x.heapsnapshot", fork=False).objects)
""")

    assert objects > 1000


@pytest.mark.parametrize("fork", [True, False])
def test_no_garbage_is_left(*, fork: bool, tmp_path: Path) -> None:
    """A frame that holds itself would keep every local variable of every caller until the next collection."""
    heap.write(tmp_path / "warm.heapsnapshot", max_objects=100, fork=fork)
    gc.collect()
    gc.disable()
    try:
        heap.write(tmp_path / "x.heapsnapshot", max_objects=100, fork=fork)
        found = gc.collect()
    finally:
        gc.enable()

    assert found == 0


@needs_fork
def test_forked_workers_can_tell_a_copy(program: Callable[[str], Any]) -> None:
    """What re-arms itself after a fork can ask whether the fork is one of these."""
    answers = program("""
answers = []
from pathlib import Path
from pytest_memguard.heap import is_forking
os.register_at_fork(after_in_child=lambda: Path("copy").write_text(str(is_forking())))
heap.write("x.heapsnapshot")
answers.append(Path("copy").read_text())
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
answers.append(Path("copy").read_text())
answers.append(heap.is_forking())
print(json.dumps(answers))
""")

    assert answers == ["True", "False", False]


def test_without_fork_it_is_taken_in_the_process(program: Callable[[str], Any], tmp_path: Path) -> None:
    """It says so, has the same objects, and makes nothing that was not there: no dictionary of attributes."""
    note = program("""
held = [len(gc.get_referents(session)) for session in SESSIONS.values()]
summary = heap.write("x.heapsnapshot", fork=False)
assert held == [len(gc.get_referents(session)) for session in SESSIONS.values()]
print(json.dumps(summary.note))
""")
    found = heap.read(tmp_path / "x.heapsnapshot")

    assert note == "taken in the process itself, which stood still: no copy was wanted"
    assert found.types()["__main__.Session"].count == 20
    assert path_to(found, "__main__.Session").endswith("SESSIONS dict <str key> __main__.Session")


@pytest.mark.parametrize(
    ("platform", "reason"), [("darwin", "system libraries of macOS do not survive a fork"), ("linux", "")]
)
def test_why_there_is_no_fork(platform: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fork is known to end badly, none is made, and the reason is told."""
    monkeypatch.setattr(sys, "platform", platform)

    assert forking.cannot_fork() == reason


# -- budgets and failures --------------------------------------------------------------------------------------------


def test_budget_of_objects(program: Callable[[str], Any], tmp_path: Path) -> None:
    """No more objects than allowed, in a file that is whole; with room for all, none is missing."""
    everything, exactly, fewer = program("""
one = heap.write("all.heapsnapshot", fork=False)
limits = (10 * one.objects, 2000, 1000)
done = [heap.write(f"{limit}.heapsnapshot", max_objects=limit, fork=False) for limit in limits]
print(json.dumps([(summary.objects, summary.partial) for summary in done]))
""")

    assert everything[1] == ""
    assert [exactly, fewer] == [[2000, "stopped at 2000 objects"], [1000, "stopped at 1000 objects"]]
    assert heap.read(tmp_path / "1000.heapsnapshot").objects == 1000


def test_budget_of_time(tmp_path: Path) -> None:
    """After that time objects are only named; the file is whole."""
    summary = heap.write(tmp_path / "x.heapsnapshot", max_seconds=0.0001, max_objects=20_000)
    found = heap.read(summary.path)

    assert summary.partial == "stopped after 0.0001 s"
    assert found.edges <= summary.objects + 1000
    assert found.objects == summary.objects


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_budget_of_memory(program: Callable[[str], Any], tmp_path: Path) -> None:
    """A copy that reaches its limit writes what it has; the process goes on."""
    partial = program("""
MANY = [[number] for number in range(60_000)]
print(json.dumps(heap.write("x.heapsnapshot", max_memory_bytes=6 << 20).partial))
""")

    assert partial == "stopped at the limit of memory"
    assert heap.read(tmp_path / "x.heapsnapshot").objects > 10_000


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/x.heapsnapshot", "No such file or directory"),
        ("folder", "it is not a regular file"),
        ("x" * 300 + ".heapsnapshot", "File name too long"),
        ("nul\0.heapsnapshot", ".*embedded null"),
    ],
)
def test_places_that_cannot_be_written(name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the file and the reason, before a copy is made and the heap walked; nothing is left."""
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(taking, "in_copy", lambda *_, **__: pytest.fail("a copy was made"))

    with pytest.raises(DocumentError, match=f"cannot be written: {reason}"):
        heap.write(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("fork", [True, False])
def test_a_full_disk(*, fork: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle leaves what was there before, no half file, and a clear word."""
    (tmp_path / "x.heapsnapshot").write_text("old", encoding="ascii")

    def full(_: object, file: IO[bytes], __: int) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_memguard.heap.document._write", full)

    with pytest.raises(DocumentError, match=r"x\.heapsnapshot cannot be written: No space left on device"):
        heap.write(tmp_path / "x.heapsnapshot", fork=fork, max_objects=1000)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.heapsnapshot", "old")]


@needs_fork
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "died by SIGKILL, as a rule because memory was short"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "died by SIGSEGV"),
        (lambda: os._exit(0), "died"),
        (lambda: 1 / 0, "no heap snapshot was taken: ZeroDivisionError: division by zero"),
    ],
)
def test_a_copy_that_dies(act: Callable[[], Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on and hears how the copy ended; no half file is left."""

    def save(graph: object, path: Path, part: Path, **_: object) -> int:
        part.write_text("half", encoding="ascii")
        act()
        return 0

    monkeypatch.setattr(taking, "save", save)

    with pytest.raises(CouldNotRun, match=words):
        heap.write(tmp_path / "x.heapsnapshot", max_objects=1000)
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_a_copy_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[int]) -> None:
    """A copy that does not come to its end in time is killed."""
    monkeypatch.setattr(taking, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(taking, "save", lambda *_, **__: signal.pause())

    with pytest.raises(CouldNotRun, match=r"it was not done after 0\.6 s"):
        heap.write(tmp_path / "x.heapsnapshot", max_objects=1000, max_seconds=0.1)
    assert [is_gone(child) for child in children] == [True]


@needs_fork
def test_no_process_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that allows no more processes is a clear word."""

    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)

    with pytest.raises(CouldNotRun, match="can be made: Resource temporarily unavailable"):
        heap.write(tmp_path / "x.heapsnapshot")
    assert not heap.is_forking()


def test_tracing_goes_on_in_the_process(program: Callable[[str], Any], tmp_path: Path) -> None:
    """Without a copy tracemalloc is not stopped, and asked for one object after the other."""
    still = program("""
import tracemalloc
tracemalloc.start()
MADE = [bytearray(1000) for _ in range(50)]
heap.write("x.heapsnapshot", fork=False)
print(json.dumps(tracemalloc.is_tracing()))
""")
    sites = heap.read(tmp_path / "x.heapsnapshot").sites()

    assert still is True
    assert max(total.count for site, total in sites.items() if Path(site.file).name == "program.py") >= 50
