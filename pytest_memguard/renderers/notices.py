"""
What a run has to tell a service that points into files: one notice a cause, at the place where it is allocated.

GitHub's annotations, SARIF and GitLab's code quality are made from these; each escapes for its own format.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_memguard.core.causes import causes, cheapest, growth_of, reproducer
from pytest_memguard.core.fingerprint import chief_site
from pytest_memguard.core.values import Level
from pytest_memguard.renderers._words import an_hour, growth_text, joined, per, plain, score_text, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_memguard.core.values import Comparison, Finding, Metric, RunResult, Site, SubjectResult

__all__ = ["Notice", "Place", "began", "changed", "growing", "is_known", "notices", "rebased"]

_GROWS = (Level.LEAK, Level.GROWING)
#: A caller as ``explain.places`` writes it: ``file:line function``; stretches of libraries begin with dots.
_CALLER = re.compile(r"(?P<file>[^:]+):(?P<line>\d+) ")
_MOST_TESTS = 3
_MOST_PLACES = 5
_LONGEST = 400
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A line below the project: *file* with forward slashes, *line* from 1, the *function* around it or nothing."""

    file: str
    line: int
    function: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """
    One cause, or one result whose cause is not known.

    Attributes:
        rule: ``resource``, ``native``, ``python`` or ``unknown``: what sort of thing stays.
        level: The surest verdict of its results.
        known: Whether it was accepted, or was there before; it does not fail then.
        status: ``new``, ``known``, ``worse``, ``better`` or nothing, as a comparison found it.
        title: How much, how sure; one line, safe to print.
        text: What it is; one line, safe to print.
        places: The chief place first; empty where nothing points below the project.
        example: The result that is measured again in the least time.

    """

    rule: str
    level: Level
    known: bool
    status: str
    fingerprint: str
    title: str
    text: str
    advice: str
    results: tuple[str, ...]
    reproducer: str
    places: tuple[Place, ...]
    example: SubjectResult

    @property
    def place(self) -> Place:
        """The chief place; the first line of the test's file where nothing else is known, for who needs a place."""
        name = self.example.file if self.example.kind in ("scenario", "process") else self.results[0]
        file = name.partition("::")[0]
        return self.places[0] if self.places else Place(file if _is_below(file) else "unknown", 1)

    @property
    def tests(self) -> str:
        """The first results by name, and how many more there are."""
        return joined([shortened(plain(name), _LONGEST) for name in self.results], _MOST_TESTS)


def began(result: RunResult) -> str:
    """Return when a run began, to the second, in UTC; empty where the document does not say it in a known way."""
    try:
        time = datetime.fromisoformat(result.started_at).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return ""
    return time.replace(microsecond=0, tzinfo=None).isoformat()


def growing(results: Iterable[SubjectResult]) -> tuple[SubjectResult, ...]:
    """Return the results that leak or grow."""
    return tuple(result for result in results if result.verdict.level in _GROWS)


def is_known(result: SubjectResult) -> bool:
    """Whether all that grows in *result* was accepted or was there before."""
    return bool(result.findings) and all(finding.status == "known" for finding in result.findings)


def notices(result: RunResult) -> tuple[Notice, ...]:
    """Return one notice a cause, then one a result without a known cause; what fails first, the dearest first."""
    grown = growing(result.results)
    own = _own_files(result.results)
    found = [*_of_causes(grown, own), *_of_the_rest(grown, own)]
    return tuple(sorted(found, key=lambda one: (one.known, one.level is not Level.LEAK)))


def changed(comparison: Comparison) -> tuple[Notice, ...]:
    """Return the notices of the later session, each with the kind of its change as its status: new and worse first."""
    kinds = {change.fingerprint: change.kind for change in comparison.changes if change.fingerprint}
    by_test = {name: change.kind for change in comparison.changes if not change.fingerprint for name in change.results}
    found = []
    for notice in notices(comparison.after):
        kind = kinds.get(notice.fingerprint) or by_test.get(notice.results[0], "")
        found.append(replace(notice, status=kind, known=notice.known or kind in ("known", "better")))
    return tuple(sorted(found, key=lambda one: (one.known, one.status != "new", one.level is not Level.LEAK)))


def rebased(result: RunResult, folder: str) -> RunResult:
    """Return *result* with its own files below *folder*: where the project is a part of its repository."""
    prefix = folder.replace("\\", "/").strip("/")
    if prefix in ("", "."):
        return result
    own = _own_files(result.results)

    def moved(file: str) -> str:
        return f"{prefix}/{file}" if file in own else file

    def of_site(site: Site) -> Site:
        stack = tuple(f"{prefix}/{line}" if _caller(line) in own else line for line in site.traceback)
        return replace(site, file=moved(site.file), traceback=stack)

    def of_result(one: SubjectResult) -> SubjectResult:
        findings = [replace(finding, sites=tuple(map(of_site, finding.sites))) for finding in one.findings]
        return replace(one, file=moved(one.file), findings=tuple(findings))

    return replace(result, results=tuple(map(of_result, result.results)))


