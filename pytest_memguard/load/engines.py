"""The engines by name: each sends a ``LoadSpec`` and returns a ``LoadResult``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pytest_memguard.load.profile import LoadSpec
    from pytest_memguard.load.result import LoadResult, SecondCounts

__all__ = ["Engine", "engine"]


class Engine(Protocol):
    """What sends a load; one object a run."""

    #: Requests that were sent; may be read at any moment.
    started: int

    @property
    def completed(self) -> int:
        """Requests that were answered; may be read at any moment."""
        ...

    async def run(
        self, on_second: Callable[[SecondCounts], object] | None = None, stop: asyncio.Event | None = None
    ) -> LoadResult:
        """Send the load, and return what was measured, also where *stop* ends it early."""
        ...


def engine(spec: LoadSpec) -> Engine:
    """
    Return the engine that *spec* names.

    Raises:
        ConfigError: it cannot run here; the message says what is missing.
    """
    # Imported when they are needed: each brings what only it uses.
    if spec.engine == "locust":
        from pytest_memguard.load.swarm import Swarm  # noqa: PLC0415 - see above

        return Swarm(spec)
    if spec.engine == "command":
        from pytest_memguard.load.command import Command  # noqa: PLC0415 - see above

        return Command(spec)
    from pytest_memguard.load.driver import Driver  # noqa: PLC0415 - see above

    return Driver(spec)
