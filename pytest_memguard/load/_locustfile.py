"""
What Locust runs; this package never imports it.

``swarm.locustfile`` puts the text of ``request.py`` and the scenario in the place of the two marked lines. The file is
then whole in itself: workers on other machines get it from the master (``locust -f -``), and need nothing but Locust.
"""

from __future__ import annotations

import json
import os
from itertools import count
from typing import TYPE_CHECKING, Any

import gevent
import locust.runners
import locust.stats
from locust import FastHttpUser, LoadTestShape, constant, constant_throughput, events, task

from pytest_memguard.load.request import Template, cycle  # <- request.py

if TYPE_CHECKING:
    from collections.abc import Iterator

SCENARIO: dict[str, Any] = json.loads(os.environ["MEMGUARD_SCENARIO"])  # <- scenario

locust.runners.WORKER_REPORT_INTERVAL = 1.0  # instead of 3 s, so that the counts of a second are those of a second
locust.stats.CSV_STATS_FLUSH_INTERVAL_SEC = 0  # instead of 5 s, for who reads the counts while the load goes on

_KINDS = (  # by a part of the name or the text of an error, the first that fits
    ("ConnectionRefused", "refused"),
    ("RetriesExceeded", "redirect loop"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("SSL", "TLS"),
    ("certificate", "TLS"),
    ("gaierror", "host not found"),
    ("unreachable", "unreachable"),
    ("HTTPParseError", "not HTTP"),
)


def _kind_of(error: BaseException) -> str:
    chain = f"{type(error).__name__} {error!r} {error.__cause__!r} {error.__context__!r}"
    return next((kind for part, kind in _KINDS if part.lower() in chain.lower()), "cut")


class _Plan:
    """The requests of this worker: every n-th of all, so that all workers together send each request once."""

    def __init__(self) -> None:
        routes = SCENARIO["routes"]
        self.order = cycle([route["weight"] for route in routes])
        self.routes = [
            {
                **route,
                "path": Template(route["path"]),
                "headers": [(name, Template(value)) for name, value in route["headers"]],
                "body": None if route["body"] is None else Template(route["body"]),
            }
            for route in routes
        ]
        self.numbers: Iterator[int] = iter(())  # nothing, until the master has told the part

    def begin(self, part: int, parts: int) -> None:
        """Take every *parts*-th request, beginning with number *part*."""
        self.numbers = count(part, parts)

    def next(self) -> tuple[int, dict[str, Any]] | None:
        """Return the next request and its number; None where all have been sent."""
        n = next(self.numbers, None)
        if n is None or (SCENARIO["requests"] and n >= SCENARIO["requests"]):
            return None
        return n, self.routes[self.order[n % len(self.order)]]


_PLAN = _Plan()


class Visitor(FastHttpUser):  # type: ignore[misc] # Locust is not installed where types are checked
    """One connection."""

    host = SCENARIO["url"]
    insecure = not SCENARIO["verify_tls"]
    connection_timeout = network_timeout = SCENARIO["timeout_s"]
    max_redirects = SCENARIO["redirects"]
    wait_time = constant_throughput(SCENARIO["rate"] / SCENARIO["connections"]) if SCENARIO["rate"] else constant(0)

    @task  # type: ignore[untyped-decorator,unused-ignore] # as above
    def visit(self) -> None:
        """Send one request, and call its failure by its kind."""
        chosen = _PLAN.next()
        if chosen is None:
            gevent.sleep(0.1)  # until the master has counted the requests of all
            return
        n, route = chosen
        headers = {name: value.fill(n) for name, value in route["headers"]}
        if not SCENARIO["keep_alive"]:
            headers["Connection"] = "close"
        with self.client.request(
            route["method"],
            route["path"].fill(n),
            name=route["name"],
            headers=headers,
            data=None if route["body"] is None else route["body"].fill(n).encode(),
            allow_redirects=SCENARIO["redirects"] > 0,
            catch_response=True,
        ) as answer:
            status = answer.status_code
            if not status:
                answer.failure(_kind_of(answer.error))
            elif status in route["expect"] if route["expect"] else status < 400:  # noqa: PLR2004 - errors begin here
                answer.success()
            else:
                answer.failure(f"status {status}")
        if not status:
            gevent.sleep(0.1)  # a service that is gone is not asked in a busy loop


class Ramp(LoadTestShape):  # type: ignore[misc] # as above
    """Connections join evenly over the ramp-up; the run ends with its time or its requests."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many connections there should be, and how fast to get there; None at the end."""
        now_s, whole = self.get_run_time(), SCENARIO["connections"]
        if now_s >= SCENARIO["duration_s"] or os.path.exists(os.environ.get("MEMGUARD_STOP", "")):  # noqa: PTH110 - may be ""
            return None
        if SCENARIO["requests"] and self.runner.stats.num_requests >= SCENARIO["requests"]:
            return None
        share = now_s / SCENARIO["ramp_s"] if SCENARIO["ramp_s"] else 1.0
        return max(1, min(whole, int(whole * share))), float(whole)


@events.init.add_listener  # type: ignore[untyped-decorator,unused-ignore] # as above
def _listen(environment: Any, **_others: object) -> None:  # noqa: ANN401 - as above
    environment.runner.register_message("memguard_part", lambda msg, **_others: _PLAN.begin(*msg.data))


@events.test_start.add_listener  # type: ignore[untyped-decorator,unused-ignore] # as above
def _share_out(environment: Any, **_others: object) -> None:  # noqa: ANN401 - as above
    """Tell each worker its part; Locust's own index of workers has holes."""
    if isinstance(environment.runner, locust.runners.MasterRunner):
        clients = sorted(environment.runner.clients)
        for part, client in enumerate(clients):
            environment.runner.send_message("memguard_part", (part, len(clients)), client)


@events.init.add_listener  # type: ignore[untyped-decorator,unused-ignore] # as above
def _end_with_parent(**_others: object) -> None:
    """End when the process that started this one is gone; on other machines nobody set the variable."""
    parent = os.environ.get("MEMGUARD_PARENT")

    def watch() -> None:
        while str(os.getppid()) == parent:
            gevent.sleep(1)
        os._exit(1)

    if parent and hasattr(os, "getppid"):
        gevent.spawn(watch)
