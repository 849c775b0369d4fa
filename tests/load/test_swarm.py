"""
The engine Locust: a master and two workers on loopback.

The runs need an interpreter that has Locust: MEMGUARD_TEST_LOCUST names it; ``.ci/locust`` makes one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.load.driver import Driver
from pytest_memguard.load.profile import LoadSpec
from pytest_memguard.load.result import LoadResult, SecondCounts
from pytest_memguard.load.swarm import Swarm, locustfile

LOCUST = os.environ.get("MEMGUARD_TEST_LOCUST", "")
needs_locust = pytest.mark.skipif(
    not LOCUST, reason="MEMGUARD_TEST_LOCUST names no interpreter with Locust: .ci/locust"
)
SECTION = {"routes": {"/a": 3, "/bad": 1, "POST /c/{{n}}": 1}, "requests": 503, "connections": 4, "duration_s": 30}


@pytest.fixture
def service() -> Iterator[tuple[str, Counter[str]]]:
    """Serve on loopback; return the URL and the requests that came."""
    seen: Counter[str] = Counter()

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            seen[self.path] += 1
            self.send_response(503 if self.path == "/bad" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - as above

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def counts(result: LoadResult) -> tuple[object, ...]:
    """Return what every engine must agree on."""
    routes = [(route.name, route.requests, route.errors) for route in sorted(result.routes, key=lambda one: one.name)]
    return result.requests, result.completed, dict(result.errors), routes


@needs_locust
def test_locust_sends_what_the_built_in_engine_sends(service: tuple[str, Counter[str]]) -> None:
    """A master and two workers send the same requests, each once, and count the same results."""
    url, seen = service
    told: list[SecondCounts] = []
    section = SECTION | {"url": url, "engine": "locust", "locust": LOCUST, "workers": 2}
    swarm = asyncio.run(Swarm(LoadSpec.from_mapping(section)).run(told.append))
    by_locust = Counter(seen)
    seen.clear()
    built_in = asyncio.run(Driver(LoadSpec.from_mapping(SECTION | {"url": url})).run())

    assert counts(swarm) == counts(built_in)
    assert by_locust == seen
    assert sum(one.completed for one in told) == 503
    assert (swarm.latency.count, sum(one.completed for one in swarm.seconds)) == (503, 503)
    assert psutil.Process().children() == []


@needs_locust
def test_locust_is_stopped(service: tuple[str, Counter[str]]) -> None:
    """A stop ends master and workers, with what was measured."""
    url, _seen = service
    section = {"url": url, "engine": "locust", "locust": LOCUST, "rate": 50}

    async def run() -> LoadResult:
        stop = asyncio.Event()
        return await Swarm(LoadSpec.from_mapping(section)).run(lambda one: one.completed and stop.set(), stop)

    result = asyncio.run(run())

    assert (result.stopped, result.completed > 0, result.errors) == ("stopped", True, {})
    assert psutil.Process().children() == []


@needs_locust
def test_more_workers_here_than_are_expected() -> None:
    """The number to wait for counts the workers of this machine too."""
    with pytest.raises(ConfigError, match="expect_workers = 1 is less than the 2 workers that are started here"):
        Swarm(LoadSpec("http://h", engine="locust", locust=LOCUST), expect_workers=1)


def test_the_file_is_whole_in_itself() -> None:
    """What Locust gets needs neither this package nor a second file, whatever is in the scenario."""
    spec = LoadSpec("http://h", routes=({"path": "/", "body": 'it\'s \\n "quoted"'},))  # type: ignore[arg-type] # as a file has it
    text = locustfile(spec)

    compile(text, "locustfile.py", "exec")
    assert "pytest_memguard" not in text
    assert "MEMGUARD_SCENARIO" not in text
    assert "def cycle(" in text


def test_an_interpreter_without_locust() -> None:
    """It is named before anything is started, with what to do."""
    with pytest.raises(ConfigError, match=r"has no Locust .*make an environment of its own"):
        Swarm(LoadSpec("http://h", engine="locust", locust=sys.executable))


def test_an_interpreter_that_is_not_there() -> None:
    """A path that leads nowhere is named."""
    with pytest.raises(ConfigError, match="locust = 'no-such-python' cannot be started"):
        Swarm(LoadSpec("http://h", engine="locust", locust="no-such-python"))


def test_locust_is_never_imported() -> None:
    """The process of the tests has the sockets it started with."""
    assert "locust" not in sys.modules
