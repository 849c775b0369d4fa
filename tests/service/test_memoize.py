"""The decorator of the caches: functions, methods and coroutine functions."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.caches import Caches

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Forget the calls of other tests."""
    CALLS.clear()


def test_function_is_called_once_for_the_same_arguments() -> None:
    """The second call of the same arguments, by position or by name, is answered by the cache."""
    caches = Caches()

    @caches.cached("squares")
    def square(number: int, *, plus: int = 0) -> int:
        CALLS.append(number)
        return number * number + plus

    assert [square(3), square(3), square(4), square(3, plus=1), square(3, plus=1)] == [9, 9, 16, 10, 10]
    assert CALLS == [3, 4, 3]
    assert (caches.get("squares").statistics().hits, square.cache is caches.get("squares")) == (2, True)


def test_none_is_a_result() -> None:
    """A function that returns nothing is not called again."""
    cached = Caches().cached("nothing")(lambda: CALLS.append(1))
    cached()
    cached()

    assert CALLS == [1]


def test_error_is_not_kept() -> None:
    """What raised is called again."""

    @Caches().cached("failing")
    def failing() -> None:
        CALLS.append(1)
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            failing()

    assert CALLS == [1, 1]


def test_settings_reach_the_cache() -> None:
    """The decorator takes what ``create`` takes."""
    caches = Caches()
    caches.cached("small", size=2, ttl_s=5)(lambda: None)

    assert (caches.get("small").size, caches.get("small").ttl_s) == (2, 5)


def test_key_of_the_user() -> None:
    """Arguments that cannot be hashed need a key."""

    @Caches().cached("lengths", key=len)
    def length(items: list[int]) -> int:
        CALLS.append(items)
        return len(items)

    assert (length([1, 2]), length([3, 4]), CALLS) == (2, 2, [[1, 2]])


def test_name_and_signature_stay() -> None:
    """Frameworks that look at a function see the one that was written."""

    @Caches().cached("documented")
    def documented(number: int) -> str:
        """Say a number."""
        return str(number)

    assert (documented.__name__, documented.__doc__) == ("documented", "Say a number.")
    assert list(inspect.signature(documented).parameters) == ["number"]


def test_name_is_given_once() -> None:
    """Two functions in one cache would answer for each other."""
    caches = Caches()
    caches.cached("a")(lambda: 1)

    with pytest.raises(ConfigError, match="there is a cache 'a' already"):
        caches.cached("a")(lambda: 2)


# -- Methods ---------------------------------------------------------------------------------------------------------

SHOP = Caches()


