"""
Where memory that stays was allocated, by tracemalloc over some further runs.

What is allocated once, or now and then, is no multiple of the number of runs; of a prime number of runs it hardly
ever is. That tells a leak from caches and counters without a threshold.
"""

from __future__ import annotations

import marshal
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.places import Line, Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_memguard.core.values import Site

__all__ = ["DEFAULT_FRAMES", "Allocations"]

#: Deep enough for a call through a web framework's middleware, and half a microsecond an allocation.
DEFAULT_FRAMES = 16
_MOST_SITES = 10
#: Less than this of a line that does not grow with each run is what any code leaves when it runs.
_SEVERAL, _MUCH = 2, 512

_Stack = tuple[Line, ...]
#: Blocks by their size: a list that moves must not hide the equal objects that are appended on the same line.
_Sizes = dict[int, int]


@dataclass(slots=True)
class _Growth:
    """Blocks and bytes that were allocated and not freed, by one stack or one line."""

    blocks: int = 0
    size: int = 0


class Allocations:
    """
    One look at what some runs allocate and keep; ``close`` stops tracing, unless somebody traced before.

    Args:
        frames: Lines of each stack that are kept.
        home_file: File of the test.
        root: Folder of the project.

    """

    def __init__(self, *, frames: int = DEFAULT_FRAMES, home_file: str = "", root: str = "") -> None:
        self.notes: list[str] = []
        self._frames = frames
        self._places = Places(root=root, home_file=home_file)
        self._before: list[Any] = []
        self._after_one = b""  # as bytes: the collector would take traces for objects born in the runs
        self._is_ours = False

    def start(self) -> None:
        """Trace allocations from now on."""
        self._is_ours = not tracemalloc.is_tracing()
        if self._is_ours:
            tracemalloc.start(self._frames)
        elif tracemalloc.get_traceback_limit() < self._frames:
            self.notes.append(
                f"allocations were traced already, with stacks of {tracemalloc.get_traceback_limit()}: "
                f"the user's own line may not be on them"
            )

    def note(self) -> None:
        """Remember what stands now; what is allocated from now on counts."""
        self._before = _traced()

    def run_ended(self) -> None:
        """Remember what stands after the first run: what grows in no other is replaced by each, or made only once."""
        if not self._after_one and tracemalloc.is_tracing():
            self._after_one = marshal.dumps(_traced())

    def finish(self, runs: int) -> tuple[Site, ...]:
        """
        Return the sites of what *runs* runs since ``note`` allocated and kept, and stop tracing.

        Returns:
            Sites that grew by a multiple of *runs* blocks; if there are none, those with nearly one a run; if there
            are none either, lines of the user's own that kept anything. Own ones first, then most blocks.

        """
        if not tracemalloc.is_tracing():
            self.notes.append("the test stopped tracemalloc: no allocation sites")
            self.close()
            return ()
        after = _traced()
        before, after_one = self._before, self._after_one
        self.close()  # first: counting while each number is traced takes twenty times as long
        counted = _counted(after)
        grown = _grown(_counted(before), counted)
        if after_one and runs > 1:
            grown = _repeated(grown, _grown(_counted(marshal.loads(after_one)), counted), runs)  # noqa: S302 - our own
        return self._sites(grown, runs)

    def close(self) -> None:
        """Stop tracing and forget."""
        self._before, self._after_one = [], b""
        if self._is_ours:
            self._is_ours = False
            tracemalloc.stop()

    def _sites(self, grown: Mapping[_Stack, _Sizes], runs: int) -> tuple[Site, ...]:
        for steadily in (_every_run, _nearly_every_run, _now_and_then):
            chosen: dict[_Stack, _Growth] = {}
            for stack, sizes in grown.items():
                growth = steadily(sizes, runs)
                # Of libraries and the interpreter, nearly everything leaves something now and then.
                if growth is not None and (steadily is not _now_and_then or self._is_own(stack)):
                    chosen[stack] = growth
            sites = self._by_line(chosen, runs)
            if sites:
                return sites
        return ()

    def _is_own(self, stack: _Stack) -> bool:
        at = self._places.user_line(stack)
        return at is not None and self._places.is_own(stack[at][0])

    def _by_line(self, grown: Mapping[_Stack, _Growth], runs: int) -> tuple[Site, ...]:
        """Return one site a line of the user's, with the stack that kept most."""
        lines: dict[Line, _Growth] = {}
        stacks: dict[Line, _Stack] = {}
        for stack, growth in sorted(grown.items(), key=lambda item: (-item[1].blocks, -item[1].size)):
            at = self._places.user_line(stack)
            if at is None:
                continue
            stacks.setdefault(stack[at], stack)
            whole = lines.setdefault(stack[at], _Growth())
            whole.blocks += growth.blocks
            whole.size += growth.size
        through = Counter(line for stack in stacks.values() for line in set(stack))

        def rank(line: Line) -> tuple[bool, int, int, int]:
            # Of equals the caller first: what a constructor allocates on its own differs between versions.
            return not self._is_own((line,)), -lines[line].blocks, -through[line], -lines[line].size

        ranked = sorted(lines, key=rank)
        sites = (
            self._places.site(
                stacks[line], bytes_per_run=lines[line].size / runs, blocks_per_run=lines[line].blocks / runs
            )
            for line in ranked[:_MOST_SITES]
        )
        return tuple(site for site in sites if site is not None)


