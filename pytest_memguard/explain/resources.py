"""Which descriptors, threads, tasks and children stayed, by name, and what opened or started them."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_memguard.explain.openers import Openers
from pytest_memguard.explain.places import Places
from pytest_memguard.explain.resource_names import LISTINGS, NAMERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pytest_memguard.core.values import Site
    from pytest_memguard.explain.openers import Stack
    from pytest_memguard.explain.places import Line

__all__ = ["Resources"]

_MOST_NAMES, _MOST_SITES = 8, 5

#: A number, and what tells the thing from a later one of the same number.
_One = tuple[int, str]
_Names = tuple[tuple[str, tuple[str, ...]], ...]
_Makers = tuple[tuple[str, "tuple[Site, ...]"], ...]


class Resources:
    """
    One look at what stays open or running over some runs.

    Use ``begin()``; the runs, one of them at least ``with following():``; ``finish(runs)``.

    Args:
        metrics: Names of the metrics that grew; the others are not looked at.
        root: Folder of the project.
        home_file: File of the test.
        budget_s: Seconds that a followed run may take; then it goes on unfollowed.

    """

    def __init__(
        self, metrics: Collection[str] = tuple(LISTINGS), *, root: str = "", home_file: str = "", budget_s: float = 2.0
    ) -> None:
        self.notes: list[str] = []
        self._metrics = tuple(name for name in LISTINGS if name in metrics)
        self._places = Places(root=root, home_file=home_file)
        self._openers = Openers(frozenset(self._metrics), budget_s=budget_s)
        self._before: dict[str, frozenset[_One]] = {}
        self._made: dict[str, dict[_One, Stack]] = {}

    def begin(self) -> None:
        """Remember what is there."""
        self._before = {name: frozenset(LISTINGS[name]().items()) for name in self._metrics}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Make one run inside, so that what opens or starts something is seen."""
        with self._openers.following():
            yield
        for metric in self._metrics:
            stacks, made = self._openers.stacks(metric), self._made.setdefault(metric, {})
            # What is gone by now may lend its number to what another run opens.
            made.update((one, stacks[one[0]]) for one in LISTINGS[metric]().items() if one[0] in stacks)
        self._openers.forget()

    def finish(self, runs: int) -> tuple[_Names, _Makers]:
        """
        Say what stayed over *runs* runs since ``begin``, those that were followed included.

        Returns:
            ``names`` and ``makers`` as in ``core.values.Explanation``. Metrics of which nothing stayed are left out,
            and so are names of what came once where others came with each run.

        """
        self.notes += dict.fromkeys(self._openers.notes)
        names: list[tuple[str, tuple[str, ...]]] = []
        makers: list[tuple[str, tuple[Site, ...]]] = []
        for metric in self._metrics:
            stayed = self._stayed(metric)
            found = _frequent(Counter(NAMERS[metric]([number for number, _ in stayed])), runs)
            sites = self._sites(metric, stayed)
            names += [(metric, found)] if found else []
            makers += [(metric, sites)] if sites else []
        self._before, self._made = {}, {}
        return tuple(names), tuple(makers)

    def _stayed(self, metric: str) -> list[_One]:
        before, now = self._before.get(metric, frozenset()), frozenset(LISTINGS[metric]().items())
        new = now - before
        # Where as many are gone, they were replaced, and none was kept.
        return sorted(new) if len(new) > len(before - now) else []

    def _sites(self, metric: str, stayed: Iterable[_One]) -> tuple[Site, ...]:
        made = self._made.get(metric, {})
        by_line: dict[Line, list[Stack]] = {}
        for stack in (made[one] for one in stayed if one in made):
            at = self._places.user_line(stack)
            if at is not None:
                by_line.setdefault(stack[at], []).append(stack)
        ranked = sorted(by_line.items(), key=lambda item: (not self._places.is_own(item[0][0]), -len(item[1])))
        sites = (
            self._places.site(found[0], blocks_per_run=len(found) / max(1, self._openers.runs))
            for _, found in ranked[:_MOST_SITES]
        )
        return tuple(site for site in sites if site is not None)


def _frequent(names: Counter[str], runs: int) -> tuple[str, ...]:
    """Return the names, most frequent first; only those of at least every second run if one comes with each."""
    ranked = names.most_common()
    if ranked and ranked[0][1] >= max(1, runs - 1):
        ranked = [(name, count) for name, count in ranked if count >= runs / 2]
    return tuple(name for name, _ in ranked[:_MOST_NAMES])
