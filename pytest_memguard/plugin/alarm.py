"""Ends a repeat that hangs where the user's own run did not: no other time limit holds for repeats."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["Alarm", "Hung"]

#: Raised again so often, for code that swallows it.
_AGAIN_S = 1.0


class Hung(BaseException):
    """A repeat did not end in time; no Exception, so that no test takes it for one of its own."""


class Alarm:
    """
    A time limit for what runs inside ``with``, by SIGALRM, where nobody else uses that.

    Attributes:
        rang: Whether the time was over once.

    """

    def __init__(self, limit_s: float) -> None:
        self.rang = False
        self._limit_s = limit_s
        self._before: Any = None
        self._usable = _is_usable()

    def __enter__(self) -> None:
        """Start the clock."""
        if self._usable:
            self._before = signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._limit_s, _AGAIN_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the clock."""
        if self._usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        self.rang = True
        raise Hung


def _is_usable() -> bool:
    """Whether this thread gets signals, and the timer is free."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGALRM) == signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
