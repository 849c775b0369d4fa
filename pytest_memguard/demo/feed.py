"""The live feed: once a second all that a dashboard shows, over a WebSocket or as server-sent events."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

__all__ = ["Feed", "feed_routes"]


class Feed:
    """
    Makes one message for all who listen in the same moment.

    Args:
        make: Makes a message; not called while nobody listens.
        ending: Whether the server is about to end; it waits for streams, so they end by themselves.
        interval_s: Seconds between two messages.
    """

    def __init__(
        self, make: Callable[[], Awaitable[object]], ending: Callable[[], bool] = bool, interval_s: float = 1.0
    ) -> None:
        self._make = make
        self._ending = ending
        self._interval_s = interval_s
        self._lock = asyncio.Lock()
        self._message = ""
        self._made_s = -interval_s

    async def messages(self) -> AsyncIterator[str]:
        """Yield a message now and after each interval, as JSON, until the listener or the server goes."""
        while not self._ending():
            yield await self._latest()
            await asyncio.sleep(self._interval_s)

    async def _latest(self) -> str:
        async with self._lock:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._made_s >= self._interval_s / 2:
                self._message = json.dumps(await self._make())
                self._made_s = now_s
            return self._message


def feed_routes(feed: Feed) -> list[BaseRoute]:
    """Return the two routes of *feed*."""

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        sending = asyncio.create_task(_send(feed, socket))
        try:
            await _gone(socket)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def events(_request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(feed), media_type="text/event-stream", headers=headers)

    return [WebSocketRoute("/api/live", live), Route("/api/events", events)]


async def _send(feed: Feed, socket: WebSocket) -> None:
    async for message in feed.messages():
        try:
            await socket.send_text(message)
        except (WebSocketDisconnect, RuntimeError):  # it closed meanwhile; the other side of this task sees it too
            return


async def _gone(socket: WebSocket) -> None:
    """Return when the client has closed; what it says is of no matter."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _events(feed: Feed) -> AsyncIterator[str]:
    async for message in feed.messages():
        yield f"data: {message}\n\n"
