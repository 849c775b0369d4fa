"""The estimate of the memory that a value holds."""

from __future__ import annotations

import sys
import tracemalloc
from collections import deque
from collections.abc import Callable

import pytest

from pytest_memguard.service.sizes import held_size


class Plain:
    """An instance with attributes."""

    def __init__(self) -> None:
        self.rows = [bytes(500) for _ in range(20)]


class Slotted:
    """An instance with slots."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = [bytes(500) for _ in range(20)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytes(5000),
        lambda: [bytes(100) for _ in range(100)],
        lambda: {f"key {number}": float(number) for number in range(500)},
        lambda: {f"key {number}": float(number) for number in range(50_000)},
        lambda: [float(number) for number in range(50_000)],
        lambda: deque(float(number) for number in range(5000)),
        lambda: {float(number) for number in range(5000)},
        Plain,
        Slotted,
    ],
    ids=["bytes", "list", "dict", "large dict", "large list", "large deque", "large set", "instance", "slots"],
)
def test_estimate_is_near_what_was_allocated(make: Callable[[], object]) -> None:
    """Within a fifth of what tracemalloc saw."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        value = make()
        allocated = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert held_size(value).bytes == pytest.approx(allocated, rel=0.2)


def test_object_counts_once() -> None:
    """What is there twice counts once, and a circle ends."""
    shared = bytes(10_000)
    circle: list[object] = [shared, shared]
    circle.append(circle)

    assert held_size(circle).bytes < 11_000


def test_program_does_not_count() -> None:
    """A value that refers to a module, a class or a function does not hold the program."""
    assert held_size([sys, Plain, test_program_does_not_count]).objects == 4


@pytest.mark.parametrize(("most", "whole"), [(10, False), (11, True)])
def test_work_is_bounded(most: int, whole: bool) -> None:  # noqa: FBT001 - of a table
    """The estimate ends after so many objects, and says that there was more."""
    size = held_size([float(number) for number in range(10)], most=most)

    assert (size.objects, size.whole) == (most, whole)


def test_code_of_the_value_is_not_run() -> None:
    """An object that loads itself when looked at is not woken, and a failing size is no failure."""

    class Lazy:
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(name)

        def __sizeof__(self) -> int:
            raise ValueError

    assert held_size(Lazy()).bytes > 0
