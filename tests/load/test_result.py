"""The result and its document."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_memguard.errors import DocumentError
from pytest_memguard.load.latency import Histogram
from pytest_memguard.load.result import LoadResult, RouteResult, SecondCounts
from pytest_memguard.load.words import summary

LATENCY = Histogram([0.001] * 98 + [0.5] * 2)
RESULT = LoadResult(
    "builtin", "open", "http://h/", 1.5, 10.0, 101, 100, 98, 3, {"cut": 2, "status 503": 1}, LATENCY,
    (SecondCounts(0, 101, 98, 3),), (RouteResult("GET /", 100, 3, LATENCY),), received_bytes=5,
)  # fmt: skip


def test_round_trip() -> None:
    """What is written as JSON is read back as it was."""
    assert LoadResult.from_dict(json.loads(json.dumps(RESULT.to_dict()))) == RESULT


def test_derived_numbers() -> None:
    """Shares are of the requests that ended, throughput counts what was answered."""
    assert (RESULT.failed, RESULT.error_share, RESULT.throughput) == (3, 0.03, 9.8)


def test_stated_percentiles() -> None:
    """Where a program gives no more than percentiles, those are told, and no others are made up."""
    result = replace(RESULT, latency=Histogram(), stated=((50.0, 0.25),))

    assert (result.percentile(50), result.percentile(99)) == (0.25, None)


def test_summary() -> None:
    """People get counts, kinds of errors, percentiles, and what was not sent."""
    assert summary(RESULT) == (
        "http://h/: 100 requests in 10.0 s (open model, builtin)\n"
        "  throughput  9.8 answered a second\n"
        "  failed      3 (3 %): cut: 2, status 503: 1\n"
        "  latency     p50 1 ms, p90 1 ms, p95 1 ms, p99 500 ms, p99.9 500 ms, longest 500 ms, from when each was due\n"
        "  not sent    3 requests became due while every connection was busy"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "memguard-load/9"}, "schema: 'memguard-load/9' is not 'memguard-load/1'"),
        ({"requests": "many"}, "requests: 'many' is not a whole number"),
        ({"seconds": [{}]}, r"seconds\[0\].second: missing"),
    ],
)
def test_what_is_no_result(change: dict[str, object], says: str) -> None:
    """A document of something else is refused with the place."""
    with pytest.raises(DocumentError, match=says):
        LoadResult.from_dict(RESULT.to_dict() | change)
