"""The WSGI middleware: what passes, what is turned away, and what it answers itself."""

from __future__ import annotations

import io
import json
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import pytest

from pytest_memguard.service import costs
from pytest_memguard.service.gate import Gate
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.settings import GuardSettings
from pytest_memguard.service.wsgi import MemguardWSGI

TOKEN = "0123456789abcdef"  # noqa: S105 - the shortest one that is allowed
BEARER = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}

Environ = dict[str, Any]


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


@pytest.fixture(params=["measured", "not measured", "later request"])
def measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure every request, or none, or serve them as one of many: neither may be noticed."""
    make = Gate.__init__

    def make_and_start(gate: Gate[Any], *given: Any) -> None:  # noqa: ANN401 - what a gate is given
        make(gate, *given)
        gate.start()
        gate.sampler.next_s = math.inf

    monkeypatch.setattr(costs, "_REST", 0)
    if request.param == "not measured":
        monkeypatch.setattr(costs.Sampler, "enter", lambda self: None)
    if request.param == "later request":
        monkeypatch.setattr(Gate, "__init__", make_and_start)


def _environ(path: str = "/", method: str = "GET", body: bytes = b"", **more: object) -> Environ:
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **more,
    }


def _ask(app: Callable[..., Iterable[bytes]], environ: Environ) -> tuple[int, dict[str, str], bytes]:
    """Return what the application answers, as a server would read it."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], None]:
        started[:] = [int(status[:3]), dict(headers)]
        return lambda chunk: None

    chunks = app(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return started[0], started[1], body


def _app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("X-App", "1")])
    return [b"app"]


class _Chunks:
    """A response that notes how far it has been read, and whether it was closed."""

    def __init__(self) -> None:
        self.read = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(3):
            self.read += 1
            yield b"x"

    def close(self) -> None:
        self.closed += 1


@pytest.mark.usefixtures("measured")
class TestPassing:
    """What the middleware leaves alone, whether it measures the request or not."""

    def test_request_reaches_the_application(self, guard: Guard) -> None:
        """A request passes with the very environment of the server, and the answer with the very headers."""
        seen = []

        def app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
            seen.append(environ)
            return _app(environ, start_response)

        environ = _environ()

        assert _ask(MemguardWSGI(app, guard), environ) == (200, {"X-App": "1"}, b"app")
        assert seen[0] is environ
        assert guard.requests == 1

    def test_by_the_letter_of_the_specification(self, guard: Guard) -> None:
        """The standard library's checker finds nothing wrong, on either side."""
        app = validator(MemguardWSGI(validator(_plain), guard))

        assert _ask(app, _environ()) == (200, {"Content-Type": "text/plain", "Content-Length": "3"}, b"app")

    def test_streaming_stays_streaming(self, guard: Guard) -> None:
        """A chunk is made when the server asks for it, and the response is closed once."""
        chunks = _Chunks()
        response = MemguardWSGI(lambda *_: chunks, guard)(_environ(), lambda *_: None)
        reading = iter(response)
        made = [(next(reading), chunks.read)[1] for _ in range(3)]
        response.close()

        assert (made, chunks.closed) == ([1, 2, 3], 1)

    def test_length_of_one_chunk_is_known(self, guard: Guard) -> None:
        """A server that counts the chunks can count them."""
        response = MemguardWSGI(_app, guard)(_environ(), lambda *_: None)

        assert len(response) == 1

    def test_length_of_a_stream_is_not_known(self, guard: Guard) -> None:
        """A server must not conclude a length that is not there."""
        response = MemguardWSGI(lambda *_: _Chunks(), guard)(_environ(), lambda *_: None)

        assert not hasattr(response, "__len__")

    def test_file_wrapper_reaches_the_server(self, guard: Guard) -> None:
        """A file that the server can send by itself stays one."""
        wrapper = FileWrapper(io.BytesIO(b"file"))
        environ = _environ(**{"wsgi.file_wrapper": FileWrapper})

        assert MemguardWSGI(lambda *_: wrapper, guard)(environ, lambda *_: None) is wrapper
        assert guard.requests == 1

    def test_write_callable_and_exception_pass(self, guard: Guard) -> None:
        """What start_response is given and gives back passes through."""
        given, write = [], object()

        def app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
            given.append(start_response("500 No", [], ("type", "error", None)))
            return []

        def start_response(*arguments: object) -> object:
            given.append(arguments)
            return write

        MemguardWSGI(app, guard)(_environ(), start_response)

        assert given == [("500 No", [], ("type", "error", None)), write]

    def test_exceptions_pass(self, guard: Guard) -> None:
        """What the application raises is what the server gets, and the request counts as completed."""
        error = ValueError("x")

        def app(*_: object) -> list[bytes]:
            raise error

        with pytest.raises(ValueError, match="x") as raised:
            _ask(MemguardWSGI(app, guard), _environ())
        assert raised.value is error
        assert guard.requests == 1

    def test_exception_in_the_stream_passes(self, guard: Guard) -> None:
        """The same while the response is being sent."""

        def app(*_: object) -> Iterator[bytes]:
            yield b"x"
            raise ValueError("late")

        with pytest.raises(ValueError, match="late"):
            list(MemguardWSGI(app, guard)(_environ(), lambda *_: None))

    def test_out_of_memory_is_an_emergency(self, guard: Guard) -> None:
        """An application that runs out of memory tells the guard before any reading does."""

        def app(*_: object) -> list[bytes]:
            raise MemoryError

        with pytest.raises(MemoryError):
            _ask(MemguardWSGI(app, guard), _environ())
        assert guard.shedding


