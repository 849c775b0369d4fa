"""
Show what memguard finds, on a small shop that leaks on purpose.

Its leak tests are run by pytest; then three of its services are put under load, two that leak and one that is
repaired. What was found is printed, and written into the current folder: memguard.json, memguard-report.html. It takes
less than 90 seconds, needs no network, and ends with exit code 1, because there are leaks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard import store
from pytest_memguard.core.causes import causes
from pytest_memguard.core.merge import merge
from pytest_memguard.core.units import duration
from pytest_memguard.core.values import Level
from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.renderers.terminal import counted, plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pytest_memguard.core.values import RunResult, SubjectResult
    from pytest_memguard.scenario.soak import SoakResult

__all__ = ["add_arguments", "run"]

_LEAK, _UNDECIDED, _INTERRUPTED = 1, 3, 130
_TESTS_TIMEOUT_S = 60
_SHORTEST_S, _LONGEST_S = 6, 600
_RATE = 150
_DOCUMENT, _REPORT = "memguard.json", "memguard-report.html"
_STYLES = {"leak": "bold red", "growing": "yellow", "clean": "green", "settled": "green", "bounded": "green"}


@dataclass(frozen=True, slots=True)
class _Service:
    """One service of the shop: which leak it has, and whether that is repaired."""

    leak: str
    fixed: bool

    @property
    def name(self) -> str:
        return f"{self.leak}, {'repaired' if self.fixed else 'leaky'}"

    def scenario(self, seconds: float) -> dict[str, Any]:
        """Return the scenario that soaks it, as a file would hold it."""
        # The interpreter that runs this has what is needed; a `memguard` on the PATH may be another one.
        program = "import sys; from pytest_memguard.cli import main; sys.exit(main())"
        mode = "--fixed" if self.fixed else "--leak"
        serve = ["serve", mode, self.leak, "--unguarded", "--port", "${MEMGUARD_PORT}"]
        return {
            "name": self.name,
            "service": {
                "command": ["${MEMGUARD_PYTHON}", "-c", program, *serve],
                "ready_url": "http://127.0.0.1:${MEMGUARD_PORT}/api/items",
            },
            "idle": {"duration_s": 0.3},
            "warm_up": {"duration_s": 2.0},
            "load": {"routes": ["/api/items", "/api/users"], "rate": _RATE, "connections": 8, "duration_s": seconds},
            "diagnose": {"duration_s": 2.0},
            "cool_down": {"duration_s": 0.3},
        }


_SERVICES = (
    _Service("unbounded-cache", fixed=False),
    _Service("event-listener", fixed=False),
    _Service("unbounded-cache", fixed=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    seconds = "under load, each service (default: %(default)s)"
    parser.add_argument("-d", "--duration", type=_seconds, default=12.0, metavar="SECONDS", help=seconds)
    folder = "folder for the document and the report (default: the current one)"
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help=folder)


def _seconds(text: str) -> float:
    import argparse  # noqa: PLC0415 - argparse is loaded where this is called

    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not _SHORTEST_S <= number <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from {_SHORTEST_S} to {_LONGEST_S}")
    return number


def run(options: argparse.Namespace) -> int:
    """Run everything, print what was found, and write document and report."""
    _require_extras()
    if not options.output.is_dir():
        raise ConfigError(f"--output = {str(options.output)!r} is not a folder; make it first")
    began_s = time.monotonic()
    say = _printer()
    say("memguard demo: a small shop that leaks on purpose. It needs no network, and about a minute.", "bold")
    say("\n1. Its leak tests: pytest runs each test again and again, and counts what stays.")
    runs = [_tested()]
    _tell(runs[0].results, say)
    number, seconds = len(_SERVICES), duration(options.duration)
    say(f"\n2. {number} of its services under load, {_RATE} requests a second for {seconds}: what stays a request?")
    for service in _SERVICES:
        found = _soaked(service, options.duration)
        if found.outcome.value == "interrupted":
            return _INTERRUPTED
        _tell(found.run.results, say)
        runs.append(found.run)
    scenarios = {one.results[0].id: one.settings.get("scenario") for one in runs[1:]}
    settings = {**runs[0].settings, "scenarios": scenarios}
    whole = replace(merge(runs), duration_s=time.monotonic() - began_s, settings=settings)
    _write(whole, options.output, say)
    return _ended(whole, say)


def _require_extras() -> None:
    try:
        import aiohttp  # noqa: F401, PLC0415 - an extra, and so are these
        import starlette  # noqa: F401, PLC0415 - as above
        import uvicorn  # noqa: F401, PLC0415 - as above
    except ImportError as missing:
        raise ConfigError(f'memguard demo needs {missing.name}: pip install "pytest-memguard[harness]"') from missing


def _write(whole: RunResult, folder: Path, say: Callable[..., None]) -> None:
    from pytest_memguard import registry  # noqa: PLC0415 - once there is something to render

    store.write(whole, folder / _DOCUMENT)
    store.write_text(registry.renderers()["html"](whole), folder / _REPORT)
    say(f"\n3. Written: {plain(str(folder / _REPORT))} (open it in a browser) and {plain(str(folder / _DOCUMENT))}.")


def _ended(whole: RunResult, say: Callable[..., None]) -> int:
    leaks = sum(one.verdict.level is Level.LEAK for one in whole.results)
    if leaks:
        say(f"\n{counted(leaks, 'leak')} found in {duration(whole.duration_s)}.", "bold")
        say("These leaks are there on purpose; they are why this command ends with exit code 1.")
        return _LEAK
    say("\nNo leak was found, though there are some: this machine was too busy. Try a longer --duration.", "yellow")
    return _UNDECIDED


# -- its tests -------------------------------------------------------------------------------------------------------


def _tested() -> RunResult:
    """Run the leak tests of the shop, in a folder and a process of their own."""
    from pytest_memguard.demo.cases import copied  # noqa: PLC0415 - see run

    with tempfile.TemporaryDirectory(prefix="memguard-demo-") as name:
        folder, document = copied(Path(name) / "shop"), Path(name) / _DOCUMENT
        command = [sys.executable, "-m", "pytest", "-q", "-p", "memguard", "--memguard", f"--memguard-json={document}"]
        try:
            done = subprocess.run(  # noqa: S603 - our own tests, by this interpreter
                command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=_TESTS_TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise CouldNotRun(f"the leak tests did not end within {_TESTS_TIMEOUT_S} s") from error
        if not document.exists():
            last = plain((done.stderr or done.stdout).strip()[-500:])
            raise CouldNotRun(f"the leak tests could not be run (pytest ended with {done.returncode}): {last}")
        return store.read(document)


def _environment() -> dict[str, str]:
    """Return our environment without what would change the session, and without plugins that happen to be here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MEMGUARD_", "PYTEST_", "COV_"))}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


