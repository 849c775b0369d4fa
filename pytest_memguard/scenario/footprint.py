"""
What a service takes and keeps at each step of its life, as a small file that is read in a pull request.

    memguard-footprint/1   {"schema", "tool", "saved_at", "reason", "commit", "environment": {...},
                            "scenario", "hash", "runs",
                            "steps": [{"name", "after": {metric: [median, low, high]}}]}

Amounts are compared within one environment and one scenario only: another interpreter has objects of other sizes, and
another load keeps something else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import _expect as expect
from pytest_memguard.core.environment import environment_key
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, RSS, THREADS, USS, Change, Metric
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "KEPT", "KEPT_BLOCKS", "METRICS", "SCHEMA", "Footprint", "FootprintComparison", "Range", "Step", "compare",
    "dumps", "from_dict",
]  # fmt: skip

SCHEMA = "memguard-footprint/1"
#: What a step leaves behind once everything was collected, in bytes that Python allocated, and in blocks.
KEPT = Metric("kept", Unit.BYTE, exact=True)
KEPT_BLOCKS = Metric("kept_blocks", Unit.COUNT, exact=True)
METRICS: Mapping[str, Metric] = {one.name: one for one in (RSS, USS, HEAP, BLOCKS, FDS, THREADS, KEPT, KEPT_BLOCKS)}

#: A change is one from both on: this share of what was before, and this much.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "rss": (0.10, 2**20),
    "uss": (0.10, 2**20),
    "heap": (0.05, 2**18),
    "blocks": (0.05, 1000),
    "fds": (0, 1),
    "threads": (0, 1),
    "kept": (0.10, 2**14),
    "kept_blocks": (0.10, 200),
}
_ENVIRONMENT = ("python", "implementation", "platform", "machine", "libc", "allocator", "free_threaded")
_FLAT_LIST = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")


@dataclass(frozen=True, slots=True)
class Range:
    """The median of some runs, with the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Return the range of *values*, of which there is at least one."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Step:
    """What was read after one step: a range a metric, by name."""

    name: str
    after: Mapping[str, Range]


@dataclass(frozen=True, slots=True)
class Footprint:
    """
    The footprint of one scenario.

    Attributes:
        scenario: Its name.
        hash: Of what it does, as ``Scenario`` tells.
        runs: How often it was measured.
        reason: Why it took the place of the one before; empty where there was none.

    """

    scenario: str
    hash: str
    runs: int
    steps: tuple[Step, ...]
    saved_at: str
    version: str
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: Mapping[str, Any] | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """The key of the environment it was measured in."""
        return environment_key(self.environment)


# -- comparing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FootprintComparison:
    """
    Two footprints side by side.

    Attributes:
        changes: Of each step and metric that is there in both, in the order of the steps: worse, better, or known.
        notes: What a reader must know besides, a sentence each.
        refused: Why they cannot be compared; empty where they can.

    """

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""

    @property
    def worse(self) -> tuple[Change, ...]:
        """The changes for the worse."""
        return tuple(change for change in self.changes if change.kind == "worse")

    @property
    def better(self) -> tuple[Change, ...]:
        """The changes for the better."""
        return tuple(change for change in self.changes if change.kind == "better")


def compare(before: Footprint, after: Footprint) -> FootprintComparison:
    """Return what became of each amount: it changed where the ranges part, by a share and by an amount that matter."""
    refused = _refused(before, after)
    if refused:
        return FootprintComparison(refused=refused)
    earlier = {step.name: step for step in before.steps}
    both = [(earlier[step.name], step) for step in after.steps if step.name in earlier]
    return FootprintComparison(
        tuple(change for was, now in both for change in _changes(was, now)), tuple(_notes(before, after))
    )


def _refused(before: Footprint, after: Footprint) -> str:
    if before.scenario != after.scenario:
        return f"it is of the scenario {before.scenario!r}, and this is {after.scenario!r}"
    if before.hash != after.hash:
        return (
            f"the scenario has changed since (its hash was {before.hash}, and is {after.hash}): measure the earlier "
            "version with this scenario, or take this as the new baseline"
        )
    if before.key != after.key:
        return f"it is of another environment ({before.key}, and this is {after.key}), where objects have other sizes"
    return ""


