"""The switches of the leaks: which are off, leaky or fixed, and what they hold."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pytest_memguard.demo.leaks import LEAKS, MANY, Leak, Visit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Mode", "Switch", "Switches"]

_BREATH = 64  # visits between two looks of the loop at its other work


class Mode(str, Enum):
    """What a leak does at each request."""

    OFF = "off"
    LEAKY = "leaky"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Switch:
    """The state of one switch, as it is shown."""

    name: str
    mode: Mode
    held: int
    runs: int
    grows: str
    page: str
    why: str


class Switches:
    """All switches of one service; for the thread of its event loop only."""

    def __init__(self, modes: Mapping[str, Mode] | None = None) -> None:
        self._leaks = {leak.name: leak for leak in (make() for make in LEAKS)}
        self._modes = dict.fromkeys(self._leaks, Mode.OFF)
        self._runs = dict.fromkeys(self._leaks, 0)
        self._numbers = itertools.count(1)
        for name, mode in (modes or {}).items():
            self.turn(name, mode)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all switches."""
        return tuple(self._leaks)

    def turn(self, name: str, mode: Mode) -> None:
        """
        Turn one switch; what it holds stays.

        Raises:
            KeyError: there is no switch of that name.
        """
        self._modes[self._leaks[name].name] = mode

    def state(self, name: str) -> Switch:
        """
        Return the state of one switch.

        Raises:
            KeyError: there is no switch of that name.
        """
        leak = self._leaks[name]
        why = inspect.cleandoc(type(leak).__doc__ or "")
        return Switch(name, self._modes[name], leak.held(), self._runs[name], leak.grows.name, leak.page, why)

    def states(self) -> tuple[Switch, ...]:
        """Return the states of all switches."""
        return tuple(self.state(name) for name in self._leaks)

    async def visit(self, path: str) -> None:
        """Let one request go through every switch that is not off."""
        for name, mode in self._modes.items():
            if mode is not Mode.OFF:
                await self._run(self._leaks[name], mode, path)

    async def leak(self, name: str, count: int) -> int:
        """
        Leak *count* times, and return how much is held then.

        Raises:
            KeyError: there is no switch of that name.
        """
        leak = self._leaks[name]
        for number in range(count):
            await self._run(leak, Mode.LEAKY, "/api/leak")
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        return leak.held()

    async def release(self) -> int:
        """Let go of everything that the leaks hold, and return how many things that were."""
        held = 0
        for leak in self._leaks.values():
            held += leak.held()
            await _awaited(leak.release())
        return held

    async def _run(self, leak: Leak, mode: Mode, path: str) -> None:
        visit = Visit.numbered(next(self._numbers), path)
        if mode is Mode.FIXED:
            await _awaited(leak.fixed(visit))
        elif leak.most == MANY or leak.held() < leak.most:
            await _awaited(leak.leaky(visit))
        self._runs[leak.name] += 1


async def _awaited(outcome: object) -> None:
    if inspect.isawaitable(outcome):
        await outcome
