"""
The extra pass: some more runs of a subject that is not clean, to learn what stays, where from and who holds it.

These runs are never measured: tracing disturbs what it looks at. Of a run that fails, the explanation has less to say,
and the verdict stays.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.fingerprint import of_finding
from pytest_memguard.core.values import BLOCKS, GC_OBJECTS, HEAP, MAPPED, Explanation, TypeGrowth
from pytest_memguard.engine import settle
from pytest_memguard.errors import SubjectFailed
from pytest_memguard.explain import growth, retention
from pytest_memguard.explain.advice import INTERNED, advise
from pytest_memguard.explain.allocations import Allocations
from pytest_memguard.explain.births import Births
from pytest_memguard.explain.cycles import cycles
from pytest_memguard.explain.followed import Followed
from pytest_memguard.explain.holders import ContainerCheck
from pytest_memguard.explain.resources import Resources
from pytest_memguard.explain.statements import growing_statements
from pytest_memguard.explain.unheld import References, c_callable
from pytest_memguard.probes.interned import kept_strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType

    from pytest_memguard.core.ports import Subject
    from pytest_memguard.core.values import Finding, Holder, Metric, Site, SubjectResult
    from pytest_memguard.explain.holders import Seen

__all__ = ["RUNS", "About", "ExtraPass", "explained"]

#: A prime: what grows by a multiple of it grew at each run.
RUNS = 7
#: Seconds that the search for holders may take; it says so where they are not enough.
_SEARCH_S = 5.0
#: So much longer than the last run the next one may take.
_LONGER = 4.0
#: Runs after the one that is followed: a name that comes with each of them is the leak.
_MORE_RUNS = 2
#: Whatever Python keeps is in blocks too; what only these two see is C code's.
_MEMORY = frozenset({BLOCKS, GC_OBJECTS})
_NATIVE = frozenset({HEAP, MAPPED})


def explained(result: SubjectResult, explanation: Explanation) -> SubjectResult:
    """Return *result* with what the extra pass found, with advice, and with the fingerprint of its cause."""
    metrics = tuple(finding.metric.name for finding in result.findings)
    amounts = {finding.metric.name: finding.trend.slope.point for finding in result.findings}
    if BLOCKS.name in amounts:
        explanation = replace(explanation, types=growth.within_blocks(explanation.types, amounts[BLOCKS.name]))
    advice = advise(explanation, result.holder, metrics, amounts)
    findings = tuple(_told(finding, explanation, result.holder, advice) for finding in result.findings)
    return replace(result, findings=findings, notes=(*result.notes, *explanation.notes))


def _told(finding: Finding, explanation: Explanation, holder: Holder, advice: str) -> Finding:
    metric = finding.metric
    if metric.resource:
        names, makers = dict(explanation.names), dict(explanation.makers)
        told = replace(finding, names=names.get(metric.name, ()), sites=makers.get(metric.name, ()), advice=advice)
    else:
        sites, types, paths = explanation.sites, explanation.types, explanation.paths
        told = replace(finding, sites=sites, types=types, paths=paths, advice=advice)
    return replace(told, fingerprint=of_finding(told, holder))


def _calling(site: Site, called: str) -> Site:
    where, *others = site.traceback or ("",)
    if not called or any(text.startswith("calls ") for text in others[:1]):
        return site
    return replace(site, traceback=(where, f"calls {called}", *others))


def _interned(strings: int, runs: int) -> tuple[TypeGrowth, ...]:
    """Say that strings stay which are interned in every run; a few in all may be our own."""
    each = strings // runs
    return (TypeGrowth(INTERNED, float(each), 0.0),) if each > 0 else ()


@dataclass(frozen=True, slots=True)
class About:
    """
    What is known of a subject besides how to run it.

    Attributes:
        home: Name of the module that it stands in.
        file: Path of that module's file.
        root: Folder of the project; below it code is the user's own.
        code: Of its function, where it has one.

    """

    home: str = ""
    file: str = ""
    root: str = ""
    code: CodeType | None = None


@dataclass(slots=True)
class ExtraPass:
    """
    One extra pass.

    Attributes:
        subject: What is run again.
        about: What is known of it.
        metrics: Those that grow.
        reset: Called after each run: the user's own clean-up.
        heap: Returns the native bytes in use; None where nothing can tell.
        mapped: Returns the bytes that are mapped.
        budget_s: Seconds for all runs together; at least one is made.
        seen: The containers that grew while it was measured, to follow only them; None to look at all.
        keeps_objects: Whether Python objects are known to stay, though no counter of them could be confirmed.
        seeks_cycles: Whether it is noted as well what only the garbage collector frees.

    """

    subject: Subject
    about: About
    metrics: tuple[Metric, ...]
    reset: Callable[[], object] | None = None
    heap: Callable[[], int] | None = None
    mapped: Callable[[], int] | None = None
    budget_s: float = 10.0
    seen: Sequence[Seen] | None = None
    keeps_objects: bool = False
    seeks_cycles: bool = False
    clock: Callable[[], float] = REAL.seconds
    _notes: list[str] = field(default_factory=list)
    _ends_s: float = 0.0

    def explain(self) -> Explanation:
        """Run the subject some more times, and say what was seen; never fails because of the subject."""
        self._ends_s = self.clock() + self.budget_s
        found = Explanation()
        if self.keeps_objects or _MEMORY & set(self.metrics):
            found = self._memory()
        if not self.keeps_objects and BLOCKS not in self.metrics and _NATIVE & set(self.metrics):
            found = replace(found, sites=(*self._statements(), *found.sites))
        names, makers = self._resources() if any(metric.resource for metric in self.metrics) else ((), ())
        if self.seeks_cycles:
            self._note_cycles()
        return replace(found, names=names, makers=makers, notes=tuple(dict.fromkeys(self._notes)))

    # -- what stays in memory -----------------------------------------------------------------------------------------

    def _memory(self) -> Explanation:
        allocations = Allocations(home_file=self.about.file, root=self.about.root)
        with settle.frozen():
            check = ContainerCheck(self.about.home) if self.seen is None else Followed(self.seen)
            references = References()
            try:
                if self.seen is not None and not self.seen:
                    references.begin()
                check.begin()  # before tracing, which makes a walk of the heap ten times as slow
                allocations.start()
                allocations.note()
                gc.freeze()
                return self._kept(check, allocations, references)
            finally:
                check.close()
                allocations.close()
                self._notes += allocations.notes

    def _kept(self, check: ContainerCheck | Followed, allocations: Allocations, references: References) -> Explanation:
        strings = kept_strings()
        births = Births()
        runs = 0
        with births.followed():
            for _ in self._made(RUNS, births):
                allocations.run_ended()
                runs += 1
        if not runs:
            return Explanation()
        interned = _interned(kept_strings() - strings, runs)
        born = gc.get_objects()
        sites = allocations.finish(runs)
        earlier = births.earlier_runs
        newborn, youngest = births.told_apart(born)
        del born
        grown = growth.containers_that_grew(check, runs)
        is_kept = bool(grown) or references.grew(runs, [*newborn, *youngest], [allocations, sites, self._notes])
        survey = retention.survey(
            newborn,
            grown,
            runs=runs,
            youngest=youngest,
            earlier_runs=earlier,
            home=self.about.home,
            deadline_s=_SEARCH_S,
        )
        self._notes += survey.notes
        unheld = survey.unheld or not (is_kept or survey.types or survey.paths)
        return Explanation(
            self._calling(sites) if unheld else sites,
            (*survey.types, *interned),
            survey.paths,
            tasks_done=survey.tasks_done,
            unheld=unheld,
        )

    def _calling(self, sites: tuple[Site, ...]) -> tuple[Site, ...]:
        """Say of the subject's own lines, where they call nothing in Python, what they call in C."""
        return tuple(_calling(site, c_callable(site.source, self.about.home)) for site in sites)

    def _statements(self) -> tuple[Site, ...]:
        """Say which line the native memory grows on: C code allocates it, and tracing sees nothing of it."""
        meter = self.mapped if HEAP not in self.metrics else self.heap
        if self.about.code is None or meter is None:
            return ()
        with settle.frozen():
            return growing_statements(
                self._run,
                self.about.code,
                meter,
                runs=RUNS,
                root=self.about.root,
                home_file=self.about.file,
                notes=self._notes,
            )

    def _note_cycles(self) -> None:
        with settle.frozen(), settle.quiet_finalizers(), suppress(SubjectFailed):
            report = cycles(self.subject.run, root=self.about.root, home_file=self.about.file)
            if report.objects:
                of = f", as in {report.text}" if report.text else ""
                self._notes.append(f"{report.objects} objects a run are freed by the garbage collector alone{of}")

    # -- what stays open, and native memory ---------------------------------------------------------------------------

    def _resources(self) -> tuple[Any, Any]:
        wanted = {metric.name for metric in self.metrics}
        resources = Resources(wanted, home_file=self.about.file, root=self.about.root)
        resources.begin()
        with settle.frozen():
            with resources.following():
                followed = self._run()
            found = resources.finish(1 + self._runs(_MORE_RUNS)) if followed else ((), ())
        self._notes += resources.notes
        return found

    # -- runs ---------------------------------------------------------------------------------------------------------

    def _runs(self, most: int = RUNS) -> int:
        """Run up to *most* times, and return how often it went well."""
        return sum(1 for _ in self._made(most))

    def _made(self, most: int, births: Births | None = None) -> Iterator[None]:
        began_s = self.clock()
        for number in range(most):
            now_s = self.clock()
            began_s, took_s = now_s, now_s - began_s
            # What it takes grows with what it keeps, perhaps: the next run may take much longer than the last.
            if number and now_s + _LONGER * took_s > self._ends_s:
                self._notes.append(f"explained from {number} runs: more would have taken over {self.budget_s:g} s")
                return
            if births is not None:
                births.run_begins(may_be_last=number + 1 == most or now_s + 2 * _LONGER * took_s > self._ends_s)
            if not self._run():
                return
            self._settle()
            yield

    def _run(self) -> bool:
        try:
            self.subject.run()
        except SubjectFailed as error:
            self._notes.append(f"a run of the extra pass {error}")
            return False
        return True

    def _settle(self) -> None:
        settle.purge()
        with settle.quiet_finalizers():
            if self.reset is not None:
                with suppress(Exception):
                    self.reset()
            settle.collect()
