"""
The ladder: after these readings, how many more runs, of what kind, or stop.

A pure state machine. ``advance`` looks at all readings so far and says what comes next, so the same function that
steers a measurement judges it again from a stored document.

    SCREEN    a few runs, one reading after each. The first repeat is warm-up: nothing grew after it -> clean.
    CLIMB     what grew is followed: caches purged before each reading, the older heap frozen.
              It stops growing -> settled or bounded. It falls back -> bounded.
    CONFIRM   what still grows is read again with the whole heap collected at its start, middle and end.
              It goes on at the same rate -> the score decides between leak and growing.

Half-way up the climb the engine begins to look for the holder, and asks at its end who grew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_memguard.core.trend import e_value
from pytest_memguard.core.values import (
    BLOCKS,
    CONTAINER_ITEMS,
    GC_OBJECTS,
    MAPPED,
    RSS,
    TRACED,
    USS,
    Holder,
    Metric,
    Phase,
    Readings,
    Shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CONFIRM_RUNS", "HURRIED_CLIMB", "Act", "Plan", "Step", "Suspect", "advance", "is_pressing", "suspects_of"]

#: Runs of the confirmation: as many again as the ladder had made, so that slowing growth shows.
CONFIRM_RUNS = 32
#: A subject that waits for something may leak on some runs only: one in five is missed here once in 200 times.
RACY_SCREEN = 24
#: A subject whose runs are slow is decided here, and confirmed over a few runs only.
HURRIED_CLIMB = 14
_HURRIED_CONFIRM = 6
_LEAST_CLIMB = 6
#: Reported beside the others, but no reason of their own to suspect anything: RSS and USS follow the page, and with
#: a frozen heap a full cache that replaces old objects shows new ones for ever (RSS: measured on 3,880 tests).
_NEVER_SUSPECT = frozenset({GC_OBJECTS, RSS, USS, TRACED, CONTAINER_ITEMS})
#: A counter is at rest when it has set no record for this many runs, and for this many times the usual gap.
_QUIET_HEAP = 16
_QUIET_GAPS = 5
#: Sampled counters: less than this a run is not followed (the smallest real leak known kept 34 bytes).
_LEAST_HEAP_RATE = 16.0
#: After the first readings of a climb the ladder is asked again after so many: asking costs more than a short run.
_STRIDE = 4
#: A buffer is known by its flush only once it has filled for some readings; shorter ones set no records.
_SHORTEST_FILL = 8
#: A line keeps each rung at the rate of the one before; a square root keeps 0.71, a logarithm half.
_LINE = 0.75
_NOT_SLOWING = 0.5
_PAGE = 4096
#: An e-value from which chance is out of the question (Ville: at most one series in so many reaches it by chance).
_CERTAIN = 100.0
#: A counter of memory joins a climb on its own growth; one or two lumps may be the climb's own.
_LUMPS_TO_JOIN = 3
#: A resource that rose this often in a climb and its confirmation, and also in the latter, is not there by chance.
_SELDOM = 3
#: Share of equal steps from which they are the usual one.
_USUAL = 0.55
#: The same in each part alone; a leak on every second run has half of them.
_OFTEN = 0.4


class Act(str, Enum):
    """What comes next."""

    RUN = "run"
    CLIMB = "climb"
    LOOK = "look"
    CONFIRM = "confirm"
    COLLECT = "collect"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    All that a verdict depends on besides the readings; stored with the result.

    Attributes:
        mode: ``quick``, ``standard``, ``deep`` or ``native``.
        screen: Repeats that a subject costs which never grows.
        patience: Quiet readings after which a climb is given up.
        max_runs: Most runs, the subject's own first one included.
        batch: Runs between two readings.
        confidence: Score from which a finding is a leak.
        policy: The score that is compared with it.
        prior: Share of subjects that are expected to leak.
        curious: Whether native memory alone is followed: small leaks there cost many runs to tell from noise.
        racy: Whether the subject waits for something, so that it may leak on some runs only.
        lumpy: Whether the interpreter allocates for each function that is called often, as Python 3.10 does: growth
            of blocks or native memory on some runs only proves nothing there.
        hurried: Whether its runs are so slow that it is decided early.
        follow: Whether there is time left in the session to follow what grew in the screen.
        allow: Growth a run that is accepted: (metric name, amount).
        metrics: Names of the metrics that are judged; empty for all.
        control: What an empty subject keeps a run: (metric name, per run, largest step).

    """

    mode: str = "quick"
    screen: int = 2
    patience: int = 4
    max_runs: int = 65
    batch: int = 1
    confidence: float = 95.0
    policy: str = "calibrated"
    prior: float = 0.002
    curious: bool = False
    racy: bool = False
    lumpy: bool = False
    hurried: bool = False
    follow: bool = True
    allow: tuple[tuple[str, float], ...] = ()
    metrics: tuple[str, ...] = ()
    control: tuple[tuple[str, float, float], ...] = ()

    def climb(self, screened: int) -> int:
        """Return the most readings of a climb after *screened* repeats: half of what max_runs leaves."""
        half = (max(0, (self.max_runs - 1) // self.batch - screened) + 1) // 2
        return min(half, HURRIED_CLIMB) if self.hurried else half

    def confirm(self, screened: int) -> int:
        """Return the readings of the confirmation after that, an even number."""
        room = max(0, (self.max_runs - 1) // self.batch - screened - self.climb(screened))
        return min(_HURRIED_CONFIRM if self.hurried else CONFIRM_RUNS, room) // 2 * 2

    @property
    def longest_screen(self) -> int:
        """Readings of a screen that finds nothing; a racy subject gets more where there is time."""
        return max(self.screen, RACY_SCREEN) if self.racy and self.curious else self.screen

    def accepted(self, metric: Metric) -> float:
        """Return the growth a run of *metric* that is no news: allowed by the user, or the framework's own."""
        allowed = sum(amount for name, amount in self.allow if name == metric.name)
        return allowed + sum(per_run for name, per_run, _ in self.control if name == metric.name)

    def control_step(self, metric: Metric) -> float:
        """Return the largest step of *metric* seen while an empty subject ran."""
        return max((step for name, _, step in self.control if name == metric.name), default=0.0)


@dataclass(frozen=True, slots=True)
class Suspect:
    """
    A metric that grew, and how.

    Attributes:
        shape: What it did over the climb and the confirmation.
        rate: Growth a run over the confirmation, or over the climb's second half before it; what is accepted is off.
        lumps: Readings of the climb that set a new record.
        confirmed: Whether it went on with the whole heap collected.

    """

    metric: Metric
    shape: Shape
    rate: float
    lumps: int
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next, *times* over, and who is suspected; *end* names why it is STOP."""

    act: Act
    phase: Phase = Phase.SCREEN
    suspects: tuple[Suspect, ...] = ()
    end: str = ""
    times: int = 1


def advance(readings: Readings, plan: Plan, holder: Holder | None = None) -> Step:
    """
    Say what comes after *readings*.

    Args:
        readings: All so far, the first one taken after the subject's own run.
        plan: How far to go.
        holder: What the holder check found, once it was made.

    Returns:
        RUN (one batch, then a reading of the same phase; *times* over), CLIMB or CONFIRM (purge, collect, read the
        phase's base), LOOK (begin the holder check), COLLECT (run, collect the whole heap, read), or STOP.

    """
    last = readings.phases[-1]
    if last is Phase.SCREEN:
        return _screen(readings, plan)
    if last is Phase.CLIMB:
        return _climb(readings, plan, holder)
    return _confirm(readings, plan, holder)


def suspects_of(readings: Readings, plan: Plan) -> tuple[Suspect, ...]:
    """Return who grows, seen from the last reading, whatever phase that belongs to."""
    last = readings.phases[-1]
    if last is Phase.SCREEN:
        return _suspects_of_screen(readings, plan)
    if last is Phase.CLIMB:
        return _alive(readings, plan)
    return _confirmed(readings, plan)


def is_pressing(readings: Readings, plan: Plan) -> bool:
    """Whether the screen alone is reason to climb, also without curiosity."""
    return bool(_suspects_of_screen(readings, plan))


# -- screen ----------------------------------------------------------------------------------------------------------


def _screen(readings: Readings, plan: Plan) -> Step:
    if len(readings) <= plan.screen:
        return Step(Act.RUN, Phase.SCREEN, times=plan.screen + 1 - len(readings))
    suspects = _suspects_of_screen(readings, plan)
    if not suspects:
        return Step(Act.STOP, end="clean") if len(readings) > plan.longest_screen else Step(Act.RUN, Phase.SCREEN)
    if not plan.follow:
        return Step(Act.STOP, suspects=suspects, end="unfollowed")
    screened = len(readings) - 1
    if plan.climb(screened) < _LEAST_CLIMB or not plan.confirm(screened):
        return Step(Act.STOP, suspects=suspects, end="max_runs")
    return Step(Act.CLIMB, Phase.CLIMB, suspects)


def _suspects_of_screen(readings: Readings, plan: Plan) -> tuple[Suspect, ...]:
    return tuple(_judged(readings, plan, _grew_in_screen))


def _grew_in_screen(metric: Metric, readings: Readings, plan: Plan) -> Suspect | None:
    values = readings.column(metric, Phase.SCREEN)
    # The first repeat is warm-up for memory (one test in ten keeps something then, and no more); a resource is not.
    base = 0 if metric.resource or not metric.exact or len(values) < 3 else 1  # noqa: PLR2004 - two repeats
    growth = values[-1] - values[base]
    if growth <= 0 or growth <= plan.accepted(metric) * (len(values) - 1 - base) * plan.batch:
        return None
    if not metric.exact and not (plan.curious or _grows_boldly(values)):
        return None
    runs = (len(values) - 1 - base) * plan.batch
    return Suspect(metric, Shape.LATE, growth / runs, 1)


def _grows_boldly(values: Sequence[int]) -> bool:
    """Whether a sampled counter rose by a page or more with every repeat."""
    return all(after - before >= _PAGE for before, after in pairwise(values))


def _judged(readings: Readings, plan: Plan, judge: Callable[[Metric, Readings, Plan], Suspect | None]) -> list[Suspect]:
    found = []
    for metric in readings.metrics:
        if metric in _NEVER_SUSPECT or (plan.metrics and metric.name not in plan.metrics):
            continue
        suspect = judge(metric, readings, plan)
        if suspect is not None:
            found.append(suspect)
    return found


# -- climb -----------------------------------------------------------------------------------------------------------


def _climb(readings: Readings, plan: Plan, holder: Holder | None) -> Step:
    made = readings.phases.count(Phase.CLIMB) - 1
    alive = _alive(readings, plan)
    if made and not alive:
        return Step(Act.STOP, end=_why_at_rest(readings, plan))
    climb = plan.climb(_screened(readings))
    if made < climb:
        half = climb // 2
        if made == half and holder is None and any(suspect.metric == BLOCKS for suspect in alive):
            return Step(Act.LOOK, Phase.CLIMB, alive)
        times = 1 if made < _LEAST_CLIMB else min(_STRIDE, (half if made < half else climb) - made)
        return Step(Act.RUN, Phase.CLIMB, alive, times=times)
    if holder is not None and holder.kind == "bounded":
        return Step(Act.STOP, suspects=alive, end="bounded")
    excuse = _excuse(holder)
    if excuse and not any(suspect.metric.resource for suspect in alive):
        return Step(Act.STOP, suspects=alive, end=excuse)
    return Step(Act.CONFIRM, Phase.CONFIRM, alive)


def _excuse(holder: Holder | None) -> str:
    """Return the kind of a holder whose memory says nothing about the subject, else nothing; files always do."""
    return holder.kind if holder is not None and holder.kind in ("rebound", "known") else ""


def _screened(readings: Readings) -> int:
    return readings.phases.count(Phase.SCREEN) - 1


def _alive(readings: Readings, plan: Plan) -> tuple[Suspect, ...]:
    return tuple(_judged(readings, plan, _still_grows))


def _still_grows(metric: Metric, readings: Readings, plan: Plan) -> Suspect | None:
    values = _net(readings.column(metric, Phase.CLIMB), plan.accepted(metric) * plan.batch)
    if not _was_suspect(metric, readings, plan) and not _joins(metric, values):
        return None
    at_rest = _at_rest_exact if metric.exact else _at_rest_sampled
    if at_rest(values, plan) or _is_flushed(values, metric):
        return None
    half = len(values) // 2
    rate = (values[-1] - values[half]) / max(1, len(values) - 1 - half) / plan.batch
    return Suspect(metric, _shape(values, metric), rate, len(_records(values)))


def _joins(metric: Metric, values: Sequence[float]) -> bool:
    """Whether a counter that stood still in the screen grows in the climb that another one began."""
    return metric.exact and len(_records(values)) >= (1 if metric.resource else _LUMPS_TO_JOIN)


def _was_suspect(metric: Metric, readings: Readings, plan: Plan) -> bool:
    return _grew_in_screen(metric, readings, plan) is not None


def _net(values: Sequence[int], accepted: float) -> tuple[float, ...]:
    """Return the values with *accepted* taken off at each reading."""
    if not accepted:
        return tuple(values)
    return tuple(value - accepted * number for number, value in enumerate(values))


def _records(values: Sequence[float]) -> list[int]:
    """Return the positions at which a new highest value stands; the base does not count."""
    positions, highest = [], values[0]
    for position, value in enumerate(values):
        if value > highest:
            positions.append(position)
            highest = value
    return positions


def _at_rest_exact(values: Sequence[float], plan: Plan) -> bool:
    records = _records(values)
    quiet = len(values) - 1 - (records[-1] if records else 0)
    gap = records[-1] / len(records) if records else 0.0
    least = max(plan.patience, 8 if len(records) > 1 else 0, 24 if plan.racy and plan.curious else 0)
    return quiet >= max(least, _QUIET_GAPS * gap if len(records) > 1 else 0)


def _at_rest_sampled(values: Sequence[float], plan: Plan) -> bool:
    records = _records(values)
    last = records[-1] if records else 0
    quiet = len(values) - 1 - last
    # Native memory may grow in lumps that double (an arena): a lump within twice the runs so far keeps it suspect.
    if quiet < max(_QUIET_HEAP, last + plan.screen):
        return False
    # A counter that is truly at rest stands still; one that leaks and swings has steps up and down.
    steps = [after - before for before, after in pairwise(values[-_QUIET_HEAP:])]
    return steps.count(0) >= _LINE * len(steps)


def _is_flushed(values: Sequence[float], metric: Metric) -> bool:
    return _fell_back(values) if metric.exact else _fell_deep(values)


def _fell_deep(values: Sequence[float]) -> bool:
    """Whether one step took half of all that a sampled counter had gained, and more than a page."""
    highest = values[0]
    for before, after in pairwise(values):
        highest = max(highest, before)
        if before - after >= max(_PAGE, (highest - values[0]) / 2):
            return True
    return False


def _fell_back(values: Sequence[float]) -> bool:
    """Whether a reading lost all that the later half of the readings before it had gained: a buffer that is flushed."""
    return any(values[0] < values[at // 2] > values[at] for at in range(_SHORTEST_FILL, len(values)))


def _why_at_rest(readings: Readings, plan: Plan) -> str:
    for metric in readings.metrics:
        if metric not in _NEVER_SUSPECT and _was_suspect(metric, readings, plan):
            values = _net(readings.column(metric, Phase.CLIMB), plan.accepted(metric) * plan.batch)
            if _is_flushed(values, metric):
                return "flushed"
            if metric.exact and len(_records(values)) > 2:  # noqa: PLR2004 - one or two lumps are warm-up
                return "filled"
    return "settled"


# -- confirmation ----------------------------------------------------------------------------------------------------


def _confirm(readings: Readings, plan: Plan, holder: Holder | None) -> Step:
    made = readings.phases.count(Phase.CONFIRM) - 1
    confirm = plan.confirm(_screened(readings))
    if made == confirm:
        suspects = _confirmed(readings, plan)
        excuse = _excuse(holder)
        own = tuple(one for one in suspects if one.metric.resource) if excuse else suspects
        if any(suspect.confirmed for suspect in own):
            return Step(Act.STOP, suspects=own, end="confirmed")
        if any(suspect.confirmed for suspect in suspects):
            return Step(Act.STOP, suspects=suspects, end=excuse)
        return Step(Act.STOP, suspects=suspects, end=_why_not_confirmed(suspects))
    half = 0 if plan.hurried else confirm // 2
    collects_at = (half if made < half else confirm) - 1
    if made == collects_at:
        return Step(Act.COLLECT, Phase.CONFIRM)
    return Step(Act.RUN, Phase.CONFIRM, times=collects_at - made)


def _why_not_confirmed(suspects: tuple[Suspect, ...]) -> str:
    if not suspects:
        return "thawed"
    swings = all(not one.metric.exact and one.shape is Shape.SLOWING for one in suspects)
    return "swings" if swings else "growing"


def _confirmed(readings: Readings, plan: Plan) -> tuple[Suspect, ...]:
    return tuple(_judged(readings, plan, _goes_on))


def _goes_on(metric: Metric, readings: Readings, plan: Plan) -> Suspect | None:
    accepted = plan.accepted(metric) * plan.batch
    climb = _net(readings.column(metric, Phase.CLIMB), accepted)
    before = _still_grows(metric, readings, plan)
    if before is None:
        return None
    values = _net(readings.column(metric, Phase.CONFIRM), accepted)
    made = len(values) - 1
    half = made // 2
    growth, first, second = values[-1] - values[0], values[half] - values[0], values[-1] - values[half]
    if made < 1 or growth <= 0:
        return None
    shape = _shape_confirmed(climb, values, metric)
    rate = growth / made / plan.batch
    step = _usual_step(climb[len(climb) // 2 :], values)
    if step and growth >= _NOT_SLOWING * step * made:
        # One stray step (a collection of the whole heap makes some) must not hide that all others are the same.
        shape, rate = Shape.EXACT if metric.exact else Shape.LINEAR, step / plan.batch
        first, second = max(first, step), max(second, step)
    elif not metric.exact and (_keeps_usual_rate(climb[len(climb) // 2 :], values) or _rises_steadily(values)):
        shape, step = Shape.LINEAR, rate
    # The collections of a confirmation shake sampled counters: they must keep half of what the climb promised.
    kept = _NOT_SLOWING * before.rate * plan.batch * made
    lost = _fell_back(values) if metric.exact else growth < kept or _fell_deep(values)
    in_lumps = not metric.exact and shape in (Shape.EXACT, Shape.LINEAR) and not lost
    steady = in_lumps or (second > 0 and (first > 0 or before.lumps < len(climb) // 4) and (bool(step) or not lost))
    if metric.resource:  # it leaks on some runs only, perhaps: what is not given back stays, however seldom it comes
        steady = not lost and before.lumps + len(_records(values)) >= _SELDOM
    enough = (metric.exact and (bool(step) or not plan.lumpy or metric != BLOCKS)) or (
        not metric.exact
        and rate >= _LEAST_HEAP_RATE
        and growth > 8 * plan.control_step(metric)
        and (bool(step) or (metric != MAPPED and not plan.lumpy and _rises_mostly(climb, values)))  # arenas: in lumps
    )
    return replace(
        before,
        shape=shape,
        rate=rate,
        lumps=before.lumps + len(_records(values)),
        confirmed=steady and enough and shape is not Shape.SLOWING,
    )


def _usual_step(climb: Sequence[float], confirm: Sequence[float]) -> float:
    """Return the step that most readings of both parts make, if it is up and the same; else 0."""
    parts = [[after - before for before, after in pairwise(values)] for values in (climb, confirm)]
    usual = max(parts[0], key=lambda step: (parts[0].count(step), -step), default=0.0)
    often = [steps.count(usual) / max(1, len(steps)) for steps in (*parts, parts[0] + parts[1])]
    return usual if usual > 0 and min(often) >= _OFTEN and often[-1] >= _USUAL else 0.0


def _rises_steadily(confirm: Sequence[float]) -> bool:
    """Whether every third reading is higher than the one before, nearly without exception, and none the slower."""
    half = len(confirm) // 2
    first, second = confirm[half] - confirm[0], confirm[-1] - confirm[half]
    return second >= _LINE * first > 0 and e_value(confirm[::3]) >= _CERTAIN


def _keeps_usual_rate(climb: Sequence[float], confirm: Sequence[float]) -> bool:
    """Whether the median growth of four readings is up, and no less in the confirmation than in the climb."""
    usual = [_median_growth(values) for values in (climb, confirm)]
    return usual[1] >= _LINE * usual[0] > 0


def _median_growth(values: Sequence[float]) -> float:
    growth = sorted(after - before for before, after in zip(values, values[4:], strict=False))
    return growth[len(growth) // 2] if growth else 0.0


def _rises_mostly(climb: Sequence[float], confirm: Sequence[float]) -> bool:
    """
    Whether a sampled counter rose steadily: by batches of four readings, or in lumps that never come back.

    The lowest value of each later part lies above the highest of the part before the climb's second half.
    """
    tail = climb[len(climb) // 2 :]
    batches = [min(tail[start : start + 4]) for start in range(0, len(tail), 4)]
    later = [min(confirm[start : start + 4]) for start in range(0, len(confirm) - 1, 4)] + [confirm[-1]]
    parts = [batches, [value - confirm[0] + tail[-1] for value in later]]
    rising = [value for part in parts for value in part]
    ups = sum(after > before for before, after in pairwise(rising))
    downs = sum(after < before for before, after in pairwise(rising))
    return ups >= 0.75 * (len(rising) - 1) or (ups >= 2 and downs == 0)  # noqa: PLR2004 - two lumps make a rate


# -- shape -----------------------------------------------------------------------------------------------------------


def _shape(values: Sequence[float], metric: Metric) -> Shape:
    """Name what one phase did, from its last half, the quarter before it and the eighth before that."""
    return _shape_of_rates(_rates(values), values, metric)


def _shape_confirmed(climb: Sequence[float], confirm: Sequence[float], metric: Metric) -> Shape:
    """Name what the climb's second quarter and half and the whole confirmation did, one after the other."""
    half, quarter = len(climb) // 2, len(climb) // 4
    rates = [
        (climb[half] - climb[quarter]) / max(1, half - quarter),
        (climb[-1] - climb[half]) / max(1, len(climb) - 1 - half),
        (confirm[-1] - confirm[0]) / (len(confirm) - 1),
    ]
    return _shape_of_rates(rates, confirm, metric)


def _rates(values: Sequence[float]) -> list[float]:
    last = len(values) - 1
    edges = [last - last * 7 // 8, last - last * 3 // 4, last - last // 2, last]
    return [(values[after] - values[before]) / max(1, after - before) for before, after in pairwise(edges)]


def _shape_of_rates(rates: Sequence[float], values: Sequence[float], metric: Metric) -> Shape:
    first, middle, last = rates
    if last <= 0:
        return Shape.FLAT if values[-1] <= values[0] else Shape.STEP
    if metric.exact and first == middle == last:
        return Shape.EXACT
    if middle > 0 and last >= _LINE * middle and middle >= _LINE * first:
        return Shape.LINEAR
    earlier = (first + middle) / 2
    return Shape.LATE if last >= _NOT_SLOWING * max(earlier, middle) else Shape.SLOWING
