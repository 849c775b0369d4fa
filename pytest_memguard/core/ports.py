"""What the floors above plug into the engine, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Sequence

    from pytest_memguard.core.values import Holder, Metric, RunResult

__all__ = ["ChunkCache", "Gain", "HolderCheck", "Probe", "Renderer", "Subject"]


class Probe(Protocol):
    """Something that can be read, in a few microseconds and without allocating anything that stays."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What one reading gives, in this order; an attribute will do."""
        ...

    def read(self, row: array[int], at: int) -> None:
        """Write one value a metric into *row*, from position *at* on."""


class Subject(Protocol):
    """Something that can be run again: a pytest item, a callable."""

    def run(self) -> None:
        """
        Run once more, set-up and tear-down included, and leave nothing of the machinery behind.

        Raises:
            SubjectFailed: the run did not end as the first one did.

        """


class ChunkCache(Protocol):
    """A cache of the C library that hides small growth of native memory."""

    def level(self) -> None:
        """Bring it to the same state each time, so that what lies in it is a constant."""


@dataclass(frozen=True, slots=True)
class Gain:
    """
    What a counter gained over the runs of a holder check.

    Attributes:
        metric: Which one.
        amount: In its unit, above zero.
        count: Reads it now.

    """

    metric: Metric
    amount: float
    count: Callable[[], int]


class HolderCheck(Protocol):
    """Looks, over some runs, for what holds the objects that stay."""

    def begin(self) -> None:
        """Note the size of every container; called with the older heap unfrozen."""

    def finish(self, runs: int, gains: Sequence[Gain]) -> Holder:
        """
        Say who grew by how much since ``begin``, *runs* runs ago; may clear a bounded cache to see what goes.

        A holder with a limit must explain all *gains*: otherwise something grows beside it.
        """

    def close(self) -> None:
        """Give back what it held."""


class Renderer(Protocol):
    """Turns a session's result into text; opens no file."""

    def __call__(self, result: RunResult) -> str:
        """Return the text."""
