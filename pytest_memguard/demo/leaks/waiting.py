"""Leaks of work that waits: tasks, timers, connections and contexts that outlive their request."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar, copy_context
from typing import ClassVar

from pytest_memguard.core.values import BLOCKS, TASKS
from pytest_memguard.demo.leaks._leak import MANY, Visit

__all__ = ["ContextVariable", "PendingTask", "Timer", "WebSockets"]

_HOUR_S = 3600.0


class PendingTask:
    """
    A task that waits for a future which nobody will ever set.

    A task that is not done is held by what it waits for and by whoever keeps it, with all variables of its coroutine.
    The repair cancels the task with the request, and awaits it.
    """

    name: ClassVar = "pending-task"
    grows: ClassVar = TASKS
    page: ClassVar = "docs/how-to/fix-pending-task.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    async def leaky(self, visit: Visit) -> None:
        """Start a watcher for the request, and leave it behind."""
        task = asyncio.create_task(_watch(visit, asyncio.get_running_loop().create_future()))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        await asyncio.sleep(0)

    async def fixed(self, visit: Visit) -> None:
        """Start a watcher for the request, and end it with the request."""
        task = asyncio.create_task(_watch(visit, asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    def held(self) -> int:
        """Return the number of watchers."""
        return len(self.tasks)

    async def release(self) -> None:
        """Cancel all watchers."""
        tasks = tuple(self.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _watch(visit: Visit, changed: asyncio.Future[None]) -> None:
    await changed
    raise AssertionError(f"nobody sets the future of {visit.path}")


class Timer:
    """
    A callback that is scheduled for each request, far away.

    The loop holds the handle until its time has come, and the handle holds the callback and its arguments. The repair
    cancels it as soon as it has become needless.
    """

    name: ClassVar = "timer"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-scheduled-callback.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.handles: list[asyncio.TimerHandle] = []

    def leaky(self, visit: Visit) -> None:
        """Plan a reminder that comes in an hour."""
        self.handles.append(asyncio.get_running_loop().call_later(_HOUR_S, self._remind, visit))

    def fixed(self, visit: Visit) -> None:
        """Plan a reminder, and cancel it, as the request was answered in time."""
        asyncio.get_running_loop().call_later(_HOUR_S, self._remind, visit).cancel()

    def held(self) -> int:
        """Return the number of reminders that are to come."""
        return len(self.handles)

    def release(self) -> None:
        """Cancel all reminders."""
        for handle in self.handles:
            handle.cancel()
        self.handles.clear()

    def _remind(self, visit: Visit) -> None:
        raise AssertionError(f"{visit.path} was answered an hour ago")


class Client:
    """One end of a WebSocket, with what is still to be sent to it."""

    def __init__(self, visit: Visit) -> None:
        self.outbox: deque[bytes] = deque([visit.payload])


class WebSockets:
    """
    A hub of connections from which nobody who went away is taken.

    Clients vanish without a closing handshake; where only a proper close removes them, the hub keeps the others, and
    what is to be sent to them. The repair removes each in a ``finally``, whatever ended it.
    """

    name: ClassVar = "websockets"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-unbounded-set.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.clients: set[Client] = set()

    def leaky(self, visit: Visit) -> None:
        """Let a client join, and vanish."""
        self.clients.add(Client(visit))

    def fixed(self, visit: Visit) -> None:
        """Let a client join, and see it vanish."""
        client = Client(visit)
        self.clients.add(client)
        try:
            client.outbox.clear()
        finally:
            self.clients.discard(client)

    def held(self) -> int:
        """Return the number of clients in the hub."""
        return len(self.clients)

    def release(self) -> None:
        """Empty the hub."""
        self.clients.clear()


class Span:
    """One piece of work that is traced, inside of another one."""

    def __init__(self, visit: Visit, outer: Span | None) -> None:
        self.visit = visit
        self.outer = outer


SPAN: ContextVar[Span | None] = ContextVar("SPAN", default=None)
WORKER = copy_context()


class ContextVariable:
    """
    A context variable that is set and not reset.

    A worker that takes one job after the other runs them all in one context. What a job sets there stays, here a span
    that knows the span before it. The repair resets the variable in a ``finally``.
    """

    name: ClassVar = "context-variable"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-context-variable.md"
    most: ClassVar = MANY

    def leaky(self, visit: Visit) -> None:
        """Let the worker do a job."""
        WORKER.run(_begin, visit)

    def fixed(self, visit: Visit) -> None:
        """Let the worker do a job, and put the variable back."""
        WORKER.run(_trace, visit)

    def held(self) -> int:
        """Return how deep the spans of the worker are."""
        span, depth = WORKER.get(SPAN), 0
        while span is not None:
            span, depth = span.outer, depth + 1
        return depth

    def release(self) -> None:
        """End all spans."""
        WORKER.run(SPAN.set, None)


def _begin(visit: Visit) -> None:
    SPAN.set(Span(visit, SPAN.get()))


def _trace(visit: Visit) -> None:
    token = SPAN.set(Span(visit, SPAN.get()))
    SPAN.reset(token)
