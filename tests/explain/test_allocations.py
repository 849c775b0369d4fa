"""Where what stays was allocated: a leak on demand is made and seen at its line."""

from __future__ import annotations

import gc
import importlib.util
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_memguard.explain import allocations
from pytest_memguard.explain.allocations import Allocations

RUNS = 7
SHOP = """\
import json
import fractions

KEPT, CACHE, COUNTS = [], {}, []
CALLS = [0]


class Item:
    def __init__(self, name):
        self.name = name


def leak():
    KEPT.append(Item("x"))


def through_library():
    KEPT.append(json.loads('{"key": [[], [], []]}'))


def through_frames():
    KEPT.append(fractions.Fraction("3/7"))


def through_helper():
    leak()


def cache_once():
    CACHE.setdefault("key", [bytearray(100) for _ in range(5)])


def every_second():
    CALLS[0] += 1
    if CALLS[0] % 2:
        KEPT.append(bytearray(10))


def almost():
    CALLS[0] += 1
    if CALLS[0] != 3:
        KEPT.append(bytearray(10))


def numbers():
    COUNTS.append(0)


def replace():
    CACHE.update(now=[bytearray(100) for _ in range(13)])


def leak_and_replace():
    KEPT.append([bytearray(10)]); CACHE.update(now=[bytearray(10), [], [], [], [], [], []])


def clean():
    return [Item("y") for _ in range(10)]
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a project's module with leaks in it."""
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("shop", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _not_traced() -> Iterator[None]:
    assert not tracemalloc.is_tracing()
    yield
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.stop()
    assert not was_tracing


def look(run: Callable[[], object], tmp_path: Path) -> list[tuple[str, int, str, float]]:
    """Return file, line, function and blocks a run of what some runs keep."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    run()
    gc.collect()
    look_at.note()
    for _ in range(RUNS):
        run()
    gc.collect()
    sites = [site for site in look_at.finish(RUNS) if site.file != __file__]  # collections run finalizers
    return [(site.file, site.line, site.function, site.blocks_per_run) for site in sites]


def line_of(text: str) -> int:
    """Return the line of the project's module with this text."""
    return next(number for number, line in enumerate(SHOP.splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("sizes", "blocks", "size"),
    [
        ({48: 7}, 7, 336),
        ({48: 7, 64: 1}, 7, 336),
        ({48: 7, 64: 1, 408: 1}, 7, 336),
        ({48: 14, 60: 3, 61: 4}, 21, 48 * 14 + 60 * 3 + 61 * 4),
        ({60: 3, 61: 4, 64: 1}, 7, (60 * 3 + 61 * 4 + 64) * 7 // 8),
        ({60: 3, 61: 6}, None, None),
        ({60: 3, 61: -3}, None, None),
        ({60: 8, 61: -1}, 7, 60 * 8 - 61),
        ({60: -7}, None, None),
    ],
)
def test_what_grows_at_each_run(sizes: dict[int, int], blocks: int | None, size: int | None) -> None:
    """Blocks of one size, or of several together, count if they are a multiple; a table that moved does not."""
    growth = allocations._every_run(sizes, RUNS)

    assert (growth and growth.blocks, growth and growth.size) == (blocks, size)


def test_a_leak_is_seen_at_its_line(shop: ModuleType, tmp_path: Path) -> None:
    """An object that each run keeps is named by the line that made it."""
    sites = look(shop.leak, tmp_path)

    assert ("shop.py", line_of("KEPT.append(Item("), "leak") in [site[:3] for site in sites]
    assert all(site[3] == int(site[3]) > 0 for site in sites)


def test_bytes_are_those_of_what_stays(shop: ModuleType, tmp_path: Path) -> None:
    """Bytes a run are what the blocks that stay take, not what a list around them has reserved."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    kept = [shop.Item(bytes(1000)) for _ in range(RUNS)]
    [site] = [site for site in look_at.finish(RUNS) if site.file.endswith("test_allocations.py")]
    kept.clear()

    assert 1000 < site.bytes_per_run < 1500
    assert site.source == "kept = [shop.Item(bytes(1000)) for _ in range(RUNS)]"


def test_the_users_line_stands_for_what_a_library_allocates(shop: ModuleType, tmp_path: Path) -> None:
    """What json makes for the user is shown at the user's call, with the library folded."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    for _ in range(RUNS):
        shop.through_library()
    first = look_at.finish(RUNS)[0]

    assert (first.file, first.function) == ("shop.py", "through_library")
    assert first.traceback[:2] == (
        f"shop.py:{line_of('json.loads')} through_library",
        "calls 3 frames in json",
    )
    assert first.traceback[2].endswith("test_the_users_line_stands_for_what_a_library_allocates")


def test_callers_follow(shop: ModuleType, tmp_path: Path) -> None:
    """The way to the line that allocates is shown, as far as it is the user's."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    for _ in range(RUNS):
        shop.through_helper()
    first = look_at.finish(RUNS)[0]

    assert [line.rpartition(" ")[2] for line in first.traceback[:2]] == ["leak", "through_helper"]


@pytest.mark.parametrize("name", ["clean", "cache_once"])
def test_what_does_not_stay_has_no_site(shop: ModuleType, tmp_path: Path, name: str) -> None:
    """What is freed, or was filled before, leaves nothing at the lines of the user."""
    sites = look(getattr(shop, name), tmp_path)

    assert [site for site in sites if site[0] == "shop.py"] == []


def test_a_cache_beside_a_leak_falls_out(shop: ModuleType, tmp_path: Path) -> None:
    """What is filled once during the runs is no multiple of their number."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    for _ in range(RUNS):
        shop.leak()
        shop.cache_once()
    functions = {site.function for site in look_at.finish(RUNS)}

    assert "leak" in functions
    assert "cache_once" not in functions


@pytest.mark.parametrize(("name", "blocks"), [("replace", None), ("leak_and_replace", 3)])
def test_what_each_run_replaces(shop: ModuleType, tmp_path: Path, name: str, blocks: float | None) -> None:
    """What stands since the first run and became no more is left out, also where a line leaks besides."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    for _ in range(RUNS):
        getattr(shop, name)()
        shop.leak()
        look_at.run_ended()
    found = {site.function: site.blocks_per_run for site in look_at.finish(RUNS)}

    assert found.get(name) == blocks
    assert "leak" in found


@pytest.mark.parametrize(
    ("sizes", "later", "expected"),
    [
        ({48: 14}, {}, {48: 0}),
        ({48: 14}, {48: 6}, {48: 7}),
        ({48: 7}, {48: 6}, {48: 7}),
        ({48: 7, 88: 1}, {48: 6}, {48: 7, 88: 1}),
        ({48: 8, 88: 1}, {48: 6}, {48: 7, 88: 0}),
        ({55: 1, 56: 6}, {56: 6}, {55: 1, 56: 6}),
        ({48: 7}, {48: -7}, {48: 0}),
        ({48: 0, 88: 1}, {48: -1, 88: 1}, {48: 0, 88: 1}),
        ({48: -3}, {}, {48: -3}),
    ],
)
def test_what_is_left_by_more_than_the_first_run(
    sizes: dict[int, int], later: dict[int, int], expected: dict[int, int]
) -> None:
    """The first run is taken to leave what each of the others leaves, give and take a table."""
    assert allocations._once_more(sizes, later, RUNS) == expected


@pytest.mark.parametrize(("name", "least"), [("almost", 6 / 7), ("every_second", 3 / 7)])
def test_a_leak_that_skips_runs(shop: ModuleType, tmp_path: Path, name: str, least: float) -> None:
    """Where nothing grows by a multiple of the runs, what grows by less is shown."""
    sites = look(getattr(shop, name), tmp_path)
    found = [site for site in sites if site[2] == name]

    assert found
    assert max(site[3] for site in found) >= least


def test_a_list_of_shared_numbers(shop: ModuleType, tmp_path: Path) -> None:
    """A list that holds nothing of its own grows in bytes alone."""

    def run() -> None:
        for _ in range(100):
            shop.numbers()

    assert ("shop.py", line_of("COUNTS.append(0)"), "numbers") in [site[:3] for site in look(run, tmp_path)]


def test_nothing_grows(tmp_path: Path) -> None:
    """No sites are made up."""
    assert look(int, tmp_path) == []


def test_the_users_own_tracing_stays_on(shop: ModuleType, tmp_path: Path) -> None:
    """Who traces allocations already goes on, and is told that short stacks may hide a line."""
    tracemalloc.start(2)
    try:
        look_at = Allocations(root=str(tmp_path))
        look_at.start()
        look_at.note()
        for _ in range(RUNS):
            shop.leak()
        sites = look_at.finish(RUNS)

        assert tracemalloc.is_tracing()
        assert tracemalloc.get_traceback_limit() == 2
        assert sites[0].function in ("leak", "Item.__init__")
        assert len(look_at.notes) == 1
        assert "stacks of 2" in look_at.notes[0]
    finally:
        tracemalloc.stop()


def test_a_test_that_stops_tracing(shop: ModuleType, tmp_path: Path) -> None:
    """Who stops tracemalloc meanwhile gets a word instead of sites."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    tracemalloc.stop()

    assert look_at.finish(RUNS) == ()
    assert look_at.notes == ["the test stopped tracemalloc: no allocation sites"]


def test_close_stops_tracing(tmp_path: Path) -> None:
    """Who gives up half-way leaves nothing on; closing twice does no harm."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    look_at.note()
    look_at.close()
    tracing = tracemalloc.is_tracing()
    look_at.close()

    assert not tracing


def test_nothing_is_kept(shop: ModuleType, tmp_path: Path) -> None:
    """A look that is over holds no snapshot."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    shop.leak()
    look_at.note()
    look_at.finish(RUNS)
    gc.collect()
    before = sys.getallocatedblocks()
    look_at.start()
    look_at.note()
    shop.leak()
    look_at.finish(1)
    gc.collect()

    assert sys.getallocatedblocks() - before < 500


def test_a_hundred_thousand_objects_take_less_than_two_seconds(tmp_path: Path) -> None:
    """Traces of a large heap, as many as there are objects, are read in time."""
    look_at = Allocations(root=str(tmp_path))
    look_at.start()
    kept: list[object] = [[] for _ in range(100_000)]
    began = time.process_time()
    look_at.note()
    kept += [[] for _ in range(RUNS)]
    sites = look_at.finish(RUNS)
    spent = time.process_time() - began

    assert sites[0].blocks_per_run == 1.0
    assert spent < 2.0
