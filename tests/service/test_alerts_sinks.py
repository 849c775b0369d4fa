"""Where alerts go; and that whatever a sink does, nobody waits for it."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.alerts import Alert
from pytest_memguard.service.sinks import Courier, OpenTelemetry, StatsD, Webhook, to_callback, to_logging

ALERT = Alert("leak", "warning", "blocks grow", {"per_request": 2.5, "metric": "blocks", "left": math.inf}, 12.5)
OVER = Alert("leak", "recovered", "the leak is over", {}, 13.0)
WAIT_S = 20.0


class Hook(BaseHTTPRequestHandler):
    """Answers with the next status of the server."""

    server: HookServer

    def do_POST(self) -> None:
        """Keep the body, and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((dict(self.headers), json.loads(body)))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so in the base
        """Say nothing."""


class HookServer(HTTPServer):
    """A webhook on loopback."""

    def __init__(self, statuses: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.statuses = statuses
        self.posted: list[tuple[dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.server_port}/alerts"


@contextmanager
def hook(*statuses: int) -> Iterator[HookServer]:
    """Serve a webhook that answers with *statuses*, then with 200."""
    with HookServer(list(statuses)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    """A warning is logged as one, a recovery as info, anything worse as an error."""
    sink = to_logging(logging.getLogger("app"))
    with caplog.at_level(logging.INFO, "app"):
        for alert in (ALERT, OVER, Alert("high_usage", "emergency", "full", {}, 1.0)):
            sink(alert)
        sink.close(WAIT_S)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "leak: blocks grow"),
        ("INFO", "leak: the leak is over"),
        ("ERROR", "high_usage: full"),
    ]


def test_callback() -> None:
    """A callback is called with each alert, in order, in one other thread."""
    seen: list[tuple[Alert, int]] = []
    sink = to_callback(lambda alert: seen.append((alert, threading.get_ident())))
    sink(ALERT)
    sink(OVER)
    sink.close(WAIT_S)

    assert [alert for alert, _ in seen] == [ALERT, OVER]
    assert len({thread for _, thread in seen} - {threading.get_ident()}) == 1


def test_raising_callback(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged, and called again with the next alert."""
    seen = []

    def callback(alert: Alert) -> None:
        seen.append(alert)
        raise ValueError("no")

    sink = to_callback(callback)
    sink(ALERT)
    sink(OVER)
    sink.close(WAIT_S)

    assert seen == [ALERT, OVER]
    assert sink.failed == 2
    assert "alert leak (warning) was not delivered to callback: no" in caplog.messages


def test_hanging_callback() -> None:
    """Behind a callback that hangs, alerts wait in a queue with a bound: the oldest go, nobody waits, one thread."""
    released, begun = threading.Event(), threading.Event()
    seen: list[Alert] = []

    def callback(alert: Alert) -> None:
        begun.set()
        released.wait(WAIT_S)
        seen.append(alert)

    sink = Courier(callback, "test", queue=10)
    sink(ALERT)
    assert begun.wait(WAIT_S)
    threads = threading.active_count()
    began = time.perf_counter()
    for at in range(1000):
        sink(Alert("leak", "warning", str(at), {}, at))
    waited_s = time.perf_counter() - began

    assert threading.active_count() == threads
    assert sink.dropped == 990
    assert waited_s < 1
    released.set()
    sink.close(WAIT_S)
    assert [alert.text for alert in seen] == ["blocks grow", *map(str, range(990, 1000))]


def test_no_thread_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, the alert is dropped and nothing is raised."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sink = to_callback(print)
    monkeypatch.setattr(threading.Thread, "start", start)
    sink(ALERT)

    assert sink.dropped == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork() -> None:
    """In a forked child a sink works on, with a thread of its own."""
    program = """
import os, threading
from pytest_memguard.service.alerts import Alert
from pytest_memguard.service.sinks import to_callback
told = threading.Event()
sink = to_callback(lambda alert: told.set())
alert = Alert("leak", "warning", "", {}, 1.0)
sink(alert)
assert told.wait(20)
told = threading.Event()
child = os.fork()
if not child:
    told = threading.Event()
    sink(alert)
    os._exit(0 if told.wait(20) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, check=False, timeout=60)

    assert (done.returncode, done.stderr) == (0, b"")


def test_webhook() -> None:
    """A webhook gets JSON, strictly, with the headers it wants."""
    with hook() as server:
        sink = Webhook(server.url, headers={"Authorization": "Bearer x"})
        sink(ALERT)
        sink.close(WAIT_S)

    ((headers, body),) = server.posted
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer x"
    assert body == {
        "kind": "leak", "level": "warning", "text": "blocks grow", "at": 12.5, "host": socket.gethostname(),
        "values": {"per_request": 2.5, "metric": "blocks", "left": None}, "pid": os.getpid(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "attempts", "failed"),
    [
        ([500, 429, 200], 3, 0),
        ([503, 503, 503], 3, 1),
        ([404], 1, 1),
        ([501], 1, 1),
    ],
)
def test_webhook_retries(statuses: list[int], attempts: int, failed: int) -> None:
    """What may work later is tried again, so many times; what will not is given up."""
    with hook(*statuses) as server:
        sink = Webhook(server.url, retries=2, backoff_s=0.001)
        sink(ALERT)
        sink.close(WAIT_S)

    assert (len(server.posted), sink.failed) == (attempts, failed)


def test_webhook_that_hangs() -> None:
    """A webhook that takes the connection and says nothing times out; nobody waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.05, retries=1, backoff_s=0.001)
        began = time.perf_counter()
        sink(ALERT)
        called_s = time.perf_counter() - began
        sink.close(WAIT_S)

    assert called_s < 0.5
    assert sink.failed == 1


def test_webhook_that_is_down() -> None:
    """A webhook that nobody serves is an alert that failed, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    sink = Webhook(f"http://127.0.0.1:{port}/", retries=0)
    sink(ALERT)
    sink.close(WAIT_S)

    assert sink.failed == 1


def test_close_cuts_a_backoff_short() -> None:
    """Whoever ends the service does not wait out a backoff."""
    with hook(*[503] * 10) as server:
        sink = Webhook(server.url, retries=2, backoff_s=1000)
        sink(ALERT)
        began = time.perf_counter()
        sink.close(WAIT_S)

    assert time.perf_counter() - began < WAIT_S
    assert sink.failed == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http://a b/",
        "http://a:x/",
        "http://a/\n",
    ],
)
def test_bad_url(url: str) -> None:
    """Only http and https with a host are posted to."""
    with pytest.raises(ConfigError, match="is not a URL to post to"):
        Webhook(url)


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"retries": -1}, {"backoff_s": -0.1}])
def test_bad_numbers(wrong: dict[str, Any]) -> None:
    """Numbers that make no sense are refused."""
    with pytest.raises(ConfigError, match="webhook: "):
        Webhook("http://127.0.0.1/", **wrong)


