"""
Run a pytest item again, silently, and leave nothing of pytest's own behind; all private pytest API lives here.

The user's own run stays what pytest reports. A repeat is set-up, call and tear-down through the item's hooks, with a
copy of the item as ``nextitem``: that tears function fixtures down and keeps the wider ones (the item itself would tear
down nothing, None everything). Each oddity below was a false leak or a changed outcome until it was cured.
"""

from __future__ import annotations

import copy
import faulthandler
import functools
import io
import logging
import os
import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntryNative, ReprFileLocation, ReprTraceback
from _pytest.capture import CaptureIO, EncodedFile
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.fixtures import FixtureDef, FuncFixtureInfo
from _pytest.junitxml import xml_key
from _pytest.logging import LogCaptureHandler, caplog_records_key
from _pytest.runner import CallInfo
from _pytest.skipping import evaluate_xfail_marks

from pytest_memguard.errors import LeakError, SubjectFailed
from pytest_memguard.plugin import surroundings, traces
from pytest_memguard.plugin.alarm import Alarm, Hung

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = [
    "ItemSubject",
    "Start",
    "WideFixtures",
    "announce_tear_down",
    "can_repeat",
    "empty_item",
    "failed_with",
    "finish_user_run",
    "is_failed",
    "is_set_up",
    "is_unexpected_pass",
    "may_fail_as_leak",
    "report_failure",
    "tear_down",
    "unrecorded",
]


class WideFixtures:
    """The fixtures of class, module, package and session scope that are up now."""

    def __init__(self) -> None:
        self._seen: dict[int, FixtureDef[Any]] = {}

    def note(self, fixturedef: FixtureDef[Any]) -> None:
        """Remember a fixture that pytest is setting up."""
        if fixturedef.scope != "function":
            self._seen[id(fixturedef)] = fixturedef

    def alive(self) -> tuple[FixtureDef[Any], ...]:
        """Return those with a value, and forget the others."""
        self._seen = {key: fixture for key, fixture in self._seen.items() if fixture.cached_result is not None}
        return tuple(self._seen.values())


def can_repeat(item: pytest.Item) -> bool:
    """Whether pytest can make this item's fixture request anew: functions, test methods, doctests."""
    return hasattr(item, "_initrequest")


def finish_user_run(item: pytest.Item) -> BaseException | None:
    """
    Tear down the function scope of the user's own run.

    Returns:
        What the user's own tear-down raised, to be raised again in the tear-down phase; else None.

    """
    call = _phase(item, "teardown", _same_again(item))
    return call.excinfo.value if call.excinfo else None


def is_set_up(item: pytest.Item) -> bool:
    """Whether pytest's own tear-down of the function scope is still to come."""
    return item in item.session._setupstate.stack  # noqa: SLF001 - see the module


def announce_tear_down(item: Any) -> None:  # noqa: ANN401 - private attributes
    """
    Call all set-up hooks, and set nothing up: the tear-down phase is still to come, and calls all tear-down hooks.

    Who counts, or pushes in the one and pops in the other, must see as many of the one as of the other.
    """
    sections = len(item._report_sections)  # noqa: SLF001 - see the module
    item.setup = _do_nothing
    try:
        with warnings.catch_warnings(record=True):
            _phase(item, "setup")
    finally:
        del item.setup
    del item._report_sections[sections:]  # noqa: SLF001 - see the module
    item.stash.setdefault(caplog_records_key, {})  # where a hook failed before the logging plugin's turn
    if is_set_up(item):
        finalizers = item.session._setupstate.stack[item][0]  # noqa: SLF001 - see the module
        finalizers[:] = [finalizer for finalizer in finalizers if finalizer != item.teardown]


def tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Do what pytest's runner does at tear-down, without any hook."""
    item.session._setupstate.teardown_exact(nextitem)  # noqa: SLF001 - see the module


def may_fail_as_leak(item: pytest.Item, *, is_marked: bool) -> bool:
    """
    Whether a leak may decide this test's outcome, seen from its ``xfail`` marks.

    A test that is expected to fail with a LeakError is measured; one that is expected to fail for any reason only if
    it is marked ``no_leak`` as well: else its unexpected pass is the user's news, and must stay.
    """
    xfail = None if item.config.option.runxfail else evaluate_xfail_marks(item)
    if xfail is None:
        return True
    if xfail.raises is None:
        return is_marked
    raises = xfail.raises if isinstance(xfail.raises, tuple) else (xfail.raises,)
    return any(isinstance(kind, type) and issubclass(LeakError, kind) for kind in raises)


