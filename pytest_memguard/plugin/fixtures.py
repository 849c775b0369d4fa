"""The ``memguard`` fixture: leak checks of a callable, a block or an object, inside a test."""

from __future__ import annotations

import functools
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard import marks, registry
from pytest_memguard.core.units import signed
from pytest_memguard.core.values import GC_OBJECTS, THREADS, Level, SubjectResult
from pytest_memguard.engine import settle
from pytest_memguard.engine.assess import Identity, assess, not_measured
from pytest_memguard.engine.recorder import Recorder, rest_and_read, warm_up
from pytest_memguard.engine.watch import Watch
from pytest_memguard.errors import LeakError
from pytest_memguard.plugin import baselines, guarding, repeat, surroundings
from pytest_memguard.plugin.explaining import Measured, about_function
from pytest_memguard.plugin.plans import budget_for, plan_for
from pytest_memguard.renderers import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from pytest_memguard.engine.watch import Record

__all__ = ["MemoryGuard"]


class _CallableSubject:
    """A callable and its arguments; what it raises is the user's own and goes to the test."""

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def call(self) -> None:
        """Call it for the first time; what it prints, logs and warns is the test's."""
        self._function(*self._args, **self._kwargs)

    def run(self) -> None:
        """Call it once more, and drop what it returns."""
        with repeat.unrecorded():
            self._function(*self._args, **self._kwargs)


class MemoryGuard:
    """
    What the ``memguard`` fixture gives: checks that a test makes itself.

    A test that uses ``check`` is not run again as a whole, unless it is marked ``no_leak`` too.
    """

    def __init__(
        self, request: pytest.FixtureRequest, mark: marks.MarkSettings | None = None, checked: list[str] | None = None
    ) -> None:
        self._request = request
        self._item: Any = request.node
        self._guard = guarding.guard_of(request.config)
        self._mark = mark or marks.MarkSettings()
        self._checked = checked if checked is not None else []

    def using(self, **settings: Any) -> MemoryGuard:  # noqa: ANN401 - the arguments of no_leak
        """
        Return a guard with settings of its own: the arguments of the marker ``no_leak``.

        Raises:
            ConfigError: an argument is wrong; the message names the nearest valid one.

        """
        return MemoryGuard(self._request, marks.read_no_leak((), settings, self._item.nodeid), self._checked)

    def check(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> SubjectResult:  # noqa: ANN401 - the callable's own
        """
        Call *function* until it is clear whether it leaks; nothing of pytest runs between the calls.

        Args:
            function: What is called; its first call is warm-up.
            *args: Its arguments.
            **kwargs: Its named arguments.

        Returns:
            The result; also of a callable that could not be measured, and why.

        Raises:
            LeakError: it leaks.

        """
        __tracebackhide__ = True
        self._item._memguard_checked = True  # noqa: SLF001 - our own attribute
        identity = self._identity(function)
        subject = _CallableSubject(function, args, kwargs)
        subject.call()
        if self._guard.is_repeating:
            return not_measured(identity, Level.SKIPPED, "the test around it is being measured")
        record = self._measured(subject)
        result = self._explained(assess(record, identity), record, subject, function)
        self._guard.add(result)
        if result.verdict.level is Level.LEAK and baselines.may_fail(result, self._fail_on):
            raise LeakError(terminal.failure(result))
        return result

    def _identity(self, function: Callable[..., object]) -> Identity:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        self._checked.append(name)
        times = self._checked.count(name)
        path, line, _ = self._item.location
        identity = f"{guarding.id_of(self._item)}::{name}" + (f"[{times}]" if times > 1 else "")
        return Identity(identity, "callable", path, (line or 0) + 1, guarding.worker_of(self._request.config))

    def _measured(self, subject: _CallableSubject) -> Record:
        settings = guarding.start(self._request.config).settings
        plan = plan_for(settings, self._mark, curious=True)
        budget = budget_for(settings.budget_s)
        with self._surrounded():
            return Watch(
                subject,
                self._recorder(),
                plan,
                budget,
                check=registry.holder_check,
                reset=self._mark.reset,
                chunks=registry.chunk_cache(),
            ).measure()

    def _explained(
        self, result: SubjectResult, record: Record, subject: _CallableSubject, function: Callable[..., object]
    ) -> SubjectResult:
        about = functools.partial(about_function, function, self._item)
        explaining = self._guard.explaining
        with self._surrounded():
            measured = Measured(subject, self._recorder(), about, self._mark.reset, record.seen)
            result = explaining.explained(result, measured)
        return guarding.guarding_of(self._request.config).judged(result)

    @property
    def _fail_on(self) -> str:
        return guarding.guarding_of(self._request.config).settings.fail_on

    @contextmanager
    def _surrounded(self) -> Iterator[None]:
        with ExitStack() as stack:
            for surrounding in surroundings.AROUND_CALLABLES:
                stack.enter_context(surrounding(self._item))
            yield

    def _recorder(self) -> Recorder:
        config = self._request.config
        if _RECORDER not in config.stash:
            config.stash[_RECORDER] = Recorder(registry.probes())
        return config.stash[_RECORDER]

    def no_growth(self, *, allow: float = 0) -> AbstractContextManager[None]:
        """
        Fail if the block leaves more behind than it found: blocks, descriptors, threads, children, tasks.

        The block runs once, so what it keeps on its first run only (an import, a cache) counts as well: warm it up.
        So does what it gives a name: a variable lives on until the function returns.

        Args:
            allow: Blocks that may stay.

        Raises:
            LeakError: something stayed; the message says how much of what.

        """
        _warm_up()
        return _NoGrowth(allow, freezes=not self._guard.is_repeating)

    def expect_collected(self, *objects: object) -> None:
        """
        Fail the test if one of *objects* is still alive once the test function has returned.

        Raises:
            TypeError: an object cannot be referred to weakly.

        """
        for one in objects:
            self._guard.expectations.add(self._item, one)


_RECORDER = pytest.StashKey[Recorder]()
_READINGS = 3


@functools.cache
def _warm_up() -> None:
    """Have every function called that reads: Python 3.10 keeps the frame of a first call."""
    warm_up(registry.probes())
    with suppress(LeakError), _NoGrowth(0, freezes=False):
        pass


class _NoGrowth:
    """A block of a test, read before and after."""

    def __init__(self, allow: float, *, freezes: bool) -> None:
        self._allow = allow
        self._recorder = Recorder(registry.probes(), capacity=_READINGS)
        self._stack = ExitStack()
        # A measurement around this one has frozen the heap already, and would find it thawed.
        self._freezes = freezes
        self._threads = 0

    def __enter__(self) -> None:
        if self._freezes:
            self._stack.enter_context(settle.frozen())
        self._threads = self._recorder.counter(THREADS)()
        self._read()
        self._read()  # the first reading's own traces are in the second

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        with self._stack:
            if kind is None:
                self._read()
        grown = self._grown() if kind is None else []
        if grown:
            raise LeakError(f"the block left {', '.join(grown)} behind")

    def _read(self) -> None:
        settle.wait_for_threads(self._recorder.counter(THREADS), self._threads)
        rest_and_read(self._recorder)

    def _grown(self) -> list[str]:
        grown = []
        for series in self._recorder.readings().series():
            metric, amount = series.metric, series.values[-1] - series.values[-2]
            if metric.exact and metric != GC_OBJECTS and amount > (0 if metric.resource else self._allow):
                grown.append(f"{signed(amount, metric.unit)} {metric.name.replace('_', ' ')}")
        return grown
