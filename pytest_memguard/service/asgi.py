"""The guard as ASGI middleware: any framework, or none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pytest_memguard.service.costs import Sample
from pytest_memguard.service.endpoints import BODY_LIMIT_BYTES, answer, bearer, error, may_ask, not_found
from pytest_memguard.service.gate import HEALTH_PATHS, PREFIX, Gate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_memguard.service.endpoints import Response
    from pytest_memguard.service.guard import Guard

__all__ = ["MemguardASGI"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: A body of a few bytes that has not come after that long does not come.
_BODY_TIMEOUT_S = 5.0
#: Each takes a thread while it is answered.
_MOST_ENDPOINT_REQUESTS = 4


class MemguardASGI:
    """
    Watches an ASGI application, turns requests away while memory is short, and answers under *prefix* for who may ask.

    The guard starts and stops with the lifespan of the application, which need not know of it, or else with the first
    request. Websockets pass untouched, and so do responses, but for the headers of ``expose_headers``.

    Args:
        app: The application.
        guard: A guard of its own is made, from *settings* and ``MEMGUARD_*``, where none is given.
        prefix: Path of the endpoints; empty for none.
        health_paths: Answered also while requests are turned away, and so is what lies below them.
        settings: Fields of ``GuardSettings``.

    Raises:
        ConfigError: A setting is wrong.

    """

    def __init__(
        self,
        app: Application,
        guard: Guard | None = None,
        *,
        prefix: str = PREFIX,
        health_paths: Iterable[str] = HEALTH_PATHS,
        **settings: Any,  # noqa: ANN401 - each of the type of its setting, and checked there
    ) -> None:
        self._app = app
        self._gate: Gate[Sample] = Gate(guard, prefix, health_paths, settings, Sample)
        self._answering = 0

    @property
    def guard(self) -> Guard:
        """What watches."""
        return self._gate.guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one connection, as the application would.

        A request for which nothing else is due is counted here, without any call: where a server does little for each,
        a call is worth half a percent of its throughput.
        """
        gate = self._gate
        sampler = gate.sampler
        if (
            scope["type"] != "http"
            or not gate.steady
            or gate.guard.shedding
            or gate.watched in scope["path"]
            or perf_counter() >= sampler.next_s
        ):
            await self._attend(scope, receive, send)
            return
        sampler.began += 1
        try:
            await self._app(scope, receive, send)
        except MemoryError:
            gate.guard.alarm()
            raise
        finally:
            sampler.ended += 1

    async def _attend(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection with which there is more to do than to count it."""
        if scope["type"] != "http":
            await (self._live if scope["type"] == "lifespan" else self._app)(scope, receive, send)
            return
        gate = self._gate
        if not gate.started:
            gate.start()
        path: str = scope["path"]
        mount: str = scope.get("root_path", "")
        if mount:
            path = path.removeprefix(mount)
        if gate.concerns(path) and await self._answered(scope, receive, send, path):
            return
        if gate.shows_headers:
            send = _with_headers(send, gate)
        sample = gate.sampler.enter()
        found = True
        try:
            if sample is None:
                await self._app(scope, receive, send)
            else:
                found = await _noting(self._app, scope, receive, send)
        except MemoryError:
            gate.guard.alarm()
            raise
        finally:
            cost_bytes = gate.sampler.leave(sample)
            if cost_bytes is not None:
                gate.count(cost_bytes, scope["method"], path, _route(scope, mount), found=found)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, path: str) -> bool:
        """Answer a request to an endpoint, or turn one away; return whether it was either."""
        endpoint = self._gate.endpoint(path)
        if endpoint is None:
            response = self._gate.turned_away(path)
        else:
            response = await self._answer(scope, receive, endpoint)
        if response is None:
            return False
        await _respond(send, response, with_body=scope["method"] != "HEAD")
        return True

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Follow the lifespan of the application, or stand in for one that has none."""
        took_part = False

        async def receive_and_note() -> Message:
            nonlocal took_part
            took_part = True
            return await receive()

        self._gate.start()
        try:
            try:
                await self._app(scope, receive_and_note, send)
            except Exception:  # by the specification: this application does not know of lifespans
                if took_part:
                    raise
            if not took_part:
                await _stand_in(receive, send)
        finally:
            self._gate.stop()

    async def _answer(self, scope: Scope, receive: Receive, path: str) -> Response:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        token = bearer(headers.get(b"authorization"))
        peer = (scope.get("client") or (None,))[0]
        if not may_ask(self.guard, token, peer):
            return not_found()
        if self._answering >= _MOST_ENDPOINT_REQUESTS:
            return error(503, "busy with earlier requests", (b"Retry-After", b"1"))
        self._answering += 1
        try:
            body = await _body(receive, headers) if scope["method"] == "POST" else b""
            if not isinstance(body, bytes):
                return body
            query = scope.get("query_string", b"")
            return await _in_thread(
                lambda: answer(self.guard, scope["method"], path, query, token=token, peer=peer, body=body)
            )
        finally:
            self._answering -= 1


def _route(scope: Scope, mount: str) -> str | None:
    """Return the route that Starlette or FastAPI have found, as in ``/users/{id}``."""
    path = getattr(scope.get("route"), "path", None)
    return scope.get("root_path", "")[len(mount) :] + path if isinstance(path, str) else None


async def _noting(app: Application, scope: Scope, receive: Receive, send: Send) -> bool:
    """Serve a request; return whether there was what it asked for."""
    found = True

    async def send_and_note(message: Message) -> None:
        nonlocal found
        if message["type"] == "http.response.start":
            found = message["status"] != 404  # noqa: PLR2004 - not found
        await send(message)

    await app(scope, receive, send_and_note)
    return found


def _with_headers(send: Send, gate: Gate[Sample]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_lower(gate.headers())]}
        await send(message)

    return send_with_headers


def _lower(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return *headers* as ASGI wants them."""
    return [(name.lower(), value) for name, value in headers]


async def _stand_in(receive: Receive, send: Send) -> None:
    """Answer the server in the place of an application that does not know of lifespans."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _respond(send: Send, response: Response, *, with_body: bool) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": _lower(response.headers)})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes | Response:
    """Return the body, or the answer to one that is too large or does not come."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 9 or int(length) > BODY_LIMIT_BYTES:  # noqa: PLR2004 - digits of a size
        return error(413, f"the body must not be longer than {BODY_LIMIT_BYTES} bytes")
    try:
        return await asyncio.wait_for(_limited(receive), _BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        return error(408, "the body did not come in time")


async def _limited(receive: Receive) -> bytes | Response:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_LIMIT_BYTES:
            return error(413, f"the body must not be longer than {BODY_LIMIT_BYTES} bytes")
    return body


async def _in_thread(work: Callable[[], Response]) -> Response:
    """
    Run *work* in a thread of its own, while the event loop goes on.

    Not in the loop's executor: an application that has filled it would have to be waited for.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Response] = loop.create_future()

    def tell(response: Response) -> None:
        if not done.done():
            done.set_result(response)

    def run() -> None:
        response = work()
        with suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(tell, response)

    threading.Thread(target=run, name="memguard-answer", daemon=True).start()
    return await done
