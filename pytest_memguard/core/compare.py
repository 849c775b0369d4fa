"""
Two sessions -> what changed: which leaks are new, worse, better, gone or known.

A leak is known again by its fingerprint, so that moved lines and renamed tests do not look new. Where one side has no
fingerprint, as nothing is known of the cause, the test's id stands for it. Growth a run is compared test by test, with
its intervals; what a process takes in all (its footprint) is compared within one environment only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.causes import X_UNITS, causes, loss_of, rate_of
from pytest_memguard.core.environment import environment_key
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import BLOCKS, RSS, USS, Change, Comparison, Estimate, Level, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_memguard.core.values import Finding, RunResult, SubjectResult

__all__ = ["ACCEPTED", "FAIL_ON", "KINDS", "Known", "compare", "estimate_of", "failing", "to_dict"]

KINDS = ("new", "worse", "known", "better", "gone")
#: What fails a comparison -> the kinds that do.
FAIL_ON: Mapping[str, tuple[str, ...]] = {
    "new": ("new",),
    "worse": ("new", "worse"),
    "any": ("new", "worse", "known", "better"),
}
#: How the note begins that tells an accepted leak.
ACCEPTED = "accepted until "

_GROWS = (Level.LEAK, Level.GROWING)
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
#: A change is one from both on: this share of what was before, and this much a run. Objects differ in size and in
#: number of blocks from one minor version of Python to the next (inlined dictionaries): hence the larger share there.
_SHARE, _SHARE_ELSEWHERE = 0.1, 0.5
_LEAST = {Unit.BYTE: 64.0, Unit.COUNT: 0.5, Unit.SECOND: 0.001}
#: The largest object that Python's own allocator serves; only larger ones are seen by metrics of native memory.
_SMALL_OBJECT_BYTES = 512
#: Resident memory of a process swings by as much without any change.
_FOOTPRINT_SHARE, _FOOTPRINT_BYTES = 0.1, 2**20
_FOOTPRINT_KINDS = ("scenario", "process")
_MOST_NAMED = 3

_Key = tuple[str, str]


@dataclass(slots=True)
class _Leak:
    """One leak of one session: for each metric the growth of each test."""

    text: str = ""
    growth: dict[Metric, dict[str, Estimate]] = field(default_factory=dict)
    results: dict[str, None] = field(default_factory=dict)
    level: Level = Level.GROWING
    accepted: bool = True
    x_unit: str = X_UNITS[-1]

    def add(self, finding: Finding, result: SubjectResult) -> None:
        """Take a finding; of two of one test (a matrix of environments) the larger counts."""
        ids = self.growth.setdefault(finding.metric, {})
        grown = estimate_of(finding, result)
        if result.id not in ids or ids[result.id].point < grown.point:
            ids[result.id] = grown

    def note(self, result: SubjectResult) -> None:
        """Take the result that a finding is of; the leak is accepted if all of them are."""
        self.results[result.id] = None
        self.x_unit = min(self.x_unit, result.x_unit, key=X_UNITS.index)
        self.accepted = self.accepted and any(note.startswith(ACCEPTED) for note in result.notes)
        if result.verdict.level is Level.LEAK:
            self.level = Level.LEAK

    def order(self) -> list[Metric]:
        """Return the metrics, the most telling one first: resources, then counts, then sizes."""
        return sorted(self.growth, key=lambda one: (not one.resource, not one.exact, one.name))

    def largest(self, metric: Metric) -> float | None:
        """Return the largest growth a run of one test; None where it was not found to grow by that metric."""
        return max((one.point for one in self.growth[metric].values()), default=None) if metric in self.growth else None

    def loss(self) -> float:
        """Return what all tests together lose a run, in bytes."""
        return loss_of({metric: sum(one.point for one in ids.values()) for metric, ids in self.growth.items()})


@dataclass(frozen=True, slots=True)
class _Judged:
    """What became of the growth of a leak, by which metric, from what to what."""

    kind: str
    metric: Metric
    before: float | None
    after: float | None


class Known:
    """The leaks of an earlier session, to look up those of a later one in, as they come."""

    def __init__(self, before: RunResult, environment: Mapping[str, Any] | None = None) -> None:
        """Take what is known, and the environment of the later session; None where it is the same."""
        self._leaks = _leaks(before.results)
        same = environment is None or environment_key(environment) == environment_key(before.environment)
        self._share = _SHARE if same else _SHARE_ELSEWHERE
        self._unnamed = {name for key, name in self._leaks if not key}
        self._leaking = {id_: key for key, leak in self._leaks.items() for id_ in leak.results}

    def statuses(self, result: SubjectResult) -> tuple[str | None, ...]:
        """Return ``new``, ``known`` or ``worse`` for each finding of *result*; None where it is no leak nor growth."""
        found = _leaks([result])
        kinds = {key: self._status(key, leak) for key, leak in found.items()}
        if not kinds:
            return (None,) * len(result.findings)
        worst = min(kinds.values(), key=KINDS.index)
        # What has no fingerprint is seen beside what has one, and is part of it.
        return tuple(kinds.get((finding.fingerprint, ""), worst) for finding in result.findings)

    def _status(self, key: _Key, leak: _Leak) -> str:
        other = self.find(key, leak)
        kind = "new" if other is None else self.judged(self._leaks[other], leak).kind
        return "known" if kind == "better" else kind

    def find(self, key: _Key, leak: _Leak) -> _Key | None:
        """Return the key by which *leak* is known; None where it is not."""
        if key in self._leaks:
            return key
        fingerprint, name = key
        if not fingerprint:
            return self._leaking.get(name)
        return next((("", name) for name in leak.results if name in self._unnamed), None)

    def judged(self, before: _Leak, after: _Leak) -> _Judged:
        """Return how growth changed, by the metric and the test that changed most; worse before better."""
        common = [metric for metric in after.order() if metric in before.growth]
        found = [
            (size, _Judged(kind, metric, was.point, now.point))
            for metric, was, now in (*_pairs(before, after, common), *_unseen_pairs(before, after))
            for kind, size in _change(was, now, metric, self._share)
        ]
        if found:
            return max(found, key=lambda one: (one[1].kind == "worse", one[0]))[1]
        metric = next(iter([*common, *after.order()]), BLOCKS)
        return _Judged("known", metric, before.largest(metric), after.largest(metric))

    def rest(self, found: Iterable[_Key]) -> dict[_Key, _Leak]:
        """Return the leaks that are not among those *found*."""
        seen = set(found)
        return {key: leak for key, leak in self._leaks.items() if key not in seen}

    def __getitem__(self, key: _Key) -> _Leak:
        return self._leaks[key]


def compare(before: RunResult, after: RunResult) -> Comparison:
    """Return what changed from the session *before* to the session *after*."""
    known, found = Known(before, after.environment), _leaks(after.results)
    matches = {key: known.find(key, leak) for key, leak in found.items()}
    measured = {one.id for one in after.results if one.verdict.level not in _UNANSWERED}
    left = known.rest(match for match in matches.values() if match is not None)
    weighed = [(_change_of(key, leak, known, matches[key]), leak.loss()) for key, leak in found.items()]
    weighed += [(_gone(key, leak), leak.loss()) for key, leak in left.items() if measured & set(leak.results)]
    weighed += [(change, 0.0) for change in _footprints(before, after)]
    weighed.sort(key=lambda one: (KINDS.index(one[0].kind), one[0].verdict != "leak", -one[1], one[0].fingerprint))
    unseen = [leak for leak in left.values() if not measured & set(leak.results)]
    decided = _is_decided(before, after)
    notes = (*_notes(before, after, decided=decided), *_unseen_note(unseen))
    return Comparison(tuple(change for change, _ in weighed), notes, before, after, decided)


def failing(comparison: Comparison, fail_on: str) -> tuple[Change, ...]:
    """Return the changes that fail by *fail_on*, a key of ``FAIL_ON``; what only seems to grow never does."""
    return tuple(change for change in comparison.of(*FAIL_ON[fail_on]) if change.verdict != Level.GROWING.value)


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as dicts, lists, text and numbers."""
    return {
        "schema": "memguard-comparison/1",
        "decided": comparison.decided,
        "before": _side(comparison.before),
        "after": _side(comparison.after),
        "counts": {kind: len(comparison.of(kind)) for kind in KINDS},
        "changes": [_change_to_dict(change) for change in comparison.changes],
        "notes": list(comparison.notes),
    }


