"""What fits a schema, and what does not."""

from __future__ import annotations

import pytest

from pytest_memguard.demo.schema import Schema, Unfit, fitted, integer, number, read, record, text

CART = record({"name": text(5), "cents": integer(0, 100)}, {"weight": number(0, 1.5), "kind": text(enum=("a", "b"))})


@pytest.mark.parametrize(
    "value",
    [
        {"name": "t", "cents": 0},
        {"name": "tea 5", "cents": 100, "weight": 1.5, "kind": "a"},
        {"name": "tea", "cents": 7.0},
    ],
)
def test_fitting_value_passes(value: object) -> None:
    """What lies on the edge is inside, and a whole number may be written with a point."""
    read_value = fitted(value, CART, "the body")

    assert read_value == value
    assert type(read_value["cents"]) is int


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "the body must be an object with 'name', 'cents', 'weight', 'kind', not a list"),
        ({"cents": 1}, "the body needs the key 'name'"),
        ({"name": "tea", "cents": 1, "colour": 1}, "the body has no key 'colour'"),
        ({"name": 5, "cents": 1}, "name must be text, not 5"),
        ({"name": "", "cents": 1}, "name must have 1 to 5 characters, not 0"),
        ({"name": "teapot", "cents": 1}, "name must have 1 to 5 characters, not 6"),
        ({"name": "\ud800", "cents": 1}, r"name = '\ud800' has half a surrogate pair"),
        ({"name": "tea", "cents": -1}, "cents = -1 must be from 0 to 100"),
        ({"name": "tea", "cents": 101}, "cents = 101 must be from 0 to 100"),
        ({"name": "tea", "cents": 1.5}, "cents must be a whole number, not 1.5"),
        ({"name": "tea", "cents": True}, "cents must be a whole number, not True"),
        ({"name": "tea", "cents": None}, "cents must be a whole number, not None"),
        ({"name": "tea", "cents": 10**4000}, "cents = a number of 13288 bits must be from 0 to 100"),
        ({"name": "tea", "cents": 1, "weight": 1.6}, "weight = 1.6 must be from 0 to 1.5"),
        ({"name": "tea", "cents": 1, "weight": float("nan")}, "weight = nan must be from 0 to 1.5"),
        ({"name": "tea", "cents": 1, "kind": "c"}, "kind = 'c' must be one of a, b"),
    ],
)
def test_unfit_value_is_refused(value: object, words: str) -> None:
    """The text says where, what was there, and what would fit."""
    with pytest.raises(Unfit) as refused:
        fitted(value, CART, "the body")

    assert words in str(refused.value)


@pytest.mark.parametrize(("raw", "value"), [("1", 1), ("9", 9), ("01", 1)])
def test_number_in_an_address(raw: str, value: int) -> None:
    """Digits of an address are a number."""
    assert read(raw, integer(1, 9), "item") == value


@pytest.mark.parametrize("raw", ["0", "10", "", "-", "one", "1.0", "٣", "9" * 5000])
def test_no_number_in_an_address(raw: str) -> None:
    """Whatever else stands there is refused, however long it is."""
    with pytest.raises(Unfit, match=r"^item = .{1,80} (is not a whole number|must be from 1 to 9)$"):
        read(raw, integer(1, 9), "item")


def test_message_is_short_and_plain() -> None:
    """A long or hostile text is cut, and shown in ASCII."""
    schema: Schema = text(enum=("a",))
    with pytest.raises(Unfit) as refused:
        fitted("\r\nSet-Cookie: x\x1b" * 1000, schema, "kind")

    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 120
