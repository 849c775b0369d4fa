"""Who holds what grows: a leak on demand is made, seen, and seen to have a limit or none."""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from pytest_memguard.core.ports import Gain
from pytest_memguard.core.values import BLOCKS, Holder
from pytest_memguard.engine import settle
from pytest_memguard.explain.holders import ContainerCheck

#: As many runs as the second half of a short climb has.
RUNS = 9
#: Entries that a leak of these tests gains per run: more than the meters of a test session gain meanwhile.
EACH = 100


def look(leak: Callable[[], object], *, home: str = "", freeze: bool = True) -> Holder:
    """Say who grew over some runs of *leak*, after some that nobody looked at, as in a climb."""
    leak()
    leak()
    return _look(leak, home=home, freeze=freeze)


def look_twice(leak: Callable[[], object], *, home: str = "", freeze: bool = True) -> Holder:
    """Say who grew in a second look: in the first one, coverage's records grow with each line of the check itself."""
    _look(leak, home=home, freeze=freeze)
    return _look(leak, home=home, freeze=freeze)


def _look(leak: Callable[[], object], *, home: str, freeze: bool) -> Holder:
    gc.collect()
    if freeze:
        gc.freeze()
    else:
        gc.unfreeze()
    check = ContainerCheck(home)
    try:
        check.begin()
        before = sys.getallocatedblocks()
        for _ in range(RUNS):
            leak()
        settle.collect()
        gained = sys.getallocatedblocks() - before
        return check.finish(RUNS, [Gain(BLOCKS, gained, sys.getallocatedblocks)] if gained > 0 else [])
    finally:
        check.close()
        gc.unfreeze()


class Entry:
    """Something that is kept."""


def entries() -> Iterator[tuple[int, Entry]]:
    """Make what one run keeps, under keys that are all different."""
    for _ in range(EACH):
        entry = Entry()
        yield id(entry), entry


# -- where leaks are kept --------------------------------------------------------------------------------------------

A_DICT: dict[int, Entry] = {}
A_LIST: list[Entry] = []
A_SET: set[Entry] = set()
A_DEQUE: deque[Entry] = deque()
NUMBERS: dict[int, int] = {}
NESTED: dict[str, list[Entry]] = {"inner": []}
DEEPLY: list[dict[str, list[Entry]]] = [{"inner": []}]
DEEPEST: list[list[list[list[Entry]]]] = [[[[]]]]
BUFFER: deque[Entry] = deque(maxlen=100_000)
#: Emptied by a function.
A_FEW: list[Entry] = []


class Shop:
    """Keeps things in its class and in each instance."""

    seen: ClassVar[list[Entry]] = []

    def __init__(self) -> None:
        self.cart: list[Entry] = []


