"""
Takes a service through the steps of a baseline, and reads what it takes and keeps at each.

What it takes is read as it is, garbage and all. What it keeps needs allocations traced and garbage collected, which
would change what it takes: so it is started once more for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard import __version__, agent
from pytest_memguard.core.units import duration
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.load.profile import LoadSpec
from pytest_memguard.renderers.terminal import plain
from pytest_memguard.scenario.footprint import Footprint, Range, Step
from pytest_memguard.scenario.launch import Service, new_mark
from pytest_memguard.scenario.steps import steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_memguard.scenario.spec import Scenario
    from pytest_memguard.scenario.steps import StepSpec

__all__ = ["measure", "send"]

#: Of the requests of a step; what a service takes that answers with errors says nothing of what it takes.
_MOST_ERRORS = 0.01
_LONGEST_STEP_S = 3600.0
#: A service sees a moment late that connections were closed.
_REST_S, _LONGEST_REST_S = 0.05, 2.0
_COUNTERS = str(Path(agent.__file__).with_name("counters.py"))
_IMPORT = """
import gc, json, runpy, sys
module, traced, counters = sys.argv[1:]
read = runpy.run_path(counters)["read_counters"]
if traced:
    import tracemalloc
    tracemalloc.start(1)
read()
gc.collect()
before = read()
__import__(module)
if traced:
    gc.collect()
