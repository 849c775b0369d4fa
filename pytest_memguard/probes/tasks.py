"""asyncio tasks that are still pending."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pytest_memguard.core.values import TASKS

if TYPE_CHECKING:
    from array import array

__all__ = ["PendingTasks"]


class PendingTasks:
    """Tasks of any event loop that are neither done nor cancelled; 0 while asyncio is not imported."""

    metrics = (TASKS,)

    def read(self, row: array[int], at: int) -> None:
        """Write the number of pending tasks."""
        asyncio_tasks = sys.modules.get("asyncio.tasks")
        row[at] = 0 if asyncio_tasks is None else _pending(asyncio_tasks)


def _pending(asyncio_tasks: object) -> int:
    # One weak set up to 3.11 (_all_tasks); from 3.12 on a second plain one for eager tasks. From 3.14 on native
    # tasks live in lists of the interpreter that only a loop's own thread may read: these show as blocks.
    known = getattr(asyncio_tasks, "_scheduled_tasks", getattr(asyncio_tasks, "_all_tasks", ()))
    total = 0
    for task in tuple(known):
        total += not task.done()
    for task in tuple(getattr(asyncio_tasks, "_eager_tasks", ())):
        total += not task.done()
    return total
