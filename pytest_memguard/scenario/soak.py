"""
Soaks the services of a scenario, and decides whether they leak per request.

    result = soak(Scenario.load("shop.toml"))
    result.outcome, result.result.verdict.reason
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any

from pytest_memguard import store
from pytest_memguard.core.fingerprint import of_finding
from pytest_memguard.core.units import duration
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    THREADS,
    Explanation,
    Finding,
    Holder,
    Level,
    RunResult,
    SubjectResult,
    Verdict,
)
from pytest_memguard.errors import ConfigError
from pytest_memguard.explain.advice import advise
from pytest_memguard.scenario.launch import Service, new_mark
from pytest_memguard.scenario.running import LOAD, Run
from pytest_memguard.scenario.thresholds import breaches
from pytest_memguard.scenario.verdict import BLOCK_BYTES, Judged, Says, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_memguard.load.result import LoadResult
    from pytest_memguard.scenario.sampling import Phase
    from pytest_memguard.scenario.spec import Scenario
    from pytest_memguard.scenario.thresholds import Breach

__all__ = ["Outcome", "SoakResult", "soak"]

_MOST_ERRORS = 0.5
_MOST_SERIES = 800


class Outcome(str, Enum):
    """How a soak ended."""

    CLEAN = "clean"
    LEAK = "leak"
    LIMIT = "limit"
    UNDECIDED = "undecided"
    COULD_NOT_RUN = "could not run"
    INTERRUPTED = "interrupted"


_CODES = {
    Outcome.CLEAN: 0,
    Outcome.LEAK: 1,
    Outcome.LIMIT: 1,
    Outcome.UNDECIDED: 3,
    Outcome.COULD_NOT_RUN: 4,
    Outcome.INTERRUPTED: 130,
}
_SERIOUS = (Says.LEAK, Says.FRAGMENTS, Says.NEEDS_MORE, Says.COMES_BACK, Says.SLOWS, Says.CLEAN)
_LEVELS = {
    Says.LEAK: Level.LEAK,
    Says.FRAGMENTS: Level.GROWING,
    Says.NEEDS_MORE: Level.UNMEASURED,
    Says.COMES_BACK: Level.CLEAN,
    Says.SLOWS: Level.SETTLED,
    Says.CLEAN: Level.CLEAN,
}


@dataclass(frozen=True, slots=True)
class SoakResult:
    """
    What became of a scenario.

    Attributes:
        outcome: How it ended; what the exit code comes from.
        run: The whole as a session with one result, as a result document holds it.
        load: What was measured of the steady load.
        processes: The verdict on each process.
        broken: The limits that were not kept.
        measured: What the limits were compared with.
        needs_s: How long a steady load would tell; None where this one did.

    """

    scenario: Scenario
    outcome: Outcome
    run: RunResult
    load: LoadResult | None = None
    phases: tuple[Phase, ...] = ()
    processes: tuple[Judged, ...] = ()
    broken: tuple[Breach, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    needs_s: float | None = None

    @property
    def result(self) -> SubjectResult:
        """The scenario as a subject."""
        return self.run.results[0]

    def exit_code(self, undecided: str | None = None) -> int:
        """Return the exit code; *undecided* is "pass" or "fail" where not to decide shall be one of these."""
        if self.outcome is Outcome.UNDECIDED and undecided:
            return 0 if undecided == "pass" else 1
        return _CODES[self.outcome]


def soak(scenario: Scenario, *, notice: Callable[[str], object] = lambda _: None) -> SoakResult:
    """
    Start the services, load them, judge each process, and end them.

    Args:
        scenario: What to do.
        notice: Called with a line of progress.

    Returns:
        The verdict. A service that dies, a load that cannot be sent, Ctrl-C: that is a result too, with all that was
        measured until then.

    Raises:
        CouldNotRun: a service did not start or did not get ready.
        ConfigError: the load has no URL, or its engine cannot run here.

    """
    if scenario.load_spec is not None and not scenario.url:
        raise ConfigError(f"{scenario.name}: [load] url is missing; give it, or ready_url in [service]")
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    began_s = time.monotonic()
    mark = new_mark()
    with ExitStack() as stack:
        services = []
        for spec in scenario.services:
            notice(f"start {spec.name}: {' '.join(spec.command)[:100]}")
            url = scenario.url if spec is scenario.service else ""
            services.append(stack.enter_context(Service(spec, url=url, mark=mark)))
        run = Run(scenario, services, notice, lambda run: _grows(_judged(run)))
        asyncio.run(run.through())
        notes = [f"{service.name}: {note}" for service in services for note in service.notes]
        notice("stop")
    return _result(run, notes, started_at, time.monotonic() - began_s)


# -- verdict ---------------------------------------------------------------------------------------------------------


def _judged(run: Run) -> list[Judged]:
    limits = {spec.name: spec.memory_limit_bytes for spec in run.scenario.services}
    names = {(track.service, track.pid): track.title for track in run.recording.tracks.values()}
    return [
        judge(
            names[service, pid],
            moments,
            run.before.get((service, pid)),
            tuple(found[service, pid] for found in (run.loaded, run.after) if (service, pid) in found),
            during=run.during.get((service, pid), ()),
            unit=run.unit,
            limit_bytes=limits.get(service),
        )
        for service, pid, moments in run.measured()
    ]


def _grows(processes: Sequence[Judged]) -> bool:
    """Whether something grows, or may; not where there was too little to judge."""
    return any(one.says in (Says.LEAK, Says.FRAGMENTS, Says.NEEDS_MORE) and one.policies for one in processes)


def _result(run: Run, notes: Sequence[str], started_at: str, duration_s: float) -> SoakResult:
    processes = sorted(_judged(run), key=_seriousness)
    processes = _without_short(processes)
    measured = _measured(run, processes)
    broken = breaches(run.scenario.limits, measured) if run.load is not None else ()
    outcome, reason, needs_s = _outcome(run, processes, broken)
    lead = processes[0] if processes else None
    level = _level(outcome, lead)
    verdict = Verdict(
        level,
        lead.score if lead and outcome not in (Outcome.COULD_NOT_RUN, Outcome.INTERRUPTED) else 0.0,
        reason,
        policies=tuple(lead.policies.items()) if lead else (),
    )
    scenario = run.scenario
    subject = SubjectResult(
        id=scenario.name,
        kind="scenario",
        verdict=verdict,
        runs=run.completed,
        duration_s=duration_s,
        file=scenario.path.name if scenario.path else "",
        findings=tuple(_findings(run, processes)),
        stopped=run.failure or run.breach or ("interrupted" if run.interrupted else ""),
        notes=(*notes, *_notes(run, processes, broken)),
        timeline=run.recording.timeline(),
    )
    session = RunResult(
        started_at,
        duration_s,
        environment=store.environment(),
        commit=store.commit_of(scenario.path.absolute().parent if scenario.path else "."),
        settings={"scenario": _settings(run, processes, measured, broken)},
        results=(subject,),
    )
    return SoakResult(
        scenario,
        outcome,
        session,
        run.load,
        tuple(run.recording.phases),
        tuple(processes),
        broken,
        measured,
        needs_s,
    )


def _seriousness(one: Judged) -> tuple[int, float]:
    return _SERIOUS.index(one.says), -one.bytes_per_request


def _without_short(processes: list[Judged]) -> list[Judged]:
    """Return those that there is something to say of: a process that was there for a moment does not hold it up."""
    told = [one for one in processes if not (one.says is Says.NEEDS_MORE and not one.policies)]
    return told or processes[:1]


def _outcome(run: Run, processes: Sequence[Judged], broken: Sequence[Breach]) -> tuple[Outcome, str, float | None]:
    """Return how it ended, why, and how long a load would have told."""
    lead = processes[0] if processes else None
    ended = _early_end(run)
    if ended is not None:
        seen = f"; until then {lead.title}: {lead.reason}" if lead else ""
        return ended[0], f"{ended[1]}{seen}", None
    if lead is None:
        return Outcome.UNDECIDED, "nothing was read under load; let it run longer", _longer(run, 2.0)
    words = f"{lead.title} (process {lead.pid}): {lead.reason}" if len(processes) > 1 else lead.reason
    limits = "; ".join(map(str, broken))
    if lead.says is Says.LEAK and (broken or not _is_allowed(run.scenario, lead)):
        return Outcome.LEAK, f"{words}{f'; {limits}' if limits else ''}", None
    if broken:
        return Outcome.LIMIT, f"{limits}; else {words}", None
    if lead.says in (Says.NEEDS_MORE, Says.FRAGMENTS):
        needs_s = _longer(run, max(2.0, lead.needs))
        return Outcome.UNDECIDED, f"{words}; a load of {duration(needs_s)} would tell", needs_s
    allowed = "; the limits of the scenario allow that" if lead.says is Says.LEAK else ""
    return Outcome.CLEAN, f"{words}{allowed}", None


def _early_end(run: Run) -> tuple[Outcome, str] | None:
    """Return how and why it ended before its time; None where it did not."""
    if run.failure:
        return Outcome.COULD_NOT_RUN, f"it could not be run to its end: {run.failure}"
    if run.interrupted:
        return Outcome.INTERRUPTED, f"it was interrupted after {run.completed} requests"
    if run.breach:
        return Outcome.LIMIT, f"it was ended: {run.breach}"
    if _is_ill(run):
        kinds = ", ".join(run.load.errors) if run.load else ""
        return Outcome.COULD_NOT_RUN, f"most requests failed ({kinds}), so this says nothing of memory"
    return None


def _is_ill(run: Run) -> bool:
    has_limit = any(limit.name == "errors" for limit in run.scenario.limits)
    return run.load is not None and not has_limit and run.load.error_share > _MOST_ERRORS


def _is_allowed(scenario: Scenario, lead: Judged) -> bool:
    """Whether a limit speaks of what leaks, and is kept."""
    speaks = {limit.name for limit in scenario.limits}
    names = {HEAP: {"growth"}, BLOCKS: {"growth", "blocks"}, FDS: {"fds"}, THREADS: {"threads"}}
    return bool(lead.per_request) and all(names.get(metric, set()) & speaks for metric in lead.per_request)


def _longer(run: Run, times: float) -> float:
    phase = run.recording.phase(LOAD if run.scenario.load_spec else "idle")
    length_s = phase.end_s - phase.begin_s if phase else 0.0
    return max(run.scenario.interval_s * 30, length_s * times)


def _level(outcome: Outcome, lead: Judged | None) -> Level:
    if outcome in (Outcome.COULD_NOT_RUN, Outcome.INTERRUPTED) or lead is None:
        return Level.UNMEASURED
    if lead.says is Says.LEAK and outcome is Outcome.CLEAN:
        return Level.GROWING
    return _LEVELS[lead.says]


def _measured(run: Run, processes: Sequence[Judged]) -> dict[str, float]:
    """Return what the limits are compared with."""
    found: dict[str, float] = {}
    phase = run.recording.phase(LOAD)
    if phase is None or run.load is None:
        return found
    by_name = {
        series.metric.name: [
            y for x, y in zip(series.x, series.values, strict=True) if phase.begin_s <= x <= phase.end_s
        ]
        for series in run.recording.timeline()
    }
    for name in ("rss", "uss"):
        if by_name.get(name):
            found[name] = max(by_name[name])
    for name, source in (("rss_growth", "rss"), ("fds", "fds"), ("threads", "threads")):
        if by_name.get(source):
            found[name] = max(0.0, by_name[source][-1] - by_name[source][0])
    if run.unit == "request":
        found["growth"] = sum(one.bytes_per_request for one in processes)
        found["blocks"] = sum(one.per_request.get(BLOCKS, 0.0) for one in processes)
    found["errors"] = run.load.error_share
    found["rate"] = run.load.throughput
    for limit in run.scenario.limits:
        if limit.name.startswith("p("):
            latency_s = run.load.percentile(float(limit.name[2:-1]))
            if latency_s is not None:
                found[limit.name] = latency_s
    return found


# -- document --------------------------------------------------------------------------------------------------------


def _findings(run: Run, processes: Sequence[Judged]) -> Iterator[Finding]:
    """Yield what grows, of each process; what is known of its cause stands with the first metric of it."""
    for one in processes:
        if one.says not in (Says.LEAK, Says.FRAGMENTS):
            continue
        known = next((found for (_, pid), found in run.explanations.items() if pid == one.pid), Explanation())
        advice = advise(known, Holder(), [metric.name for metric, _ in one.growing])
        for metric, trend in one.growing:
            finding = Finding(
                metric,
                trend,
                one.total.get(metric, 0.0),
                advice=advice,
                sites=known.sites,
                types=known.types,
                paths=known.paths,
            )
            yield replace(finding, fingerprint=of_finding(finding, Holder()))


def _notes(run: Run, processes: Sequence[Judged], broken: Sequence[Breach]) -> Iterator[str]:
    for one in processes[1:]:
        yield f"{one.title} (process {one.pid}): {one.reason}"
    for breach in broken:
        yield f"limit not kept: {breach}"
    if run.unit == "second" and run.scenario.load_spec is not None:
        yield "the load does not say how many requests were completed, so growth is told over seconds"
    tracks = run.recording.tracks.values()
    if tracks and not any(moment.reading.has_agent for track in tracks for moment in track.moments[-1:]):
        yield "no agent answered (no Python, or one with -I or -E), so only what the kernel counts was judged"
    yield from run.notes
    yield from (note for found in run.explanations.values() for note in found.notes)
    if run.recording.left_out:
        yield "the service started so many processes that not all of them were watched"


def _settings(
    run: Run, processes: Sequence[Judged], measured: Mapping[str, float], broken: Sequence[Breach]
) -> dict[str, Any]:
    scenario = run.scenario
    return {
        "name": scenario.name,
        "hash": scenario.hash,
        "services": [{"name": spec.name, "command": list(spec.command)} for spec in scenario.services],
        "phases": [{"name": one.name, "begin_s": one.begin_s, "end_s": one.end_s} for one in run.recording.phases],
        "interval_s": scenario.interval_s,
        "block_bytes": BLOCK_BYTES,
        "unit": run.unit,
        "processes": [
            {
                "title": one.title,
                "pid": one.pid,
                "says": one.says.value,
                "score": one.score,
                "reason": one.reason,
                "per_request": {metric.name: value for metric, value in one.per_request.items()},
            }
            for one in processes
        ],
        "limits": [
            {
                "limit": limit.text,
                "kept": limit not in {breach.threshold for breach in broken},
                "measured": measured.get(limit.name),
            }
            for limit in scenario.limits
        ],
        "load": _load(run.load),
    }


def _load(load: LoadResult | None) -> dict[str, Any] | None:
    if load is None:
        return None
    whole = load.to_dict()
    whole["seconds"] = whole["seconds"][-_MOST_SERIES:]
    return whole
