"""
How long explaining one leak takes among many live objects; targets: 2 s among 100,000, 10 s among 1,000,000.

    python benchmarks/explain.py [OBJECTS ...]
"""

from __future__ import annotations

import gc
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from pytest_memguard.explain.growth import containers_that_grew
from pytest_memguard.explain.holders import ContainerCheck
from pytest_memguard.explain.retention import Survey, survey

RUNS = 7


class Row:
    """What a service keeps many of."""

    def __init__(self, number: int) -> None:
        self.number, self.names, self.parts = number, [number], {"part": (number, [number])}


class Session:
    """What leaks."""

    def __init__(self) -> None:
        self.payload = bytearray(1000)
        self.rows = [Row(number) for number in range(20)]


def leaks(shop: Any) -> dict[str, Callable[[], object]]:  # noqa: ANN401 - a module
    """Return leaks of several kinds, each a function that is one run."""
    shop.LISTENERS, shop.LAST, shop.BY_NAME = [], None, {}

    def chain() -> None:
        shop.LAST = (shop.LAST, Session())

    return {
        "list": lambda: shop.LISTENERS.append(Session()),
        "dict": lambda: shop.BY_NAME.__setitem__(object(), Session()),
        "linked list": chain,
        "10,000 objects a run": lambda: shop.LISTENERS.append([Session() for _ in range(125)]),
    }


def explain(leak: Callable[[], object]) -> tuple[Survey, dict[str, float]]:
    """Return what is found and the seconds of each part."""
    leak()
    gc.collect()
    gc.freeze()
    check = ContainerCheck("")
    began_s = time.perf_counter()
    check.begin()
    counted_s = time.perf_counter()
    for _ in range(RUNS):
        leak()
    newborn = gc.get_objects()
    ran_s = time.perf_counter()
    grown = containers_that_grew(check, RUNS)
    compared_s = time.perf_counter()
    found = survey(newborn, grown, runs=RUNS, home="", deadline_s=60.0)
    ended_s = time.perf_counter()
    check.close()
    gc.unfreeze()
    return found, {"count": counted_s - began_s, "compare": compared_s - ran_s, "survey": ended_s - compared_s}


def main() -> None:
    """Print one line a size and leak."""
    shop = types.ModuleType("shop")
    sys.modules["shop"] = shop
    for most in [int(one) for one in sys.argv[1:]] or [100_000, 1_000_000]:
        shop.ROWS = []
        while len(gc.get_objects()) < most:
            shop.ROWS.extend(Row(number) for number in range(1_000))
        for name, leak in leaks(shop).items():
            found, seconds = explain(leak)
            parts = ", ".join(f"{part} {took_s:.2f}" for part, took_s in seconds.items())
            print(
                f"{most:>9,} objects, {name:<21} {sum(seconds.values()):5.2f} s ({parts})  {found.paths[0].hops[1].name}"
            )


if __name__ == "__main__":
    main()
