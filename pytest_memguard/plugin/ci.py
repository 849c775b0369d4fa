"""What a session tells its CI service: properties in pytest's JUnit report, annotations, the summary of the step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.ci import Service, append_summary, service_of
from pytest_memguard.plugin.guarding import guarding_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from pytest_memguard.core.values import RunResult, SubjectResult

__all__ = ["note_properties", "tell"]


def note_properties(item: pytest.Item, report: pytest.TestReport, results: Iterable[SubjectResult]) -> None:
    """
    Add what was measured to the properties of a test, where pytest writes a JUnit report.

    They travel on the reports of all later phases, under xdist as well; the report that pytest reads them from is that
    of the tear-down.
    """
    if not getattr(item.config.option, "xmlpath", None):
        return
    from pytest_memguard.renderers import junit  # noqa: PLC0415 - only where there is such a report

    if report.when == "setup":  # a test that is tried again begins anew
        item.user_properties[:] = [one for one in item.user_properties if not str(one[0]).startswith(junit.PREFIX)]
    added = [pair for result in results for pair in junit.properties(result)]
    item.user_properties += added
    if report.when == "teardown":
        report.user_properties += added


def tell(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401 - pytest's class is not typed
    """Write annotations and the summary of the step, in GitHub Actions or where that was asked for."""
    guarding = guarding_of(config)
    service = service_of(os.environ)
    asked = guarding.settings.ci
    if asked == "off" or not guarding.results or (asked == "auto" and service.name != "github"):
        return
    from pytest_memguard import registry  # noqa: PLC0415 - see above
    from pytest_memguard.renderers.notices import rebased  # noqa: PLC0415 - see above

    result = rebased(guarding.result(), service.folder_of(config.rootpath))
    for line in registry.renderers()["github"](result).splitlines():
        terminalreporter.line(line)
    problem = _summarized(result, service, config)
    if problem:
        terminalreporter.line(f"memguard: {problem}")


def _summarized(result: RunResult, service: Service, config: pytest.Config) -> str:
    """Append to the summary of the step, where there is one; return what went wrong, or nothing."""
    if not service.summary:
        return ""
    from dataclasses import replace  # noqa: PLC0415 - see above

    from pytest_memguard import store  # noqa: PLC0415 - see above
    from pytest_memguard.renderers.markdown import step_summary  # noqa: PLC0415 - see above

    whole = replace(result, environment=store.environment(), commit=store.commit_of(config.rootpath))
    return append_summary(Path(service.summary), step_summary(whole))
