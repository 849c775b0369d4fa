"""Leaks that are accepted for a while: ``memguard-accepted.toml`` in the root folder of the suite."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from pytest_memguard.core.compare import ACCEPTED
from pytest_memguard.core.values import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pytest_memguard.accepted import Accepted
    from pytest_memguard.core.values import SubjectResult

__all__ = ["Acceptance", "is_accepted", "read"]

_KNOWN = "known"


class Acceptance:
    """What one session accepts; nothing, where there is no file."""

    def __init__(self, accepted: Accepted | None = None) -> None:
        self._accepted = accepted
        self._today = date.today()  # noqa: DTZ011 - the last day of an entry is meant where the suite runs

    def judged(self, result: SubjectResult) -> SubjectResult:
        """Return *result*, a leak or growth, with its findings marked as known if it is accepted."""
        if self._accepted is None or result.verdict.level not in (Level.LEAK, Level.GROWING):
            return result
        entry = self._accepted.match(result, self._today)
        if entry is None:
            refusal = self._accepted.refusal(result, self._today)
            return replace(result, notes=(*result.notes, refusal)) if refusal else result
        findings = tuple(replace(finding, status=_KNOWN) for finding in result.findings)
        note = f"{ACCEPTED}{entry.until}: {entry.reason}"
        return replace(result, findings=findings, notes=(*result.notes, note))

    def lines(self, results: Sequence[SubjectResult], *, is_whole: bool) -> list[str]:
        """Return what is to be said of the file itself: expired entries, and unused ones after a whole suite."""
        if self._accepted is None:
            return []
        unused = self._accepted.unused(results) if is_whole else ()
        return [*self._accepted.expired(self._today), *unused]


def is_accepted(result: SubjectResult) -> bool:
    """Whether all that grows is accepted."""
    return bool(result.findings) and all(finding.status == _KNOWN for finding in result.findings)


def read(config: pytest.Config) -> Acceptance:
    """
    Read the file of accepted leaks, if there is one.

    Raises:
        ConfigError: the file cannot be read, or an entry is wrong.

    """
    from pytest_memguard.config import ACCEPTED_FILE  # noqa: PLC0415 - read by now, but not where nothing is checked

    path = config.rootpath / ACCEPTED_FILE
    if not os.path.lexists(path):
        return Acceptance()
    from pytest_memguard.accepted import load  # noqa: PLC0415 - most suites have no such file

    return Acceptance(load(path))
