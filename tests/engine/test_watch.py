"""The adaptive loop, with scripted counters and a clock that only runs can move; and once with all that is real."""

from __future__ import annotations

import gc
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from pytest_memguard import registry
from pytest_memguard.core import ladder
from pytest_memguard.core.ladder import Plan
from pytest_memguard.core.ports import Gain, HolderCheck, Subject
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, RSS, THREADS, Holder, Level, Metric, Phase
from pytest_memguard.core.verdict import judge, rejudge
from pytest_memguard.engine import settle, watch
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.engine.watch import Budget, Record, Watch
from pytest_memguard.errors import SubjectFailed
from pytest_memguard.probes.scripted import ScriptedProbe

THAW = gc.unfreeze
FLAT = [1_000]
LEAK = list(range(1_000, 1_200))
PLAN = Plan(curious=True)


@dataclass
class Script:
    """A subject that moves scripted counters, takes time and may fail; it notes what happens to it."""

    probe: ScriptedProbe
    run_s: Sequence[float] = (0.0,)
    fails_at: int = -1
    now_s: float = 100.0
    events: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Take time, then move the counters or fail."""
        self.events.append("run")
        self.now_s += self.run_s[min(self.probe.runs, len(self.run_s) - 1)]
        if self.probe.runs == self.fails_at:
            raise SubjectFailed("raised KeyError")
        self.probe.run()

    def clock(self) -> float:
        """Return the time that all runs took."""
        return self.now_s


class Check:
    """A holder check that finds what it is told, or fails where it is told."""

    def __init__(self, holder: Holder = Holder("hidden"), fails_in: str = "") -> None:  # noqa: B008 - frozen
        self.holder, self.fails_in = holder, fails_in
        self.calls: list[str] = []

    def begin(self) -> None:
        """Note the call."""
        self._note("begin")

    def finish(self, runs: int, gains: Sequence[Gain]) -> Holder:
        """Note the call, and say what was told."""
        self.gains = {gain.metric: gain.amount for gain in gains}
        self._note(f"finish after {runs}")
        return self.holder

    def close(self) -> None:
        """Note the call."""
        self._note("close")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call.split(maxsplit=1)[0] == self.fails_in:
            raise RuntimeError(f"{call} met something odd")


@pytest.fixture(autouse=True)
def _nothing_else_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine under the tests may be busy: what it does must not make their subjects racy.
    monkeypatch.setattr(watch, "_voluntary_switches", lambda: 0)
    # The heap of all tests is large and no subject's: where it stays frozen, a collection of the "whole" heap is quick.
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


@pytest.fixture
def _thaws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "unfreeze", THAW)


def script(values: Sequence[int] = LEAK, metric: Metric = BLOCKS, **options: object) -> Script:
    """Return a subject with one counter."""
    return Script(ScriptedProbe({metric: values}), **options)  # type: ignore[arg-type]


def heavy_script() -> Script:
    """Return a subject that leaks a thousand bytes of resident memory with each block."""
    return Script(ScriptedProbe({BLOCKS: LEAK, RSS: [1_000 * blocks for blocks in LEAK]}))


def watching(subject: Script, plan: Plan = PLAN, **options: object) -> Watch:
    """Return a watch over a scripted subject."""
    return Watch(subject, Recorder([subject.probe]), plan, clock=subject.clock, **options)  # type: ignore[arg-type]


def verdict_of(record: Record) -> Level:
    """Return the level that a record is judged to be."""
    return judge(record.readings, record.plan, record.step, record.holder, record.failure).level


# -- how far it goes -------------------------------------------------------------------------------------------------


def test_a_clean_subject() -> None:
    """A subject that keeps nothing is run as often as the screen wants, and read once more than that."""
    record = watching(script(FLAT)).measure()

    assert (record.step.end, record.readings.runs, record.failure) == ("clean", (0, 1, 2), "")
    assert record.plan == PLAN


def test_a_leak() -> None:
    """A subject that keeps something on every run is followed up to the confirmation."""
    record = watching(script()).measure()

    assert record.step.end == "confirmed"
    assert [record.readings.phases.count(phase) > 0 for phase in (Phase.SCREEN, Phase.CLIMB, Phase.CONFIRM)] == [
        True
    ] * 3
    assert rejudge(record.readings, record.plan, record.holder).level is verdict_of(record)


def test_each_phase_begins_with_a_reading_of_its_own() -> None:
    """Climb and confirmation begin with a reading before their first run."""
    record = watching(script()).measure()
    pairs = pairwise(zip(record.readings.runs, record.readings.phases, strict=True))
    without_run = [after for (run, _), (same, after) in pairs if run == same]

    assert without_run == [Phase.CLIMB, Phase.CONFIRM]


def test_batches() -> None:
    """In batches there are as many runs between two readings as the plan says."""
    subject = script(FLAT)
    record = watching(subject, Plan(batch=32, max_runs=65 * 32)).measure()

    assert record.readings.runs == (0, 32, 64)
    assert subject.events == ["run"] * 64


def test_a_recorder_can_be_used_again() -> None:
    """A measurement begins with an empty recorder, whatever was measured before."""
    subject = script(FLAT)
    recorder = Recorder([subject.probe])
    first = Watch(subject, recorder, PLAN).measure()
    second = Watch(subject, recorder, PLAN).measure()

    assert first.readings == second.readings


# -- time ------------------------------------------------------------------------------------------------------------


def test_how_long_it_took() -> None:
    """A record tells the seconds that all its runs took."""
    assert watching(script(FLAT, run_s=[0.25])).measure().duration_s == 0.5


@pytest.mark.parametrize(("total_s", "over"), [(2.0, False), (1.9, True)])
def test_the_budget(total_s: float, over: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """No run is begun once more than the budget is spent."""
    record = watching(script(FLAT, run_s=[2.0, 1.0]), budget=Budget(total_s)).measure()

    assert record.over_budget is over
    assert record.failure == ("over the budget of 1.9 s after 2 runs" if over else "")


def test_over_budget_in_the_screen_is_not_measured() -> None:
    """A subject that is over its budget before it was screened says nothing about memory."""
    assert verdict_of(watching(script(run_s=[5.0]), budget=Budget(1.0)).measure()) is Level.UNMEASURED


def test_over_budget_while_it_grows() -> None:
    """A subject that is over its budget while it grows is growing."""
    record = watching(script(run_s=[1.0]), budget=Budget(9.5, patience_s=99.0)).measure()

    assert (record.over_budget, verdict_of(record)) == (True, Level.GROWING)
    assert record.readings.runs[-1] == 10


def test_a_slow_subject_is_hurried() -> None:
    """A subject that takes longer than patience lasts is decided on fewer runs."""
    record = watching(script(run_s=[0.5])).measure()

    assert (record.plan.hurried, record.step.end) == (True, "confirmed")
    assert record.readings.runs[-1] == PLAN.screen + ladder.HURRIED_CLIMB + 6


def test_a_quick_subject_is_not_hurried() -> None:
    """A subject that takes just as long as patience lasts is not hurried."""
    record = watching(script(run_s=[2.0, 0.0]), budget=Budget(patience_s=2.0)).measure()

    assert record.plan == PLAN


@pytest.mark.parametrize(("spare", "hurried"), [(65 * 1000, False), (65 * 1000 - 1, True)])
def test_a_subject_that_would_fill_the_memory(spare: int, hurried: bool) -> None:  # noqa: FBT001 - a parameter
    """One that would pass the budget of memory on the whole ladder is decided on fewer runs."""
    record = watching(heavy_script(), budget=Budget(memory_bytes=spare)).measure()

    assert (record.plan.hurried, record.step.end) == (hurried, "confirmed")


def test_over_the_budget_of_memory() -> None:
    """A subject that has filled its memory is not run again: it is growing."""
    record = watching(heavy_script(), budget=Budget(memory_bytes=10_000)).measure()

    assert (record.over_budget, verdict_of(record)) == (True, Level.GROWING)
    assert record.failure.startswith("over the budget of 9.8 KiB of memory after ")


def test_a_subject_that_is_slow_too_late() -> None:
    """A subject that becomes slow after the point where a hurried climb ends goes the whole way."""
    record = watching(script(run_s=[0.0] * (2 + ladder.HURRIED_CLIMB + 1) + [0.5])).measure()

    assert (record.plan, record.step.end) == (PLAN, "confirmed")


@pytest.mark.parametrize("slow_from", range(26))
def test_a_short_ladder_that_becomes_slow(slow_from: int) -> None:
    """A ladder that is short anyhow ends within its runs, whenever its subject becomes slow."""
    plan = replace(PLAN, max_runs=30)
    record = watching(
        script(run_s=[0.0] * slow_from + [3.0] + [0.0]), plan, budget=Budget(30.0, patience_s=2.0)
    ).measure()

    assert (record.step.end, record.failure) == ("confirmed", "")
    assert record.readings.runs[-1] < plan.max_runs


# -- subjects that wait or fail --------------------------------------------------------------------------------------


def test_a_subject_that_waits_is_racy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subject that gave up the processor of its own will may leak on some runs only: its screen is longer."""
    switches = iter([7, 8])
    monkeypatch.setattr(watch, "_voluntary_switches", lambda: next(switches))
    record = watching(script(FLAT)).measure()

    assert record.plan == replace(PLAN, racy=True)
    assert record.readings.runs[-1] == ladder.RACY_SCREEN