# -- leaks -----------------------------------------------------------------------------------------------------------


def _leaks(results: Iterable[SubjectResult]) -> dict[_Key, _Leak]:
    """Return the leaks by fingerprint; by test where no finding of it has one."""
    grown = [result for result in results if result.verdict.level in _GROWS]
    texts = {cause.fingerprint: cause.text for cause in causes(grown)}
    leaks: dict[_Key, _Leak] = {}
    for result in grown:
        named = [finding for finding in result.findings if finding.fingerprint]
        for finding in named or result.findings:
            key = (finding.fingerprint, "" if finding.fingerprint else result.id)
            leak = leaks.setdefault(key, _Leak(texts.get(finding.fingerprint) or result.verdict.reason))
            leak.add(finding, result)
            leak.note(result)
        if not result.findings:
            leaks.setdefault(("", result.id), _Leak(result.verdict.reason)).note(result)
    return leaks


def estimate_of(finding: Finding, result: SubjectResult) -> Estimate:
    """Return the growth a run with its interval, which is wide where growth comes too rarely for a slope."""
    slope = finding.trend.slope
    if slope.point > 0:
        return slope
    rate = rate_of(finding, result)
    return Estimate(rate, 0.0, max(2 * rate, slope.high), slope.level)


def _pairs(before: _Leak, after: _Leak, metrics: Sequence[Metric]) -> Iterator[tuple[Metric, Estimate, Estimate]]:
    """Yield the growth of each test that both have; of none in common the largest of each stand for all."""
    for metric in metrics:
        was, now = before.growth[metric], after.growth[metric]
        common = was.keys() & now.keys()
        if common:
            yield from ((metric, was[name], now[name]) for name in common)
        elif not before.results.keys() & after.results.keys():
            yield metric, max(was.values(), key=_point), max(now.values(), key=_point)