def _plain(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"app"]


def test_headers_where_asked_for() -> None:
    """The memory headers tell the status, the usage and the size, and leave the application's own."""
    guard = Guard(GuardSettings(expose_headers=True, interval_s=600, limit_bytes=2**40))
    _, headers, body = _ask(MemguardWSGI(_app, guard), _environ())
    guard.stop()

    assert (body, headers["X-App"], headers["X-Memory-Status"]) == (b"app", "1", "healthy")
    assert headers["X-Memory-Usage"] == "0.0%"
    assert int(headers["X-Memory-RSS"]) > 10**6


def test_no_headers_by_default(guard: Guard) -> None:
    """Nobody learns anything about memory who is not to."""
    assert _ask(MemguardWSGI(_app, guard), _environ())[1] == {"X-App": "1"}


@pytest.mark.parametrize(
    ("path", "status"), [("/", 503), ("/health", 200), ("/readyz", 200), ("/healthy", 503), ("/memguard/caches", 200)]
)
def test_turning_away(guard: Guard, path: str, status: int) -> None:
    """In an emergency all but health and the endpoints are turned away, and counted as such."""
    guard.level = Pressure.EMERGENCY
    answered, headers, body = _ask(MemguardWSGI(_app, guard), _environ(path, **BEARER))

    assert answered == status
    assert (guard.shed, headers.get("Retry-After")) == ((1, "5") if status == 503 else (0, None))
    assert status != 503 or json.loads(body)["status"] == "emergency"


def test_answer_to_head_has_no_body(guard: Guard) -> None:
    """An answer to HEAD has the length of the body and not the body."""
    guard.level = Pressure.EMERGENCY
    status, headers, body = _ask(validator(MemguardWSGI(_app, guard)), _environ(method="HEAD"))

    assert (status, body) == (503, b"")
    assert int(headers["Content-Length"]) > 0


def test_endpoint_for_who_may_ask(guard: Guard) -> None:
    """Who may ask gets the answer of the guard."""
    status, headers, body = _ask(validator(MemguardWSGI(_app, guard)), _environ("/memguard/health", **BEARER))

    assert (status, json.loads(body)["status"], headers["Cache-Control"]) == (200, "healthy", "no-store")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"HTTP_AUTHORIZATION": "Bearer wrong-token-0000"},
        {"HTTP_AUTHORIZATION": "Bearer \u20ac\x00"},
        {**BEARER, "REMOTE_ADDR": "8.8.8.8"},
        {**BEARER, "REMOTE_ADDR": ""},
        {**BEARER, "REMOTE_ADDR": "8.8.8.8", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"QUERY_STRING": f"token={TOKEN}"},
    ],
)
def test_for_others_there_is_nothing(guard: Guard, more: Environ) -> None:
    """Whoever may not ask gets a 404, whatever headers say about where they are."""
    status, _, body = _ask(MemguardWSGI(_app, guard), _environ("/memguard/health", **more))

    assert (status, body) == (404, b'{"error": "not found"}')