def test_a_subject_that_fails() -> None:
    """A run that fails ends the measurement: its number counts the subject's own first one."""
    record = watching(script(FLAT, fails_at=1)).measure()

    assert (record.failure, record.over_budget) == ("run 3 raised KeyError", False)
    assert record.readings.runs == (0, 1)
    assert verdict_of(record) is Level.UNMEASURED


def test_a_subject_that_fails_at_once() -> None:
    """A subject whose first repeat fails has one reading, and is not measured."""
    record = watching(script(fails_at=0)).measure()

    assert (record.failure, len(record.readings)) == ("run 2 raised KeyError", 1)
    assert verdict_of(record) is Level.UNMEASURED


def test_a_clean_up_that_fails_before_the_first_reading() -> None:
    """Where not even a first reading could be taken there is none, and no verdict but why."""

    def reset() -> None:
        raise SubjectFailed("could not be reset")

    record = watching(script(), reset=reset).measure()

    assert (len(record.readings), record.step.end) == (0, "none")
    assert verdict_of(record) is Level.UNMEASURED


@pytest.mark.usefixtures("_thaws")
def test_another_error_comes_out() -> None:
    """What is no failure of the subject comes out, and leaves the heap thawed and the holder check closed."""
    check = Check()

    def notice(_run: int, phase: Phase) -> None:
        if phase is Phase.CONFIRM:
            raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        watching(script(), check=lambda: check, notice=notice).measure()

    assert not is_frozen(check)
    assert check.calls[-1] == "close"


