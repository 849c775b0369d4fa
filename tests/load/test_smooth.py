"""A counter between its reports."""

from __future__ import annotations

import pytest

from pytest_memguard.load.smooth import Smooth


class Clock:
    """A clock that tests set."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock at 100 s."""
    return Clock()


def test_nothing_told_is_nothing(clock: Clock) -> None:
    """Before the first report there is no request."""
    assert int(Smooth(clock)) == 0


def test_it_follows_one_report_behind(clock: Clock) -> None:
    """Between two reports it runs in a straight line to the last one, as long as that took to come."""
    counter = Smooth(clock)
    clock.now_s = 102.0
    counter.tell(100)
    seen = []
    for clock.now_s in (102.0, 102.5, 103.0, 104.0, 105.0):
        seen.append(int(counter))

    assert seen == [0, 25, 50, 100, 100]


def test_it_never_jumps(clock: Clock) -> None:
    """A report that comes early begins where the counter is."""
    counter = Smooth(clock)
    clock.now_s = 102.0
    counter.tell(100)
    clock.now_s = 103.0
    counter.tell(200)

    assert int(counter) == 50
    clock.now_s = 103.5
    assert int(counter) == 125


def test_the_end_is_exact(clock: Clock) -> None:
    """Once nothing more is told the last report holds."""
    counter = Smooth(clock)
    clock.now_s = 101.0
    counter.tell(100)
    counter.end()

    assert int(counter) == 100
