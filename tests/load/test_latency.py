"""The histogram of latencies."""

from __future__ import annotations

import json
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.errors import DocumentError
from pytest_memguard.load.latency import PERCENTILES, Histogram

LATENCIES = st.lists(st.floats(1e-7, 1e5), min_size=1, max_size=300)


@given(LATENCIES)
def test_percentiles_are_within_their_error(latencies: list[float]) -> None:
    """No percentile is further than 1.6 % from that of the sorted readings."""
    histogram = Histogram(latencies)

    for per_cent in PERCENTILES:
        exact = sorted(latencies)[max(1, ceil(len(latencies) * per_cent / 100)) - 1]
        assert histogram.percentile(per_cent) == pytest.approx(exact, rel=0.016, abs=2e-9)


@given(LATENCIES, LATENCIES)
def test_two_add_up(first: list[float], second: list[float]) -> None:
    """The sum of two is the histogram of both."""
    both, whole = Histogram(first) + Histogram(second), Histogram(first + second)

    assert both.to_dict() | {"total_s": 0} == whole.to_dict() | {"total_s": 0}
    assert both.total_s == pytest.approx(whole.total_s)


@given(LATENCIES)
def test_round_trip(latencies: list[float]) -> None:
    """What is written as JSON is read back as it was."""
    histogram = Histogram(latencies)

    assert Histogram.from_dict(json.loads(json.dumps(histogram.to_dict()))) == histogram


def test_nothing_recorded() -> None:
    """Without a reading every number is 0, and adding it changes nothing."""
    assert (Histogram().percentile(50), Histogram().mean_s, Histogram().count) == (0.0, 0.0, 0)
    assert Histogram() + Histogram([0.5]) == Histogram([0.5])


def test_one_reading() -> None:
    """A single reading is every percentile, exactly."""
    assert {Histogram([0.123456]).percentile(per_cent) for per_cent in PERCENTILES} == {0.123456}


def test_a_clock_that_went_back() -> None:
    """A latency below 0 counts as 0."""
    assert Histogram([-1.0]).percentile(99) == 0.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"buckets_per_octave": 32}, "buckets_per_octave: this version reads 64"),
        ({"buckets": [[3, 0]]}, "buckets: a bucket or its count is below what it can be"),
        ({"buckets": [[3]]}, r"buckets\[0\]: \[3\] is not a list of 2"),
    ],
)
def test_what_is_no_histogram(change: dict[str, object], says: str) -> None:
    """A document of something else is refused with the place."""
    with pytest.raises(DocumentError, match=says):
        Histogram.from_dict(Histogram([1.0]).to_dict() | change)
