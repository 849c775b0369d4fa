"""
What stayed, by type, and what the containers that grew have gained.

Sizes are those of the built-in types' own ``__sizeof__``, plus the collector's header: pympler's asizeof, like
``sys.getsizeof``, calls the ``__sizeof__`` and ``__getattr__`` of user classes. Every object is counted once, under
its own type; so what several objects share is not counted for each of them.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import compress, islice
from types import GetSetDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.values import TypeGrowth
from pytest_memguard.explain.naming import (
    attributes,
    class_attribute,
    class_names,
    identities,
    is_a,
    key_text,
    kinds_of,
    length,
    mro,
    plain,
    qualified_name,
)
from pytest_memguard.explain.roots import is_user_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.explain.followed import Followed
    from pytest_memguard.explain.holders import ContainerCheck, Grown

__all__ = [
    "LARGEST",
    "Budget",
    "containers_that_grew",
    "growing_types",
    "keeps_step",
    "newest",
    "newest_keys",
    "runs_of",
    "size_of",
    "small",
    "tasks_are_done",
    "within_blocks",
]

#: What the collector does not track: seen only through what holds it.
_ATOM_TYPES = (str, bytes, bytearray, int, float, complex)
_ATOMS = identities(*_ATOM_TYPES)
_UNTRACKED = identities(dict, tuple)
_HEADER = 16
#: So many objects are asked at once for what they refer to.
_BATCH = 1_000
#: A container that has more entries than this is not asked for all of them.
LARGEST = 200_000
_MOST_TYPES = 12
_MOST_NEWEST = 10_000
_MOST_KEYS = 3
#: A type is taken for growing if there are at least so many per run, and no more beside than this.
_LEAST_PER_RUN, _BESIDE = 0.5, 2
_METHOD = type(list.append)
_DICT_OFFSET: Any = type.__dict__["__dictoffset__"]


@dataclass(slots=True)
class Budget:
    """Seconds that an explanation may take; ``notes`` says where it was cut short."""

    deadline_s: float
    notes: list[str] = field(default_factory=list)
    _began_s: float = field(default_factory=REAL.seconds)

    def is_spent(self, done: str = "") -> bool:
        """Whether the time is over; if so, note what was *done* by then."""
        if REAL.seconds() - self._began_s < self.deadline_s:
            return False
        note = f"stopped after {self.deadline_s:g} s{done and ' '}{done}"
        if done and note not in self.notes:
            self.notes.append(note)
        return True


def containers_that_grew(check: ContainerCheck | Followed, runs: int) -> list[Grown]:
    """
    Return the containers that grew since ``check.begin()``, *runs* runs ago, for ``retention.survey``.

    What was born in the runs, ``gc.get_objects()`` with the older heap frozen, is to be asked for before.
    """
    return check.grown(runs)


# -- types -----------------------------------------------------------------------------------------------------------


def growing_types(
    newborn: Sequence[Any], grown: Sequence[Grown], *, runs: int, budget: Budget, gained: float = 1.0
) -> list[TypeGrowth]:
    """
    Return the types of which objects stay in step with the runs: the user's before Python's, most objects a run first.

    A plain dictionary that holds the attributes of one instance is part of it. Texts, bytes and numbers are found
    through the objects that hold them, and are only counted if nobody else does.

    Args:
        newborn: What stays.
        grown: Containers that grew.
        runs: How many runs the newborn are of.
        budget: Of time.
        gained: The share of what the containers gained that was gained in those runs, the first ones.

    """
    inner = _attribute_dictionaries(newborn, budget)
    counts: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    kinds = kinds_of(newborn)
    sizers = {identity: _sizer(kind) for identity, kind in kinds.items()}
    for at, one in enumerate(newborn):
        if not at % _BATCH and budget.is_spent(f"at {at:,} of {len(newborn):,} objects"):
            break
        owner = inner.get(id(one))
        kind = id(type(one))
        if owner is None:
            counts[kind] += 1
        sizes[owner or kind] += sizers[kind](one) + _HEADER
    entries = (part for one in grown for pair in _oldest(newest(one), gained) for part in pair)
    _add_atoms(newborn, entries, counts, sizes, budget)
    kinds |= {id(kind): kind for kind in _ATOM_TYPES}
    rows = [kind for identity, kind in kinds.items() if keeps_step(counts[identity], runs)]
    rows.sort(key=lambda kind: (not is_user_type(kind), -counts[id(kind)], -sizes[id(kind)], qualified_name(kind)))
    return [
        TypeGrowth(qualified_name(kind), runs_of(counts[id(kind)], runs), round(sizes[id(kind)] / runs, 1))
        for kind in rows[:_MOST_TYPES]
    ]


def keeps_step(count: int, runs: int) -> bool:
    """Whether a number of objects is what so many runs leave: near a multiple, or fewer than two a run."""
    beside = min(count % runs, runs - count % runs)
    return count >= _LEAST_PER_RUN * runs and (count < 2 * runs or beside <= _BESIDE)


def within_blocks(types: Sequence[TypeGrowth], blocks: float) -> tuple[TypeGrowth, ...]:
    """
    Leave out types of which more objects seem to stay than memory grows by: each small object is a block.

    What the collector sees goes before text and numbers, of which it is only inferred who has them.

    Args:
        types: What stays, in the order in which it is told.
        blocks: By how many blocks memory grows a run.

    """
    left, kept = blocks + _ROUNDED, set[str]()
    for one in sorted(types, key=lambda one: one.type in _ATOM_NAMES):
        is_small = one.bytes_per_run <= _LARGEST_BLOCK * one.count_per_run
        if not is_small or one.count_per_run <= left:
            kept.add(one.type)
            left -= one.count_per_run if is_small else 0.0
    return tuple(one for one in types if one.type in kept)


_ATOM_NAMES = frozenset(map(qualified_name, _ATOM_TYPES))
#: What is larger is counted by the C library. Growth is the median of many runs, what stays is of a few.
_LARGEST_BLOCK, _ROUNDED = 512, 0.5


def tasks_are_done(newborn: Sequence[Any]) -> bool:
    """Whether there are asyncio tasks among what stays, and none of them is pending."""
    kinds = {
        identity: kind for identity, kind in kinds_of(newborn).items() if _TASKS & set(map(qualified_name, mro(kind)))
    }
    states = {_state(one) for one in compress(newborn, map(kinds.__contains__, map(id, map(type, newborn))))}
    return bool(states) and "PENDING" not in states


_TASKS = {"_asyncio.Task", "asyncio.tasks.Task"}


def _state(task: object) -> str:
    """Return the state of a task; a task in C computes it, one in Python has it as an attribute."""
    shown = class_attribute(type(task), "_state")
    state = attributes(task).get("_state", shown.__get__(task) if type(shown) is GetSetDescriptorType else shown)
    return plain(state)


def runs_of(amount: float, runs: int) -> float:
    """Return an amount per run: a whole number where only a few are left over."""
    near = round(amount / runs)
    return float(near) if near and abs(amount - near * runs) <= _BESIDE else amount / runs


def size_of(one: Any) -> int:  # noqa: ANN401 - any object at all
    """Return the size of an object in bytes, without what it refers to."""
    return int(_sizer(type(one))(one)) + (_HEADER if gc.is_tracked(one) else 0)


def _sizer(kind: type) -> Any:  # noqa: ANN401 - a function of one object
    """Return the first ``__sizeof__`` of a type that is no code of a user's."""
    methods: list[Any] = [dict(class_names(base)).get("__sizeof__") for base in mro(kind)]
    return next((method for method in methods if type(method) is _METHOD), object.__sizeof__)


