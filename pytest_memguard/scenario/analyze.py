"""
Everything about one scenario: what it takes and keeps at each step, whether it leaks under load, and what grew in it.

Three times the service is started anew, so that no part disturbs another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_memguard import store
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario import footprint, kept, snapshots, stages
from pytest_memguard.scenario.soak import Outcome, soak
from pytest_memguard.scenario.steps import steps_of
from pytest_memguard.scenario.tables import comparison_to_dict, step_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_memguard.core.values import RunResult
    from pytest_memguard.scenario.footprint import Footprint, FootprintComparison
    from pytest_memguard.scenario.snapshots import SnapshotPair
    from pytest_memguard.scenario.soak import SoakResult
    from pytest_memguard.scenario.spec import Scenario

__all__ = ["Analysis", "analyze"]

_WORSE, _UNDECIDED = 1, 3
_ENDED_EARLY = (Outcome.COULD_NOT_RUN, Outcome.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Analysis:
    """
    What was found out about a scenario.

    Attributes:
        footprint: What it takes and keeps at each step.
        comparison: With the footprint that was saved; None where none was.
        soaked: What became of it under load.
        pair: The heap snapshots; None where none could be taken.
        without_pair: Why; empty where they were.
        duration_s: Of all parts.

    """

    footprint: Footprint
    comparison: FootprintComparison | None
    soaked: SoakResult
    pair: SnapshotPair | None
    without_pair: str
    duration_s: float

    @property
    def run(self) -> RunResult:
        """The whole as a session with one result, as a result document holds it."""
        run = self.soaked.run
        result = replace(self.soaked.result, notes=(*self.soaked.result.notes, *self._notes()))
        requests = {step.name: step.times for step in steps_of(self.soaked.scenario) if step.routes}
        settings: dict[str, Any] = {
            **run.settings,
            "footprint": step_cells(self.footprint, requests),
            "footprint measured": self.footprint.runs,
        }
        if self.comparison is not None:
            settings["footprint compared"] = comparison_to_dict(self.comparison)
        return replace(run, results=(result,), settings=settings, duration_s=self.duration_s)

    def exit_code(self, undecided: str | None = None) -> int:
        """Return the exit code of the soak, or 1 where the footprint is worse than what was saved."""
        code = self.soaked.exit_code(undecided)
        if code in (0, _UNDECIDED) and self.comparison is not None and self.comparison.worse:
            return _WORSE
        return code

    def _notes(self) -> Iterator[str]:
        if self.pair is not None:
            yield from (f"heap snapshots: {line}" for line in self.pair.lines())
        elif self.without_pair:
            yield f"no heap snapshots: {self.without_pair}"
        for change in self.comparison.worse if self.comparison else ():
            yield f"{change.text}: more {change.metric.name.replace('_', ' ')} than before"


def analyze(scenario: Scenario, *, runs: int = 1, notice: Callable[[str], object] = lambda _: None) -> Analysis:
    """
    Measure *scenario* step by step, soak it, and take heap snapshots.

    Args:
        scenario: What to analyze; with a load.
        runs: How often its footprint is measured.
        notice: Called with a line of progress.

    Raises:
        ConfigError: the scenario has no load that could be sent, or a wrong step.
        CouldNotRun: the service did not start, or did not answer; under load that is a result instead.

    """
    began_s = time.monotonic()
    environment = store.environment()
    notice("1 of 3: what it takes and keeps, step by step")
    taken = stages.measure(scenario, runs=runs, environment=environment, tell=notice)
    taken = replace(taken, commit=store.commit_of(kept.folder_of(scenario)))
    place = kept.place_of(scenario, environment)
    comparison = footprint.compare(kept.read(place), taken) if place.exists() else None
    notice("2 of 3: whether it leaks under load")
    soaked = soak(scenario, notice=notice)
    pair, why = None, ""
    if soaked.outcome in _ENDED_EARLY:
        why = "the soak did not come to its end"
    else:
        notice("3 of 3: what grew, by heap snapshots")
        pair, why = _pair(scenario)
    return Analysis(taken, comparison, soaked, pair, why, time.monotonic() - began_s)


def _pair(scenario: Scenario) -> tuple[SnapshotPair | None, str]:
    """Return the snapshots, or why there are none: what was measured before is worth telling without them."""
    try:
        return snapshots.take(scenario, kept.folder_of(scenario) / store.FOLDER / "snapshots"), ""
    except (CouldNotRun, OSError) as error:
        return None, str(error)
