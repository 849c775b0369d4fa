"""The ladder, driven as the engine drives it: scripted counters in, the way it went and its end out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import log, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core import ladder
from pytest_memguard.core.ladder import Act, Plan, Step, Suspect, advance, is_pressing, suspects_of
from pytest_memguard.core.values import (
    BLOCKS,
    CHILDREN,
    CONTAINER_ITEMS,
    FDS,
    GC_OBJECTS,
    HEAP,
    MAPPED,
    RSS,
    TASKS,
    THREADS,
    TRACED,
    USS,
    Holder,
    Metric,
    Phase,
    Readings,
    Shape,
)
from pytest_memguard.core.verdict import judge, rejudge

#: What a counter says after so many further runs, 0 being the subject's own first one.
Truth = Callable[[int], int]

QUICK = Plan(curious=True)
STANDARD = Plan(mode="standard", screen=4, patience=8, curious=True)
NATIVE = Plan(mode="native", batch=32, max_runs=65 * 32, curious=True)
MOST_RUNS = 4_000


# -- the engine's part -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Climbed:
    """A measurement that has ended: what was read, what was asked for, and the ladder's last answer."""

    readings: Readings
    plan: Plan
    step: Step
    holder: Holder
    acts: tuple[Act, ...]

    @property
    def repeats(self) -> int:
        """Runs besides the subject's own."""
        return self.readings.runs[-1]

    @property
    def end(self) -> str:
        """Why the ladder stopped."""
        return self.step.end

    @property
    def suspect(self) -> Suspect:
        """The one metric that is suspected."""
        (only,) = self.step.suspects
        return only

    @property
    def confirmed(self) -> set[str]:
        """Names of the metrics whose growth was confirmed."""
        return {suspect.metric.name for suspect in self.step.suspects if suspect.confirmed}


class Counters:
    """The readings so far of counters that follow their truths; ``garbage`` is blocks that the older heap keeps."""

    def __init__(self, truths: Mapping[Metric, Truth], garbage: Truth) -> None:
        self._truths, self._garbage = truths, garbage
        self._runs: list[int] = []
        self._phases: list[Phase] = []
        self._table = array("q")
        self._collected = 0
        self.made = 0

    def read(self, phase: Phase, *, thoroughly: bool = False) -> None:
        """Take one reading; *thoroughly* collects the whole heap before."""
        if thoroughly:
            self._collected = self.made
        kept = self._garbage(self.made) - self._garbage(self._collected)
        self._runs.append(self.made)
        self._phases.append(phase)
        self._table.extend(truth(self.made) + kept * (metric is BLOCKS) for metric, truth in self._truths.items())

    @property
    def readings(self) -> Readings:
        """All readings so far."""
        return Readings(tuple(self._truths), tuple(self._runs), tuple(self._phases), self._table)


def flat(_run: int) -> int:
    """Stand still."""
    return 1_000


def follow(
    truths: Truth | Mapping[Metric, Truth],
    plan: Plan = QUICK,
    *,
    holder: Holder = Holder("hidden"),  # noqa: B008 - frozen
    garbage: Truth = flat,
) -> Climbed:
    """Measure counters, or blocks alone, until the ladder says stop; *holder* is what the holder check finds."""
    counters = Counters(truths if isinstance(truths, Mapping) else {BLOCKS: truths}, garbage)
    counters.read(Phase.SCREEN)
    found: Holder | None = None
    looks, acts = False, []
    step = advance(counters.readings, plan, found)
    while step.act is not Act.STOP:
        acts.append(step.act)
        if step.act is Act.LOOK:
            looks, found = True, Holder("looking")
        elif step.act is Act.CONFIRM and looks:
            looks, found = False, holder
        elif step.act in (Act.CLIMB, Act.CONFIRM):
            counters.read(step.phase, thoroughly=step.act is Act.CONFIRM)
        else:
            assert step.times > 0
            for _ in range(step.times):
                counters.made += plan.batch
                counters.read(step.phase, thoroughly=step.act is Act.COLLECT)
        step = advance(counters.readings, plan, found)
    return Climbed(counters.readings, plan, step, found or Holder(), tuple(acts))


# -- kinds of truth --------------------------------------------------------------------------------------------------


def lumps(growth: Mapping[int, int]) -> Truth:
    """Grow once at each run that *growth* names, by its amount."""
    return lambda run: sum(amount for at, amount in growth.items() if run >= at)


