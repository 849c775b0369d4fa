"""Snapshots every so often, or when a signal asks for one; only the latest are kept."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError, MemguardError
from pytest_memguard.heap.forking import is_forking
from pytest_memguard.heap.taking import Summary, write

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Continuous", "on_signal"]

KEEP = 5
_NAME = re.compile(r"heap-(\d+)-(\d{8}T\d{6}\.\d{6})\.heapsnapshot\.gz")


class Continuous:
    """
    Takes a snapshot every so many seconds in a thread of its own, from ``start`` to ``stop``.

    The files are called heap-PROCESS-TIME.heapsnapshot.gz. Of those of this process the latest *keep* stay. A worker
    that is forked meanwhile takes its own.

    Args:
        folder: Where they go; it is made if need be, for its owner only.
        every_s: Seconds from the end of one to the beginning of the next; None takes one only when ``ask`` is called.
        keep: How many stay.
        said: Called with each summary, or with the error when there is none.
        settings: As for ``write``.

    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every_s: float | None,
        *,
        keep: int = KEEP,
        said: Callable[[Summary | MemguardError], None] = lambda _: None,
        **settings: Any,  # noqa: ANN401 - of write
    ) -> None:
        if every_s is not None and not every_s > 0:
            raise ConfigError(f"every_s = {every_s!r}: write a number of seconds above 0")
        if keep < 1:
            raise ConfigError(f"keep = {keep!r}: write how many snapshots stay, at least 1")
        self._folder, self._every_s, self._keep, self._said = Path(folder), every_s, keep, said
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._asked, self._ended = threading.Event(), False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._go_on_in_worker)

    def start(self) -> None:
        """Begin; nothing happens where it has begun."""
        if self._thread is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._asked, self._ended = threading.Event(), False
            self._thread = threading.Thread(target=self._run, name="memguard-heap", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, after the snapshot that is being taken."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended = True
            self._asked.set()
            thread.join()

    def ask(self) -> None:
        """Take one as soon as possible; may be called by a signal handler."""
        self._asked.set()

    def __enter__(self) -> Continuous:  # noqa: PYI034 - Self came with Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take(self) -> Summary:
        """
        Take one now, and remove those that are too many.

        Raises:
            MemguardError: as ``write``; the others stay then.

        """
        now = datetime.now().strftime("%Y%m%dT%H%M%S.%f")  # noqa: DTZ005 - the time on the wall, for people
        summary = write(self._folder / f"heap-{os.getpid()}-{now}.heapsnapshot.gz", **self._settings)
        for old in self._files()[: -self._keep]:
            with suppress(OSError):
                old.unlink()
        return summary

    def _files(self) -> list[Path]:
        """Return the snapshots of this process, the oldest first."""
        mine = str(os.getpid())
        names = (_NAME.fullmatch(entry.name) for entry in self._folder.iterdir())
        return [self._folder / name[0] for name in sorted((n for n in names if n and n[1] == mine), key=lambda n: n[2])]

    def _run(self) -> None:
        while True:
            self._asked.wait(self._every_s)
            if self._ended:
                return
            self._asked.clear()
            try:
                self._said(self.take())
            except MemguardError as error:
                self._said(error)

    def _go_on_in_worker(self) -> None:
        if self._thread is not None and not is_forking():
            self._thread = None
            self.start()


def on_signal(
    folder: str | os.PathLike[str],
    number: int | None = None,
    **settings: Any,  # noqa: ANN401 - of Continuous
) -> Continuous:
    """
    Take a snapshot whenever this process gets a signal, SIGUSR2 by default; call it in the main thread.

    The handler only wakes a thread. ``stop()`` of what this returns ends that thread.

    Raises:
        ConfigError: the platform has no such signal, the program uses it, or this is not the main thread.

    """
    wanted = number if number is not None else getattr(signal, "SIGUSR2", None)
    if wanted is None:
        raise ConfigError(f"{sys.platform} has no SIGUSR2: call heap.write() where a snapshot is wanted")
    name = signal.Signals(wanted).name
    if signal.getsignal(wanted) not in (signal.SIG_DFL, signal.SIG_IGN):
        raise ConfigError(f"{name} is in use by this program already: pass the number of another signal")
    taking = Continuous(folder, None, **settings)
    try:
        signal.signal(wanted, lambda *_: taking.ask())
    except ValueError as error:
        raise ConfigError(f"a handler of {name} can be set in the main thread only") from error
    taking.start()
    return taking
