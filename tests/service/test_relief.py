"""Relief: what is done about memory in ordinary times, when it is critical, and in an emergency."""

from __future__ import annotations

import gc
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard.service import relief
from pytest_memguard.service.actions import Action, Outcome
from pytest_memguard.service.monitor import Collections
from pytest_memguard.service.pressure import Pressure
from pytest_memguard.service.relief import Collector, Done, Relief, drop_snapshots, trim, unload
from pytest_memguard.service.settings import GuardSettings

HEALTHY, WARNING, CRITICAL, EMERGENCY = Pressure


class Caches:
    """Two caches that note what is done to them."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def shrink(self, share: float) -> int:
        """Note the share."""
        self.calls.append(share)
        return 3

    def clear_all(self) -> int:
        """Note it."""
        self.calls.append("all")
        return 5


class Service:
    """A process with scripted memory, and the relief of its guard."""

    def __init__(self, **settings: object) -> None:
        self.now_s = 0.0
        self.caches = Caches()
        self.forgotten = 0
        self.done: list[str] = []
        self.relief = Relief(
            GuardSettings.from_environment({}, platform="default", **settings),
            Collections(),
            caches=lambda: self.caches,
            forget=self._forget,
            actions=[Action("mine", 70, 0.82, lambda: self.done.append("mine"))],
            kept=int,
            resident=int,
            clock=lambda: self.now_s,
        )

    def _forget(self) -> None:
        self.forgotten += 1

    def relieve(self, level: Pressure, usage: float) -> list[str]:
        """Return the names of what was done."""
        return [outcome.name for outcome in self.relief.relieve(level, usage)]


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the generations collected, instead of collecting; each collection finds what ``FOUND`` says."""
    generations: list[int] = []

    def collect(generation: int = 2) -> int:
        generations.append(generation)
        return 0

    monkeypatch.setattr(gc, "collect", collect)
    return generations


@pytest.mark.parametrize(
    ("usage", "names"),
    [
        (0.70, []),
        (0.71, ["collect"]),
        (0.81, ["collect", "clear metrics"]),
        (0.83, ["collect", "clear metrics", "mine"]),
        (0.86, ["collect", "clear metrics", "mine", "drop snapshots"]),
    ],
)
def test_what_is_done_as_usage_rises(usage: float, names: list[str], collected: list[int]) -> None:
    """One action after the other joins in, the service's own among them."""
    assert Service().relieve(WARNING, usage) == names


def test_critical_collects_and_cuts_the_caches(collected: list[int]) -> None:
    """Whatever the shares say: a platform may call less than 70 per cent critical."""
    service = Service()

    assert service.relieve(CRITICAL, 0.1) == ["collect", "clean up caches"]
    assert service.caches.calls == [0.5]
    assert collected == [2]


def test_without_proactive_collections_nothing_is_done_below_critical(collected: list[int]) -> None:
    """The setting turns off what is done ahead of need, and nothing else."""
    service = Service(proactive_gc=False)

    assert service.relieve(WARNING, 0.89) == []
    assert service.relieve(CRITICAL, 0.5) == ["collect", "clean up caches"]


def test_cooldown(collected: list[int]) -> None:
    """Nothing is done twice within the interval that is set for collections."""
    service = Service(gc_interval_s=30)
    ran = []
    for now_s in (0.0, 5.0, 29.0, 31.0):
        service.now_s = now_s
        ran.append(service.relieve(WARNING, 0.75))

    assert ran == [["collect"], [], [], ["collect"]]


# Emergency


