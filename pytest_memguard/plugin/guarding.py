"""From a pytest session's beginning to its end: settings, results, document, summary."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard import marks
from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.values import Control, RunResult, SubjectResult
from pytest_memguard.errors import ConfigError, DocumentError
from pytest_memguard.plugin import baselines, options
from pytest_memguard.plugin.acceptance import Acceptance
from pytest_memguard.plugin.acceptance import read as read_acceptance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_memguard.config import Settings
    from pytest_memguard.plugin.session import Guard

__all__ = [
    "Guarding", "collected", "finish", "guard_of", "guarding_of", "hand_over", "id_of", "is_worker", "start",
    "summarize", "take_over", "take_over_worker", "worker_of",
]  # fmt: skip

_GUARD = "memguard-guard"


@dataclass(slots=True)
class Guarding:
    """One session's settings and what has been found in it."""

    settings: Settings
    acceptance: Acceptance = field(default_factory=Acceptance)
    baseline: baselines.Baseline = field(default_factory=baselines.Baseline)
    started_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    began_s: float = field(default_factory=REAL.seconds)
    process: int = field(default_factory=os.getpid)
    results: list[SubjectResult] = field(default_factory=list)
    control: dict[str, Control] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    repeat_s: float = 0.0
    plain_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    kept: str = ""
    _places: dict[tuple[str, str, str | None], int] = field(default_factory=dict)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep what cannot be written as a problem that the summary tells."""
        try:
            yield
        except DocumentError as error:
            self.problems.append(str(error))

    def add(self, result: SubjectResult) -> None:
        """Take a result; of a test that is tried again (pytest-rerunfailures) the last one counts."""
        key = (result.id, result.kind, result.worker)
        if key in self._places:
            self.results[self._places[key]] = result
        else:
            self._places[key] = len(self.results)
            self.results.append(result)

    def judged(self, result: SubjectResult) -> SubjectResult:
        """Return *result* with what is known of its findings: accepted, or in the baseline."""
        return self.baseline.judged(self.acceptance.judged(result))

    def result(self) -> RunResult:
        """Return the session as far as it has come; where and of which commit is the document's business."""
        return RunResult(
            started_at=self.started_at,
            duration_s=round(REAL.seconds() - self.began_s, 3),
            settings=self.settings.as_dict(),
            control=self.control,
            results=tuple(self.results),
            repeat_s=round(self.repeat_s, 3),
            plain_s=round(self.plain_s, 3),
        )


def start(config: pytest.Config) -> Guarding:
    """
    Read the settings, once.

    Raises:
        pytest.UsageError: one line that names what is wrong and what would be right.

    """
    if options.KEY not in config.stash:
        try:
            settings = options.read_settings(config)
            acceptance = read_acceptance(config)
            baseline = baselines.read(config, settings)
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from error
        config.stash[options.KEY] = Guarding(settings, acceptance, baseline)
    return guarding_of(config)


def guarding_of(config: pytest.Config) -> Guarding:
    """Return what ``start`` made."""
    guarding = config.stash[options.KEY]
    assert isinstance(guarding, Guarding)  # noqa: S101 - the key is typed loosely, so that options.py imports nothing
    return guarding


