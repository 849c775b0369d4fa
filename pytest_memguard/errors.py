"""
Every error that this package raises on purpose.

    MemguardError
    |-- ConfigError          a setting is wrong: file, key, value and what would be right
    |-- DocumentError        a result document cannot be read or written
    |-- TooFewReadings       a fit was asked of fewer readings than it needs
    |-- CouldNotRun          a service did not start, died or cannot be reached; the command line ends with 4
    |-- SubjectFailed        a repeat did not end as the first run did; caught by the engine
    `-- LeakError            the verdict: the test leaks (also an AssertionError)
        |-- MemoryLimitError     one run needed more memory than `limit_memory` allows
        `-- CycleError           one run left more cyclic garbage than `no_cycles` allows
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "CouldNotRun",
    "CycleError",
    "DocumentError",
    "LeakError",
    "MemguardError",
    "MemoryLimitError",
    "SubjectFailed",
    "TooFewReadings",
]


class MemguardError(Exception):
    """Base of every error of this package."""


class ConfigError(MemguardError):
    """A setting is wrong; the message names the place, the key, the value and the nearest valid one."""


class DocumentError(MemguardError):
    """A result document cannot be read or written."""


class TooFewReadings(MemguardError):  # noqa: N818 - the field says "too few readings", not "too few readings error"
    """A fit was asked of fewer readings than it needs."""


class CouldNotRun(MemguardError):  # noqa: N818 - names what happened to the service
    """A service did not start, died, or cannot be reached or measured; the message says what to look at."""


class SubjectFailed(MemguardError):  # noqa: N818 - names what happened to the subject
    """A repeat did not end as the first run did."""


class LeakError(MemguardError, AssertionError):
    """The test leaks; ``str()`` is the text that a failing test shows."""


class MemoryLimitError(LeakError):
    """One run of the test needed more memory than ``limit_memory`` allows."""


class CycleError(LeakError):
    """One run of the test left more cyclic garbage than ``no_cycles`` allows."""
