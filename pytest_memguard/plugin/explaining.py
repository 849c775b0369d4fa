"""Explains what is not clean, by some more runs of the test, as far as the session's time allows."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard import registry
from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.values import HEAP, MAPPED, Explanation, Holder, Level
from pytest_memguard.core.verdict import rejudge
from pytest_memguard.errors import SubjectFailed
from pytest_memguard.plugin.repeat import failed_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_memguard.config import Settings
    from pytest_memguard.core.ports import ChunkCache, Subject
    from pytest_memguard.core.values import Hop, SubjectResult
    from pytest_memguard.engine.extra import About
    from pytest_memguard.engine.recorder import Recorder
    from pytest_memguard.explain.holders import Seen

__all__ = ["Explaining", "Measured", "about_function", "about_item"]

#: Seconds of a session that leaks, and that mere growth, may be explained for.
_SECONDS = {Level.LEAK: 60.0, Level.GROWING: 2.0}
#: So many results of one holder are explained one by one; those after them take over what these were told.
_ALIKE = 3
#: Holders whose names say all. What was stopped is not run again either: it takes longer each time, perhaps.
_TOLD = ("rebound", "known")
_LATE = "not explained: this session has spent its time on others; run this test alone"
_TAKEN_OVER = "as explained for {}, which has the same holder; alone this test is explained by itself"
#: What a callable that is checked may raise besides errors; it has been judged, and its outcome stands.
_OUTCOMES = (pytest.skip.Exception, pytest.fail.Exception, SystemExit)


class _Judged:
    """A subject that is judged already: whatever a further run of it raises is no more than a run that failed."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def run(self) -> None:
        """
        Run it once more.

        Raises:
            SubjectFailed: it failed.

        """
        try:
            self._subject.run()
        except (SubjectFailed, pytest.exit.Exception):
            raise
        except (Exception, *_OUTCOMES) as error:
            raise SubjectFailed(failed_with(error)) from error


@dataclass(frozen=True, slots=True)
class Measured:
    """
    What was measured, as far as it takes to run it some more times.

    Attributes:
        subject: What is run.
        recorder: What read the counters.
        about: Says what else is known of it.
        reset: The user's own clean-up after each run.
        seen: The containers that grew meanwhile; None where nobody looked.

    """

    subject: Subject
    recorder: Recorder
    about: Callable[[], About]
    reset: Callable[[], object] | None = None
    seen: Sequence[Seen] | None = None


