"""How a guard ends with its process: on SIGTERM, ahead of the handler that was there, and at exit."""

from __future__ import annotations

import atexit
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Ending"]


class Ending:
    """
    Sees to it that the last words are said before the process ends.

    A server that handles SIGTERM itself goes on handling it: it ends in its own time, and the words are said at exit.
    Only where SIGTERM would kill at once are they said first; then the process dies of the signal, as it would have.

    Args:
        last_words: Called where the signal kills; may wait for nothing, as it interrupts whatever the main thread does.
        at_exit: Called where the interpreter ends by itself.

    """

    def __init__(self, last_words: Callable[[], None], at_exit: Callable[[], None]) -> None:
        self._last_words = last_words
        self._at_exit = at_exit
        self._previous: Callable[[int, FrameType | None], object] | int | None = None
        self._armed = False

    def arm(self) -> None:
        """Begin to wait for the end; harmless where it waits."""
        if self._armed:
            return
        self._armed = True
        atexit.register(self._at_exit)
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._previous = signal.signal(signal.SIGTERM, self._terminate)

    def disarm(self) -> None:
        """Wait no longer, and put back the handler that was there, unless somebody set another one since."""
        if not self._armed:
            return
        self._armed = False
        atexit.unregister(self._at_exit)
        ours = signal.getsignal(signal.SIGTERM) == self._terminate
        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if self._previous is None else self._previous)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous
        if callable(previous):
            previous(number, frame)
        elif previous != signal.SIG_IGN:
            try:
                self._last_words()
            finally:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
