"""The built-in actions: what gives memory back in any service, in ordinary times and in an emergency."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard.service.actions import Action, Actions, Outcome, carry_out, rest_s
from pytest_memguard.service.pressure import Pressure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_memguard.service.caches import Caches
    from pytest_memguard.service.monitor import Collections
    from pytest_memguard.service.settings import GuardSettings

__all__ = ["MOST_COLLECTIONS", "NEVER", "Collector", "Done", "Relief", "drop_snapshots", "trim", "unload"]

#: An emergency collects at most so often: what a clean-up frees may keep alive what the next collection finds.
MOST_COLLECTIONS = 3
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
#: The share of the limit above which an action is due that waits for a level, or for an emergency.
NEVER = math.inf
#: How much of each cache goes when memory is critical.
_CUT = 0.5


@dataclass(frozen=True, slots=True)
class Done:
    """What the runs of one action brought so far."""

    runs: int = 0
    freed_bytes: int = 0
    seconds: float = 0.0
    failures: int = 0

    def add(self, outcome: Outcome) -> Done:
        """Return the sum with one more run."""
        return Done(
            self.runs + 1,
            self.freed_bytes + outcome.freed_bytes,
            self.seconds + outcome.duration_s,
            self.failures + (outcome.error is not None),
        )


class Collector:
    """
    Runs the collector, as thoroughly as there is time for.

    Args:
        collections: Knows how long a collection of each generation takes.
        budget_s: What a collection may take that nobody needs at once; the service stands still for as long.

    """

    def __init__(self, collections: Collections, budget_s: float) -> None:
        self._collections = collections
        self._budget_s = budget_s
        self.found = 0

    def fully(self) -> None:
        """Collect all generations, however long that takes."""
        self.found = gc.collect()

    def gently(self) -> None:
        """Collect the oldest generation that is not expected to take longer than the budget; none if all do."""
        for generation in (2, 1, 0):
            if self.is_brief(generation):
                self.found = gc.collect(generation)
                return

    def is_brief(self, generation: int = 2) -> bool:
        """Whether a collection is expected to keep to the budget."""
        return self._collections.expected_s(generation) <= self._budget_s

    def empty_free_lists(self) -> None:
        """
        Run a full collection of nothing, which takes microseconds: it empties the free lists all the same.

        Not where the service has frozen objects of its own, which this would thaw.
        """
        if gc.get_freeze_count():
            return
        with self._collections.unseen():
            gc.freeze()
            try:
                gc.collect()
            finally:
                gc.unfreeze()


class Relief:
    """
    All that one guard can do about memory, and what it did.

    Args:
        settings: Cooldown, pause budget, modules to unload, folder of snapshots.
        collections: Knows how long collections take here.
        caches: Returns the named caches, None where there are none.
        forget: Drops what the guard itself keeps of the past.
        actions: The service's own.
        kept: Bytes in use now, of heap and objects; asked before and after.
        resident: Resident bytes now.
        clock: Never goes back.

    """

    def __init__(  # noqa: PLR0913 - one argument a thing that can be done
        self,
        settings: GuardSettings,
        collections: Collections,
        *,
        caches: Callable[[], Caches | None],
        forget: Callable[[], object],
        actions: Iterable[Action],
        kept: Callable[[], int],
        resident: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done: dict[str, Done] = {}
        self._settings = settings
        self._caches = caches
        self._forget = forget
        self._own = tuple(actions)
        self._kept = kept
        self._resident = resident
        self._clock = clock
        self._collector = Collector(collections, settings.pause_budget_s)
        self._level = Pressure.HEALTHY
        self._actions = Actions(self._ordinary(), measure=kept, cooldown_s=settings.gc_interval_s, clock=clock)
        self._ready_s = clock()
        self._one_at_a_time = threading.Lock()

    def relieve(self, level: Pressure, usage: float) -> tuple[Outcome, ...]:
        """Do what is due at this pressure: everything there is in an emergency, if it was not done just now."""
        self._level = level
        if level is not Pressure.EMERGENCY:
            ready = self._settings.proactive_gc or level is Pressure.CRITICAL
            return self._note(self._actions.relieve(level, usage)) if ready else ()
        return self.emergency() if self._clock() >= self._ready_s else ()

    def collect(self) -> Outcome:
        """Run a full collection."""
        return self._note((carry_out(self._full_collection, self._kept),))[0]

    @property
    def can_collect(self) -> bool:
        """Whether the settings allow a full collection that is not needed, here and now."""
        return self._settings.proactive_gc and self._collector.is_brief()

    def empty_free_lists(self) -> None:
        """Let the interpreter give back what it keeps for reuse, so that the next collection frees garbage alone."""
        self._collector.empty_free_lists()

    def emergency(self) -> tuple[Outcome, ...]:
        """Do all that frees memory, whatever rests; nothing while another thread is at it."""
        if not self._one_at_a_time.acquire(blocking=False):
            return ()
        try:
            began_s = self._clock()
            outcomes = self._note(tuple(self._everything()))
            ended_s = self._clock()
            self._ready_s = ended_s + rest_s(ended_s - began_s, self._settings.gc_interval_s)
        finally:
            self._one_at_a_time.release()
        return outcomes

    def _everything(self) -> Iterator[Outcome]:
        for step in (self._clear_caches, *self._ordinary()[2:], *self._unload):
            yield carry_out(step, self._kept)
        for _ in range(MOST_COLLECTIONS):
            yield carry_out(self._full_collection, self._kept)
            if not self._collector.found:
                break
        if self._settings.trim:
            yield carry_out(Action("trim", 0, NEVER, lambda: trim(self._resident)), self._kept)

    def _ordinary(self) -> tuple[Action, ...]:
        """Return what is done as the usage rises, long before an emergency."""
        return (
            Action("collect", 100, 0.70, self._collect, at=Pressure.CRITICAL),
            Action("clean up caches", 90, NEVER, self._clean_up_caches, at=Pressure.CRITICAL),
            Action("clear metrics", 80, 0.80, self._clear_metrics),
            Action("drop snapshots", 60, 0.85, lambda: drop_snapshots(Path(self._settings.snapshot_dir))),
            *self._own,
        )

    @property
    def _full_collection(self) -> Action:
        return Action("collect", 100, NEVER, self._collector.fully)

    @property
    def _clear_caches(self) -> Action:
        return Action("clear caches", 90, NEVER, self._clear_all_caches)

    @property
    def _unload(self) -> tuple[Action, ...]:
        names = self._settings.unload
        return (Action("unload modules", 0, NEVER, lambda: unload(names)),) if names else ()

    def _collect(self) -> None:
        if self._level.rank >= Pressure.CRITICAL.rank:
            self._collector.fully()
        else:
            self._collector.gently()

    def _clear_metrics(self) -> None:
        self._forget()

    def _clean_up_caches(self) -> None:
        caches = self._caches()
        if caches is not None:
            caches.shrink(_CUT)

    def _clear_all_caches(self) -> None:
        caches = self._caches()
        if caches is not None:
            caches.clear_all()

    def _note(self, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        for outcome in outcomes:
            done = self.done.get(outcome.name, Done())
            self.done[outcome.name] = done.add(outcome)
        return outcomes


def drop_snapshots(folder: Path) -> int:
    """
    Remove the heap snapshots in *folder* but the newest, if they lie in memory; return their bytes.

    On a disk they cost no memory, and are what a leak is found with.
    """
    if _file_system(folder) not in _MEMORY_FILE_SYSTEMS:
        return 0
    freed = 0
    for file in sorted(folder.glob("*.heapsnapshot*"), key=lambda file: file.stat().st_mtime)[:-1]:
        size = file.stat().st_size
        file.unlink()
        freed += size
    return freed


def _file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system that *folder* lies in; empty where the system does not tell."""
    try:
        place = folder.resolve(strict=True)
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found = {point: kind for _, point, kind, *_ in (line.split() for line in lines)}
    return next((found[point] for one in (place, *place.parents) if (point := str(one)) in found), "")


def unload(names: Iterable[str]) -> None:
    """Remove the named modules, and what lies below them, from ``sys.modules``; the next use imports them anew."""
    for name in names:
        for loaded in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
            module = sys.modules.pop(loaded)
            parent, _, child = loaded.rpartition(".")
            if getattr(sys.modules.get(parent), child, None) is module:
                delattr(sys.modules[parent], child)


def trim(resident: Callable[[], int]) -> int:
    """Give free heap back to the system; return by how many bytes the resident memory fell."""
    import psutil  # noqa: PLC0415 - heavy; loaded by the guard's first reading already

    if not hasattr(psutil, "heap_trim"):
        return 0
    before = resident()
    psutil.heap_trim()
    return max(0, before - resident())
