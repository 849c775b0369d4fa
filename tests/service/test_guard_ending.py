"""The end of a process: a report, and the handler that was there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from pytest_memguard.service.ending import Ending

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without telling it")
_BEGIN = """
import logging, os, signal, sys, threading, time
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from pytest_memguard.service import watch
"""
_WATCH = "guard = watch(environ={}, limit_bytes='1 GiB')\n"
_KILL = "os.kill(os.getpid(), signal.SIGTERM)\n"


def run(*parts: str) -> tuple[int, list[str]]:
    """Run a script; return its exit code and what it said."""
    script = _BEGIN + "".join(map(textwrap.dedent, parts))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.stderr == ""
    return done.returncode, [line.partition(":")[0] for line in done.stdout.splitlines()]


@pytest.fixture
def farewells() -> list[str]:
    """Return a list for what is said."""
    return []


@POSIX
def test_a_process_that_is_terminated() -> None:
    """The report is written, and the process dies of the signal, as it would have without the guard."""
    code, said = run(_WATCH, _KILL, "print('not reached')")

    assert code == -signal.SIGTERM
    assert said == ["memguard"]


def test_a_process_that_ends() -> None:
    """The report comes at exit, once."""
    assert run(_WATCH) == (0, ["memguard"])
    assert run(_WATCH, "guard.stop()\nprint('bye')") == (0, ["memguard", "bye"])


@POSIX
def test_a_handler_that_was_there_is_called() -> None:
    """A server ends in its own time, watched until it ends; then comes the report."""
    handler = """
    def end(number, frame):
        print("handler", flush=True)
    signal.signal(signal.SIGTERM, end)
    """
    code, said = run(handler, _WATCH, _KILL, "print('served' if guard._monitor.running else 'alone', flush=True)")

    assert code == 0
    assert said == ["handler", "served", "memguard"]


@POSIX
def test_a_handler_that_exits() -> None:
    """Its exit code is the process's."""
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"

    assert run(handler, _WATCH, _KILL) == (3, ["memguard"])


@POSIX
def test_an_ignored_signal_stays_ignored() -> None:
    """The guard does not make SIGTERM deadly."""
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"

    assert run(ignore, _WATCH, _KILL, "print('alive', flush=True)") == (0, ["alive", "memguard"])


@POSIX
def test_forked_children_report_for_themselves() -> None:
    """A worker that was forked from a watched process has its own report; both end as they are told."""
    fork = """
    reading, writing = os.pipe()
    child = os.fork()
    while child == 0:
        os.write(writing, b"x")  # a signal that comes while the interpreter begins in the child is lost
        time.sleep(0.01)
    os.read(reading, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1], flush=True)
    """

    assert run(_WATCH, fork) == (0, ["memguard", str(int(signal.SIGTERM)), "memguard"])


@POSIX
def test_a_guard_started_in_a_thread() -> None:
    """Where no handler can be set, the report still comes at exit."""
    script = """
    thread = threading.Thread(target=lambda: watch(environ={}, limit_bytes="1 GiB"))
    thread.start()
    thread.join()
    """

    assert run(script) == (0, ["memguard"])


@POSIX
def test_disarming_puts_the_handler_back(farewells: list[str]) -> None:
    """The one that was there, however often it is armed and disarmed."""
    before = signal.getsignal(signal.SIGTERM)
    ending = Ending(lambda: farewells.append("words"), lambda: farewells.append("exit"))
    ending.arm()
    ending.arm()
    armed = signal.getsignal(signal.SIGTERM)
    ending.disarm()
    ending.disarm()

    assert armed not in (before, None)
    assert signal.getsignal(signal.SIGTERM) == before
    assert farewells == []


@POSIX
def test_disarming_leaves_a_later_handler(farewells: list[str]) -> None:
    """Whoever set another one since keeps it."""

    def later(number: int, frame: object) -> None: ...

    before = signal.getsignal(signal.SIGTERM)
    ending = Ending(lambda: farewells.append("words"), lambda: farewells.append("exit"))
    ending.arm()
    try:
        signal.signal(signal.SIGTERM, later)
        ending.disarm()

        assert signal.getsignal(signal.SIGTERM) is later
    finally:
        signal.signal(signal.SIGTERM, before)


@POSIX
def test_a_thread_can_disarm(farewells: list[str]) -> None:
    """It cannot put the handler back, and does not try to; the handler that stays passes the signal on."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    ending = Ending(lambda: farewells.append("words"), lambda: farewells.append("exit"))
    try:
        ending.arm()
        thread = threading.Thread(target=ending.disarm)
        thread.start()
        thread.join()
        signal.raise_signal(signal.SIGTERM)

        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@POSIX
def test_the_signal_kills_whatever_the_last_words_do() -> None:
    """A report that fails does not keep a process alive."""
    script = """
    from pytest_memguard.service.ending import Ending

    def fail():
        raise RuntimeError("no words")

    Ending(fail, lambda: None).arm()
    """

    assert run(script, _KILL)[0] == -signal.SIGTERM
