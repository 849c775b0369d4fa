"""
What repeats leave in pytest and in its plugins, and how it is taken back: folders, reports, errors, examples.

Like ``repeat``, this knows names that are not public; it imports none of them, and does without where they are missing.
"""

from __future__ import annotations

import shutil
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest

__all__ = ["Examples", "Folders", "Silence", "failed_subtests_kept", "uncaught_errors_kept"]


class Silence:
    """
    Lets no repeat reach the terminal: sub-tests call ``pytest_runtest_logreport`` themselves.

    Attributes:
        failed: Whether a report that was kept back says that something failed.

    """

    def __init__(self, config: pytest.Config) -> None:
        self.failed = False
        hooks = config.hook
        self._callers = (
            hooks.pytest_runtest_logreport,
            hooks.pytest_warning_recorded,
            hooks.pytest_exception_interact,
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the hooks silent."""
        # Swapping the executor covers the per-directory proxies as well: they share the original's (pluggy 1.x).
        executors = [caller._hookexec for caller in self._callers]  # noqa: SLF001 - no public way
        for caller in self._callers:
            caller._hookexec = self._note  # type: ignore[misc] # noqa: SLF001 - see above
        try:
            yield
        finally:
            for caller, executor in zip(self._callers, executors, strict=True):
                caller._hookexec = executor  # type: ignore[misc] # noqa: SLF001 - see above

    def _note(self, _name: str, _methods: object, arguments: Mapping[str, Any], _first: bool) -> list[object]:  # noqa: FBT001 - pluggy's
        report = arguments.get("report")
        self.failed = self.failed or (report is not None and report.failed)
        return []


class Folders:
    """
    The temporary folders that repeats make, by ``tmp_path`` or by ``tmp_path_factory``.

    They are taken away after each run, so that nothing piles up and their numbers are used again (names of paths are
    immortal on Python 3.12).
    """

    def __init__(self, config: pytest.Config) -> None:
        self._factory: Any = getattr(config, "_tmp_path_factory", None)
        self._made: list[tuple[Path, str]] = []
        self._numbers: dict[str, int] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note every folder that is made from here on."""
        if self._factory is None or "mktemp" in vars(self._factory):
            yield
            return
        self._numbers = dict(getattr(self._factory, "_next_number", {}))  # pytest 9.2 and later count by themselves
        self._factory.mktemp = self._make
        try:
            yield
        finally:
            del self._factory.mktemp

    def _make(self, basename: str, numbered: bool = True) -> Path:  # noqa: FBT001, FBT002 - pytest's signature
        path: Path = type(self._factory).mktemp(self._factory, basename, numbered)
        self._made.append((path, basename))
        return path

    def take_away(self, *, keep: bool) -> None:
        """Remove what was made since the last time, unless it is to be kept."""
        if not self._made:
            return
        for path, basename in reversed(() if keep else self._made):
            shutil.rmtree(path, ignore_errors=True)
            self._count_back(path, basename)
        self._made.clear()

    def _count_back(self, path: Path, basename: str) -> None:
        """Let the link to the newest folder point to the one before it, and the next one have the same number."""
        numbers = getattr(self._factory, "_next_number", None)
        if numbers is not None:
            numbers.clear()
            numbers.update(self._numbers)
        link = path.with_name(f"{basename}current")
        number = path.name[len(basename) :]
        if number.isdecimal() and link.is_symlink():
            link.unlink()
            before = path.with_name(f"{basename}{int(number) - 1}")
            if before.is_dir():
                link.symlink_to(before)


@contextmanager
def failed_subtests_kept(item: pytest.Item) -> Iterator[None]:
    """Let no sub-test that fails in a repeat fail the test: pytest 9 counts them by test."""
    key = getattr(sys.modules.get("_pytest.subtests"), "failed_subtests_key", None)
    counts = item.config.stash.get(key, None) if key is not None else None
    if counts is None:
        yield
        return
    before = dict(counts)
    try:
        yield
    finally:
        counts.clear()
        counts.update(before)


@contextmanager
def uncaught_errors_kept(item: pytest.Item) -> Iterator[None]:
    """Drop what threads and finalizers of repeats raise, and keep what the user's run raised for its tear-down."""
    queues = [queue for module, name in _QUEUES if (queue := _queue(item, module, name)) is not None]
    waiting = [tuple(queue) for queue in queues]
    hooks = sys.unraisablehook, threading.excepthook
    for queue in queues:
        queue.clear()
    sys.unraisablehook = threading.excepthook = _do_nothing_with
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        for queue, entries in zip(queues, waiting, strict=True):
            queue.clear()
            queue.extend(entries)


#: Where pytest 8.4 and later keep such errors until the next phase ends.
_QUEUES = (
    ("_pytest.unraisableexception", "unraisable_exceptions"),
    ("_pytest.threadexception", "thread_exceptions"),
)


def _queue(item: pytest.Item, module: str, name: str) -> deque[Any] | None:
    key = getattr(sys.modules.get(module), name, None)
    return item.config.stash.get(key, None) if key is not None else None


def _do_nothing_with(_error: object, /) -> None:
    pass


class Examples:
    """
    Lets Hypothesis draw the same few examples at each repeat, and leave its database alone.

    With other examples at each run its own caches fill for thousands of runs. A ``@given`` method would be refused
    on a new instance (its own plugin allows that for parametrized tests in the same way), and a busy machine must
    not break a deadline.
    """

    def __init__(self, item: Any) -> None:  # noqa: ANN401 - private attributes of several node types
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)
        self._function = function if getattr(function, "is_hypothesis_test", False) else None
        self._fewer: object = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Hold the test's settings, and put them back."""
        if self._function is None:
            yield
            return
        before = getattr(self._function, _HYPOTHESIS_SETTINGS, None)
        self._fewer = _fewer_examples(before)
        try:
            yield
        finally:
            self._fewer = None
            if before is None:
                delattr(self._function, _HYPOTHESIS_SETTINGS)
            else:
                setattr(self._function, _HYPOTHESIS_SETTINGS, before)

    def again(self) -> None:
        """Set them for the next run: for a parametrized test Hypothesis makes new ones from the last at each run."""
        if self._fewer is not None:
            setattr(self._function, _HYPOTHESIS_SETTINGS, self._fewer)


def _fewer_examples(settings: Any) -> object:  # noqa: ANN401 - Hypothesis need not be installed
    hypothesis = sys.modules["hypothesis"]
    parent = settings or hypothesis.settings.default
    return hypothesis.settings(
        parent=parent,
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=min(parent.max_examples, _EXAMPLES),
        suppress_health_check=list(hypothesis.HealthCheck),
    )


_HYPOTHESIS_SETTINGS = "_hypothesis_internal_use_settings"
_EXAMPLES = 20
