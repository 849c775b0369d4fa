"""The ASGI middleware: what passes, what is turned away, and what it answers itself."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import math
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from pytest_memguard.errors import ConfigError
from pytest_memguard.service import asgi, costs
from pytest_memguard.service.actions import Outcome
from pytest_memguard.service.asgi import MemguardASGI
from pytest_memguard.service.costs import OTHER
from pytest_memguard.service.gate import Gate
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.settings import GuardSettings

TOKEN = "0123456789abcdef"  # noqa: S105 - the shortest one that is allowed
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())

Message = MutableMapping[str, Any]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Guard]:
    """Return a guard that takes one reading when it is started, and then waits for the end of the test."""
    guard = Guard(GuardSettings(token=TOKEN, interval_s=600, snapshot_dir=str(tmp_path), limit_bytes=2**40))
    yield guard
    guard.stop()


@pytest.fixture
def guard(live: Guard, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Return a guard that never starts, so that its level is what a test sets it to."""
    monkeypatch.setattr(live, "start", lambda: None)
    return live


@pytest.fixture(params=[False, True], ids=["first request", "later request"])
def settled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each middleware serve its first request, or one of many: neither may be noticed."""
    make = Gate.__init__

    def make_and_start(gate: Gate[Any], *given: Any) -> None:  # noqa: ANN401 - what a gate is given
        make(gate, *given)
        gate.start()
        gate.sampler.next_s = math.inf

    if request.param:
        monkeypatch.setattr(Gate, "__init__", make_and_start)


@pytest.fixture
def often() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual_s)


def _runs(guard: Guard) -> bool:
    return guard._monitor.running


class _App:
    """An application that answers with its name, and notes what it is called with."""

    def __init__(self, *body: bytes) -> None:
        self.body = body or (b"app",)
        self.scopes: list[Message] = []

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - either is a callable
        assert scope["type"] == "http"
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
        for chunk in self.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _scope(path: str = "/", method: str = "GET", **more: object) -> Message:
    headers: list[tuple[bytes, bytes]] = []
    return {"type": "http", "method": method, "path": path, "headers": headers, "client": ("127.0.0.1", 5), **more}


async def _exchange(app: Any, scope: Message, *bodies: Message) -> list[Message]:  # noqa: ANN401 - any application
    """Return all that the application sends."""
    sent: list[Message] = []
    waiting = list(bodies) or [{"type": "http.request", "body": b""}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def _ask(app: Any, scope: Message, *bodies: Message) -> tuple[int, dict[bytes, bytes], bytes]:  # noqa: ANN401 - the same
    sent = asyncio.run(_exchange(app, scope, *bodies))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body


@pytest.mark.usefixtures("settled")
class TestPassing:
    """What the middleware leaves alone."""

    def test_request_reaches_the_application(self, guard: Guard) -> None:
        """A request passes with the very scope of the server, and the answer with the very headers."""
        app, scope = _App(), _scope("/x")
        answered = _ask(MemguardASGI(app, guard), scope)

        assert answered == (200, {b"x-app": b"1"}, b"app")
        assert app.scopes[0] is scope

    def test_streaming_stays_streaming(self, guard: Guard) -> None:
        """Each chunk is sent when the application sends it."""
        seen: list[int] = []
        sent: list[Message] = []

        async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - either is a callable
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(3):
                seen.append(len(sent))
                await send({"type": "http.response.body", "body": b"x", "more_body": True})

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(MemguardASGI(app, guard)(_scope(), None, send))

        assert seen == [1, 2, 3]

    @pytest.mark.parametrize("kind", ["websocket", "something.new"])
    def test_other_scopes_are_untouched(self, guard: Guard, kind: str) -> None:
        """Other connections are passed on as they are, also in an emergency and under the prefix."""
        seen = []

        async def app(*given: object) -> None:
            seen.append(given)

        guard.level = Pressure.EMERGENCY
        given = ({"type": kind, "path": "/memguard/health"}, object(), object())
        asyncio.run(MemguardASGI(app, guard)(*given))

        assert seen == [given]
        assert all(one is other for one, other in zip(seen[0], given, strict=True))

    @pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), KeyboardInterrupt()])
    def test_exceptions_pass(self, guard: Guard, error: BaseException) -> None:
        """What the application raises is what the server gets, and the request counts as completed."""

        async def app(*_: object) -> None:
            raise error

        middleware = MemguardASGI(app, guard)
        connection = middleware(_scope(), None, None)

        with pytest.raises(type(error)) as raised:
            connection.send(None)
        assert raised.value is error
        assert guard.requests == 1

    def test_out_of_memory_is_an_emergency(self, guard: Guard) -> None:
        """An application that runs out of memory tells the guard before any reading does."""

        async def app(*_: object) -> None:
            raise MemoryError

        with pytest.raises(MemoryError):
            asyncio.run(_exchange(MemguardASGI(app, guard), _scope()))
        assert guard.shedding

    def test_it_is_a_coroutine_function(self, guard: Guard) -> None:
        """Servers tell ASGI 3 from ASGI 2 by that."""
        assert inspect.iscoroutinefunction(MemguardASGI(_App(), guard).__call__)


@pytest.mark.usefixtures("settled")
class TestHeaders:
    """The memory headers."""

    def test_none_by_default(self, guard: Guard) -> None:
        """Nobody learns anything about memory who is not to."""
        _, headers, _ = _ask(MemguardASGI(_App(), guard), _scope())

        assert not [name for name in headers if name.startswith(b"x-memory")]

    def test_where_asked_for(self) -> None:
        """They tell the status, the usage and the size, and leave the application's own."""
        middleware = MemguardASGI(_App(), Guard(GuardSettings(expose_headers=True, interval_s=600, limit_bytes=2**40)))
        _, headers, body = _ask(middleware, _scope())
        middleware.guard.stop()

        assert body == b"app"
        assert headers[b"x-app"] == b"1"
        assert headers[b"x-memory-status"] == b"healthy"
        assert headers[b"x-memory-usage"] == b"0.0%"
        assert int(headers[b"x-memory-rss"]) > 10**6


