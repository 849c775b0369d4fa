"""
A scenario as a test: the marker ``memguard_scenario`` and the fixture ``memguard_service``.

A marked test is soaked once its own body has passed, unless it has measured its scenario itself. It is never run again
by the guard: a soak is a measurement by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard import store
from pytest_memguard.core.values import Level
from pytest_memguard.errors import ConfigError, CouldNotRun, LeakError
from pytest_memguard.plugin import baselines, guarding
from pytest_memguard.renderers import terminal
from pytest_memguard.scenario import footprint, kept
from pytest_memguard.scenario.launch import Service
from pytest_memguard.scenario.spec import Scenario
from pytest_memguard.scenario.tables import changes_table

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_memguard.core.values import SubjectResult
    from pytest_memguard.scenario.footprint import FootprintComparison
    from pytest_memguard.scenario.soak import SoakResult

__all__ = ["MARKER", "ScenarioService", "collected", "service_of"]

MARKER = "memguard_scenario"

_PLUGIN = "memguard-scenarios"
_UNDECIDED = ("fail", "pass")
_SERVICE = pytest.StashKey["ScenarioService"]()


def collected(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Check the markers, keep the guard from running their tests again, and wait for their call phases.

    Raises:
        pytest.UsageError: a marker has a wrong argument.

    """
    for item in items:
        if item.get_closest_marker(MARKER) is not None:
            try:
                _arguments(item)
            except ConfigError as error:
                raise pytest.UsageError(str(error)) from error
            item.add_marker(pytest.mark.memguard_skip("its scenario is measured instead"))
    if not config.option.collectonly and not config.pluginmanager.has_plugin(_PLUGIN):
        config.pluginmanager.register(_Scenarios(), _PLUGIN)
        guarding.guard_of(config)  # before the first test, as it notes what each phase does


class _Scenarios:
    """The hook around the call phase of marked tests."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Soak the scenario once the body of the test has passed."""
        __tracebackhide__ = True
        result = yield
        if item.get_closest_marker(MARKER) is not None:
            service = service_of(item)
            if not service.is_measured and guarding.start(item.config).settings.check != "off":
                service.soak()
        return result


def service_of(item: pytest.Item) -> ScenarioService:
    """Return what the fixture gives to a test, the same one each time."""
    if _SERVICE not in item.stash:
        item.stash[_SERVICE] = ScenarioService(item)
    return item.stash[_SERVICE]


