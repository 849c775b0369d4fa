"""The demo as an ASGI application: its table of operations, and everything put together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from pytest_memguard.demo import dashboard
from pytest_memguard.demo.api import Operation, refusals, routes
from pytest_memguard.demo.feed import Feed, feed_routes
from pytest_memguard.demo.openapi import document
from pytest_memguard.demo.schema import Schema, at_least, boolean, integer, listing, number, record, text
from pytest_memguard.demo.service import MOST_BYTES, MOST_HOLD_S, MOST_LEAKS, Service
from pytest_memguard.demo.switches import Mode
from pytest_memguard.service.asgi import MemguardASGI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from pytest_memguard.demo.settings import DemoSettings

__all__ = ["build", "operations"]

#: Answered while requests are turned away: what shows the state of the service, and what mends it.
_EXEMPT = (
    "/", "/health", "/metrics", "/openapi.json", "/api/memory", "/api/memory-stats", "/api/leaks", "/api/cleanup",
    "/api/snapshot", "/api/live", "/api/events",
)  # fmt: skip
_OBJECT: Schema = {"type": "object"}
_ID = integer(1, 2**63 - 1)
_LIMIT = {"limit": integer(1, 100, default=20)}
_ITEM = record({"id": _ID, "name": text(), "cents": integer(0, 10**9)})
_USER = record({"id": _ID, "name": text()})
_SESSION = record({"id": text(64), "user": _ID})
_DELETED = record({"deleted": boolean()})
_COUNT = {"type": "number"}
_MEMORY_HEALTH = at_least(
    {
        "status": text(enum=("healthy", "warning", "critical", "emergency")),
        "currentUsage": at_least(
            {"heapUsed": _COUNT, "heapTotal": _COUNT, "usagePercentage": _COUNT, "platform": {"type": "string"}}
        ),
        "trend": at_least(
            {
                "timeWindow": _COUNT,
                "averageUsage": _COUNT,
                "peakUsage": _COUNT,
                "growthRate": _COUNT,
                "isIncreasing": boolean(),
                "leakSuspected": boolean(),
            }
        ),
        "gcStats": at_least({"totalCollections": _COUNT, "efficiency": _COUNT, "averageDuration": _COUNT}),
        "recommendations": listing({"type": "string"}),
    }
)


def operations(service: Service) -> tuple[Operation, ...]:
    """Return everything that the service does, as one table."""
    return (*_health(service), *_memory(service), *_leaks(service), *_business(service))


def _health(service: Service) -> tuple[Operation, ...]:
    name = {"name": text()}
    return (
        Operation("GET", "/health", "health", service.health, _OBJECT),
        Operation("GET", "/health/metrics", "health", service.health_metrics, _OBJECT),
        Operation("POST", "/health/gc", "health", service.collect, _OBJECT),
        Operation(
            "DELETE", "/health/cache/{name}", "health", service.clear_cache, _OBJECT,
            parts=name, misses="There is no such cache.",
        ),
        Operation("GET", "/metrics", "health", service.prometheus, media="text/plain"),
    )  # fmt: skip


def _memory(service: Service) -> tuple[Operation, ...]:
    size = record({"bytes": integer(1, MOST_BYTES)}, {"hold": number(0, MOST_HOLD_S, default=10)})
    name = record({}, {"name": text(64)})
    return (
        Operation("GET", "/api/memory-stats", "memory", service.memory_stats, _OBJECT),
        Operation("POST", "/api/allocate", "memory", service.allocate, _OBJECT, body=size),
        Operation("POST", "/api/cleanup", "memory", service.cleanup, _OBJECT),
        Operation("GET", "/api/memory/health", "memory", service.memory_health, _MEMORY_HEALTH),
        Operation("GET", "/api/memory/metrics", "memory", service.memory_metrics, _OBJECT),
        Operation("GET", "/api/memory/leak-detection", "memory", service.leak_detection, _OBJECT),
        Operation("POST", "/api/memory/gc", "memory", service.memory_gc, _OBJECT),
        Operation("POST", "/api/memory/emergency-cleanup", "memory", service.emergency_cleanup, _OBJECT),
        Operation("POST", "/api/snapshot", "memory", service.snapshot, _OBJECT, body=name, refuses={400, 409}),
    )


def _leaks(service: Service) -> tuple[Operation, ...]:
    names = service.switches.names
    leak = record({"name": text(enum=names)}, {"count": integer(1, MOST_LEAKS, default=1)})
    mode = record({"mode": text(enum=tuple(mode.value for mode in Mode))})
    return (
        Operation("GET", "/api/leaks", "leaks", service.leaks, _OBJECT),
        Operation(
            "PUT", "/api/leaks/{name}", "leaks", service.turn, _OBJECT,
            parts={"name": text()}, body=mode, misses="There is no such leak.",
        ),
        Operation("POST", "/api/leak", "leaks", service.leak, _OBJECT, body=leak),
    )  # fmt: skip


def _business(service: Service) -> tuple[Operation, ...]:
    item, user, session = {"item": _ID}, {"user": _ID}, {"session": text(64)}
    new_item, new_user = record({"name": text(), "cents": integer(0, 10**9)}), record({"name": text()})
    words = {"q": text(least=0, default=""), **_LIMIT}
    items, users = record({"items": listing(_ITEM)}), record({"users": listing(_USER)})

    def operation(method: str, path: str, tag: str, run: Any, returns: Schema, **more: Any) -> Operation:  # noqa: ANN401 - what Operation takes
        return Operation(method, path, tag, run, returns, before=service.switches.visit, **more)

    return (
        operation("GET", "/api/items", "items", service.list_items, items, query=words),
        operation("POST", "/api/items", "items", service.add_item, _ITEM, status=201, body=new_item),
        operation("GET", "/api/items/{item}", "items", service.get_item, _ITEM, parts=item, misses="No such item."),
        operation(
            "DELETE", "/api/items/{item}", "items", service.delete_item, _DELETED, parts=item, misses="No such item."
        ),
        operation("GET", "/api/users", "users", service.list_users, users, query=_LIMIT),
        operation("POST", "/api/users", "users", service.add_user, _USER, status=201, body=new_user),
        operation("GET", "/api/users/{user}", "users", service.get_user, _USER, parts=user, misses="No such user."),
        operation(
            "POST",
            "/api/sessions",
            "sessions",
            service.begin_session,
            _SESSION,
            status=201,
            body=record(user),
            misses="No such user.",
        ),
        operation(
            "GET",
            "/api/sessions/{session}",
            "sessions",
            service.get_session,
            _SESSION,
            parts=session,
            misses="No such session.",
        ),
        operation(
            "DELETE",
            "/api/sessions/{session}",
            "sessions",
            service.end_session,
            _DELETED,
            parts=session,
            misses="No such session.",
        ),
    )


def build(settings: DemoSettings, ending: Callable[[], bool] = bool) -> ASGIApp:
    """
    Return the application; guarded, it is wrapped in the middleware of its guard.

    Args:
        settings: What it is made from.
        ending: Whether its server is about to end.
    """
    service = Service(settings)
    table = operations(service)
    described = document(table)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(described)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await service.close()

    app = Starlette(
        routes=[
            Route("/", _front),
            Route("/openapi.json", openapi),
            *feed_routes(Feed(service.live, ending)),
            *routes(table),
        ],
        exception_handlers=refusals(),
        lifespan=lifespan,
    )
    return MemguardASGI(app, service.guard, health_paths=_EXEMPT) if settings.guarded else app


async def _front(_request: Request) -> Response:
    return HTMLResponse(dashboard.page(), headers=dashboard.headers())