@pytest.mark.usefixtures("settled")
class TestShedding:
    """Turning requests away while memory is short."""

    def test_request_is_turned_away(self, guard: Guard) -> None:
        """In an emergency a request is answered without the application, and counted as such."""
        app = _App()
        guard.level = Pressure.EMERGENCY
        status, headers, body = _ask(MemguardASGI(app, guard), _scope("/work"))

        assert (status, headers[b"retry-after"], headers[b"content-type"]) == (503, b"5", b"application/json")
        assert json.loads(body)["status"] == "emergency"
        assert (app.scopes, guard.shed, guard.requests) == ([], 1, 0)

    @pytest.mark.parametrize("level", [Pressure.HEALTHY, Pressure.WARNING, Pressure.CRITICAL])
    def test_below_an_emergency_all_pass(self, guard: Guard, level: Pressure) -> None:
        """No level below turns anything away."""
        guard.level = level

        assert _ask(MemguardASGI(_App(), guard), _scope())[0] == 200

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/health", 200), ("/health/deep", 200), ("/livez", 200), ("/healthy", 503), ("/x/health", 503), ("/", 503)],
    )
    def test_health_is_answered(self, guard: Guard, path: str, status: int) -> None:
        """A supervisor sees that the process lives."""
        guard.level = Pressure.EMERGENCY

        assert _ask(MemguardASGI(_App(), guard), _scope(path))[0] == status

    def test_other_health_paths(self, guard: Guard) -> None:
        """The application says where its health is."""
        guard.level = Pressure.EMERGENCY
        middleware = MemguardASGI(_App(), guard, health_paths=["/up"])

        assert [_ask(middleware, _scope(path))[0] for path in ("/up", "/health")] == [200, 503]

    def test_endpoints_are_answered(self, guard: Guard) -> None:
        """Who may ask can ask then most of all."""
        guard.level = Pressure.EMERGENCY
        status, _, body = _ask(MemguardASGI(_App(), guard), _scope("/memguard/health", headers=[BEARER]))

        assert (status, "currentUsage" in json.loads(body)) == (200, True)

    def test_answer_to_head_has_no_body(self, guard: Guard) -> None:
        """An answer to HEAD has the length of the body and not the body."""
        guard.level = Pressure.EMERGENCY
        status, headers, body = _ask(MemguardASGI(_App(), guard), _scope(method="HEAD"))

        assert (status, body) == (503, b"")
        assert int(headers[b"content-length"]) > 0

    def test_turning_away_takes_less_than_a_millisecond(self, guard: Guard) -> None:
        """It costs next to nothing, or it would not help."""
        guard.level = Pressure.EMERGENCY
        middleware = MemguardASGI(_App(), guard)

        async def least_s() -> float:
            took = []
            for _ in range(50):
                began = time.perf_counter()
                await _exchange(middleware, _scope())
                took.append(time.perf_counter() - began)
            return sorted(took)[25]

        assert asyncio.run(least_s()) < 0.001