def steady(amount: int, every: int = 1, since: int = 0) -> Truth:
    """Grow by *amount* on every so many runs, the first time *since* runs too early."""
    return lambda run: amount * ((run + since) // every)


def up_to(limit: int, amount: int = 1) -> Truth:
    """Grow by *amount* a run until *limit* runs were made, as a cache does that fills."""
    return lambda run: amount * min(run, limit)


def saw(period: int) -> Truth:
    """Grow by one a run and give all of it back on each *period*-th."""
    return lambda run: run % period


def script(steps: list[int]) -> Truth:
    """Add *steps* up, one a run; all further ones are zero."""
    heights = list(accumulate(steps, initial=0))
    return lambda run: heights[min(run, len(heights) - 1)]


def seeded(seed: int) -> Random:
    """Return a source of noise that is the same in every session."""
    return Random(seed)  # noqa: S311 - noise, no secret


def sometimes(share: float, seed: int) -> Truth:
    """Grow by one in a *share* of all runs; surely in the first three, so that the screen sees it."""
    rng = seeded(seed)
    return script([1, 1, 1, *(int(rng.random() < share) for _ in range(MOST_RUNS))])


def slots(number: int, seed: int) -> Truth:
    """Fill *number* slots in an order that chance decides; surely new ones in the first three runs."""
    rng, taken, steps = seeded(seed), {0, 1, 2}, [1, 1, 1]
    for _ in range(MOST_RUNS):
        slot = rng.randrange(number)
        steps.append(int(slot not in taken))
        taken.add(slot)
    return script(steps)


def swinging(seed: int, spread: int, lift: int = 0) -> Truth:
    """Swing by up to *spread* around a level; *lift* raises the third reading, so that the screen sees growth."""
    rng = seeded(seed)
    noise = [0, 0, lift, *(rng.choice((-spread, 0, spread)) for _ in range(MOST_RUNS))]
    return lambda run: 100_000 + noise[run]


def with_strays(seed: int) -> Truth:
    """Leak 48 bytes a run, with a stray step now and then, as the native heap of a real leak did."""
    rng = seeded(seed)
    strays = [0, 0, 0, *(rng.choice((-512, 560, -128)) * (rng.random() < 0.15) for _ in range(MOST_RUNS))]
    return lambda run: 48 * run + strays[run]


# -- clean -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "truth",
    [
        pytest.param(flat, id="flat"),
        pytest.param(lumps({1: 500}), id="all in the first repeat"),
        pytest.param(lambda run: -run, id="falls"),
        pytest.param(lambda run: 6 * (run % 2), id="flips on every run"),
    ],
)
@pytest.mark.parametrize("plan", [QUICK, STANDARD], ids=lambda plan: plan.mode)
def test_a_clean_counter_costs_the_screen_alone(truth: Truth, plan: Plan) -> None:
    """What does not grow after the first repeat is clean, for as many runs as the screen has."""
    climbed = follow(truth, plan)

    assert (climbed.end, climbed.repeats, climbed.step.suspects) == ("clean", plan.screen, ())
    assert climbed.acts == (Act.RUN,)


def test_a_resource_has_no_warm_up() -> None:
    """A descriptor that stays open after the first repeat is followed, as nothing is warm-up for it."""
    climbed = follow({FDS: lumps({1: 1})})

    assert climbed.acts[:2] == (Act.RUN, Act.CLIMB)
    assert climbed.end == "settled"


def test_a_screen_of_one_repeat_has_no_warm_up() -> None:
    """Where the screen is one repeat, its growth is all there is to go by."""
    climbed = follow(lumps({1: 5}), Plan(screen=1))

    assert climbed.acts[:2] == (Act.RUN, Act.CLIMB)


@pytest.mark.parametrize("metric", [GC_OBJECTS, CONTAINER_ITEMS, RSS, USS, TRACED], ids=lambda metric: metric.name)
def test_some_metrics_are_never_suspect(metric: Metric) -> None:
    """Metrics that are reported for the picture alone start no climb, however much they grow."""
    assert follow({metric: steady(10**6)}).end == "clean"


def test_no_metric_at_all() -> None:
    """Readings of no metric are clean: there is nothing that could grow."""
    assert follow({}).end == "clean"


