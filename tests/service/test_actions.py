"""Actions: by priority, above their share of the limit, and not more often than is good."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from pytest_memguard.service.actions import Action, Actions, Outcome, carry_out, due, rest_s
from pytest_memguard.service.pressure import Pressure


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return it."""
        return self.now_s


def nothing() -> int:
    """Free nothing."""
    return 0


def action(name: str, priority: int, above: float, run: Callable[[], int | None] = nothing) -> Action:
    """Return an action of no level."""
    return Action(name, priority, above, run)


COLLECT, METRICS, SNAPSHOTS = action("gc", 100, 0.70), action("metrics", 80, 0.80), action("snapshots", 60, 0.85)
MINE = action("mine", 90, 0.5)


@pytest.mark.parametrize(
    ("usage", "names"),
    [
        (0.5, []),
        (0.51, ["mine"]),
        (0.70, ["mine"]),
        (0.7001, ["gc", "mine"]),
        (0.80, ["gc", "mine"]),
        (0.8001, ["gc", "mine", "metrics"]),
        (0.85, ["gc", "mine", "metrics"]),
        (0.8501, ["gc", "mine", "metrics", "snapshots"]),
    ],
)
def test_what_is_due(usage: float, names: list[str]) -> None:
    """An action is due above its share, and the highest priority comes first, whatever the order they came in."""
    found = due([SNAPSHOTS, MINE, COLLECT, METRICS], Pressure.HEALTHY, usage, 0.0, {})

    assert [one.name for one in found] == names


@pytest.mark.parametrize(("level", "count"), [("healthy", 0), ("warning", 0), ("critical", 1), ("emergency", 1)])
def test_a_level_can_make_an_action_due(level: str, count: int) -> None:
    """Whatever the share says, from its level on an action is due."""
    cut = Action("cut", 1, math.inf, nothing, at=Pressure.CRITICAL)

    assert len(due([cut], Pressure(level), 0.1, 0.0, {})) == count


@pytest.mark.parametrize(("now_s", "names"), [(29.9, ["metrics"]), (30.0, ["gc", "metrics"])])
def test_an_action_rests(now_s: float, names: list[str]) -> None:
    """Before its time an action is not due, while others are."""
    found = due([COLLECT, METRICS], Pressure.WARNING, 0.9, now_s, {"gc": 30.0})

    assert [one.name for one in found] == names


@pytest.mark.parametrize(("took_s", "rests_s"), [(0.001, 30.0), (1.5, 30.0), (2.0, 38.0), (10.0, 190.0)])
def test_a_slow_action_rests_longer(took_s: float, rests_s: float) -> None:
    """An action takes at most five per cent of the time."""
    assert rest_s(took_s, 30.0) == rests_s
    assert took_s / (took_s + rests_s) <= 0.05 + 1e-9


def test_actions_rest_after_they_ran() -> None:
    """The same pressure at once again does nothing; after the cooldown it does."""
    clock, ran = Clock(), []
    actions = Actions([action("mine", 1, 0.5, lambda: ran.append(clock.now_s))], cooldown_s=30, clock=clock)

    for now_s in (100.0, 110.0, 129.0, 131.0, 140.0):
        clock.now_s = now_s
        actions.relieve(Pressure.WARNING, 0.9)

    assert ran == [100.0, 131.0]


def test_an_action_says_what_it_freed() -> None:
    """The bytes that it returns, and how long it took by the clock."""
    clock = Clock()

    def run() -> int:
        clock.now_s += 2
        return 4096

    assert carry_out(action("mine", 1, 0.5, run), nothing, clock) == Outcome("mine", 4096, 2.0)


@pytest.mark.parametrize(("after", "freed"), [(400, 600), (1000, 0), (1100, 0)])
def test_an_action_that_does_not_say_is_measured(after: int, freed: int) -> None:
    """What is in use less than before was freed; more than before is not a negative gain."""
    readings = iter([1000, after])

    outcome = carry_out(action("mine", 1, 0.5, lambda: None), lambda: next(readings))

    assert outcome.freed_bytes == freed


def test_a_failing_action_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """What it raised becomes part of its outcome, and is logged; the next action runs."""

    def fail() -> int:
        raise RuntimeError("disk on fire")

    outcomes = Actions([action("mine", 2, 0.5, fail), action("other", 1, 0.5)]).relieve(Pressure.WARNING, 0.9)

    assert [outcome.error for outcome in outcomes] == ["RuntimeError: disk on fire", None]
    assert [outcome.freed_bytes for outcome in outcomes] == [0, 0]
    assert "action mine failed: RuntimeError: disk on fire" in caplog.text