print("\\n" + json.dumps([before, read()]))
"""
_FIELDS = {
    "rss": "rss_bytes",
    "uss": "uss_bytes",
    "heap": "heap_bytes",
    "blocks": "blocks",
    "fds": "fds",
    "threads": "threads",
}

Amounts = dict[str, float]


def measure(
    scenario: Scenario, *, runs: int, environment: Mapping[str, Any], tell: Callable[[str], object] = lambda _: None
) -> Footprint:
    """
    Return the footprint of *scenario*.

    Args:
        scenario: What to start, and the steps to take it through.
        runs: How often it is started for what it takes, and as often for what it keeps.
        environment: Where this runs, as ``store.environment`` tells.
        tell: Called with a line of progress.

    Raises:
        ConfigError: a step cannot be.
        CouldNotRun: the service did not start, ended, or did not answer.

    """
    steps = steps_of(scenario)
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    traces = (False, True) if any(service.agent for service in scenario.services) else (False,)
    read: list[dict[str, list[float]]] = [{} for _ in steps]
    for number, traced in product(range(1, runs + 1), traces):
        tell(f"{number} of {runs}: what it {'keeps' if traced else 'takes'}")
        for found, amounts in zip(read, _Pass(scenario, traced=traced).through(steps, tell), strict=True):
            for name, value in amounts.items():
                found.setdefault(name, []).append(value)
    return Footprint(
        scenario=scenario.name,
        hash=scenario.hash,
        runs=runs,
        steps=tuple(
            Step(step.name, {name: Range.of(values) for name, values in found.items()})
            for step, found in zip(steps, read, strict=True)
        ),
        saved_at=started_at,
        version=__version__,
        environment=environment,
    )


class _Pass:
    """The services of a scenario from start to end, once."""

    def __init__(self, scenario: Scenario, *, traced: bool) -> None:
        self._scenario = scenario
        self._traced = traced
        self._services: list[Service] = []

    def through(self, steps: Sequence[StepSpec], tell: Callable[[str], object]) -> Iterator[Amounts]:
        """Take them through *steps*, and yield what was read after each."""
        mark = new_mark()
        with ExitStack() as stack:
            for spec in self._scenario.services:
                url = self._scenario.url if spec == self._scenario.service else ""
                self._services.append(stack.enter_context(Service(spec, url=url, mark=mark)))
            if self._traced:
                self._ask("trace", frames=1)
            before = self._kept() if self._traced else {}
            for step in steps:
                tell(f"  {step.name}")
                if step.module:
                    yield self._imported(step.module)
                    continue
                self._do(step)
                self._rest()
                if not self._traced:
                    yield self._taken()
                    continue
                after = self._kept()
                yield {name: value - before[name] for name, value in after.items()}
                before = after

    # -- steps --------------------------------------------------------------------------------------------------------

    def _do(self, step: StepSpec) -> None:
        if step.idle_s is not None:
            time.sleep(step.idle_s)
        elif step.collect:
            self._ask("gc", passes=2)
            self._ask("trim")
        else:
            send(self._scenario, step, self._services)
        for service in self._services:
            if service.died:
                raise CouldNotRun(f"{step.name}: {service.name} {service.died}")

    def _imported(self, module: str) -> Amounts:
        """Return what an interpreter takes, or keeps, once it has imported *module* and nothing else."""
        spec = self._scenario.service
        command = [_interpreter(spec.command), "-c", _IMPORT, module, "traced" if self._traced else "", _COUNTERS]
        environ = {**os.environ, **dict(spec.env)}
        try:
            done = subprocess.run(  # noqa: S603 - the service's own interpreter
                command, cwd=spec.cwd or None, env=environ, capture_output=True, text=True, errors="replace",
                timeout=spec.ready_timeout_s, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CouldNotRun(f"import {module}: it did not end within {duration(spec.ready_timeout_s)}") from None
        except OSError as error:
            raise CouldNotRun(f"import {module}: {command[0]} cannot be started: {error.strerror}") from error
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            words = plain((done.stderr.strip().splitlines() or ["without a word"])[-1])
            raise CouldNotRun(f"import {module}: it ended with exit code {done.returncode}: {words}")
        before, after = json.loads(lines[-1])
        if self._traced:
            return {
                "kept": after["traced_bytes"] - before["traced_bytes"],
                "kept_blocks": after["blocks"] - before["blocks"],
            }
        return {name: after[field] for name, field in _FIELDS.items() if after.get(field) is not None}

    # -- readings -----------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Wait until the services have noticed that the connections of a step are closed."""
        until = time.monotonic() + _LONGEST_REST_S
        fds = -1
        while time.monotonic() < until:
            time.sleep(_REST_S)
            before, fds = fds, sum(service.sample().total("fds") or 0 for service in self._services)
            if fds == before:
                return

    def _taken(self) -> Amounts:
        readings = [service.sample() for service in self._services]
        found = {
            name: float(sum(totals))
            for name, field in _FIELDS.items()
            if name != "uss" and (totals := [total for one in readings if (total := one.total(field)) is not None])
        }
        uss = [_uss(one.pid) for reading in readings for one in reading.processes]
        return found if None in uss else {**found, "uss": float(sum(one or 0 for one in uss))}

    def _kept(self) -> Amounts:
        """Return what all their processes hold once garbage is collected."""
        self._ask("gc", passes=2)
        stats = self._ask("stats")
        return {
            "kept": float(sum(one.get("traced_bytes", 0) for one in stats)),
            "kept_blocks": float(sum(one["blocks"] or 0 for one in stats)),
        }

    def _ask(self, command: str, **arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as the agent takes it
        """Call a command of each agent; a process that has ended meanwhile is left out."""
        answers = []
        for service in self._services:
            for client in service.clients():
                with suppress(CouldNotRun):
                    answers.append(client.call(command, **arguments))
        return answers


def send(scenario: Scenario, step: StepSpec, services: Sequence[Service]) -> int:
    """
    Send the requests of *step* to where the load of *scenario* goes, and return how many were completed.

    Raises:
        CouldNotRun: nobody knows where to ask, or more than one in a hundred failed.

    """
    from pytest_memguard.load.driver import Driver  # noqa: PLC0415 - an extra

    if not scenario.url:
        raise CouldNotRun(f"{step.name}: nobody knows where to ask; write url into [load], or ready_url")
    spec = replace(
        scenario.load_spec or LoadSpec(),
        url=scenario.url,
        routes=step.routes,
        requests=step.times,
        connections=min(step.connections, step.times),
        rate=None,
        duration_s=_LONGEST_STEP_S,
        ramp_up_s=0.0,
        engine="builtin",
    )
    result = asyncio.run(Driver(spec).run())
    if result.stopped or result.error_share > _MOST_ERRORS:
        kinds = ", ".join(f"{kind}: {number}" for kind, number in result.errors.items())
        died = "".join(f"; {service.name} {service.died}" for service in services if service.died)
        why = result.stopped or f"{result.failed} of {result.requests} requests failed ({kinds})"
        raise CouldNotRun(f"{step.name}: {why}{died}")
    return result.completed


def _uss(pid: int) -> int | None:
    """Return the memory that is the process's alone, read now; None where nobody tells."""
    import psutil  # noqa: PLC0415 - launch has it by now

    with suppress(psutil.Error, OSError, AttributeError):
        uss: int = psutil.Process(pid).memory_full_info().uss
        return uss
    return None


def _interpreter(command: Sequence[str]) -> str:
    """Return the Python that a command runs: itself, or the one beside it; ours where neither is one."""
    if re.fullmatch(r"(python|pypy)[0-9.]*t?(\.exe)?", Path(command[0]).name):
        return command[0]
    found = shutil.which(command[0])
    beside = Path(found).with_name("python") if found else None
    return str(beside) if beside is not None and beside.exists() else sys.executable
