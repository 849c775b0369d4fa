"""What a guard does against pressure: which actions are due, in which order, and what each of them brought."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_memguard.service.pressure import Pressure

__all__ = ["Action", "Actions", "Outcome", "carry_out", "due", "rest_s"]

_log = logging.getLogger("pytest_memguard.service")

#: An action rests at least this many times as long as it took, so that it never costs more than five per cent.
_REST_FACTOR = 19


@dataclass(frozen=True, slots=True)
class Action:
    """
    Something that gives memory back.

    Attributes:
        name: For logs and metrics.
        priority: The highest is run first.
        above: Share of the limit, 0 to 1, above which it is due.
        run: Does it; returns the bytes it freed, or None where it cannot tell (then they are measured).
        at: Level from which on it is due whatever ``above`` says; None for no level.

    """

    name: str
    priority: int
    above: float
    run: Callable[[], int | None]
    at: Pressure | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one action brought; ``error`` says why it failed, and is None where it did not."""

    name: str
    freed_bytes: int
    duration_s: float
    error: str | None = None


def due(
    actions: Iterable[Action], level: Pressure, usage: float, now_s: float, ready_s: Mapping[str, float]
) -> tuple[Action, ...]:
    """
    Return the actions to run now, the highest priority first.

    Args:
        actions: All there are.
        level: Where the process is.
        usage: Share of the limit.
        now_s: The time.
        ready_s: For actions by name, the time until which they rest.

    """
    wanted = (
        action
        for action in actions
        if (usage > action.above or (action.at is not None and level.rank >= action.at.rank))
        and now_s >= ready_s.get(action.name, now_s)
    )
    return tuple(sorted(wanted, key=lambda action: -action.priority))


def rest_s(duration_s: float, cooldown_s: float) -> float:
    """Return how long an action rests that took *duration_s*."""
    return max(cooldown_s, duration_s * _REST_FACTOR)


def carry_out(action: Action, measure: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> Outcome:
    """Run *action*; whatever it raises becomes part of the outcome, since the service must live on."""
    began, before, error = clock(), measure(), None
    freed: int | None = 0
    try:
        freed = action.run()
    except Exception as failure:  # noqa: BLE001 - user actions may raise anything
        error = f"{type(failure).__name__}: {failure}"
        _log.warning("memguard: action %s failed: %s", action.name, error)
    duration_s = clock() - began
    return Outcome(action.name, max(0, before - measure()) if freed is None else freed, duration_s, error)


class Actions:
    """
    All actions of a guard, and until when each of them rests.

    Args:
        actions: In any order.
        measure: Bytes in use now; asked before and after an action that does not count for itself.
        cooldown_s: Least time between two runs of one action.
        clock: Never goes back.

    """

    def __init__(
        self,
        actions: Iterable[Action],
        *,
        measure: Callable[[], int] = int,
        cooldown_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._actions = tuple(actions)
        self._measure = measure
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._ready_s: dict[str, float] = {}

    def relieve(self, level: Pressure, usage: float) -> tuple[Outcome, ...]:
        """Run what is due at this pressure, and return what each action brought."""
        return tuple(self._run(action) for action in due(self._actions, level, usage, self._clock(), self._ready_s))

    def _run(self, action: Action) -> Outcome:
        outcome = carry_out(action, self._measure)
        self._ready_s[action.name] = self._clock() + rest_s(outcome.duration_s, self._cooldown_s)
        return outcome
