"""A container with a limit explains what hangs on it, and no leak beside it."""

from __future__ import annotations

import gc
import io
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import pytest

from pytest_memguard.core.ports import Gain
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, Metric
from pytest_memguard.explain.excuses import given_back, stale_references, weighed
from pytest_memguard.explain.holders import Grown

pytestmark = pytest.mark.usefixtures("older_heap_rests")


def gain(amount: float, metric: Metric = BLOCKS, count: Callable[[], int] = int) -> Gain:
    """Return what a counter gained."""
    return Gain(metric, amount, count)


def grown(container: Any, gained: int) -> Grown:  # noqa: ANN401 - any container
    """Return a container with its newest entries."""
    cache_info = getattr(container, "cache_info", None)
    length = cache_info().currsize if cache_info else len(container)
    return Grown(container, length, gained, "shop.CACHE", 1_000)


def born() -> set[int]:
    """Return what was born since the heap was frozen."""
    return set(map(id, gc.get_objects()))


# -- caches that are emptied -----------------------------------------------------------------------------------------


@lru_cache(maxsize=1_000)
def row(number: int) -> list[int]:
    """Return something that takes two blocks, with its key and its entry some more."""
    return [number]


@pytest.fixture
def filled() -> Grown:
    """Return a cache of forty entries, of which twenty are new."""
    row.cache_clear()
    for number in range(1_000, 1_040):
        row(number)
    return grown(row, 20)


def test_what_an_emptied_cache_gives_back_is_what_it_explains(filled: Grown) -> None:
    """Of forty entries the twenty new ones count."""
    before = sys.getallocatedblocks()
    share = given_back([filled], [gain(60.0, count=sys.getallocatedblocks)])
    back = before - sys.getallocatedblocks()

    assert share == pytest.approx(back / 2 / 60, rel=0.15)
    assert row.cache_info().currsize == 0


@pytest.mark.parametrize(("beside", "is_explained"), [(0, True), (2_000, False)])
def test_a_leak_beside_a_cache(filled: Grown, beside: int, *, is_explained: bool) -> None:
    """Blocks that stay when the cache is empty were not the cache's."""
    gains = [gain(60.0 + beside, count=sys.getallocatedblocks)]

    assert (given_back([filled], gains) >= 0.8) is is_explained


def test_the_counter_that_is_explained_least_counts(filled: Grown) -> None:
    """A cache that gives back its blocks does not explain files that stay open."""
    gains = [gain(60.0, count=sys.getallocatedblocks), gain(20.0, FDS, count=lambda: 30)]

    assert given_back([filled], gains) == 0.0


def test_garbage_is_not_given_back_by_a_cache(filled: Grown) -> None:
    """What the collector finds anyway is collected first."""
    gc.disable()
    for _ in range(5_000):
        circle: list[object] = []
        circle.append(circle)
    del circle
    share = given_back([filled], [gain(2_000.0, count=sys.getallocatedblocks)])
    gc.enable()

    assert share < 0.2


def test_part_of_freed_native_memory_stays_with_the_c_library() -> None:
    """Three fifths of the bytes are all that is asked for."""
    level = [1_000]

    def clear() -> None:
        level[0] -= 600

    cache = partial(int)
    cache.cache_clear = clear  # type: ignore[attr-defined] # like that of an lru_cache
    one = Grown(cache, 10, 10, "shop.CACHE", 1_000)

    assert given_back([one], [gain(1_000.0, HEAP, count=lambda: level[0])]) == pytest.approx(1.0)


