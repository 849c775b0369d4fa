"""
Run a pytest item again, silently, and leave nothing of pytest's own behind; all private pytest API lives here.

The user's own run stays what pytest reports. A repeat is set-up, call and tear-down through the item's hooks, with
``nextitem=item.parent``: that tears function fixtures down and keeps the wider ones (``nextitem=item`` would tear down
nothing, ``None`` everything). Each oddity below was a false leak or a changed outcome until it was cured.
"""

from __future__ import annotations

import functools
import shutil
import sys
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntryNative, ReprFileLocation, ReprTraceback
from _pytest.fixtures import FixtureDef, FuncFixtureInfo
from _pytest.logging import caplog_records_key
from _pytest.runner import CallInfo, get_reraise_exceptions
from _pytest.skipping import evaluate_xfail_marks

from pytest_memguard.errors import LeakError, SubjectFailed
from pytest_memguard.plugin import surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ItemSubject",
    "WideFixtures",
    "can_repeat",
    "empty_item",
    "finish_user_run",
    "may_fail_as_leak",
    "report_failure",
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
    Tear down the function scope of the user's own run, and keep what it left for the reports.

    Returns:
        What the user's own tear-down raised, to be raised again in the tear-down phase; else None.

    """
    call = _phase(item, "teardown")
    return call.excinfo.value if call.excinfo else None


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


def report_failure(
    item: pytest.Item, call: CallInfo[None], error: LeakError, short: str
) -> pytest.TestReport:
    """Report the call phase anew, as failed with *error*; ``xfail`` and every plugin have their say as always."""
    try:
        raise error
    except LeakError:
        call.excinfo = pytest.ExceptionInfo.from_current()
    report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    if report.failed:
        path, line, _ = item.location
        crash = ReprFileLocation(path, (line or 0) + 1, f"{type(error).__name__}: {short or error}")
        entry = ReprTraceback([ReprEntryNative([f"{error}\n"])], None, style="native")
        report.longrepr = ExceptionChainRepr([(entry, crash, None)])
    return report


def empty_item(item: pytest.Item) -> pytest.Function | None:
    """Return a test beside *item* that does nothing and asks for no fixture, not even an automatic one."""
    parent = item.getparent(pytest.Module)
    if parent is None:
        return None
    no_fixtures = FuncFixtureInfo(argnames=(), initialnames=(), names_closure=[], name2fixturedefs={})
    empty: pytest.Function = pytest.Function.from_parent(
        parent, name="memguard_control", callobj=_do_nothing, fixtureinfo=no_fixtures
    )
    return empty


def _do_nothing() -> None:
    pass


def _phase(item: pytest.Item, when: str) -> CallInfo[None]:
    hook = getattr(item.ihook, "pytest_runtest_" + when)  # the name is one of three: nothing new enters the type cache
    arguments = {"nextitem": item.parent} if when == "teardown" else {}
    return CallInfo.from_call(
        functools.partial(hook, item=item, **arguments),
        when=when,  # type: ignore[arg-type] # one of pytest's three
        reraise=get_reraise_exceptions(item.config),
    )


class ItemSubject:
    """
    One pytest item as something that can be run again.

    Use ``with subject.opened():`` around all runs; it puts the item back as pytest expects it.
    """

    def __init__(self, item: pytest.Item, wide: WideFixtures, *, accept_failure: bool = False) -> None:
        self._item: Any = item
        self._wide = wide
        self._accept_failure = accept_failure
        self._reset_instance = _has_own_instance(item)
        self._globs = None
        self.last_failure: BaseException | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Prepare the item for repeats, and put it back afterwards."""
        item = self._item
        sections, properties = len(item._report_sections), len(item.user_properties)  # noqa: SLF001 - see the module
        stash = dict(item.stash._storage)  # noqa: SLF001 - no public copy
        instance = item.__dict__.get("_instance"), item.__dict__.get("_obj")
        with ExitStack() as stack:
            stack.enter_context(_silent_hooks(item.config))
            stack.enter_context(_differing_instances_allowed(item))
            for surrounding in surroundings.ALL:
                stack.enter_context(surrounding(item))
            self._sections, self._properties = sections, properties
            self._reset()
            try:
                yield
            finally:
                self._reset()
                item.stash._storage.clear()  # noqa: SLF001 - see above
                item.stash._storage.update(stash)  # noqa: SLF001 - see above
                item.stash[caplog_records_key] = {}  # the logging plugin deletes it at each tear-down, and reads it
                if self._reset_instance:
                    item._instance, item._obj = instance  # noqa: SLF001 - see the module

    def run(self) -> None:
        """
        Run the item once more.

        Raises:
            SubjectFailed: a phase of this run failed or skipped.

        """
        fixtures = self._wide.alive()
        finalizers = [len(fixture._finalizers) for fixture in fixtures]  # noqa: SLF001 - see the module
        nodes = [(entry[0], len(entry[0])) for entry in self._item.session._setupstate.stack.values()]  # noqa: SLF001
        with warnings.catch_warnings(record=True):
            failure = self._run_phases()
        for fixture, length in zip(fixtures, finalizers, strict=True):
            _drop_finished(fixture._finalizers, length)  # noqa: SLF001 - see the module
        for entries, length in nodes:
            _drop_finished(entries, length)
        self._reset()
        if failure is not None:
            raise SubjectFailed(failure)

    def _run_phases(self) -> str | None:
        item = self._item
        call = _phase(item, "setup")
        failure = self._report(call, "set-up")
        folder = None
        if failure is None:
            call = _phase(item, "call")
            failure = self._report(call, "")
            folder = (item.funcargs or {}).get("tmp_path")
        call = _phase(item, "teardown")
        failure = self._report(call, "tear-down") or failure
        if folder is not None:
            # A re-run's folder is taken away, so that its number is used again (on 3.12 names of paths are immortal).
            shutil.rmtree(folder, ignore_errors=True)
        return failure

    def _report(self, call: CallInfo[None], phase: str) -> str | None:
        item = self._item
        # tmp_path's tear-down and unittest's failures need this hook; the report itself goes nowhere.
        item.ihook.pytest_runtest_makereport(item=item, call=call)
        if call.excinfo is None:
            return None
        error = call.excinfo.value
        if isinstance(error, pytest.skip.Exception):
            return f"it skipped: {error.msg}"
        if self._accept_failure and not phase:
            return None
        text = " ".join(str(error).split())
        return f"{phase + ' ' if phase else ''}failed with {type(error).__name__}{': ' + text[:120] if text else ''}"

    def _reset(self) -> None:
        item = self._item
        del item._report_sections[self._sections :]  # noqa: SLF001 - see the module
        del item.user_properties[self._properties :]
        item._initrequest()  # noqa: SLF001 - see the module
        if self._reset_instance:
            # pytest keeps the instance of a plain class: a test that sets self.x would see it again.
            item.__dict__.pop("_instance", None)
            item._obj = None  # noqa: SLF001 - see the module