class Cache:
    """A cache that knows its limit."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize, self.entries = maxsize, dict[int, Entry]()


class Slotted:
    """A cache without a dictionary of its own, which knows its limit."""

    __slots__ = ("entries", "maxsize", "never_set")

    def __init__(self, maxsize: int) -> None:
        self.maxsize, self.entries = maxsize, dict[int, Entry]()


class Registry(dict[int, Entry]):
    """A container that a user made from one that everybody has."""


SHOP, CACHE, SLOTTED, REGISTRY = Shop(), Cache(100_000), Slotted(100_000), Registry()


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for kept in (
        A_DICT,
        A_LIST,
        A_SET,
        A_DEQUE,
        NUMBERS,
        NESTED["inner"],
        DEEPLY[0]["inner"],
        DEEPEST[0][0][0],
        BUFFER,
    ):
        kept.clear()  # type: ignore[attr-defined]
    for kept in (Shop.seen, SHOP.cart, CACHE.entries, SLOTTED.entries, REGISTRY):
        kept.clear()  # type: ignore[attr-defined]
    price.cache_clear()
    quote.cache_clear()


@functools.lru_cache(maxsize=None)  # noqa: UP033 - spelled out because it is the leak
def price(key: int) -> list[int]:
    """Keep each price for ever."""
    return [key]


@functools.lru_cache(maxsize=100_000)
def quote(key: int) -> list[int]:
    """Keep some prices."""
    return [key]


NEVER_USED_TWICE = iter(range(10**9))


def use(cached: Callable[[int], object]) -> None:
    """Fill a cache with keys that are all new."""
    for _ in range(EACH):
        cached(next(NEVER_USED_TWICE))


# -- unbounded -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        pytest.param(lambda: A_DICT.update(entries()), "A_DICT", id="dict"),
        pytest.param(lambda: A_LIST.extend(entry for _, entry in entries()), "A_LIST", id="list"),
        pytest.param(lambda: A_SET.update(entry for _, entry in entries()), "A_SET", id="set"),
        pytest.param(lambda: A_DEQUE.extend(entry for _, entry in entries()), "A_DEQUE", id="deque"),
        pytest.param(lambda: REGISTRY.update(entries()), "REGISTRY", id="subclass"),
        pytest.param(lambda: Shop.seen.extend(entry for _, entry in entries()), "Shop.seen", id="class"),
        pytest.param(lambda: SHOP.cart.extend(entry for _, entry in entries()), "Shop.cart", id="instance"),
        pytest.param(lambda: NESTED["inner"].extend(entry for _, entry in entries()), "NESTED[...]", id="nested"),
        pytest.param(
            lambda: DEEPLY[0]["inner"].extend(entry for _, entry in entries()), "DEEPLY[...][...]", id="nested twice"
        ),
    ],
)
def test_a_container_without_a_limit(leak: Callable[[], object], name: str) -> None:
    """A container that grows is named by its module, class or instance and attribute, with its growth per run."""
    assert look(leak) == Holder("unbounded", f"{__name__}.{name}", None, EACH)


def test_a_dictionary_of_numbers() -> None:
    """A dictionary that holds numbers only is seen, although the collector may not know it."""
    found = look(lambda: NUMBERS.update((next(NEVER_USED_TWICE), 1) for _ in range(EACH)))

    assert found == Holder("unbounded", f"{__name__}.NUMBERS", None, EACH)


def test_a_dictionary_of_numbers_in_an_instance() -> None:
    """A dictionary of numbers is also seen in a class or an instance that a module names."""
    CACHE.entries = {}
    CACHE.maxsize = 0
    try:
        found = look(lambda: CACHE.entries.update((next(NEVER_USED_TWICE), 1) for _ in range(EACH)))  # type: ignore[misc]
    finally:
        CACHE.maxsize = 100_000

    assert found == Holder("unbounded", f"{__name__}.Cache.entries", None, EACH)


def test_the_one_that_grew_most_is_named() -> None:
    """Of several containers the one that gained most is named."""

    def leak() -> None:
        A_LIST.append(Entry())
        A_DICT.update(entries())

    assert look(leak).name == f"{__name__}.A_DICT"


@pytest.mark.parametrize(("runs", "grown"), [(range(0, RUNS, 5), True), (range(1), False)])
def test_how_seldom_a_container_may_grow(runs: range, grown: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A container that gains an entry on every fifth run is named; one entry in all of them is not growth."""
    made = iter(range(10**9))
    found = look_twice(lambda: A_LIST.append(Entry()) if next(made) % RUNS in runs else None)

    assert (found.name == f"{__name__}.A_LIST") is grown


def test_without_freezing() -> None:
    """A container is found although the older heap was not frozen."""
    found = look(lambda: A_DICT.update(entries()), freeze=False)

    assert found == Holder("unbounded", f"{__name__}.A_DICT", None, EACH)


def test_a_container_that_was_born_meanwhile_is_none_that_grew() -> None:
    """A new container has not grown, also where it lies at the address of another that is gone."""

    def leak() -> None:
        for _ in range(3):
            A_LIST[:] = [Entry(), *A_LIST[:0]]
        A_DICT[0] = Entry()
        NESTED["inner"] = [entry for _, entry in entries()]

    assert look_twice(leak).kind != "unbounded"


# -- bounded ---------------------------------------------------------------------------------------------------------


def test_a_container_that_a_cache_keeps() -> None:
    """A container that grows inside of a function's cache is named by that function, and bounded as it is."""
    kept = quote(-1)
    line = quote.__wrapped__.__code__.co_firstlineno
    found = look(lambda: quote(-1).extend(range(EACH)))
    kept.clear()

    assert found == Holder("bounded", f"{__name__}.quote (test_holders.py:{line})", 100_000, EACH)