# -- containers that are weighed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: deque((f"event {number}" for number in range(1_000, 1_030)), maxlen=1_000),
        lambda: [f"event {number}" for number in range(1_000, 1_030)],
        lambda: {number: f"event {number}" for number in range(1_000, 1_030)},
        lambda: OrderedDict((number, f"event {number}") for number in range(1_000, 1_030)),
        lambda: {f"event {number}" for number in range(1_000, 1_030)},
    ],
    ids=["deque", "list", "dict", "OrderedDict", "set"],
)
def test_entries_explain_about_as_many_blocks_as_they_are(make: Callable[[], Any]) -> None:
    """Thirty texts explain thirty blocks, and not three hundred."""
    one = grown(make(), 30)

    assert weighed([one], [gain(30.0)], born()) >= 1.0
    assert weighed([one], [gain(300.0)], born()) < 1 / 3


def test_what_hangs_on_entries_counts() -> None:
    """A row of many parts explains all of them."""
    one = grown(deque(([{"number": [number]}] for number in range(30)), maxlen=1_000), 30)

    assert weighed([one], [gain(200.0)], born()) >= 0.8


def test_only_the_newest_entries_count() -> None:
    """A thousand entries from before explain nothing."""
    one = grown({number: [number] for number in range(1_000)}, 10)

    assert weighed([one], [gain(1_000.0)], born()) < 1 / 3


def test_what_is_older_than_the_runs_does_not_count() -> None:
    """Entries that refer to what was there before do not weigh it."""
    older = [[number] for number in range(1_000)]
    gc.freeze()
    one = grown([older] * 20, 20)

    assert weighed([one], [gain(400.0)], born()) < 1 / 3


def test_bytes_explain_native_memory() -> None:
    """Large texts do, small ones do not."""
    large, small = grown([b"x" * 4_000 + bytes([number]) for number in range(20)], 20), grown(["ab"] * 20, 20)

    assert weighed([large], [gain(80_000.0, HEAP)], born()) >= 0.9
    assert weighed([small], [gain(80_000.0, HEAP)], born()) == 0.0


@pytest.mark.parametrize(
    "make",
    [io.BytesIO, threading.Lock, threading.Thread, lambda: memoryview(b"x")],
    ids=["file", "lock", "thread", "view"],
)
def test_objects_of_c_code_may_keep_anything(make: Callable[[], Any]) -> None:
    """What a C type keeps open or in native memory cannot be seen, so nothing is said against it."""
    one = grown([make() for _ in range(5)], 5)

    assert weighed([one], [gain(5.0, FDS), gain(1_000_000.0, HEAP)], born()) >= 1.0


class Plain:
    """A class of Python's making."""


class Lower(Plain):
    """One without attributes of its own."""


class Slots:
    """One with slots."""

    __slots__ = ("held",)


@pytest.mark.parametrize("kind", [Plain, Lower, Slots, ValueError, type("Made", (dict,), {})])
def test_objects_of_python_code_keep_no_files(kind: type) -> None:
    """A ring of them does not excuse a file a run."""
    one = grown([kind() for _ in range(5)], 5)

    assert weighed([one], [gain(5.0, FDS)], born()) == 0.0


# -- weak references -------------------------------------------------------------------------------------------------


def _references(*, alive: int = 0) -> tuple[list[object], list[weakref.ref[Plain]]]:
    kept = [Plain() for _ in range(20)]
    references = [weakref.ref(one) for one in kept]
    return [*kept[:alive]], references


def test_dead_references_are_found() -> None:
    """A list that gained only references to what is gone is no leak."""
    _, references = _references()

    assert stale_references([grown(references, 20)], [gain(20.0)]) is not None


@pytest.mark.parametrize(
    ("gained", "gains"),
    [(20, [gain(60.0)]), (20, [gain(20.0), gain(20.0, FDS)])],
    ids=["more is gained", "files stay open"],
)
def test_dead_references_excuse_nothing_else(gained: int, gains: list[Gain]) -> None:
    """Whatever they do not make up is asked about further."""
    _, references = _references()

    assert stale_references([grown(references, gained)], gains) is None


def test_references_to_what_lives_are_no_excuse() -> None:
    """One of them alive, and it may be a leak."""
    kept, references = _references(alive=1)

    assert stale_references([grown(references, 20)], [gain(20.0)]) is None
    del kept
