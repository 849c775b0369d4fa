"""What only the collector frees: cycles are made on demand, counted, and shown."""

from __future__ import annotations

import gc
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from pytest_memguard.explain import cycles as module
from pytest_memguard.explain.cycles import CycleReport, cycles


class Node:
    """One of a tree, whose children know it."""

    def __init__(self, parent: Node | None = None) -> None:
        self.parent = parent
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)


class Slotted:
    """A pair in two slots."""

    __slots__ = ("other",)

    other: Slotted


class Phoenix:
    """Comes back when it is finalized, once."""

    saved: list[Phoenix] = []  # noqa: RUF012 - one list for all is the point

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        Phoenix.saved.append(self)


class Hostile:
    """Does not want to be looked at."""

    def __init__(self) -> None:
        object.__setattr__(self, "me", self)

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(name)

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError

    __repr__ = __eq__ = __hash__ = __len__ = __sizeof__ = __bool__ = _refuse  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.isenabled(), gc.get_debug(), len(gc.garbage)
    yield
    Phoenix.saved.clear()
    assert (gc.isenabled(), gc.get_debug(), len(gc.garbage)) == before


def look(run: Callable[[], object]) -> CycleReport:
    """Report the cycles of a run, the older heap frozen, as it is used."""
    gc.collect()
    gc.freeze()
    try:
        return cycles(run, home_file=__file__)
    finally:
        gc.unfreeze()


def tree() -> None:
    """Leave three nodes that know each other."""
    root = Node()
    Node(root)
    Node(root)


def pair() -> None:
    """Leave two objects without dictionaries."""
    one, other = Slotted(), Slotted()
    one.other, other.other = other, one


def closure() -> None:
    """Leave a function that calls itself."""

    def again(n: int) -> int:
        return again(n - 1) if n else 0

    again(2)


def itself() -> None:
    """Leave a list in itself."""
    inner: list[object] = []
    inner.append(inner)


def error() -> None:
    """Leave an exception that its own frame holds."""
    try:
        int("x")
    except ValueError as raised:
        kept = raised  # noqa: F841 - it is the cycle


def method() -> None:
    """Leave an object that holds a method of its own."""
    node = Node()
    node.parent = node.__init__  # type: ignore[assignment,misc]


def made_class() -> None:
    """Leave a class: each is a cycle."""
    type("Made", (), {})


def without_name(text: str) -> str:
    """Return a text without the name of this file's package."""
    return text.replace("tests.explain.", "").replace("test_cycles.", "")


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (tree, "Node.children -> list[...] -> Node.parent -> Node"),
        (pair, "Slotted.other (2 times) -> Slotted"),
        (closure, "function closure.<locals>.again.again -> function"),
        (itself, "list[...] -> list"),
        (made_class, "Made -> tuple[...] -> Made"),
        (method, "Node.parent -> method.__self__ -> Node"),
    ],
)
def test_one_cycle_is_shown(run: Callable[[], None], text: str) -> None:
    """A cycle is shown by its types and the names that lead from one to the next."""
    found = look(run)

    assert without_name(found.text) == text


def test_an_exception_and_its_frame() -> None:
    """The commonest cycle of all goes through the traceback."""
    found = look(error)

    assert "traceback.tb_frame" in found.text.lower()
    assert "ValueError" in found.text


def test_objects_are_counted() -> None:
    """All that only the collector frees is counted, by type and with its size."""
    found = look(pair)
    [kind] = found.types

    assert found.objects == 2
    assert (without_name(kind.type), kind.count_per_run) == ("Slotted", 2)
    assert kind.bytes_per_run == 2 * object.__sizeof__(Slotted())


def test_the_users_types_come_first() -> None:
    """What is in every cycle stands behind what the user made."""
    found = look(tree)

    assert [without_name(kind.type) for kind in found.types][:1] == ["Node"]
    assert [kind.count_per_run for kind in found.types if kind.type == "list"] == [3]


def test_a_run_without_cycles() -> None:
    """Nothing is made up."""
    assert look(lambda: [Node() for _ in range(10)]) == CycleReport()


def test_a_users_own_cycle_is_preferred() -> None:
    """Of a cycle of the standard library and one of the user's, the latter is shown."""

    def run() -> None:
        other = types.SimpleNamespace()
        other.me = other
        tree()

    assert "Node" in look(run).text


def test_modules_are_walked_through_their_dictionaries() -> None:
    """A module that a run makes and drops is a cycle as well."""

    def run() -> None:
        made = types.ModuleType("made")
        made.me = made  # type: ignore[attr-defined]

    assert look(run).text == "module.me -> module"


def test_objects_are_let_go() -> None:
    """What was looked at is freed, and its weak references are dead."""
    seen: list[weakref.ref[Node]] = []

    def run() -> None:
        node = Node()
        node.parent = node
        seen.append(weakref.ref(node))

    look(run)

    assert seen[0]() is None
    assert not [one for one in gc.get_objects() if type(one) is Node]


def test_finalizers_run_once() -> None:
    """An object that its finalizer saves is no garbage, and is not finalized again."""
    found = look(Phoenix)
    saved = len(Phoenix.saved)

    assert saved == 1
    assert found.objects == 0


def test_hostile_objects() -> None:
    """No method of the user's is called."""
    found = look(Hostile)

    assert without_name(found.text).startswith("Hostile.me -> Hostile")


def test_a_run_that_raises() -> None:
    """The collector is as it was when a run fails."""

    def run() -> None:
        tree()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look(run)

    assert not [one for one in gc.get_objects() if type(one) is Node]


@pytest.mark.parametrize("is_on", [False, True])
def test_the_collector_stays_off_or_on(is_on: bool) -> None:  # noqa: FBT001 - what it is about
    """Who has switched the collector off finds it off."""
    was_on = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    look(tree)
    left = gc.isenabled()
    (gc.enable if was_on else gc.disable)()

    assert left is is_on


def test_garbage_of_the_users_own_stays() -> None:
    """What stood in gc.garbage before is still there, and so are the flags."""
    gc.garbage.append("the user's")
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)
    look(tree)
    left, flags = list(gc.garbage), gc.get_debug()
    gc.set_debug(0)
    gc.garbage.clear()

    assert left == ["the user's"]
    assert flags == gc.DEBUG_UNCOLLECTABLE


def test_knots() -> None:
    """Sets that reach each other are found, single ones only with an edge to themselves."""
    edges = [[1], [2], [0, 3], [4], [3], [5], [], [6, 0]]

    assert sorted(map(sorted, module._knots(edges))) == [[0, 1, 2], [3, 4], [5]]


def test_long_chains_and_wide_containers() -> None:
    """Neither depth nor width costs more than time in step with the number of objects."""

    def run() -> None:
        first = last = Node()
        for _ in range(50_000):
            last = Node(last)
        first.parent = last
        wide: list[object] = [[] for _ in range(50_000)]
        wide.append(wide)

    began = time.process_time()
    found = look(run)
    spent = time.process_time() - began

    assert found.objects > 100_000
    assert found.text
    assert len(found.text) < 1_000
    assert spent < 5.0


def test_nothing_is_kept() -> None:
    """A report is text and numbers."""
    look(tree)
    gc.collect()
    before = sys.getallocatedblocks()
    look(tree)
    gc.collect()

    assert sys.getallocatedblocks() - before < 100
