"""
After which statement native memory grows: the heap is read between the lines of a test, over some runs.

Where the interpreter's blocks stand still, no tracing of allocations sees the leak. The heap can be read at any time,
so the line is found; which C function it called is as near as Python comes to the culprit.
"""

from __future__ import annotations

import dis
import gc
import inspect
import sys
from collections import Counter
from dataclasses import replace
from statistics import fmean, median
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL
from pytest_memguard.explain.naming import is_a, plain, qualified_name
from pytest_memguard.explain.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import CodeType, FrameType

    from pytest_memguard.core.values import Site
    from pytest_memguard.explain.places import Line

__all__ = ["growing_statements"]

#: A line is named if it makes this share of the growth of a run.
_SHARE = 0.3
#: A line that adds more than the whole run keeps only holds memory for a while: until its function ends.
_SLACK, _SLACK_BYTES = 1.25, 64
_MOST_LINES, _MOST_CALLS = 3, 4
#: From the test into functions that it calls, so many times; a line there is found in so many runs.
_DEEPEST, _FEWER_RUNS = 3, 3
#: Between a line and the function in C that it calls, or the function of the user's that a library calls for it.
_MOST_BETWEEN = 20
#: The clock is read once for so many events.
_BETWEEN_CLOCKS = 64
_COROUTINE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
#: Modules in C whose functions hardly any line does without.
_EVERYWHERE = frozenset(
    {"builtins", "sys", "gc", "time", "posix", "nt", "_thread", "_abc", "_weakref", "_functools", "_operator", "_io",
     "itertools", "_collections", "_imp", "_warnings", "_codecs", "marshal"}
)  # fmt: skip

_Spot = tuple["CodeType", int]
_Stack = tuple[_Spot, ...]


def growing_statements(  # noqa: PLR0913 - each is one fact about the subject
    run: Callable[[], object],
    code: CodeType,
    read: Callable[[], int],
    *,
    runs: int = 7,
    root: str = "",
    home_file: str = "",
    budget_s: float = 5.0,
    notes: list[str] | None = None,
) -> tuple[Site, ...]:
    """
    Return the lines after which native memory grows with each run, most bytes first; functions of C in the traceback.

    Args:
        run: Makes one run.
        code: Of the test's function.
        read: Returns the native bytes in use; called between all its lines.
        runs: How many runs are made; some more where the line calls other functions of the user's.
        root: Folder of the project.
        home_file: File of the test.
        budget_s: Seconds after which no line is followed any more.
        notes: Where it is said why nothing was found out.

    """
    notes = [] if notes is None else notes
    if sys.gettrace() is not None:
        notes.append("a debugger or coverage traces the test: the statement that native memory grows on was not sought")
        return ()
    search = _Search(run, read, Places(root=root, home_file=home_file), REAL.seconds() + budget_s, notes)
    return search.sites(code, runs)