def report_failure(item: pytest.Item, call: CallInfo[None], error: LeakError, short: str) -> pytest.TestReport:
    """Report the call phase anew, as failed with *error*; ``xfail`` and every plugin have their say as always."""
    try:
        raise error
    except LeakError:
        call.excinfo = pytest.ExceptionInfo.from_current()
    report = _made_report(item, call)
    if report.failed:
        path, line, _ = item.location
        crash = ReprFileLocation(path, (line or 0) + 1, _sendable(f"{type(error).__name__}: {short or error}"))
        entry = ReprTraceback([ReprEntryNative([_sendable(f"{error}\n")])], None, style="native")
        report.longrepr = ExceptionChainRepr([(entry, crash, None)])
    return report


def is_failed(report: pytest.TestReport) -> bool:
    """Whether something failed the test though its body passed; an unexpected pass is for ``xfail`` to judge."""
    return report.failed and not is_unexpected_pass(report)


def is_unexpected_pass(report: pytest.TestReport) -> bool:
    """Whether a strict ``xfail`` failed the test because it passed."""
    return isinstance(report.longrepr, str) and report.longrepr.startswith("[XPASS(strict)]")


def _made_report(item: Any, call: CallInfo[None]) -> pytest.TestReport:  # noqa: ANN401 - private attributes
    sections: list[tuple[str, str, str]] = item._report_sections  # noqa: SLF001 - see the module
    everything = sections[:]
    # What the tear-down printed belongs to its own report, which is still to come.
    sections[:] = [section for section in sections if section[0] != "teardown"]
    try:
        report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    except Exception:  # noqa: BLE001 - a hook that looks for a fixture's value must not end the session
        report = pytest.TestReport.from_item_and_call(item, call)
    sections[:] = everything
    return report


def _sendable(text: str) -> str:
    """Return *text* as xdist can send it: half a surrogate pair (from a file's name, say) would stop the worker."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def empty_item(item: pytest.Item) -> pytest.Function | None:
    """Return a test beside *item* that does nothing and asks for no fixture, not even an automatic one."""
    parent = item.parent
    if not isinstance(parent, (pytest.Module, pytest.Class)) or not isinstance(item, pytest.Function):
        return None
    no_fixtures = FuncFixtureInfo(argnames=(), initialnames=(), names_closure=[], name2fixturedefs={})
    empty: pytest.Function = pytest.Function.from_parent(
        parent, name="memguard_control", callobj=_do_nothing, fixtureinfo=no_fixtures
    )
    return empty


def failed_with(error: BaseException) -> str:
    """Say, in one line that is not too long, how something failed."""
    text = " ".join(str(error).split())
    return f"failed with {type(error).__name__}{': ' + text[:120] if text else ''}"


def _do_nothing() -> None:
    pass


def _phase(
    item: pytest.Item, when: Literal["setup", "call", "teardown"], nextitem: pytest.Item | None = None
) -> CallInfo[None]:
    return CallInfo.from_call(_hooks(item, nextitem)[when], when=when, reraise=_ENDING)


def _hooks(item: pytest.Item, nextitem: pytest.Item | None) -> dict[str, Callable[[], None]]:
    hooks = item.ihook
    return {
        "setup": functools.partial(hooks.pytest_runtest_setup, item=item),
        "call": functools.partial(hooks.pytest_runtest_call, item=item),
        "teardown": functools.partial(hooks.pytest_runtest_teardown, item=item, nextitem=nextitem),
    }


#: What ends the session, and not only a phase.
_ENDING = (pytest.exit.Exception, KeyboardInterrupt)


def _same_again(item: pytest.Item) -> pytest.Item:
    """
    Return what comes next, for the hooks of a tear-down: the same test, so that wider fixtures stay.

    It is a test of its own for pytest, which tears nothing down where the next one is set up already.
    """
    return copy.copy(item)


class Start:
    """What an item is like before a run: each repeat starts from what the user's own run started from."""

    def __init__(self, item: pytest.Item) -> None:
        self._attributes = frozenset(vars(item)) | _OF_ONE_RUN | {"_obj", "_instance"}
        self._stash = dict(item.stash._storage)  # noqa: SLF001 - no public copy
        self._lengths = tuple(map(len, _growing_lists(item)))

    def go_back(self, item: pytest.Item) -> None:
        """Take away what a run has put at the item: reports and properties, markers, whatever plugins keep there."""
        for name in [name for name in vars(item) if name not in self._attributes]:
            del vars(item)[name]
        item.stash._storage.clear()  # noqa: SLF001 - see above
        item.stash._storage.update(self._stash)  # noqa: SLF001 - see above
        for entries, length in zip(_growing_lists(item), self._lengths, strict=True):
            del entries[length:]