class ScenarioService:
    """
    What the fixture ``memguard_service`` gives: the service of the test's scenario.

    It is started when its URL is asked for, and ends with the test, or when the scenario is soaked.

    Attributes:
        scenario: As the file has it.
        is_measured: Whether the test has had it soaked, or its footprint compared.

    Raises:
        ConfigError: the test has no scenario, or a wrong one.

    """

    def __init__(self, item: pytest.Item) -> None:
        file, self._undecided = _arguments(item)
        self._item = item
        self._guard = guarding.guard_of(item.config)
        self._running: Service | None = None
        self.scenario = Scenario.load(_found(file, item))
        self.is_measured = False

    @property
    def url(self) -> str:
        """
        The URL of the service, which runs from now on.

        Raises:
            CouldNotRun: it does not start, or has ended.

        """
        self.pids()
        return self.scenario.url

    def pids(self) -> tuple[int, ...]:
        """
        Return the numbers of its processes; it runs from now on.

        Raises:
            CouldNotRun: it does not start, or has ended.

        """
        if self._running is None:
            service = Service(self.scenario.service, url=self.scenario.url)
            self._running = service.__enter__()
        if self._running.died:
            raise CouldNotRun(f"{self._running.name}: {self._running.died}")
        return self._running.pids()

    def stop(self) -> None:
        """End the service; harmless if it does not run."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def soak(self) -> SubjectResult:
        """
        Run the whole scenario, with a service of its own, and return the verdict.

        Raises:
            LeakError: it leaks.
            CouldNotRun: it could not be run to its end; what was measured is in the document.

        """
        __tracebackhide__ = True
        from pytest_memguard.scenario.soak import soak  # noqa: PLC0415 - where something is soaked

        self.stop()
        self.is_measured = True
        found = soak(self.scenario)
        result = guarding.guarding_of(self._item.config).judged(self._named(found.result))
        self._guard.add(result)
        self._refuse(found, result)
        return result

    def baseline(self, *, runs: int = 1) -> FootprintComparison | None:
        """
        Measure what the service takes and keeps at each step, and compare it with what ``memguard baseline`` saved.

        Returns:
            What has changed; None where nothing was saved for this environment.

        Raises:
            AssertionError: it takes or keeps more than before.
            CouldNotRun: it did not start, or did not answer.

        """
        __tracebackhide__ = True
        from pytest_memguard.scenario import stages  # noqa: PLC0415 - where it is measured

        self.stop()
        self.is_measured = True
        environment = store.environment()
        place = kept.place_of(self.scenario, environment)
        if not place.exists():
            return None
        after = stages.measure(self.scenario, runs=runs, environment=environment)
        found = footprint.compare(kept.read(place), after)
        if found.refused:
            pytest.fail(f"the footprint is not compared: {found.refused}")
        if found.worse:
            raise AssertionError(f"{self.scenario.name} takes more than before\n{changes_table(found)}")
        return found

    def _named(self, result: SubjectResult) -> SubjectResult:
        """Return *result* under the name of the test."""
        path, line, _ = self._item.location
        worker = guarding.worker_of(self._item.config)
        return replace(result, id=guarding.id_of(self._item), file=path, line=(line or 0) + 1, worker=worker)

    def _refuse(self, found: SoakResult, result: SubjectResult) -> None:
        """Fail the test where the scenario did not end well."""
        __tracebackhide__ = True
        fail_on = guarding.guarding_of(self._item.config).settings.fail_on
        outcome, reason = found.outcome.value, result.verdict.reason
        if outcome == "interrupted":
            raise KeyboardInterrupt
        if outcome == "could not run":
            raise CouldNotRun(f"{self.scenario.name}: {reason}")
        if result.verdict.level is Level.LEAK and fail_on != "never" and baselines.may_fail(result, fail_on):
            raise LeakError(terminal.failure(result))
        if outcome == "limit":
            pytest.fail(f"{self.scenario.name}: {reason}", pytrace=False)
        if outcome == "undecided" and self._undecided == "fail":
            pytest.fail(f"{self.scenario.name}: not decided: {reason}", pytrace=False)


def _arguments(item: pytest.Item) -> tuple[str, str]:
    """
    Return file and ``undecided`` of the marker of a test.

    Raises:
        ConfigError: there is none, or it has other arguments.

    """
    marker = item.get_closest_marker(MARKER)
    right = f"write @pytest.mark.{MARKER}('shop.toml')"
    if marker is None:
        raise ConfigError(f"{item.nodeid}: memguard_service needs a scenario; {right}")
    named: dict[str, Any] = dict(marker.kwargs)
    undecided = named.pop("undecided", "fail")
    if len(marker.args) != 1 or not isinstance(marker.args[0], str) or named:
        raise ConfigError(f"{item.nodeid}: {MARKER} takes one file, and undecided='fail' or 'pass'; {right}")
    if undecided not in _UNDECIDED:
        raise ConfigError(f"{item.nodeid}: {MARKER}: undecided = {undecided!r} is neither 'fail' nor 'pass'")
    return marker.args[0], undecided


def _found(file: str, item: pytest.Item) -> Path | str:
    """Return the file beside the test, or below the root; a name of a scenario in pyproject.toml as it is."""
    name, _, part = file.partition("#")
    for folder in (item.path.parent, item.config.rootpath):
        if (folder / name).is_file():
            return f"{folder / name}#{part}" if part else folder / name
    pyproject = item.config.rootpath / "pyproject.toml"
    if not name.endswith((".toml", ".json")) and pyproject.is_file():
        return f"{pyproject}#{file}"
    places = f"{item.path.parent} and {item.config.rootpath}"
    raise ConfigError(f"{item.nodeid}: {MARKER}: {file!r} is in neither of {places}")
