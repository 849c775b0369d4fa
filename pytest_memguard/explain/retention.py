"""
Who holds what stays: retention paths from a root, through the edge that grows, down to a survivor.

    containers that grew   the way up from the container, and down from what it gained
    all other survivors    up through what was born with them to what is older, and from there to a root

Objects of the subject are never asked anything: see ``naming``. Modules are only looked at through their
dictionaries: gc.get_referents on a module corrupts the collector on 3.12.1 (cpython issue 122695).
"""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import dataclass
from types import CellType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ReferenceType

from pytest_memguard.explain import growth
from pytest_memguard.explain.climb import Climb, Way
from pytest_memguard.explain.edges import Step, is_plain, steps
from pytest_memguard.explain.holders import Grown, thawed
from pytest_memguard.explain.naming import class_attribute, is_a, length
from pytest_memguard.explain.newborn import Newborn
from pytest_memguard.explain.paths import path_of
from pytest_memguard.explain.roots import Roots, is_machinery, is_user_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_memguard.core.values import Hop, RetentionPath, TypeGrowth

__all__ = ["Survey", "survey"]

_T = TypeVar("_T")
_MOST_PATHS = 3
#: A path that explains less than this share of what the best one does is left out.
_LEAST_SHARE = 0.1
#: What an object weighs against others if its class is the user's, and what an entry of a container weighs.
_USER_WEIGHT, _ENTRY_WEIGHT = 3, 0.01
_MOST_GROUPS, _MOST_GROWN = 6, 6
_LEAST_PER_RUN = 0.5


@dataclass(frozen=True, slots=True)
class Survey:
    """
    What stayed and who holds it.

    Attributes:
        types: Most objects a run first.
        paths: The one that explains most first.
        notes: What could not be found out, and why.
        tasks_done: Whether there are asyncio tasks among it, all of them done.
        unheld: Whether no Python object refers to most of it from outside.

    """

    types: tuple[TypeGrowth, ...] = ()
    paths: tuple[RetentionPath, ...] = ()
    notes: tuple[str, ...] = ()
    tasks_done: bool = False
    unheld: bool = False


def survey(  # noqa: PLR0913 - each is one fact about the runs
    newborn: list[Any],
    grown: Sequence[Grown],
    *,
    runs: int,
    youngest: list[Any] | None = None,
    earlier_runs: int | None = None,
    home: str = "",
    deadline_s: float = 2.0,
) -> Survey:
    """
    Say what stayed of some runs, and who holds it.

    Args:
        newborn: What ``gc.get_objects()`` returned after the runs, with the older heap frozen; all of it is counted.
        grown: The containers that grew meanwhile; their counts are of the same runs.
        runs: How many.
        youngest: What was born in the last run, where that was told apart: it is not counted, since the next run may
            replace it, but may lie on the way to what is. It is moved to *newborn*.
        earlier_runs: How many runs *newborn* is of, where it is not of all.
        home: Name of the module that the subject stands in.
        deadline_s: Seconds that this may take; where it stops early, a note says so.

    Returns:
        Plain text and numbers; nothing of it keeps an object alive. With a frozen heap all that lives is frozen
        afterwards.

    """
    budget = growth.Budget(deadline_s)
    was_frozen = gc.get_freeze_count() > 0
    recent = set(map(id, gc.get_objects())) if was_frozen else set()
    births, staying = earlier_runs or runs, len(newborn)
    with thawed(was_frozen):
        types = growth.growing_types(newborn, grown, runs=births, budget=budget, gained=births / runs)
        tasks_done = growth.tasks_are_done(newborn)
        if youngest is not None:
            newborn += youngest
            youngest.clear()
        born = Newborn(newborn, budget, staying)
        skip = (recent - set(born.places)) | {id(newborn), id(grown), id(born.places), *born.own()}
        climb = Climb(Roots(home), born.places, skip, budget)
        search = _Paths(born, climb, runs, births, budget)
        paths = search.find(grown)
    unheld = search.orphans and all(path.hops[0].kind == "native" for path in paths)
    return Survey(tuple(types), tuple(paths), tuple(budget.notes), tasks_done, unheld)


@dataclass(slots=True, eq=False)
class _Found:
    """
    One path, with what it explains.

    Its edges are named when all paths are found: that may give instances a dictionary, and change who refers to whom.
    """

    way: Way
    down: list[Any]
    gains: dict[int, float]
    weight: float
    grown: Grown | None = None
    is_linked: bool = False


@dataclass(slots=True, eq=False)
class _Gain:
    """A container that grew, the places of what it gained, and of all that hangs on that."""

    grown: Grown
    entries: list[int]
    reached: set[int]
    weight: float