@pytest.mark.parametrize(
    ("body", "length", "status"),
    [
        (b'{"name": "a"}', "13", 200),
        (b"", "", 200),
        (b" " * 4096, "4096", 200),
        (b" " * 4097, "4097", 413),
        (b"", "99999999999999999999", 413),
        (b"", "-1", 413),
        (b"", "x", 413),
        (b"{", "1", 400),
    ],
)
def test_body(guard: Guard, tmp_path: Path, body: bytes, length: str, status: int) -> None:
    """A body is not read further than a name can be long."""
    guard.snapshot = lambda name: tmp_path
    environ = _environ("/memguard/snapshot", "POST", body, **BEARER)

    assert _ask(MemguardWSGI(_app, guard), {**environ, "CONTENT_LENGTH": length})[0] == status


def test_cache_with_a_name_of_letters(guard: Guard) -> None:
    """A path comes as latin-1 of its bytes, and is read as what it was."""
    guard.caches.create("größe")["a"] = 1
    path = "/memguard/caches/größe".encode().decode("latin-1")

    assert json.loads(_ask(MemguardWSGI(_app, guard), _environ(path, "DELETE", **BEARER))[2])["cleared"] == 1


def test_first_request_starts_the_guard(live: Guard) -> None:
    """The guard runs from the first request on, so in each worker, and once."""
    middleware = MemguardWSGI(_app, live)
    before = live._monitor.running
    for _ in range(2):
        _ask(middleware, _environ())

    assert (before, live._monitor.running) == (False, True)


def test_first_requests_at_the_same_time_start_it_once(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that come first together start one guard."""
    started = []
    monkeypatch.setattr(guard, "start", lambda: started.append(1))
    middleware = MemguardWSGI(_app, guard)
    together = threading.Barrier(4)

    def first() -> None:
        together.wait()
        _ask(middleware, _environ())

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert started == [1]


def test_requests_from_several_threads(guard: Guard) -> None:
    """None is lost, by whichever middleware of the guard it was served, also where threads take turns all the time."""
    middlewares = [MemguardWSGI(_app, guard), MemguardWSGI(_app, guard)]
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def ask() -> None:
        for number in range(1000):
            _ask(middlewares[number % 2], _environ())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(usual_s)

    assert guard.requests == 4000


class TestCosts:
    """What requests keep, by route."""

    @pytest.fixture(autouse=True)
    def _without_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Measure every request, however soon after the one before."""
        monkeypatch.setattr(costs, "_REST", 0)

    def test_route_of_flask(self, guard: Guard) -> None:
        """The route is what Flask has found; what it has not found is one entry."""
        app = flask.Flask("shop")
        app.add_url_rule("/users/<int:number>", view_func=lambda number: "x", endpoint="user")
        middleware = MemguardWSGI(app.wsgi_app, guard)
        for path in ("/users/7", "/users/8", "/wp-login.php", "/x"):
            _ask(middleware, _environ(path))

        assert {cost.route: cost.measured for cost in guard.routes} == {
            "GET /users/<int:number>": 2,
            "GET (not found)": 2,
        }

    def test_path_where_there_is_no_route(self, guard: Guard) -> None:
        """Without a framework the path stands for the route, without its numbers."""
        _ask(MemguardWSGI(_app, guard), _environ("/users/17"))

        assert [cost.route for cost in guard.routes] == ["GET /users/{}"]

    def test_request_lasts_until_its_response_is_closed(self, guard: Guard) -> None:
        """What is kept while the response is sent counts, and what the response itself holds does not."""
        kept = []

        def app(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
            body = bytes(300_000)
            start_response("200 OK", [])
            yield body
            kept.append(bytearray(100_000))

        response = MemguardWSGI(app, guard)(_environ("/keep"), lambda *_: None)
        deque(response, maxlen=0)
        response.close()
        (cost,) = guard.routes

        assert 98_000 <= cost.total_bytes < 140_000  # the whole process is read: something else may be freed meanwhile

    def test_closing_twice_counts_once(self, guard: Guard) -> None:
        """A server that closes a response twice has served one request."""
        response = MemguardWSGI(_app, guard)(_environ(), lambda *_: None)
        response.close()
        response.close()

        assert guard.requests == 1