class Shop:
    """A class with every kind of method."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    @SHOP.cached("prices")
    def price(self, item: str) -> str:
        """Return the price."""
        CALLS.append((self.name, item))
        return f"{self.name}: {item}"

    @SHOP.cached("stock")
    async def stock(self, item: str) -> str:
        """Return what there is."""
        CALLS.append((self.name, item))
        return f"{self.name} has {item}"

    @staticmethod
    @SHOP.cached("static")
    def static(number: int) -> int:
        """Return its opposite."""
        CALLS.append(number)
        return -number

    @classmethod
    @SHOP.cached("class")
    def of_class(cls, number: int) -> str:
        """Name the class."""
        CALLS.append(number)
        return f"{cls.__name__} {number}"


class Branch(Shop):
    """A class that builds on one with a cached method."""

    def price(self, item: str) -> str:
        """Return the price here."""
        return f"branch of {super().price(item)}"


def test_instances_do_not_share_entries() -> None:
    """Two instances, equal and without a hash, have results of their own."""
    here, there = Shop("here"), Shop("there")

    assert [here.price("tea"), there.price("tea"), here.price("tea")] == ["here: tea", "there: tea", "here: tea"]
    assert CALLS == [("here", "tea"), ("there", "tea")]


@pytest.mark.parametrize(
    "call",
    [lambda shop: shop.price("tea"), lambda shop: Shop.price(shop, "tea"), lambda shop: asyncio.run(shop.stock(1))],
)
def test_instance_is_not_kept(call: Callable[[Any], object]) -> None:
    """An instance goes when its user lets go of it, and its entries go with it."""
    SHOP.clear_all()
    shop = Shop("gone")
    alive = weakref.ref(shop)
    call(shop)
    held = sum(len(SHOP.get(name)) for name in SHOP.names())
    del shop
    gc.collect()

    assert (alive(), held, sum(len(SHOP.get(name)) for name in SHOP.names())) == (None, 1, 0)


def test_many_short_lived_instances_do_not_fill_the_cache() -> None:
    """Entries of the dead are dropped by later calls, without anybody asking."""
    caches = Caches()

    class Request:
        @caches.cached("user", size=1000)
        def user(self) -> list[int]:
            return [1]

    stored: list[int] = []
    for _ in range(500):
        Request().user()
        stored.append(caches.get("user")._stored())

    assert max(stored) < 10


def test_failing_method_leaves_nothing() -> None:
    """Instances of which no call succeeded are forgotten too."""
    caches = Caches()

    class Request:
        @caches.cached("user")
        def user(self) -> None:
            raise LookupError

    for _ in range(50):
        with pytest.raises(LookupError):
            Request().user()
    gc.collect()

    assert len(caches.get("user")._ownerless) <= 2


def test_two_calls_of_one_instance_share() -> None:
    """However a method is reached, it is the same method."""
    shop = Shop("one")
    bound = shop.price

    assert (bound("tea"), Shop.price(shop, "tea"), shop.price(item="tea")) == ("one: tea",) * 3
    assert CALLS == [("one", "tea"), ("one", "tea")]  # by name is another key


def test_method_of_a_base_class() -> None:
    """A subclass reaches the cached method through super()."""
    branch = Branch("b")

    assert (branch.price("tea"), branch.price("tea")) == ("branch of b: tea",) * 2
    assert CALLS == [("b", "tea")]


def test_static_and_class_methods() -> None:
    """Neither has an instance, and both are cached."""
    SHOP.clear_all()

    assert [Shop.static(1), Shop("x").static(1), Shop.of_class(2), Shop.of_class(2)] == [-1, -1, "Shop 2", "Shop 2"]
    assert Branch.of_class(2) == "Branch 2"
    assert CALLS == [1, 2, 2]


def test_slots_without_weak_references() -> None:
    """An instance that cannot be referred to weakly is refused, with the remedy."""
    caches = Caches()

    class Tight:
        __slots__ = ()

        @caches.cached("tight")
        def call(self) -> None: ...

    with pytest.raises(TypeError, match="Tight cannot be referred to weakly; add '__weakref__' to its __slots__"):
        Tight().call()


def test_documentation_of_a_method_stays() -> None:
    """The method in the class looks as it was written."""
    assert (Shop.price.__doc__, Shop.price.__name__) == ("Return the price.", "price")
    assert Shop("x").price.__self__.name == "x"


# -- Coroutine functions ---------------------------------------------------------------------------------------------


def test_coroutine_function_is_awaited_once() -> None:
    """The result is kept, not the coroutine, which can be awaited only once."""

    @Caches().cached("pages")
    async def page(number: int) -> str:
        CALLS.append(number)
        await asyncio.sleep(0)
        return f"page {number}"

    async def main() -> list[str]:
        return [await page(1), await page(1), await page(2)]

    assert asyncio.run(main()) == ["page 1", "page 1", "page 2"]
    assert CALLS == [1, 2]


@pytest.mark.parametrize("function", [Shop.stock, Shop("x").stock], ids=["function", "method"])
def test_coroutine_function_is_seen_as_one(function: Callable[..., object]) -> None:
    """Frameworks decide by this whether to await."""
    assert inspect.iscoroutinefunction(function)


# -- What cannot be cached -------------------------------------------------------------------------------------------


def generator() -> Iterator[int]:
    """Yield something."""
    yield 1


async def async_generator() -> AsyncIterator[int]:
    """Yield something, later."""
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generator_functions_are_refused(function: Callable[..., object]) -> None:
    """A generator can be used only once, so keeping it would give empty answers."""
    caches = Caches()

    with pytest.raises(TypeError, match="is a generator function"):
        caches.cached("generated")(function)
    assert caches.names() == ()


@pytest.mark.parametrize("wrong", [staticmethod(len), classmethod(len), property(len), int, 7])
def test_only_functions_are_taken(wrong: object) -> None:
    """The order of decorators is told."""
    with pytest.raises(TypeError, match="is no plain function; put @staticmethod, @classmethod or @property above"):
        Caches().cached("wrong")(wrong)
