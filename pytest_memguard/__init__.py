"""pytest-memguard: finds memory leaks by running tests again, and says how sure it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_memguard.errors import CycleError, LeakError, MemguardError, MemoryLimitError
    from pytest_memguard.plugin.fixtures import MemoryGuard
    from pytest_memguard.plugin.marks import limit_memory, memguard_skip, no_cycles, no_leak

__all__ = [
    "CycleError",
    "LeakError",
    "MemguardError",
    "MemoryGuard",
    "MemoryLimitError",
    "__version__",
    "limit_memory",
    "memguard_skip",
    "no_cycles",
    "no_leak",
]

__version__ = "0.1.0"

_PLACES = {
    "CycleError": "pytest_memguard.errors",
    "LeakError": "pytest_memguard.errors",
    "MemguardError": "pytest_memguard.errors",
    "MemoryLimitError": "pytest_memguard.errors",
    "MemoryGuard": "pytest_memguard.plugin.fixtures",
    "limit_memory": "pytest_memguard.plugin.marks",
    "memguard_skip": "pytest_memguard.plugin.marks",
    "no_cycles": "pytest_memguard.plugin.marks",
    "no_leak": "pytest_memguard.plugin.marks",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the plugin is loaded by every pytest session."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only where a name is used

    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
