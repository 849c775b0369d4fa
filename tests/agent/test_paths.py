"""Who holds what stays, where what stays holds itself or is held by very many."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from ctypes import py_object, pythonapi
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import ReferenceType

import pytest

from pytest_memguard.agent.commands import commands
from pytest_memguard.explain import climb

HERE = f"module {__name__}: module"


class Link:
    """One of a chain; it may know the one before it and the one after it."""

    def __init__(self) -> None:
        self.before: Link | None = None
        self.after: Link | None = None


KEPT: list[object] = []
ELSEWHERE: list[object] = []
CURRENT: ContextVar[Link | None] = ContextVar("CURRENT", default=None)
WORKER = copy_context()


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what asks for a path to links; nothing is kept afterwards."""
    gc.collect()  # links of other tests
    known = commands(str(tmp_path))
    yield lambda **request: known["path"]({"type": f"{__name__}.Link", **request})
    KEPT.clear()
    WORKER.run(CURRENT.set, None)
    gc.collect()


def edges(found: dict[str, Any]) -> list[str]:
    """Return the hops of a path in words."""
    return [f"{hop['kind']} {hop['name']}: {hop['type'].rpartition('.')[2]}" for hop in found["hops"]]


def gained(found: dict[str, Any]) -> list[int]:
    """Return what each hop has gained."""
    return [hop["gained"] for hop in found["hops"]]


def chained(count: int, *, both_ways: bool = False) -> list[Link]:
    """Return links of which each knows the one that was made after it; the first of them holds them all."""
    made = [Link() for _ in range(count)]
    for one, other in pairwise(made):
        one.before = other
        other.after = one if both_ways else None
    return made


def test_entries_in_circles(ask: Callable[..., Any]) -> None:
    """Of entries that know each other both ways any may be the one that is held, however far away."""
    KEPT.append(deque(chained(400, both_ways=True)[100:102], maxlen=2))
    found = ask(newest=400)

    assert edges(found) == [HERE, "attribute .KEPT: list", "element [...]: deque", "element [...]: Link",
                            "attribute .before: Link"]  # fmt: skip
    assert gained(found) == [0, 0, 0, 0, 400]


def test_a_chain_in_a_context(ask: Callable[..., Any]) -> None:
    """The context, what it consists of inside, and the variable are one hop."""
    WORKER.run(CURRENT.set, chained(400)[0])
    found = ask(newest=400)

    assert edges(found) == [HERE, "attribute .WORKER: Context", "context contextvar CURRENT: Link",
                            "attribute .before: Link"]  # fmt: skip


@pytest.mark.parametrize(("came", "hops"), [(400, 4), (401, 0)])
def test_a_chain_holds_what_came(ask: Callable[..., Any], came: int, hops: int) -> None:
    """Fewer objects on the chain than came: it is not the chain that grows, and no path is better than a wrong one."""
    KEPT.append(chained(400)[0])

    assert len(ask(newest=came)["hops"]) == hops


def test_neighbours_in_a_list(ask: Callable[..., Any]) -> None:
    """Objects that hold others of their type in a list are linked too, and the list is no holder from outside."""
    tops = [Link() for _ in range(40)]
    for one, other in pairwise(tops):
        one.children = [other, Link()]  # type: ignore[attr-defined] # a link may have any
    KEPT.append(tops[0])
    del tops, one, other
    found = ask(newest=79)

    assert edges(found)[1:] == ["attribute .KEPT: list", "element [...]: Link", "attribute .children: list",
                                "element [...]: Link"]  # fmt: skip
    assert max(gained(found)) == 79


class Visit:
    """Refers to what it was made for, as each frame of a traceback does to its local variables."""

    def __init__(self, link: Link) -> None:
        self.link = link


def test_a_thousand_that_refer_alike(ask: Callable[..., Any]) -> None:
    """Of what refers to one object in the same way only some are followed, so the one that leads to a root is met."""
    link = Link()
    link.visits = [Visit(link) for _ in range(1000)]  # type: ignore[attr-defined] # a link may have any
    KEPT.append((link,))
    del link
    found = ask()

    assert edges(found) == [HERE, "attribute .KEPT: list", "element [...]: tuple", "element [...]: Link"]


def test_a_failed_search_is_short(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are not asked one by one what holds them from outside, as C code is no root here: each costs a walk."""
    asked: list[object] = []
    monkeypatch.setattr(climb, "_is_held_from_outside", lambda pool, at: asked.append(pool[at]))
    one = Link()
    one.before = one
    identity = id(one)
    pythonapi.Py_IncRef(py_object(one))
    del one
    found = ask()
    for link in [each for each in gc.get_objects() if id(each) == identity]:
        pythonapi.Py_DecRef(py_object(link))

    assert (found["hops"], found["count"], asked) == ([], 1, [])
    assert found["why"].startswith("no module")


class Register:
    """Remembers who listens, and lets them go."""

    def __init__(self) -> None:
        self.listeners: list[object] = []


def test_a_register_of_weak_references(tmp_path: Path) -> None:
    """A list of weak references keeps nothing, however much it gains; the one beside it that gained less does."""
    known = commands(str(tmp_path))
    target = Register()
    KEPT.extend([Register(), Register()])
    known["types"]({"remember": True, "limit": 1})
    KEPT[0].listeners += [ReferenceType(target, print) for _ in range(900)]  # type: ignore[attr-defined] # registers
    KEPT[1].listeners += [f"line {n}" for n in range(400)]  # type: ignore[attr-defined]
    found = known["path"]({"gained": 300})
    KEPT.clear()

    assert edges(found)[-2:] == ["attribute .listeners: list", "element [...]: str"]


def callback() -> Callable[[], None]:
    """Return a new function of this module."""
    return lambda: None


def test_the_module_of_a_function_is_no_way_down(tmp_path: Path) -> None:
    """What a container holds does not lead through a function to all that stands in its module."""
    known = commands(str(tmp_path))
    known["types"]({"remember": True, "limit": 1})
    KEPT.extend(callback() for _ in range(300))
    ELSEWHERE.append(Visit(Link()))
    found = known["path"]({"type": f"{__name__}.Visit", "gained": 200})
    KEPT.clear()
    ELSEWHERE.clear()

    assert edges(found) == [HERE, "attribute .ELSEWHERE: list", "element [...]: Visit"]
