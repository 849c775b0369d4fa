"""
Takes the services of a scenario through its phases, and keeps what is read meanwhile.

    idle -> warm-up -> load -> diagnose -> cool-down

Whatever ends a run early (a service that dies, a limit, Ctrl-C, a load that cannot be sent), what was read is kept.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.floors import FLOORS_NEEDED, WINDOWS
from pytest_memguard.core.units import Unit, amount, duration
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.load.engines import engine
from pytest_memguard.scenario import diagnosis
from pytest_memguard.scenario.keeper import KEPT
from pytest_memguard.scenario.sampling import Moment, Phase, Recording, total
from pytest_memguard.scenario.thresholds import Patience
from pytest_memguard.scenario.verdict import Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Explanation
    from pytest_memguard.load.engines import Engine
    from pytest_memguard.load.profile import LoadSpec
    from pytest_memguard.load.result import LoadResult, SecondCounts
    from pytest_memguard.scenario.launch import Service
    from pytest_memguard.scenario.spec import Scenario

__all__ = ["LOAD", "Run"]

LOAD = "load"
_TELL_EVERY_S = 5.0
_LIMITS_EVERY_S = 1.0
#: A service that is about to end because of a signal has ended by then, and its exit code can be told.
_DEATH_S = 1.0
#: Answers are on their way, connections are being closed.
_REST_S = 0.2

#: Settled readings under load: one more than the windows, as growth is between them.
_SETTLED = WINDOWS + 1
#: Of the time under load, collections may take so much, and one takes so much at least, with all around it.
_COLLECT_SHARE, _LEAST_PAUSE_S = 0.05, 0.001

Key = tuple[str, int]


class Run:
    """
    One run of a scenario, whose services are there.

    Args:
        scenario: What to do.
        services: Running.
        notice: Called with a line of progress.
        suspects: Says from what was read under load whether something grows.

    Attributes:
        recording: What was read.
        load: What was measured of the steady load; None where it did not come so far.
        before: Each process by service and number, settled before the load.
        during: The same, under load, as often as that costs next to nothing.
        loaded: The same, right after it.
        after: The same, after the cool-down.
        explanations: Of each process that was diagnosed.
        failure: Why the run could not go on; empty where it could.
        breach: The limit for which it was ended.
        interrupted: Whether somebody ended it.

    """

    def __init__(
        self,
        scenario: Scenario,
        services: Sequence[Service],
        notice: Callable[[str], object],
        suspects: Callable[[Run], bool],
    ) -> None:
        self.scenario = scenario
        self.recording = Recording()
        self.load: LoadResult | None = None
        self.before: dict[Key, Settled] = {}
        self.during: dict[Key, list[Settled]] = {}
        self.loaded: dict[Key, Settled] = {}
        self.after: dict[Key, Settled] = {}
        self.explanations: dict[Key, Explanation] = {}
        self.notes: list[str] = []
        self.failure = ""
        self.breach = ""
        self.interrupted = False
        self._services = services
        self._notice = notice
        self._suspects = suspects
        self._began_s = time.monotonic()
        self._completed = 0
        self._engine: Engine | None = None
        self._patience = Patience(scenario.limits)
        self._told_s = self._limits_s = self._pause_s = 0.0

    async def through(self) -> None:
        """Go through all phases."""
        self._stop = asyncio.Event()
        self._lock = asyncio.Lock()
        with self._on_signals(), _marked(self._services):
            sampling = asyncio.create_task(self._sample())
            try:
                await self._phases()
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)

    @property
    def now_s(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._began_s

    @property
    def completed(self) -> int:
        """Requests completed until now, in all phases."""
        return self._completed + (self._engine.completed if self._engine else 0)

    def measured(self) -> list[tuple[str, int, list[Moment]]]:
        """Return the moments of each process that count, by service and number."""
        phase = self.recording.phase(LOAD if self.scenario.load_spec else "idle")
        if phase is None:
            return []
        tracks = [(track, track.within(phase.begin_s, phase.end_s)) for track in self.recording.tracks.values()]
        return [(track.service, track.pid, self._placed(moments, phase)) for track, moments in tracks if moments]

    @property
    def unit(self) -> str:
        """What the moments are counted in."""
        counted = self.load is not None and self.load.completed > 0
        return "request" if self.scenario.load_spec and (counted or self.completed) else "second"

    def _placed(self, moments: list[Moment], phase: Phase) -> list[Moment]:
        """Return *moments* over requests; where only their sum is known, as if they had come evenly."""
        if self.unit == "second":
            return [replace(moment, requests=moment.time_s) for moment in moments]
        if moments[-1].requests > moments[0].requests or self.load is None:
            return moments
        rate = self.load.completed / (phase.end_s - phase.begin_s)
        return [replace(moment, requests=(moment.time_s - phase.begin_s) * rate) for moment in moments]

    # -- phases -------------------------------------------------------------------------------------------------------

    async def _phases(self) -> None:
        scenario, spec = self.scenario, self.scenario.load_spec
        if spec is not None and scenario.diagnose.when != "off":
            # What the tracer needs is imported now, so that it is no growth later.
            await self._ask(lambda client: (client.call("trace", on=True), client.call("trace", on=False)))
        await self._wait("idle", scenario.idle_s)
        if spec is not None:
            spec = spec.at(scenario.url)
            if scenario.warm_up_s and not self._stop.is_set():
                warming = replace(spec, duration_s=scenario.warm_up_s, ramp_up_s=None, requests=None)
                await self._send("warm-up", warming)
                spec = replace(spec, ramp_up_s=0.0)
            await self._settle(self.before)
            if not self._stop.is_set():
                collecting = asyncio.create_task(self._collect(spec.duration_s))
                try:
                    self.load = await self._send(LOAD, spec)
                finally:
                    collecting.cancel()
                    await asyncio.gather(collecting, return_exceptions=True)
                await self._settle(self.loaded)
        if not self._stop.is_set():
            await self._diagnose(spec)
        if not self.failure:
            await self._cool_down()

    async def _wait(self, name: str, seconds: float) -> None:
        begin_s = self.now_s
        if seconds:
            self._notice(f"{name}, {duration(seconds)}")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)
            self.recording.phases.append(Phase(name, begin_s, self.now_s))

    async def _send(self, name: str, spec: LoadSpec) -> LoadResult | None:
        """Send one load, and return what was measured; None where it could not be sent."""
        how = f"{spec.rate:g} requests a second" if spec.rate else f"{spec.connections} connections"
        self._notice(f"{name}, {how} for {duration(spec.duration_s)}")
        begin_s = self.now_s
        result = None
        try:
            self._engine = engine(spec)
            result = await self._engine.run(self._tell, self._stop)
            if result.stopped not in ("", "stopped"):
                self._fail(f"the load ended: {result.stopped}")
            elif not result.completed and not self._stop.is_set():
                self._fail(f"no request was answered ({', '.join(result.errors) or 'none was sent'})")
        except CouldNotRun as error:
            self._fail(f"the load could not be sent: {error}")
        # The ramp is no steady load.
        ramped_s = begin_s + (spec.ramp_s if name == LOAD else 0.0)
        self.recording.phases.append(Phase(name, min(ramped_s, self.now_s), self.now_s))
        self._completed, self._engine = self.completed, None
        if result is not None and not self._completed:
            self._completed = result.completed
        return result

    async def _diagnose(self, spec: LoadSpec | None) -> None:
        """Let the agents tell what grows, over some more load."""
        plan = self.scenario.diagnose
        if spec is None or plan.when == "off" or (plan.when == "auto" and not self._suspects(self)):
            return
        asked = await self._ask(lambda client: diagnosis.begin(client, plan.frames))
        if not asked:
            return
        before = self._completed
        await self._send("diagnose", replace(spec, duration_s=plan.duration_s, ramp_up_s=0.0, requests=None))
        await asyncio.sleep(_REST_S)
        requests = self._completed - before
        roots = {service.name: service.spec.cwd for service in self._services}
        self.explanations = await self._ask(
            lambda client, name: diagnosis.finish(client, requests, roots[name]), named=True
        )

    async def _cool_down(self) -> None:
        await self._ask(lambda client: client.call("gc", passes=2))
        if self.scenario.trim:
            await self._ask(lambda client: client.call("trim"))
        await self._wait("cool-down", self.scenario.cool_down_s)
        await self._settle(self.after)

    async def _settle(self, into: dict[Key, Settled]) -> None:
        """Collect garbage in each process, and read it."""
        await asyncio.sleep(_REST_S)
        into.update(await self._settled(2))

    async def _collect(self, seconds: float) -> None:
        """
        Read each process right after a collection, at even times under load.

        Garbage that waits for the collector swings more than a small leak grows: read behind a collection, twenty
        bytes a request show. A collection stops the service for a moment, so there are as many as its share allows.
        """
        if not self.scenario.collect:
            return
        allowed = int(_COLLECT_SHARE * seconds / max(self._pause_s, _LEAST_PAUSE_S))
        times = min(_SETTLED, allowed)
        if times < FLOORS_NEEDED:
            self.notes.append(
                f"a collection stops the service for {duration(self._pause_s)}, so there was none under load; a longer "
                "load is judged more sharply"
            )
            return
        begin_s = self.now_s
        for number in range(times):
            await asyncio.sleep(max(0.0, begin_s + seconds * (number + 0.5) / times - self.now_s))
            for key, settled in (await self._settled(1)).items():
                self.during.setdefault(key, []).append(settled)

    async def _settled(self, passes: int) -> dict[Key, Settled]:
        answers = await self._ask(lambda client: client.call("gc", passes=passes))
        self._pause_s = max([answer["pause_s"] / passes for answer in answers.values()], default=0.0)
        found = {}
        for service in self._services:
            with suppress(CouldNotRun):
                async with self._lock:
                    tree = await asyncio.to_thread(service.sample)
                found.update({(service.name, one.pid): Settled(self.completed, one) for one in tree.processes})
        return found

    async def _ask(self, what: Callable[..., Any], *, named: bool = False) -> dict[Key, Any]:
        """Return what the agent of each process answers to *what*; those that do not answer are left out."""

        def ask_all() -> dict[Key, Any]:
            found = {}
            for service in self._services:
                with suppress(CouldNotRun):
                    for client in service.clients():
                        with suppress(CouldNotRun):
                            found[service.name, client.pid] = what(client, service.name) if named else what(client)
            return found

        async with self._lock:
            return await asyncio.to_thread(ask_all)

    # -- beside them --------------------------------------------------------------------------------------------------

    async def _sample(self) -> None:
        """Read all processes again and again, and see what would end the run."""
        step_s = self.scenario.interval_s
        due_s = self.now_s
        while True:
            due_s = max(due_s + step_s, self.now_s)
            async with self._lock:
                time_s, completed, readings = await asyncio.to_thread(self._read)
            if readings:
                self.recording.add(time_s, completed, readings)
                self._look(readings)
            await self._look_for_death()
            await asyncio.sleep(max(0.0, due_s - self.now_s))

    def _read(self) -> tuple[float, int, list[tuple[str, Any]]]:
        readings = []
        begin_s, begun = self.now_s, self.completed
        for service in self._services:
            with suppress(CouldNotRun):
                readings.append((service.name, service.sample()))
        return (begin_s + self.now_s) / 2, (begun + self.completed) // 2, readings

    async def _look_for_death(self) -> None:
        if self.failure:
            return
        for service in self._services:
            if service.died:
                await asyncio.sleep(0)
                self._fail(f"{service.name}: after {self.completed} requests {service.died}")

    def _look(self, readings: Sequence[tuple[str, Any]]) -> None:
        """End the run for a limit that is not kept."""
        rss = total(readings, "rss_bytes") or 0.0
        for service, (_, tree) in zip(self._services, readings, strict=False):
            most, found = service.spec.memory_limit_bytes, tree.total("rss_bytes") or 0
            if most and found > most and not self.breach:
                limit = amount(most, Unit.BYTE)
                self._end_for(
                    f"{service.name} reached its memory limit of {limit} ({amount(found, Unit.BYTE)} resident)"
                )
        if self._engine is not None and self.now_s - self._limits_s >= _LIMITS_EVERY_S:
            self._limits_s = self.now_s
            breach = self._patience.look(self._live(rss, total(readings, "uss_bytes")), self.now_s)
            if breach is not None and not self.breach:
                self._end_for(str(breach))

    def _live(self, rss: float, uss: float | None) -> Mapping[str, float]:
        """Return what can be said of the limits while the load goes on."""
        found = {"rss": rss}
        if uss is not None:
            found["uss"] = uss
        failed, completed = getattr(self._engine, "failed", 0), self._engine.completed if self._engine else 0
        if completed or failed:
            found["errors"] = failed / max(failed, completed)
        latency = getattr(self._engine, "latency", None)
        for limit in self.scenario.limits:
            if latency is not None and latency.count and limit.name.startswith("p("):
                found[limit.name] = latency.percentile(float(limit.name[2:-1]))
        return found

    def _tell(self, counts: SecondCounts) -> None:
        if self.now_s - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = self.now_s
        last = self.recording.totals[-1][2] if self.recording.totals else ()
        rss = f", {amount(last[-1], Unit.BYTE)} resident" if last and last[-1] is not None else ""
        self._notice(f"  {counts.completed} answered a second, {counts.errors} failed{rss}")

    def _fail(self, why: str) -> None:
        """Note why the run cannot go on; the death of a service explains more than a load that fails."""
        dead = [f"{one.name}: after {self.completed} requests {one.died}" for one in self._services if one.died]
        self.failure = self.failure or (dead[0] if dead else why)
        self._stop.set()

    def _end_for(self, breach: str) -> None:
        self.breach = breach
        self._notice(f"ended: {breach}")
        self._stop.set()

    @contextmanager
    def _on_signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or TERM end the run in good order, and the second one everything."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def interrupt(*_signal: object) -> None:
            restore()
            self.interrupted = True
            loop.call_soon_threadsafe(self._stop.set)

        for number in before:
            signal.signal(number, interrupt)
        try:
            yield
        finally:
            restore()


@contextmanager
def _marked(services: Sequence[Service]) -> Iterator[None]:
    """Mark what is started meanwhile as part of the run, so that the keepers end it too if we are killed."""
    before = os.environ.get(KEPT)
    os.environ[KEPT] = services[0].run_mark
    try:
        yield
    finally:
        if before is None:
            del os.environ[KEPT]
        else:
            os.environ[KEPT] = before