def _changes(was: Step, now: Step) -> Iterator[Change]:
    for name, later in now.after.items():
        if name in was.after and name in METRICS:
            earlier = was.after[name]
            text = f"footprint after {now.name!r}"
            kind = _kind(METRICS[name], earlier, later)
            yield Change("", text, kind, earlier.median, later.median, METRICS[name], (now.name,), "footprint")


def _kind(metric: Metric, was: Range, now: Range) -> str:
    share, least = _LIMITS[metric.name]
    for kind, less, more in (("worse", was, now), ("better", now, was)):
        matters = more.median - less.median >= max(share * abs(was.median), least)
        if matters and more.low > less.high:
            return kind
    return "known"


def _notes(before: Footprint, after: Footprint) -> Iterator[str]:
    names = [{step.name for step in one.steps} for one in (before, after)]
    for what, those in (("no longer there", names[0] - names[1]), ("new", names[1] - names[0])):
        if those:
            yield f"steps that are {what}: {', '.join(sorted(those))}"
    if min(before.runs, after.runs) == 1:
        yield "one of the two was measured once only, so its spread is not known"
    versions = [str(one.environment.get("python")) for one in (before, after)]
    if versions[0] != versions[1]:
        yield f"it was measured with Python {versions[0]}, this with {versions[1]}"


# -- as text ---------------------------------------------------------------------------------------------------------


def dumps(footprint: Footprint, tool: str = "pytest-memguard") -> str:
    """Return *footprint* as ASCII text, one amount a line: small and sorted, for a pull request."""
    environment = {
        key: footprint.environment[key] for key in _ENVIRONMENT if footprint.environment.get(key) is not None
    }
    if isinstance(environment.get("platform"), str):
        environment["platform"] = environment["platform"].partition("-")[0]  # a kernel's release tells nothing here
    content = {
        "schema": SCHEMA,
        "tool": {"name": tool, "version": footprint.version},
        "saved_at": footprint.saved_at,
        "reason": footprint.reason,
        "commit": None if footprint.commit is None else dict(footprint.commit),
        "environment": environment,
        "scenario": footprint.scenario,
        "hash": footprint.hash,
        "runs": footprint.runs,
        "steps": [
            {"name": step.name, "after": {name: _rounded(one) for name, one in sorted(step.after.items())}}
            for step in footprint.steps
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    return _FLAT_LIST.sub(lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text) + "\n"


def _rounded(one: Range) -> list[int]:
    return [round(one.median), round(one.low), round(one.high)]


def from_dict(content: object) -> Footprint:
    """
    Return the footprint that a file holds.

    Raises:
        DocumentError: *content* is something else; one line says what and where.

    """
    _require_schema(expect.mapping(content, "").get("schema"))
    found = expect.fields_of(content, "", _FOOTPRINT, {})
    tool = found.pop("tool")
    del found["schema"]
    return Footprint(version=tool["version"], **found)


def _require_schema(schema: object) -> None:
    if schema == SCHEMA:
        return
    newer = isinstance(schema, str) and schema.partition("/")[0] == SCHEMA.partition("/")[0]
    advice = (
        "a newer pytest-memguard wrote it; update" if newer else "this is no footprint; `memguard baseline` makes one"
    )
    raise DocumentError(f"schema: {expect.shown(schema)} is not {SCHEMA!r}; {advice}")


def _range(value: object, where: str) -> Range:
    return Range(*expect.row(expect.number, expect.number, expect.number)(value, where))


def _step(value: object, where: str) -> Step:
    return Step(**expect.fields_of(value, where, {"name": expect.text, "after": expect.by_name(_range)}, {}))


_FOOTPRINT: Mapping[str, expect.Reader] = {
    "schema": expect.text,
    "tool": expect.keys({"name": expect.text, "version": expect.text}, {}),
    "saved_at": expect.text,
    "reason": expect.text,
    "commit": expect.or_none(expect.free),
    "environment": expect.free,
    "scenario": expect.text,
    "hash": expect.text,
    "runs": expect.between(expect.whole, 1),
    "steps": expect.each(_step),
}
