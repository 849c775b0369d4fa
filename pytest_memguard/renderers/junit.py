"""
JUnit XML: what was measured as properties of a test case.

Where pytest writes a report of its own, ``properties`` go into that; ``render`` makes one from a stored document.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pytest_memguard.core.causes import growth_of
from pytest_memguard.core.fingerprint import chief_site
from pytest_memguard.core.values import Level
from pytest_memguard.renderers._words import plain, shortened
from pytest_memguard.renderers.notices import began, is_known
from pytest_memguard.renderers.terminal import failure, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_memguard.core.values import Finding, RunResult, SubjectResult

__all__ = ["PREFIX", "properties", "render"]

#: Every name begins with it.
PREFIX = "memguard."
_LONGEST = 500
_SUITE = "memguard"


# -- properties ------------------------------------------------------------------------------------------------------


def properties(result: SubjectResult) -> tuple[tuple[str, str], ...]:
    """Return names and values, numbers in base units (bytes, counts) as other programs read them."""
    return tuple((PREFIX + name, shortened(plain(value), _LONGEST)) for name, value in _pairs(result) if value)


def _pairs(result: SubjectResult) -> Iterator[tuple[str, str]]:
    if result.kind != "test":
        yield "subject", result.id
    yield "verdict", result.verdict.level.value
    yield "score", _number(result.verdict.score)
    yield "reason", result.verdict.reason
    yield {"request": "requests"}.get(result.x_unit, "runs"), str(result.runs) if result.x_unit != "second" else ""
    for metric, rate in growth_of(result):
        found = [finding for finding in result.findings if finding.metric == metric]
        yield from _of_metric(found, rate, result.x_unit)
    yield "fingerprint", " ".join(dict.fromkeys(one.fingerprint for one in result.findings if one.fingerprint))
    yield "status", " ".join(dict.fromkeys(one.status for one in result.findings if one.status))
    yield "held_by", result.holder.name
    sites = [site for finding in result.findings for site in finding.sites]
    yield "site", f"{(site := chief_site(sites)).file}:{site.line}" if sites else ""
    yield "advice", next((one.advice for one in result.findings if one.advice), "")


def _of_metric(findings: Sequence[Finding], rate: float, x_unit: str) -> Iterator[tuple[str, str]]:
    """Yield growth, and its interval where it has one; of several processes together it has none."""
    name, slope = f"{findings[0].metric.name}_per_{x_unit}", findings[0].trend.slope
    yield name, _number(rate)
    if slope.low != slope.high and len(findings) == 1:
        yield f"{name}_low", _number(slope.low)
        yield f"{name}_high", _number(slope.high)


def _number(value: float) -> str:
    if not isfinite(value):
        return ""
    return str(int(value)) if value == int(value) else repr(round(value, 6))


# -- a report --------------------------------------------------------------------------------------------------------


def render(result: RunResult) -> str:
    """Return a report of one suite: a leak is a failure, what was not measured is skipped, the rest passes."""
    cases = [(one, _outcome(one)) for one in result.results]
    counts = {
        "tests": len(cases),
        "failures": sum(outcome == "failure" for _, outcome in cases),
        "errors": 0,
        "skipped": sum(outcome == "skipped" for _, outcome in cases),
    }
    suites = ET.Element("testsuites", name=_SUITE)
    suite = ET.SubElement(suites, "testsuite", name=_SUITE, time=_seconds(result.duration_s))
    for name, number in counts.items():
        suite.set(name, str(number))
    if time := began(result):
        suite.set("timestamp", time)
    for one, outcome in cases:
        suite.append(_case(one, outcome))
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _outcome(result: SubjectResult) -> str:
    level = result.verdict.level
    if level in (Level.UNMEASURED, Level.SKIPPED):
        return "skipped"
    return "failure" if level is Level.LEAK and not is_known(result) else ""


def _case(result: SubjectResult, outcome: str) -> ET.Element:
    is_named = result.kind in ("scenario", "process") and not result.file.endswith(".py")
    classname, name = (f"{_SUITE}.{result.kind}", plain(result.id)) if is_named else _names(result.id)
    case = ET.Element("testcase", classname=classname, name=name, time=_seconds(result.duration_s))
    listed = ET.SubElement(case, "properties")
    for key, value in properties(result):
        ET.SubElement(listed, "property", name=key, value=value)
    if outcome == "failure":
        lines = failure(result).splitlines()
        ET.SubElement(case, outcome, message=short(result), type="LeakError").text = "\n".join(map(plain, lines))
    elif outcome:
        ET.SubElement(case, outcome, message=plain(result.verdict.reason))
    return case


def _names(test_id: str) -> tuple[str, str]:
    """Return class and name as pytest's own report has them: dots for slashes, parameters in the name."""
    file, *parts = _split(plain(test_id))
    folder = file.removesuffix(".py").replace("/", ".")
    return ".".join([folder, *parts[:-1]]), parts[-1] if parts else file


def _split(test_id: str) -> Sequence[str]:
    """Return the parts between colons; those among the parameters separate nothing."""
    bare, bracket, parameters = test_id.partition("[")
    parts = bare.split("::")
    return [*parts[:-1], parts[-1] + bracket + parameters]


def _seconds(value: float) -> str:
    return f"{value:.3f}" if isfinite(value) else "0"
