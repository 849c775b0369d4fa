"""A pool of objects that are dear to make: used again and again instead of allocated again and again."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ObjectPool", "PoolStatistics"]

T = TypeVar("T")

_SIZE = 16


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """
    The figures of a pool.

    Attributes:
        idle: Objects waiting to be borrowed.
        borrowed: Objects in use.
        size: Most idle objects.
        made: Objects made since the start.
        reused: Borrowings that made none.
        dropped: Objects not taken back: the pool was full, or their use or their reset failed.

    """

    idle: int
    borrowed: int
    size: int
    made: int
    reused: int
    dropped: int


class ObjectPool(Generic[T]):
    """
    Keeps up to *size* objects that nobody uses, and lends them.

    Borrowing never waits: an object is made where none is idle, and let go of where enough are.

    Args:
        make: Returns a new object.
        reset: Brings a used object to its first state, and lets it drop what its user put into it.
        size: Most idle objects.

    """

    def __init__(self, make: Callable[[], T], reset: Callable[[T], object] | None = None, size: int = _SIZE) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"pool: size = {size!r}; it must be a whole number of objects, 1 or more")
        self.size = size
        self._make = make
        self._reset = reset
        self._lock = fork_safe_lock()
        self._idle: deque[T] = deque()
        self._borrowed = self._made = self._reused = self._dropped = 0

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """
        Lend an object for as long as the block runs; it must not be used after it.

        Where the block or the reset raises, the object is in a state that nobody knows, and is not taken back.
        """
        lent = self._take()
        try:
            yield lent
            if self._reset is not None:
                self._reset(lent)
        except BaseException:
            self._let_go()
            raise
        self._take_back(lent)

    def clear(self) -> int:
        """Let go of the idle objects, and return how many there were."""
        with self._lock:
            dropped, self._idle = self._idle, deque()
            self._dropped += len(dropped)
        return len(dropped)

    def statistics(self) -> PoolStatistics:
        """Return the figures."""
        with self._lock:
            figures = self._made, self._reused, self._dropped
            return PoolStatistics(len(self._idle), self._borrowed, self.size, *figures)

    def _take(self) -> T:
        with self._lock:
            if self._idle:
                lent = self._idle.pop()  # the latest one: it is in the processor's caches, and the others can be freed
                self._reused += 1
                self._borrowed += 1
                return lent
        made = self._make()
        with self._lock:
            self._made += 1
            self._borrowed += 1
        return made

    def _take_back(self, lent: T) -> None:
        with self._lock:
            self._borrowed -= 1
            if len(self._idle) < self.size:
                self._idle.append(lent)
            else:
                self._dropped += 1

    def _let_go(self) -> None:
        with self._lock:
            self._borrowed -= 1
            self._dropped += 1