def _attribute_dictionaries(newborn: Sequence[Any], budget: Budget) -> dict[int, int]:
    """Return the owner's type of each dictionary that holds the attributes of one newborn instance, by identity."""
    containers = (ModuleType, type, dict, list, tuple, set, frozenset, deque)
    kinds = {
        identity
        for identity, kind in kinds_of(newborn).items()
        if _DICT_OFFSET.__get__(kind) and not issubclass(kind, containers)
    }
    owners: dict[int, int] = {}
    for at, one in enumerate(newborn):
        if not at % _BATCH and budget.is_spent():
            break
        if id(type(one)) in kinds:
            for held in gc.get_referents(one):
                if type(held) is dict and sys.getrefcount(held) <= _ONLY_OWNER + 1:
                    owners[id(held)] = id(type(one))
    return owners


#: References that a newborn object has for sure: from the list of them, from a list of referents, from the loop's
#: variable, and from the call that counts.
_ONLY_OWNER = 4


def small(objects: Iterable[Any]) -> list[Any]:
    """Return those that the collector may be asked about: no module, and nothing with very many entries."""
    return [one for one in objects if not is_a(one, ModuleType) and (length(one) or 0) <= LARGEST]


def _oldest(entries: list[tuple[Any, Any]], share: float) -> list[tuple[Any, Any]]:
    """Return that share of some entries, given newest first."""
    return entries[len(entries) - round(len(entries) * share) :]


