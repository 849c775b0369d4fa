"""``heap.profile``: where an operation allocates, in the format of speedscope."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import heap
from pytest_memguard.errors import DocumentError
from pytest_memguard.heap.speedscope import Sample, document

A, B, C = ("a.py", 1), ("b.py", 2), ("c.py", 3)


def test_kept_and_over_time() -> None:
    """What grew is told once over all, and once from sample to sample in the order of time."""
    samples = [
        Sample(0.0, {(A,): 10}, 10, 10),
        Sample(0.1, {(A,): 10, (A, B): 50}, 60, 60),
        Sample(0.2, {(A,): 30, (A, B): 20, (C,): 5}, 55, 99),
    ]
    found = document(samples, "x.json")
    kept, over_time = found["profiles"]

    assert found["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert [frame["name"] for frame in found["shared"]["frames"]] == ["a.py:1", "b.py:2", "c.py:3"]
    assert (kept["samples"], kept["weights"], kept["endValue"]) == ([[0], [0, 1], [2]], [20, 20, 5], 45)
    assert (over_time["samples"], over_time["weights"]) == ([[0, 1], [0], [2]], [50, 20, 5])
    assert {profile["unit"] for profile in found["profiles"]} == {"bytes"}
    assert [entry["peak_bytes"] for entry in found["memguard"]["timeline"]] == [10, 60, 99]


def test_an_operation(tmp_path: Path) -> None:
    """The lines that keep memory are in the file, with their callers; tracing is off afterwards, as before."""
    kept: list[Any] = []
    with heap.profile(tmp_path / "x.speedscope.json", interval_s=0.01):
        kept.append(bytearray(1_000_000))
    found = json.loads((tmp_path / "x.speedscope.json").read_text(encoding="ascii"))
    profile = found["profiles"][0]
    largest = max(range(len(profile["weights"])), key=profile["weights"].__getitem__)
    line = found["shared"]["frames"][profile["samples"][largest][-1]]

    assert (Path(line["file"]).name, profile["weights"][largest] >= 1_000_000) == ("test_speedscope.py", True)
    assert not tracemalloc.is_tracing()


def test_tracing_that_was_on_stays_on(tmp_path: Path) -> None:
    """Who traces goes on tracing, also where the operation fails; then no file is written."""
    tracemalloc.start()
    try:
        with pytest.raises(ZeroDivisionError), heap.profile(tmp_path / "x.json"):
            _ = 1 / 0

        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """One line says so."""
    with pytest.raises(DocumentError, match="cannot be written: No such file"), heap.profile(tmp_path / "none" / "x"):
        pass