class _Finalizers:
    """What the wider fixtures and nodes have to finish before a run: a repeat leaves nothing there."""

    def __init__(self, fixtures: tuple[FixtureDef[Any], ...], item: Any) -> None:  # noqa: ANN401 - private attributes
        nodes = item.session._setupstate.stack.values()  # noqa: SLF001 - see the module
        lists = [*(fixture._finalizers for fixture in fixtures), *(entry[0] for entry in nodes)]  # noqa: SLF001 - too
        self.fixtures = len(fixtures)
        self._lengths = [(entries, len(entries)) for entries in lists]

    def drop_finished(self) -> None:
        """Drop what the run has added for what is gone."""
        for entries, length in self._lengths:
            _drop_finished(entries, length)


class ItemSubject:
    """
    One pytest item as something that can be run again.

    Use ``with subject.opened():`` around all runs; it puts the item back as pytest expects it.

    An exception that a test keeps holds all frames below it, those of ``run`` and what it calls included: whatever is
    made anew for one run is an attribute, not a variable of theirs, else it would be measured as part of the leak.
    """

    def __init__(  # noqa: PLR0913 - each is one fact about the item
        self,
        item: pytest.Item,
        wide: WideFixtures,
        start: Start,
        *,
        limit_s: float,
        accept_failure: bool = False,
        inside: bool = False,
    ) -> None:
        """
        Take an item whose own run is over.

        Args:
            item: What is run again.
            wide: The wider fixtures that are up.
            start: What it was like before that run.
            limit_s: Seconds that one repeat may take; one that hangs would hang for ever.
            accept_failure: Whether a run whose call phase fails counts as well.
            inside: Whether another subject is open already, which holds everything around it still.

        """
        self._item: Any = item
        self._wide = wide
        self._start = start
        self._accept_failure = accept_failure
        self._inside = inside
        self._makes_instances = _makes_instances(item)
        # One for all: plugins keep the next item at the item.
        self._hooks = _hooks(item, _same_again(item))
        self._before: _Finalizers | None = None
        self._silence = traces.Silence(item.config)
        self._examples = traces.Examples(item)
        self._folders = traces.Folders(item.config)
        self._limit_s = limit_s
        self._alarm = Alarm(limit_s)
        self._nowhere: TextIO | None = None

    @property
    def hung(self) -> bool:
        """Whether a repeat did not end in time."""
        return self._alarm.rang

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Prepare the item for repeats, and put it back afterwards."""
        with ExitStack() as stack:
            stack.enter_context(self._silence.kept())
            if not self._inside:
                for surrounding in (*_PYTESTS_OWN, *surroundings.ALL):
                    stack.enter_context(surrounding(self._item))
                stack.enter_context(self._hushed())
                self._alarm = Alarm(self._limit_s)  # pytest-timeout has let go of the signal by now
            stack.enter_context(self._examples.kept())
            stack.enter_context(self._folders.watched())
            stack.enter_context(self._kept())
            self._reset()
            yield

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Put back what the user's own run left at the item: what it was asked for, what plugins noted at it."""
        item = self._item
        attributes = {name: value for name, value in vars(item).items() if name not in _OF_ONE_RUN}
        arguments = {name: value for name, value in (item.funcargs or {}).items() if isinstance(value, _PLAIN_VALUES)}
        stash = dict(item.stash._storage)  # noqa: SLF001 - no public copy
        lists = [entries[:] for entries in _growing_lists(item)]
        try:
            yield
        finally:
            self._reset()
            vars(item).update(attributes)
            item.stash._storage.update(stash)  # noqa: SLF001 - see above
            for entries, kept in zip(_growing_lists(item), lists, strict=True):
                entries[:] = kept
            item.funcargs.update(arguments)

    @contextmanager
    def _hushed(self) -> Iterator[None]:
        """Let nothing that is printed between two repeats, by a finalizer for one, get to the terminal."""
        streams = sys.stdout, sys.stderr
        self._nowhere = io.TextIOWrapper(
            io.BufferedWriter(_Nowhere()), encoding="utf-8", errors="replace", write_through=True
        )
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            self._nowhere = None

    def run(self) -> None:
        """
        Run the item once more.

        Raises:
            SubjectFailed: a phase of this run failed or skipped.

        """
        self._before = _Finalizers(self._wide.alive(), self._item)
        with warnings.catch_warnings(record=True):
            failure = self._run_in_time()
        if self._nowhere is not None:
            sys.stdout = sys.stderr = self._nowhere  # pytest's capturing has put the real ones there
        self._before.drop_finished()
        # A wider fixture that a repeat is the first to ask for keeps its folders.
        self._folders.take_away(keep=len(self._wide.alive()) > self._before.fixtures)
        self._before = None
        self._reset()
        if failure is not None:
            raise SubjectFailed(failure)

    def _run_in_time(self) -> str | None:
        try:
            with self._alarm:
                return self._run_phases()
        except Hung:  # between two phases
            self._report(self._phase("teardown"), "")
            return self._hung_reason

    @property
    def _hung_reason(self) -> str:
        return f"did not end within {self._limit_s:g} s"

    def _run_phases(self) -> str | None:
        failure = self._report(self._phase("setup"), "set-up")
        if failure is None:
            self._silence.failed = False
            failure = self._report(self._phase("call"), "")
            if failure is None and self._silence.failed and not self._accept_failure:
                failure = "failed in a sub-test"
        return self._report(self._phase("teardown"), "tear-down") or failure

    def _phase(self, when: Literal["setup", "call", "teardown"]) -> CallInfo[None]:
        return CallInfo.from_call(self._hooks[when], when=when, reraise=_ENDING)

    def _report(self, call: CallInfo[None], phase: str) -> str | None:
        item = self._item
        # tmp_path's tear-down and unittest's failures need this hook; the report itself goes nowhere.
        item.ihook.pytest_runtest_makereport(item=item, call=call)
        if call.excinfo is None:
            return None
        error = call.excinfo.value
        if isinstance(error, Hung):
            return self._hung_reason
        if isinstance(error, pytest.skip.Exception):
            return f"it skipped: {error.msg}"
        if self._accept_failure and not phase:
            return None
        return f"{phase} {failed_with(error)}" if phase else failed_with(error)

    def _reset(self) -> None:
        item = self._item
        self._start.go_back(item)
        self._examples.again()
        item._initrequest()  # noqa: SLF001 - see the module
        if self._makes_instances:
            # pytest keeps the instance: a test that sets self.x would see it again.
            item.__dict__.pop("_instance", None)
            item._obj = None  # noqa: SLF001 - see the module


