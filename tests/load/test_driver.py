"""The built-in engine against services on loopback, good and bad ones."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.load.driver import Driver
from pytest_memguard.load.profile import LoadSpec
from pytest_memguard.load.result import LoadResult, SecondCounts

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def fixed(content: bytes, *, close: bool = False) -> Answer:
    """Return a service that says the same to everybody."""

    async def answer(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        if close:
            writer.close()

    return answer


def load(answer: Answer, scheme: str = "http", tls: ssl.SSLContext | None = None, **keys: object) -> LoadResult:
    """Return what a load of a service measures; by default 20 requests."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    async def run() -> LoadResult:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            return await Driver(LoadSpec.from_mapping({"requests": 20, "ramp_up_s": 0} | keys | {"url": url})).run()
        finally:
            server.close()

    return asyncio.run(run())


def test_requests_are_counted() -> None:
    """Every request is counted once, in all and in its route, with its latency and its bytes."""
    result = load(fixed(HELLO), routes={"/a": 3, "/b": 1}, requests=40)

    assert (result.started, result.requests, result.completed, result.failed, result.model) == (40, 40, 40, 0, "closed")
    assert [(route.name, route.requests, route.latency.count) for route in result.routes] == [
        ("GET /a", 30, 30),
        ("GET /b", 10, 10),
    ]
    assert (result.latency.count, result.received_bytes, result.stopped) == (40, 200, "")


def test_what_is_sent() -> None:
    """Path, headers and body are filled for each request."""
    seen = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        writer.write(HELLO)

    load(answer, requests=2, connections=1, routes=["PUT /{{n}}"], headers={"X-Number": "no {{n}}"})

    assert [request.split(b" HTTP")[0] for request in seen] == [b"PUT /0", b"PUT /1"]
    assert [b"X-Number: no %d\r\n" % n in seen[n] for n in range(2)] == [True, True]