def collected(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Check all markers, and register the guard where a test is to be checked.

    Raises:
        pytest.UsageError: a marker has a wrong argument.

    """
    guarding = start(config)
    try:
        wanted = sum([_is_wanted(item, guarding.settings) for item in items])
    except ConfigError as error:
        if not is_worker(config):
            raise pytest.UsageError(str(error)) from error
        # An error here would look like a crash of the worker: let it find no tests, and tell the controller why.
        config.workeroutput["memguard-error"] = str(error)  # type: ignore[attr-defined] # xdist's
        items.clear()
        return
    if wanted and not config.option.collectonly:
        guard_of(config, wanted)


def guard_of(config: pytest.Config, tests: int = 1) -> Guard:
    """Return the session's guard, which is registered the first time; *tests* says how many it will measure."""
    guard: Guard | None = config.pluginmanager.get_plugin(_GUARD)
    if guard is None:
        from pytest_memguard.plugin.session import Guard  # noqa: PLC0415 - psutil and all probes

        guard = Guard(config, start(config), tests)
        config.pluginmanager.register(guard, _GUARD)
    return guard


def _is_wanted(item: pytest.Item, settings: Settings) -> bool:
    readers = {
        "no_leak": marks.read_no_leak,
        "limit_memory": marks.read_limit_memory,
        "no_cycles": marks.read_no_cycles,
        "memguard_skip": marks.read_skip,
    }
    marked = skipped = False
    for name, read in readers.items():
        marker = item.get_closest_marker(name)
        if marker is not None:
            read(marker.args, marker.kwargs, item.nodeid)
            marked, skipped = marked or name != "memguard_skip", name == "memguard_skip"
    return not skipped and (settings.check == "all" or (marked and settings.check == "marked"))


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is an xdist worker."""
    return hasattr(config, "workerinput")


def worker_of(config: pytest.Config) -> str | None:
    """Return the name of this xdist worker; None where it is none."""
    name: str | None = getattr(config, "workerinput", {}).get("workerid")
    return name


def id_of(item: pytest.Item) -> str:
    """Return the node id as it is without xdist, whose ``--dist=loadgroup`` appends the test's groups."""
    if not getattr(item.config.option, "loadgroup", False):
        return item.nodeid
    marked = list(item.iter_markers("xdist_group"))
    groups = {str(marker.args[0] if marker.args else marker.kwargs.get("name", "default")) for marker in marked}
    return item.nodeid.removesuffix(f"@{'_'.join(sorted(groups))}")


def hand_over(config: pytest.Config, node: Any) -> None:  # noqa: ANN401 - an xdist class
    """Give a worker the baseline, which may be in a place that it cannot read."""
    guarding = guarding_of(config)
    if guarding.settings.baseline is not None:
        baselines.hand_to_worker(guarding.baseline, node.workerinput)


def take_over(config: pytest.Config, report: Any) -> None:  # noqa: ANN401 - a report with an attribute of ours
    """Add the results that came with a worker's report."""
    from pytest_memguard.core import document  # noqa: PLC0415 - only under xdist

    guarding = start(config)
    try:
        for entry in json.loads(report.memguard):
            guarding.add(document.result_from_dict(entry))
    except DocumentError as error:
        guarding.problems.append(f"{report.nodeid}: what its worker measured cannot be read: {error}")


def take_over_worker(config: pytest.Config, node: Any) -> None:  # noqa: ANN401 - an xdist class
    """
    Add a worker's seconds and control readings.

    Raises:
        pytest.UsageError: it met a marker with a wrong argument.

    """
    if "memguard-error" in node.workeroutput:
        raise pytest.UsageError(node.workeroutput["memguard-error"])
    figures = json.loads(node.workeroutput["memguard"])
    guarding = start(config)
    guarding.repeat_s += figures["repeat_s"]
    guarding.plain_s += figures["plain_s"]
    guarding.missing = tuple(figures["missing"])
    for name, (per_run, step) in figures["control"].items():
        guarding.control[name] = Control(per_run, step)


def finish(session: pytest.Session) -> None:
    """Hand a worker's figures to the controller, or write the document."""
    config = session.config
    guarding = guarding_of(config)
    if os.getpid() != guarding.process:
        return
    if is_worker(config):
        control = {name: (seen.per_run, seen.largest_step) for name, seen in guarding.control.items()}
        figures = {
            "repeat_s": guarding.repeat_s,
            "plain_s": guarding.plain_s,
            "missing": guarding.missing,
            "control": control,
        }
        # Text: execnet takes few types, and stops at half a surrogate pair.
        config.workeroutput["memguard"] = json.dumps(figures)  # type: ignore[attr-defined] # xdist's
    elif any(getattr(guarding.settings, key) is not None for key in ("json", "html", "save")):
        _write(session, guarding)


def _write(session: pytest.Session, guarding: Guarding) -> None:
    """Write what was asked for, each by itself; where one cannot be, a session that passed ends with 4."""
    from pytest_memguard import store  # noqa: PLC0415 - only where a document is written
    from pytest_memguard.config import output_path  # noqa: PLC0415 - see above

    config, settings = session.config, guarding.settings
    result = replace(guarding.result(), environment=store.environment(), commit=store.commit_of(config.rootpath))
    failed = len(guarding.problems)
    if settings.json is not None:
        with guarding.noting():
            store.write(result, output_path(settings.json, config.invocation_params.dir))
    if settings.html is not None:
        from pytest_memguard.renderers import html  # noqa: PLC0415 - the templates' engine, where a page is made

        with guarding.noting():
            store.write_text(html.render(result), output_path(settings.html, config.invocation_params.dir))
    if settings.save is not None:
        with guarding.noting():
            guarding.kept = baselines.save(session, result, settings.save)
    if len(guarding.problems) > failed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def summarize(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401 - pytest's class is not typed
    """Write the summary at the end of the session."""
    from pytest_memguard import registry  # noqa: PLC0415 - only where something is shown

    guarding = guarding_of(config)
    verbosity = config.get_verbosity()
    text = registry.renderers()["terminal"](guarding.result(), verbosity=verbosity) if guarding.results else ""  # type: ignore[call-arg] # the built-in takes it
    notes = [*guarding.missing, *guarding.problems]
    notes += guarding.acceptance.lines(guarding.results, is_whole=_is_whole(config))
    notes += [*guarding.baseline.lines(guarding.result()), *([guarding.kept] if guarding.kept else [])]
    if not text and not notes:
        return
    if verbosity >= 0:
        terminalreporter.section("memory leaks")
    for line in (*text.splitlines(), *notes):
        terminalreporter.line(line)


def _is_whole(config: pytest.Config) -> bool:
    """Whether all tests of the suite were to be checked, and none was left out."""
    option = config.option
    left_out = [getattr(option, name, None) for name in ("keyword", "markexpr", "lf", "deselect", "maxfail")]
    named = any("::" in argument for argument in config.args)
    return guarding_of(config).settings.check == "all" and not named and not any(left_out)
