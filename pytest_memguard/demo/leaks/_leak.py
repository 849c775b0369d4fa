"""What a leak is here: two ways to do one piece of work, one that keeps something and one that does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pytest_memguard.core.values import Metric

__all__ = ["MANY", "PAYLOAD_BYTES", "Leak", "Visit"]

#: What one request carries, and what most leaks keep of it.
PAYLOAD_BYTES = 2048
#: As many as memory allows. Descriptors and threads have bounds, as the service could not be reached without them.
MANY = 1 << 40


@dataclass(frozen=True)
class Visit:
    """One request, as the leaks see it."""

    number: int
    path: str
    payload: bytes

    @classmethod
    def numbered(cls, number: int, path: str = "/") -> Visit:
        """Return a visit that shares no memory with another one."""
        return cls(number, path, b"%08d" % (number % 10**8) * (PAYLOAD_BYTES // 8))


class Leak(Protocol):
    """
    One common leak and its repair; the docstring of the class says why it leaks.

    Attributes:
        name: The name of its switch.
        grows: The counter that shows it.
        page: The page that tells how to repair it.
        most: It holds no more than this.
    """

    name: ClassVar[str]
    grows: ClassVar[Metric]
    page: ClassVar[str]
    most: ClassVar[int]

    def leaky(self, visit: Visit) -> Awaitable[object] | object:
        """Do the work, and leave something behind."""
        ...

    def fixed(self, visit: Visit) -> Awaitable[object] | object:
        """Do the same work, and leave nothing behind."""
        ...

    def held(self) -> int:
        """Return how many things were left behind."""
        ...

    def release(self) -> Awaitable[object] | object:
        """Let go of everything that was left behind."""
        ...
