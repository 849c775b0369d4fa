"""The time limit of a repeat, in this process."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from pytest_memguard.plugin.alarm import Alarm, Hung

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such timer on Windows")


def test_what_hangs_is_ended() -> None:
    """What waits for ever is interrupted when the time is over."""
    alarm = Alarm(0.05)

    with pytest.raises(Hung), alarm:
        threading.Event().wait()

    assert alarm.rang


def test_what_swallows_the_end_is_ended_again() -> None:
    """Code that swallows the interruption meets it again."""
    alarm = Alarm(0.05)
    waits = []

    def stubborn() -> None:
        while True:
            try:
                waits.append(threading.Event().wait())
            except Hung:
                if waits:
                    raise
                waits.append(True)

    with pytest.raises(Hung), alarm:
        stubborn()

    assert waits == [True]


def test_what_ends_in_time_is_left_alone() -> None:
    """A limit that is not reached leaves no timer behind."""
    alarm = Alarm(60)

    with alarm:
        before = signal.getitimer(signal.ITIMER_REAL)[0]

    assert 0 < before <= 60
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert not alarm.rang


def test_somebody_else_s_timer_is_left_alone() -> None:
    """Where the signal is taken, the alarm does nothing."""
    rings: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, _frame: rings.append(number))
    try:
        with Alarm(0.01):
            time.sleep(0.05)

        assert rings == []
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_another_thread_has_no_alarm() -> None:
    """Where signals do not arrive, the alarm does nothing."""
    ended = []

    def run() -> None:
        with Alarm(0.01):
            time.sleep(0.05)
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert ended == [True]
