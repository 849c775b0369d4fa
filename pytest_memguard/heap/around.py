"""Snapshots before and after an operation, and what is different."""

from __future__ import annotations

import gc
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.heap.difference import HeapDiff, compare
from pytest_memguard.heap.reading import read
from pytest_memguard.heap.taking import Summary, write

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["Snapshots", "snapshots"]

_BEFORE, _AFTER = "before.heapsnapshot.gz", "after.heapsnapshot.gz"


class Snapshots:
    """
    The two snapshots around an operation.

    Attributes:
        before: What was written before it.
        after: What was written after it; None until then.
        diff: What is different; None until then.

    """

    __slots__ = ("after", "before", "diff")

    def __init__(self, before: Summary) -> None:
        self.before = before
        self.after: Summary | None = None
        self.diff: HeapDiff | None = None


@contextmanager
def snapshots(folder: str | os.PathLike[str] | None = None, **settings: Any) -> Iterator[Snapshots]:  # noqa: ANN401 - of write
    """
    Take a snapshot before and after the body of a ``with``, and compare them.

        with heap.snapshots() as taken:
            handle(request)
        print(taken.diff.growth)

    Garbage is collected before each of them. Nothing is compared where the body raises.

    Args:
        folder: Where the files stay; by default they are removed when they were compared.
        settings: As for ``write``.

    """
    with _folder(folder) as place:
        gc.collect()
        taken = Snapshots(write(place / _BEFORE, **settings))
        yield taken
        gc.collect()
        taken.after = write(place / _AFTER, **settings)
        taken.diff = compare(read(place / _BEFORE), read(place / _AFTER))


@contextmanager
def _folder(given: str | os.PathLike[str] | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory(prefix="memguard-heap-") as made:
            yield Path(made)
    else:
        Path(given).mkdir(parents=True, exist_ok=True)
        yield Path(given)
