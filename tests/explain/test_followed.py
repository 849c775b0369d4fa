"""Containers that grew before are found again and followed, without having been kept alive in between."""

from __future__ import annotations

import atexit
import gc
import weakref
from collections.abc import Iterator

import pytest

from pytest_memguard.explain.followed import Followed
from pytest_memguard.explain.holders import ContainerCheck, Seen
from pytest_memguard.explain.retention import survey

pytestmark = pytest.mark.usefixtures("older_heap_rests")


class Table(dict[str, object]):
    """A container that can tell when it is gone."""


class Row:
    """What is kept."""

    def __init__(self, number: int) -> None:
        self.number = number


_ROW = f"{__name__}.Row"
GROWS: list[object] = []
NUMBERS: dict[str, int] = {}
TABLES: dict[str, Table] = {}


@pytest.fixture
def check() -> Iterator[ContainerCheck]:
    """Return a check that has begun, with a container that grows anew in each way."""
    GROWS.clear()
    NUMBERS.clear()
    TABLES["one"] = Table()
    check = ContainerCheck(__name__)
    check.begin()
    yield check
    check.close()


def _seen(check: ContainerCheck, runs: int = 4) -> tuple[Seen, ...]:
    for run in range(runs):
        GROWS.append(object())
        NUMBERS[f"run {run}"] = run
        TABLES["one"][f"run {run}"] = object()
    check.finish(runs)
    assert check.seen is not None
    return check.seen


def test_what_grows_again_is_told_with_its_name_and_its_gain(check: ContainerCheck) -> None:
    """Only growth since begin counts, of a dictionary of numbers too, which the collector may not see."""
    followed = Followed(_seen(check))
    followed.begin()
    for run in range(7):
        GROWS.append(object())
        NUMBERS[f"later run {run}"] = run
    told = {one.name: (one.gained, one.length) for one in followed.grown(7)}
    followed.close()

    assert told == {f"{__name__}.GROWS": (7, 11), f"{__name__}.NUMBERS": (7, 11)}


def test_a_container_that_is_dropped_is_not_kept(check: ContainerCheck) -> None:
    """Between the check and what follows nothing holds what grew: dropped, it frees what it held."""
    gone = weakref.ref(TABLES["one"])
    seen = _seen(check)
    TABLES["one"] = Table()

    assert gone() is None
    followed = Followed(seen)
    followed.begin()
    TABLES["one"]["new"] = object()
    assert [one.name for one in followed.grown(1)] == []
    followed.close()


def test_nothing_is_held_after_close(check: ContainerCheck) -> None:
    """Closed, it lets go of the containers."""
    gone = weakref.ref(TABLES["one"])
    followed = Followed(_seen(check))
    followed.begin()
    TABLES["one"] = Table()
    assert gone() is not None
    followed.close()

    assert gone() is None


def test_another_object_at_the_same_place_is_not_taken_for_it() -> None:
    """What lies where a container lay, but is of another type, is not followed."""
    other = {"one": 1}
    followed = Followed([Seen(id(other), id(list), "shop.CART", None)])
    followed.begin()
    other["two"] = 2

    assert followed.grown(1) == []
    followed.close()


def test_callbacks_of_atexit_are_counted() -> None:
    """They stand in no container that could be seen."""
    followed = Followed(())
    followed.begin()
    callback = atexit.register(gc.get_count)
    grown = followed.grown(1)
    atexit.unregister(callback)

    assert [(one.name, one.gained) for one in grown] == [("atexit", 1)]


def test_what_is_followed_is_no_holder() -> None:
    """Of a container that only the interpreter holds, the way to it is told although it is followed."""
    ctypes = pytest.importorskip("ctypes")
    rows: list[object] = []
    address = id(rows)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(rows))
    check = ContainerCheck(__name__)
    check.begin()
    rows += map(_row, range(4))
    del rows
    check.finish(4)
    assert check.seen is not None
    followed = Followed(check.seen)
    check.close()
    gc.collect()
    gc.freeze()
    followed.begin()
    for number in range(7):
        ctypes.cast(address, ctypes.py_object).value.append(_row(number))
    found = survey(gc.get_objects(), followed.grown(7), runs=7, deadline_s=600.0)
    followed.close()
    gc.unfreeze()
    ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))

    assert "native" in {path.hops[0].kind for path in found.paths if path.hops[-1].type == _ROW}


def _row(number: int) -> Row:
    return Row(number)
