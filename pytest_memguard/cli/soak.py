"""
Start a service, load it, and decide whether it leaks per request.

The scenario says what to start and how to load it (--init writes one): idle, warm-up, steady load, cool-down; each
process is judged by its heap and its blocks over completed requests, and by what stays when the load is over. Ctrl-C
ends the run in good order; nothing of the service is left behind.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.core import document
from pytest_memguard.core.units import amount
from pytest_memguard.errors import ConfigError
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pytest_memguard.core.values import Finding
    from pytest_memguard.scenario.soak import SoakResult

__all__ = ["add_arguments", "run"]

_FILE = Path("scenario.toml")
_MOST_SITES = 3
_MOST_PROCESSES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    scenario = "TOML or JSON file, pyproject.toml#NAME, or NAME of a scenario in the pyproject.toml here"
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO", help=scenario)
    parser.add_argument("--init", action="store_true", help=f"write a commented scenario (default: {_FILE})")
    parser.add_argument("--json", metavar="FILE", help="write the result document, plain or .gz; - prints it")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report")
    undecided = "what to end with where it cannot be told: 0 or 1 (default: 3)"
    parser.add_argument("--undecided", choices=("pass", "fail"), help=undecided)
    parser.add_argument("-q", "--quiet", action="store_true", help="only the verdict, no progress")


def run(options: argparse.Namespace) -> int:
    """Soak, and say what came of it."""
    if options.init:
        return _init(Path(options.scenario) if options.scenario else _FILE)
    if not options.scenario:
        raise ConfigError("give a scenario, as in `memguard soak scenario.toml`; `memguard soak --init` writes one")
    _require_writable("--json", None if options.json == "-" else options.json)
    _require_writable("--html", options.html)
    from pytest_memguard.scenario.soak import soak  # noqa: PLC0415 - psutil and the load, which --init does not need
    from pytest_memguard.scenario.spec import Scenario  # noqa: PLC0415 - as above

    scenario = Scenario.load(options.scenario)
    result = soak(scenario, notice=_silent if options.quiet else _Notices())
    if options.json != "-":
        print(summary(result), flush=True)
    _write(result, options)
    return result.exit_code(options.undecided)


def _init(path: Path) -> int:
    from pytest_memguard.scenario.example import EXAMPLE  # noqa: PLC0415 - only here

    if path.exists():
        raise ConfigError(f"{path} is there already; give another name, as in `memguard soak --init other.toml`")
    try:
        store.write_whole(path, EXAMPLE.encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    print(f"written to {plain(str(path))}; adapt command and routes, then: memguard soak {plain(str(path))}")
    return 0


def _require_writable(option: str, given: str | Path | None) -> None:
    """Find out before a run of hours whether its result can be written."""
    if given is None:
        return
    path = Path(given)
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise ConfigError(f"{option} = {plain(str(path))!r} cannot be written: write a file in a folder that is there")


def _write(result: SoakResult, options: argparse.Namespace) -> None:
    if options.json == "-":
        print(document.dumps(result.run))
    elif options.json:
        store.write(result.run, Path(options.json))
    if options.html:
        from pytest_memguard.renderers import html  # noqa: PLC0415 - the templates' engine, where a page is made

        store.write_text(html.render(result.run), options.html)


def _silent(_: str) -> None:
    """Say nothing."""


class _Notices:
    """Lines of progress on stderr, each with the seconds since the start."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def __call__(self, text: str) -> None:
        with suppress(OSError):  # whoever reads it may have gone
            sys.stderr.write(f"{time.monotonic() - self._began_s:6.1f} s  {plain(text)}\n")
            sys.stderr.flush()


# -- words -----------------------------------------------------------------------------------------------------------


def summary(result: SoakResult) -> str:
    """Return what became of a scenario, for people."""
    return "\n".join(_lines(result))


def _lines(result: SoakResult) -> Iterator[str]:
    one = result.result
    score = f", {one.verdict.score:.0f} of 100" if one.verdict.score else ""
    yield f"{plain(one.id)}: {result.outcome.value}{score}: {plain(one.verdict.reason)}"
    if len(result.processes) > 1:
        yield from (
            f"  process {judged.pid}  {judged.says.value}  {plain(judged.title)}: {plain(judged.reason)}"
            for judged in result.processes[:_MOST_PROCESSES]
        )
    yield from _findings(one.findings)
    yield from _measured(result)
    yield from (f"  note: {plain(note)}" for note in one.notes)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    seen: set[str] = set()
    for finding in findings:
        key = finding.fingerprint or finding.metric.name
        if key in seen:
            continue
        seen.add(key)
        for site in finding.sites[:_MOST_SITES]:
            size = amount(site.bytes_per_run, finding.metric.unit.BYTE)
            yield f"  allocated at {plain(site.file)}:{site.line} {plain(site.function)}: {size} a request"
            if site.source:
                yield f"      {plain(site.source)}"
        for path in finding.paths[:1]:
            root, *hops = path.text.splitlines() or [""]
            yield f"  held by {plain(root)}"
            yield from (f"    {plain(hop)}" for hop in hops)
        if finding.advice:
            yield f"  what to do: {plain(finding.advice)}"


def _measured(result: SoakResult) -> Iterator[str]:
    load = result.load
    if load is not None:
        latency = ", ".join(f"{name} {value * 1000:.3g} ms" for name, value in load.percentiles.items())
        yield f"  load: {load.completed} answered, {load.throughput:.1f} a second, {load.failed} failed; {latency}"
    broken = {breach.threshold for breach in result.broken}
    for limit in result.scenario.limits:
        value = result.measured.get(limit.name)
        shown = "not measured" if value is None else limit.shown(value)
        yield f"  {'NOT KEPT' if limit in broken else 'kept':8}  {limit.text}: {shown}"
