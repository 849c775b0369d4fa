"""What stays, by type, and what containers gained."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import OrderedDict, deque
from typing import Any

import pytest

from pytest_memguard.core.values import TypeGrowth
from pytest_memguard.explain.growth import (
    Budget,
    growing_types,
    keeps_step,
    newest,
    newest_keys,
    runs_of,
    size_of,
    tasks_are_done,
    within_blocks,
)
from pytest_memguard.explain.holders import Grown


class Session:
    """Something that stays."""

    def __init__(self, size: int) -> None:
        self.payload = bytearray(size)


class Liar:
    """Something that tells a size of its own."""

    def __sizeof__(self) -> int:
        raise RuntimeError("do not ask me")


def types_of(newborn: list[Any], grown: tuple[Grown, ...] = (), runs: int = 7) -> dict[str, tuple[float, float]]:
    """Return count and bytes a run by type."""
    rows = growing_types(newborn, grown, runs=runs, budget=Budget(10.0))
    return {row.type: (row.count_per_run, row.bytes_per_run) for row in rows}


def test_counts_and_bytes() -> None:
    """Objects are counted by type, with what only they hold; the dictionary of an instance is part of it."""
    found = types_of([Session(1000) for _ in range(7)])
    name = f"{__name__}.Session"

    assert set(found) == {name, "bytearray"}
    assert found[name][0] == 1
    assert found["bytearray"] == (1, sys.getsizeof(bytearray(1000)))


def test_what_is_shared_is_counted_once() -> None:
    """Bytes that several survivors hold are counted once, and those of others not at all."""
    shared, foreign = bytearray(1000), bytearray(1000)
    newborn: list[Any] = [[shared, foreign] for _ in range(7)]
    del shared

    assert "bytearray" not in types_of(newborn)
    assert foreign


def test_texts_of_a_container_that_grew() -> None:
    """Texts, which no collector tracks, are found through the container that they were put into."""
    kept = {f"key {number}": f"value {number}" for number in range(7)}

    assert types_of([], (Grown(kept, 7, 7),))["str"][0] == 2


@pytest.mark.parametrize(
    ("count", "steady"),
    [
        (3, False),
        (4, True),
        (7, True),
        (13, True),
        (14, True),
        (16, True),
        (17, False),
        (18, False),
        (19, True),
        (0, False),
    ],
)
def test_what_keeps_step(count: int, steady: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A number near a multiple of the runs keeps step, also one on every second run."""
    assert keeps_step(count, 7) is steady


@pytest.mark.parametrize(("amount", "expected"), [(7, 1), (8, 1), (4, 4 / 7), (70, 10), (0, 0), (11, 11 / 7)])
def test_amounts_a_run(amount: int, expected: float) -> None:
    """A few more than a multiple are no part of a run."""
    assert runs_of(amount, 7) == expected


def test_sizes() -> None:
    """Sizes are those of the built-in types; a size of the user's own is not asked for."""
    assert size_of([]) == sys.getsizeof([])
    assert size_of(b"abc") == sys.getsizeof(b"abc")
    assert size_of(Liar()) > 0


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ([1, 2, 3], [(None, 3), (None, 2)]),
        (deque([1, 2, 3]), [(None, 3), (None, 2)]),
        ({1: "a", 2: "b", 3: "c"}, [(3, "c"), (2, "b")]),
        (OrderedDict({1: "a", 2: "b", 3: "c"}), [(3, "c"), (2, "b")]),
        ((1, 2, 3), []),
    ],
)
def test_newest_entries(container: Any, expected: list[tuple[object, object]]) -> None:  # noqa: ANN401
    """The newest entries come first, as many as were gained."""
    assert newest(Grown(container, 3, 2)) == expected


def test_newest_keys() -> None:
    """Keys are shown where they are texts or numbers."""
    assert newest_keys(Grown({"a": 1, "b": 2}, 2, 1)) == ("'b'",)
    assert newest_keys(Grown({object(): 1}, 1, 1)) == ()


def test_a_budget_that_is_spent() -> None:
    """A note says where it was cut short, once."""
    budget = Budget(0.0)

    assert budget.is_spent("at 5 objects")
    assert budget.is_spent("at 5 objects")
    assert budget.notes == ["stopped after 0 s at 5 objects"]


def test_a_budget_that_is_not_spent() -> None:
    """Nothing is noted while there is time."""
    budget = Budget(time.perf_counter())

    assert not budget.is_spent("at 5 objects")
    assert budget.notes == []


@pytest.mark.parametrize("c", [True, False])
def test_tasks_that_are_done(c: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Tasks are asked for their state, in C or not; where there are none, none is done."""
    make: Any = asyncio.Task if c else asyncio.tasks._PyTask  # type: ignore[attr-defined]

    async def run() -> tuple[bool, bool]:
        done = make(asyncio.sleep(0), loop=asyncio.get_running_loop())
        await done
        pending = make(asyncio.sleep(60), loop=asyncio.get_running_loop())
        both = tasks_are_done([done]), tasks_are_done([done, pending])
        pending.cancel()
        return both

    assert asyncio.run(run()) == (True, False)
    assert not tasks_are_done([Session(1)])


@pytest.mark.parametrize(
    ("rows", "blocks", "kept"),
    [
        ([("int", 4, 112)], 1, []),
        ([("int", 1, 28)], 1, ["int"]),
        # Rounded: what is counted is of a few runs.
        ([("int", 1.5, 42)], 1, ["int"]),
        ([("int", 1.6, 45)], 1, []),
        # A list is seen, a number is inferred, whatever stands first.
        ([("int", 1, 28), ("list", 2, 112)], 2, ["list"]),
        ([("int", 1, 28), ("list", 2, 112)], 3, ["int", "list"]),
        # The C library's memory is no block.
        ([("shop.Page", 3, 3_000), ("str", 1, 600)], 0, ["shop.Page", "str"]),
    ],
)
def test_no_more_objects_than_blocks(rows: list[tuple[str, float, float]], blocks: float, kept: list[str]) -> None:
    """A type of which more objects seem to stay than memory grew by is not told."""
    assert [one.type for one in within_blocks([TypeGrowth(*row) for row in rows], blocks)] == kept
