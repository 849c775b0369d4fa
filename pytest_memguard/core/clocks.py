"""
The real clocks, kept where nothing that freezes or mocks time in the tests of a user looks for them.

freezegun replaces the functions of ``time`` and every attribute of a module that is one of them, ``mock.patch`` and
others what they are told to: a function in a field of an object stays what it was when this module was imported.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REAL", "Clocks"]


@dataclass(frozen=True, slots=True)
class Clocks:
    """
    What tells time, and lets it pass.

    Attributes:
        seconds: Seconds, monotonic and fine.
        thread_seconds: Seconds that this thread has computed for.
        sleep: Waits for so many seconds.

    """

    seconds: Callable[[], float] = time.perf_counter
    thread_seconds: Callable[[], float] = time.thread_time
    sleep: Callable[[float], None] = time.sleep


#: Import this name, and take the function from it at each use: bound to a name of a module, it would be found again.
REAL = Clocks()