def _has_own_instance(item: Any) -> bool:  # noqa: ANN401 - private attributes of several node types
    parent = item.parent
    if not isinstance(parent, pytest.Class) or not isinstance(item, pytest.Function):
        return False
    return not hasattr(item, "_testcase") and getattr(parent.obj, item.originalname, None) is not None and not hasattr(
        item, "_excinfo"
    )


def _drop_finished(entries: list[Any], length: int) -> None:
    """Drop what a run added for function fixtures that are gone: pytest itself would never look at it again."""
    if len(entries) > length:
        entries[length:] = [entry for entry in entries[length:] if not _is_finished(entry)]


def _is_finished(entry: object) -> bool:
    owner = getattr(entry.func, "__self__", None) if isinstance(entry, functools.partial) else None
    return isinstance(owner, FixtureDef) and owner.cached_result is None


@contextmanager
def _silent_hooks(config: pytest.Config) -> Iterator[None]:
    """Let no repeat reach the terminal: sub-tests call ``pytest_runtest_logreport`` themselves."""
    callers = [
        getattr(config.hook, name)
        for name in ("pytest_runtest_logreport", "pytest_warning_recorded", "pytest_exception_interact")
    ]
    # Swapping the executor covers the per-directory proxies as well: they share the original's (pluggy 1.x).
    executors = [caller._hookexec for caller in callers]  # noqa: SLF001 - no public way
    for caller in callers:
        caller._hookexec = _no_call  # noqa: SLF001 - see above
    try:
        yield
    finally:
        for caller, executor in zip(callers, executors, strict=True):
            caller._hookexec = executor  # noqa: SLF001 - see above


def _no_call(*_arguments: object) -> list[object]:
    return []


@contextmanager
def _differing_instances_allowed(item: Any) -> Iterator[None]:  # noqa: ANN401 - see _has_own_instance
    """Keep Hypothesis from refusing a ``@given`` method on a new instance, as its own plugin does for parameters."""
    function = getattr(getattr(item, "obj", None), "__func__", None)
    if function is None or not getattr(function, "is_hypothesis_test", False):
        yield
        return
    hypothesis = sys.modules["hypothesis"]
    name = "_hypothesis_internal_use_settings"
    before = getattr(function, name, None)
    parent = before or hypothesis.settings.default
    checks = (*parent.suppress_health_check, hypothesis.HealthCheck.differing_executors)
    setattr(function, name, hypothesis.settings(parent=parent, suppress_health_check=checks))
    try:
        yield
    finally:
        setattr(function, name, before)
