"""
Send load to a service, and tell latencies, errors and throughput.

With --rate requests become due by the clock, and latency counts from there (open model); without it each connection
sends its next request when the last one is answered (closed model). Ctrl-C ends the run and prints what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard import store
from pytest_memguard.core.toml import parse
from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.load.profile import LoadSpec
from pytest_memguard.load.words import per_cent, second_line, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_memguard.load.engines import Engine
    from pytest_memguard.load.result import LoadResult, SecondCounts

__all__ = ["add_arguments", "run"]

_INTERRUPTED = 130
_PLAIN_EVERY_S = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    add = parser.add_argument
    add("url", nargs="?", metavar="URL", help="the service, as in http://127.0.0.1:8000/; or url of the scenario")
    add("-c", "--connections", type=int, metavar="N", help="most requests at once (default: 10)")
    add("-d", "--duration", dest="duration_s", type=float, metavar="SECONDS", help="of the run (default: 60)")
    ramp = "until the load is whole (default: a tenth of the duration, at most 5)"
    add("-r", "--ramp-up", dest="ramp_up_s", type=float, metavar="SECONDS", help=ramp)
    add("--rate", type=float, metavar="N", help="requests a second, open model (default: closed model)")
    add("-n", "--requests", type=int, metavar="N", help="end after so many, if the time is not over before")
    add("--scenario", type=Path, metavar="FILE", help="TOML file whose section [load] says the rest, routes above all")
    add("-H", "--header", dest="header", action="append", default=[], metavar="'NAME: TEXT'", help="sent each time")
    add("--body", metavar="TEXT", help="sent each time; {{n}}, {{random}}, {{uuid}} and {{time}} are filled in")
    add("--method", metavar="NAME", help="of the requests to URL (default: GET, or POST with a body)")
    add("--timeout", dest="timeout_s", type=float, metavar="SECONDS", help="for one request (default: 10)")
    add("--insecure", dest="verify_tls", action="store_false", default=None, help="take any certificate")
    closing = "a new connection for each request"
    add("--no-keep-alive", dest="keep_alive", action="store_false", default=None, help=closing)
    add("--max-errors", type=_share, default=1.0, metavar="SHARE", help="as in 1%%; above it, exit code 4")
    add("--json", action="store_true", help="print the result as JSON")
    add("-o", "--output", type=Path, metavar="FILE", help="write the result as JSON")
    _add_engines(parser)


def _add_engines(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("other engines").add_argument
    add("--locust", metavar="PYTHON", help="send with Locust, which this interpreter has (an environment of its own)")
    add("--workers", type=int, metavar="N", help="processes of Locust on this machine (default: 2)")
    add("--expect-workers", type=int, metavar="N", help="wait for so many, where some are on other machines")
    add("--bind", default="127.0.0.1", metavar="ADDRESS", help="that Locust's workers reach (default: 127.0.0.1)")
    add("--port", type=int, metavar="N", help="of Locust's master (default: a free one)")
    add("--command", metavar="'PROGRAM ...'", help="send with k6, wrk, oha, vegeta or a script; {url} is filled in")


def run(options: argparse.Namespace) -> int:
    """Send the load, and print what was measured."""
    spec = _spec(options)
    if options.output and not options.output.absolute().parent.is_dir():
        raise ConfigError(f"--output = {str(options.output)!r}: there is no folder for it; make it first")
    engine = _engine(spec, options)
    with _progress(spec) as tell:
        result = asyncio.run(_measure(engine, tell))
    _publish(result, options)
    if result.stopped == "stopped":
        return _INTERRUPTED
    _refuse_failure(result, options.max_errors)
    return 0


def _publish(result: LoadResult, options: argparse.Namespace) -> None:
    text = json.dumps(result.to_dict(), indent=1) + "\n"
    print(text if options.json else summary(result) + "\n", end="", flush=True)
    if options.output:
        try:
            store.write_whole(options.output, text.encode())
        except OSError as error:
            raise ConfigError(f"--output = {str(options.output)!r} cannot be written: {error.strerror}") from error


def _refuse_failure(result: LoadResult, most: float) -> None:
    if result.stopped:
        raise CouldNotRun(f"{result.url}: {result.stopped}")
    if not result.completed:
        kinds = ", ".join(result.errors) or "none was sent"
        raise CouldNotRun(f"{result.url}: no request was answered ({kinds}); is the service up?")
    if result.error_share > most:
        found = f"{per_cent(result.error_share)} of the requests failed"
        raise CouldNotRun(f"{result.url}: {found}, more than --max-errors = {per_cent(most)}")


def _share(text: str) -> float:
    number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share; write one as in 1% or 0.01")
    return number


# -- what to send ----------------------------------------------------------------------------------------------------


def _spec(options: argparse.Namespace) -> LoadSpec:
    """Return the load: the scenario's, with what the command line says instead."""
    base, where = {}, "command line:"
    if options.scenario:
        base, where = _section(options.scenario), f"{options.scenario.name}: [load]"
        LoadSpec.from_mapping(base, where)  # so that a message names the file, not the command line
    given = {key: value for key, value in _given(options).items() if value is not None}
    if not (options.url or base.get("url")):
        raise ConfigError("command line: URL is missing; give the URL of the service, or a scenario with url in [load]")
    return LoadSpec.from_mapping(base | given, "command line:")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    names = ("url", "connections", "duration_s", "ramp_up_s", "rate", "requests", "body", "timeout_s", "verify_tls")
    given = {name: getattr(options, name) for name in (*names, "keep_alive", "method", "locust", "workers")}
    if options.body is not None and options.method is None:
        given["method"] = "POST"
    if options.header:
        given["headers"] = dict(map(_header, options.header))
    if options.command is not None:
        given |= {"engine": "command", "command": _words(options.command)}
    elif options.locust is not None:
        given["engine"] = "locust"
    return given


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(f"command line: --header = {text!r} is not a header; write 'Name: text'")
    return name.strip(), value.strip()


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"command line: --command = {command!r} cannot be split into words ({error})") from None