@pytest.mark.parametrize(
    ("dog", "tags"),
    [(False, ""), (True, "|#level:warning")],
)
def test_statsd(tags: str, *, dog: bool) -> None:
    """The kind and each finite number become gauges, for DogStatsD with the level as a tag."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as backend:
        backend.bind(("127.0.0.1", 0))
        backend.settimeout(WAIT_S)
        sink = StatsD(f"127.0.0.1:{backend.getsockname()[1]}", dog=dog)
        sink(ALERT)
        lines = backend.recv(4096).decode().split("\n")
        sink.close(WAIT_S)

    assert lines == [f"memguard.alert.leak:1|g{tags}", f"memguard.alert.leak.per_request:2.5|g{tags}"]


def test_statsd_recovery() -> None:
    """A recovery sets the gauge of its kind to 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as backend:
        backend.bind(("127.0.0.1", 0))
        backend.settimeout(WAIT_S)
        sink = StatsD(f"127.0.0.1:{backend.getsockname()[1]}", prefix="my app")
        sink(OVER)
        received = backend.recv(4096)
        sink.close(WAIT_S)

    assert received == b"my_app.alert.leak:0|g"


def test_dead_statsd() -> None:
    """A backend that nobody serves loses what it is sent, and raises nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    sink = StatsD(f"127.0.0.1:{port}")
    for _ in range(5):
        sink(ALERT)
    sink.close(WAIT_S)

    assert sink.failed == 0


@pytest.mark.parametrize("address", ["", ":8125", "localhost:", "localhost:0", "localhost:65536", "localhost:x"])
def test_bad_address(address: str) -> None:
    """An address has a host and a port."""
    with pytest.raises(ConfigError, match="is not an address"):
        StatsD(address)


class Meter:
    """Keeps what a meter of OpenTelemetry would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, dict[str, str]]] = []

    def _instrument(self, name: str) -> Any:  # noqa: ANN401 - as the package's own
        class Instrument:
            def add(_, amount: float, attributes: dict[str, str]) -> None:  # noqa: N805 - self is the meter
                self.told.append((name, amount, attributes))

            def set(_, value: float) -> None:  # noqa: N805 - self is the meter
                self.told.append((name, value, {}))

        return Instrument()

    def create_counter(self, name: str, description: str = "") -> Any:  # noqa: ANN401 - as the package's own
        """Return something to add to."""
        return self._instrument(name)

    create_gauge: Callable[..., Any] = create_counter


def test_opentelemetry() -> None:
    """Alerts are counted by kind and level, and their numbers are gauges."""
    meter = Meter()
    sink = OpenTelemetry(meter)
    sink(ALERT)
    sink(OVER)
    sink.close(WAIT_S)

    assert meter.told == [
        ("memguard.alerts", 1, {"kind": "leak", "level": "warning"}),
        ("memguard.alert.leak", 1.0, {}),
        ("memguard.alert.leak.per_request", 2.5, {}),
        ("memguard.alerts", 1, {"kind": "leak", "level": "recovered"}),
        ("memguard.alert.leak", 0.0, {}),
    ]


def test_opentelemetry_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, one line says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(ConfigError, match=r'^alerts to OpenTelemetry need it: pip install "pytest-memguard\[otel\]"$'):
        OpenTelemetry()
