"""``heap.compare`` and ``heap.snapshots``: what grew, and where it hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import heap
from pytest_memguard.heap.difference import PathShape
from pytest_memguard.heap.loaded import HeapSnapshot

SESSION = "__main__.Session"


@pytest.fixture(scope="module")
def diff(before: HeapSnapshot, after: HeapSnapshot) -> heap.HeapDiff:
    """Return the difference that 1,000 sessions make."""
    return heap.compare(before, after)


def test_the_planted_leak_is_the_largest_growth(diff: heap.HeapDiff) -> None:
    """The first of the paths says where the leak hangs, how many there are, and what they keep alive."""
    path = diff.paths[0]

    assert path.key.text == "module __main__ .SESSIONS: dict [*]: __main__.Session"
    assert (path.key.type, path.before.count, path.after.count, path.count) == (SESSION, 20, 1020, 1000)
    assert 1000 * 2048 < path.bytes < 1000 * 2500


def test_what_comes_along_is_not_told_twice(diff: heap.HeapDiff) -> None:
    """The payload of each session is a part of its growth, and no growth of its own."""
    assert [change.key.text for change in diff.paths if ".payload" in change.key.text] == []


def test_types(diff: heap.HeapDiff) -> None:
    """Types are counted by themselves."""
    types = {change.key: change for change in diff.types}

    assert types[SESSION].count == types["bytearray"].count == 1000
    assert diff.types[0].key == "bytearray"
    assert diff.same_process


def test_nothing_in_common_is_nothing_changed(before: HeapSnapshot) -> None:
    """A snapshot compared with itself has no difference."""
    same = heap.compare(before, before)

    assert (same.types, same.sites, same.paths, same.growth.count, same.growth.bytes) == ((), (), (), 0, 0)


def test_two_processes(program: Callable[[str], Any], tmp_path: Path, after: HeapSnapshot) -> None:
    """Runs of one program are compared by names; that they are two is said."""
    program('SESSIONS.update({str(n): Session(n) for n in range(3000)})\nheap.write("x.heapsnapshot")')
    found = heap.compare(after, heap.read(tmp_path / "x.heapsnapshot"))

    assert {change.key: change.count for change in found.types}[SESSION] == 2000
    assert found.paths[0].key.text == "module __main__ .SESSIONS: dict [*]: __main__.Session"


def test_a_chain_is_one_shape(program: Callable[[str], Any], tmp_path: Path) -> None:
    """What grows at the far end of a chain is told once, not for every link."""
    program("""
class Link:
    def __init__(self, next): self.next = next
CHAIN = Link(Link(None))
heap.write("x.heapsnapshot")
for _ in range(500): CHAIN = Link(CHAIN)
heap.write("y.heapsnapshot")
""")
    found = heap.compare(heap.read(tmp_path / "x.heapsnapshot"), heap.read(tmp_path / "y.heapsnapshot"))

    assert [change.count for change in found.paths if change.key.type == "__main__.Link"] == [500]


def test_sites_when_tracing(program: Callable[[str], Any], tmp_path: Path) -> None:
    """With tracing on, the lines that allocated what is new are told."""
    program("""
import tracemalloc
tracemalloc.start()
heap.write("x.heapsnapshot")
MADE = [bytearray(1000) for _ in range(500)]
heap.write("y.heapsnapshot")
""")
    found = heap.compare(heap.read(tmp_path / "x.heapsnapshot"), heap.read(tmp_path / "y.heapsnapshot"))

    assert Path(found.sites[0].key.file).name == "program.py"
    assert found.sites[0].count in (500, 501)  # the list is made there too


def test_as_json(diff: heap.HeapDiff) -> None:
    """The dictionary has all of it."""
    found = diff.to_dict()

    assert found["growth"] == {"count": diff.growth.count, "bytes": diff.growth.bytes}
    assert found["paths"][0]["path"] == diff.paths[0].key.text
    assert len(found["types"]) == len(diff.types)


@pytest.mark.parametrize(
    ("steps", "shown"), [(12, "0 1 2 3 4 5 6 7 8 9 10 11"), (13, "0 1 2 ... 4 5 6 7 8 9 10 11 12")]
)
def test_long_paths_are_cut_in_the_middle(steps: int, shown: str) -> None:
    """A path that is too long keeps its beginning and its end."""
    assert PathShape(tuple(map(str, range(steps))), "str").text == shown


def test_around_an_operation(program: Callable[[str], Any]) -> None:
    """The body of a with is compared; garbage is collected, and no file stays."""
    growth, files = program("""
with heap.snapshots() as taken:
    SESSIONS.update({str(number): Session(number) for number in range(100)})
    garbage = Session(0); garbage.me = garbage; del garbage
found = {change.key: change.count for change in taken.diff.types}
print(json.dumps([found["__main__.Session"], sorted(os.listdir())]))
""")

    assert (growth, files) == (100, ["program.py"])


def test_around_an_operation_that_fails(program: Callable[[str], Any], tmp_path: Path) -> None:
    """The error comes through, and there is nothing to compare; files stay where a folder was given."""
    answer = program("""
try:
    with heap.snapshots("kept") as taken:
        1 / 0
except ZeroDivisionError:
    print(json.dumps(taken.diff))
""")

    assert answer is None
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["before.heapsnapshot.gz"]
