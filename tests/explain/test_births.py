"""What was born in the last of some runs is told from what stays."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from pytest_memguard.explain.births import Births


class Item:
    """Something that each run makes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.me = self  # freed by the collector alone


def look(run: Callable[[], object], runs: int = 4, *, noted: bool = True) -> tuple[list[int], list[int], int | None]:
    """Return the numbers of the items that stay of some runs, of those that the last made, and the runs before it."""
    births = Births()
    gc.collect()
    gc.freeze()
    with births.followed():
        for _ in range(runs):
            births.run_begins(may_be_last=noted)
            run()
            gc.collect()
    earlier_runs = births.earlier_runs
    staying, youngest = births.told_apart(gc.get_objects())
    gc.unfreeze()
    return _numbers(staying), _numbers(youngest), earlier_runs


def _numbers(objects: list[object]) -> list[int]:
    return sorted(one.number for one in objects if type(one) is Item)


@pytest.fixture
def numbers() -> Iterator[int]:
    """Return numbers from 0."""
    return iter(range(1_000_000))


def test_what_stays(numbers: Iterator[int]) -> None:
    """What an earlier run made stays; of what the last one made nobody knows."""
    kept: list[Item] = []

    assert look(lambda: kept.append(Item(next(numbers)))) == ([0, 1, 2], [3], 3)


def test_what_each_run_replaces(numbers: Iterator[int]) -> None:
    """What the next run replaces is all of the last run, though it may lie where the former one lay."""
    kept: dict[str, list[Item]] = {}

    def replace() -> None:
        kept.clear()
        gc.collect()
        kept["now"] = [Item(next(numbers)), Item(next(numbers))]

    assert look(replace) == ([], [6, 7], 3)


def test_what_collections_during_a_run_make_old(numbers: Iterator[int]) -> None:
    """What is born in the last run is known, however often the collector came by since."""
    kept: list[Item] = []

    def keep() -> None:
        for _ in range(5):
            kept.append(Item(next(numbers)))
            gc.collect()

    assert look(keep, 2) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], 1)


def test_many_objects(numbers: Iterator[int]) -> None:
    """Collections that start by themselves are noticed too."""
    kept: list[Item] = []
    staying, youngest, earlier_runs = look(lambda: kept.extend([Item(next(numbers)) for _ in range(20_000)]), 3)

    assert (len(staying), len(youngest), earlier_runs) == (40_000, 20_000, 2)


def test_one_run(numbers: Iterator[int]) -> None:
    """Of a single run nothing can be told apart."""
    kept: list[Item] = []

    assert look(lambda: kept.append(Item(next(numbers))), 1) == ([0], [], None)


def test_a_last_run_that_was_not_noted(numbers: Iterator[int]) -> None:
    """Where nobody knew that it would be the last, all is said to stay."""
    kept: list[Item] = []

    assert look(lambda: kept.append(Item(next(numbers))), noted=False) == ([0, 1, 2, 3], [], None)


def test_a_run_that_failed(numbers: Iterator[int]) -> None:
    """What it made is known without a collection after it."""
    kept: list[Item] = []
    births = Births()
    gc.collect()
    gc.freeze()
    with births.followed():
        births.run_begins(may_be_last=False)
        kept.append(Item(next(numbers)))
        gc.collect()
        births.run_begins(may_be_last=True)
        kept.append(Item(next(numbers)))
    staying, youngest = births.told_apart(gc.get_objects())
    gc.unfreeze()

    assert (_numbers(staying), _numbers(youngest)) == ([0], [1])


def test_the_collector_is_left_as_it_was() -> None:
    """Nothing is called at collections any more, also where somebody has taken it away."""
    before = list(gc.callbacks)
    with Births().followed():
        assert len(gc.callbacks) == len(before) + 1
    with Births().followed():
        gc.callbacks[:] = before

    assert gc.callbacks == before