def test_an_unbounded_lru_cache() -> None:
    """A function's cache without a limit is named by the function, its file and line."""
    line = price.__wrapped__.__code__.co_firstlineno

    assert look(lambda: use(price)) == Holder("unbounded", f"{__name__}.price (test_holders.py:{line})", None, EACH)


def test_a_bounded_lru_cache() -> None:
    """A function's cache with a limit is bounded, and is cleared to see that it explains what grew."""
    line = quote.__wrapped__.__code__.co_firstlineno
    found = look(lambda: use(quote))

    assert found == Holder("bounded", f"{__name__}.quote (test_holders.py:{line})", 100_000, EACH)
    assert quote.cache_info().currsize == 0


def test_a_bounded_cache_beside_a_leak() -> None:
    """A function's cache that fills does not excuse a leak that is larger."""

    def leak() -> None:
        quote(next(NEVER_USED_TWICE))
        A_DICT.update(entries())

    assert look(leak) == Holder("unbounded", f"{__name__}.A_DICT", None, EACH)


def test_a_bounded_cache_whose_entries_somebody_else_keeps() -> None:
    """A cache with a limit is no reason where emptying it does not free what it held."""
    kept: list[object] = []

    def leak() -> None:
        key = next(NEVER_USED_TWICE)
        kept[:] = [*kept, quote(key), quote(key + 10**10), [key], [key], [key]]

    assert look_twice(leak).kind in ("unbounded", "hidden")


def test_a_bounded_deque() -> None:
    """A deque with a maximal length is bounded by that."""
    found = look(lambda: BUFFER.extend(entry for _, entry in entries()))

    assert found == Holder("bounded", f"{__name__}.BUFFER", 100_000, EACH)


def keep_a_few(entry: Entry) -> None:
    """Keep the latest entries."""
    A_FEW.append(entry)
    if len(A_FEW) >= 90_000:
        A_FEW.clear()


def test_a_limit_that_stands_in_the_code() -> None:
    """A list that a function empties above a number is bounded by that."""

    def fill() -> None:
        for _, entry in entries():
            keep_a_few(entry)

    assert look(fill) == Holder("bounded", f"{__name__}.A_FEW", 90_000, EACH)


def test_an_instance_that_knows_its_limit() -> None:
    """A container beside an attribute that is named like a limit, and is one, is bounded by that."""
    found = look(lambda: CACHE.entries.update(entries()))

    assert found == Holder("bounded", f"{__name__}.Cache.entries", 100_000, EACH)


def test_an_instance_with_slots() -> None:
    """A container in a slot is named, and bounded by the limit in another slot."""
    found = look(lambda: SLOTTED.entries.update(entries()))

    assert found == Holder("bounded", f"{__name__}.Slotted.entries", 100_000, EACH)


@pytest.mark.parametrize(("spare", "limited"), [(1, True), (0, False), (-5, False), (2**25, False)])
def test_how_large_a_limit_may_be(spare: int, limited: bool) -> None:  # noqa: FBT001 - see above
    """A number that the container has reached, or that no memory would hold, is not its limit."""

    def leak() -> None:
        CACHE.entries.update(entries())
        CACHE.maxsize = len(CACHE.entries) + spare

    try:
        found = look(leak)
    finally:
        CACHE.maxsize = 100_000

    assert found.kind == ("bounded" if limited else "unbounded")


def module_of(monkeypatch: pytest.MonkeyPatch, text: str) -> Any:  # noqa: ANN401 - whatever the text makes
    """Return a module made from *text*."""
    module = type(sys)("memguard_made_up")
    exec(text, vars(module))  # noqa: S102 - the text is ours
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize(
    ("constant", "limit"),
    [
        ("MAX_ENTRIES = 50_000", 50_000),
        ("CACHE_LIMIT = 70_000", 70_000),
        ("MAX_ENTRIES = 70_000; LIMIT = 50_000", 70_000),
        ("UNRELATED = 50_000", None),
        ("MAX_ENTRIES = 5", None),
        ("MAX_ENTRIES = True", None),
    ],
)
def test_a_constant_of_the_module(monkeypatch: pytest.MonkeyPatch, constant: str, limit: int | None) -> None:
    """A constant that one function uses together with the container is its limit, if it is named like one."""
    name = constant.partition(" ")[0]
    module = module_of(
        monkeypatch,
        f"{constant}\nSEEN = {{}}\n\ndef note(entries):\n    if len(SEEN) < {name}:\n        SEEN.update(entries)\n",
    )
    found = look(lambda: module.SEEN.update(entries()))

    assert found == Holder("bounded" if limit else "unbounded", "memguard_made_up.SEEN", limit, EACH)