def _section(path: Path) -> dict[str, Any]:
    """Return the section ``[load]`` of a scenario."""
    try:
        content = parse(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # bad UTF-8 is one as well
        raise ConfigError(f"{path.name}: not valid TOML: {error}") from error
    section = content.get("load")
    if not isinstance(section, dict):
        raise ConfigError(f"{path.name}: there is no section [load]")
    return section


# -- how it is sent --------------------------------------------------------------------------------------------------


def _engine(spec: LoadSpec, options: argparse.Namespace) -> Engine:
    if spec.engine == "locust":
        from pytest_memguard.load.swarm import Swarm  # noqa: PLC0415 - only where it is asked for

        return Swarm(spec, expect_workers=options.expect_workers, bind=options.bind, port=options.port)
    from pytest_memguard.load.engines import engine  # noqa: PLC0415 - as above

    return engine(spec)


async def _measure(engine: Engine, tell: Callable[[SecondCounts], object]) -> LoadResult:
    stop = asyncio.Event()
    with _on_interrupt(stop, asyncio.get_running_loop()):
        return await engine.run(tell, stop)


@contextmanager
def _on_interrupt(stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let the first Ctrl-C end the run, and the second one everything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def end(*_signal: object) -> None:
        signal.signal(signal.SIGINT, before)
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(spec: LoadSpec) -> Iterator[Callable[[SecondCounts], object]]:
    """Show how far the run is, on stderr: a bar in a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _tell_plainly
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, and 90 ms where nobody looks
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above
    except ImportError:
        yield _tell_plainly
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("begins", total=spec.duration_s)
        yield lambda counts: bar.update(task, completed=counts.second + 1, description=second_line(counts).strip())


def _tell_plainly(counts: SecondCounts) -> None:
    if counts.second == 0 or (counts.second + 1) % _PLAIN_EVERY_S == 0:
        sys.stderr.write(second_line(counts) + "\n")
        sys.stderr.flush()
