"""What the demo consists of, and what its operations do."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pytest_memguard.demo import dashboard
from pytest_memguard.demo.counters import Counters
from pytest_memguard.demo.observation import Observation
from pytest_memguard.demo.shop import Shop
from pytest_memguard.demo.switches import Mode, Switches
from pytest_memguard.demo.wire import plain
from pytest_memguard.errors import ConfigError, MemguardError
from pytest_memguard.service.guard import Guard

if TYPE_CHECKING:
    from pytest_memguard.demo.api import Call
    from pytest_memguard.demo.settings import DemoSettings

__all__ = ["MOST_BYTES", "MOST_HOLD_S", "MOST_LEAKS", "MOST_SNAPSHOTS", "Service"]

#: Most that one request may allocate, for how long, and how often it may leak.
MOST_BYTES = 64 * 2**20
MOST_HOLD_S = 60.0
MOST_LEAKS = 10_000
#: Whoever can reach the demo can ask for snapshots, and must not fill the disk with them.
MOST_SNAPSHOTS = 16


class Service:
    """
    The demo without its routes: a shop, the switches of its leaks, and a guard over both.

    Each public coroutine is an operation; its first line is the summary in the OpenAPI document.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        self.guard = Guard(settings.guard)
        self.switches = Switches(settings.modes)
        self.shop = Shop()
        self.observation = Observation(self.guard)
        self._items = self.guard.caches.create("items")
        self._counters = Counters()
        self._allocations = _Allocations()
        self._started_s = time.monotonic()

    async def close(self) -> None:
        """Let go of everything; the guard belongs to the middleware, which stops it."""
        await self.switches.release()
        self._allocations.clear()
        self.shop.close()

    # Health and memory.

    async def health(self, _: Call) -> object:
        """Tell whether the service is well."""
        uptime_s = time.monotonic() - self._started_s
        return {"status": self.guard.level.value, "guarded": self.settings.guarded, "uptimeSeconds": uptime_s}

    async def health_metrics(self, _: Call) -> object:
        """Return the counters of the guard."""
        return plain(self.guard.metrics())

    async def collect(self, _: Call) -> object:
        """Run a full garbage collection."""
        return plain(await asyncio.to_thread(self.guard.collect))

    async def clear_cache(self, call: Call) -> object:
        """Clear one named cache."""
        name = call.path["name"]
        try:
            return {"name": name, "cleared": self.guard.caches.clear(name)}
        except KeyError:
            names = ", ".join(self.guard.caches.names())
            raise HTTPException(404, f"there is no cache {name!a}; there are: {names}") from None

    async def memory_stats(self, _: Call) -> object:
        """Return the counters of the process, read now, and what the leaks and allocations hold."""
        held = {switch.name: switch.held for switch in self.switches.states() if switch.held}
        return {"counters": self._counters.read(), "held": held, "allocated": self._allocations.held_bytes}

    async def memory_health(self, _: Call) -> object:
        """Tell how much memory is used, where that goes, and what to do."""
        return plain(await asyncio.to_thread(self.guard.health))

    async def memory_metrics(self, _: Call) -> object:
        """Return the counters of the guard."""
        return plain(self.guard.metrics())

    async def leak_detection(self, _: Call) -> object:
        """Judge whether the service leaks, by what was read since a switch was turned."""
        return plain(await asyncio.to_thread(self.observation.detect))

    async def memory_gc(self, call: Call) -> object:
        """Run a full garbage collection."""
        return await self.collect(call)

    async def emergency_cleanup(self, _: Call) -> object:
        """Do everything that frees memory."""
        return {"outcomes": plain(await asyncio.to_thread(self.guard.emergency))}

    async def snapshot(self, call: Call) -> object:
        """Write a heap snapshot into the folder of snapshots."""
        name = call.body.get("name") or time.strftime("snapshot-%Y%m%d-%H%M%S", time.gmtime())
        try:
            path = await asyncio.to_thread(self._snapshot, name)
        except ConfigError as error:
            raise HTTPException(400, str(error)) from error
        except FileExistsError as error:
            raise HTTPException(409, f"there is a snapshot {name!a} already") from error
        except (MemguardError, OSError) as error:
            raise HTTPException(409, f"no snapshot was written: {error}") from error
        return {"name": path.name, "bytes": path.stat().st_size}

    def _snapshot(self, name: str) -> Path:
        folder = Path(self.settings.guard.snapshot_dir)
        if sum(1 for _ in folder.glob("*.heapsnapshot*")) >= MOST_SNAPSHOTS:
            raise MemguardError(f"HEAP_SNAPSHOT_DIR holds {MOST_SNAPSHOTS} already; remove some")
        return self.guard.snapshot(name)

    async def prometheus(self, _: Call) -> Response:
        """Return all metrics in the text format of Prometheus."""
        from pytest_memguard.service.metrics import exposition  # noqa: PLC0415 - heavy; only where it is scraped

        text, kind = await asyncio.to_thread(exposition, self.guard)
        return Response(text, media_type=kind)

    # Memory that is asked for.

    async def allocate(self, call: Call) -> object:
        """Allocate memory, and hold it for a while."""
        self._allocations.hold(call.body["bytes"], call.body["hold"])
        return {"bytes": call.body["bytes"], "hold": call.body["hold"], "held": self._allocations.held_bytes}

    async def leak(self, call: Call) -> object:
        """Run one leak a number of times."""
        name = call.body["name"]
        return {"name": name, "held": await self.switches.leak(name, call.body["count"])}

    async def cleanup(self, _: Call) -> object:
        """Release what leaks and allocations hold; the switches stay as they are."""
        released = await self.switches.release()
        allocated = self._allocations.clear()
        collected = gc.collect()
        self.observation.begin()
        return {"released": released, "bytes": allocated, "collected": collected}

    async def leaks(self, _: Call) -> object:
        """List the leaks: what each switch says, what it holds, which counter grows, and why."""
        return {"leaks": plain(self.switches.states())}

    async def turn(self, call: Call) -> object:
        """Switch a leak off, to its leaky or to its fixed form."""
        name = call.path["name"]
        if name not in self.switches.names:
            raise HTTPException(404, f"there is no leak {name[:40]!a}; there are: {', '.join(self.switches.names)}")
        self.switches.turn(name, Mode(call.body["mode"]))
        self.observation.begin()
        return plain(self.switches.state(name))

    # Items, users and sessions.

    async def list_items(self, call: Call) -> object:
        """List items."""
        return {"items": self.shop.items(call.query["q"], call.query["limit"])}

    async def add_item(self, call: Call) -> object:
        """Add an item."""
        return self.shop.add_item(call.body["name"], call.body["cents"])

    async def get_item(self, call: Call) -> object:
        """Return an item, from the cache where it is there."""
        number = call.path["item"]
        item = self._items.get(number)
        if item is None:
            item = self._items[number] = _found(self.shop.item(number), f"item {number}")
        return item

    async def delete_item(self, call: Call) -> object:
        """Delete an item."""
        number = call.path["item"]
        if number in self._items:
            del self._items[number]
        return {"deleted": _found(self.shop.delete_item(number), f"item {number}")}

    async def list_users(self, call: Call) -> object:
        """List users."""
        return {"users": self.shop.users(call.query["limit"])}

    async def add_user(self, call: Call) -> object:
        """Add a user."""
        return self.shop.add_user(call.body["name"])

    async def get_user(self, call: Call) -> object:
        """Return a user."""
        return _found(self.shop.user(call.path["user"]), f"user {call.path['user']}")

    async def begin_session(self, call: Call) -> object:
        """Begin a session of a user."""
        return _found(self.shop.begin_session(call.body["user"]), f"user {call.body['user']}")

    async def get_session(self, call: Call) -> object:
        """Return a session."""
        return _found(self.shop.session(call.path["session"]), "session of that name")

    async def end_session(self, call: Call) -> object:
        """End a session."""
        return {"deleted": _found(self.shop.end_session(call.path["session"]), "session of that name")}

    # The feed.

    async def live(self) -> object:
        """Return all that a dashboard shows."""
        guard = self.guard
        return {
            "health": plain(guard.health()),
            "pressure": {"level": guard.level.value, "usage": guard.usage, "shedding": guard.shedding},
            "gc": plain(guard.current.gc),
            "caches": plain(guard.caches.statistics()),
            "requests": {"total": guard.requests},
            "switches": plain(self.switches.states()),
            "verdict": plain(await asyncio.to_thread(self.observation.detect)),
            "judgedSince": plain(self.observation.began_s),
            "guarded": self.settings.guarded,
            **dashboard.shown(guard),
        }


def _found(value: Any, what: str) -> Any:  # noqa: ANN401 - a row, or whether there was one
    if not value:
        raise HTTPException(404, f"there is no {what}")
    return value


@dataclass(eq=False, slots=True)
class _Allocation:
    block: bytes


class _Allocations:
    """Blocks that are held until their time is over."""

    def __init__(self) -> None:
        self._held: dict[_Allocation, asyncio.TimerHandle] = {}

    @property
    def held_bytes(self) -> int:
        return sum(len(allocation.block) for allocation in self._held)

    def hold(self, size: int, hold_s: float) -> None:
        # Written to, as memory that nobody wrote to is not there.
        allocation = _Allocation(b"\x01" * size)
        drop = partial(self._held.pop, allocation, None)
        self._held[allocation] = asyncio.get_running_loop().call_later(hold_s, drop)

    def clear(self) -> int:
        """Drop all, and return how many bytes that were."""
        dropped = self.held_bytes
        for handle in self._held.values():
            handle.cancel()
        self._held.clear()
        return dropped
