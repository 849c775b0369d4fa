"""
The adaptive loop: run the subject, let the process settle, read, and ask the ladder what comes next.

Nothing in the loop may stay alive from one reading to the next, not even the ladder's last answer: it would be
read as growth of the subject.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from statistics import median
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.ladder import HURRIED_CLIMB, Act, Plan, Step, advance
from pytest_memguard.core.ports import Gain
from pytest_memguard.core.units import Unit, amount
from pytest_memguard.core.values import BLOCKS, HEAP, RSS, THREADS, Holder, Phase, Readings
from pytest_memguard.engine import settle
from pytest_memguard.errors import SubjectFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_memguard.core.ports import ChunkCache, HolderCheck, Subject
    from pytest_memguard.engine.recorder import Recorder

__all__ = ["Budget", "Record", "Watch"]

_LOOKING = Holder("looking")
#: Memory that a holder with a limit must explain; mapped memory grows in steps of its own.
_EXPLAINED = frozenset({BLOCKS, HEAP})
_UNSEEN = Holder()  # one for all: ten thousand clean tests share it


@dataclass(frozen=True, slots=True)
class Budget:
    """
    Seconds and memory that a measurement may take.

    Attributes:
        total_s: After this it ends, undecided if need be.
        patience_s: After this it is decided early, on fewer runs.
        memory_bytes: Once the process has grown by this it ends as well; what would get there is decided early.

    """

    total_s: float = 30.0
    patience_s: float = 2.0
    memory_bytes: float = math.inf


@dataclass(frozen=True, slots=True)
class Record:
    """What a measurement was: all that the verdict is made from; ``seen`` is for who explains it."""

    readings: Readings
    plan: Plan
    step: Step
    holder: Holder
    duration_s: float
    failure: str = ""
    over_budget: bool = False
    seen: Sequence[Any] | None = None


@dataclass(slots=True)
class Watch:
    """
    One measurement in progress.

    Attributes:
        subject: What is run.
        recorder: Where readings go; cleared first.
        plan: How far to go; becomes ``hurried`` or ``racy`` on the way.
        budget: How long.
        check: Makes what looks for the holder; None to do without.
        reset: Called after each run, before the reading: the user's own clean-up.
        notice: Called now and then with the number of runs and the phase, for a status line.
        clock: Seconds, monotonic.
        freeze: Whether the older heap is frozen while the subject runs.
        chunks: The C library's cache of freed chunks, to be levelled where small native leaks are looked for.

    """

    subject: Subject
    recorder: Recorder
    plan: Plan
    budget: Budget = Budget()
    check: Callable[[], HolderCheck | None] | None = None
    reset: Callable[[], object] | None = None
    notice: Callable[[int, Phase], object] | None = None
    clock: Callable[[], float] = REAL.seconds
    freeze: bool = True
    chunks: ChunkCache | None = None
    _looking: HolderCheck | None = None
    _seen: Sequence[Any] | None = None
    _began_s: float = 0.0
    _count_threads: Callable[[], int] = int
    _threads: int = 0
    _count_memory: Callable[[], int] = int
    _memory: int = 0
    _screened: int = 0
    _grace_s: float = settle.THREAD_GRACE_S
    _looked_at: int = 0
    _end: Step | None = None

    def measure(self) -> Record:
        """Measure until the ladder says stop, the budget is spent or the subject fails."""
        self._began_s = self.clock()
        self.recorder.clear()
        self._end, self._seen = None, None
        holder: Holder | None = None
        failure, over_budget = "", False
        with settle.frozen() if self.freeze else nullcontext():
            try:
                holder = self._climb_the_ladder()
            except SubjectFailed as error:
                failure = f"run {self.recorder.run_count[0] + 2} {error}"
            except _OverBudget as error:
                failure = f"over the budget of {error} after {self.recorder.run_count[0] + 1} runs"
                over_budget = True
            finally:
                self._stop_looking()
        readings = self.recorder.readings()
        step = self._end or (advance(readings, self.plan, holder) if len(readings) else Step(Act.STOP, end="none"))
        duration_s = self.clock() - self._began_s
        return Record(readings, self.plan, step, holder or _UNSEEN, duration_s, failure, over_budget, self._seen)

    def _climb_the_ladder(self) -> Holder | None:
        recorder = self.recorder
        self._count_threads = recorder.counter(THREADS)
        self._threads = self._count_threads()
        waited = _voluntary_switches()
        self._settle_and_read(Phase.SCREEN)
        self._run_and_read(Phase.SCREEN, self.plan.screen)
        if _voluntary_switches() > waited:
            self.plan = replace(self.plan, racy=True)
        holder: Holder | None = None
        act, phase, times = self._next(holder)
        self._count_memory = recorder.counter(RSS)
        self._memory, self._screened = self._count_memory(), recorder.run_count[0]
        while act is not Act.STOP:
            if act is Act.LOOK:
                holder = self._begin_looking()
            elif act is Act.CONFIRM and holder is _LOOKING and self._looking is not None:
                holder = self._end_looking(self._looking)
            elif act is Act.CONFIRM:
                self._settle_all_and_read(phase)
            elif act is Act.CLIMB:
                self._looking = self._new_check()
                self._purge_settle_and_read(phase)
            else:
                self._run_and_read(phase, times, thoroughly=act is Act.COLLECT)
            self._hurry()
            act, phase, times = self._next(holder)
        return None if holder is _LOOKING else holder

    def _next(self, holder: Holder | None) -> tuple[Act, Phase, int]:
        step = advance(self.recorder.live(), self.plan, holder)
        if step.act is Act.STOP and holder is not _LOOKING:
            self._end = step
        return step.act, step.phase, step.times

    def _hurry(self) -> None:
        climbed = self.recorder.phase_count(Phase.CLIMB) - 1
        # A short ladder may be in its confirmation by then: cut shorter, that would have gone past its end.
        still_climbs = 0 <= climbed <= HURRIED_CLIMB and not self.recorder.phase_count(Phase.CONFIRM)
        too_slow = self.clock() - self._began_s > self.budget.patience_s
        too_large = self._grown_a_run() * self.plan.max_runs > self.budget.memory_bytes
        if still_climbs and (too_slow or too_large) and not self.plan.hurried:
            self.plan = replace(self.plan, hurried=True)

    def _grown_a_run(self) -> float:
        grown = self._count_memory() - self._memory
        if grown > self.budget.memory_bytes:
            raise _OverBudget(f"{amount(self.budget.memory_bytes, Unit.BYTE)} of memory")
        return grown / max(1, self.recorder.run_count[0] - self._screened)

    # -- one run, one reading -----------------------------------------------------------------------------------------

    def _run_and_read(self, phase: Phase, times: int, *, thoroughly: bool = False) -> None:
        # Counted down in small integers: an iterator would be alive in all readings but the first.
        while times:
            self._run_batch()
            if self.notice is not None:
                self.notice(self.recorder.run_count[0] + 1, phase)
            if thoroughly:
                self._settle_all_and_read(phase)
            elif phase is Phase.SCREEN:
                self._settle_and_read(phase)
            else:
                self._purge_settle_and_read(phase)
            times -= 1

    def _run_batch(self) -> None:
        runs = self.recorder.run_count
        for _ in repeat(None, self.plan.batch):
            if self.clock() - self._began_s > self.budget.total_s:
                raise _OverBudget(f"{self.budget.total_s:g} s")
            self.subject.run()
            runs[0] += 1

    def _settle_and_read(self, phase: Phase) -> None:
        self._settle()
        self.recorder.read(phase)

    def _settle(self) -> None:
        self._let_threads_end()
        with settle.quiet_finalizers():
            if self.reset is not None:
                self.reset()
            settle.collect()
        self._level_chunks()

    def _level_chunks(self) -> None:
        if self.chunks is not None and self.plan.curious:
            self.chunks.level()

    def _purge_settle_and_read(self, phase: Phase) -> None:
        settle.purge()
        self._settle_and_read(phase)

    def _settle_all_and_read(self, phase: Phase) -> None:
        self._settle_all()
        self.recorder.read(phase)

    def _settle_all(self) -> None:
        settle.purge()
        self._let_threads_end()
        with settle.quiet_finalizers():
            if self.reset is not None:
                self.reset()
            settle.collect_all(freeze=self.freeze)
        self._level_chunks()

    def _let_threads_end(self) -> None:
        if self._count_threads() <= self._threads:
            return
        settle.wait_for_threads(self._count_threads, self._threads, self._grace_s)
        left = self._count_threads()
        # A thread that stays is waited for once, and for those after it ever less.
        self._grace_s = settle.THREAD_GRACE_S if left <= self._threads else self._grace_s / 2
        self._threads = max(self._threads, left)

    # -- the holder ---------------------------------------------------------------------------------------------------

    def _new_check(self) -> HolderCheck | None:
        try:
            return self.check() if self.check is not None else None
        except Exception:  # noqa: BLE001 - it maps memory, which may be limited; the verdict must not hang on that
            return None

    def _begin_looking(self) -> Holder:
        if self._looking is None:
            return Holder()
        # Not the whole heap: what other tests left would go now, in the middle of the climb, and look like a flush.
        with settle.quiet_finalizers():
            settle.collect()
            try:
                self._looking.begin()
            except Exception:  # noqa: BLE001 - objects of every kind are met; the verdict must not hang on them
                return Holder()
        self._looked_at = self.recorder.run_count[0]
        return _LOOKING

    def _end_looking(self, looking: HolderCheck) -> Holder:
        with settle.quiet_finalizers():
            settle.collect()
            try:
                holder = looking.finish(self.recorder.run_count[0] - self._looked_at, tuple(self._gains()))
                self._seen = getattr(looking, "seen", None)  # a check of somebody else's may not tell
            except Exception:  # noqa: BLE001 - see above
                holder = Holder()
        self._stop_looking()
        return holder

    def _gains(self) -> Iterator[Gain]:
        """Yield what the holder is to explain: what memory gains in a usual run, and all resources that stay."""
        readings = self.recorder.readings()
        since = sum(run < self._looked_at for run in readings.runs_of(Phase.CLIMB))
        for metric in readings.metrics:
            if metric in _EXPLAINED or metric.resource:
                values = readings.column(metric, Phase.CLIMB)[since:]
                steps = [after - before for before, after in pairwise(values)]
                amount = sum(steps) if metric.resource else len(steps) * median(steps or [0])
                if amount > 0:
                    yield Gain(metric, amount, self.recorder.counter(metric))

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.close()
            self._looking = None


class _OverBudget(Exception):  # noqa: N818 - names what happened
    """The budget that the message names is spent; never leaves this module."""


def _voluntary_switches() -> int:
    """Return how often this thread waited for something; 0 where the platform does not tell."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nvcsw
