"""The object pool: what it lends, what it takes back, and what it saves."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.pool import ObjectPool, PoolStatistics


class Document:
    """A tree whose branches know their parent, so that only the collector frees it."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.branches = [Branch(self) for _ in range(50)]


class Branch:
    """A part of a document."""

    def __init__(self, parent: Document) -> None:
        self.parent = parent


def test_object_is_lent_again() -> None:
    """The second borrower gets the object of the first, reset."""
    pool = ObjectPool(list[int], list.clear)
    with pool.borrow() as first:
        first.append(1)
    with pool.borrow() as second:
        assert (second is first, second) == (True, [])


def test_objects_in_use_are_not_shared() -> None:
    """Two borrowers at a time have two objects."""
    pool = ObjectPool(list[int])
    with pool.borrow() as one, pool.borrow() as other:
        assert one is not other
        assert pool.statistics() == PoolStatistics(idle=0, borrowed=2, size=16, made=2, reused=0, dropped=0)


def borrow_at_once(pool: ObjectPool[list[int]], count: int) -> None:
    """Have *count* objects of *pool* in use at a time."""
    if count:
        with pool.borrow():
            borrow_at_once(pool, count - 1)


@pytest.mark.parametrize(("at_once", "idle", "dropped"), [(3, 3, 0), (4, 3, 1), (10, 3, 7)])
def test_pool_is_bounded(at_once: int, idle: int, dropped: int) -> None:
    """After a rush, no more objects stay than the size says."""
    pool = ObjectPool(list[int], size=3)
    borrow_at_once(pool, at_once)

    assert pool.statistics() == PoolStatistics(idle, 0, 3, made=at_once, reused=0, dropped=dropped)


def test_failed_use_is_not_taken_back() -> None:
    """What a failing block leaves behind is given to nobody else."""
    pool = ObjectPool(list[int])
    with pytest.raises(ValueError, match="mine"), pool.borrow():
        raise ValueError("mine")

    assert pool.statistics() == PoolStatistics(idle=0, borrowed=0, size=16, made=1, reused=0, dropped=1)


def test_failed_reset_is_told_and_not_taken_back() -> None:
    """An object that cannot be reset is dropped, and its borrower learns why."""
    pool = ObjectPool(list[int], lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError), pool.borrow():
        pass

    assert (pool.statistics().idle, pool.statistics().dropped) == (0, 1)


def test_failed_make_is_told_and_not_counted() -> None:
    """The borrower of what cannot be made gets the error."""
    pool = ObjectPool(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError), pool.borrow():
        pass

    assert (pool.statistics().made, pool.statistics().borrowed) == (0, 0)


def test_clear_lets_go_of_idle_objects() -> None:
    """A guard under pressure can empty the pool."""
    pool = ObjectPool(list[int])
    borrow_at_once(pool, 5)

    assert (pool.clear(), pool.clear(), pool.statistics().idle) == (5, 0, 0)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "4"])
def test_wrong_size_is_named(size: object) -> None:
    """A size that cannot be is refused."""
    with pytest.raises(ConfigError, match=r"pool: size = .*; it must be a whole number of objects, 1 or more"):
        ObjectPool(list, size=size)  # type: ignore[arg-type]


def test_threads_share_a_pool() -> None:
    """Eight threads at once never hold the same object, and no more stay than may."""
    pool: ObjectPool[list[int]] = ObjectPool(list, list.clear, size=4)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    shared: list[list[int]] = []

    def work(number: int) -> None:
        for _ in range(300):
            with pool.borrow() as lent:
                lent.append(number)
                lent.append(number)
                if lent != [number, number]:
                    shared.append(list(lent))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    figures = pool.statistics()

    assert shared == []
    assert (figures.borrowed, figures.made + figures.reused) == (0, 8 * 300)
    assert figures.made == figures.idle + figures.dropped
    assert 1 <= figures.idle <= 4


def blocks_left_by(requests: int, pool: ObjectPool[Document] | None) -> int:
    """Return the blocks that so many requests leave to the collector, which is off meanwhile."""
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for number in range(requests):
            if pool is None:
                Document().text.append(str(number))
            else:
                with pool.borrow() as document:
                    document.text.append(str(number))
        return sys.getallocatedblocks() - before
    finally:
        gc.enable()
        gc.collect()


def test_pool_saves_allocations() -> None:
    """A thousand documents of 52 objects leave 50,000 blocks and more to the collector; from a pool, next to none."""
    pool = ObjectPool(Document, lambda document: document.text.clear())
    blocks_left_by(1, pool)

    assert blocks_left_by(1000, None) > 50_000
    assert blocks_left_by(1000, pool) < 50
    assert pool.statistics().made == 1


def test_pool_saves_peak_memory() -> None:
    """A buffer that is borrowed in turn needs its memory once, however often."""
    pool = ObjectPool(lambda: bytearray(2**20), size=1)

    def allocated(borrow_from: ObjectPool[bytearray] | None) -> int:
        """Return the bytes allocated by a hundred requests after a first one, whether given back or not."""
        total = 0
        for _ in range(100):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            if borrow_from is None:
                bytearray(2**20)
            else:
                with borrow_from.borrow():
                    pass
            total += tracemalloc.get_traced_memory()[1] - before
        return total

    tracemalloc.start()
    try:
        with pool.borrow():
            pass
        without, with_pool = allocated(None), allocated(pool)
    finally:
        tracemalloc.stop()

    assert without >= 100 * 2**20
    assert with_pool < 2**20
