"""Objects that answer any question with code of their own: none of it may run while leaks are explained."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
import types
from array import array
from collections import OrderedDict, defaultdict, deque
from typing import Any

import pytest

from pytest_memguard.explain import growth, retention
from pytest_memguard.explain.holders import ContainerCheck

RUNS = 7
CALLS: list[str] = []


def look(leak: Any, *, home: str = "", deadline_s: float = 600.0) -> retention.Survey:  # noqa: ANN401
    """Explain what some runs of *leak* leave, as the extra pass does."""
    leak()
    leak()
    gc.collect()
    gc.freeze()
    check = ContainerCheck(home)
    try:
        check.begin()
        for _ in range(RUNS):
            leak()
        gc.collect()
        CALLS.clear()
        newborn = gc.get_objects()
        grown = growth.containers_that_grew(check, RUNS)
        return retention.survey(newborn, grown, runs=RUNS, home=home, deadline_s=deadline_s)
    finally:
        check.close()
        gc.unfreeze()


def module_of(monkeypatch: pytest.MonkeyPatch, **names: object) -> Any:  # noqa: ANN401
    """Return a module of that content."""
    module = types.ModuleType("made_up")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, "made_up", module)
    return module


def noisy(name: str) -> Any:  # noqa: ANN401
    """Return a method that notes that it ran, and raises what nobody catches by chance."""

    def method(*_: object, **__: object) -> Any:  # noqa: ANN401
        CALLS.append(name)
        raise RuntimeError(name)

    return method


#: All that Python calls on its own, but what is needed to make and to free an object.
DUNDERS = sorted(
    {
        "__abs__", "__add__", "__aenter__", "__aiter__", "__anext__", "__await__", "__bool__", "__bytes__", "__call__",
        "__complex__", "__contains__", "__copy__", "__deepcopy__", "__delattr__", "__delitem__", "__dir__", "__enter__",
        "__eq__", "__exit__", "__float__", "__format__", "__fspath__", "__ge__", "__getattr__", "__getattribute__",
        "__getitem__", "__getstate__", "__gt__", "__hash__", "__index__", "__instancecheck__", "__int__", "__invert__",
        "__iter__", "__le__", "__len__", "__length_hint__", "__lt__", "__mul__", "__ne__", "__neg__", "__next__",
        "__pos__", "__reduce__", "__reduce_ex__", "__repr__", "__reversed__", "__round__", "__setattr__", "__setitem__",
        "__sizeof__", "__str__", "__sub__", "__subclasscheck__", "items", "keys", "values", "get", "cache_info",
    }
)  # fmt: skip


def all_noisy() -> dict[str, object]:
    """Return the body of a class of which nothing can be asked."""
    body: dict[str, object] = {name: noisy(name) for name in DUNDERS}
    body |= {name: property(noisy(name)) for name in ("__class__", "__dict__", "__doc__", "__module__")}
    return body


class Meta(type):
    """A class of classes that can be asked nothing either."""


#: In a dictionary, since pytest asks what it finds in a module.
HOSTILE: dict[str, Any] = {
    "object": Meta("Hostile", (), all_noisy()),
    "dict": Meta("HostileDict", (dict,), all_noisy()),
    "list": Meta("HostileList", (list,), all_noisy()),
}
for _name in ("__repr__", "__eq__", "__hash__", "__getattribute__", "__instancecheck__", "__subclasscheck__"):
    setattr(Meta, _name, noisy(f"Meta.{_name}"))


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("where", ["list", "dict", "key", "attribute", "nested"])
def test_no_code_of_survivors_runs(monkeypatch: pytest.MonkeyPatch, kind: str, where: str) -> None:
    """No method of a survivor runs, and the container that holds it is named all the same."""
    module = module_of(monkeypatch, KEPT=[], BY_NAME={}, count=0)

    def leak() -> None:
        one = type.__call__(HOSTILE[kind])
        module.count += 1
        if where == "list":
            module.KEPT.append(one)
        elif where == "dict":
            module.BY_NAME[module.count] = one
        elif where == "key":
            module.BY_NAME[module.count,] = (one, one)
        elif where == "attribute":
            module.KEPT.append(types.SimpleNamespace(one=one))
        else:
            module.KEPT.append([{"one": one}, one])

    found = look(leak)

    assert CALLS == []
    assert found.paths[0].hops[1].name == (".KEPT" if module.KEPT else ".BY_NAME")
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_no_code_of_a_holder_runs(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """No method of a container that grows runs."""
    kept = type.__call__(HOSTILE[kind])
    module_of(monkeypatch, KEPT=kept)

    def leak() -> None:
        if kind == "dict":
            dict.__setitem__(kept, dict.__len__(kept), [1])
        else:
            list.append(kept, [1])

    found = look(leak)

    assert CALLS == []
    assert found.paths[0].hops[1].name == ".KEPT"
    assert found.paths[0].hops[1].grows_per_run == 1


def test_no_code_of_an_owner_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No method of an object runs of which an attribute grows."""
    kept: list[object] = []
    owner = type.__call__(HOSTILE["object"])
    module = module_of(monkeypatch, OWNER=owner)
    object.__setattr__(owner, "kept", kept)
    found = look(lambda: kept.append([]))

    assert CALLS == []
    assert module.OWNER is owner
    assert found.paths