def _add_atoms(
    newborn: Sequence[Any], entries: Iterable[Any], counts: Counter[int], sizes: Counter[int], budget: Budget
) -> None:
    atoms: dict[int, Any] = {}
    seen: Counter[int] = Counter()
    for at in range(0, len(newborn), _BATCH):
        if budget.is_spent():
            return
        _note_atoms(_parts(newborn[at : at + _BATCH]), atoms, seen)
    _note_atoms(entries, atoms, seen)
    values = list(atoms.values())
    atoms.clear()
    for atom, references in zip(values, map(sys.getrefcount, values), strict=True):
        if references - _COUNTING <= seen[id(atom)]:
            counts[id(type(atom))] += 1
            sizes[id(type(atom))] += size_of(atom)


def _parts(objects: Iterable[Any]) -> list[Any]:
    """Return what some objects hold; the list must not be alive any more when references are counted."""
    held = gc.get_referents(*small(objects))
    # Up to 3.13 dictionaries of nothing but atoms are not tracked, and so not among the newborn.
    inner = [one for one in held if id(type(one)) in _UNTRACKED and not gc.is_tracked(one)]
    return held + gc.get_referents(*small(inner))


def _note_atoms(parts: Iterable[Any], atoms: dict[int, Any], seen: Counter[int]) -> None:
    found = [part for part in parts if id(type(part)) in _ATOMS]
    seen.update(map(id, found))
    atoms.update(zip(map(id, found), found, strict=True))


def _references_of_counting() -> int:
    """Return the references that counting them as above makes by itself."""
    one: list[Any] = [object()]
    return next(references for _, references in zip(one, map(sys.getrefcount, one), strict=True))


_COUNTING = _references_of_counting()


# -- containers ------------------------------------------------------------------------------------------------------


def newest(grown: Grown) -> list[tuple[Any, Any]]:
    """Return the newest entries of a container that grew, newest first, as key (None in a list) and value."""
    container, most = grown.container, min(grown.gained, _MOST_NEWEST)
    try:
        if is_a(container, dict):
            return list(islice(reversed(dict.items(container)), most))
        if is_a(container, list):
            return [(None, value) for value in islice(list.__reversed__(container), most)]
        if is_a(container, deque):
            return [(None, value) for value in islice(deque.__reversed__(container), most)]
        if is_a(container, set):
            # Sets have no order: an example is better than nothing.
            return [(None, value) for value in islice(set.__iter__(container), min(most, _MOST_KEYS))]
    except RuntimeError:  # another thread changed it meanwhile
        pass
    return []


def newest_keys(grown: Grown) -> tuple[str, ...]:
    """
    Return the newest keys of a dictionary that grew, or entries of another container, for people.

    Nothing where they are no texts or numbers.
    """
    entries = newest(grown)[:_MOST_KEYS]
    keys = [key_text(key if is_a(grown.container, dict) else value) for key, value in entries]
    return tuple(dict.fromkeys(key for key in keys if not key.startswith("<")))