# -- between two runs ------------------------------------------------------------------------------------------------


def test_the_order_of_run_reset_and_reading() -> None:
    """The user's own clean-up is called before the first reading and after each run, before its reading."""
    subject = script(FLAT)

    class Noting(ScriptedProbe):
        def read(self, row: array[int], at: int) -> None:
            subject.events.append("read")
            super().read(row, at)

    recorder = Recorder([Noting({FDS: [3]})])
    Watch(subject, recorder, PLAN, reset=lambda: subject.events.append("reset")).measure()

    assert subject.events == ["reset", "read", "run", "reset", "read", "run", "reset", "read"]


def test_the_clean_up_is_called_before_whole_collections_too() -> None:
    """The user's own clean-up is called once a reading, also where the whole heap is collected."""
    subject = script()
    record = watching(subject, reset=lambda: subject.events.append("reset")).measure()

    assert subject.events.count("reset") == len(record.readings)


def test_a_clean_up_that_frees_what_grows() -> None:
    """Growth that the user's own clean-up takes back is no growth."""
    kept: list[object] = []
    probe = ScriptedProbe({FDS: [3]})
    counted = Recorder([probe, Counted(lambda: len(kept))])
    subject = Callback(lambda: kept.append(object()))

    assert Watch(subject, counted, PLAN, reset=kept.clear).measure().step.end == "clean"
    assert Watch(subject, counted, PLAN).measure().step.end == "confirmed"


@dataclass
class Callback:
    """A subject that calls a function."""

    function: Callable[[], object]

    def run(self) -> None:
        """Call it."""
        self.function()


@dataclass
class Counted:
    """A probe that shows as blocks what a function counts."""

    count: Callable[[], int]
    metrics: tuple[Metric, ...] = (BLOCKS,)

    def read(self, row: array[int], at: int) -> None:
        """Write the count."""
        row[at] = self.count()


def test_notice() -> None:
    """A status line hears of every reading after a run: how many runs were made in all, in which phase."""
    heard: list[tuple[int, Phase]] = []
    watching(script(FLAT), notice=lambda run, phase: heard.append((run, phase))).measure()

    assert heard == [(2, Phase.SCREEN), (3, Phase.SCREEN)]


@pytest.mark.parametrize(("curious", "levelled"), [(True, 3), (False, 0)])
def test_the_chunk_cache(curious: bool, levelled: int) -> None:  # noqa: FBT001 - see above
    """The C library's cache is levelled before each reading, where small native leaks are looked for."""

    class Chunks:
        count = 0

        def level(self) -> None:
            self.count += 1

    chunks = Chunks()
    watching(script(FLAT), Plan(curious=curious), chunks=chunks).measure()

    assert chunks.count == levelled