def test_everything_in_an_emergency(collected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches are cleared and the guard forgets before it collects, and the heap is trimmed last."""
    monkeypatch.setattr(relief, "unload", lambda names: None)
    service = Service(unload=("big",))

    assert service.relieve(EMERGENCY, 0.99) == [
        "clear caches", "clear metrics", "drop snapshots", "mine", "unload modules", "collect", "trim",
    ]  # fmt: skip
    assert service.caches.calls == ["all"]
    assert service.forgotten == 1
    assert service.done == ["mine"]


@pytest.mark.parametrize(("found", "collections"), [([0], 1), ([7, 0], 2), ([7, 7, 0], 3), ([7, 7, 7, 7], 3)])
def test_up_to_three_collections(found: list[int], collections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It collects until a collection finds nothing, three times at most."""
    finds = iter(found)
    monkeypatch.setattr(gc, "collect", lambda generation=2: next(finds))

    assert Service(trim=False).relieve(EMERGENCY, 0.99).count("collect") == collections


def test_an_emergency_does_not_repeat_at_once(collected: list[int]) -> None:
    """While it lasts, everything is done again after the cooldown; when asked for, at once."""
    service = Service(gc_interval_s=30)
    first = service.relieve(EMERGENCY, 0.99)
    service.now_s = 29.0
    resting = service.relieve(EMERGENCY, 0.99)
    asked = service.relief.emergency()
    service.now_s = 60.0

    assert first
    assert resting == []
    assert asked
    assert service.relieve(EMERGENCY, 0.99) == first


def test_one_emergency_at_a_time(collected: list[int]) -> None:
    """What is asked for in the middle of one is being done already."""
    service = Service()
    inner: list[Any] = []
    service.relief._own = (Action("nested", 1, 2.0, lambda: inner.append(service.relief.emergency())),)
    outer = service.relief.emergency()

    assert inner == [()]
    assert "nested" in [outcome.name for outcome in outer]


def test_without_caches(collected: list[int]) -> None:
    """A service that has none loses nothing."""
    service = Service()
    service.caches = None  # type: ignore[assignment]

    assert [outcome.error for outcome in service.relief.emergency()].count(None) == 6
    assert service.relieve(CRITICAL, 0.95)[:2] == ["collect", "clean up caches"]


# The parts


@pytest.mark.parametrize(
    ("latest_s", "generation"),
    [([0, 0, 0], 2), ([0.001, 0.01, 0.05], 2), ([0.001, 0.01, 0.051], 1), ([0.001, 0.06, 0.2], 0), ([1, 1, 1], None)],
)
def test_a_gentle_collection(latest_s: list[float], generation: int | None, collected: list[int]) -> None:
    """The oldest generation whose latest collection kept to the budget; none where all take longer."""
    collections = Collections()
    collections.latest_s = latest_s
    Collector(collections, 0.05).gently()

    assert collected == ([] if generation is None else [generation])


def test_a_needed_collection_is_thorough(collected: list[int]) -> None:
    """When memory is critical, a pause is better than an end."""
    service = Service()
    service.relief._collector._collections.latest_s = [1, 1, 1]

    assert service.relieve(WARNING, 0.75) == ["collect"]
    assert collected == []

    service.now_s = 100.0
    service.relieve(CRITICAL, 0.9)

    assert collected == [2]


def test_what_was_done_is_counted() -> None:
    """Runs, bytes, seconds and failures by name."""
    done = Done().add(Outcome("x", 100, 0.5)).add(Outcome("x", 0, 0.25, "ValueError: no"))

    assert done == Done(2, 100, 0.75, 1)


def _snapshots(folder: Path) -> list[str]:
    for number, name in enumerate(["old", "older", "new"]):
        file = folder / f"{name}.heapsnapshot"
        file.write_bytes(b"x" * 10 * (number + 1))
        os.utime(file, (1000 - number if name != "new" else 2000,) * 2)
    (folder / "notes.txt").write_text("keep")
    return sorted(file.name for file in folder.iterdir())


def test_snapshots_in_memory_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the newest, and nothing else that lies there."""
    _snapshots(tmp_path)
    monkeypatch.setattr(relief, "_file_system", lambda folder: "tmpfs")

    assert drop_snapshots(tmp_path) == 10 + 20
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.heapsnapshot", "notes.txt"]


def test_snapshots_on_a_disk_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There they cost no memory, and are what a leak is found with."""
    before = _snapshots(tmp_path)
    monkeypatch.setattr(relief, "_file_system", lambda folder: "ext4")

    assert drop_snapshots(tmp_path) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_file_systems(tmp_path: Path) -> None:
    """The mount point nearest above a folder tells; a folder that is not there has none."""
    mounts = tmp_path / "mounts"
    inner = tmp_path.resolve() / "inner"
    (inner / "deep").mkdir(parents=True)
    mounts.write_text(f"disk / ext4 rw 0 0\nram {inner} tmpfs rw 0 0\n")

    assert relief._file_system(inner / "deep", mounts) == "tmpfs"
    assert relief._file_system(tmp_path, mounts) == "ext4"
    assert relief._file_system(tmp_path / "gone", mounts) == ""
    assert relief._file_system(tmp_path, tmp_path / "no mounts") == ""


def test_unloading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named module goes with what lies below it, from its package as well; its namesakes stay."""
    names = ("shop", "shop.big", "shop.big.model", "shop.bigger")
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["shop"].big = sys.modules["shop.big"]  # type: ignore[attr-defined]
    unload(["shop.big", "not.loaded"])

    assert [name for name in names if name in sys.modules] == ["shop", "shop.bigger"]
    assert not hasattr(sys.modules["shop"], "big")


def test_trimming_is_measured() -> None:
    """What the resident memory fell by; never less than nothing."""
    falling, rising = iter([1000, 400]), iter([400, 1000])

    assert trim(lambda: next(falling)) == 600
    assert trim(lambda: next(rising)) == 0