# -- one notice ------------------------------------------------------------------------------------------------------


def _of_causes(grown: Sequence[SubjectResult], own: frozenset[str]) -> Iterator[Notice]:
    members: dict[str, dict[int, SubjectResult]] = {}
    for result in grown:
        for finding in result.findings:
            members.setdefault(finding.fingerprint, {})[id(result)] = result
    for cause in causes(grown):
        group = list(members[cause.fingerprint].values())
        findings = [one for result in group for one in result.findings if one.fingerprint == cause.fingerprint]
        growth = _amounts(cause.growth, cause.x_unit)
        yield _notice(group, findings, growth, cause.text, cause.fingerprint, own, cause.reproducer)


def _of_the_rest(grown: Sequence[SubjectResult], own: frozenset[str]) -> Iterator[Notice]:
    for result in grown:
        if not any(finding.fingerprint for finding in result.findings):
            growth = _amounts(growth_of(result), result.x_unit)
            again = "" if result.kind == "test" else reproducer(result)
            yield _notice([result], result.findings, growth, result.verdict.reason, _stand_in(result), own, again)


def _amounts(growth: Sequence[tuple[Metric, float]], x_unit: str) -> str:
    """Return growth in words, as in "+7 blocks a run"; empty where there is none."""
    texts = joined([growth_text(metric, rate) for metric, rate in growth])
    return f"{texts} {per(x_unit)}{an_hour(growth, x_unit)}" if texts else ""


def _stand_in(result: SubjectResult) -> str:
    """Return a fingerprint of what has none: of the result's own name."""
    text = f"result\0{result.kind}\0{result.id}"
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGITS]


def _notice(  # noqa: PLR0913, PLR0917 - what a cause and a lone result have in common
    group: Sequence[SubjectResult],
    findings: Sequence[Finding],
    amounts: str,
    text: str,
    fingerprint: str,
    own: frozenset[str],
    reproducer: str,
) -> Notice:
    surest = max(group, key=lambda one: (one.verdict.level is Level.LEAK, one.verdict.score))
    level, statuses = surest.verdict.level, {finding.status for finding in findings}
    noun = "Memory leak" if level is Level.LEAK else "Memory grows"
    return Notice(
        rule=_rule(group, findings),
        level=level,
        known=bool(findings) and statuses == {"known"},
        status=next((name for name in ("worse", "new", "known") if name in statuses), ""),
        fingerprint=plain(fingerprint),
        title=f"{noun}: {amounts + ', ' if amounts else ''}score {score_text(surest)}",
        text=shortened(plain(text), _LONGEST),
        advice=next((plain(finding.advice) for finding in findings if finding.advice), ""),
        results=tuple(dict.fromkeys(one.id for one in group)),
        reproducer=plain(reproducer),
        places=_places(group, findings, own),
        example=cheapest(group),
    )


def _rule(group: Sequence[SubjectResult], findings: Sequence[Finding]) -> str:
    if any(finding.metric.resource for finding in findings):
        return "resource"
    if all(one.holder.kind == "native" for one in group):
        return "native"
    return "python" if findings else "unknown"


# -- where -----------------------------------------------------------------------------------------------------------


def _places(group: Sequence[SubjectResult], findings: Sequence[Finding], own: frozenset[str]) -> tuple[Place, ...]:
    """Return the user's own lines, the chief one first; that of the test where there is none."""
    sites = [site for site in dict.fromkeys(site for one in findings for site in one.sites) if site.file in own]
    if sites:
        chief = chief_site(sites)
        ordered = [chief, *(site for site in sites if site is not chief)]
        found = [Place(site.file, max(1, site.line), plain(site.function)) for site in ordered]
    else:
        found = [Place(one.file, max(1, one.line)) for one in group if one.file in own]
    return tuple(dict.fromkeys(found))[:_MOST_PLACES]


def _own_files(results: Iterable[SubjectResult]) -> frozenset[str]:
    """
    Return the files that lie below the project: those of tests, and those that stand in a stack with them.

    A library's file is named from its package on, so its name alone does not tell; but only the user's own line has
    callers that are shown (``explain.places``).
    """
    found = set()
    for result in results:
        found.add(result.file)
        for finding in result.findings:
            for site in finding.sites:
                callers = [file for line in site.traceback[1:] if (file := _caller(line))]
                found.update([site.file, *callers] if callers else [])
    return frozenset(filter(_is_below, found))


def _caller(line: str) -> str:
    match = _CALLER.match(line)
    return match["file"] if match else ""


def _is_below(file: str) -> bool:
    """Whether a name can only mean a file below the project; a colon is a drive, or no file at all."""
    return bool(file) and not file.startswith(("/", "\\", "<")) and ":" not in file and ".." not in file.split("/")
