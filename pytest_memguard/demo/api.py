"""
One table of operations, from which both the routes and the OpenAPI document are made.

An operation says what it takes as JSON Schema; nothing reaches its function that does not fit.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pytest_memguard.demo.schema import Schema, Unfit, fitted, read

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from starlette.requests import Request

__all__ = ["BODY_LIMIT", "Call", "Operation", "refusals", "routes"]

#: Largest body in bytes, and the longest that a client may take to send it.
BODY_LIMIT = 64 * 1024
_BODY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """What a client sent, all of it checked."""

    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One thing that the service does.

    Attributes:
        run: Takes the call, returns what JSON can hold (or a response of its own); may be async. Its docstring is the
            description in the OpenAPI document.
        returns: Schema of the answer; None where it is no JSON.
        refuses: Further codes that it may answer with.
        before: Is awaited before it runs, with the path.
        parts, query, body: Schemas of what it takes, in its path, behind it and below it.
        misses: The text for 404, where the operation can miss what it was asked for.
        media: Type of the answer.
    """

    method: str
    path: str
    tag: str
    run: Callable[[Call], Any]
    returns: Schema | None = None
    status: int = 200
    parts: Mapping[str, Schema] = field(default_factory=dict)
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    misses: str = ""
    refuses: Collection[int] = ()
    media: str = "application/json"
    before: Callable[[str], Awaitable[None]] | None = None


def routes(operations: Iterable[Operation]) -> list[Route]:
    """Return one route a path; a method that the path does not have is answered with 405 and those it has."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [_route(path, group) for path, group in by_path.items()]


def _route(path: str, group: Sequence[Operation]) -> Route:
    by_method = {operation.method: operation for operation in group}

    async def endpoint(request: Request) -> Response:
        return await _answer(by_method["GET" if request.method == "HEAD" else request.method], request)

    return Route(path, endpoint, methods=list(by_method))


async def _answer(operation: Operation, request: Request) -> Response:
    call = Call(_path(operation, request), _query(operation, request), await _body(operation, request))
    if operation.before is not None:
        await operation.before(operation.path)
    answer = operation.run(call)
    if inspect.isawaitable(answer):
        answer = await answer
    return answer if isinstance(answer, Response) else JSONResponse(answer, operation.status)


def _path(operation: Operation, request: Request) -> dict[str, Any]:
    return {name: read(request.path_params[name], schema, name) for name, schema in operation.parts.items()}


def _query(operation: Operation, request: Request) -> dict[str, Any]:
    given = request.query_params
    for name in given:
        if name not in operation.query:
            known = ", ".join(operation.query) or "none"
            raise Unfit(f"there is no parameter {name[:40]!a} here; there are: {known}")
        if len(given.getlist(name)) > 1:
            raise Unfit(f"{name} is given {len(given.getlist(name))} times; give it once")
    return {
        name: read(given[name], schema, name) if name in given else schema.get("default")
        for name, schema in operation.query.items()
    }


async def _body(operation: Operation, request: Request) -> dict[str, Any]:
    if operation.body is None:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"send application/json, not {kind[:40]!r}")
    try:
        raw = await asyncio.wait_for(_received(request), _BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the body took more than {_BODY_TIMEOUT_S:g} s") from None
    body: dict[str, Any] = fitted(_parsed(raw), operation.body, "the body")
    return body


async def _received(request: Request) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > BODY_LIMIT:
            raise HTTPException(413, f"the body is too large: at most {BODY_LIMIT} bytes")
        parts.append(part)
    return b"".join(parts)


def _parsed(raw: bytes) -> Any:  # noqa: ANN401 - a value of JSON
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        problem = "too deep" if isinstance(error, RecursionError) else ascii(str(error))[1:-1][:80]
        raise HTTPException(400, f"the body is not JSON: {problem}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def refusals() -> dict[Any, Callable[[Request, Any], Response]]:
    """Return what answers for each kind of error, always as JSON."""
    return {
        HTTPException: _refused,
        Unfit: _unfit,
        ClientDisconnect: _gone,
        MemoryError: _no_memory,
        Exception: _broken,
    }


def _refused(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _unfit(_request: Request, error: Unfit) -> Response:
    return JSONResponse({"error": str(error)}, 422)


def _gone(_request: Request, _error: ClientDisconnect) -> Response:
    return JSONResponse({"error": "the client went away"}, 400)


def _no_memory(_request: Request, _error: MemoryError) -> Response:
    return JSONResponse({"error": "MemoryError"}, 500)


def _broken(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": type(error).__name__}, 500)
