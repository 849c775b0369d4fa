"""The ``memguard`` fixture: leak checks of a callable, a block or an object, inside a test."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard import marks, registry
from pytest_memguard.core.units import signed
from pytest_memguard.core.values import GC_OBJECTS, Level, Phase, SubjectResult
from pytest_memguard.engine import settle
from pytest_memguard.engine.assess import Identity, assess, not_measured
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.engine.watch import Budget, Watch
from pytest_memguard.errors import LeakError
from pytest_memguard.plugin import guarding
from pytest_memguard.plugin.plans import plan_for
from pytest_memguard.renderers import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pytest_memguard.engine.watch import Record

__all__ = ["MemoryGuard"]

_EXPECTATIONS = "memguard-expectations"


class _CallableSubject:
    """A callable and its arguments; what it raises is the user's own and goes to the test."""

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def run(self) -> None:
        """Call it once more, and drop what it returns."""
        self._function(*self._args, **self._kwargs)


class MemoryGuard:
    """
    What the ``memguard`` fixture gives: checks that a test makes itself.

    A test that uses it is not run again as a whole, unless it is marked ``no_leak`` too.
    """

    def __init__(self, request: pytest.FixtureRequest, mark: marks.MarkSettings | None = None) -> None:
        self._request = request
        self._item: Any = request.node
        self._mark = mark or marks.MarkSettings()

    def using(self, **settings: Any) -> MemoryGuard:  # noqa: ANN401 - the arguments of no_leak
        """
        Return a guard with settings of its own: the arguments of the marker ``no_leak``.

        Raises:
            ConfigError: an argument is wrong; the message names the nearest valid one.

        """
        return MemoryGuard(self._request, marks.read_no_leak((), settings, self._item.nodeid))

    def check(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> SubjectResult:  # noqa: ANN401 - the callable's own
        """
        Call *function* until it is clear whether it leaks; nothing of pytest runs between the calls.

        Args:
            function: Called with *args* and *kwargs*; its first call is warm-up.

        Returns:
            The result; also of a callable that could not be measured, and why.

        Raises:
            LeakError: it leaks.

        """
        self._item._memguard_checked = True  # noqa: SLF001 - our own attribute
        name = getattr(function, "__qualname__", type(function).__qualname__)
        path, line, _ = self._item.location
        identity = Identity(f"{self._item.nodeid}::{name}", "callable", path, (line or 0) + 1)
        subject = _CallableSubject(function, args, kwargs)
        subject.run()
        guard = self._request.config.pluginmanager.get_plugin("memguard-guard")
        if guard is not None and guard.is_repeating:
            return not_measured(identity, Level.SKIPPED, "the test around it is being measured")
        result = assess(self._measured(subject), identity)
        self._keep(guard, result)
        if result.verdict.level is Level.LEAK:
            raise LeakError(terminal.failure(result))
        return result

    def _measured(self, subject: _CallableSubject) -> Record:
        settings = guarding.start(self._request.config).settings
        plan = plan_for(settings, self._mark, curious=True)
        budget = Budget(settings.budget_s, min(2.0, settings.budget_s / 4))
        watching = Watch(subject, self._recorder(), plan, budget, check=registry.holder_check, reset=self._mark.reset,
            chunks=registry.chunk_cache(),
        )
        return watching.measure()

    def _recorder(self) -> Recorder:
        config = self._request.config
        if _RECORDER not in config.stash:
            config.stash[_RECORDER] = Recorder(registry.probes())
        return config.stash[_RECORDER]

    def _keep(self, guard: Any, result: SubjectResult) -> None:  # noqa: ANN401 - the guard, or None
        if guard is not None:
            guard.add(result)
        elif not guarding.is_worker(self._request.config):
            guarding.start(self._request.config).results.append(result)

    @contextmanager
    def no_growth(self, *, allow: float = 0) -> Iterator[None]:
        """
        Fail if the block leaves more behind than it found: blocks, descriptors, threads, children, tasks.

        The block runs once, so what it keeps on its first run only (an import, a cache) counts as well: warm it up.

        Args:
            allow: Blocks that may stay.

        Raises:
            LeakError: something stayed; the message says how much of what.

        """
        recorder = self._recorder()
        recorder.clear()
        with settle.frozen():
            self._rest()
            recorder.read(Phase.SCREEN)
            self._rest()
            recorder.read(Phase.SCREEN)  # the first reading's own traces are in the second
            yield
            self._rest()
            recorder.read(Phase.SCREEN)
        grown = _grown(recorder, allow)
        if grown:
            raise LeakError(f"the block left {', '.join(grown)} behind")

    def _rest(self) -> None:
        settle.purge()
        with settle.quiet_finalizers():
            settle.collect()

    def expect_collected(self, *objects: object) -> None:
        """
        Fail the test if one of *objects* is still alive once the test function has returned.

        Raises:
            TypeError: an object cannot be referred to weakly.

        """
        manager = self._request.config.pluginmanager
        if not manager.hasplugin(_EXPECTATIONS):
            manager.register(_Expectations(), _EXPECTATIONS)
        expectations = manager.get_plugin(_EXPECTATIONS)
        for one in objects:
            expectations.add(self._item, one)


_RECORDER = pytest.StashKey[Recorder]()


def _grown(recorder: Recorder, allow: float) -> list[str]:
    readings = recorder.readings()
    grown = []
    for series in readings.series():
        metric, amount = series.metric, series.values[-1] - series.values[-2]
        if metric.exact and metric != GC_OBJECTS and amount > (0 if metric.resource else allow):
            grown.append(f"{signed(amount, metric.unit)} {metric.name.replace('_', ' ')}")
    return grown


class _Expectations:
    """Looks, when a call phase is over, whether what should be gone is gone."""

    def __init__(self) -> None:
        self._expected: list[tuple[str, weakref.ref[object]]] = []
        self._item: object = None

    def add(self, item: object, expected: object) -> None:
        """Remember *expected* for the test that runs now."""
        if self._item is not item:
            self._item, self._expected = item, []
        self._expected.append((f"{type(expected).__module__}.{type(expected).__qualname__}", weakref.ref(expected)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Raise LeakError in the call phase for what is still alive."""
        result = yield
        if self._item is item:
            expected, self._expected, self._item = self._expected, [], None
            gc.collect()
            alive = [name for name, reference in expected if reference() is not None]
            if alive:
                raise LeakError(f"still alive after the test: {', '.join(alive)}")
        return result