# -- settled and bounded ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "end"),
    [
        pytest.param(lumps({2: 5}), "settled", id="one early lump"),
        pytest.param(up_to(4, 3), "settled", id="warm-up, then flat"),
        pytest.param(lumps({1: 2, 2: 3, 5: 1, 9: 1}), "settled", id="lumps that end"),
        pytest.param(up_to(20), "filled", id="a cache of 20"),
        pytest.param(slots(8, 3), "filled", id="8 slots in any order"),
        pytest.param(saw(5), "settled", id="saw tooth of period 5"),
        pytest.param(saw(30), "flushed", id="saw tooth of period 30"),
        pytest.param(lambda run: 6 * (run // 2 % 2), "settled", id="flips between two levels"),
        pytest.param(lambda run: (0, 0, 6, 0, 6, 6)[run % 6], "settled", id="flips between two levels unevenly"),
    ],
)
def test_growth_that_ends(truth: Truth, end: str) -> None:
    """Growth that ends by itself is followed until it has rested for long enough, and is no leak."""
    climbed = follow(truth)

    assert (climbed.end, climbed.step.suspects) == (end, ())
    assert Phase.CONFIRM not in climbed.readings.phases


@pytest.mark.parametrize("period", [8, 10, 12, 16, 20, 24])
def test_a_buffer_that_is_flushed(period: int) -> None:
    """A buffer that gives back all that it gained is bounded, whatever its period."""
    assert follow(saw(period)).end in ("filled", "flushed")


def assert_rested(climbed: Climbed, last_growth: int, quiet: int) -> None:
    """Check that it took *quiet* readings to believe in the rest, give or take the ladder's stride."""
    assert quiet <= climbed.repeats - last_growth < quiet + ladder._STRIDE


@pytest.mark.parametrize("plan", [QUICK, STANDARD], ids=lambda plan: plan.mode)
def test_patience(plan: Plan) -> None:
    """A single lump is believed to be over after as many quiet readings of the climb as the plan has patience."""
    climbed = follow(lumps({plan.screen: 5}), plan)

    assert climbed.end == "settled"
    assert_rested(climbed, plan.screen, plan.patience)


def test_lumps_need_more_quiet_than_one() -> None:
    """Where growth came in two lumps or more of the climb, eight quiet readings are waited for."""
    climbed = follow(lumps({2: 1, 3: 1, 4: 1}))

    assert climbed.end == "settled"
    assert_rested(climbed, 4, 8)


def test_quiet_is_measured_against_the_usual_gap() -> None:
    """A counter that grew on every third run of the climb has to rest for five times that."""
    climbed = follow(lumps(dict.fromkeys(range(2, 17, 3), 1)))

    assert climbed.end == "filled"
    assert_rested(climbed, 14, 5 * 3)


def test_a_racy_subject_needs_longer_quiet() -> None:
    """A subject that may leak on some runs only is given 24 quiet readings before it counts as settled."""
    climbed = follow(lumps({2: 5}), replace(QUICK, racy=True))

    assert climbed.end == "settled"
    assert_rested(climbed, 2, 24)


def test_an_interpreter_that_allocates_in_lumps() -> None:
    """Where the interpreter itself allocates now and then, blocks that grow on every third run prove nothing."""
    every_third = lumps(dict.fromkeys(range(2, 200, 3), 2))
    lumpy = replace(QUICK, lumpy=True)

    assert follow(every_third).end == "confirmed"
    assert follow(every_third, lumpy).end == "growing"
    assert follow(steady(1), lumpy).end == "confirmed"


def test_garbage_of_the_older_heap() -> None:
    """What only stays because the older heap is frozen is gone when that is collected, and is no leak."""
    climbed = follow(flat, garbage=steady(3))

    assert (climbed.end, climbed.step.suspects) == ("thawed", ())


# -- leaks of exact counters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [1, 7, 210])
@pytest.mark.parametrize("plan", [QUICK, STANDARD], ids=lambda plan: plan.mode)
def test_an_exact_leak(amount: int, plan: Plan) -> None:
    """The same number of blocks on every run is confirmed as exact, with its rate."""
    climbed = follow(steady(amount), plan)

    assert climbed.end == "confirmed"
    assert climbed.suspect == replace(climbed.suspect, shape=Shape.EXACT, rate=amount, confirmed=True)


@pytest.mark.parametrize(("every", "since"), [(2, 0), (3, 0), (3, 1), (5, 1), (5, 2)])
def test_a_leak_on_some_runs(every: int, since: int) -> None:
    """A leak on every second, third or fifth run is confirmed at its rate, once a standard screen has met it."""
    climbed = follow(steady(1, every, since), STANDARD)

    assert climbed.confirmed == {"blocks"}
    assert climbed.suspect.shape in (Shape.LINEAR, Shape.LATE)
    assert climbed.suspect.rate == pytest.approx(1 / every, rel=0.25)


def test_a_leak_that_the_screen_misses() -> None:
    """A leak on every fifth run may lie outside a short screen: that is the price of few runs."""
    assert follow(steady(1, 5), QUICK).end == "clean"


def test_a_racy_subject_gets_a_longer_screen() -> None:
    """A subject that waits for something is screened for 24 repeats, where its rare leaks are met."""
    climbed = follow(steady(1, 5), replace(QUICK, racy=True))

    assert climbed.confirmed == {"blocks"}
    assert climbed.readings.phases.count(Phase.SCREEN) - 1 < ladder.RACY_SCREEN


def test_a_clean_racy_subject_is_screened_to_the_end() -> None:
    """A racy subject that never grows costs the longer screen, and no more."""
    assert follow(flat, replace(QUICK, racy=True)).repeats == ladder.RACY_SCREEN


def test_a_racy_subject_that_nobody_asked_about() -> None:
    """In a whole suite a racy subject costs no more than any other."""
    assert follow(flat, Plan(racy=True)).repeats == Plan().screen


def test_leaks_by_chance() -> None:
    """A leak on three runs in ten is confirmed in most measurements, and never takes itself for settled."""
    ends = [follow(sometimes(0.3, seed), STANDARD).end for seed in range(40)]

    assert set(ends) <= {"confirmed", "growing"}
    assert ends.count("confirmed") >= 20


@pytest.mark.parametrize("metric", [FDS, THREADS, CHILDREN, TASKS], ids=lambda metric: metric.name)
def test_a_leaked_resource(metric: Metric) -> None:
    """A resource that stays on every run is confirmed as exact."""
    climbed = follow({metric: steady(1)})

    assert climbed.confirmed == {metric.name}
    assert (climbed.suspect.shape, climbed.suspect.rate) == (Shape.EXACT, 1)


@pytest.mark.parametrize("truth", [lambda run: int(20 * log(1 + run)), lambda run: int(300 * sqrt(run))])
def test_growth_that_slows(truth: Truth) -> None:
    """A logarithm and a square root do not settle, and are not confirmed as lines either."""
    climbed = follow(truth)

    assert climbed.end != "settled"
    assert climbed.suspect.shape not in (Shape.EXACT, Shape.LINEAR)


def test_growth_that_slows_to_a_crawl_is_not_confirmed() -> None:
    """A logarithm is growing at the end, and no leak."""
    climbed = follow(lambda run: int(100 * log(1 + run)))

    assert (climbed.end, climbed.suspect.shape, climbed.confirmed) == ("growing", Shape.SLOWING, set())


def test_a_leak_with_one_stray_step_is_exact_all_the_same() -> None:
    """One stray step in the confirmation does not hide that all the others are the same."""
    climbed = follow(lambda run: 3 * run - 2 * (run >= 50))

    assert climbed.suspect == replace(climbed.suspect, shape=Shape.EXACT, rate=3, confirmed=True)


# -- what sampled counters do ----------------------------------------------------------------------------------------


def test_a_leak_of_native_memory() -> None:
    """Native memory that grows by the same on every run is confirmed."""
    climbed = follow({HEAP: steady(48)})

    assert climbed.suspect == replace(climbed.suspect, shape=Shape.LINEAR, rate=48, confirmed=True)


def test_a_leak_of_native_memory_between_strays() -> None:
    """48 bytes a run are confirmed through strays of half a kilobyte, in nearly every measurement."""
    seen = [follow({HEAP: with_strays(seed)}) for seed in range(30)]

    assert sum(bool(climbed.confirmed) for climbed in seen) >= 27


def test_a_leak_of_native_memory_that_swings() -> None:
    """A rate that is there on average is confirmed although no two steps are the same."""
    rng = seeded(1)
    truth = script([100, 100, 100, *(rng.randrange(40, 160) for _ in range(MOST_RUNS))])
    climbed = follow({HEAP: truth})

    assert climbed.confirmed == {"heap"}
    assert climbed.suspect.rate == pytest.approx(100, rel=0.2)


def test_arena_lumps_that_double() -> None:
    """An arena that is enlarged by ever larger lumps, ever more seldom, is a leak."""
    climbed = follow({HEAP: lumps({4: 4_608, 9: 9_216, 21: 18_432, 36: 36_864})}, STANDARD)

    assert climbed.confirmed == {"heap"}


@pytest.mark.parametrize("seed", range(12))
def test_native_memory_that_swings_in_place(seed: int) -> None:
    """A heap that swings by 192 bytes and goes nowhere is never confirmed."""
    climbed = follow({HEAP: swinging(seed, 192, lift=192)})

    assert Act.CLIMB in climbed.acts
    assert climbed.confirmed == set()


def test_native_memory_that_is_given_back() -> None:
    """A heap that falls back by half of what it gained, and more than a page, is a buffer."""
    assert follow({HEAP: lambda run: 1_024 * (run % 12)}).end == "flushed"


def test_a_small_fall_of_native_memory_is_no_flush() -> None:
    """Native memory swings: falling by less than a page is no sign of a buffer."""
    assert follow({HEAP: lambda run: 100 * run - 200 * (run % 3 == 0)}).confirmed == {"heap"}


def test_native_memory_that_swings_less_and_less() -> None:
    """Native memory alone that grew less and less has swung, and is settled."""
    climbed = follow({HEAP: lambda run: int(2_000 * log(1 + run))})

    assert (climbed.end, climbed.suspect.shape) == ("swings", Shape.SLOWING)


def test_native_memory_at_rest() -> None:
    """Native memory that has stood still for 16 readings is settled."""
    climbed = follow({HEAP: up_to(2, 100)})

    assert climbed.end == "settled"
    assert_rested(climbed, 2, ladder._QUIET_HEAP)


def test_native_memory_that_grew_late_in_the_climb() -> None:
    """Native memory may grow by lumps that double: it has to rest for as long as it had climbed before the last."""
    climbed = follow({HEAP: lumps({2: 100, 2 + 15: 100})}, replace(QUICK, max_runs=90))

    assert climbed.end == "settled"
    assert_rested(climbed, 2 + 15, 15 + QUICK.screen)


def test_native_memory_that_is_never_still() -> None:
    """Native memory that swings on every run is not at rest, as a slow leak may hide there, but is not confirmed."""
    climbed = follow({HEAP: lambda run: 100 * min(run, 2) + 8 * (run % 2)})

    assert Phase.CONFIRM in climbed.readings.phases
    assert climbed.confirmed == set()


@pytest.mark.parametrize("curious", [True, False])
def test_native_memory_alone_needs_curiosity(curious: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A small leak of native memory is followed where somebody asked about this test, else it costs too many runs."""
    climbed = follow({HEAP: steady(48)}, Plan(curious=curious))

    assert climbed.end == ("confirmed" if curious else "clean")


@pytest.mark.parametrize(("amount", "end"), [(ladder._PAGE, "confirmed"), (ladder._PAGE - 1, "clean")])
def test_bold_growth_needs_no_curiosity(amount: int, end: str) -> None:
    """A page on each repeat is followed in every test."""
    assert follow({HEAP: steady(amount)}, Plan()).end == end


def test_mapped_memory() -> None:
    """Four pages mapped on every run are confirmed."""
    climbed = follow({MAPPED: steady(16_384)}, Plan())

    assert climbed.suspect == replace(climbed.suspect, shape=Shape.LINEAR, rate=16_384, confirmed=True)


def test_mapped_memory_in_lumps() -> None:
    """Memory that is mapped in lumps now and then is how allocators work, and is not confirmed."""
    climbed = follow({MAPPED: lumps({1: 65_536, 2: 65_536, **dict.fromkeys(range(9, 99, 9), 65_536)})}, QUICK)

    assert climbed.confirmed == set()


@pytest.mark.parametrize("below", [0, 1])
def test_least_rate_of_native_memory(below: int) -> None:
    """Native memory is followed, but confirmed from 16 bytes a run on only."""
    rate = int(ladder._LEAST_HEAP_RATE) - below
    climbed = follow({HEAP: steady(rate)})

    assert (climbed.end, climbed.suspect.rate) == ("growing" if below else "confirmed", rate)


@pytest.mark.parametrize("above", [0, 1])
def test_native_growth_against_the_control(above: int) -> None:
    """Native growth that an empty test's steps could add up to is not confirmed."""
    free = follow({HEAP: steady(48)})
    column = free.readings.column(HEAP, Phase.CONFIRM)
    step = (column[-1] - column[0] - above) / 8
    climbed = follow({HEAP: steady(48)}, replace(QUICK, control=(("heap", 0.0, step),)))

    assert climbed.confirmed == ({"heap"} if above else set())


# -- several counters ------------------------------------------------------------------------------------------------


def test_a_counter_that_settles_leaves_the_suspects() -> None:
    """Of two counters that grew, the one that stopped is suspected no more."""
    climbed = follow({BLOCKS: steady(2), FDS: lumps({2: 1})})

    assert climbed.suspect.metric is BLOCKS


def test_a_counter_that_was_still_in_the_screen() -> None:
    """A resource that grows in a climb that blocks began is named as well."""
    climbed = follow({BLOCKS: steady(2), FDS: steady(1, 4)})

    assert climbed.confirmed == {"blocks", "fds"}


def test_a_resource_that_is_lost_seldom() -> None:
    """A descriptor that stays open on one run in nine is confirmed, as it is never given back."""
    climbed = follow({BLOCKS: steady(2), FDS: steady(1, 9)})

    assert "fds" in climbed.confirmed


def test_a_resource_that_came_twice() -> None:
    """Two descriptors in sixty runs may be chance."""
    climbed = follow({BLOCKS: steady(2), FDS: lumps({5: 1, 50: 1})})

    assert climbed.confirmed == {"blocks"}


def test_why_it_rests_is_told_of_the_first_that_did() -> None:
    """A cache that filled is named before a lump of another counter."""
    assert follow({BLOCKS: up_to(20), FDS: lumps({2: 1})}).end == "filled"
    assert follow({FDS: lumps({2: 1}), BLOCKS: up_to(20)}).end == "filled"


def test_a_counter_that_never_grew_has_no_say_in_why() -> None:
    """A counter that stood still all the time does not say why the others rest."""
    assert follow({FDS: flat, RSS: steady(4096), BLOCKS: up_to(20)}).end == "filled"


# -- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed", "end"), [(2.0, "clean"), (1.9, "confirmed")])
def test_allowed_growth(allowed: float, end: str) -> None:
    """Growth that the user allows is clean; what goes beyond is judged by the excess."""
    climbed = follow(steady(2), replace(QUICK, allow=(("blocks", allowed),)))

    assert climbed.end == end
    assert [round(one.rate, 6) for one in climbed.step.suspects] == [0.1] * (end == "confirmed")


def test_growth_of_another_metric_is_not_allowed() -> None:
    """What is allowed for one metric says nothing about another."""
    assert follow(steady(2), replace(QUICK, allow=(("heap", 64.0),))).end == "confirmed"


def test_the_control_is_subtracted() -> None:
    """What an empty test keeps is the framework's own, and is taken off."""
    framework = replace(QUICK, control=(("blocks", 3.0, 3.0),))

    assert follow(steady(3), framework).end == "clean"
    assert follow(steady(4), framework).suspect.rate == 1


def test_allowed_and_control_add_up() -> None:
    """What is allowed is allowed on top of the framework's own."""
    plan = Plan(allow=(("blocks", 2.0), ("fds", 1.0)), control=(("blocks", 3.0, 7.0), ("blocks", 0.5, 9.0)))

    assert (plan.accepted(BLOCKS), plan.accepted(FDS), plan.accepted(HEAP)) == (5.5, 1.0, 0.0)
    assert (plan.control_step(BLOCKS), plan.control_step(FDS)) == (9.0, 0.0)


def test_accepted_growth_is_counted_per_run_in_batches() -> None:
    """In batches of 32 runs, what is accepted a run is accepted 32 times."""
    assert follow({HEAP: steady(40)}, replace(NATIVE, allow=(("heap", 40.0),))).end == "clean"


def test_metrics_that_are_not_judged() -> None:
    """Where the user names metrics, the others may grow."""
    truths = {BLOCKS: steady(5), FDS: steady(1)}

    assert follow(truths, replace(QUICK, metrics=("fds",))).confirmed == {"fds"}
    assert follow(truths, replace(QUICK, metrics=("heap",))).end == "clean"


# -- how far it goes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_runs", [17, 18, 20, 30, 65, 66, 120])
def test_max_runs(max_runs: int) -> None:
    """A leak is confirmed within max_runs, the subject's own run included."""
    climbed = follow(steady(1), replace(QUICK, max_runs=max_runs))

    assert climbed.end == "confirmed"
    assert climbed.repeats < max_runs


@pytest.mark.parametrize("max_runs", [1, 2, 3, 10, 13])
def test_max_runs_too_small_for_a_climb(max_runs: int) -> None:
    """Where max_runs leaves no room to follow, growth is left undecided after the screen."""
    climbed = follow(steady(1), replace(QUICK, max_runs=max_runs))

    assert (climbed.end, climbed.repeats, climbed.confirmed) == ("max_runs", QUICK.screen, set())


def test_a_session_that_has_no_time_left() -> None:
    """Where nothing is followed any more, growth is named after the screen, and clean tests stay clean."""
    plan = replace(QUICK, follow=False)

    assert (follow(steady(1), plan).end, follow(steady(1), plan).repeats) == ("unfollowed", plan.screen)
    assert follow(flat, plan).end == "clean"


def test_a_slow_subject_is_decided_early() -> None:
    """A hurried ladder climbs 14 readings and confirms six, with one collection of the whole heap at its end."""
    climbed = follow(steady(1), replace(QUICK, hurried=True))
    phases = climbed.readings.phases

    assert climbed.end == "confirmed"
    assert (phases.count(Phase.CLIMB) - 1, phases.count(Phase.CONFIRM) - 1) == (ladder.HURRIED_CLIMB, 6)
    assert climbed.acts.count(Act.COLLECT) == 1


def test_native_batches() -> None:
    """In native mode one reading is taken after 32 runs, and rates are told per run."""
    climbed = follow({HEAP: steady(40)}, NATIVE)

    assert climbed.suspect == replace(climbed.suspect, rate=40, confirmed=True)
    assert {after - before for before, after in pairwise(climbed.readings.runs)} == {0, 32}


def test_the_order_of_a_whole_measurement() -> None:
    """Screen, climb, look for the holder half-way, confirm with the whole heap collected twice more, stop."""
    climbed = follow(steady(1))
    order = [act for at, act in enumerate(climbed.acts) if climbed.acts[at - 1 : at] != (act,)]

    assert order == [
        Act.RUN, Act.CLIMB, Act.RUN, Act.LOOK, Act.RUN, Act.CONFIRM, Act.RUN, Act.COLLECT, Act.RUN, Act.COLLECT,
    ]  # fmt: skip
    assert climbed.acts.count(Act.CONFIRM) == 2


# -- the holder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bounded", "rebound", "known"])
def test_a_holder_that_explains_the_growth(kind: str) -> None:
    """A holder with a limit, or a chain that the test itself makes, ends the climb before the confirmation."""
    climbed = follow(steady(1), holder=Holder(kind, "shop._CACHE", 128))

    assert (climbed.end, climbed.suspect.confirmed) == (kind, False)
    assert Phase.CONFIRM not in climbed.readings.phases


@pytest.mark.parametrize("kind", ["rebound", "known"])
def test_a_holder_that_is_none_of_the_subject_s_does_not_explain_files(kind: str) -> None:
    """What a test tool keeps of every run is memory; a descriptor a run is a leak, and the only one."""
    climbed = follow({BLOCKS: steady(3), FDS: steady(1)}, holder=Holder(kind, "tool.RECORDS"))

    assert (climbed.end, climbed.suspect.metric, climbed.suspect.confirmed) == ("confirmed", FDS, True)


@pytest.mark.parametrize("kind", ["rebound", "known"])
def test_files_that_end_to_grow_beside_a_known_holder(kind: str) -> None:
    """Once the descriptors have come to rest, the holder explains the rest."""
    files = [*range(30), *[30] * 100]
    climbed = follow({BLOCKS: steady(3), FDS: lambda run: files[run]}, holder=Holder(kind, "tool.RECORDS"))

    assert climbed.end == kind


@pytest.mark.parametrize("kind", ["unbounded", "hidden", "native", "unseen"])
def test_a_holder_that_explains_nothing(kind: str) -> None:
    """Any other holder leaves it to the confirmation."""
    assert follow(steady(1), holder=Holder(kind)).end == "confirmed"


@pytest.mark.parametrize(("metric", "looks"), [(BLOCKS, True), (FDS, False), (HEAP, False)])
def test_only_python_objects_have_a_holder(metric: Metric, looks: bool) -> None:  # noqa: FBT001 - see above
    """The holder is looked for where blocks grow; a descriptor or native memory has none to be found."""
    assert (Act.LOOK in follow({metric: steady(48)}).acts) is looks


# -- seen from the last reading --------------------------------------------------------------------------------------


def head(readings: Readings, count: int) -> Readings:
    """Return the first *count* readings."""
    width = len(readings.metrics)
    values = readings.values[: count * width]
    return Readings(readings.metrics, readings.runs[:count], readings.phases[:count], values)


def test_suspects_in_each_phase() -> None:
    """Who grows can be asked after any reading, whatever phase it belongs to."""
    whole = follow(steady(1)).readings
    ends = [max(at for at, one in enumerate(whole.phases) if one is phase) + 1 for phase in ladder_phases()]
    found = [suspects_of(head(whole, end), QUICK)[0] for end in ends]

    assert [(one.shape, one.rate, one.confirmed) for one in found] == [
        (Shape.LATE, 1, False),
        (Shape.EXACT, 1, False),
        (Shape.EXACT, 1, True),
    ]


def ladder_phases() -> tuple[Phase, ...]:
    """Return the phases in the order in which a ladder goes through them."""
    return (Phase.SCREEN, Phase.CLIMB, Phase.CONFIRM)


@pytest.mark.parametrize(("truth", "pressing"), [(steady(1), True), (flat, False)])
def test_pressing(truth: Truth, pressing: bool) -> None:  # noqa: FBT001 - see above
    """The screen alone tells whether there is reason to climb."""
    assert is_pressing(head(follow(truth).readings, 3), Plan()) is pressing


# -- whatever the counters do ----------------------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, -1, 48, -48, 4096, -4096]), min_size=1, max_size=40)
PLANS = st.builds(
    Plan,
    screen=st.integers(1, 6),
    patience=st.sampled_from([4, 8, 16]),
    max_runs=st.integers(1, 140),
    batch=st.sampled_from([1, 1, 2, 32]),
    curious=st.booleans(),
    racy=st.booleans(),
    lumpy=st.booleans(),
    hurried=st.booleans(),
    follow=st.booleans(),
    allow=st.sampled_from([(), (("blocks", 1.0),), (("heap", 0.5), ("fds", 1.0))]),
    metrics=st.sampled_from([(), ("blocks",), ("fds", "heap")]),
    control=st.sampled_from([(), (("blocks", 0.0, 1.0), ("heap", 0.0, 192.0))]),
)
HOLDERS = st.builds(Holder, st.sampled_from(["bounded", "rebound", "known", "unbounded", "native", "hidden", "unseen"]))


@st.composite
def truths(draw: st.DrawFn) -> dict[Metric, Truth]:
    """Draw up to three counters, each repeating its own few steps for ever."""
    chosen = draw(st.lists(st.sampled_from([BLOCKS, FDS, HEAP, MAPPED, RSS]), min_size=1, max_size=3, unique=True))
    return {metric: script(draw(STEPS) * 200) for metric in chosen}


@given(truths(), PLANS, HOLDERS)
def test_it_always_ends(counters: dict[Metric, Truth], plan: Plan, holder: Holder) -> None:
    """Whatever the counters do, the ladder ends within max_runs, unless the screen alone is longer."""
    climbed = follow(counters, plan, holder=holder)

    assert climbed.step.end
    assert climbed.repeats <= max(plan.max_runs - 1, plan.longest_screen * plan.batch)


@given(truths(), PLANS, HOLDERS)
def test_a_stored_measurement_is_judged_alike(counters: dict[Metric, Truth], plan: Plan, holder: Holder) -> None:
    """The final readings, plan and holder are all it takes to make the same verdict again."""
    climbed = follow(counters, plan, holder=holder)
    made = judge(climbed.readings, plan, climbed.step, climbed.holder)

    assert rejudge(climbed.readings, plan, climbed.holder) == made