def _unseen_pairs(before: _Leak, after: _Leak) -> Iterator[tuple[Metric, Estimate, Estimate]]:
    """Yield native growth that was not seen before, and so was at most what small objects take."""
    blocks = before.growth.get(BLOCKS)
    if not blocks:
        return
    for metric, ids in after.growth.items():
        if metric.unit is Unit.BYTE and metric not in before.growth:
            for name in ids.keys() & blocks.keys():
                most = _SMALL_OBJECT_BYTES * blocks[name].high
                yield metric, Estimate(0.0, 0.0, most), ids[name]


def _change(was: Estimate, now: Estimate, metric: Metric, share: float) -> Iterator[tuple[str, float]]:
    """Yield ``worse`` or ``better`` and by which factor, where the intervals are apart and the difference matters."""
    for kind, less, more in (("worse", was, now), ("better", now, was)):
        least = max(share * abs(less.point), _LEAST[metric.unit])
        if more.low > less.high and more.point - less.point >= least:
            yield kind, more.point / max(less.point, _LEAST[metric.unit])


def _point(estimate: Estimate) -> float:
    return estimate.point


def _change_of(key: _Key, leak: _Leak, known: Known, match: _Key | None) -> Change:
    if match is None:
        metric = next(iter(leak.order()), BLOCKS)
        judged = _Judged("known" if leak.accepted else "new", metric, None, leak.largest(metric))
    else:
        judged = known.judged(known[match], leak)
    return Change(
        fingerprint=key[0],
        text=leak.text,
        kind=judged.kind,
        before=judged.before,
        after=judged.after,
        metric=judged.metric,
        results=tuple(leak.results),
        verdict=leak.level.value,
        x_unit=leak.x_unit,
    )


def _gone(key: _Key, leak: _Leak) -> Change:
    metric = next(iter(leak.order()), BLOCKS)
    before = leak.largest(metric)
    results = tuple(leak.results)
    return Change(key[0], leak.text, "gone", before, None, metric, results, leak.level.value, leak.x_unit)


# -- footprints ------------------------------------------------------------------------------------------------------


