"""
Which lines allocate during an operation, over time, as a profile for speedscope (https://www.speedscope.app).

tracemalloc knows what is there and where it was made; it is asked every so often, in a thread of its own.
"""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard import store
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

__all__ = ["Sample", "document", "profile"]

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
#: To ask tracemalloc takes a second for a million blocks, in which nothing else runs: that at most a tenth of the time.
_REST = 9
_OURS = (tracemalloc.__file__, str(Path(__file__).parent / "*"))

#: A stack, the oldest call first: file and line of each call.
Calls = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was there at a time: bytes by the stack that allocated them, and all that was traced, now and at most."""

    time_s: float
    live: Mapping[Calls, int]
    traced_bytes: int
    peak_bytes: int


@contextmanager
def profile(path: str | os.PathLike[str], *, interval_s: float = 0.1, frames: int = 32) -> Iterator[None]:
    """
    Write where the body of a ``with`` allocates, with the stacks and over time.

    The profile "kept" has the bytes that are there at the end and were not at the beginning; "growth over time" has
    what was added from sample to sample, in that order. Tracing makes the body slower, several times where it does
    nothing but allocate. It is on afterwards where it was before.

    Args:
        path: The file, written whole or not at all.
        interval_s: Seconds from sample to sample; more where samples take long.
        frames: Longest stack; of a longer one the oldest calls are missing.

    Raises:
        DocumentError: the file cannot be written.

    """
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start(frames)
    sampler = _Sampler(interval_s)
    try:
        sampler.start()
        yield
    finally:
        samples = sampler.finish()
        if not was_tracing:
            tracemalloc.stop()
    try:
        content = json.dumps(document(samples, Path(path).name), separators=(",", ":")).encode("ascii")
        store.write_whole(Path(path), content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DocumentError(f"{path} cannot be written: {reason}") from error


class _Sampler:
    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._samples = interval_s, list[Sample]()
        self._ended, self._started = threading.Event(), time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="memguard-profile", daemon=True)

    def start(self) -> None:
        tracemalloc.reset_peak()
        self._take()
        self._thread.start()

    def finish(self) -> list[Sample]:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._take()
        return self._samples

    def _run(self) -> None:
        wait = self._interval_s
        while not self._ended.wait(wait):
            wait = max(self._interval_s, _REST * self._take())

    def _take(self) -> float:
        """Take a sample, and return how long that took."""
        started = time.perf_counter()
        traced, peak = tracemalloc.get_traced_memory()
        snapshot = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(inclusive=False, filename_pattern=file) for file in _OURS]
        )
        live = {
            tuple((call.filename, call.lineno) for call in entry.traceback): entry.size
            for entry in snapshot.statistics("traceback")
        }
        self._samples.append(Sample(started - self._started, live, traced, peak))
        return time.perf_counter() - started


def document(samples: list[Sample], name: str) -> dict[str, Any]:
    """Return the speedscope file of some samples, of which the first is from the beginning."""
    frames: dict[tuple[str, int], int] = {}

    def indices(calls: Calls) -> list[int]:
        return [frames.setdefault(call, len(frames)) for call in calls]

    kept = _growth(samples[0], samples[-1])
    over_time = [growth for pair in pairwise(samples) for growth in _growth(*pair)]
    profiles = [
        _profile(title, [(indices(calls), grown) for calls, grown in grown])
        for title, grown in (("kept", kept), ("growth over time", over_time))
    ]
    return {
        "$schema": _SCHEMA,
        "exporter": "pytest-memguard",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {
            "frames": [{"name": f"{Path(file).name}:{line}", "file": file, "line": line} for file, line in frames]
        },
        "profiles": profiles,
        "memguard": {
            "timeline": [
                {"time_s": sample.time_s, "traced_bytes": sample.traced_bytes, "peak_bytes": sample.peak_bytes}
                for sample in samples
            ]
        },
    }


def _growth(before: Sample, after: Sample) -> list[tuple[Calls, int]]:
    """Return the stacks that have more than before, and how many bytes."""
    grown = ((calls, size - before.live.get(calls, 0)) for calls, size in after.live.items())
    return [(calls, size) for calls, size in grown if size > 0]


def _profile(name: str, stacks: list[tuple[list[int], int]]) -> dict[str, Any]:
    return {
        "type": "sampled",
        "name": name,
        "unit": "bytes",
        "startValue": 0,
        "endValue": sum(size for _, size in stacks),
        "samples": [calls for calls, _ in stacks],
        "weights": [size for _, size in stacks],
    }