@pytest.mark.usefixtures("settled")
class TestEndpoints:
    """What lies under the prefix."""

    def test_with_token_from_here(self, guard: Guard) -> None:
        """Who may ask gets the answer of the guard; the application does not see the request."""
        app = _App()
        status, headers, body = _ask(MemguardASGI(app, guard), _scope("/memguard/health", headers=[BEARER]))

        assert (status, json.loads(body)["status"], app.scopes) == (200, "healthy", [])
        assert headers[b"cache-control"] == b"no-store"

    @pytest.mark.parametrize(
        "more",
        [
            {"headers": []},
            {"headers": [(b"authorization", b"Bearer wrong-token-0000")]},
            {"headers": [BEARER], "client": ("8.8.8.8", 5)},
            {"headers": [BEARER], "client": None},
            {"headers": [BEARER, (b"x-forwarded-for", b"127.0.0.1")], "client": ("8.8.8.8", 5)},
            {"headers": [BEARER, (b"forwarded", b"for=127.0.0.1")], "client": ("8.8.8.8", 5)},
            {"query_string": f"token={TOKEN}".encode()},
        ],
    )
    @pytest.mark.parametrize("path", ["/memguard", "/memguard/", "/memguard/health", "/memguard/nothing"])
    def test_for_others_there_is_nothing(self, guard: Guard, path: str, more: dict[str, object]) -> None:
        """Whoever may not ask gets the same 404 everywhere, whatever headers say about where they are."""
        status, _, body = _ask(MemguardASGI(_App(), guard), _scope(path, **more))

        assert (status, body) == (404, b'{"error": "not found"}')

    def test_without_a_token(self) -> None:
        """Without a token there is nothing either."""
        middleware = MemguardASGI(_App(), interval_s=600)
        status, _, body = _ask(middleware, _scope("/memguard/health"))
        middleware.guard.stop()

        assert (status, body) == (404, b'{"error": "not found"}')

    def test_forwarded_header_does_not_lock_out(self, guard: Guard) -> None:
        """What the header says is not looked at in either direction."""
        headers = [BEARER, (b"x-forwarded-for", b"8.8.8.8")]

        assert _ask(MemguardASGI(_App(), guard), _scope("/memguard/health", headers=headers))[0] == 200

    @pytest.mark.parametrize(
        ("prefix", "path", "status"),
        [("/ops/mem", "/ops/mem/health", 200), ("/ops", "/memguard/health", 299), ("", "/health", 299)],
    )
    def test_other_prefix(self, guard: Guard, prefix: str, path: str, status: int) -> None:
        """The endpoints are where they are said to be, and nowhere else."""

        async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - either is a callable
            await send({"type": "http.response.start", "status": 299, "headers": []})

        middleware = MemguardASGI(app, guard, prefix=prefix)

        assert _ask(middleware, _scope(path, headers=[BEARER]))[0] == status

    @pytest.mark.parametrize("root", ["/api", ""])
    def test_below_a_mount(self, guard: Guard, root: str) -> None:
        """The prefix counts from where the application is mounted."""
        scope = _scope(f"{root}/memguard/health", headers=[BEARER], root_path=root)

        assert _ask(MemguardASGI(_App(), guard), scope)[0] == 200

    @pytest.mark.parametrize(
        ("bodies", "status"),
        [
            ([b'{"name"', b': "a"}'], 200),
            ([b" " * 4096], 200),
            ([b" " * 4097], 413),
            ([b" " * 4096, b" "], 413),
        ],
    )
    def test_body(
        self, guard: Guard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bodies: list[bytes], status: int
    ) -> None:
        """A body comes in parts, and is not read further than a name can be long."""
        monkeypatch.setattr(guard, "snapshot", lambda name: tmp_path)
        parts = [{"type": "http.request", "body": body, "more_body": body is not bodies[-1]} for body in bodies]

        assert (
            _ask(MemguardASGI(_App(), guard), _scope("/memguard/snapshot", "POST", headers=[BEARER]), *parts)[0]
            == status
        )

    @pytest.mark.parametrize("length", [b"4097", b"99999999999999999999", b"-1", b"x", b"1" * 5000])
    def test_length_that_is_too_much(self, guard: Guard, length: bytes) -> None:
        """A body that says how long it is need not come at all to be refused."""
        headers = [BEARER, (b"content-length", length)]

        assert _ask(MemguardASGI(_App(), guard), _scope("/memguard/gc", "POST", headers=headers))[0] == 413

    def test_body_that_does_not_come(self, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that sends half a body is not waited for."""
        monkeypatch.setattr(asgi, "_BODY_TIMEOUT_S", 0.01)
        part = {"type": "http.request", "body": b"{", "more_body": True}

        assert _ask(MemguardASGI(_App(), guard), _scope("/memguard/snapshot", "POST", headers=[BEARER]), part)[0] == 408

    def test_client_that_leaves(self, guard: Guard) -> None:
        """A client that leaves in the middle of the body is let go."""
        part = {"type": "http.request", "body": b"{", "more_body": True}
        status, _, _ = _ask(
            MemguardASGI(_App(), guard),
            _scope("/memguard/snapshot", "POST", headers=[BEARER]),
            part,
            {"type": "http.disconnect"},
        )

        assert status == 400

    def test_heavy_work_leaves_the_loop_alone(self, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the guard works, the loop serves: the work here ends only when another request has been served."""
        served = threading.Event()
        monkeypatch.setattr(guard, "collect", lambda: Outcome("collect", int(served.wait(10)), 0.0))
        middleware = MemguardASGI(_App(), guard)

        async def both() -> list[Message]:
            collecting = asyncio.create_task(_exchange(middleware, _scope("/memguard/gc", "POST", headers=[BEARER])))
            await asyncio.sleep(0)
            await _exchange(middleware, _scope())
            served.set()
            return await collecting

        sent = asyncio.run(both())

        assert json.loads(sent[1]["body"])["outcome"]["freedBytes"] == 1

    def test_number_of_requests_at_a_time(self, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fifth request that waits for the guard is told to come back, and the next one after them is answered."""
        go = threading.Event()
        monkeypatch.setattr(guard, "collect", lambda: Outcome("collect", int(go.wait(10)), 0.0))
        middleware = MemguardASGI(_App(), guard)
        scope = _scope("/memguard/gc", "POST", headers=[BEARER])

        async def all_of_them() -> tuple[list[int], int]:
            waiting = [asyncio.create_task(_exchange(middleware, scope)) for _ in range(4)]
            await asyncio.sleep(0)
            refused = await _exchange(middleware, scope)
            go.set()
            answered = await asyncio.gather(*waiting)
            again = await _exchange(middleware, scope)
            return [sent[0]["status"] for sent in answered] + [again[0]["status"]], refused[0]["status"]

        assert asyncio.run(all_of_them()) == ([200] * 5, 503)

    def test_collecting_a_small_heap_is_no_pause(self, guard: Guard) -> None:
        """A real collection beside a ticking loop holds it no longer than the collection itself."""
        middleware = MemguardASGI(_App(), guard)

        async def longest_gap_s() -> float:
            collecting = asyncio.create_task(_exchange(middleware, _scope("/memguard/gc", "POST", headers=[BEARER])))
            longest, before = 0.0, time.perf_counter()
            while not collecting.done():
                await asyncio.sleep(0)
                now = time.perf_counter()
                longest, before = max(longest, now - before), now
            return longest

        gc.collect()
        gc.freeze()
        try:
            gap_s = min(asyncio.run(longest_gap_s()) for _ in range(3))
        finally:
            gc.unfreeze()

        assert gap_s < 0.05


async def _lifespan(app: Any, *events: str) -> list[str]:  # noqa: ANN401 - any application
    """Return the kinds of what the application answers to lifespan events."""
    sent = await _exchange(app, {"type": "lifespan"}, *({"type": f"lifespan.{event}"} for event in events))
    return [message["type"] for message in sent]


class TestStart:
    """When the guard runs."""

    def test_with_the_lifespan(self, live: Guard) -> None:
        """The guard runs from before the start of the application to after its end."""
        seen = []

        async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - either is a callable
            for event in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{event}"
                seen.append(_runs(live))
                await send({"type": f"lifespan.{event}.complete"})

        answers = asyncio.run(_lifespan(MemguardASGI(app, live), "startup", "shutdown"))

        assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert (seen, _runs(live)) == ([True, True], False)

    @pytest.mark.parametrize("refuses", [True, False], ids=["raises", "returns"])
    def test_stands_in_for_an_application_without(self, live: Guard, refuses: bool) -> None:  # noqa: FBT001 - a column
        """An application that knows no lifespan leaves it to the middleware, which does what the server waits for."""

        async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - either is a callable
            if refuses:
                raise ValueError("only http")

        seen = []

        async def receive() -> Message:
            seen.append(_runs(live))
            return {"type": "lifespan.shutdown" if len(seen) > 1 else "lifespan.startup"}

        sent: list[str] = []

        async def send(message: Message) -> None:
            sent.append(message["type"])

        asyncio.run(MemguardASGI(app, live)({"type": "lifespan"}, receive, send))

        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert (seen, _runs(live)) == ([True, True], False)

    def test_start_that_fails(self, live: Guard) -> None:
        """An application that fails when it starts fails as without the middleware, and the guard is stopped."""

        async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - either is a callable
            await receive()
            raise OSError("no database")

        with pytest.raises(OSError, match="no database"):
            asyncio.run(_lifespan(MemguardASGI(app, live), "startup"))
        assert not _runs(live)

    def test_with_the_first_request(self, live: Guard) -> None:
        """Where the server sends no lifespan events, the first request starts the guard."""
        middleware = MemguardASGI(_App(), live)
        before = _runs(live)
        _ask(middleware, _scope())

        assert (before, _runs(live)) == (False, True)

    def test_guard_that_cannot_start(
        self, live: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The service is worth more than its guard: it serves, and the log says once what is wrong."""

        def start() -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(live, "start", start)
        middleware = MemguardASGI(_App(), live)

        assert [_ask(middleware, _scope())[0] for _ in range(2)] == [200, 200]
        assert [record.getMessage() for record in caplog.records] == [
            "memguard could not start and does not watch this process"
        ]


class TestSettings:
    """What the middleware is made with."""

    @pytest.mark.parametrize("prefix", ["memguard", "/memguard/", "/"])
    def test_wrong_prefix(self, guard: Guard, prefix: str) -> None:
        """A prefix begins with a slash and does not end with one."""
        with pytest.raises(ConfigError, match="must begin with a slash and not end with one"):
            MemguardASGI(_App(), guard, prefix=prefix)

    def test_settings_beside_a_guard(self, guard: Guard) -> None:
        """A guard that is given has its settings already."""
        with pytest.raises(ConfigError, match="token must be set on the guard"):
            MemguardASGI(_App(), guard, token=TOKEN)

    def test_token_that_is_too_short(self) -> None:
        """A token of fifteen bytes is refused where the service starts."""
        with pytest.raises(ConfigError, match="token"):
            MemguardASGI(_App(), token=TOKEN[:-1])


class TestCounting:
    """How many requests have been served."""

    def test_middlewares_of_one_guard(self, guard: Guard) -> None:
        """What each of them has served is counted, and what the service itself counts."""
        for middleware in (MemguardASGI(_App(), guard), MemguardASGI(_App(), guard)):
            for _ in range(50):
                _ask(middleware, _scope())
        guard.count_request("/job", None)

        assert guard.requests == 101

    def test_measured_or_not(self, guard: Guard) -> None:
        """A request counts as one whether it was measured or not."""
        middleware = MemguardASGI(_App(), guard)
        for next_s in (0.0, math.inf, 0.0):
            middleware._gate.sampler.next_s = next_s
            _ask(middleware, _scope("/x"))

        assert [cost.measured for cost in guard.routes] == [2]
        assert guard.requests == 3

    def test_no_request_before_the_first(self, guard: Guard) -> None:
        """What a middleware measures to know its own cost is no request."""
        MemguardASGI(_App(), guard)

        assert guard.requests == 0

    @pytest.mark.usefixtures("often")
    def test_loops_in_several_threads(self, guard: Guard) -> None:
        """None is lost where several loops call one middleware, and the threads take turns as often as they can."""
        middleware = MemguardASGI(_App(), guard)

        async def ask() -> None:
            for _ in range(500):
                await _exchange(middleware, _scope())

        threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert guard.requests == 2000

    def test_in_a_forked_worker(self, guard: Guard) -> None:
        """A child begins at zero, whatever the middlewares have counted before the fork."""
        middleware = MemguardASGI(_App(), guard)
        counts = []
        for _ in range(2):
            _ask(middleware, _scope())
            guard.count_request("/job", None)
            counts.append(guard.requests)
            guard._monitor.be_born()

        assert (counts, guard.requests) == ([2, 2], 0)


class TestCosts:
    """What requests keep, by route."""

    @pytest.fixture(autouse=True)
    def _without_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Measure every request, however soon after the one before."""
        monkeypatch.setattr(costs, "_REST", 0)

    def test_route_of_starlette(self, guard: Guard) -> None:
        """The route is what the framework has found, also below a mount."""

        async def page(request: object) -> PlainTextResponse:
            return PlainTextResponse("x")

        routes = [Route("/users/{name}", page), Mount("/admin", routes=[Route("/jobs/{id}", page)])]
        middleware = MemguardASGI(Starlette(routes=routes), guard)
        _ask(middleware, _scope("/users/ann", query_string=b""))
        _ask(middleware, _scope("/admin/jobs/7", query_string=b""))
        _ask(middleware, _scope("/wp-login.php", query_string=b""))

        assert {cost.route for cost in guard.routes} == {"GET /users/{name}", "GET /admin/jobs/{id}", "GET (not found)"}
        assert guard.requests == 3

    def test_path_where_there_is_no_route(self, guard: Guard) -> None:
        """Without a framework the path stands for the route, without its numbers; a method of nobody's is any."""
        middleware = MemguardASGI(_App(), guard)
        _ask(middleware, _scope("/users/17"))
        _ask(middleware, _scope("/users", "BREW"))

        assert {cost.route for cost in guard.routes} == {"GET /users/{}", f"{OTHER} /users"}

    def test_what_is_kept(self, guard: Guard) -> None:
        """A request that keeps a hundred thousand bytes costs that."""
        kept = []

        async def app(*_: object) -> None:
            kept.append(bytearray(100_000))

        asyncio.run(MemguardASGI(app, guard)(_scope("/keep"), None, None))
        (cost,) = guard.routes

        assert cost.route == "GET /keep"
        assert 100_000 <= cost.total_bytes < 140_000

    def test_beside_another_request(self, guard: Guard) -> None:
        """A request during which another one was served is not charged for what that one kept."""

        async def app(scope: Message, *_: object) -> None:
            if scope["path"] == "/outer":
                middleware._gate.sampler.next_s = math.inf
                await middleware(_scope("/inner"), None, None)

        middleware = MemguardASGI(app, guard)
        asyncio.run(middleware(_scope("/outer"), None, None))

        assert (guard.requests, list(guard.routes)) == (2, [])