def test_a_proxy_is_not_taken_for_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that answers for another object is named as a proxy, and that is not asked."""

    class Proxy:
        def __init__(self, target: object) -> None:
            object.__setattr__(self, "target", target)

        def __getattribute__(self, name: str) -> object:
            CALLS.append(name)
            return getattr(object.__getattribute__(self, "target"), name)

    module = module_of(monkeypatch, KEPT=[])
    found = look(lambda: module.KEPT.append(Proxy([])))

    assert CALLS == []
    assert [growth.type.rpartition(".")[2] for growth in found.types] == ["Proxy", "list"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: list(range(3_000_000)),
        lambda: dict.fromkeys(range(3_000_000)),
        lambda: set(range(3_000_000)),
        lambda: deque(range(3_000_000)),
    ],
    ids=["list", "dict", "set", "deque"],
)
def test_a_very_large_container(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:  # noqa: ANN401
    """A container with millions of entries that grows is named at once."""
    module = module_of(monkeypatch, LARGE=make())
    add = {
        list: "append",
        dict: "setdefault",
        set: "add",
        deque: "append",
    }[type(module.LARGE)]
    began_s = time.process_time()
    found = look(lambda: getattr(module.LARGE, add)((object(), lambda: None)))
    took_s = time.process_time() - began_s
    module.LARGE = None
    gc.collect()  # millions of entries, which later tests would walk over

    assert found.paths[0].hops[1].name == ".LARGE"
    assert took_s < 10


@pytest.mark.skipif(not hasattr(ctypes, "pythonapi"), reason="needs CPython's own functions")
def test_a_list_that_c_code_has_not_filled_yet() -> None:
    """A list with room and no items, which extensions make and sometimes leak: reading an item ends the process."""
    make, hold, release = ctypes.pythonapi.PyList_New, ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_ssize_t]
    hold.argtypes = release.argtypes = [ctypes.py_object]
    addresses = array("Q", [0] * (RUNS + 2))
    made = iter(range(len(addresses)))

    def leak() -> None:
        half = make(3)
        hold(half)
        addresses[next(made)] = id(half)

    try:
        assert [one.count_per_run for one in look(leak).types if one.type == "list"] == [1.0]
    finally:
        for address in addresses:
            release(ctypes.cast(address, ctypes.py_object).value)


def test_a_very_deep_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists in lists, deeper than any recursion may go, are walked without it."""
    module = module_of(monkeypatch, KEPT=[])

    def leak() -> None:
        inner: list[Any] = []
        for _ in range(20_000):
            inner = [inner]
        module.KEPT.append(inner)

    found = look(leak)
    for one in module.KEPT:
        while one:
            one = one.pop()  # noqa: PLW2901 - taken apart from the outside, or freeing it recurses

    assert found.paths[0].hops[1].name == ".KEPT"


def test_classes_that_refer_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes made at each run, which refer to each other and to themselves, are named."""
    module = module_of(monkeypatch, KEPT=[])

    def leak() -> None:
        one, other = type("One", (), {}), type("Other", (), {})
        one.other, other.one, one.me = other, one, one  # type: ignore[attr-defined]
        module.KEPT.append(one())

    found = look(leak)

    assert found.paths[0].hops[1].name == ".KEPT"
    assert found.paths[0].hops[2].type.endswith("One")


def test_a_container_that_changes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers of every built-in kind may hold each other, and be their own entries."""
    one: Any = OrderedDict()
    other: Any = defaultdict(list)
    one["me"], one["other"], other["one"] = one, other, one
    module = module_of(monkeypatch, ONE=one)
    found = look(lambda: module.ONE["other"]["kept"].append(one.copy()))

    assert [hop.name for hop in found.paths[0].hops[1:4]] == [".ONE", "['other']", "['kept']"]


def test_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time is over, a note says so, and what was found is told."""
    module = module_of(monkeypatch, KEPT=[])
    found = look(lambda: module.KEPT.append([]), deadline_s=0.0)

    assert any(note.startswith("stopped after 0 s") for note in found.notes)
