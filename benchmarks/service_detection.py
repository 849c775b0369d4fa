"""
Judge simulated days of a service, one reading a minute, and print how often each kind is called a leak, and when.

    python benchmarks/service_detection.py [--days 100]

Judged are the floors of resident memory, as the long view of ``service.detection`` does, from the sixth hour on. The kinds
below the leaks are no leaks but alarm: they were first counted as clean, and no rule here tells them apart.
Targets: 0 % of the days of every clean kind, 100 % of the days that leak 0.1 MB a minute, found within 6 hours.
Beside the whole detection stand three rules that are often used, on the same days. Pure Python, seeded: a number says the same on
every machine. Memory is in MB: 200 of base, 0.5 for each of about 50 requests a minute in flight, noise of 1.5.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from rounds import show

from pytest_memguard.core.floors import LIVE_WIDTH_S, floor_growth, floors
from pytest_memguard.core.policies import ALARM, correlation, growth, points
from pytest_memguard.core.values import RSS, Metric, Series, Unit

MINUTES = 1440
LOOK_EVERY, FIRST_LOOK, WARM_UP = 30, 360, 60
MB = 2.0**20
LOAD = Metric("requests", Unit.COUNT, exact=True)


@dataclass(frozen=True)
class Day:
    """Memory in MB and requests a minute, one reading a minute."""

    memory: list[float]
    load: list[float]


def flat_load(chance: random.Random) -> list[float]:
    """Return about 50 requests a minute."""
    return [max(1.0, chance.gauss(50, 4)) for _ in range(MINUTES)]


def daily_load(chance: random.Random) -> list[float]:
    """Return 10 requests a minute at night, 90 in the middle of the day."""
    swing = [50 - 40 * math.cos(2 * math.pi * t / MINUTES) for t in range(MINUTES)]
    return [max(1.0, base + chance.gauss(0, 4)) for base in swing]


def constant(chance: random.Random) -> Callable[[int], float]:
    """Add nothing."""
    return lambda t: 0.0


def spikes(chance: random.Random) -> Callable[[int], float]:
    """Add a spike of 40 MB in the mean, in two minutes of a hundred."""
    return lambda t: chance.expovariate(1 / 40) if chance.random() < 0.02 else 0.0


def saw(period: int) -> Callable[[random.Random], Callable[[int], float]]:
    """Add garbage of 10 MB that is collected each *period* minutes."""
    return lambda chance: lambda t: 10 * (t % period) / period


def warm_up(chance: random.Random) -> Callable[[int], float]:
    """Add 60 MB of warm-up, half of it in 20 minutes."""
    return lambda t: 60 * (1 - math.exp(-t / 30))


def cache(minutes: int) -> Callable[[random.Random], Callable[[int], float]]:
    """Add a cache that fills evenly to 100 MB."""
    return lambda chance: lambda t: 100 * min(1.0, t / minutes)


def keyed_cache(minutes: int) -> Callable[[random.Random], Callable[[int], float]]:
    """Add a cache of 100 MB that fills as keys are drawn: half full after 0.7 of *minutes*."""
    return lambda chance: lambda t: 100 * (1 - math.exp(-t / minutes))


def restarts(chance: random.Random) -> Callable[[int], float]:
    """Start anew once or twice, each time with a warm-up of 60 MB."""
    at = sorted(chance.sample(range(60, MINUTES - 60), chance.choice((1, 2))))
    return lambda t: 60 * (1 - math.exp(-(t - max([0, *(start for start in at if start <= t)])) / 30))


def deploy(chance: random.Random) -> Callable[[int], float]:
    """Add a step of 50 MB, once."""
    at = chance.randrange(60, MINUTES - 60)
    return lambda t: 50.0 * (t >= at)


def drift(chance: random.Random) -> Callable[[int], float]:
    """Add an allocator's random walk of 0.3 MB a minute."""
    level = [0.0]
    for _ in range(MINUTES):
        level.append(level[-1] + chance.gauss(0, 0.3))
    return lambda t: level[t]


def arenas(chance: random.Random) -> Callable[[int], float]:
    """Add fragments that settle at 30 MB, half of them in an hour."""
    return lambda t: 30 * (1 - math.exp(-t / 90))


def doublings(chance: random.Random) -> Callable[[int], float]:
    """Add 8 MB each time the hours double."""
    return lambda t: 8 * math.log2(1 + t / 60)


def leak(per_minute: float) -> Callable[[random.Random], Callable[[int], float]]:
    """Add a leak of so many MB a minute."""
    return lambda chance: lambda t: per_minute * t


