"""What every snapshot must be, or DevTools shows an error that says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard.heap.layout import EDGE_FIELDS, META, NODE_FIELDS, WEAK
from pytest_memguard.heap.loaded import HeapSnapshot


@pytest.fixture(scope="module", params=["a", "values"])
def document(planted: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return a snapshot as JSON."""
    loaded: dict[str, Any] = json.loads((planted / f"{request.param}.heapsnapshot").read_text(encoding="ascii"))
    return loaded


def test_the_keys_are_in_the_order_that_devtools_reads_them(document: dict[str, Any]) -> None:
    """DevTools reads the file from its beginning to its end, once."""
    assert list(document) == [
        "snapshot", "nodes", "edges", "trace_function_infos", "trace_tree", "samples", "locations", "strings",
    ]  # fmt: skip


def test_the_header_counts_what_there_is(document: dict[str, Any]) -> None:
    """DevTools allocates its arrays by these counts."""
    header, nodes, edges = document["snapshot"], document["nodes"], document["edges"]

    assert header["meta"] == json.loads(json.dumps(META))
    assert header["node_count"] * NODE_FIELDS == len(nodes)
    assert header["edge_count"] * EDGE_FIELDS == len(edges)
    assert sum(nodes[4::NODE_FIELDS]) == header["edge_count"]


def test_every_number_is_an_integer_from_0_to_32_bits(document: dict[str, Any]) -> None:
    """The parser of DevTools knows no other numbers."""
    numbers = [*document["nodes"], *document["edges"]]

    assert {type(number) for number in numbers} == {int}
    assert 0 <= min(numbers) <= max(numbers) < 2**32


def test_every_edge_leads_to_the_beginning_of_a_node(document: dict[str, Any]) -> None:
    """to_node counts numbers, not nodes."""
    targets = document["edges"][2::EDGE_FIELDS]

    assert {target % NODE_FIELDS for target in targets} == {0}
    assert max(targets) < len(document["nodes"])


def test_every_name_and_type_is_there(document: dict[str, Any]) -> None:
    """Names are numbers of the table of strings, types are numbers of the header's lists."""
    strings, nodes, edges = document["strings"], document["nodes"], document["edges"]
    named = [
        name for kind, name in zip(edges[0::3], edges[1::3], strict=True) if META["edge_types"][0][kind] != "element"
    ]

    assert max(nodes[1::NODE_FIELDS]) < len(strings)
    assert max(named) < len(strings)
    assert max(nodes[0::NODE_FIELDS]) < len(META["node_types"][0])
    assert all(isinstance(string, str) for string in strings)


def test_identities_are_odd_and_unique(document: dict[str, Any]) -> None:
    """DevTools compares snapshots by them; even ones would be those of native nodes."""
    identities = document["nodes"][2::NODE_FIELDS]

    assert {identity % 2 for identity in identities} == {1}
    assert len(set(identities)) == len(identities)
    assert max(identities) < 2**31


def test_every_node_is_reached_from_the_first_without_weak_edges(document: dict[str, Any]) -> None:
    """What is not reached makes DevTools complain, and has no retained size."""
    nodes, edges = document["nodes"], document["edges"]
    targets, place = [], 0
    for count in nodes[4::NODE_FIELDS]:
        rows = range(place, place + count * EDGE_FIELDS, EDGE_FIELDS)
        targets.append([edges[row + 2] // NODE_FIELDS for row in rows if edges[row] != WEAK])
        place += count * EDGE_FIELDS
    reached, todo = {0}, [0]
    while todo:
        new = set(targets[todo.pop()]) - reached
        reached |= new
        todo += new

    assert len(reached) == len(nodes) // NODE_FIELDS


def test_identities_stay_between_snapshots(before: HeapSnapshot, after: HeapSnapshot) -> None:
    """An object has the same identity in every snapshot of its process: new ones are those that are new."""
    sessions = [
        {snapshot.identities[node] for node in range(len(snapshot)) if snapshot.name(node) == "__main__.Session"}
        for snapshot in (before, after)
    ]

    assert (len(sessions[0]), len(sessions[1])) == (20, 1020)
    assert sessions[0] < sessions[1]
