"""A number in the code that the length of a container is compared with is its limit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from pytest_memguard.explain.literals import compared_lengths


def _module(body: str) -> ModuleType:
    module = ModuleType("shop")
    exec(f"CART = []\nOTHER = []\n{body}", vars(module))  # noqa: S102 - of this file
    return module


def _limits(module: ModuleType) -> list[int]:
    return sorted(set(compared_lengths(module, vars(module), "CART")))  # a loop compares in two places


@pytest.mark.parametrize(
    "body",
    [
        "if len(CART) >= 200: CART.clear()",
        "if len(CART) > 200: del CART[:100]",
        "if 200 <= len(CART): CART.pop()",
        "while len(CART) > 200: CART.pop(0)",
        "if len(CART) > 200: CART[:] = [one for one in CART if one]",
    ],
)
def test_a_function_that_takes_away_above_a_number(body: str) -> None:
    """However it takes something away, and whichever side the number is on."""
    assert _limits(_module(f"def add():\n    CART.append(1)\n    {body}")) == [200]


def test_a_function_that_begins_anew() -> None:
    """Another list under the name is as good as an empty one."""
    assert _limits(_module("def add():\n    global CART\n    if len(CART) > 200:\n        CART = []")) == [200]


@pytest.mark.parametrize(
    "body",
    [
        "if len(CART) > 200: print('many')",
        "if len(OTHER) > 200: CART.clear()",
        "if len(CART) > LIMIT: CART.clear()",
        "CART.append(200); CART.pop()",
        "if 200 > 100: print(len(CART)); OTHER.clear()",
    ],
)
def test_a_function_that_sets_no_limit(body: str) -> None:
    """A warning, another container, a name or a number for something else are none."""
    assert _limits(_module(f"LIMIT = 5\ndef add():\n    {body}")) == []


_CLASS = """
class Shop:
    RECENT = {}

    def __init__(self):
        self.cart = {}

    def add(self, key):
        self.cart[key] = key
        if len(self.cart) > 50:
            self.cart.popitem()

    @classmethod
    def note(cls, key):
        if len(cls.RECENT) > 70:
            cls.RECENT.clear()

    def all(self):
        if len(CART) > 90:
            CART.clear()


class Branch(Shop):
    pass
"""


def test_methods_limit_what_instances_and_classes_have() -> None:
    """They are looked for in the classes of an instance, in a class, and in the classes of a module."""
    module = _module(_CLASS)
    branch: Any = module.Branch()

    assert list(compared_lengths(branch, vars(branch), "cart")) == [50]
    assert list(compared_lengths(module.Shop, dict(vars(module.Shop)), "RECENT")) == [70]
    assert _limits(module) == [90]
