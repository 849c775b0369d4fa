"""The objects that were born in the runs and stayed, and what they refer to among themselves."""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.edges import is_plain
from pytest_memguard.explain.growth import small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_memguard.explain.growth import Budget

__all__ = ["Newborn"]

_BATCH = 1_000
#: More objects than this are not looked at.
_MOST = 500_000
_MOST_BELOW = 200_000
#: What says most: an object of a user's class, of which there are no more than of what is gained.
_USER_AND_FEW = 3
_DEEPEST, _MOST_LOOKED_AT, _MOST_COMPARED, _MOST_TOPS = 5, 2_000, 12, 8


class Newborn:
    """
    The survivors, by place in the list of them.

    Attributes:
        objects: The list; first those that are known to stay, then those that the next run may replace.
        places: Place by identity.

    """

    def __init__(self, objects: list[Any], budget: Budget, staying: int | None = None) -> None:
        self.objects = objects
        self._staying = len(objects) if staying is None else staying
        if len(objects) > _MOST:
            budget.notes.append(f"looked at {_MOST:,} of {len(objects):,} survivors")
        self.places = {id(one): place for place, one in zip(range(_MOST), objects, strict=False)}
        self._budget = budget
        self._kinds = Counter(map(id, map(type, islice(objects, self._staying))))
        self._parents: dict[int, list[int]] = {}
        self._outside: set[int] | None = None

    def own(self) -> set[int]:
        """Return identities of what belongs to this object."""
        return {id(self), id(self.__dict__), id(self._kinds), id(self._parents)}

    def among(self, objects: Iterable[Any]) -> list[int]:
        """Return the places of those that are newborn."""
        places = self.places
        return [places[id(one)] for one in objects if id(one) in places]

    def staying(self, places: Iterable[int]) -> list[Any]:
        """Return the objects at some places that are known to stay."""
        return [self.objects[place] for place in places if place < self._staying]

    def children(self, place: int) -> list[int]:
        """Return the places of the newborn objects that one refers to, as often as it does."""
        return self.held_by([self.objects[place]])

    def held_by(self, objects: list[Any]) -> list[int]:
        """Return the places of the newborn objects that some refer to."""
        held = gc.get_referents(*small(objects))
        # Up to 3.12 an instance gets a dictionary when somebody asks for it, such as the holder check, and the
        # references move there.
        asked = [one for one in held if type(one) is dict and id(one) not in self.places and _has_one_owner(one)]
        return self.among(held) + (self.among(gc.get_referents(*asked)) if asked else [])

    def below(self, places: Iterable[int]) -> set[int]:
        """Return the places of all newborn objects that hang on some, themselves included."""
        seen = set(places)
        front = list(seen)
        while front and len(seen) < _MOST_BELOW and not self._budget.is_spent():
            batch, front = front[:_BATCH], front[_BATCH:]
            held = set(self.held_by([self.objects[place] for place in batch])) - seen
            seen |= held
            front += held
        return seen

    def way_down(self, place: int, telling: Callable[[object, int], int]) -> list[Any]:
        """
        Return the objects from one down to the one below it that says most to people.

        Of those that say as much, that is the one on which most hangs, of a type with no more objects than the first.
        """
        above = {place: -1}
        front, found = deque([(place, 0)]), list[tuple[int, int]]()
        most, first = self._alike(place), type(self.objects[place])
        while front and len(above) < _MOST_LOOKED_AT:
            at, depth = front.popleft()
            worth = telling(self.objects[at], self._alike(at)) if at != place else 0
            if worth and type(self.objects[at]) is not first:
                found.append((worth + (self._alike(at) <= most), at))
            if depth < _DEEPEST:
                for held in self.children(at):
                    if held not in above:
                        above[held] = at
                        front.append((held, depth + 1))
        least = 1 if is_plain(self.objects[place]) else _USER_AND_FEW
        best = max((worth for worth, _ in found), default=0)
        candidates = [at for worth, at in found if worth == best][:_MOST_COMPARED] if best >= least else []
        return self._objects_to(above, max(candidates, key=lambda at: len(self.below([at])), default=place))

    def _alike(self, place: int) -> int:
        return self._kinds[id(type(self.objects[place]))]

    def way_to_the_last(self, place: int, kind: type) -> list[Any]:
        """Return the objects from one down to that of a type which is furthest below, as at the end of a list."""
        above, front, last = {place: -1}, deque([place]), place
        while front and len(above) < _MOST_BELOW and not self._budget.is_spent():
            at = front.popleft()
            last = at if type(self.objects[at]) is kind else last
            for held in self.children(at):
                if held not in above:
                    above[held] = at
                    front.append(held)
        return self._objects_to(above, last)

    def _objects_to(self, above: dict[int, int], place: int) -> list[Any]:
        chain = []
        while place >= 0:
            chain.append(self.objects[place])
            place = above[place]
        return chain[::-1]

    # -- upwards ------------------------------------------------------------------------------------------------------

    def tops(self, place: int, is_root: Callable[[object], bool]) -> list[int]:
        """Return the nearest places above one that something refers to which is not newborn."""
        self._look_up()
        outside = self._outside or set()
        seen, front, found = {place}, deque([place]), list[int]()
        while front and len(found) < _MOST_TOPS:
            at = front.popleft()
            if at in outside or is_root(self.objects[at]):
                found.append(at)
            for parent in self._parents.get(at, ()):
                if parent not in seen:
                    seen.add(parent)
                    front.append(parent)
        return found

    def is_held_from_outside(self, one: object) -> bool:
        """Whether something refers to a newborn object that is not newborn."""
        self._look_up()
        return self.places.get(id(one)) in (self._outside or set())

    def way_between(self, top: int, place: int) -> list[Any]:
        """Return the objects from one down to another."""
        below = {place: -1}
        front = deque([place])
        while front and top not in below:
            at = front.popleft()
            for parent in self._parents.get(at, ()):
                if parent not in below:
                    below[parent] = at
                    front.append(parent)
        return self._objects_to(below, top)[::-1] if top in below else [self.objects[top]]

    def _look_up(self) -> None:
        """Note who refers to whom, and to whom there are more references than these."""
        if self._outside is not None:
            return
        known: Counter[int] = Counter()
        for place in range(len(self.places)):
            if not place % _BATCH and self._budget.is_spent("among the survivors"):
                break
            for held in self.children(place):
                known[held] += 1
                self._parents.setdefault(held, []).append(place)
        counted = zip(range(len(self.places)), map(sys.getrefcount, self.objects), strict=False)
        self._outside = {place for place, references in counted if references - _COUNTING > known[place]}


def _has_one_owner(one: object) -> bool:
    return sys.getrefcount(one) <= _ONE_OWNER


#: The owner's, that of the list of referents, those of two variables and that of the call.
_ONE_OWNER = 5


def _references_of_counting() -> int:
    """Return the references that counting them as above makes by itself."""
    objects: list[Any] = [[]]
    return next(references for _, references in zip(range(1), map(sys.getrefcount, objects), strict=False))


_COUNTING = _references_of_counting()
