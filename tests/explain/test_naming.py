"""Names of objects of every kind, and keys for people."""

from __future__ import annotations

import functools
from collections import deque, namedtuple
from typing import Any

import pytest

from pytest_memguard.explain.naming import attributes, key_text, length, lru_name, qualified_name, text_of, type_name


class Slotted:
    __slots__ = ("one", "other")


class Property:
    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise RuntimeError("do not look at me")


class Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError("do not look at me")


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - what is tested


@functools.lru_cache
def price() -> int:
    """Do something that is worth keeping."""
    return 1


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("user-1", "'user-1'"),
        (b"raw", "b'raw'"),
        (1, "1"),
        (-1.5, "-1.5"),
        (None, "None"),
        (True, "True"),
        ((1, "a"), "(1, 'a')"),
        ((1,), "(1,)"),
        ((), "()"),
        ((1, 2, 3, 4, 5), "(1, 2, 3, 4, ...)"),
        (((((1,),),),), "(((<tuple>,),),)"),
        ("a\nb\x1b[31m\x00", r"'a\nb\x1b[31m\x00'"),
        ("x" * 100, "'" + "x" * 36 + "..."),
        (140_000_000_000_000, "<int of 47 bits>"),
        (Pair(1, 2), "<Pair>"),
        (object(), "<object>"),
        (int, "<class int>"),
        (frozenset({1}), "<frozenset>"),
    ],
)
def test_keys(key: object, expected: str) -> None:
    """Texts and numbers are shown, shortened and without control characters; of all else the type."""
    assert key_text(key) == expected


def test_keys_that_pytest_could_not_show() -> None:
    """A number that is too long to be shown is told by its size, and a text of the user's making by its type."""
    assert key_text(10**5000) == "<int of 16610 bits>"
    assert key_text(Text("x")) == "<Text>"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({}, "dict"),
        (deque(), "collections.deque"),
        (price, "functools._lru_cache_wrapper"),
        (Slotted(), f"{__name__}.Slotted"),
        (Slotted, f"class {__name__}.Slotted"),
        (functools, "module functools"),
        (test_keys, f"function {__name__}.test_keys"),
        (Text("x").upper, f"function {__name__}.Text.upper"),
        (len, "function builtins.len"),
        (Property().__init__, "method-wrapper"),
    ],
)
def test_texts(one: object, expected: str) -> None:
    """Functions, classes and modules have names, and all else a type."""
    assert text_of(one) == expected


def test_attributes() -> None:
    """Attributes are those of the dictionary, else of the slots that are set; a property of that name is not asked."""
    slotted = Slotted()
    slotted.one = 1

    assert attributes(slotted) == {"one": 1}
    assert attributes(Property()) == {}


def test_lengths() -> None:
    """Built-in containers have a length, and nothing else."""
    assert [length(one) for one in ([1], {1: 1}, {1}, (1, 2), deque([1]), price, "text", 1)] == [
        1, 1, 1, 2, 1, 0, None, None,
    ]  # fmt: skip


def test_a_cached_function() -> None:
    """A cache is named by its function, with file and line."""
    assert lru_name(price, with_place=False) == f"{__name__}.price"
    assert lru_name(price).endswith(")")


def test_a_cached_object() -> None:
    """An object with a cache before it is asked nothing."""

    class Called:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if name.startswith("__"):
                raise AttributeError(name)
            raise RuntimeError("do not look at me")

        def __call__(self) -> int:
            return 1

    assert lru_name(functools.lru_cache(Called())) == f"{__name__}.?"


def test_type_names() -> None:
    """Types are named by module and qualified name, built-in ones without a module."""
    assert (type_name(1), qualified_name(deque)) == ("int", "collections.deque")