def _footprints(before: RunResult, after: RunResult) -> Iterator[Change]:
    """Yield how the memory of a process as a whole changed, in the same environment."""
    if environment_key(before.environment) != environment_key(after.environment):
        return
    earlier = {one.id: one for one in before.results if one.kind in _FOOTPRINT_KINDS}
    for result in after.results:
        if result.id not in earlier or result.kind not in _FOOTPRINT_KINDS:
            continue
        for metric, was, now in _footprint_pairs(earlier[result.id], result):
            for kind, less, more in (("worse", was, now), ("better", now, was)):
                least = max(_FOOTPRINT_SHARE * less.point, _FOOTPRINT_BYTES)
                if more.low > less.high and more.point - less.point >= least:
                    text = f"footprint of {result.id}"
                    yield Change("", text, kind, was.point, now.point, metric, (result.id,), "footprint")


def _footprint_pairs(before: SubjectResult, after: SubjectResult) -> Iterator[tuple[Metric, Estimate, Estimate]]:
    """Yield the first metric of a whole process that both were read by."""
    for metric in (USS, RSS):
        was, now = (_values(one, metric) for one in (before, after))
        if was and now:
            yield metric, _level(was), _level(now)
            return


def _values(result: SubjectResult, metric: Metric) -> Sequence[float]:
    return next((series.values for series in result.series() if series.metric == metric), ())


def _level(values: Sequence[float]) -> Estimate:
    """Return median and range of the second half of some readings: the first is start-up."""
    half = sorted(values[len(values) // 2 :])
    return Estimate(half[len(half) // 2], half[0], half[-1])


# -- what else to know -----------------------------------------------------------------------------------------------


def _is_decided(before: RunResult, after: RunResult) -> bool:
    """Whether the two are of one suite, as far as can be seen: some test, file or leak is in both."""
    if not any(one.verdict.level not in _UNANSWERED for one in after.results):
        return False
    if not before.results:
        return False
    if {one.id for one in before.results} & {one.id for one in after.results}:
        return True
    if {one.file for one in before.results} & {one.file for one in after.results} - {""}:
        return True
    names = [{one.fingerprint for result in run.results for one in result.findings} for run in (before, after)]
    return bool(names[0] & names[1] - {""})


def _notes(before: RunResult, after: RunResult, *, decided: bool) -> Iterator[str]:
    if not any(one.verdict.level not in _UNANSWERED for one in after.results):
        yield "nothing was measured in the later session, so nothing can be said of it"
    elif not before.results:
        yield "nothing was measured in the earlier session, so all that leaks now counts as new"
    elif not decided:
        yield "the two have no test, no file and no leak in common: they are of different suites"
    keys = [environment_key(run.environment) for run in (before, after)]
    if keys[0] != keys[1]:
        note = f"the environments differ ({keys[0]} and {keys[1]}): growth is compared more loosely"
        has_footprints = any(one.kind in _FOOTPRINT_KINDS for one in after.results)
        yield note + (", footprints are not compared" if has_footprints else "")
    was = {one.id for one in before.results if one.verdict.level not in _UNANSWERED}
    lost = [one.id for one in after.results if one.verdict.level is Level.UNMEASURED and one.id in was]
    if lost:
        yield f"measured before and not now: {_named(lost)}"


def _unseen_note(unseen: Sequence[_Leak]) -> Iterator[str]:
    if unseen:
        names = [f"{leak.text} ({_named(list(leak.results))})" for leak in unseen]
        yield f"leaks of which no test was measured now, neither known nor gone: {_named(names)}"


def _named(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


# -- as plain types --------------------------------------------------------------------------------------------------


def _side(run: RunResult) -> dict[str, Any]:
    commit = None if run.commit is None else dict(run.commit)
    return {"started_at": run.started_at, "commit": commit, "environment": environment_key(run.environment)}


def _change_to_dict(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "verdict": change.verdict,
        "fingerprint": change.fingerprint,
        "text": change.text,
        "metric": change.metric.name,
        "unit": change.metric.unit.value,
        "before": change.before,
        "after": change.after,
        "results": list(change.results),
        **({} if change.x_unit == "run" else {"x_unit": change.x_unit}),
    }