class _Nowhere(io.RawIOBase):
    """Takes everything and keeps nothing; to open the null device for each test would be a tenth of its overhead."""

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - any kind of buffer
        return memoryview(content).nbytes


#: Attributes of an item that pytest makes anew for each run.
_OF_ONE_RUN = frozenset({"_request", "funcargs"})
#: Of the user's arguments, those that a hook may still ask for and that keep nothing else alive.
_PLAIN_VALUES = (str, bytes, int, float, PurePath, type(None))


def _makes_instances(item: Any) -> bool:  # noqa: ANN401 - private attributes of several node types
    if not isinstance(item.parent, pytest.Class) or not isinstance(item, pytest.Function):
        return False
    return getattr(item.parent.obj, item.originalname, None) is not None


def _growing_lists(item: Any) -> Iterator[list[Any]]:  # noqa: ANN401 - private attributes
    """Yield the lists of pytest that a run may append to and that nobody empties afterwards."""
    yield item._report_sections  # noqa: SLF001 - see the module
    yield item.user_properties
    yield item.own_markers  # request.applymarker
    xml = item.config.stash.get(xml_key, None)
    if xml is not None:
        yield xml.global_properties  # record_testsuite_property, Hypothesis' statistics


@contextmanager
def _faulthandler_timer(item: pytest.Item) -> Iterator[None]:
    """Stop pytest's own dump timer, which spans all of the item, and start it again."""
    timeout = float(item.config.getini("faulthandler_timeout") or 0.0)
    if timeout <= 0 or fault_handler_stderr_fd_key not in item.config.stash:
        yield
        return
    faulthandler.cancel_dump_traceback_later()
    try:
        yield
    finally:
        faulthandler.dump_traceback_later(timeout, file=item.config.stash[fault_handler_stderr_fd_key])


_PYTESTS_OWN: tuple[Callable[[pytest.Item], AbstractContextManager[None]], ...] = (
    traces.failed_subtests_kept,
    traces.uncaught_errors_kept,
    _faulthandler_timer,
)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Take back what pytest records of the calls inside: output, log records, warnings."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, (CaptureIO, EncodedFile))]
    for stream in streams:
        stream.flush()
    buffers: list[tuple[Any, int]] = [(stream, stream.buffer.seek(0, os.SEEK_CUR)) for stream in cast("Any", streams)]
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, LogCaptureHandler)]
    logs = [(handler, len(handler.records), handler.stream.tell()) for handler in handlers]
    try:
        with warnings.catch_warnings(record=True):
            yield
    finally:
        for stream, position in buffers:
            stream.flush()
            stream.buffer.seek(position)
            stream.buffer.truncate()
        for handler, records, position in logs:
            del handler.records[records:]
            handler.stream.seek(position)
            handler.stream.truncate()


def _drop_finished(entries: list[Any], length: int) -> None:
    """Drop what a run added for function fixtures that are gone: pytest itself would never look at it again."""
    if len(entries) > length:
        entries[length:] = [entry for entry in entries[length:] if not _is_finished(entry)]


def _is_finished(entry: object) -> bool:
    owner = getattr(entry.func, "__self__", None) if isinstance(entry, functools.partial) else None
    return isinstance(owner, FixtureDef) and owner.cached_result is None