def is_frozen(thing: object) -> bool:
    """Tell whether the collector leaves *thing* alone."""
    return all(one is not thing for one in gc.get_objects())


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.usefixtures("_thaws")
def test_freezing(freeze: bool) -> None:  # noqa: FBT001 - see above
    """The older heap is frozen while the subject runs, whole collections included, unless that is switched off."""
    subject, seen = (
        script(fails_at=37),
        set(),
    )  # not to its end: in the confirmation, each collection is of the heap of all tests
    watching(subject, freeze=freeze, notice=lambda _, phase: seen.add((phase, is_frozen(subject.probe)))).measure()

    assert seen == {(Phase.SCREEN, freeze), (Phase.CLIMB, freeze), (Phase.CONFIRM, freeze)}
    assert not is_frozen(subject.probe)


def test_caches_are_purged_in_the_climb_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean subject does not pay for emptying caches: only what grew does."""
    purged: list[None] = []
    monkeypatch.setattr(settle, "purge", lambda: purged.append(None))
    watching(script(FLAT)).measure()
    clean = len(purged)
    record = watching(script()).measure()

    assert (clean, len(purged)) == (0, len(record.readings) - record.readings.phases.count(Phase.SCREEN))


# -- threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float]]:
    """Return what was waited for: threads, how many of them are settled, and for how long at most."""
    waited: list[tuple[int, int, float]] = []

    def wait(count: Callable[[], int], settled: int, grace_s: float) -> None:
        waited.append((count(), settled, grace_s))

    monkeypatch.setattr(settle, "wait_for_threads", wait)
    return waited


def test_threads_that_are_no_more_than_before(waits: list[tuple[int, int, float]]) -> None:
    """Nothing is waited for while there are no more threads than at first."""
    watching(script([4, 4, 3], THREADS)).measure()

    assert waits == []


def test_threads_that_stay_are_waited_for_ever_less(waits: list[tuple[int, int, float]]) -> None:
    """A thread that stays is waited for once; those after it get half the grace each time."""
    watching(script([4, 5, 6], THREADS), Plan(screen=3, max_runs=5)).measure()
    grace_s = settle.THREAD_GRACE_S

    assert waits == [(5, 4, grace_s), (6, 5, grace_s / 2)]


def test_threads_that_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ends while it is waited for is not counted, and the next one gets the whole grace again."""
    subject, asked = script([1], THREADS), []
    late = Late()

    def wait(count: Callable[[], int], settled: int, grace_s: float) -> None:
        asked.append((count(), settled, grace_s))
        late.running = 0

    monkeypatch.setattr(settle, "wait_for_threads", wait)
    record = Watch(late, Recorder([late]), PLAN, clock=subject.clock).measure()

    assert record.readings.column(THREADS) == (1, 1, 1)
    assert asked == [(2, 1, settle.THREAD_GRACE_S)] * 2


class Late:
    """A subject that leaves a thread behind which ends soon, and the probe that sees it."""

    metrics = (THREADS,)
    running = 0

    def run(self) -> None:
        """Start a thread."""
        self.running = 1

    def read(self, row: array[int], at: int) -> None:
        """Write the number of threads."""
        row[at] = 1 + self.running


# -- the holder ------------------------------------------------------------------------------------------------------


def test_the_holder_check() -> None:
    """The holder is looked for over the second half of the climb, and what held memory for that is given back."""
    check = Check(Holder("unbounded", "shop._CACHE"))
    record = watching(script(), check=lambda: check).measure()
    climb = record.readings.phases.count(Phase.CLIMB) - 1

    assert record.holder == check.holder
    assert check.calls == ["begin", f"finish after {climb - climb // 2}", "close"]


