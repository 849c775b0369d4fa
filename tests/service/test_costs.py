"""What requests keep: who is measured, and where it is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_memguard.service.costs import (
    BOUNDS_BYTES,
    OTHER,
    RouteCosts,
    Sample,
    Sampler,
    generic,
    kept_bytes,
)


class _Process:
    """A process whose memory and time are set by hand; each reading takes a millisecond."""

    def __init__(self) -> None:
        self.held_bytes = 10_000
        self.time_s = 100.0

    def read(self) -> int:
        self.time_s += 0.001
        return self.held_bytes

    def sampler(self) -> Sampler[Sample]:
        return Sampler(self.read, Sample, lambda: self.time_s, lambda: self.time_s)


def test_what_a_request_keeps() -> None:
    """The cost of a request is the difference of the readings before and after it."""
    process = _Process()
    sampler = process.sampler()
    sample = sampler.enter()
    process.held_bytes += 4096

    assert sampler.leave(sample) == 4096


def test_what_measuring_keeps_is_no_cost() -> None:
    """What the sample itself holds is known from empty requests, and not counted."""
    process = _Process()

    def read() -> int:
        process.held_bytes += 50
        return process.read()

    sampler = Sampler(read, Sample, lambda: process.time_s, lambda: process.time_s)

    assert sampler.leave(sampler.enter()) == 0


def test_request_beside_another_is_not_measured() -> None:
    """A request during which another one begins could be charged for that one."""
    sampler = _Process().sampler()
    sample = sampler.enter()
    other = sampler.enter()

    assert other is None
    assert sampler.leave(sample) is None


def test_request_during_which_another_ends_is_not_measured() -> None:
    """The same holds for one that began earlier and ends in the meantime."""
    process = _Process()
    sampler = process.sampler()
    early = sampler.enter()
    process.time_s += 2
    sample = sampler.enter()
    sampler.leave(early)

    assert sample is not None
    assert sampler.leave(sample) is None


@pytest.mark.parametrize(("waited_s", "measured"), [(1.999, False), (2.001, True)])
def test_measuring_rests(waited_s: float, measured: bool) -> None:  # noqa: FBT001 - a column of the table
    """After two readings of a millisecond each, the next one is two seconds later: a tenth of a percent."""
    process = _Process()
    sampler = process.sampler()
    sampler.leave(sampler.enter())
    process.time_s += waited_s

    assert (sampler.enter() is not None) is measured


def test_waiting_for_a_core_is_no_effort() -> None:
    """A reading that was interrupted for seconds is not taken for one that is dear."""
    process = _Process()
    sampler = Sampler(process.read, Sample, lambda: process.time_s, lambda: 0.0)
    sampler.leave(sampler.enter())

    assert sampler.enter() is not None


def test_rest_also_after_a_reading_in_vain() -> None:
    """A reading counts even if the request turns out not to be alone: it took its time."""
    process = _Process()
    sampler = process.sampler()
    sampler.enter()
    process.time_s += 0.999

    assert sampler.enter() is None


@pytest.mark.parametrize(
    "keep",
    [lambda: bytearray(10**6), lambda: [object() for _ in range(10_000)]],
    ids=["one large block", "many objects"],
)
def test_reading_of_this_process(keep: Callable[[], object]) -> None:
    """Large blocks and small objects are both in the reading."""
    read = kept_bytes()
    before = read()
    kept = keep()
    grown = read() - before
    del kept
    left = read() - before

    assert 0.8e6 < grown < 1.3e6
    assert left < 0.1e6


def test_costs_by_route() -> None:
    """Each route has its own numbers; the dearest comes first."""
    costs = RouteCosts()
    costs.count("GET /cheap", 10)
    costs.count("GET /dear", 3000)
    costs.count("GET /dear", -1000)
    dear, cheap = costs

    assert (dear.route, dear.measured, dear.total_bytes, dear.mean_bytes) == ("GET /dear", 2, 2000, 1000.0)
    assert (cheap.route, cheap.measured, cheap.total_bytes) == ("GET /cheap", 1, 10)


@pytest.mark.parametrize("at", range(len(BOUNDS_BYTES)))
def test_edges_of_the_buckets(at: int) -> None:
    """A bucket takes its upper bound, and the next one takes a byte more."""
    costs = RouteCosts()
    costs.count("on", BOUNDS_BYTES[at])
    costs.count("above", BOUNDS_BYTES[at] + 1)
    counts = {cost.route: cost.counts for cost in costs}

    assert counts["on"].index(1) == at
    assert counts["above"].index(1) == at + 1


def test_number_of_routes_is_bounded() -> None:
    """Routes beyond the most are one; those that are there go on to be counted."""
    costs = RouteCosts(most=2)
    for route in ("/a", "/b", "/c", "/d", "/a"):
        costs.count(route, 1)

    assert {cost.route: cost.measured for cost in costs} == {"/a": 2, "/b": 1, OTHER: 2}
    assert (costs.clear(), len(costs)) == (3, 0)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/users", "/users"),
        ("/users/17/orders", "/users/{}/orders"),
        ("/v2/users", "/v2/users"),
        ("/files/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "/files/{}"),
        ("/commits/1baf5e2c", "/commits/{}"),
        ("/facade", "/facade"),
        ("/decade12", "/{}"),
        ("/session/Zx81_ab-77QpLmNoPq", "/session/{}"),
        ("/a-long-page-name-of-words", "/a-long-page-name-of-words"),
        ("/" + "x" * 40, "/" + "x" * 40),
        ("/" + "x" * 41, "/{}"),
        ("/" + "ab/" * 133, "/" + "ab/" * 133),
        ("/" + "ab/" * 134, OTHER),
    ],
)
def test_generic_path(path: str, route: str) -> None:
    """Numbers and ids are left out of a path, words are not, and what is longer than any path is one route."""
    assert generic(path) == route
