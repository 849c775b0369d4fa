"""
Watch the memory of a process and of all that it has started.

TARGET is the number of a process, or a command and its arguments after --, which is ended when the time is over.
Resident and unique memory, descriptors and threads are read from outside; blocks, native heap and collections come from
the agent where there is one: a command that is started here has it, a running one where memguard exec started it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.cli._command import Command
from pytest_memguard.cli._monitor_view import LiveView, PlainView, Silence, View, view
from pytest_memguard.cli._watching import Growth, History, summary
from pytest_memguard.core import document
from pytest_memguard.core.floors import WINDOWS
from pytest_memguard.core.units import duration, parse_size
from pytest_memguard.core.values import Level, RunResult
from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from pytest_memguard.agent.outside import Tree

__all__ = ["add_arguments", "run"]

_INTERVAL_S, _DURATION_S, _WARM_UP_S = 1.0, 60.0, 3.0
_SHORTEST_S, _LONGEST_S = 0.05, 3600.0
_WARNING, _CRITICAL = "50 MB", "100 MB"
_CLEAN, _LEAK, _UNDECIDED, _COULD_NOT_RUN, _INTERRUPTED = 0, 1, 3, 4, 130
_ANSWERS = {None: _UNDECIDED, "pass": _CLEAN, "fail": _LEAK}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("target", nargs="*", metavar="TARGET", help="a process, or after -- a command")
    every = "seconds between two readings (default: %(default)g)"
    parser.add_argument("-i", "--interval", type=float, default=_INTERVAL_S, metavar="SECONDS", help=every)
    length = "seconds in all, 0 for as long as it runs (default: %(default)g)"
    parser.add_argument("-d", "--duration", type=float, default=_DURATION_S, metavar="SECONDS", help=length)
    warm = f"seconds before the first reading that counts (default: 0, of a command {_WARM_UP_S:g})"
    parser.add_argument("-w", "--warm-up", type=float, metavar="SECONDS", help=warm)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the result document, plain or .gz")
    parser.add_argument("-l", "--log", type=Path, metavar="LOG", help="append a line for each reading to this file")
    parser.add_argument("--warning", default=_WARNING, metavar="SIZE", help="growth that warns (default: %(default)s)")
    critical = "growth that is critical (default: %(default)s)"
    parser.add_argument("--critical", default=_CRITICAL, metavar="SIZE", help=critical)
    parser.add_argument("--plain", action="store_true", help="lines instead of a live view")
    parser.add_argument("--json", action="store_true", help="print the result document instead of anything else")
    undecided = "what to end with where it cannot be told: 0 or 1 (default: 3)"
    parser.add_argument("--undecided", choices=("pass", "fail"), help=undecided)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for; seconds."""

    interval_s: float
    duration_s: float
    warm_up_s: float


@dataclass(slots=True)
class _Ending:
    """Why the watch ended."""

    interrupted: bool = False
    died: str = ""


def run(options: argparse.Namespace) -> int:
    """Watch, and say what came of it."""
    if not options.target:
        raise ConfigError(
            "write the number of a process, or a command after --, as in `memguard monitor -- python a.py`"
        )
    pid = int(options.target[0]) if _is_process(options.target) else None
    growth = _growth(options)
    plan = _plan(options, _WARM_UP_S if pid is None else 0.0)
    _require_writable(options.output)
    if options.output and options.json:
        raise ConfigError("--output and --json both write the document; choose one")
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with _terminated_as_interrupted(), _log(options.log) as log:
        history, ending = (
            _watch_process(pid, plan, growth, options, log)
            if pid is not None
            else _watch_command(options.target, plan, growth, options, log)
        )
    return _report(history, ending, options, started_at)


def _watched(target: Sequence[str]) -> dict[str, object]:
    """Return what is watched, a command as a soak tells its own; a process by its number."""
    if _is_process(target):
        return {"process": int(target[0])}
    return {"services": [{"name": Path(target[0]).name, "command": list(target)}]}


def _is_process(target: Sequence[str]) -> bool:
    return len(target) == 1 and target[0].isdecimal()


# -- options ---------------------------------------------------------------------------------------------------------


def _plan(options: argparse.Namespace, warm_up_s: float) -> _Plan:
    warm_up_s = warm_up_s if options.warm_up is None else options.warm_up
    if not _SHORTEST_S <= options.interval <= _LONGEST_S:
        raise ConfigError(f"--interval = {options.interval:g}: write seconds from {_SHORTEST_S:g} to {_LONGEST_S:g}")
    for name, value in (("duration", options.duration), ("warm-up", warm_up_s)):
        if not 0 <= value < float("inf"):
            raise ConfigError(f"--{name} = {value:g}: write seconds, 0 or more")
    if options.warm_up is None and options.duration:
        warm_up_s = min(warm_up_s, options.duration / 10)
    return _Plan(options.interval, options.duration, warm_up_s)


def _growth(options: argparse.Namespace) -> Growth:
    found = []
    for name in ("warning", "critical"):
        try:
            found.append(parse_size(getattr(options, name)))
        except ConfigError as error:
            raise ConfigError(f"--{name} = {error}") from None
    if found[0] > found[1]:
        raise ConfigError(f"--warning = {options.warning!r} is more than --critical = {options.critical!r}")
    return Growth(*found)


