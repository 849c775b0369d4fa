"""GitLab's code quality report: a JSON list, an entry a cause; GitLab shows the difference between two branches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import Level
from pytest_memguard.renderers._words import plain, shortened
from pytest_memguard.renderers.notices import notices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_memguard.core.values import RunResult
    from pytest_memguard.renderers.notices import Notice

__all__ = ["render"]

_LONGEST = 1_000


def render(result: RunResult) -> str:
    """Return the report as ASCII JSON; an empty list where nothing leaks or grows."""
    return json.dumps(list(_entries(result)), indent=1, allow_nan=False) + "\n"


def _entries(result: RunResult) -> Iterator[dict[str, Any]]:
    for notice in notices(result):
        yield {
            "type": "issue",
            "check_name": f"memguard.{notice.rule}",
            "description": shortened(f"{notice.title}. {notice.text}. {notice.advice}".rstrip(), _LONGEST),
            "fingerprint": notice.fingerprint,
            "severity": _severity(notice),
            "categories": ["Performance"],
            "location": {"path": plain(notice.place.file), "lines": {"begin": notice.place.line}},
        }


def _severity(notice: Notice) -> str:
    """Return how bad it is: what runs out first is worst, what was accepted is told only."""
    if notice.known:
        return "info"
    if notice.level is Level.GROWING:
        return "minor"
    return "critical" if notice.rule == "resource" else "major"
