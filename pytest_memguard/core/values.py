"""
The values that flow through the house: frozen, comparable, plain numbers and text inside.

    Metric  what was counted           Series   its readings over the runs
    Estimate  a number with interval   Trend    what a series does
    Verdict  what that means           Finding  one metric that grows, and why
    SubjectResult  one test            RunResult  one session
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import Unit

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Mapping

__all__ = [
    "BLOCKS", "CHILDREN", "CONTAINER_ITEMS", "FDS", "GC_OBJECTS", "HEAP", "MAPPED", "METRICS", "RSS", "TASKS",
    "THREADS", "TRACED", "USS", "Cause", "Change", "Comparison", "Control", "Estimate", "Explanation", "Finding",
    "Holder", "Hop", "KnownHolder", "Level", "Metric", "Phase", "Readings", "RetentionPath", "RunResult", "Series",
    "Shape", "Site", "SubjectResult", "Trend", "TypeGrowth", "Unit", "Verdict",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """
    Something that can be counted.

    ``exact`` metrics are counted by the interpreter or the kernel and do not move unless something was kept;
    the others are sampled and may swing. ``resource`` metrics (descriptors, threads, ...) are named one by one.
    """

    name: str
    unit: Unit
    exact: bool
    resource: bool = False
    lower_is_better: bool = True


BLOCKS = Metric("blocks", Unit.COUNT, exact=True)
GC_OBJECTS = Metric("gc_objects", Unit.COUNT, exact=True)
CONTAINER_ITEMS = Metric("container_items", Unit.COUNT, exact=True)
FDS = Metric("fds", Unit.COUNT, exact=True, resource=True)
THREADS = Metric("threads", Unit.COUNT, exact=True, resource=True)
CHILDREN = Metric("children", Unit.COUNT, exact=True, resource=True)
TASKS = Metric("tasks", Unit.COUNT, exact=True, resource=True)
HEAP = Metric("heap", Unit.BYTE, exact=False)
MAPPED = Metric("mapped", Unit.BYTE, exact=False)
RSS = Metric("rss", Unit.BYTE, exact=False)
USS = Metric("uss", Unit.BYTE, exact=False)
TRACED = Metric("traced", Unit.BYTE, exact=False)

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        BLOCKS, GC_OBJECTS, CONTAINER_ITEMS, FDS, THREADS, CHILDREN, TASKS, HEAP, MAPPED, RSS, USS, TRACED,
    )
}  # fmt: skip


class Level(str, Enum):
    """What a verdict says; the value is what stands in a result document."""

    CLEAN = "clean"
    SETTLED = "settled"
    BOUNDED = "bounded"
    LEAK = "leak"
    GROWING = "growing"
    UNMEASURED = "unmeasured"
    SKIPPED = "skipped"


class Shape(str, Enum):
    """What a series does over the runs."""

    FLAT = "flat"
    EXACT = "exact"
    LINEAR = "linear"
    LATE = "late"
    SLOWING = "slowing"
    STEP = "step"
    SAWTOOTH = "sawtooth"


class Phase(str, Enum):
    """The part of a measurement that a reading belongs to; each has its own base reading."""

    SCREEN = "screen"
    CLIMB = "climb"
    BATCH = "batch"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one metric: ``values`` (n,) in ``metric.unit`` at ``x`` (n,) in ``x_unit``, warm-up cut."""

    metric: Metric
    x: tuple[float, ...]
    values: tuple[float, ...]
    x_unit: str = "run"

    def __post_init__(self) -> None:
        """Refuse a series whose two sides differ in length."""
        if len(self.x) != len(self.values):
            raise ValueError(f"{self.metric.name}: {len(self.x)} positions for {len(self.values)} values")


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """
    All readings of one subject, packed: 8 bytes a number, so that ten thousand tests stay small.

    Attributes:
        metrics: Shape (m,), the columns.
        runs: Shape (n,), number of runs made before each reading, the subject's own first run included.
        phases: Shape (n,), the part of the measurement each reading belongs to.
        values: Shape (n * m,) at least, row by row, in each metric's unit; what lies behind is not part of it.

    """

    metrics: tuple[Metric, ...]
    runs: tuple[int, ...]
    phases: tuple[Phase, ...]
    values: array[int]

    def __len__(self) -> int:
        """Return the number of readings."""
        return len(self.runs)

    def __eq__(self, other: object) -> bool:
        """Compare column by column."""
        if not isinstance(other, Readings):
            return NotImplemented
        return (self.metrics, self.runs, self.phases, self.values) == (
            other.metrics, other.runs, other.phases, other.values,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment] # arrays are mutable, so no hash is promised

    def column(self, metric: Metric, phase: Phase | None = None) -> tuple[int, ...]:
        """Return the values of *metric*, of one phase or of all; empty where it was not read."""
        try:
            first = self.metrics.index(metric)
        except ValueError:
            return ()
        values = self.values[first : len(self.runs) * len(self.metrics) : len(self.metrics)]
        if phase is None or self.phases.count(phase) == len(self.phases):
            return tuple(values)
        return tuple(value for value, part in zip(values, self.phases, strict=True) if part is phase)

    def runs_of(self, phase: Phase) -> tuple[int, ...]:
        """Return the run numbers of the readings of one phase."""
        return tuple(run for run, part in zip(self.runs, self.phases, strict=True) if part is phase)

    def series(self) -> Iterator[Series]:
        """Yield one series a metric, over all phases."""
        for metric in self.metrics:
            yield Series(metric, self.runs, self.column(metric))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its two-sided interval of confidence ``level``; never a bare number."""

    point: float
    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series does: its shape and its slope in unit per run, from *n* readings."""

    shape: Shape
    slope: Estimate
    n: int
    r: float = 0.0
    least_squares: float = 0.0