def test_the_check_is_told_what_it_has_to_explain() -> None:
    """The usual run of memory, all that resources gained, and nothing of a counter that rests, each with its reader."""
    blocks = [3 * run + 37 * (run > 20) for run in range(200)]
    levels = {BLOCKS: blocks, FDS: [run // 2 for run in range(200)], HEAP: FLAT}
    check = Check(Holder("unbounded", "shop._CACHE"))
    record = watching(Script(ScriptedProbe(levels)), check=lambda: check).measure()
    climb = record.readings.phases.count(Phase.CLIMB) - 1
    runs = climb - climb // 2

    assert check.gains == {BLOCKS: 3 * runs, FDS: pytest.approx(runs / 2, abs=1)}


def test_a_bounded_holder_ends_it() -> None:
    """A holder that has a limit ends the measurement before the confirmation."""
    record = watching(script(), check=lambda: Check(Holder("bounded", "shop._CACHE", 128))).measure()

    assert (record.step.end, verdict_of(record)) == ("bounded", Level.BOUNDED)
    assert Phase.CONFIRM not in record.readings.phases


def test_no_check_for_a_clean_subject() -> None:
    """A clean subject makes no holder check."""
    made: list[None] = []
    watching(script(FLAT), check=lambda: made.append(None)).measure()

    assert made == []


def test_a_check_that_was_not_needed() -> None:
    """A check that was made for a subject that settled is closed without having looked."""
    check = Check()
    watching(script([1, 1, 9]), check=lambda: check).measure()

    assert check.calls == ["close"]


def no_check() -> HolderCheck | None:
    """Make no check, as nothing here can look for holders."""
    return None


def broken_check() -> HolderCheck | None:
    """Fail to make a check, as where the address space is limited."""
    raise OSError("Cannot allocate memory")


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(None, id="none wanted"),
        pytest.param(no_check, id="none there"),
        pytest.param(broken_check, id="cannot be made"),
        pytest.param(lambda: Check(fails_in="begin"), id="begin fails"),
        pytest.param(lambda: Check(fails_in="finish"), id="finish fails"),
    ],
)
def test_without_a_holder(check: Callable[[], HolderCheck | None] | None) -> None:
    """A holder check that is not there or fails leaves the holder unseen, and the leak a leak."""
    record = watching(script(), check=check).measure()

    assert (record.step.end, record.holder, record.failure) == ("confirmed", Holder(), "")


def test_a_measurement_that_is_cut_short_while_it_looks() -> None:
    """A check that is still looking when the subject fails is closed, and the holder is unseen."""
    check = Check()
    record = watching(script(fails_at=25), check=lambda: check).measure()

    assert (record.holder, check.calls) == (Holder(), ["begin", "close"])
    assert verdict_of(record) is Level.GROWING


def test_a_leak_that_ends_while_it_is_looked_for() -> None:
    """A holder that was looked for in vain, as the growth came to an end, is unseen."""
    check = Check()
    record = watching(script(list(range(20)), metric=BLOCKS), check=lambda: check).measure()

    assert (record.step.end, record.holder, check.calls) == ("filled", Holder(), ["begin", "close"])


# -- with all that is real -------------------------------------------------------------------------------------------


def measure_really(function: Callable[[], object]) -> Record:
    """Measure a function, which was run before, with the probes and the holder check that ship."""
    function()
    subject: Subject = Callback(function)
    recorder = Recorder(registry.probes())
    check = lambda: registry.holder_check(__name__)  # noqa: E731 - one expression
    return Watch(subject, recorder, PLAN, Budget(60, 60), check=check, chunks=registry.chunk_cache()).measure()


KEPT: list[object] = []


@pytest.mark.usefixtures("_thaws")
def test_a_real_leak() -> None:
    """A function that keeps lists in a list of its module is a leak, exact, with its holder's name."""
    try:
        record = measure_really(lambda: KEPT.extend([object()] for _ in range(8)))
        kept = len(KEPT)
    finally:
        KEPT.clear()

    assert (record.step.end, verdict_of(record)) == ("confirmed", Level.LEAK)
    assert kept == 8 * (1 + record.readings.runs[-1])
    assert [one.rate for one in record.step.suspects if one.metric is BLOCKS] == [8 * 3]
    assert record.holder.kind == "unbounded"
    assert record.holder.name.endswith("KEPT")


@pytest.mark.usefixtures("_thaws")
def test_a_real_function_that_keeps_nothing() -> None:
    """A function that makes objects, cycles among them, and keeps none is clean, its blocks stand still."""

    def work() -> None:
        cycle: list[object] = [object() for _ in range(50)]
        cycle.append(cycle)

    record = measure_really(work)

    assert record.step.end in ("clean", "settled")  # the C library's heap may still warm up
    assert set(record.readings.column(BLOCKS, Phase.SCREEN)[1:]) == {record.readings.column(BLOCKS)[1]}


def test_real_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for something is seen to, and one that only computes is not, where the platform tells."""
    monkeypatch.undo()
    pytest.importorskip("resource")
    before = watch._voluntary_switches()
    threading.Event().wait(0.002)

    assert watch._voluntary_switches() > before


def test_waiting_on_a_platform_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing counts how often a thread waits, no subject is racy."""
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "resource", None)

    assert watch._voluntary_switches() == 0
