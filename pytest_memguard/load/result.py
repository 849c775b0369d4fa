"""What one run of load measured, and its form as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import _expect as expect
from pytest_memguard.errors import DocumentError
from pytest_memguard.load.latency import PERCENTILES, Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA", "LoadResult", "RouteResult", "SecondCounts"]

SCHEMA = "memguard-load/1"


@dataclass(frozen=True, slots=True)
class SecondCounts:
    """
    What happened in one second.

    Attributes:
        second: From 0, since the start.
        started: Requests sent.
        completed: Requests answered, whatever the status.
        errors: Requests that failed: an answer with a status that was not expected, or none at all.

    """

    second: int
    started: int
    completed: int
    errors: int


@dataclass(frozen=True, slots=True)
class RouteResult:
    """What one route took."""

    name: str
    requests: int
    errors: int
    latency: Histogram


@dataclass(frozen=True, slots=True)
class LoadResult:
    """
    What one run of load measured.

    Attributes:
        engine: "builtin", "locust" or the name of the program.
        model: "open" or "closed".
        url: Without name and password.
        started_at: Seconds since 1970.
        started: Requests sent; those that were cut off at the end are in no other count.
        requests: Requests that ended, well or not.
        completed: Requests that were answered, whatever the status.
        unsent: Requests of the open model that became due and never got a connection.
        errors: Failed requests by kind: "refused", "timeout", "TLS", "redirect loop", "cut", "status 503", ...
        latency: Of every request that was answered, cut or timed out; in the open model from when it was due.
        stated: Percentiles as another program stated them, where it gives no more than that: seconds by per cent.
        received_bytes: Bodies of answers.
        stopped: Why the run ended before its time; empty where it did not.

    """

    engine: str
    model: str
    url: str
    started_at: float
    duration_s: float
    started: int
    requests: int
    completed: int
    unsent: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    seconds: tuple[SecondCounts, ...] = ()
    routes: tuple[RouteResult, ...] = ()
    stated: tuple[tuple[float, float], ...] = ()
    received_bytes: int = 0
    stopped: str = ""

    @property
    def failed(self) -> int:
        """The number of failed requests."""
        return sum(self.errors.values())

    @property
    def error_share(self) -> float:
        """Failed requests of all that ended, 0 to 1."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return self.completed / self.duration_s if self.duration_s else 0.0

    def percentile(self, per_cent: float) -> float | None:
        """Return the latency in seconds that *per_cent* of the requests did not exceed; None where it is not known."""
        if self.latency.count:
            return self.latency.percentile(per_cent)
        return dict(self.stated).get(per_cent)

    @property
    def percentiles(self) -> dict[str, float]:
        """The usual percentiles in seconds, as ``p99.9``; those that are known."""
        known = ((per_cent, self.percentile(per_cent)) for per_cent in PERCENTILES)
        return {f"p{per_cent:g}": latency_s for per_cent, latency_s in known if latency_s is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        plain = {name: getattr(self, name) for name in (*_REQUIRED, *_PLAIN)}
        return {
            "schema": SCHEMA,
            **plain,
            "errors": dict(self.errors),
            "throughput": self.throughput,
            "percentiles_s": self.percentiles,
            "stated": [list(pair) for pair in self.stated],
            "latency": self.latency.to_dict(),
            "seconds": [asdict(second) for second in self.seconds],
            "routes": [_route_as_dict(route) for route in self.routes],
        }

    @classmethod
    def from_dict(cls, content: object, where: str = "") -> LoadResult:
        """
        Return the result that ``to_dict`` wrote.

        Raises:
            DocumentError: it is something else; the message says where.
        """
        found = expect.mapping(content, where).get("schema")
        if found != SCHEMA:
            raise DocumentError(f"{expect.below(where, 'schema')}: {expect.shown(found)} is not {SCHEMA!r}")
        optional = _PLAIN | {
            "errors": expect.by_name(expect.whole),
            "stated": expect.each(expect.row(expect.number, expect.number)),
            "latency": Histogram.from_dict,
            "seconds": expect.each(_read_second),
            "routes": expect.each(_read_route),
        }
        return cls(**expect.fields_of(content, where, _REQUIRED, optional))


_REQUIRED: Mapping[str, expect.Reader] = {
    "engine": expect.text,
    "model": expect.one_of("open", "closed"),
    "url": expect.text,
    "started_at": expect.number,
    "duration_s": expect.number,
    "started": expect.whole,
    "requests": expect.whole,
    "completed": expect.whole,
}
_PLAIN: dict[str, expect.Reader] = {
    "unsent": expect.whole,
    "received_bytes": expect.whole,
    "stopped": expect.text,
}


def _route_as_dict(route: RouteResult) -> dict[str, Any]:
    counts = {"name": route.name, "requests": route.requests, "errors": route.errors}
    return {**counts, "latency": route.latency.to_dict()}


def _read_route(value: object, where: str) -> RouteResult:
    counts = {"name": expect.text, "requests": expect.whole, "errors": expect.whole}
    return RouteResult(**expect.fields_of(value, where, {**counts, "latency": Histogram.from_dict}, {}))


def _read_second(value: object, where: str) -> SecondCounts:
    names = ("second", "started", "completed", "errors")
    return SecondCounts(**expect.fields_of(value, where, dict.fromkeys(names, expect.whole), {}))