def test_a_constant_that_nobody_uses_with_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant that only another function uses is not the container's limit."""
    module = module_of(
        monkeypatch,
        "MAX_TRIES = 50_000\nSEEN = {}\n\ndef note(key):\n    SEEN[key] = key\n\ndef retry():\n    return MAX_TRIES\n",
    )

    assert look(lambda: module.SEEN.update(entries())).kind == "unbounded"


# -- nothing to be named ---------------------------------------------------------------------------------------------


def test_native() -> None:
    """Where no object stays, what grows is out of the collector's sight."""
    assert look_twice(lambda: None) == Holder("native")


def test_native_without_freezing() -> None:
    """The same is said where the heap was not frozen."""
    assert look_twice(lambda: None, freeze=False) == Holder("native")


def test_hidden_in_a_chain() -> None:
    """Objects that hang on each other, with no container that grows, are hidden."""
    last: list[object] = [None]

    def leak() -> None:
        last[0] = [last[0], Entry()]

    assert look_twice(leak) == Holder("hidden")


def test_a_container_too_deep_inside_of_others() -> None:
    """A container within many others is not searched for, and has no name."""
    assert look(lambda: DEEPEST[0][0][0].extend(entry for _, entry in entries())) == Holder("hidden")


def test_a_container_of_a_closure() -> None:
    """A container that only a closure refers to is seen to grow without a limit."""
    kept: list[Entry] = []
    found = look(lambda: kept.extend(entry for _, entry in entries()))

    assert (found.kind, found.limit, found.grew) == ("unbounded", None, EACH)


# -- a chain that the test makes -------------------------------------------------------------------------------------

WRAPPING = """
def price():
    return 1

class Shop:
    def sell(self):
        return 1

def patch():
    global price
    former = price
    price = lambda: former()

def patch_class():
    former = Shop.sell
    def sell(self):
        return former(self)
    Shop.sell = sell
"""


@pytest.mark.parametrize(
    ("patch", "name"), [("patch", "memguard_made_up.price"), ("patch_class", "memguard_made_up.Shop.sell")]
)
def test_an_attribute_that_is_rebound(monkeypatch: pytest.MonkeyPatch, patch: str, name: str) -> None:
    """An attribute of the test's own module that wraps its former value on each run is named."""
    module = module_of(monkeypatch, WRAPPING)

    assert look_twice(getattr(module, patch), home="memguard_made_up") == Holder("rebound", name, None, 1.0)


def test_an_attribute_of_another_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same chain in another module is what is tested, and not excused."""
    module = module_of(monkeypatch, WRAPPING)

    assert look_twice(module.patch, home=__name__).kind == "hidden"


def test_an_attribute_that_is_bound_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attribute that is bound anew without its former value is no chain."""
    module = module_of(monkeypatch, WRAPPING)
    last: list[object] = [None]

    def leak() -> None:
        module.price = lambda: None
        last[0] = [last[0], Entry()]

    assert look_twice(leak, home="memguard_made_up").kind == "hidden"


# -- objects that are hard to look at --------------------------------------------------------------------------------


def refuse(*_: object) -> Any:  # noqa: ANN401 - never returns
    """Raise what nobody catches by chance."""
    raise RuntimeError("do not look at me")


HOSTILE: dict[str, dict[str, object]] = {
    "__len__": {"__len__": refuse, "__bool__": refuse},
    "__class__": {"__class__": property(refuse)},
    "__eq__": {"__eq__": refuse, "__hash__": object.__hash__},
    "__hash__": {"__hash__": refuse},
    "__getattribute__": {"__getattribute__": refuse},
    "__getattr__": {"__getattr__": refuse},
    "__iter__": {"__iter__": refuse, "items": refuse, "values": refuse, "keys": refuse},
}