class _Search:
    """One search for the lines."""

    def __init__(
        self,
        run: Callable[[], object],
        read: Callable[[], int],
        places: Places,
        deadline_s: float,
        notes: list[str],
    ) -> None:
        self._run, self._read, self._places = run, read, places
        self._deadline_s, self._notes = deadline_s, notes

    def sites(self, code: CodeType, runs: int) -> tuple[Site, ...]:
        meter, total = self._measured(frozenset({code}), runs)
        stacks: dict[_Stack, float] = {(spot,): size for spot, size in _growing(meter.spots(), total).items()}
        for _ in range(_DEEPEST):
            inner = self._inside(meter, stacks, total, min(runs, _FEWER_RUNS))
            if inner is None:
                break
            meter, stacks = inner
        called = self._called({stack[0] for stack in stacks}) if stacks else {}
        return tuple(self._site(stack, size, called.get(stack[0], ())) for stack, size in stacks.items())

    def _inside(
        self, meter: _Meter, stacks: Mapping[_Stack, float], total: float, runs: int
    ) -> tuple[_Meter, dict[_Stack, float]] | None:
        """Look for the line inside the functions of the user's that the first line called."""
        first = next(iter(stacks), None)
        codes = meter.callees.get(first[0]) if first else None
        if first is None or not codes or REAL.seconds() > self._deadline_s:
            return None
        deeper, _ = self._measured(frozenset(codes), runs)
        found = _growing(deeper.spots(), min(total, stacks[first]))
        if not found:
            return None
        inner: dict[_Stack, float] = {(spot, *first): size for spot, size in found.items()}
        inner.update((stack, size) for stack, size in stacks.items() if stack != first)
        return deeper, inner

    def _measured(self, codes: frozenset[CodeType], runs: int) -> tuple[_Meter, float]:
        """Return what the lines of *codes* added, and what each run kept."""
        meter = _Meter(codes, self._read, self._places, self._deadline_s)
        kept = []
        for _ in range(runs):
            gc.collect()
            before = self._read()
            with meter:
                self._run()
            gc.collect()
            kept.append(self._read() - before)
        if meter.is_late:
            self._notes.append("the statement that native memory grows on was not sought to the end: it took too long")
        return meter, _typical(kept)

    def _called(self, spots: set[_Spot]) -> dict[_Spot, tuple[str, ...]]:
        if sys.getprofile() is not None or REAL.seconds() > self._deadline_s:
            return {}
        calls = _Calls(spots, self._deadline_s)
        sys.setprofile(calls)
        try:
            self._run()
        finally:
            if sys.getprofile() is calls:
                sys.setprofile(None)
        return calls.names()

    def _site(self, stack: Sequence[_Spot], size: float, called: Sequence[str]) -> Site:
        lines: list[Line] = [(code.co_filename, line) for code, line in stack]
        site = self._places.site(lines, bytes_per_run=size) or _bare(self._places, lines[0], size)
        calls = (f"calls {', '.join(called)}",) if called else ()
        return replace(site, traceback=(*site.traceback[:1], *calls, *site.traceback[1:]))


def _bare(places: Places, line: Line, size: float) -> Site:
    """Return the site of a line that is nobody's: of a test that is installed with what it tests, say."""
    from pytest_memguard.core.values import Site  # noqa: PLC0415 - rarely needed

    name = places.function(*line)
    shown = places.shown(line[0])
    return Site(shown, line[1], name, size, 0.0, (f"{shown}:{line[1]} {name}",), places.source(*line))


# -- what each line adds ---------------------------------------------------------------------------------------------


