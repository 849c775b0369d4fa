"""The recorder: readings in arrays, and nothing else that stays."""

from __future__ import annotations

import sys
from array import array
from itertools import repeat

import pytest

from pytest_memguard import registry
from pytest_memguard.core.ports import Probe
from pytest_memguard.core.values import BLOCKS, FDS, HEAP, MAPPED, RSS, THREADS, Phase, Readings
from pytest_memguard.engine import settle
from pytest_memguard.engine.recorder import Recorder
from pytest_memguard.probes.scripted import ScriptedProbe

MEMORY = {RSS: [1_000, 1_001, 1_002], MAPPED: [2_000, 2_001]}
OBJECTS = {BLOCKS: [10, 20, 30, 40], FDS: [3]}


@pytest.fixture
def probes() -> tuple[ScriptedProbe, ScriptedProbe]:
    """Return two probes of two metrics each."""
    return ScriptedProbe(OBJECTS), ScriptedProbe(MEMORY)


def run(recorder: Recorder, *probes: ScriptedProbe) -> None:
    """Run the subject of all *probes* once."""
    for probe in probes:
        probe.run()
    recorder.run_count[0] += 1


@pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="this interpreter does not count blocks")
def test_the_meter_does_not_move_what_it_measures() -> None:
    """A thousand readings of all the built-in probes leave the number of allocated blocks where it was."""
    recorder = Recorder(registry.probes(), capacity=2_100)
    blocks = array("q", [0, 0])  # the count is an object of its own: it would be read as a block
    with settle.frozen():
        # CPython 3.10 gives a function a cache of its own with its 1,024th call: 38 blocks for all that is called here.
        for _ in repeat(None, 1_050):
            recorder.read(Phase.SCREEN)
        settle.collect()
        blocks[0] = sys.getallocatedblocks()
        for _ in repeat(None, 1_000):
            recorder.read(Phase.CLIMB)
        settle.collect()
        blocks[1] = sys.getallocatedblocks()

    assert blocks[1] - blocks[0] == 0
    assert len(recorder) == 2_050


def test_readings_in_the_order_of_the_probes(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """One reading is one row: the metrics of all probes, one probe after the other."""
    recorder = Recorder(probes)
    recorder.read(Phase.SCREEN)
    run(recorder, *probes)
    recorder.read(Phase.SCREEN)
    recorder.read(Phase.CLIMB)

    assert recorder.readings() == Readings(
        (BLOCKS, FDS, RSS, MAPPED),
        (0, 1, 1),
        (Phase.SCREEN, Phase.SCREEN, Phase.CLIMB),
        array("q", [10, 3, 1_000, 2_000, 20, 3, 1_001, 2_001, 20, 3, 1_001, 2_001]),
    )


def test_more_readings_than_there_was_room_for(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """A table that is full grows, and keeps what it had."""
    recorder = Recorder(probes, capacity=2)
    for _ in range(5):
        recorder.read(Phase.SCREEN)
        run(recorder, *probes)

    assert recorder.readings().column(BLOCKS) == (10, 20, 30, 40, 40)
    assert recorder.readings().runs == (0, 1, 2, 3, 4)


def test_clear(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """A cleared recorder has no readings and has counted no runs."""
    recorder = Recorder(probes)
    recorder.read(Phase.SCREEN)
    run(recorder, *probes)
    recorder.clear()

    assert (len(recorder), recorder.run_count[0], len(recorder.readings())) == (0, 0, 0)


def test_what_was_handed_out_is_a_copy(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """Readings that were handed out stay what they were when the recorder is used again."""
    recorder = Recorder(probes)
    recorder.read(Phase.SCREEN)
    kept, live = recorder.readings(), recorder.live()
    recorder.clear()
    run(recorder, *probes)
    recorder.read(Phase.SCREEN)

    assert kept.column(BLOCKS) == (10,)
    assert live.column(BLOCKS) == (20,)


def test_live_readings_end_where_they_were_taken(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """A look without copying sees the readings so far, and not the room behind them."""
    recorder = Recorder(probes, capacity=64)
    recorder.read(Phase.SCREEN)
    recorder.read(Phase.CONFIRM)

    assert recorder.live().column(MAPPED) == (2_000, 2_000)
    assert recorder.live().column(MAPPED, Phase.CONFIRM) == (2_000,)


@pytest.mark.parametrize(("metric", "value"), [(BLOCKS, 20), (FDS, 3), (RSS, 1_001), (MAPPED, 2_001)])
def test_count_one_metric(probes: tuple[ScriptedProbe, ScriptedProbe], metric: object, value: int) -> None:
    """Any metric can be read by itself, which keeps no reading."""
    recorder = Recorder(probes)
    recorder.read(Phase.SCREEN)
    run(recorder, *probes)

    assert recorder.counter(metric)() == value
    assert len(recorder) == 1


def test_count_what_nothing_reads(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """A metric that no probe gives counts as zero."""
    assert (Recorder(probes).counter(THREADS)(), Recorder([]).counter(HEAP)()) == (0, 0)


def test_phase_count(probes: tuple[ScriptedProbe, ScriptedProbe]) -> None:
    """The readings of each phase are counted, those before the last clear left out."""
    recorder = Recorder(probes)
    for phase in (Phase.CONFIRM, Phase.CONFIRM):
        recorder.read(phase)
    recorder.clear()
    for phase in (Phase.SCREEN, Phase.CLIMB, Phase.CLIMB):
        recorder.read(phase)

    assert [recorder.phase_count(phase) for phase in (Phase.SCREEN, Phase.CLIMB, Phase.CONFIRM)] == [1, 2, 0]


def test_a_probe_that_fails() -> None:
    """What a probe raises comes out, and the reading it was part of is not kept."""

    class Broken:
        metrics = (HEAP,)

        def read(self, row: array[int], at: int) -> None:
            raise OSError("gone")

    broken: Probe = Broken()
    recorder = Recorder([broken])
    with pytest.raises(OSError, match="gone"):
        recorder.read(Phase.SCREEN)

    assert len(recorder) == 0