class Explaining:
    """The explanations of one session."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spent_s = dict.fromkeys(_SECONDS, 0.0)
        self._told: dict[str, list[tuple[str, Explanation]]] = {}

    def explained(self, result: SubjectResult, measured: Measured) -> SubjectResult:
        """Return *result* with what it grows by explained, if it grows and is to be explained."""
        level = result.verdict.level
        if level not in _SECONDS or not result.findings:
            return result
        from pytest_memguard.engine.extra import explained  # noqa: PLC0415 - heavy, and only for what grows

        if self._settings.explain == "off" or result.holder.kind in _TOLD or result.stopped:
            return explained(result, Explanation())
        alike = self._told.setdefault(f"{result.holder.kind} {result.holder.name}", [])
        if result.holder.name and len(alike) >= _ALIKE and len({_hops(one) for _, one in alike}) == 1:
            first, told = alike[0]
            if told.paths:
                notes = (_TAKEN_OVER.format(first),)
                return explained(result, replace(told, sites=(), names=(), makers=(), notes=notes))
        if self._spent_s[level] > _SECONDS[level] and self._settings.explain != "always":
            return explained(result, Explanation(notes=(_LATE,)))
        began = REAL.seconds()
        explanation = self._guarded(result, measured)
        self._spent_s[level] += REAL.seconds() - began
        alike.append((result.id, explanation))
        return _set_apart(explained(result, explanation))

    def _guarded(self, result: SubjectResult, measured: Measured) -> Explanation:
        """Explain; a mistake of ours costs the explanation, and not the verdict."""
        try:
            return self._explain(result, measured, measured.about())
        except pytest.exit.Exception:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            return Explanation(notes=(f"not explained: memguard itself {failed_with(error)}",))

    def _explain(self, result: SubjectResult, measured: Measured, about: About) -> Explanation:
        from pytest_memguard.engine.extra import ExtraPass  # noqa: PLC0415 - see above

        metrics = tuple(finding.metric for finding in result.findings)
        recorder = measured.recorder
        heap = functools.partial(self._heap, recorder) if HEAP in recorder.metrics else None
        mapped = recorder.counter(MAPPED) if MAPPED in recorder.metrics else None
        extra = ExtraPass(
            _Judged(measured.subject), about, metrics,
            reset=measured.reset, heap=heap, mapped=mapped, budget_s=min(self._settings.budget_s, 10.0),
            seen=measured.seen,
            keeps_objects=result.holder.kind in ("unbounded", "hidden"),
            seeks_cycles=self._settings.explain == "always",
        )  # fmt: skip
        found = extra.explain()
        if self._settings.explain == "native" and {HEAP, MAPPED} & set(metrics) and result.kind == "test":
            return self._with_native_stacks(found, result, about)
        return found

    def _with_native_stacks(self, found: Explanation, result: SubjectResult, about: About) -> Explanation:
        from pytest_memguard.explain.native import native_stacks  # noqa: PLC0415 - where it is asked for

        notes: list[str] = []
        sites = native_stacks(
            result.id,
            folder=str(Path.cwd()),
            root=about.root,
            home_file=about.file,
            notes=notes,
        )
        return replace(found, sites=(*sites, *found.sites), notes=(*found.notes, *notes))

    def _heap(self, recorder: Recorder) -> int:
        """Read native memory so that small leaks show: the C library hides them among the chunks it keeps."""
        if self._chunks is not None:
            self._chunks.level()
        return recorder.counter(HEAP)()

    @functools.cached_property
    def _chunks(self) -> ChunkCache | None:
        return registry.chunk_cache()


def _hops(explanation: Explanation) -> tuple[tuple[Hop, ...], ...]:
    """Return the paths without their texts, which show the newest keys."""
    return tuple(path.hops for path in explanation.paths)


def _set_apart(result: SubjectResult) -> SubjectResult:
    """Judge again what nothing was found to keep, if the path says that a test tool keeps it."""
    from pytest_memguard.explain.known import known_holder  # noqa: PLC0415 - heavy, and only for what grows

    path = next((path for finding in result.findings for path in finding.paths), None)
    tool = known_holder(path, registry.known_holders()) if path is not None else None
    if path is None or tool is None or result.holder.kind != "hidden" or result.readings is None:
        return result
    name = "".join(hop.name for hop in path.hops[:2])
    holder = Holder("known", name, None, max(hop.grows_per_run for hop in path.hops), tool.why)
    verdict = rejudge(result.readings, result.plan, holder, result.stopped)
    return replace(result, holder=holder, verdict=verdict)


def about_item(item: pytest.Item) -> About:
    """Say what the extra pass is to know of a test."""
    function = getattr(item, "obj", None)
    return _about(function, getattr(getattr(item, "module", None), "__name__", ""), item.path, item.config.rootpath)


def about_function(function: Callable[..., object], item: pytest.Item) -> About:
    """Say what the extra pass is to know of a callable that *item* checks."""
    home = getattr(getattr(item, "module", None), "__name__", "")
    return _about(function, home, item.path, item.config.rootpath)


def _about(function: Any, home: str, path: Path, root: Path) -> About:  # noqa: ANN401 - any callable
    from pytest_memguard.engine.extra import About  # noqa: PLC0415 - see above

    return About(home, str(path), str(root), _code_of(function))


def _code_of(function: Any) -> CodeType | None:  # noqa: ANN401 - any callable
    """Return the code of a function, of the one that a decorator wraps, or of a method; None of all else."""
    try:
        code = getattr(inspect.unwrap(function), "__code__", None)
    except Exception:  # noqa: BLE001 - wrapped in a circle, or with a __getattr__ of its own
        return None
    return code if isinstance(code, CodeType) else None