def _traced() -> list[Any]:
    """Return (domain, bytes, stack, ...) of each block that is traced, innermost line first."""
    # The list that the snapshot was made from: through its public face each of a million traces becomes two objects.
    traces: list[Any] = tracemalloc.take_snapshot().traces._traces  # type: ignore[attr-defined] # noqa: SLF001
    return traces


def _counted(traces: Iterable[Any]) -> dict[_Stack, _Sizes]:
    """Return the number of blocks by stack and size; equal stacks of one snapshot are mostly one object."""
    stacks: dict[int, _Stack] = {}
    by_id: dict[int, _Sizes] = {}
    for trace in traces:
        size, stack = trace[1], trace[2]
        sizes = by_id.get(id(stack))
        if sizes is None:
            sizes = by_id[id(stack)] = {}
            stacks[id(stack)] = stack
        sizes[size] = sizes.get(size, 0) + 1
    counted: dict[_Stack, _Sizes] = {}
    for identity, sizes in by_id.items():
        _add(counted.setdefault(stacks[identity], {}), sizes, 1)
    return counted


def _grown(before: Mapping[_Stack, _Sizes], after: Mapping[_Stack, _Sizes]) -> dict[_Stack, _Sizes]:
    grown: dict[_Stack, _Sizes] = {}
    for stack, sizes in after.items():
        grown[stack] = dict(sizes)
        _add(grown[stack], before.get(stack, {}), -1)
    return {stack: sizes for stack, sizes in grown.items() if any(sizes.values())}


def _repeated(grown: Mapping[_Stack, _Sizes], later: Mapping[_Stack, _Sizes], runs: int) -> dict[_Stack, _Sizes]:
    """Return growth without what the first run alone left: it left no more than each of the *later* ones."""
    nothing: _Sizes = {}
    return {stack: _once_more(sizes, later.get(stack, nothing), runs) for stack, sizes in grown.items()}


def _once_more(sizes: _Sizes, later: _Sizes, runs: int) -> _Sizes:
    # What each run leaves may be of another size after the first one, and one more is a table that moved.
    if _whole(sizes).blocks <= _as_in_each(_whole(later).blocks, runs) + 1:
        return sizes
    return {size: min(count, _as_in_each(later.get(size, 0), runs)) for size, count in sizes.items()}


def _as_in_each(later: int, runs: int) -> int:
    """Return how much all runs leave, of which all but the first left *later*."""
    return max(0, later) + ceil(max(0, later) / (runs - 1))


def _add(sizes: _Sizes, more: _Sizes, sign: int) -> None:
    for size, count in more.items():
        sizes[size] = sizes.get(size, 0) + sign * count


# -- what counts as growth, from strict to lax -----------------------------------------------------------------------


def _every_run(sizes: _Sizes, runs: int) -> _Growth | None:
    """Return what grew by a multiple of the runs: blocks of one size, and those of other sizes together."""
    steady = {size: count for size, count in sizes.items() if count > 0 and count % runs == 0}
    rest = _whole({size: count for size, count in sizes.items() if size not in steady})
    found = _whole(steady)
    # One more is the list or table around them, where it moved: it had been there before anything was traced.
    blocks = rest.blocks - rest.blocks % runs
    if blocks > 0 and rest.blocks - blocks <= 1:
        found.blocks += blocks
        found.size += rest.size * blocks // rest.blocks
    return found if found.blocks else None


def _nearly_every_run(sizes: _Sizes, runs: int) -> _Growth | None:
    """Return what kept one block a run, but for one run."""
    whole = _whole(sizes)
    return whole if whole.blocks >= max(1, runs - 1) else None


def _now_and_then(sizes: _Sizes, _runs: int) -> _Growth | None:
    """Return what kept several blocks, or much."""
    whole = _whole(sizes)
    return whole if whole.blocks >= _SEVERAL or (whole.blocks >= 0 and whole.size >= _MUCH) else None


def _whole(sizes: _Sizes) -> _Growth:
    return _Growth(sum(sizes.values()), sum(size * count for size, count in sizes.items()))
