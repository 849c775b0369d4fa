"""
The guard: decides which tests are measured, measures them, and fails those that leak.

The measurement sits in a wrapper around ``pytest_runtest_makereport`` of the call phase. There the user's run is over
and reported on, so its outcome and duration cannot change; only a leak makes the report anew, as a failed call.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard import marks, registry
from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.ladder import Plan, advance, is_pressing
from pytest_memguard.core.values import Control, Level, SubjectResult
from pytest_memguard.engine.assess import Identity, assess, not_measured
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.engine.watch import Record, Watch
from pytest_memguard.errors import CouldNotRun, LeakError, SubjectFailed
from pytest_memguard.plugin import baselines, ci, limits, repeat
from pytest_memguard.plugin.expectations import Expectations
from pytest_memguard.plugin.explaining import Explaining, Measured, about_item
from pytest_memguard.plugin.guarding import id_of, is_worker, worker_of
from pytest_memguard.plugin.plans import SCREENS, Credit, budget_for, plan_for
from pytest_memguard.plugin.status import StatusLine
from pytest_memguard.plugin.surroundings import drop_doctest_globals, keep_doctest_globals
from pytest_memguard.renderers import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_memguard.config import Settings
    from pytest_memguard.core.ports import ChunkCache
    from pytest_memguard.engine.watch import Budget
    from pytest_memguard.plugin.guarding import Guarding

__all__ = ["Guard"]

_CONTROL_RUNS = 8
#: The first two of them bring what is made once: chunks of native memory, mostly.
_WARM_UP = 2
#: Python 3.10 allocates a cache for each function at this call of it; pytest's own would show as growth for long.
_CALLS_TO_A_CACHE = 1024
#: From here on decisions are made early, and from there on growth is reported without being followed.
_DEAR, _DEAR_S = 4.0, 20.0
_FOLLOWING, _FOLLOWING_S = 10.0, 60.0


def _home_of(item: pytest.Item) -> str:
    return str(getattr(getattr(item, "module", None), "__name__", ""))


def _safe(reset: Callable[[], object]) -> Callable[[], object]:
    """Return *reset* as part of the subject: a test whose clean-up fails is not repeatable."""

    def run() -> None:
        try:
            reset()
        except Exception as error:
            raise SubjectFailed(f"comes after a reset that {repeat.failed_with(error)}") from error

    return run


class Guard:
    """One session's hooks around each test."""

    def __init__(self, config: pytest.Config, guarding: Guarding, tests: int) -> None:
        self._config = config
        self._guarding = guarding
        self._settings: Settings = guarding.settings
        self._credit = Credit(tests)
        self._wide = repeat.WideFixtures()
        self._start: repeat.Start
        self._busy = False
        self._ran: pytest.Item | None = None
        self._plain_s = 0.0
        self._part_failed = False
        self._closed: pytest.Item | None = None
        self._teardown_error: BaseException | None = None
        self._control: tuple[tuple[str, float, float], ...] | None = None
        self._waiting: list[SubjectResult] = []
        self._is_warm = False
        self._is_ready = False
        self._phase_began_s = REAL.seconds()
        self._plans: dict[bool, Plan] = {}
        self.expectations = Expectations()
        self.explaining = Explaining(self._settings)

    @functools.cached_property
    def _recorder(self) -> Recorder:
        probes = registry.probes()
        self._guarding.missing = registry.missing(probes)
        return Recorder(probes)

    @functools.cached_property
    def _chunks(self) -> ChunkCache | None:
        return registry.chunk_cache()

    # -- hooks --------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Remember wider fixtures: pytest lets their lists of finalizers grow with each repeat."""
        self._wide.note(fixturedef)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep what the first run would use up."""
        if not self._busy:
            if not self._is_ready:
                self._get_ready()
            keep_doctest_globals(item)
            self._start = repeat.Start(item)
            self._ran, self._plain_s, self._closed, self._part_failed = None, 0.0, None, False
            self._phase_began_s = REAL.seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know a real call phase from the reports that sub-tests make during it."""
        __tracebackhide__ = True
        try:
            result = yield
            self.expectations.check(item)
        finally:
            if not self._busy:
                self._ran = item
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a sub-test that fails: its test passes until much later."""
        if report.failed and report.when == "call":
            self._part_failed = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """After the user's own call phase: measure, and turn a leak into a failure."""
        report = yield
        if self._busy:
            return report
        self._plain_s += self._seconds_of(call)
        if call.when == "call" and self._ran is item:
            self._ran = None
            report = self._after_call(item, call, report)
        elif call.when == "setup" and not report.passed:
            self._note_skipped(item, report)
        elif call.when == "teardown":
            drop_doctest_globals(item)
            self._guarding.plain_s += self._plain_s
            self._credit.earn(self._plain_s)
        ci.note_properties(item, report, self._waiting)
        self._hand_over(report)
        self._phase_began_s = REAL.seconds()
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Raise what the user's own tear-down raised, in the phase where it belongs."""
        __tracebackhide__ = True
        if self._busy or self._closed is not item:
            return (yield)
        self._closed = None
        error, self._teardown_error = self._teardown_error, None
        try:
            result = yield
        except Exception:
            if not repeat.is_set_up(item):
                raise
            # A hook was at a loss for what the test had set up; when it was still there, it had nothing to say.
            repeat.tear_down(item, nextitem)
            result = None
        if error is not None:
            raise error
        return result

    def _get_ready(self) -> None:
        """Ask the machine what is asked once, before a fixture replaces the file system, /proc included (pyfakefs)."""
        self._is_ready = True
        with suppress(Exception):  # asked again, and the reason told, where a test is to be measured
            _ = self._recorder, self._chunks, budget_for(self._settings.budget_s)
            if "pyfakefs" in sys.modules:
                # What is imported later would keep its false ``os``, and the list of known holders could not be read.
                importlib.import_module("pytest_memguard.engine.extra")
                registry.holder_check()

    def _seconds_of(self, call: pytest.CallInfo[None]) -> float:
        """Return what a phase took; pytest's own clock may have been stopped, or set, in the middle of it."""
        at_most_s = REAL.seconds() - self._phase_began_s
        return call.duration if 0 < call.duration <= at_most_s else at_most_s

    # -- which tests --------------------------------------------------------------------------------------------------

    def _after_call(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> pytest.TestReport:
        try:
            return self._checked(item, call, report)
        except pytest.exit.Exception:
            raise
        except Exception as error:  # noqa: BLE001 - see _note_mistake
            self._note_mistake(item, error)
            return report

    def _checked(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> pytest.TestReport:
        mark = self._mark(item)
        if not self._is_wanted(item, mark):
            return report
        reason = self._why_skipped(item, call, report, mark)
        if reason:
            self.add(not_measured(self._identity(item), Level.SKIPPED, reason))
            return report
        self._busy = True
        try:
            error = self._check(item, mark)
        finally:
            self._busy = False
        return report if error is None else self._failed(item, call, report, error)

    def _mark(self, item: pytest.Item) -> marks.MarkSettings | None:
        marker = item.get_closest_marker("no_leak")
        return None if marker is None else marks.read_no_leak(marker.args, marker.kwargs, item.nodeid)

    def _is_wanted(self, item: pytest.Item, mark: marks.MarkSettings | None) -> bool:
        if self._settings.check == "off" or item.get_closest_marker("memguard_skip"):
            return False
        return self._settings.check == "all" or mark is not None or limits.has_limits(item)

    def _why_skipped(
        self,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
        mark: marks.MarkSettings | None,
    ) -> str:
        if report.skipped and not hasattr(report, "wasxfail"):
            return "it was skipped"
        accepts_failure = mark is not None and not mark.only_if_passed
        if not accepts_failure and (call.excinfo is not None or self._part_failed or repeat.is_failed(report)):
            return "it did not pass"
        if not repeat.may_fail_as_leak(item, is_marked=mark is not None):
            return "it is expected to fail, and not with a LeakError"
        if item.session.shouldstop or item.session.shouldfail:
            return "the session is stopping"
        if getattr(item, "_memguard_checked", False) and mark is None:
            return "it measures itself, with the memguard fixture"
        return ""

    def _note_skipped(self, item: pytest.Item, report: pytest.TestReport) -> None:
        if self._is_wanted(item, self._mark(item)):
            reason = "it was skipped" if report.skipped else "its set-up failed"
            self.add(not_measured(self._identity(item), Level.SKIPPED, reason))

    # -- one test -----------------------------------------------------------------------------------------------------

    def _check(self, item: pytest.Item, mark: marks.MarkSettings | None) -> LeakError | None:
        obstacle = self._obstacle(item)
        if obstacle:
            self.add(not_measured(self._identity(item), Level.UNMEASURED, obstacle))
            return None
        went_well = self._is_closed(item)
        began = REAL.seconds()
        try:
            return self._measure_and_judge(item, mark) if went_well else None
        except Exception as error:  # noqa: BLE001 - see _note_mistake
            self._note_mistake(item, error)
            return None
        finally:
            if self._closed is item:
                repeat.announce_tear_down(item)
            self._guarding.repeat_s += REAL.seconds() - began

    def _note_mistake(self, item: pytest.Item, error: Exception) -> None:
        """Say that a test is not measured: a mistake of ours must not break the user's session."""
        reason = str(error) if isinstance(error, CouldNotRun) else f"memguard itself {repeat.failed_with(error)}"
        self.add(not_measured(self._identity(item), Level.UNMEASURED, reason))

    def _is_closed(self, item: pytest.Item) -> bool:
        """Tear down the user's own run; whether that went well."""
        began = REAL.seconds()
        error = repeat.finish_user_run(item)
        self._plain_s += REAL.seconds() - began
        if not repeat.is_set_up(item):
            self._closed, self._teardown_error = item, error
        if error is not None:
            self.add(not_measured(self._identity(item), Level.SKIPPED, "its tear-down failed"))
        return error is None

    def _measure_and_judge(self, item: pytest.Item, mark: marks.MarkSettings | None) -> LeakError | None:
        identity = self._identity(item)
        accept_failure = mark is not None and not mark.only_if_passed
        limit_s = self._settings.budget_s
        subject = repeat.ItemSubject(item, self._wide, self._start, limit_s=limit_s, accept_failure=accept_failure)
        error: LeakError | None = None
        with subject.opened():
            if self._settings.check == "all" or mark is not None:
                record = self._measured(item, subject, mark)
                result = self._judged(record, identity, item)
                result = self._guarding.judged(self._explained(result, record, subject, item, mark))
                self.add(result)
                error = self._leak_error(result)
            if error is None and limits.has_limits(item) and self._settings.fail_on != "never":
                error = self._check_limits(item, subject, identity)
        return error

    def _check_limits(self, item: pytest.Item, subject: repeat.ItemSubject, identity: Identity) -> LeakError | None:
        try:
            return limits.check(item, subject, functools.partial(self._control_subject, item))
        except SubjectFailed as failure:
            self.add(not_measured(identity, Level.UNMEASURED, f"its limits are not checked: the repeat {failure}"))
            return None

    def _obstacle(self, item: pytest.Item) -> str:
        if self._config.getoption("usepdb", default=False) or self._config.getoption("trace", default=False):
            return "the debugger is on (--pdb or --trace)"
        if not repeat.can_repeat(item):
            return f"a {type(item).__name__} cannot be run again: it is no test function, method or doctest"
        if self._plain_s * SCREENS["quick"] > self._settings.budget_s:
            return f"over the budget of {self._settings.budget_s:g} s: one run took {self._plain_s:.1f} s"
        return ""

    def _measured(self, item: pytest.Item, subject: repeat.ItemSubject, mark: marks.MarkSettings | None) -> Record:
        if sys.version_info < (3, 11) and not self._is_warm:
            self._is_warm = self._run_empty(item, _CALLS_TO_A_CACHE) is not None
        plan = self._plan(mark, curious=self._credit.is_left)
        plan = replace(plan, control=self._control or (), follow=mark is not None or self._has_time_to_follow())
        began = REAL.thread_seconds()  # of this process alone: a busy machine must not change what is looked at
        with StatusLine(self._config, item.nodeid) as status:
            watching = Watch(
                subject,
                self._recorder,
                plan,
                self._budget(),
                check=functools.partial(registry.holder_check, _home_of(item)),
                reset=_safe(mark.reset) if mark is not None and mark.reset is not None else None,
                notice=status.notice,
                chunks=self._chunks,
            )
            record = watching.measure()
            if record.failure and not record.over_budget and not subject.hung:
                # It may look at what the collector sees, or at its freeze count: once more, with nothing frozen.
                again = replace(watching, plan=plan, freeze=False).measure()
                record = again if not again.failure else record
            if record.failure and not record.over_budget:
                record = replace(record, failure="not repeatable: " + record.failure)
        if plan.curious and mark is None and not is_pressing(record.readings, replace(plan, curious=False)):
            self._credit.spend(REAL.thread_seconds() - began)
        return record

    def _has_time_to_follow(self) -> bool:
        return self._guarding.repeat_s <= _FOLLOWING * self._guarding.plain_s + _FOLLOWING_S

    def _budget(self) -> Budget:
        # What comes after repeats have taken many times the plain run is decided on fewer runs.
        budget = budget_for(self._settings.budget_s)
        hurried = self._guarding.repeat_s > _DEAR * self._guarding.plain_s + _DEAR_S
        return replace(budget, patience_s=0.0) if hurried else budget

    def _judged(self, record: Record, identity: Identity, item: pytest.Item) -> SubjectResult:
        if record.step.end == "confirmed" and self._control is None:
            self._control = self._measure_control(item)
            plan = replace(record.plan, control=self._control)
            record = replace(record, plan=plan, step=advance(record.readings, plan, record.holder))
        return assess(record, identity)

    def _explained(
        self,
        result: SubjectResult,
        record: Record,
        subject: repeat.ItemSubject,
        item: pytest.Item,
        mark: marks.MarkSettings | None,
    ) -> SubjectResult:
        reset = _safe(mark.reset) if mark is not None and mark.reset is not None else None
        measured = Measured(subject, self._recorder, functools.partial(about_item, item), reset, record.seen)
        return self.explaining.explained(result, measured)

    def _measure_control(self, item: pytest.Item) -> tuple[tuple[str, float, float], ...]:
        """Run an empty test the same way: what it keeps is pytest's, a plugin's or ours, and no leak of a test."""
        record = self._run_empty(item, _CONTROL_RUNS)
        if record is None:
            return ()
        control = []
        for series in record.readings.series():
            steps = [after - before for before, after in pairwise(series.values[_WARM_UP:])]
            if not steps or record.failure:
                continue
            seen = Control(min(steps) if min(steps) > 0 else 0.0, float(max(map(abs, steps))))
            self._guarding.control[series.metric.name] = seen
            control.append((series.metric.name, seen.per_run, seen.largest_step))
        return tuple(control)

    def _plan(self, mark: marks.MarkSettings | None, *, curious: bool) -> Plan:
        if mark is not None:
            return plan_for(self._settings, mark, curious=curious)
        if curious not in self._plans:
            self._plans[curious] = plan_for(self._settings, None, curious=curious)
        return self._plans[curious]

    def _run_empty(self, item: pytest.Item, runs: int) -> Record | None:
        subject = self._control_subject(item)
        if subject is None:
            return None
        with subject.opened():
            return Watch(subject, self._recorder, Plan(screen=runs, metrics=("none",))).measure()

    def _control_subject(self, item: pytest.Item) -> repeat.ItemSubject | None:
        empty = repeat.empty_item(item)
        if empty is None:
            return None
        start = repeat.Start(empty)
        return repeat.ItemSubject(empty, self._wide, start, limit_s=self._settings.budget_s, inside=True)

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def _leak_error(self, result: SubjectResult) -> LeakError | None:
        fail_on = self._settings.fail_on
        fails = {"growing": (Level.LEAK, Level.GROWING), "never": ()}.get(fail_on, (Level.LEAK,))
        if result.verdict.level not in fails or not baselines.may_fail(result, fail_on):
            return None
        return LeakError(terminal.failure(result))

    def _failed(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, error: LeakError
    ) -> pytest.TestReport:
        if report.failed and not repeat.is_unexpected_pass(report):
            report.sections.append(("memory leak", str(error)))  # accepted by only_if_passed=False, but no better news
            return report
        self._busy = True
        try:
            return repeat.report_failure(item, call, error, self._short(item))
        finally:
            self._busy = False

    def _short(self, item: pytest.Item) -> str:
        for result in reversed(self._waiting):
            if result.id == id_of(item) and result.verdict.level in (Level.LEAK, Level.GROWING):
                return terminal.short(result)
        return ""

    def _identity(self, item: pytest.Item) -> Identity:
        path, line, _ = item.location
        return Identity(id_of(item), "test", path, (line or 0) + 1, worker_of(self._config), self._plain_s)

    def add(self, result: SubjectResult) -> None:
        """Take a result; it travels on the report of the test's current phase."""
        self._waiting.append(result)

    @property
    def is_repeating(self) -> bool:
        """Whether a test is being run again at this moment."""
        return self._busy

    def _hand_over(self, report: pytest.TestReport) -> None:
        if not self._waiting:
            return
        if is_worker(self._config):
            from pytest_memguard.core.document import result_to_dict  # noqa: PLC0415 - only on workers

            # Text: execnet takes few types, and stops at half a surrogate pair.
            vars(report)["memguard"] = json.dumps([result_to_dict(result) for result in self._waiting])
        else:
            for result in self._waiting:
                self._guarding.add(result)
        self._waiting = []