def _require_writable(path: Path | None) -> None:
    """Find out before a watch of hours whether its document can be written."""
    if path is not None and not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--output = {plain(str(path))!r}: its folder is not there, or cannot be written to")


@contextmanager
def _log(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--log = {plain(str(path))!r} cannot be written: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Have TERM end the watch as Ctrl-C does: with a verdict, and the command ended."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- watching --------------------------------------------------------------------------------------------------------


def _watch_process(
    pid: int, plan: _Plan, growth: Growth, options: argparse.Namespace, log: TextIO | None
) -> tuple[History, _Ending]:
    from pytest_memguard.agent.outside import Tree  # noqa: PLC0415 - psutil, which other commands need not load

    tree, history, ending = Tree(pid), History(growth), _Ending()
    shown = _view(f"process {pid}", options)
    try:
        _watch(tree, history, plan, [shown, *_logged(log)], ending)
    finally:
        shown.close()
        tree.close()
    return history, ending


def _watch_command(
    arguments: Sequence[str], plan: _Plan, growth: Growth, options: argparse.Namespace, log: TextIO | None
) -> tuple[History, _Ending]:
    from pytest_memguard.agent.outside import Tree  # noqa: PLC0415 - see _watch_process

    history, ending = History(growth), _Ending()
    shown = _view(Path(arguments[0]).name, options)
    try:
        command = Command(arguments, shown.say if isinstance(shown, LiveView) else None)
        try:
            tree = Tree(command.pid, folder=command.folder)
            _watch(tree, history, plan, [shown, *_logged(log)], ending, running=lambda: command.exit_code is None)
            tree.close()
            ending.died = _how_it_ended(command.exit_code, history)
        finally:
            with _uninterrupted():
                command.stop()
    finally:
        shown.close()
    return history, ending


def _watch(  # noqa: PLR0913 - what is read, what is kept, how, where it goes, and how it ended
    tree: Tree,
    history: History,
    plan: _Plan,
    views: Sequence[View],
    ending: _Ending,
    *,
    running: Callable[[], bool] = lambda: True,
) -> None:
    """Read until the time is over, the process has ended, or somebody interrupts."""
    began_s = next_s = time.monotonic()
    try:
        while running():
            reading = tree.sample()
            elapsed_s = reading.time_s - began_s
            if elapsed_s >= plan.warm_up_s:
                history.add(reading)
            for one in views:
                one.show(reading, history, elapsed_s)
            next_s += plan.interval_s
            now_s = time.monotonic()
            if now_s > next_s:  # the machine slept, or was busy: readings that were missed are not made up for
                next_s = now_s + plan.interval_s
            if plan.duration_s and next_s - began_s > plan.duration_s + plan.warm_up_s:
                return
            time.sleep(max(0.0, next_s - now_s))
    except CouldNotRun as error:
        ending.died = f"{error} after {duration(time.monotonic() - began_s)}"
    except KeyboardInterrupt:
        ending.interrupted = True


def _view(name: str, options: argparse.Namespace) -> View:
    return Silence() if options.json else view(name, is_plain=options.plain)


def _logged(log: TextIO | None) -> list[View]:
    return [] if log is None else [PlainView(log, 0.0)]


def _how_it_ended(code: int | None, history: History) -> str:
    """Return what there is to say of a command that has ended by itself; nothing where it did what it should."""
    if code is None:
        return ""
    how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
    if code or history.latest is None:
        return f"the command ended {how} after {duration(history.duration_s)}"
    return ""


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C wait: what was started has to be ended first."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# -- the result ------------------------------------------------------------------------------------------------------


def _report(history: History, ending: _Ending, options: argparse.Namespace, started_at: str) -> int:
    results = history.results()
    result = RunResult(
        started_at,
        history.duration_s,
        environment=store.environment(),
        commit=store.commit_of(Path.cwd()),
        settings={
            "command": "monitor",
            **_watched(options.target),
            "interval_s": options.interval,
            "duration_s": options.duration,
            "warning_bytes": history.growth.warning_bytes,
            "critical_bytes": history.growth.critical_bytes,
            "indicator": history.indicator.value,
            "grown_bytes": history.grown_bytes,
            "ended": ending.died or ("interrupted" if ending.interrupted else "as planned"),
        },
        results=results,
    )
    if options.json:
        print(document.dumps(result))
    else:
        _say(history, result)
    if options.output and results:
        store.write(result, options.output)
    if ending.died:
        sys.stderr.write(f"memguard: {ending.died}\n")
    return _exit_code(result, ending, options.undecided)


def _say(history: History, result: RunResult) -> None:
    with suppress(BrokenPipeError):
        for one in result.results:
            print(plain(summary(one)))
            for text in (*one.notes, *dict.fromkeys(finding.advice for finding in one.findings)):
                print(f"  {plain(text)}")
        if history.left_out:
            print(f"{history.left_out} readings of further processes were left out")
        if not result.results:
            print(f"nothing was measured; a verdict needs {WINDOWS + 1} readings")


def _exit_code(result: RunResult, ending: _Ending, undecided: str | None) -> int:
    if ending.interrupted:
        return _INTERRUPTED
    levels = {one.verdict.level for one in result.results}
    if Level.LEAK in levels:
        return _LEAK
    if ending.died:
        return _COULD_NOT_RUN
    return _CLEAN if levels == {Level.CLEAN} else _ANSWERS[undecided]
