"""
What must hold still, or must not notice, while an item is repeated: one context manager each.

Timer, coverage, random numbers, live logs, standard output, doctest globals. Each leaves as it found.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ALL", "AROUND_CALLABLES", "drop_doctest_globals", "keep_doctest_globals"]


@contextmanager
def _environment_variable(_item: pytest.Item) -> Iterator[None]:
    """Put back the variable that names the running test: pytest clears it at each tear-down."""
    before = os.environ.get("PYTEST_CURRENT_TEST")
    try:
        yield
    finally:
        if before is not None:
            os.environ["PYTEST_CURRENT_TEST"] = before


@contextmanager
def _timeout_timer(item: pytest.Item) -> Iterator[None]:
    """Stop pytest-timeout's timer, which spans all of the item: the engine keeps a budget of its own."""
    timeouts = sys.modules.get("pytest_timeout")
    hook = getattr(item.config.hook, "pytest_timeout_cancel_timer", None)
    if timeouts is None or hook is None:
        yield
        return
    settings = timeouts._get_item_settings(item)  # noqa: SLF001 - its set hook wants them
    spans_item = bool(settings.timeout and settings.timeout > 0 and not settings.func_only)
    if spans_item:
        hook(item=item)
    try:
        yield
    finally:
        if spans_item:
            item.config.hook.pytest_timeout_set_timer(item=item, settings=settings)


@contextmanager
def _reruns_of_failures(item: pytest.Item) -> Iterator[None]:
    """Hide the item from pytest-rerunfailures, which would hold wider fixtures back where a repeat fails."""
    count = vars(item).pop("execution_count", None)
    try:
        yield
    finally:
        if count is not None:
            vars(item)["execution_count"] = count


@contextmanager
def _coverage(item: pytest.Item) -> Iterator[None]:
    """Pause coverage: it keeps a tracer for every thread a repeat starts, and has seen the user's own run."""
    module = sys.modules.get("coverage")
    current = module.Coverage.current() if module is not None else None
    if current is None:
        yield
        return
    contexts: Any = item.config.pluginmanager.get_plugin("_cov_contexts")
    if contexts is not None:
        contexts.switch_context = _do_nothing  # --cov-context=test: coverage refuses that while it is paused
    current.stop()
    try:
        yield
    finally:
        current.start()
        if contexts is not None:
            del contexts.switch_context


def _do_nothing(*_arguments: object) -> None:
    pass


@contextmanager
def _random_numbers(_item: pytest.Item) -> Iterator[None]:
    """Give the random generators their state back, so that later tests see the numbers of a plain run."""
    random = sys.modules.get("random")
    # Besides the standard library's the one generator of a whole process that test suites draw from.
    numpy_random = sys.modules.get("numpy.random")
    state = random.getstate() if random is not None else None
    numpy_state = numpy_random.get_state() if numpy_random is not None else None
    try:
        yield
    finally:
        if random is not None:
            random.setstate(state)
        if numpy_random is not None:
            numpy_random.set_state(numpy_state)


@contextmanager
def _live_logs(item: pytest.Item) -> Iterator[None]:
    """Keep repeats out of live logs and of the log file."""
    plugin = item.config.pluginmanager.get_plugin("logging-plugin")
    found = [getattr(plugin, name, None) for name in ("log_cli_handler", "log_file_handler")]
    handlers = [handler for handler in found if handler is not None]
    for handler in handlers:
        handler.addFilter(_nothing_passes)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_nothing_passes)


def _nothing_passes(_record: object) -> bool:
    return False


@contextmanager
def _standard_output(item: pytest.Item) -> Iterator[None]:
    """Print what a test prints once, not once a run, where pytest does not capture it, or lets it through."""
    captures = item.config.pluginmanager.hasplugin("capturemanager")
    if captures and item.config.getoption("capture", "fd") not in ("no", "tee-sys"):
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere,  # noqa: PTH123 - os.devnull is no Path
        _descriptor_at(1, nowhere.fileno()),
        _descriptor_at(2, nowhere.fileno()),
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        yield


@contextmanager
def _descriptor_at(number: int, other: int) -> Iterator[None]:
    """Let descriptor *number* lead where *other* does; child processes and C code write to it directly."""
    _flush()
    try:
        kept = os.dup(number)
    except OSError:  # closed
        yield
        return
    os.dup2(other, number)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, number)
        os.close(kept)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()


@contextmanager
def _setup_show(item: pytest.Item) -> Iterator[None]:
    """Under ``--setup-show``, show the fixtures of a test once."""
    option = item.config.option
    shows = getattr(option, "setupshow", False)
    option.setupshow = False
    try:
        yield
    finally:
        option.setupshow = shows


@contextmanager
def _breakpoints(_item: pytest.Item) -> Iterator[None]:
    """Let no repeat stop in the debugger: that it would is reason enough not to measure."""
    pdb = sys.modules.get("pdb")
    places = [(sys, "breakpointhook"), (pytest, "set_trace"), *([(pdb, "set_trace")] if pdb is not None else [])]
    kept = [(module, name, getattr(module, name)) for module, name in places]
    if os.environ.get("PYTHONBREAKPOINT") == "0":
        kept = kept[1:]
    for module, name, _ in kept:
        setattr(module, name, _refuse)
    try:
        yield
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


def _refuse(*_arguments: object, **_options: object) -> None:
    pytest.fail("it stops in the debugger")


@contextmanager
def _doctest_globals(item: Any) -> Iterator[None]:  # noqa: ANN401 - DoctestItem is imported by pytest when needed
    """Let each repeat of a doctest start from the globals that the first run found."""
    kept = getattr(item, "_memguard_globals", None)
    if kept is None:
        yield
        return
    setup = item.setup

    def fresh_setup() -> None:
        item.dtest.globs.clear()
        item.dtest.globs.update(kept)
        setup()

    item.setup = fresh_setup
    try:
        yield
    finally:
        del item.setup


def keep_doctest_globals(item: Any) -> None:  # noqa: ANN401 - see _doctest_globals
    """Copy a doctest's globals before its first run empties them."""
    if getattr(item, "dtest", None) is not None:
        item._memguard_globals = dict(item.dtest.globs)  # noqa: SLF001 - our own attribute


def drop_doctest_globals(item: pytest.Item) -> None:
    """Forget the copy: a suite may have thousands of doctests."""
    vars(item).pop("_memguard_globals", None)


ALL: tuple[Callable[[Any], Any], ...] = (
    _environment_variable,
    _timeout_timer,
    _reruns_of_failures,
    _coverage,
    _random_numbers,
    _live_logs,
    _standard_output,
    _setup_show,
    _breakpoints,
    _doctest_globals,
)
#: For a callable, which a test itself calls many times; that has a time limit of its own.
AROUND_CALLABLES = (_coverage, _random_numbers, _live_logs, _standard_output, _breakpoints)