def test_connections_are_kept() -> None:
    """With keep-alive there are as many connections as were asked for; without, one a request."""
    writers = set()

    async def answer(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        writer.write(HELLO)

    load(answer, connections=2)
    kept = len(writers)
    writers.clear()
    load(answer, connections=2, keep_alive=False)

    assert (kept, len(writers)) == (2, 20)


def test_open_model() -> None:
    """A rate is kept, and requests are due by the clock."""
    result = load(fixed(HELLO), rate=100, duration_s=1, requests=1000)

    assert (result.started, result.model, result.unsent) == (100, "open", 0)
    assert 0.9 < result.duration_s < 3


def test_a_service_that_stalls_is_not_forgiven() -> None:
    """A stall of 0.4 s costs every request that was due in it, not only the one that was sent."""

    def service() -> Answer:
        stalled = []

        async def answer(_request: bytes, writer: asyncio.StreamWriter) -> None:
            if not stalled:
                stalled.append(True)
                await asyncio.sleep(0.4)
            writer.write(HELLO)

        return answer

    open_model = load(service(), rate=100, duration_s=0.8, connections=1, requests=1000)
    closed_model = load(service(), connections=1, requests=80)

    assert (open_model.percentile(70) or 0) > 0.1
    assert (closed_model.percentile(70) or 1) < 0.1


def test_requests_that_found_no_connection() -> None:
    """What became due while every connection was busy, to the end, is told as not sent."""

    async def answer(_request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(HELLO)

    result = load(answer, rate=100, duration_s=0.5, connections=1, requests=1000)

    assert (result.started, result.started + result.unsent) == (2, 50)


REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


@pytest.mark.parametrize(
    ("answer", "keys", "kind", "completed"),
    [
        (fixed(HELLO.replace(b"200", b"404")), {}, "status 404", 3),
        (fixed(HELLO.replace(b"200", b"503")), {}, "status 503", 3),
        (fixed(HELLO), {"routes": [{"path": "/", "expect": [201]}]}, "status 200", 3),
        (fixed(REDIRECT), {}, "redirect loop", 0),
        (fixed(CHUNKED, close=True), {}, "cut", 0),
        (fixed(HELLO[:-2], close=True), {}, "cut", 0),
        (fixed(b"", close=True), {}, "cut", 0),
        (fixed(b"what?\r\n\r\n", close=True), {}, "not HTTP", 0),
        (fixed(b""), {"timeout_s": 0.1}, "timeout", 0),
    ],
)
def test_kinds_of_errors(answer: Answer, keys: dict[str, object], kind: str, completed: int) -> None:
    """Each failure is counted under what went wrong; what was answered is also completed."""
    result = load(answer, requests=3, connections=3, **keys)

    assert (result.errors, result.completed, result.requests) == ({kind: 3}, completed, 3)


def test_a_service_without_tls() -> None:
    """A service that answers in plain HTTP where TLS was asked for is refused as TLS."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        writer.close()

    async def run() -> LoadResult:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            return await Driver(LoadSpec(url, requests=1)).run()
        finally:
            server.close()

    assert asyncio.run(run()).errors == {"TLS": 1}


def test_redirects_that_are_not_followed() -> None:
    """With redirects = 0 a redirect is the answer."""
    assert load(fixed(REDIRECT), redirects=0).errors == {}


def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    """It is refused as TLS, and taken where it is not to be verified."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    name = tmp_path / "own.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"]
    subprocess.run([*command, "-keyout", name, "-out", name, "-subj", "/CN=here"], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(name)

    assert load(fixed(HELLO), "https", tls, requests=1).errors == {"TLS": 1}
    assert load(fixed(HELLO), "https", tls, requests=1, verify_tls=False).errors == {}


def test_a_port_that_nobody_listens_on() -> None:
    """The run is given up after a few refused requests, and says so."""
    driver = Driver(LoadSpec("http://127.0.0.1:1", connections=12, ramp_up_s=0))
    result = asyncio.run(driver.run())

    assert (result.errors, result.completed, result.latency.count) == ({"refused": 12}, 0, 0)
    assert result.stopped == "gave up: none of the first 12 requests was answered (refused)"


def test_a_name_that_nobody_has() -> None:
    """A host that cannot be found has a word of its own."""
    result = asyncio.run(Driver(LoadSpec("http://nowhere.invalid", requests=1)).run())

    assert result.errors in ({"host not found": 1}, {"timeout": 1})


def test_a_stop() -> None:
    """A run that is stopped ends at once, and keeps what was measured."""

    async def run() -> tuple[LoadResult, int]:
        server = await asyncio.start_server(_hello, "127.0.0.1", 0)
        stop = asyncio.Event()
        driver = Driver(LoadSpec(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ramp_up_s=0))
        running = asyncio.create_task(driver.run(stop=stop))
        while driver.completed < 50:  # noqa: ASYNC110 - reading it at any moment is what is tested
            await asyncio.sleep(0)
        stop.set()
        result = await asyncio.wait_for(running, 5)
        server.close()
        return result, driver.completed

    result, completed = asyncio.run(run())

    assert (result.stopped, result.completed == completed, result.completed >= 50) == ("stopped", True, True)


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HELLO)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def test_seconds() -> None:
    """Each second is told as it ends; together they are the whole."""
    told: list[SecondCounts] = []

    async def run() -> LoadResult:
        server = await asyncio.start_server(_hello, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            return await Driver(LoadSpec(url, duration_s=2.2, ramp_up_s=0, rate=50)).run(told.append)
        finally:
            server.close()

    result = asyncio.run(run())

    assert result.seconds == tuple(told)
    assert [one.second for one in told] == [0, 1, 2]
    assert (sum(one.started for one in told), sum(one.completed for one in told)) == (110, 110)


def test_a_callback_that_raises() -> None:
    """What it raises ends the run and reaches the caller."""

    def refuse(_counts: SecondCounts) -> None:
        raise LookupError("no such graph")

    async def run() -> None:
        server = await asyncio.start_server(_hello, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            await Driver(LoadSpec(url, rate=10)).run(refuse)
        finally:
            server.close()

    with pytest.raises(LookupError, match="no such graph"):
        asyncio.run(run())


def test_no_url() -> None:
    """A load without a URL is refused before anything is sent."""
    with pytest.raises(ConfigError, match="url is missing"):
        Driver(LoadSpec())


def test_no_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra there is one line that says what to install."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)

    with pytest.raises(ConfigError, match=r'memguard load needs aiohttp: pip install "pytest-memguard\[harness\]"'):
        Driver(LoadSpec("http://h"))
