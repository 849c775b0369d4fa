"""
Latencies in log-linear buckets: exact enough for percentiles, small enough to keep for days, and they add up.

Every power of two is cut into 64 buckets of equal width, so a percentile is off by at most half a bucket, 0.8 %. The
shape is that of HdrHistogram, in a dictionary: what never happened takes no space.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import _expect as expect
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PERCENTILES", "Histogram"]

#: What is told of every run, in per cent.
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

_BITS = 6  # 64 buckets a power of two
_NS = 1_000_000_000


class Histogram:
    """Counts of latencies; record seconds, ask for percentiles, add two to get that of both."""

    __slots__ = ("_counts", "count", "longest_s", "shortest_s", "total_s")

    def __init__(self, latencies_s: Iterable[float] = ()) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total_s = 0.0
        self.shortest_s = 0.0
        self.longest_s = 0.0
        for latency_s in latencies_s:
            self.record(latency_s)

    def record(self, latency_s: float, times: int = 1) -> None:
        """Count one latency, or *times* equal ones; a clock that went back counts as 0."""
        latency_s = max(latency_s, 0.0)
        nanoseconds = int(latency_s * _NS)
        shift = nanoseconds.bit_length() - _BITS - 1
        bucket = (shift << _BITS) + (nanoseconds >> shift) if shift > 0 else nanoseconds
        self._counts[bucket] = self._counts.get(bucket, 0) + times
        self.longest_s = max(self.longest_s, latency_s)
        if latency_s < self.shortest_s or not self.count:
            self.shortest_s = latency_s
        self.count += times
        self.total_s += latency_s * times

    @property
    def mean_s(self) -> float:
        """The mean, 0 where nothing was recorded."""
        return self.total_s / self.count if self.count else 0.0

    def percentile(self, per_cent: float) -> float:
        """Return the latency in seconds that *per_cent* of all did not exceed; 0 where nothing was recorded."""
        rank, seen = max(1, ceil(self.count * per_cent / 100)), 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(max(_middle(bucket) / _NS, self.shortest_s), self.longest_s)
        return 0.0

    def __add__(self, other: Histogram) -> Histogram:
        both = Histogram()
        for one in (self, other):
            for bucket, times in one._counts.items():
                both._counts[bucket] = both._counts.get(bucket, 0) + times
        both.count = self.count + other.count
        both.total_s = self.total_s + other.total_s
        both.longest_s = max(self.longest_s, other.longest_s)
        both.shortest_s = min((one.shortest_s for one in (self, other) if one.count), default=0.0)
        return both

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment] # it changes with every latency

    def __repr__(self) -> str:
        return f"Histogram({self.count} latencies, p50 {self.percentile(50):.6f} s, p99 {self.percentile(99):.6f} s)"

    def to_dict(self) -> dict[str, Any]:
        """Return the histogram as JSON can hold it; a bucket is its number and its count."""
        return {
            "buckets_per_octave": 1 << _BITS,
            "buckets": [[bucket, self._counts[bucket]] for bucket in sorted(self._counts)],
            "count": self.count,
            "total_s": self.total_s,
            "shortest_s": self.shortest_s,
            "longest_s": self.longest_s,
        }

    @classmethod
    def from_dict(cls, content: object, where: str = "") -> Histogram:
        """
        Return the histogram that ``to_dict`` wrote.

        Raises:
            DocumentError: it is something else.
        """
        number, pair = expect.number, expect.row(expect.whole, expect.whole)
        readers = {"buckets": expect.each(pair), "buckets_per_octave": expect.whole, "total_s": number}
        entries = expect.fields_of(content, where, readers | {"shortest_s": number, "longest_s": number}, {})
        if entries["buckets_per_octave"] != 1 << _BITS:
            raise DocumentError(f"{expect.below(where, 'buckets_per_octave')}: this version reads {1 << _BITS}")
        histogram = cls()
        histogram._counts = dict(entries["buckets"])
        if any(times < 1 or bucket < 0 for bucket, times in histogram._counts.items()):
            raise DocumentError(f"{expect.below(where, 'buckets')}: a bucket or its count is below what it can be")
        histogram.count = sum(histogram._counts.values())
        histogram.total_s, histogram.shortest_s = entries["total_s"], entries["shortest_s"]
        histogram.longest_s = entries["longest_s"]
        return histogram


def _middle(bucket: int) -> float:
    """Return the middle of a bucket in nanoseconds."""
    shift = (bucket >> _BITS) - 1
    if shift <= 0:
        return float(bucket)
    first = (bucket - (shift << _BITS)) << shift
    return first + ((1 << shift) - 1) / 2
