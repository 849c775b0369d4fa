"""From settings and a marker to the plan of one measurement, and what a whole suite may spend on weak signs."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

from pytest_memguard import marks, store
from pytest_memguard.core.ladder import Plan
from pytest_memguard.core.policies import readings_needed
from pytest_memguard.engine.watch import Budget

if TYPE_CHECKING:
    from pytest_memguard.config import Settings

__all__ = ["PATIENCE_S", "SCREENS", "Credit", "budget_for", "plan_for"]

#: Repeats of a test that never grows, by mode.
SCREENS = {"quick": 2, "standard": 4, "deep": 16, "native": 2}
_PATIENCE = {"quick": 4, "standard": 8, "deep": 16, "native": 4}
_NATIVE_BATCH = 32
#: Seconds after which a test is decided on fewer runs; generous, so that a busy machine does not change verdicts.
PATIENCE_S = 8.0
_DEFAULT_MAX_RUNS = 65
#: Share of tests that leak: of tests somebody marked, and of any test of a suite.
_PRIOR_MARKED, _PRIOR_SUITE = 0.02, 0.002


def plan_for(settings: Settings, mark: marks.MarkSettings | None, *, curious: bool) -> Plan:
    """Return how a test is measured: its mode decided, the marker's arguments on top."""
    wanted = marks.for_test(settings, mark)
    mode = wanted.mode or "quick"
    batch = _NATIVE_BATCH if mode == "native" else 1
    max_runs = wanted.max_runs
    if batch > 1 and max_runs == _DEFAULT_MAX_RUNS:
        max_runs = _DEFAULT_MAX_RUNS * batch
    return Plan(
        mode=mode,
        screen=max(SCREENS[mode], readings_needed(wanted.policy) - 1),
        patience=_PATIENCE[mode],
        max_runs=max_runs,
        batch=batch,
        confidence=wanted.confidence,
        policy=wanted.policy,
        prior=_PRIOR_SUITE if mark is None else _PRIOR_MARKED,
        lumpy=sys.version_info < (3, 11),
        curious=curious or mark is not None or mode != "quick",
        allow=mark.allow if mark is not None else (),
        metrics=mark.metrics if mark is not None else (),
    )


@functools.cache
def budget_for(total_s: float) -> Budget:
    """Return how long a test may be measured, and how much memory it may fill: half of what was free at first."""
    import psutil  # noqa: PLC0415 - heavy; only where a test is checked

    free = psutil.virtual_memory().available
    limit = store.memory_limit()
    if limit is not None:
        free = min(free, limit - psutil.Process().memory_info().rss)
    return Budget(total_s, min(PATIENCE_S, total_s / 4), max(0.0, free / 2))


class Credit:
    """
    Seconds that whole-suite runs may spend on following weak signs.

    A small suite has some to spare at once; a large one earns five in a hundred of its plain time. Without credit a
    sign that only native memory moved is let go, and a racy test is screened no longer than others.
    """

    def __init__(self, tests: int) -> None:
        self._left_s = max(0.0, 3.0 - 0.01 * tests)

    def earn(self, plain_s: float) -> None:
        """Add what a test's plain run earns."""
        self._left_s += 0.05 * plain_s

    def spend(self, seconds: float) -> None:
        """Take off what following a weak sign cost."""
        self._left_s -= seconds

    @property
    def is_left(self) -> bool:
        """Whether there is any."""
        return self._left_s > 0
