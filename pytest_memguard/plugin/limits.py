"""The markers ``limit_memory`` and ``no_cycles``: one more run each, with its own meter."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

from pytest_memguard import marks
from pytest_memguard.core.units import Unit, amount
from pytest_memguard.engine import settle
from pytest_memguard.errors import CycleError, LeakError, MemoryLimitError, SubjectFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pytest_memguard.core.ports import Subject
    from pytest_memguard.plugin.repeat import ItemSubject

__all__ = ["check", "has_limits"]

_MOST_TYPES = 5


def has_limits(item: pytest.Item) -> bool:
    """Whether the test has one of the two markers."""
    return bool(item.get_closest_marker("limit_memory") or item.get_closest_marker("no_cycles"))


def check(item: pytest.Item, subject: Subject, control: Callable[[], ItemSubject | None]) -> LeakError | None:
    """
    Return what a limit says against this test; None where it has none or keeps them.

    Raises:
        SubjectFailed: it cannot be run again.

    """
    return _check_memory(item, subject) or _check_cycles(item, subject, control)


def _check_memory(item: pytest.Item, subject: Subject) -> LeakError | None:
    marker = item.get_closest_marker("limit_memory")
    if marker is None:
        return None
    limit = marks.read_limit_memory(marker.args, marker.kwargs, item.nodeid)
    peak = _peak(subject)
    if peak <= limit:
        return None
    return MemoryLimitError(
        f"one run allocated {amount(peak, Unit.BYTE)} at its peak; limit_memory allows {amount(limit, Unit.BYTE)}"
    )


def _peak(subject: Subject) -> int:
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        subject.run()
        if not tracemalloc.is_tracing():
            raise SubjectFailed("stopped tracemalloc, which measures what limit_memory limits")
        return max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        if not was_tracing:
            tracemalloc.stop()


def _check_cycles(item: pytest.Item, subject: Subject, control: Callable[[], ItemSubject | None]) -> LeakError | None:
    marker = item.get_closest_marker("no_cycles")
    if marker is None:
        return None
    most = marks.read_no_cycles(marker.args, marker.kwargs, item.nodeid)
    found = _cyclic_garbage(subject)
    if found > most:
        empty = control()
        if empty is not None:
            with empty.opened():
                found -= _cyclic_garbage(empty)
    if found <= most:
        return None
    text = f"one run left {found} objects that only the garbage collector frees; no_cycles allows {most}"
    return CycleError("\n".join([text, *_told(item, subject)]))


def _told(item: pytest.Item, subject: Subject) -> list[str]:
    """Say of what types the objects are, and show one cycle."""
    from pytest_memguard.explain.cycles import cycles  # noqa: PLC0415 - only where a limit is exceeded

    with settle.frozen(), settle.quiet_finalizers():
        report = cycles(subject.run, root=str(item.config.rootpath), home_file=str(item.path))
    types = ", ".join(f"{growth.type} ({growth.count_per_run:g})" for growth in report.types[:_MOST_TYPES])
    return [*([f"types   {types}"] if types else []), *([f"cycle   {report.text}"] if report.text else [])]


def _cyclic_garbage(subject: Subject) -> int:
    """Return the objects of one run that only a collection frees: the lesser of two runs, so that no warm-up counts."""
    return min(_garbage_of_one_run(subject), _garbage_of_one_run(subject))


def _garbage_of_one_run(subject: Subject) -> int:
    was_enabled = gc.isenabled()
    with settle.frozen(), settle.quiet_finalizers():
        settle.collect()
        gc.disable()
        try:
            subject.run()
            return gc.collect()
        finally:
            if was_enabled:
                gc.enable()
