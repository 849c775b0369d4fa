"""``heap.read`` and what a snapshot that was read answers: what holds what, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard import heap
from pytest_memguard.errors import DocumentError
from pytest_memguard.heap.dominators import dominators, retained_sizes
from pytest_memguard.heap.layout import META
from pytest_memguard.heap.reach import roots_of_the_rest

#: For each node those that it leads to; node 0 is the root.
Graph = list[list[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return a graph of at most 12 nodes, some of which may not be reached."""
    count = draw(st.integers(1, 12))
    return draw(st.lists(st.lists(st.integers(0, count - 1), max_size=4), min_size=count, max_size=count))


def flat(graph: Graph) -> tuple[array[int], array[int]]:
    """Return a graph as ``dominators`` takes it."""
    first, targets = array("q", [0]), array("q")
    for below in graph:
        targets.extend(below)
        first.append(len(targets))
    return first, targets


def reached(graph: Graph, without: int | None = None, start: int = 0) -> set[int]:
    """Return what is reached from a node if another one is taken out."""
    found, todo = {start} - {without}, [start] if start != without else []
    while todo:
        new = set(graph[todo.pop()]) - found - {without}
        found |= new
        todo += new
    return found


@given(graphs())
def test_a_dominator_is_what_the_node_is_not_reached_without(graph: Graph) -> None:
    """The dominators of a node are those without which it is not reached, the immediate one is the nearest."""
    above, order = dominators(*flat(graph))
    everything = reached(graph)

    assert sorted(order) == sorted(everything)
    for node in everything - {0}:
        chain = []
        step = above[node]
        while step != -1:
            chain.append(step)
            step = above[step]
        assert sorted(chain) == sorted(one for one in everything - {node} if node not in reached(graph, without=one))


@given(graphs())
def test_retained_is_what_would_be_free_without_a_node(graph: Graph) -> None:
    """A node retains what is not reached any more without it, and itself."""
    sizes = array("Q", [10**place for place in range(len(graph))])
    retained = retained_sizes(sizes, *dominators(*flat(graph)))
    everything = reached(graph)

    for node in everything - {0}:
        assert retained[node] == sum(sizes[one] for one in everything - reached(graph, without=node))


@given(graphs(), st.data())
def test_roots_of_the_rest_reach_everything(graph: Graph, data: st.DataObject) -> None:
    """With them every node is reached, and none of them is reached by the roots that there were."""
    base = 5
    first, targets = flat(graph)
    edges = array("I", [number for target in targets for number in (1, 0, 7 * (target + base))])
    starts = array("I", [3 * start for start in first])
    roots = data.draw(st.lists(st.integers(0, len(graph) - 1), max_size=3))

    found = [node - base for node in roots_of_the_rest(edges, starts, base, [root + base for root in roots])]

    reached_before = set().union(*(reached(graph, start=root) for root in roots))
    assert set().union(*(reached(graph, start=root) for root in (*roots, *found))) == set(range(len(graph)))
    assert not reached_before & set(found)


def small(**changes: object) -> dict[str, object]:
    """Return a snapshot of a root, one object and a string, with some keys changed."""
    whole: dict[str, object] = {
        "snapshot": {"meta": META, "node_count": 3, "edge_count": 2, "trace_function_count": 0},
        "nodes": [9, 0, 1, 0, 1, 0, 0, 3, 1, 3, 40, 1, 0, 0, 2, 2, 5, 60, 0, 0, 0],
        "edges": [2, 3, 7, 1, 4, 14],
        "trace_function_infos": [], "trace_tree": [], "samples": [], "locations": [],
        "strings": ["", "shop.Cart", "str[3]", "cart"],
    }  # fmt: skip
    return {**whole, **changes}


