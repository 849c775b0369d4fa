"""
Two heap snapshots of a service, with requests in between, and what grew from one to the other.

Of several processes the one is kept that gained most objects: a supervisor does nothing, and workers share the load.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import heap
from pytest_memguard.core.units import Unit, signed
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.renderers.terminal import plain
from pytest_memguard.scenario.launch import Service, new_mark
from pytest_memguard.scenario.stages import send
from pytest_memguard.scenario.steps import StepSpec, mix_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_memguard.scenario.spec import Scenario

__all__ = ["SnapshotPair", "take"]

#: Before the first one, so that what is made once is in both; and between the two.
_WARM_UP, _BETWEEN = 100, 300
_CONNECTIONS = 4
_MOST_PROCESSES = 4
_MOST_ROWS = 5
#: What fewer than one request in ten leaves behind is timers, connections and warnings.
_LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class SnapshotPair:
    """
    Two snapshots of one process.

    Attributes:
        before: The file of the earlier one.
        requests: Completed in between.
        difference: What grew.

    """

    before: Path
    after: Path
    requests: int
    difference: heap.HeapDiff

    def lines(self) -> Iterator[str]:
        """Yield what grew, and where it hangs, a line each."""
        grown = self.difference.growth
        objects, size = signed(grown.count, Unit.COUNT), signed(grown.bytes, Unit.BYTE)
        yield f"{objects} objects, {size} over {self.requests} requests"
        least = self.requests * _LEAST_SHARE
        rows = [change for change in self.difference.paths if change.count >= least and change.bytes > 0]
        for change in rows[:_MOST_ROWS]:
            count, bytes_ = signed(change.count, Unit.COUNT), signed(change.bytes, Unit.BYTE)
            yield f"{count} ({bytes_}) at {plain(change.key.text)}"


def take(scenario: Scenario, folder: Path) -> SnapshotPair:
    """
    Start *scenario*, take two snapshots of the process that grows most, and compare them.

    Args:
        scenario: Where the requests go as well.
        folder: Where the snapshots are kept; it is made.

    Raises:
        CouldNotRun: the service did not start or answer, or no agent in it can write a snapshot.

    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = new_mark()
    with ExitStack() as stack:
        services = []
        for spec in scenario.services:
            url = scenario.url if spec == scenario.service else ""
            services.append(stack.enter_context(Service(spec, url=url, mark=mark)))
        step = StepSpec("before the snapshots", _WARM_UP, _CONNECTIONS, routes=mix_of(scenario))
        send(scenario, step, services)
        before = _taken(services, folder, f"{scenario.name}-before")
        requests = send(scenario, replace(step, name="between the snapshots", times=_BETWEEN), services)
        after = _taken(services, folder, f"{scenario.name}-after")
    pairs = [(before[pid], after[pid]) for pid in before if pid in after]
    if not pairs:
        raise CouldNotRun(f"{scenario.name}: the processes that were there before the load are not there after it")
    return _kept(pairs, requests, folder, scenario.name)


def _taken(services: Sequence[Service], folder: Path, stem: str) -> dict[int, Path]:
    """Have each process write a snapshot, and return the files by process."""
    found: dict[int, Path] = {}
    why = "no agent answers in it; is it a Python program?"
    for client in (client for service in services for client in service.clients()):
        if len(found) == _MOST_PROCESSES:
            break
        try:
            client.call("gc", passes=2)
            written = Path(client.call("snapshot", compress=True)["path"])
            target = folder / f"{stem}-{client.pid}.heapsnapshot.gz"
            shutil.move(written, target)
        except (CouldNotRun, OSError) as error:
            why = str(error)
        else:
            found[client.pid] = target
    if not found:
        raise CouldNotRun(f"no snapshot could be taken: {why}")
    return found


def _kept(pairs: Sequence[tuple[Path, Path]], requests: int, folder: Path, name: str) -> SnapshotPair:
    """Keep the pair that grew most, under names that the next run finds again."""
    compared = [(heap.compare(heap.read(before), heap.read(after)), before, after) for before, after in pairs]
    compared.sort(key=lambda one: one[0].growth.bytes, reverse=True)
    difference, before, after = compared[0]
    for _, *others in compared[1:]:
        for file in others:
            with suppress(OSError):
                file.unlink()
    named = [folder / f"{name}-{when}.heapsnapshot.gz" for when in ("before", "after")]
    return SnapshotPair(before.replace(named[0]), after.replace(named[1]), requests, difference)