# -- its services ----------------------------------------------------------------------------------------------------


def _soaked(service: _Service, seconds: float) -> SoakResult:
    """
    Put one service under load.

    Raises:
        CouldNotRun: it did not start, or ended under load.

    """
    from pytest_memguard.scenario.soak import Outcome, soak  # noqa: PLC0415 - see run
    from pytest_memguard.scenario.spec import Scenario  # noqa: PLC0415 - see run

    found = soak(Scenario.from_mapping(service.scenario(seconds), "demo"))
    if found.outcome is Outcome.COULD_NOT_RUN:
        raise CouldNotRun(f"{service.name}: {found.result.verdict.reason}")
    return found


# -- for people ------------------------------------------------------------------------------------------------------


def _tell(results: Sequence[SubjectResult], say: Callable[..., None]) -> None:
    """Print one line a result, and below it the reason, and who holds what stays."""
    holders = {name: cause.text for cause in causes(results) for name in cause.results}
    for one in results:
        level = one.verdict.level.value
        say(f"   {level:8} {plain(one.id.rpartition('::')[2])}", _STYLES.get(level, ""))
        say(f"            {plain(one.verdict.reason)}")
        holder = holders.get(one.id, "")
        if holder and holder not in one.verdict.reason:
            say(f"            {'' if holder.startswith('allocated ') else 'held by '}{plain(holder)}")


def _printer() -> Callable[..., None]:
    """Return what prints a line, in a style where the terminal has styles and rich is there."""
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, and 90 ms where nobody looks
    except ImportError:
        return lambda text, _style="": print(text, flush=True)
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    return lambda text, style="": console.print(text, style=style or None)
