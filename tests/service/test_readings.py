"""The log of readings: what goes in comes out, and that it takes no memory as it fills."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from pytest_memguard.service.readings import GcStats, Log, Reading

FULL = Reading(1.25, 2**40, 3, 4, 5, 6, 7, 8, 2**53, GcStats((9, 10, 11), 0.125, 12, 13), 14)


@pytest.mark.parametrize("reading", [FULL, Reading(0.0, 1), replace(FULL, heap_bytes=None, used_bytes=None)])
def test_what_goes_in_comes_out(reading: Reading) -> None:
    """Exact, and unknown where it was not known."""
    log = Log(2)
    log.append(reading)

    assert (log.first, log.last, list(log)) == (reading, reading, [reading])


def test_the_oldest_makes_room() -> None:
    """A full log holds the latest, in the order in which they came, however often it went round."""
    log = Log(3)
    sizes = []
    for number in range(8):
        log.append(Reading(number, number))
        sizes.append((len(log), log.full))

    assert [reading.rss_bytes for reading in log] == [5, 6, 7]
    assert (log.first, log.last) == (Reading(5, 5), Reading(7, 7))
    assert sizes[1:4] == [(2, False), (3, True), (3, True)]


def test_an_empty_log() -> None:
    """Nothing is the first and the last, before the first reading and after all were forgotten."""
    log = Log(3)
    log.append(FULL)
    log.clear()

    assert (log.first, log.last, list(log), len(log)) == (None, None, [], 0)


def test_filling_it_takes_no_memory() -> None:
    """The guard reads the memory of its own process: its own readings must not look like a leak."""
    log = Log(1000)
    for number in range(10):
        log.append(replace(FULL, time_s=number + 0.5))
    before = sys.getallocatedblocks()
    for number in range(990):
        log.append(replace(FULL, time_s=number + 0.5))

    assert sys.getallocatedblocks() - before < 50
