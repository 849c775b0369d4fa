"""
The figures of several workers, each in files of its own that the others can read.

These are the files of prometheus_client's multi-process mode. A guard's figures are totals already, so they are written
as they are, where prometheus_client's own metrics count up.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, multiprocess, values
from prometheus_client.registry import Collector

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.locks import fork_safe_lock
from pytest_memguard.service.metrics import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from pytest_memguard.service.metrics import Watched

__all__ = ["of_all_workers", "require", "share"]

#: A gauge of each living worker, told apart by the label ``pid``.
_MODE = "liveall"

_Sample = tuple[str, tuple[str, ...], tuple[str, ...]]


class _Shared:
    """What this process has written, so that only what changed is written again."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._pid = os.getpid()
        self._values: dict[_Sample, values.MutexValue] = {}
        self._written: dict[_Sample, float] = {}
        self.names: set[str] = set()

    def write(self, families: Iterable[Metric]) -> None:
        """Write the samples of *families*."""
        with self._lock:
            if self._pid != os.getpid():  # a forked child has files of its own, and they are empty
                self._pid = os.getpid()
                self._written.clear()
            for family in families:
                self.names.add(family.name)
                for sample, value in _apart(family):
                    if self._written.get(sample) != value:
                        self._value(family, sample).set(value)
                        self._written[sample] = value

    def _value(self, family: Metric, sample: _Sample) -> values.MutexValue:
        if sample not in self._values:
            name, labels, label_values = sample
            self._values[sample] = values.ValueClass(
                family.type, family.name, name, labels, label_values, family.documentation, multiprocess_mode=_MODE
            )
        return self._values[sample]


_SHARED = _Shared()


def require(folder: str) -> None:
    """
    Make sure that figures can be shared in *folder*.

    Raises:
        ConfigError: the folder is not there, or prometheus_client was imported before it was named.

    """
    if not Path(folder).is_dir():
        raise ConfigError(f"PROMETHEUS_MULTIPROC_DIR = {folder!r} is no folder; make it before the service starts")
    if not values.ValueClass._multiprocess:  # noqa: SLF001 - there is no public way to ask
        raise ConfigError("PROMETHEUS_MULTIPROC_DIR was set too late; set it before prometheus_client is imported")


def share(guard: Watched, folder: str) -> None:
    """
    Write the figures of *guard* where the other workers find them; to be called at every reading.

    Raises:
        ConfigError: see ``require``.

    """
    require(folder)
    _SHARED.write(registry(guard).collect())


def of_all_workers(folder: str) -> CollectorRegistry:
    """Return a registry with what all workers wrote to *folder*, the gauges of dead ones left out."""
    _forget_the_dead(Path(folder))
    made = CollectorRegistry()
    made.register(_Workers(folder))
    return made


class _Workers(Collector):
    """Reads the files, in which the service's own metrics may stand too; only the guard's are passed on."""

    def __init__(self, folder: str) -> None:
        self._files = multiprocess.MultiProcessCollector(None, folder)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the guard."""
        return (family for family in self._files.collect() if family.name in _SHARED.names)


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of workers that are gone: their memory is free; what they counted stays in the sums."""
    import psutil  # noqa: PLC0415 - heavy; loaded by the guard's first reading already

    for file in folder.glob(f"gauge_{_MODE}_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            with suppress(FileNotFoundError):  # another worker was faster
                multiprocess.mark_process_dead(int(pid), str(folder))


def _apart(family: Metric) -> Iterator[tuple[_Sample, float]]:
    """Yield the samples as the files have them: each bucket of a histogram for itself, and no count."""
    below = 0.0
    for sample in family.samples:
        value = sample.value
        if family.type == "histogram":
            if sample.name.endswith("_count"):
                continue
            if sample.name.endswith("_bucket"):
                value, below = value - below, 0.0 if sample.labels["le"] == "+Inf" else value
        yield (sample.name, tuple(sample.labels), tuple(sample.labels.values())), value