class _Meter:
    """A trace function that reads the heap between the lines of some functions; on while it is entered."""

    def __init__(self, codes: frozenset[CodeType], read: Callable[[], int], places: Places, deadline_s: float) -> None:
        self.callees: dict[_Spot, set[CodeType]] = {}
        self.is_late = False
        # By identity: code is compared, and hashed, by all that it consists of.
        self._codes = {id(code): code for code in codes}
        self._read, self._places, self._deadline_s = read, places, deadline_s
        self._runs: list[dict[_Spot, int]] = []
        self._points: dict[int, tuple[int, int]] = {}
        self._events = 0

    def __enter__(self) -> None:
        """Follow one run."""
        self._runs.append({})
        self._points.clear()
        sys.settrace(self._enter_function)

    def __exit__(self, *_: object) -> None:
        """Take the trace function off, unless the test has put its own on."""
        # Bound methods are made anew each time, and are equal.
        if sys.gettrace() == self._enter_function:
            sys.settrace(None)
        self._points.clear()

    def spots(self) -> dict[_Spot, list[int]]:
        """Return what each line added, run by run."""
        found = {spot for one in self._runs for spot in one}
        return {spot: [one.get(spot, 0) for one in self._runs] for spot in found}

    def _enter_function(self, frame: FrameType, event: str, arg: object) -> Any:  # noqa: ANN401 - what settrace takes
        if id(frame.f_code) not in self._codes:
            self._note_callee(frame)
            return None
        self._follow(frame, event, arg)
        return self._follow

    def _follow(self, frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401 - see above
        now = self._read()
        point = self._points.pop(id(frame), None)
        if point is not None:
            added, spot = self._runs[-1], (frame.f_code, point[0])
            added[spot] = added.get(spot, 0) + now - point[1]
        self._events += 1
        if self._events % _BETWEEN_CLOCKS == 0 and REAL.seconds() > self._deadline_s:
            self.is_late = True
            sys.settrace(None)
            return None
        if event != "return" or _is_suspended(frame):
            # Read again: what the reading itself takes is not the line's.
            self._points[id(frame)] = (frame.f_lineno, self._read())
        return self._follow

    def _note_callee(self, frame: FrameType) -> None:
        if not self._places.is_own(frame.f_code.co_filename):
            return
        caller = frame.f_back
        for _ in range(_MOST_BETWEEN):
            if caller is None or self._places.is_own(caller.f_code.co_filename):
                break
            caller = caller.f_back
        if caller is not None and id(caller.f_code) in self._codes:
            self.callees.setdefault((caller.f_code, caller.f_lineno), set()).add(frame.f_code)


def _is_suspended(frame: FrameType) -> bool:
    """Whether a coroutine or generator only pauses: what grows meanwhile belongs to the line that waits."""
    if not frame.f_code.co_flags & _COROUTINE:
        return False
    # How it pauses differs between versions. One that ends by an exception counts as paused until the run is over.
    return not dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


def _growing(spots: Mapping[_Spot, Sequence[int]], total: float) -> dict[_Spot, float]:
    """Return the lines that make up the growth of a run, at most all of it each, most first."""
    added = {spot: _typical(sizes) for spot, sizes in spots.items()}
    least, most = max(1.0, _SHARE * total), _SLACK * total + _SLACK_BYTES
    if total <= 0:
        return {}
    chosen = [spot for spot, size in added.items() if least <= size <= most]
    # Where no line fits, the one that keeps something also holds more for a while.
    chosen = chosen or [spot for spot, size in added.items() if size > most]
    chosen.sort(key=lambda spot: -added[spot])
    return {spot: min(added[spot], total) for spot in chosen[:_MOST_LINES]}


def _typical(sizes: Sequence[int]) -> float:
    """Return the growth of most runs; of a leak that skips most of them, the mean."""
    return median(sizes) or fmean(sizes)


# -- functions in C --------------------------------------------------------------------------------------------------


class _Calls:
    """A profile function that notes which functions in C are called on some lines."""

    def __init__(self, spots: set[_Spot], deadline_s: float) -> None:
        self._spots, self._codes = spots, {id(code) for code, _ in spots}
        self._found: dict[_Spot, Counter[tuple[str, str]]] = {spot: Counter() for spot in spots}
        self._deadline_s, self._events = deadline_s, 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:  # noqa: ANN401 - what sys.setprofile gives
        if event != "c_call":
            return
        self._events += 1
        if self._events % _BETWEEN_CLOCKS == 0 and REAL.seconds() > self._deadline_s:
            sys.setprofile(None)
            return
        spot = self._spot_of(frame)
        if spot is not None:
            module, name = _name_of(arg)
            if module not in _EVERYWHERE:
                self._found[spot][module, name] += 1

    def names(self) -> dict[_Spot, tuple[str, ...]]:
        """Return what each line called, most often first: of other packages, else of the standard library."""
        return {spot: tuple(_foreign_first(counted)) for spot, counted in self._found.items()}

    def _spot_of(self, frame: FrameType) -> _Spot | None:
        at: FrameType | None = frame
        for _ in range(_MOST_BETWEEN):
            if at is None:
                break
            if id(at.f_code) in self._codes and (at.f_code, at.f_lineno) in self._spots:
                return at.f_code, at.f_lineno
            at = at.f_back
        return None


def _name_of(function: Any) -> tuple[str, str]:  # noqa: ANN401 - a function in C, bound or not
    """Return the top-level module and the full name of a function in C."""
    name = plain(function.__qualname__)
    if type(function) is not BuiltinFunctionType:
        owner: type | None = getattr(function, "__objclass__", None)
    else:
        bound = function.__self__
        owner = None if bound is None or is_a(bound, ModuleType) else type(bound)
    if owner is None:
        module = plain(function.__module__)
        return module.partition(".")[0], f"{module}.{name}"
    full = f"{qualified_name(owner)}.{plain(function.__name__)}"
    return (full.partition(".")[0] if "." in qualified_name(owner) else "builtins"), full


def _foreign_first(counted: Counter[tuple[str, str]]) -> Iterable[str]:
    names = [(module, name) for (module, name), _ in counted.most_common()]
    foreign = [name for module, name in names if module not in sys.stdlib_module_names]
    return (foreign or [name for _, name in names])[:_MOST_CALLS]
