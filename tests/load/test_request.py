"""Which request comes next, and what is filled into it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.load.request import Template, cycle


def test_routes_take_turns() -> None:
    """A heavy route is interleaved with a light one, not sent in a block."""
    assert cycle([3, 1]) == (0, 0, 1, 0)


def test_a_common_factor_is_left_out() -> None:
    """Weights are ratios: 30 to 10 is 3 to 1."""
    assert cycle([30, 10]) == cycle([3, 1])


def test_fractions() -> None:
    """Weights need not be whole."""
    assert Counter(cycle([0.75, 0.25])) == {0: 3, 1: 1}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_the_mix_is_kept(weights: list[int]) -> None:
    """In one cycle, each route has its share to the last request."""
    turns = Counter(cycle(weights))

    assert [turns[route] * sum(weights) for route in range(len(weights))] == [
        weight * sum(turns.values()) for weight in weights
    ]


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=50))
def test_every_route_has_a_turn(weights: list[float]) -> None:
    """However light a route is, it comes; however long the numbers, the cycle stays short."""
    order = cycle(weights)

    assert set(order) == set(range(len(weights)))
    assert len(order) <= 1000 + len(weights)


def test_filling() -> None:
    """Placeholders are filled for each request, the rest stays."""
    template = Template('{"a": {"b": "{{n}}-{{ n }}"}}')

    assert template.fill(7) == '{"a": {"b": "7-7"}}'


def test_random_is_the_same_in_every_run() -> None:
    """A request has its random number, in whatever process it is sent; neighbours differ."""
    numbers = [Template("{{random}}").fill(n) for n in range(100)]

    assert numbers == [Template("{{random}}").fill(n) for n in range(100)]
    assert len(set(numbers)) == 100


def test_every_uuid_is_new() -> None:
    """No two requests have the same UUID."""
    assert Template("{{uuid}}").fill(0) != Template("{{uuid}}").fill(0)


def test_an_unknown_placeholder() -> None:
    """A placeholder that does not exist is refused by name."""
    with pytest.raises(ValueError, match=r"has \{\{user\}\}, which is none of n, random, time, uuid"):
        Template("/{{user}}")
