"""A probe that plays numbers back: the fake that ships with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping, Sequence

    from pytest_memguard.core.values import Metric

__all__ = ["ScriptedProbe"]


class ScriptedProbe:
    """
    Counters that say what was written down for them, and the subject whose runs move them.

        probe = ScriptedProbe({BLOCKS: [100, 101, 102], FDS: [5]})
        record = Watch(probe, Recorder([probe]), Plan()).measure()

    Args:
        script: One value a run for each metric, the first one before any repeat; the last stands for all later runs.

    Raises:
        ValueError: a metric has no value.

    """

    def __init__(self, script: Mapping[Metric, Sequence[int]]) -> None:
        for metric, values in script.items():
            if not values:
                raise ValueError(f"{metric.name}: a script needs one number at least")
        self.metrics: tuple[Metric, ...] = tuple(script)
        self.runs = 0
        self._columns = tuple(script.values())

    def run(self) -> None:
        """Be run once more: all counters go on to their next value."""
        self.runs += 1

    def read(self, row: array[int], at: int) -> None:
        """Write what the script has for the runs so far."""
        for place, values in enumerate(self._columns, at):
            row[place] = values[min(self.runs, len(values) - 1)]
