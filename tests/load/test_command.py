"""The engine for any other program, and what such programs print."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from itertools import count

import pytest

from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.load.command import Command, Told, told
from pytest_memguard.load.profile import LoadSpec
from pytest_memguard.load.result import LoadResult, SecondCounts

WRK = """Running 2s test @ http://127.0.0.1:18777/
  1 threads and 10 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   321.14us  705.02us   9.01ms   92.01%
    Req/Sec    87.10k     9.81k  100.93k    71.43%
  Latency Distribution
     50%   61.00us
     90%    1.50ms
     99%    4.23s
  181815 requests in 2.10s, 13.18MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 7
Requests/sec:  86580.85
"""
OHA = {
    "summary": {"successRate": 1.0, "requestsPerSec": 100.0},
    "latencyPercentiles": {"p50": 0.001, "p90": 0.002, "p99": 0.004, "p99.9": None},
    "statusCodeDistribution": {"200": 90, "503": 8},
    "errorDistribution": {"connection refused": 2},
}
VEGETA = {
    "latencies": {"mean": 1, "50th": 1_000_000, "90th": 2_000_000, "95th": 3_000_000, "99th": 4_000_000},
    "requests": 100, "rate": 10.0, "status_codes": {"0": 2, "200": 90, "404": 8}, "errors": [],
}  # fmt: skip
K6 = {
    "metrics": {
        "http_reqs": {"count": 100, "rate": 10.0},
        "http_req_duration": {"avg": 1.0, "med": 1.5, "p(90)": 2.5, "p(95)": 3.0},
        "http_req_failed": {"passes": 4, "fails": 96, "value": 0.04},
    }
}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            WRK,
            Told(
                181825,
                {"refused": 1, "cut": 5, "timeout": 4, "status 4xx or 5xx": 7},
                ((50.0, 61e-6), (90.0, 1.5e-3), (99.0, 4.23)),
            ),
        ),
        (
            json.dumps(OHA),
            Told(100, {"status 503": 8, "connection refused": 2}, ((50, 0.001), (90, 0.002), (99, 0.004))),
        ),
        (
            json.dumps(VEGETA),
            Told(100, {"status 404": 8, "no answer": 2}, ((50, 0.001), (90, 0.002), (95, 0.003), (99, 0.004))),
        ),
        ("a line of k6\n" + json.dumps(K6), Told(100, {"failed": 4}, ((50, 0.0015), (90, 0.0025), (95, 0.003)))),
        ('{"requests": 5, "errors": 1}', Told(5, {"failed": 1})),
        ("all went well", None),
        ('{"requests": ', None),
        ('{"something": 1}', None),
        ("", None),
    ],
)
def test_what_programs_print(output: str, expected: Told | None) -> None:
    """Counts, kinds of errors and percentiles are read; what is not known is not guessed."""
    actual = told(output)

    assert actual is None if expected is None else actual is not None
    if actual and expected:
        assert (actual.requests, dict(actual.errors)) == (expected.requests, dict(expected.errors))
        assert actual.stated == tuple((per_cent, pytest.approx(value)) for per_cent, value in expected.stated)


def run(
    program: str, counted: Callable[[], int] | None = None, stop: asyncio.Event | None = None, **keys: object
) -> LoadResult:
    """Return what a Python program tells of its load."""
    command = [sys.executable, "-c", program, "{url}", "{connections}", "{duration_s}", "{rate}"]
    section = {"url": "http://h/", "engine": "command", "command": command, "duration_s": 5, **keys}
    return asyncio.run(Command(LoadSpec.from_mapping(section), counted).run(stop=stop))


def test_a_program() -> None:
    """A program gets the load's numbers as arguments, and its own numbers become the result."""
    program = (
        "import sys; print('{\"requests\": %d}' % sum(map(float, sys.argv[2:])) if sys.argv[1] == 'http://h/' else 0)"
    )
    result = run(program, connections=20, rate=7)

    assert (result.requests, result.completed, result.failed, result.model) == (32, 32, 0, "open")


def test_the_service_counts() -> None:
    """A program that says nothing is believed to have sent what the service has counted."""
    numbers = count(100, 5)
    result = run("pass", lambda: next(numbers))

    assert (result.requests, result.completed) == (5, 5)


def test_a_program_that_says_nothing() -> None:
    """Where nobody counts, there is no result."""
    with pytest.raises(CouldNotRun, match="printed nothing that says how many requests it sent"):
        run("print('done')")


def test_a_program_that_fails() -> None:
    """Its code and its last words are told."""
    with pytest.raises(CouldNotRun, match=r"ended with 3: flag provided but not defined"):
        run("import sys; print('flag provided but not defined', file=sys.stderr); sys.exit(3)")


def test_a_program_whose_limits_were_missed() -> None:
    """Code 99 is how k6 says that a threshold was missed: it ran."""
    assert run("import sys; print('{\"requests\": 5}'); sys.exit(99)").requests == 5


def test_a_program_that_is_not_there() -> None:
    """A program that does not exist is named."""
    spec = LoadSpec("http://h/", engine="command", command=("no-such-program",))

    with pytest.raises(CouldNotRun, match="'no-such-program' cannot be started"):
        asyncio.run(Command(spec).run())


def test_a_placeholder_that_is_not_there() -> None:
    """A wrong placeholder is refused before anything is started."""
    spec = LoadSpec("http://h/", engine="command", command=("wrk", "{urls}"))

    with pytest.raises(ConfigError, match=r"\{urls\}, which is none of url, connections, duration_s, rate"):
        Command(spec)


def test_a_program_that_is_stopped() -> None:
    """A stop ends the program, with what the service has counted until then."""
    told_seconds: list[SecondCounts] = []

    async def stopped() -> LoadResult:
        stop, numbers = asyncio.Event(), count(0, 5)
        command = (sys.executable, "-c", "import time; time.sleep(60)")
        engine = Command(LoadSpec("http://h/", engine="command", command=command), lambda: next(numbers))

        def tell(counts: SecondCounts) -> None:
            told_seconds.append(counts)
            stop.set()

        return await asyncio.wait_for(engine.run(tell, stop), 20)

    result = asyncio.run(stopped())

    assert (result.stopped, result.completed, told_seconds) == ("stopped", 5, [SecondCounts(0, 5, 5, 0)])