@pytest.mark.parametrize("base", [object, dict], ids=lambda base: base.__name__)
@pytest.mark.parametrize("way", HOSTILE)
def test_objects_that_refuse(monkeypatch: pytest.MonkeyPatch, way: str, base: type) -> None:
    """Objects that raise whenever they are looked at do not hide what another container holds."""
    hostile = type("Hostile", (base,), dict(HOSTILE[way]))
    module = module_of(monkeypatch, "SEEN = {}\nMAX_SEEN = 50_000\n\ndef note():\n    return SEEN, MAX_SEEN\n")
    module.met = hostile()
    module.kind = hostile

    def leak() -> None:
        module.SEEN.update(entries())
        module.another = hostile()

    assert look(leak, home="memguard_made_up") == Holder("bounded", "memguard_made_up.SEEN", 50_000, EACH)


@pytest.mark.parametrize("way", HOSTILE)
def test_an_owner_that_refuses(way: str) -> None:
    """An owner that raises whenever it is looked at is named all the same."""
    hostile = type("Hostile", (), {**HOSTILE[way], "__module__": __name__})
    owner = hostile()
    object.__setattr__(owner, "kept", [])
    found = look(lambda: object.__getattribute__(owner, "kept").extend(entry for _, entry in entries()))

    assert found == Holder("unbounded", f"{__name__}.Hostile.kept", None, EACH)


@pytest.mark.parametrize("way", HOSTILE)
@pytest.mark.parametrize("base", [dict, deque], ids=lambda base: base.__name__)
def test_a_container_that_refuses(monkeypatch: pytest.MonkeyPatch, way: str, base: type) -> None:
    """A container that raises whenever it is looked at is measured and named all the same."""
    hostile = type("Hostile", (base,), dict(HOSTILE[way]))
    module = module_of(monkeypatch, "")
    module.SEEN = hostile()
    add = {
        dict: lambda one: dict.__setitem__(module.SEEN, id(one), one),
        list: lambda one: list.append(module.SEEN, one),
    }
    add |= {set: lambda one: set.add(module.SEEN, one), deque: lambda one: deque.append(module.SEEN, one)}

    def leak() -> None:
        for _, entry in entries():
            add[base](entry)

    assert look(leak) == Holder("unbounded", "memguard_made_up.SEEN", None, EACH)


def test_a_rebound_chain_beside_objects_that_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain is looked for in a module whose other attributes raise whenever they are looked at."""
    module = module_of(monkeypatch, WRAPPING)
    for way, body in HOSTILE.items():
        setattr(module, f"a{way}", type("Hostile", (), dict(body))())

    assert look_twice(module.patch, home="memguard_made_up").kind == "rebound"


def test_a_class_that_is_only_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that has no order of bases yet is no obstacle."""
    seen: list[Holder] = []

    class Meta(type):
        def mro(cls) -> list[type]:
            seen.append(_look(lambda: None, home="", freeze=True))
            return super().mro()

    Meta("Half", (), {})

    assert len(seen) == 1


# -- what the check itself leaves ------------------------------------------------------------------------------------


def test_what_goes_while_it_looks_is_gone() -> None:
    """An object that was there at the first count and is dropped afterwards is freed at once, without a collection."""
    entry = Entry()
    gone = weakref.ref(entry)
    gc.collect()
    gc.freeze()
    check = ContainerCheck()
    try:
        check.begin()
        del entry
        seen = gone() is None
    finally:
        check.close()
        gc.unfreeze()

    assert seen


def test_a_class_is_not_kept_alive() -> None:
    """A class that the subject made is gone after the look."""

    def make() -> weakref.ref[type]:
        made = type("Made", (dict,), {"kept": []})
        return weakref.ref(made)

    made: list[weakref.ref[type]] = []
    _look(lambda: made.append(make()), home="", freeze=True)
    gc.collect()

    assert [one() for one in made] == [None] * RUNS


def test_the_collector_is_left_as_it_was() -> None:
    """A look leaves the collector on or off, and the heap frozen or not, as it was."""
    states = []
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            _look(lambda: None, home="", freeze=True)
            states.append(gc.isenabled())
        finally:
            gc.enable()

    assert states == [True, False]


def test_more_containers_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers beyond the room are left out; those before are looked at as always."""
    monkeypatch.setattr("pytest_memguard.explain.holders._CAPACITY", 64)

    assert _look(lambda: A_DICT.update(entries()), home="", freeze=True).kind in ("hidden", "unbounded")
