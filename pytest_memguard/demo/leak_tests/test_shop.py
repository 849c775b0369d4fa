"""Tests of a small shop, as somebody would write them who is not looking for leaks: two leak, and one is repaired."""  # noqa: INP001 - a project of its own, run from a folder of its own

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = itertools.count(1000)
PAGES: dict[str, bytes] = {}
PRICE_LISTENERS: list[Callable[[int], None]] = []
SESSIONS: OrderedDict[int, list[str]] = OrderedDict()
MOST_SESSIONS = 4


def page(address: str) -> bytes:
    """Return a page, from a cache that knows neither size nor age."""
    if address not in PAGES:
        PAGES[address] = address.encode() * 64
    return PAGES[address]


class Cart:
    """Follows the price, and never stops."""

    def __init__(self) -> None:
        self.cents = 0
        self.receipt = bytes(2048)
        PRICE_LISTENERS.append(self.new_price)

    def new_price(self, cents: int) -> None:
        """Note a new price."""
        self.cents = cents


def begin_session(number: int) -> None:
    """Begin a session, and end those that are too many."""
    SESSIONS[number] = ["tea"]
    while len(SESSIONS) > MOST_SESSIONS:
        SESSIONS.popitem(last=False)


def test_page_shows_its_address() -> None:
    """A page begins with its address (leaks: the cache has no bound)."""
    address = f"/items?visit={next(NUMBERS)}"

    assert page(address).startswith(address.encode())  # noqa: S101 - pytest tests assert


def test_cart_follows_the_price() -> None:
    """A cart that listens has the new price (leaks: nobody tells it to stop)."""
    cart = Cart()
    PRICE_LISTENERS[-1](450)

    assert cart.cents == 450  # noqa: PLR2004, S101 - pytest tests assert, and this is the price


def test_session_begins() -> None:
    """The newest session is the one that began last (repaired: the store has a size)."""
    number = next(NUMBERS)
    begin_session(number)

    assert next(reversed(SESSIONS)) == number  # noqa: S101 - pytest tests assert
