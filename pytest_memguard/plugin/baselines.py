"""A session's baseline: what an earlier session leaked does not fail again, and this session can be kept as one."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.core.values import Level
from pytest_memguard.errors import ConfigError, DocumentError
from pytest_memguard.plugin.acceptance import is_accepted

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_memguard.config import Settings
    from pytest_memguard.core.compare import Known
    from pytest_memguard.core.values import RunResult, SubjectResult

__all__ = ["Baseline", "hand_to_worker", "may_fail", "read", "save"]

#: Where it lies in what xdist gives to a worker.
_KEY = "memguard-baseline"
_CUT_SHORT = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)


class Baseline:
    """What one session compares with; nothing, where no baseline was named."""

    def __init__(self, name: str = "", before: RunResult | None = None, notes: tuple[str, ...] = ()) -> None:
        self.before = before
        self._name = name
        self._notes = notes
        self._known: Known | None = None
        self._environment: dict[str, Any] = {}
        if before is not None:
            from pytest_memguard import store  # noqa: PLC0415 - only with a baseline
            from pytest_memguard.core.compare import Known  # noqa: PLC0415 - see above

            self._environment = store.environment()
            self._known = Known(before, self._environment)

    def judged(self, result: SubjectResult) -> SubjectResult:
        """Return *result* with what the baseline says of each finding that is not accepted anyway."""
        if self._known is None or result.verdict.level not in (Level.LEAK, Level.GROWING):
            return result
        statuses = self._known.statuses(result)
        findings = tuple(
            replace(finding, status=finding.status or status)
            for finding, status in zip(result.findings, statuses, strict=True)
        )
        note = self._note([finding.status for finding in findings])
        return replace(result, findings=findings, notes=(*result.notes, note) if note else result.notes)

    def lines(self, result: RunResult) -> list[str]:
        """Return what is to be said of the baseline at the end of the session."""
        if self.before is None or self._notes:
            return list(self._notes)
        from pytest_memguard.core.compare import compare  # noqa: PLC0415 - only with a baseline
        from pytest_memguard.renderers.terminal import change_counts, plain, run_label  # noqa: PLC0415 - see above

        found = compare(self.before, replace(result, environment=self._environment))
        gone = [f"gone since then: {plain(change.text)}" for change in found.of("gone")]
        head = f"baseline {plain(self._name)} of {run_label(self.before)}: {change_counts(found)}"
        return [head, *gone, *map(plain, found.notes)]

    def _note(self, statuses: list[str | None]) -> str:
        if "worse" in statuses:
            return f"it grows faster than in baseline {self._name}"
        return f"it is in baseline {self._name}" if set(statuses) == {"known"} else ""


def may_fail(result: SubjectResult, fail_on: str) -> bool:
    """Whether a leak fails its test: not if all that grows is known, with ``new`` only if some of it is new."""
    if is_accepted(result):
        return False
    return fail_on != "new" or not result.findings or any(finding.status == "new" for finding in result.findings)


# -- reading and keeping ---------------------------------------------------------------------------------------------


def read(config: pytest.Config, settings: Settings) -> Baseline:
    """
    Read the baseline that was named; on an xdist worker, what the controller read.

    Raises:
        ConfigError: it is not there, or cannot be read, or ``fail_on = "new"`` has none.

    """
    if settings.check == "off" or settings.baseline is None:
        if settings.fail_on == "new" and settings.check != "off":
            where = settings.origin("fail_on")
            raise ConfigError(f"{where} = 'new' needs a baseline; name one with --memguard-baseline")
        return Baseline()
    handed = getattr(config, "workerinput", {}).get(_KEY)
    if handed is not None:
        from pytest_memguard import store  # noqa: PLC0415 - only with a baseline

        return Baseline(settings.baseline, store.loads(handed))
    return _read(config, settings, settings.baseline)


def _read(config: pytest.Config, settings: Settings, given: str) -> Baseline:
    from pytest_memguard import store  # noqa: PLC0415 - only with a baseline
    from pytest_memguard.config import nearest, shown  # noqa: PLC0415 - see above
    from pytest_memguard.core.environment import environment_key  # noqa: PLC0415 - see above

    where = f"{settings.origin('baseline')} = {shown(given)}"
    key = environment_key(store.environment())
    path = store.find_baseline(given, key, config.rootpath, config.invocation_params.dir)
    if path is None:
        if settings.save == given:
            from pytest_memguard.core.values import RunResult  # noqa: PLC0415 - rare

            return Baseline(given, RunResult("", 0.0), (f"there is no baseline {given} yet: every leak is new",))
        near = nearest(given, store.baseline_names(config.rootpath))
        raise ConfigError(f"{where} is not there{near or f'; keep one with --memguard-save={_name(given)}'}")
    try:
        return Baseline(given, store.read(path, outline=True))
    except DocumentError as error:
        raise ConfigError(f"{where}: {error}") from error


def _name(given: str) -> str:
    return given if given.isidentifier() else "NAME"


def hand_to_worker(baseline: Baseline, workerinput: dict[str, Any]) -> None:
    """Give an xdist worker what was read, which it may not be able to read itself."""
    from pytest_memguard.core.baseline import dumps  # noqa: PLC0415 - only under xdist

    if baseline.before is not None:
        workerinput[_KEY] = dumps(baseline.before)


def save(session: pytest.Session, result: RunResult, name: str) -> str:
    """
    Keep the session as baseline *name*, unless it was cut short; return a line that says so.

    Raises:
        DocumentError: it cannot be written; one line says why.

    """
    from pytest_memguard import store  # noqa: PLC0415 - only where one is kept

    if session.shouldfail or session.shouldstop or session.exitstatus in _CUT_SHORT:
        return f"baseline {name} is not kept: the session was cut short"
    measured = sum(one.verdict.level not in (Level.UNMEASURED, Level.SKIPPED) for one in result.results)
    if not measured:
        return f"baseline {name} is not kept: nothing was measured"
    path = store.save_baseline(result, name, session.config.rootpath)
    return f"baseline {name} of {measured} tests kept in {_relative(path, session.config.rootpath)}"


def _relative(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
