"""
The pytest plugin: hooks only.

How a verdict is made: the user's own run of a test is reported as always. Once its call phase has passed,
``session.Guard`` closes the function scope, lets ``engine.watch`` run the test again and read counters until
``core.ladder`` says stop, has ``core.verdict`` judge, and turns a leak into a failed call phase.

Everything heavy is imported only once a test is to be checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.plugin import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_memguard.plugin.fixtures import MemoryGuard
    from pytest_memguard.plugin.scenarios import ScenarioService

_MARKERS = (
    (
        "no_leak(mode=, confidence=, policy=, max_runs=, allow=, metrics=, reset=, only_if_passed=): "
        "run the test again and fail it if it leaks"
    ),
    "memguard_skip(reason): never run the test again to look for leaks",
    "limit_memory(size): fail the test if one run allocates more than this at its peak, as in '24 MB'",
    "no_cycles(max=0): fail the test if one run leaves more objects that only the garbage collector frees",
    "memguard_scenario(file, undecided='fail'): load the service of this scenario, and fail the test if it leaks",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Teach pytest the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Announce the markers, and refuse wrong settings before anything runs."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if options.anything_set(config):
        _guarding().start(config)
    if hasattr(config.hook, "pytest_testnodedown") and not hasattr(config, "workerinput"):  # pytest-xdist's
        config.pluginmanager.register(_Receiver(config), "memguard-receiver")


class _Receiver:
    """Takes over what xdist workers measured."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take over the results that came with a report."""
        if "memguard" in report.__dict__:
            _guarding().take_over(self._config, report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - an xdist class
        """Give a worker the baseline."""
        if options.is_guarding(self._config):
            _guarding().hand_over(self._config, node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take over a finished worker's own figures, or its complaint."""
        if {"memguard", "memguard-error"} & set(getattr(node, "workeroutput", ())):
            _guarding().take_over_worker(self._config, node)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin to guard once a test is to be checked."""
    if any(item.get_closest_marker("memguard_scenario") for item in items):
        from pytest_memguard.plugin import scenarios  # noqa: PLC0415 - only where there is a scenario

        scenarios.collected(config, items)
    if options.anything_set(config) or any(_is_marked(item) for item in items):
        _guarding().collected(config, items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the document; also after Ctrl-C and -x, with what was measured until then."""
    if options.is_guarding(session.config):
        _guarding().finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was found."""
    if options.is_guarding(config):
        _guarding().summarize(terminalreporter, config)
        from pytest_memguard.plugin import ci  # noqa: PLC0415 - only where something is shown

        ci.tell(terminalreporter, config)


@pytest.fixture
def memguard(request: pytest.FixtureRequest) -> MemoryGuard:
    """Check a callable, a block or an object for leaks, inside a test."""
    from pytest_memguard.plugin.fixtures import MemoryGuard  # noqa: PLC0415 - only where it is used

    return MemoryGuard(request)


@pytest.fixture
def memguard_service(request: pytest.FixtureRequest) -> Iterator[ScenarioService]:
    """Run the service of the test's scenario (marker ``memguard_scenario``), and soak it."""
    from pytest_memguard.plugin.scenarios import service_of  # noqa: PLC0415 - only where it is used

    service = service_of(request.node)
    yield service
    service.stop()


def _is_marked(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("no_leak", "limit_memory", "no_cycles", "memguard_skip"))


def _guarding() -> Any:  # noqa: ANN401 - a module, imported only where it is needed
    from pytest_memguard.plugin import guarding  # noqa: PLC0415 - see above

    return guarding