def test_the_smallest_snapshot(tmp_path: Path) -> None:
    """A file that anybody could have written, with spaces where JSON allows them."""
    (tmp_path / "x.heapsnapshot").write_text(json.dumps(small(), indent=1), encoding="utf-8")
    found = heap.read(tmp_path / "x.heapsnapshot")

    assert (len(found), found.objects, found.edges, found.bytes) == (3, 2, 2, 100)
    assert found.path(2) == ("", "cart", "shop.Cart", "[4]", "str[3]")
    assert list(found.retained) == [100, 100, 60]
    assert {name: total.count for name, total in found.types().items()} == {"shop.Cart": 1, "str": 1}
    assert found.sites() == {}


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Older files lack columns, newer ones may have more: what counts is what the header says."""
    fields = ["type", "name", "id", "self_size", "edge_count", "more"]
    nodes = [9, 0, 1, 0, 1, 8, 3, 1, 3, 40, 1, 8, 2, 2, 5, 60, 0, 8]
    header = {"meta": {**META, "node_fields": fields}, "node_count": 3, "edge_count": 2}
    text = json.dumps(small(snapshot=header, nodes=nodes, edges=[2, 3, 6, 1, 4, 12]))
    (tmp_path / "x.heapsnapshot").write_text(text, encoding="utf-8")

    assert list(heap.read(tmp_path / "x.heapsnapshot").sizes) == [0, 40, 60]


def test_a_file_of_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in parts, and a number may be cut in two by their ends."""
    (tmp_path / "x.heapsnapshot").write_text(json.dumps(small(), separators=(",", ":")), encoding="utf-8")
    whole = heap.read(tmp_path / "x.heapsnapshot")
    for size in (20, 21, 22, 23):
        monkeypatch.setattr("pytest_memguard.heap.reading._AT_ONCE", size)
        found = heap.read(tmp_path / "x.heapsnapshot")

        assert (found.sizes, found.targets) == (whole.sizes, whole.targets)


HEADER = small()["snapshot"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no heap snapshot"),
        (b"{}", "it is no heap snapshot"),
        (b'{"schema": "memguard-result/1"}', "it is no heap snapshot"),
        (b"\x1f\x8b\x08\x00", "Compressed file ended before the end-of-stream marker was reached"),
        (gzip.compress(b"x" * 100, mtime=0)[:-8] + b"\x00" * 8, "CRC check failed"),
        (json.dumps(small(nodes=[1, 2, 3])).encode(), "its header counts 21 numbers of nodes, and it has 3"),
        (json.dumps(small(edges=[2, 3, 8, 1, 4, 14])).encode(), "an edge of it leads to no node"),
        (json.dumps(small(edges=[2, 3, 7, 1, 4, 700])).encode(), "an edge of it leads to no node"),
        (json.dumps(small(edges=[2, 3, 7, 1, 4, -7])).encode(), "something else than numbers"),
        (json.dumps(small(edges=[2, 3, 7, 99, 4, 14])).encode(), "it is no heap snapshot, or was cut short"),
        (json.dumps(small(strings=["", "a"])).encode(), "a name in it is no string of its table"),
        (json.dumps(small(snapshot={**HEADER, "meta": {**META, "node_fields": ["type"] * 7}})).encode(), "lack 'name'"),
        (json.dumps(small(snapshot=[])).encode(), "it is no heap snapshot, or was cut short"),
    ],
)
def test_files_that_are_no_snapshots(content: bytes, reason: str, tmp_path: Path) -> None:
    """One line names the file and what is wrong with it."""
    (tmp_path / "x.heapsnapshot").write_bytes(content)

    with pytest.raises(DocumentError, match=rf"x\.heapsnapshot cannot be read: .*{reason}"):
        heap.read(tmp_path / "x.heapsnapshot")


@pytest.mark.parametrize("part", [0.02, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short(part: float, planted: Path, tmp_path: Path) -> None:
    """Wherever it ends, it is not taken for a smaller heap."""
    content = (planted / "a.heapsnapshot").read_bytes()
    (tmp_path / "x.heapsnapshot").write_bytes(content[: int(part * len(content))])

    with pytest.raises(DocumentError, match="cannot be read"):
        heap.read(tmp_path / "x.heapsnapshot")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It says so."""
    with pytest.raises(DocumentError, match=r"x\.heapsnapshot cannot be read: No such file or directory"):
        heap.read(tmp_path / "x.heapsnapshot")