@dataclass(frozen=True, slots=True)
class Control:
    """What one metric does when an empty subject runs: ``per_run`` growth, and the largest step seen."""

    per_run: float = 0.0
    largest_step: float = 0.0

    @property
    def noisy(self) -> bool:
        """Whether the counter moves while nothing happens."""
        return self.largest_step > abs(self.per_run)


@dataclass(frozen=True, slots=True)
class Holder:
    """
    Who keeps what grew, as far as the holder check could see.

    Attributes:
        kind: ``bounded`` (it has a limit), ``unbounded`` (a container without one), ``native`` (nothing that
            the collector sees has grown), ``hidden`` (objects stay, but nothing found keeps them), ``known`` (a test
            tool keeps something of every run), ``rebound`` (an attribute of the test's own module wraps its former
            value at each run), or ``unseen`` (not looked at).
        name: Where it is, for people: ``module.attribute`` or ``function (file:line)``.
        limit: Most entries it can hold, where known.
        grew: Entries it gained per run, where known.
        why: Why a known holder grows.

    """

    kind: str = "unseen"
    name: str = ""
    limit: int | None = None
    grew: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class KnownHolder:
    """
    A holder whose growth says nothing about the tested code: what a test tool keeps of every run.

    Attributes:
        name: Pattern (``*``, ``?``) of the names that it has: ``module.attribute``, or ``module.Class.attribute``.
        package: Whose it is.
        why: Why it grows, for people.

    """

    name: str
    package: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, how sure (0-100), by which policy, and why; never without a reason."""

    level: Level
    score: float
    reason: str
    policy: str = "calibrated"
    policies: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """
    Where memory that stayed was allocated, or something that stayed was opened or started.

    Attributes:
        file: Below the project or its own package, where it is in one; else as the interpreter names it.
        line: In *file*, from 1.
        function: Qualified, as in ``Shop.add``; ``<module>`` outside of all.
        bytes_per_run: What stays of it a run; 0 of a resource.
        blocks_per_run: How many stay a run; 0 where only bytes are known.
        traceback: ``file:line function``, the user's own line first, then its callers; stretches of libraries folded.
        source: The line itself, without its indent; empty where it cannot be read.

    """

    file: str
    line: int
    function: str
    bytes_per_run: float
    blocks_per_run: float
    traceback: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class TypeGrowth:
    """How many objects of one type stay per run, and their bytes."""

    type: str
    count_per_run: float
    bytes_per_run: float


@dataclass(frozen=True, slots=True)
class Hop:
    """
    One step of a retention path: the edge that is taken, and the object it leads to.

    Attributes:
        kind: What sort of edge. First hop, the root: ``module``, ``class``, ``thread``, ``frame``, ``context``,
            ``task``, ``logging``, ``atexit``, ``signal``, ``fixture``, ``native``, ``interpreter``. Others:
            ``attribute``, ``item`` (of a dict, by key), ``element`` (of a list, set, tuple, deque), ``cell``,
            ``default``, ``cache`` (of an lru_cache), ``method`` (its object), ``function``, ``callback`` (of a weak
            reference), ``traceback``, ``local`` (of a frame), ``reference`` (all else).
        name: Of the edge, no address, no index in it: ``shop.KEPT`` of a root, else ``.calls``, ``['key']``, ``[...]``.
        type: Qualified type of the object it leads to.
        grows_per_run: Entries that this object, a container, gains a run.
        suspect: Whether the edge may be the leak: below what is known not to leak, above what is known to leak.

    """

    kind: str
    name: str
    type: str
    grows_per_run: float = 0.0
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class RetentionPath:
    """Who holds a survivor, from a root down."""

    hops: tuple[Hop, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One metric of one subject that grows, by how much, and why."""

    metric: Metric
    trend: Trend
    total: float
    fingerprint: str = ""
    status: str | None = None
    advice: str = ""
    sites: tuple[Site, ...] = ()
    types: tuple[TypeGrowth, ...] = ()
    paths: tuple[RetentionPath, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """
    What findings of one fingerprint have in common, in however many results.

    Attributes:
        text: Who holds it, or where it is made, on one line; names in it come from outside.
        results: Ids of the results, in the order of the session.
        growth: For each metric the growth a run, of all results together; what stands for the others first.
        reproducer: The command that repeats the cheapest of the results; empty where it is not known.
        loss_bytes: What one run of all of them is expected to lose: the growth, times how likely it is a leak.
        x_unit: What growth and loss are counted over; of results that differ in it, those over runs tell them.

    """

    fingerprint: str
    text: str
    results: tuple[str, ...]
    growth: tuple[tuple[Metric, float], ...]
    reproducer: str = ""
    loss_bytes: float = 0.0
    x_unit: str = "run"

    @property
    def metric(self) -> Metric:
        """The metric that stands for the others."""
        return self.growth[0][0]

    @property
    def per_run(self) -> float:
        """Growth of that metric a run, of all results together."""
        return self.growth[0][1]


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    What the extra pass found out about a subject that is not clean; plain text and numbers, no live objects.

    Attributes:
        sites: Where memory that stayed was allocated, the user's own code first, most blocks a run first.
        types: What stayed, the user's own classes first, then most objects a run.
        paths: Who holds it, the best first.
        names: (metric name, what of it stayed): paths and peers of descriptors, names of threads, commands of children.
        makers: (metric name, where it was opened or started).
        notes: What could not be found out, and why, a sentence each.
        tasks_done: Whether asyncio tasks stay that are all done.
        unheld: Whether no Python object could be found that refers to what stays, though all were asked.

    """

    sites: tuple[Site, ...] = ()
    types: tuple[TypeGrowth, ...] = ()
    paths: tuple[RetentionPath, ...] = ()
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    makers: tuple[tuple[str, tuple[Site, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    tasks_done: bool = False
    unheld: bool = False


@dataclass(frozen=True, slots=True)
class SubjectResult:
    """
    What became of one test, callable, scenario or process; also of one that could not be measured, and why.

    ``plan`` and ``holder`` and the readings are all that the verdict was made from: ``core.verdict.rejudge``
    makes it again. ``notes`` says, a sentence each, what could not be explained. A service or a process, which is
    watched and not repeated, has a ``timeline`` instead: a series a metric, over seconds.
    """

    id: str
    kind: str
    verdict: Verdict
    runs: int = 0
    duration_s: float = 0.0
    first_run_s: float = 0.0
    file: str = ""
    line: int = 0
    worker: str | None = None
    readings: Readings | None = None
    findings: tuple[Finding, ...] = ()
    holder: Holder = Holder()
    plan: Any = None
    stopped: str = ""
    notes: tuple[str, ...] = ()
    timeline: tuple[Series, ...] = ()

    @property
    def x_unit(self) -> str:
        """What its growth is counted over: ``run``; ``request`` of a load, ``second`` where nobody counts those."""
        if self.kind == "process":
            return "second"
        if self.kind == "scenario":
            return "request" if self.runs else "second"
        return "run"

    def series(self) -> tuple[Series, ...]:
        """Return one series a metric, over seconds where there is a timeline; empty where nothing was measured."""
        if self.timeline:
            return self.timeline
        return tuple(self.readings.series()) if self.readings else ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """One session: what was measured, where, with which settings."""

    started_at: str
    duration_s: float
    environment: Mapping[str, Any] = field(default_factory=dict)
    commit: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Control] = field(default_factory=dict)
    results: tuple[SubjectResult, ...] = ()
    repeat_s: float = 0.0
    plain_s: float = 0.0

    def __add__(self, other: RunResult) -> RunResult:
        """Merge two sessions of one suite (xdist workers, CI shards): results one after the other."""
        if not isinstance(other, RunResult):
            return NotImplemented
        return replace(
            self,
            started_at=min(self.started_at, other.started_at),
            duration_s=max(self.duration_s, other.duration_s),
            control={**other.control, **self.control},
            results=self.results + other.results,
            repeat_s=self.repeat_s + other.repeat_s,
            plain_s=self.plain_s + other.plain_s,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """
    What became of one leak from one session to another; made only by ``core.compare``.

    Attributes:
        fingerprint: Of the cause; empty where nothing is known of it, or of a footprint.
        text: Who holds it, or where it is made, on one line; names in it come from outside.
        kind: ``new``, ``worse``, ``better``, ``gone``, or ``known``: as before, or accepted.
        before: Growth of *metric* a run, of the test that tells most; None where there was none.
        after: The same, in the later session.
        metric: What the two amounts count.
        results: Ids of the results that have it: of the later session, or of the earlier one where it is gone.
        verdict: ``leak`` or ``growing``, of the surest of these results; ``footprint`` of what is no growth.
        x_unit: What the growth is counted over: ``run``, ``request`` or ``second``.

    """

    fingerprint: str
    text: str
    kind: str
    before: float | None
    after: float | None
    metric: Metric
    results: tuple[str, ...]
    verdict: str = "leak"
    x_unit: str = "run"


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    Two sessions side by side.

    Attributes:
        changes: What matters most first: new, worse, known, better, gone.
        notes: What could not be compared, and what else a reader must know, a sentence each.
        decided: Whether there was anything to compare: not where the two have nothing in common.

    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    before: RunResult
    after: RunResult
    decided: bool = True

    @property
    def changed(self) -> tuple[Change, ...]:
        """The changes but for what is known."""
        return tuple(change for change in self.changes if change.kind != "known")

    def of(self, *kinds: str) -> tuple[Change, ...]:
        """Return the changes of these kinds."""
        return tuple(change for change in self.changes if change.kind in kinds)
