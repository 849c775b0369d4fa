"""The live feed over a WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from pytest_memguard.demo.feed import Feed

if TYPE_CHECKING:
    from tests.demo.conftest import Demo

PARTS = {
    "health", "pressure", "gc", "caches", "requests", "switches", "verdict", "judgedSince", "guarded", "limit",
    "intervalSeconds", "readings", "shed", "bounds", "routes",
}  # fmt: skip

pytest.importorskip("wsproto", reason="uvicorn needs wsproto or websockets to speak WebSocket")


async def _two_messages(port: int) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/api/live") as socket:
        return [await socket.receive_json(timeout=10) for _ in range(2)]


def test_websocket_tells_everything_each_second(demo: Demo) -> None:
    """Each message holds all parts, and the second one is a second younger."""
    first, second = asyncio.run(_two_messages(demo.port))

    assert first.keys() == second.keys() == PARTS
    assert {"level", "usage", "shedding"} == first["pressure"].keys()
    assert second["requests"]["total"] >= first["requests"]["total"]
    assert len(first["switches"]) == 20


def test_listener_that_leaves_is_forgotten(demo: Demo) -> None:
    """Thirty listeners that came and went leave no task, descriptor or thread."""
    before = demo.get("/api/memory-stats")["counters"]
    asyncio.run(_crowd(demo.port, 30))
    for _ in range(50):
        after = demo.get("/api/memory-stats")["counters"]
        if after["tasks"] <= before["tasks"]:
            break

    assert after["tasks"] <= before["tasks"]
    assert after["fds"] - before["fds"] <= 3


async def _crowd(port: int, size: int) -> None:
    async with aiohttp.ClientSession() as session:
        sockets = [await session.ws_connect(f"http://127.0.0.1:{port}/api/live") for _ in range(size)]
        await asyncio.gather(*(socket.receive_json(timeout=10) for socket in sockets))
        await asyncio.gather(*(socket.close() for socket in sockets))


def test_all_listeners_share_one_message() -> None:
    """However many listen, a message is made once an interval."""
    made = []

    async def make() -> object:
        made.append(1)
        return {"number": len(made)}

    async def listen() -> list[str]:
        feed = Feed(make, interval_s=60.0)
        return list(await asyncio.gather(*(anext(feed.messages()) for _ in range(5))))

    assert [json.loads(message) for message in asyncio.run(listen())] == [{"number": 1}] * 5
