"""
SARIF 2.1.0, for code scanning: one result a cause, told again by its fingerprint when lines move.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_memguard.core.values import Level
from pytest_memguard.renderers._words import plain, shortened
from pytest_memguard.renderers.notices import began, notices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_memguard.core.values import RunResult
    from pytest_memguard.renderers.notices import Notice, Place

__all__ = ["render"]

_TOOL = "pytest-memguard"
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: What code scanning shows of a run; it refuses more than 25,000.
_MOST = 5_000
_LONGEST = 2_000

#: Rule of a notice -> id, name, what it says, what to do about it.
_RULES = {
    "python": (
        "MG001", "PythonMemoryLeak", "Python memory grows with each run of a test, or request to a service",
        "Something keeps objects of every run: bound the container, or drop what is done with.",
    ),
    "resource": (
        "MG002", "ResourceLeak",
        "Files, threads, tasks or processes grow with each run of a test, or request to a service",
        "What is opened or started is not closed, joined or awaited: use a with block, or close it in a finally.",
    ),
    "native": (
        "MG003", "NativeMemoryLeak", "Memory of C code grows with each run of a test, or request to a service",
        "No Python object has grown: release what the C library gave out.",
    ),
    "unknown": (
        "MG004", "MemoryGrowth", "Memory grows with each run of a test, or request to a service",
        "Its cause is not known: run the test alone with --memguard-mode=deep, or take heap snapshots of the service.",
    ),
}  # fmt: skip
_LEVELS = {Level.LEAK: "error", Level.GROWING: "warning"}
_BASELINE = {"new": "new", "worse": "updated", "known": "unchanged"}


def render(result: RunResult) -> str:
    """Return a log of one run as ASCII JSON; its results are empty where nothing leaks or grows."""
    found = notices(result)
    content = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(result, found)]}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _run(result: RunResult, found: tuple[Notice, ...]) -> dict[str, Any]:
    return {
        "tool": {"driver": {"name": _TOOL, **_version(result), "rules": list(_rules())}},
        "automationDetails": {"id": "memguard/"},
        "invocations": [
            {
                "executionSuccessful": True,
                **({"startTimeUtc": f"{time}Z"} if (time := began(result)) else {}),
                **_left_out(len(found)),
            }
        ],
        "results": [_result(notice) for notice in found[:_MOST]],
    }


def _version(result: RunResult) -> dict[str, str]:
    packages = result.environment.get("packages")
    version = packages.get(_TOOL) if isinstance(packages, dict) else None
    return {"version": plain(version)} if isinstance(version, str) else {}


def _rules() -> Iterator[dict[str, Any]]:
    for identifier, name, text, advice in _RULES.values():
        yield {
            "id": identifier,
            "name": name,
            "shortDescription": {"text": text},
            "help": {"text": advice},
            "properties": {"tags": ["memory", "leak", "reliability"]},
        }


def _left_out(number: int) -> dict[str, Any]:
    rest = number - _MOST
    if rest <= 0:
        return {}
    text = f"{rest} more causes are left out of this file; the result document has them"
    return {"toolExecutionNotifications": [{"level": "warning", "message": {"text": text}}]}


def _result(notice: Notice) -> dict[str, Any]:
    order = list(_RULES)
    first, *others = notice.places or (notice.place,)
    return {
        "ruleId": _RULES[notice.rule][0],
        "ruleIndex": order.index(notice.rule),
        "level": _LEVELS[notice.level],
        "message": {"text": _message(notice)},
        "locations": [_location(first)],
        "relatedLocations": [{"id": at, **_location(place)} for at, place in enumerate(others, 1)],
        # Code scanning knows alerts by the first alone, and would hash the line and its neighbours if it were missing.
        "partialFingerprints": {
            "primaryLocationLineHash": notice.fingerprint,
            "memguard/v1": notice.fingerprint,
        },
        **({"baselineState": _BASELINE[notice.status]} if notice.status else {}),
        **({"suppressions": [{"kind": "external", "status": "accepted"}]} if notice.known else {}),
        "properties": {"score": notice.example.verdict.score, "tests": [plain(name) for name in notice.results[:20]]},
    }


def _message(notice: Notice) -> str:
    parts = [f"{notice.title}. {notice.text}.", f"Seen in {notice.tests}.", notice.advice]
    again = f"Repeat it: {notice.reproducer}" if notice.reproducer else ""
    text = "\n".join(shortened(part, _LONGEST) for part in [*parts, again] if part)
    return text.replace("](", "] (")  # else a link, which a name must not be able to make


def _location(place: Place) -> Mapping[str, Any]:
    # Half a surrogate pair has no UTF-8; a path with one is found by nobody, but must not stop the others.
    uri = quote(place.file.encode("utf-8", "surrogatepass"))
    logical = [{"fullyQualifiedName": place.function, "kind": "function"}] if place.function else []
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": place.line},
        },
        **({"logicalLocations": logical} if logical else {}),
    }