Extra = Callable[[random.Random], Callable[[int], float]]
CLEAN: dict[str, tuple[Callable[[random.Random], list[float]], tuple[Extra, ...]]] = {
    "constant": (flat_load, (constant,)),
    "noise with spikes": (flat_load, (spikes,)),
    "sawtooth of 20 minutes (gc)": (flat_load, (saw(20),)),
    "sawtooth of 47 minutes": (flat_load, (saw(47),)),
    "warm-up": (flat_load, (warm_up,)),
    "daily load": (daily_load, (constant,)),
    "daily load, sawtooth": (daily_load, (saw(20),)),
    "cache, even, full after 1 hour": (flat_load, (cache(60),)),
    "cache, even, full after 4 hours": (flat_load, (cache(240),)),
    "cache by keys, 2 hours": (flat_load, (keyed_cache(120),)),
    "restarts": (flat_load, (restarts,)),
    "restarts, daily load": (daily_load, (restarts,)),
    "step after deploy": (flat_load, (deploy,)),
    "allocator drift (random walk)": (flat_load, (drift,)),
    "allocator drift (settling)": (flat_load, (arenas,)),
}
LEAKS: dict[str, tuple[Callable[[random.Random], list[float]], tuple[Extra, ...]]] = {
    "leak 0.02 MB/min": (flat_load, (leak(0.02),)),
    "leak 0.1 MB/min": (flat_load, (leak(0.1),)),
    "leak 0.1 MB/min, sawtooth": (flat_load, (leak(0.1), saw(20))),
    "leak 0.1 MB/min, daily load": (daily_load, (leak(0.1),)),
    "leak 0.5 MB/min": (flat_load, (leak(0.5),)),
    "leak 2 MB/min": (flat_load, (leak(2.0),)),
}
#: Not clean and not a leak yet: nothing but time, or the holder, tells these from a leak.
OPEN: dict[str, tuple[Callable[[random.Random], list[float]], tuple[Extra, ...]]] = {
    "sawtooth of 7 hours": (flat_load, (saw(420),)),
    "allocator drift (logarithm)": (flat_load, (doublings,)),
    "cache, even, full after 8 hours": (flat_load, (cache(480),)),
    "cache by keys, 8 hours": (flat_load, (keyed_cache(480),)),
}


def day(kind: tuple[Callable[[random.Random], list[float]], tuple[Extra, ...]], chance: random.Random) -> Day:
    """Return one day of *kind*."""
    loads, extras = kind
    load = loads(chance)
    parts = [extra(chance) for extra in extras]
    memory = [200 + 0.5 * load[t] + chance.gauss(0, 1.5) + sum(part(t) for part in parts) for t in range(MINUTES)]
    return Day(memory, load)


def so_far(one: Day, minute: int) -> tuple[Series, Series]:
    """Return memory in bytes and load from the end of the warm-up until *minute*."""
    x = tuple(60.0 * t for t in range(WARM_UP, minute + 1))
    memory = tuple(MB * value for value in one.memory[WARM_UP : minute + 1])
    return Series(RSS, x, memory, "second"), Series(LOAD, x, tuple(one.load[WARM_UP : minute + 1]), "second")


def memguard(one: Day, minute: int) -> bool:
    """Judge the floors without load."""
    memory, load = so_far(one, minute)
    found = floor_growth(floors(memory, load, LIVE_WIDTH_S))
    return found.lasts and found.total >= 4 * MB


def floors_only(one: Day, minute: int) -> bool:
    """Judge the floors with the load left in."""
    memory, _ = so_far(one, minute)
    found = floor_growth(floors(memory, None, LIVE_WIDTH_S))
    return found.lasts and found.total >= 4 * MB


def rule(score: Callable[[Series], float]) -> Callable[[Day, int], bool]:
    """Return whether a policy fires on the last ten raw readings."""

    def fires(one: Day, minute: int) -> bool:
        x = tuple(range(minute - 9, minute + 1))
        return score(Series(RSS, x, tuple(MB * value for value in one.memory[minute - 9 : minute + 1]))) >= ALARM

    return fires


RULES: dict[str, Callable[[Day, int], bool]] = {
    "memguard": memguard,
    "load left in": floors_only,
    "r > 0.9, raw": rule(correlation),
    "5 MB a check, raw": rule(growth),
    "60 points, raw": rule(lambda series: points(series).score),
}


def first_alarm(judge: Callable[[Day, int], bool], one: Day) -> int | None:
    """Return the first minute, of those looked at, at which *judge* calls a leak."""
    return next((minute for minute in range(FIRST_LOOK, MINUTES, LOOK_EVERY) if judge(one, minute)), None)


def judged_days(days: int, seed: int) -> dict[str, dict[str, list[int | None]]]:
    """Return the first alarm of each day, by kind and rule."""
    alarms: dict[str, dict[str, list[int | None]]] = {}
    for number, (name, kind) in enumerate({**CLEAN, **LEAKS, **OPEN}.items()):
        chance = random.Random(seed + number)  # noqa: S311 - nothing secret is drawn
        found: dict[str, list[int | None]] = defaultdict(list)
        for _ in range(days):
            one = day(kind, chance)
            for title, judge in RULES.items():
                found[title].append(first_alarm(judge, one))
        alarms[name] = found
    return alarms


def cell(alarms: list[int | None]) -> str:
    """Return how often there was an alarm, and after how many hours in the median."""
    hits = [minute for minute in alarms if minute is not None]
    return f"{len(hits) / len(alarms):.0%}" + (f" @{median(hits) / 60:.1f}h" if hits else "")


def main() -> None:
    """Print the table, and whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=100, help="of each kind (100)")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    alarms = judged_days(asked.days, asked.seed)
    rows = [[name, *(cell(found[title]) for title in RULES)] for name, found in alarms.items()]
    show(f"{asked.days} days a kind, a look every {LOOK_EVERY} minutes", ["called a leak", *RULES], rows)
    false = sum(minute is not None for name in CLEAN for minute in alarms[name]["memguard"])
    found = alarms["leak 0.1 MB/min"]["memguard"]
    in_time = sum(minute is not None and minute <= 360 for minute in found)
    print(f"false alarms on clean days: {false} of {len(CLEAN) * asked.days}")
    print(f"0.1 MB a minute found within 6 hours: {in_time} of {asked.days}")


if __name__ == "__main__":
    main()