class _Paths:
    """Finds the paths of one survey: of containers that grew in all runs, and of what is known to stay of some."""

    def __init__(self, born: Newborn, climb: Climb, runs: int, births: int, budget: growth.Budget) -> None:
        self._born, self._climb, self._budget = born, climb, budget
        self._runs, self._births = runs, births
        self._gains: dict[int, float] = {}
        self._callbacks: list[Grown] = []
        #: Whether there are objects in step with the runs, to each of which only C code refers.
        self.orphans = False

    def find(self, grown: Sequence[Grown]) -> list[RetentionPath]:
        """Return the best paths."""
        self._callbacks = [one for one in grown if one.container is None]
        self._gains = {
            id(one if one.container is None else one.container): growth.runs_of(one.gained, self._runs) for one in grown
        }
        grown = [one for one in grown if one.container is not None]
        found: list[_Found] = []
        covered: set[int] = set()
        for one in self._weighed(grown, covered)[:_MOST_GROWN]:
            covered |= one.reached
            if self._budget.is_spent(f"with {len(found)} paths"):
                break
            found += self._guarded(self._of_container, one)
        found += self._of_the_rest(covered)
        return self._best(found)

    def _weighed(self, grown: Sequence[Grown], covered: set[int]) -> list[_Gain]:
        """Return what each container gained, what most hangs on first; to *covered* add what only points."""
        gains = []
        for one in grown:
            entries = self._entries(one)
            reached = self._born.below(entries)
            if self._only_points(one, reached):
                covered |= reached
                continue
            gains.append(_Gain(one, entries, reached, self._weight(reached) + _ENTRY_WEIGHT * one.gained))
        gains.sort(key=lambda one: -one.weight)
        return gains

    def _best(self, found: list[_Found]) -> list[RetentionPath]:
        found.sort(key=lambda one: -one.weight)
        paths: dict[tuple[tuple[str, ...], ...], RetentionPath] = {}
        for one in found:
            if one.weight >= _LEAST_SHARE * found[0].weight:
                for path in self._guarded(self._named, one):
                    paths.setdefault(_to_what_grows(path.hops), path)
        return list(paths.values())[:_MOST_PATHS]

    def _guarded(self, search: Callable[..., _T | None], *arguments: Any) -> list[_T]:  # noqa: ANN401 - see search
        try:
            path = search(*arguments)
        except Exception as error:  # noqa: BLE001 - objects of every kind are met; the verdict must not hang on them
            self._budget.notes.append(f"a holder could not be followed: {type(error).__name__}")
            return []
        return [path] if path is not None else []

    # -- containers that grew -----------------------------------------------------------------------------------------

    def _of_container(self, gain: _Gain) -> _Found | None:
        grown = gain.grown
        way = self._climb.up([grown.container])
        if way is None:
            return None
        gains = {id(grown.container): growth.runs_of(grown.gained, self._runs)}
        return _Found(way, self._down(grown, gain.entries), gains, gain.weight, grown)

    def _entries(self, grown: Grown) -> list[int]:
        """Return the places of the newborn objects that a container which grew refers to, values before keys."""
        entries = growth.newest(grown)
        values = self._born.among([value for _, value in entries])
        values = [place for place in values if not is_a(self._born.objects[place], ReferenceType)]
        places = list(dict.fromkeys(values + self._born.among([key for key, _ in entries])))
        if len(places) >= grown.gained or (length(grown.container) or 0) > growth.LARGEST:
            return places
        return list(dict.fromkeys(places + self._born.among(gc.get_referents(grown.container))))

    def _only_points(self, grown: Grown, reached: set[int]) -> bool:
        """Whether a container gained weak references alone, to objects that live without it: as a WeakSet does."""
        if self._weight(reached):
            return False  # values, keys or callbacks hang on it
        pairs = growth.newest(grown)
        references = [one for pair in pairs for one in pair if is_a(one, ReferenceType)]
        # A reference to what is gone is there because of the container alone.
        alive = sum(ReferenceType.__call__(one) is not None for one in references)
        return len(references) >= len(pairs) > 0 and 2 * alive > len(references)

    def _weight(self, places: Iterable[int]) -> float:
        """Return how much of what stays hangs on a path; a weak reference holds nothing."""
        kinds = list(map(type, self._born.staying(places)))
        weights = {
            identity: 0 if issubclass(kind, ReferenceType) else _USER_WEIGHT if is_user_type(kind) else 1
            for identity, kind in {id(kind): kind for kind in kinds}.items()
        }
        return sum(weights[identity] for identity in map(id, kinds))

    def _down(self, grown: Grown, entries: list[int]) -> list[Any]:
        if entries:
            return self._born.way_down(entries[0], self._is_telling)
        newest = growth.newest(grown)[:1]
        return [newest[0][1]] if newest else []

    def _is_telling(self, one: object, alike: int) -> int:
        """Return how much it says to people that *one* stays, of a type of which *alike* objects were born."""
        if is_machinery(one) or is_plain(one) or not growth.keeps_step(alike, self._births):
            return 0
        return 2 if is_user_type(type(one)) else 1

    # -- all else -----------------------------------------------------------------------------------------------------

    def _of_the_rest(self, covered: set[int]) -> list[_Found]:
        found: list[_Found] = []
        for _ in range(_MOST_GROUPS):
            group = self._next_group(covered)
            if not group or self._budget.is_spent(f"with {len(found)} paths"):
                break
            found += self._guarded(self._of_group, group, covered)
            covered |= set(group)
        return found

    def _next_group(self, covered: set[int]) -> list[int]:
        """Return the places of the survivors of one type that no path explains yet, those that say most first."""
        groups: dict[int, list[int]] = {}
        for place, one in enumerate(self._born.staying(range(len(self._born.objects)))):
            if place not in covered:
                groups.setdefault(id(type(one)), []).append(place)
        telling = [
            (self._is_telling(self._born.objects[group[0]], len(group)), len(group), group)
            for group in groups.values()
            if growth.keeps_step(len(group), self._births)
        ]
        telling = [one for one in telling if not is_machinery(self._born.objects[one[2][0]])]
        return max(telling, key=lambda one: one[:2])[2] if telling else []

    def _of_group(self, group: list[int], covered: set[int]) -> _Found | None:
        sample = group[len(group) // 2]
        tops = self._born.tops(sample, self._climb.roots.knows)
        starts = [self._born.objects[place] for place in tops] or [self._born.objects[sample]]
        way = self._climb.up(starts)
        del starts
        if way is None:
            return None
        start = self._born.places.get(id(way.chain[-1]), sample)
        weight = self._weight(self._born.below(group) - covered)
        self.orphans = self.orphans or (way.first[0].kind == "native" and self._are_orphans(way.chain))
        if way.first[0].kind == "native" and is_a(way.chain[0], list, tuple, dict, set, CellType):
            # Most of them are held by the running frames of the machinery, which the collector does not see into.
            covered |= self._alike(start, covered)
            return None
        covered |= self._alike(start, covered)
        down = self._born.way_between(start, sample)
        gains = self._gain_of(way, down)
        longest = [] if gains else self._born.way_to_the_last(start, type(self._born.objects[sample]))
        alike = max(Counter(map(id, map(type, longest))).values(), default=0)
        is_linked = alike > max(1, _LEAST_PER_RUN * self._runs)
        return _Found(way, (longest if is_linked else down)[1:], self._gains | gains, weight, None, is_linked)

    def _are_orphans(self, chain: list[Any]) -> bool:
        """Whether each run left an object like the first of *chain*, and nothing older that is seen refers to them."""
        kind, is_born = type(chain[0]), id(chain[0]) in self._born.places
        staying = self._born.staying(range(len(self._born.objects)))
        alike = [one for one in staying if type(one) is kind and self._born.is_held_from_outside(one)]
        if not is_born or len(alike) < self._births or any(map(self._climb.roots.knows, alike)):
            return False
        return not self._climb.is_referred_to(alike, besides=(staying, chain))

    def _alike(self, start: int, covered: set[int]) -> set[int]:
        """Return the places of what hangs on all objects of one type: they are held in the same way."""
        kind = type(self._born.objects[start])
        same = [place for place, one in enumerate(self._born.objects) if type(one) is kind and place not in covered]
        return self._born.below(same)

    def _gain_of(self, way: Way, down: list[Any]) -> dict[int, float]:
        """Return the first object on the way that refers to so many newborn objects that it grows with the runs."""
        for one in (*way.chain, *down[1:]):
            if is_a(one, type) or (length(one) or 0) > growth.LARGEST:
                continue
            held = self._born.among(gc.get_referents(*growth.small([one])))
            kinds = Counter(map(id, map(type, self._born.staying(set(held)))))
            count = max(kinds.values(), default=0)
            if count >= max(2, _LEAST_PER_RUN * self._births) and growth.keeps_step(count, self._births):
                return {id(one): growth.runs_of(count, self._births)}
        return {}

    def _named(self, found: _Found) -> RetentionPath:
        first = self._atexit(found.way) or found.way.first
        named = [*first, *steps([*found.way.chain, *found.down], frozenset(self._gains))]
        gains = found.gains
        if found.is_linked:
            gains = {id(step.one): 1.0 for step in named if step.times > 1} or gains
        return path_of(named, gains, self._born.places, found.grown)

    def _atexit(self, way: Way) -> tuple[Step, ...]:
        root = way.first[0]
        if root.kind != "native" or not self._callbacks or not _callable(way.chain[0]):
            return ()
        return (Step("atexit", "atexit", None, (id(self._callbacks[0]),)), Step("reference", "callback", way.chain[0]))


def _to_what_grows(hops: Sequence[Hop]) -> tuple[tuple[str, ...], ...]:
    """Return what tells one path from another: the edges down to what grows."""
    end = next((at for at, hop in enumerate(hops, 1) if hop.grows_per_run), len(hops))
    return tuple((hop.kind, hop.name, hop.type) for hop in hops[:end])


def _callable(one: object) -> bool:
    return class_attribute(type(one), "__call__") is not None
