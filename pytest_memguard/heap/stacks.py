"""What the threads of this process hold in their local variables, read before a fork leaves only one of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Frame", "Stack", "Stacks", "read_stacks"]

#: A thousand threads of a hundred frames would make the process wait too long.
_MOST_FRAMES, _DEEPEST = 2000, 100
_OURS = __name__.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Frame:
    """One call that is under way, and its local variables."""

    name: str
    variables: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """The calls of one thread, the innermost first."""

    thread: int
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Stacks:
    """The calls of all threads, and the identities of the frame objects that must not be looked into any more."""

    stacks: tuple[Stack, ...]
    running: frozenset[int]

    def parts(self) -> Iterator[object]:
        """Yield the objects that this consists of: they are no part of the heap that is described."""
        yield from (self, self.stacks, self.running)
        for stack in self.stacks:
            yield from (stack, stack.frames)
            for frame in stack.frames:
                yield from (frame, frame.variables, *frame.variables)


def read_stacks() -> Stacks:
    """Read the local variables of every thread, without the calls of this package that led here."""
    stacks: list[Stack] = []
    running: set[int] = set()
    left, top = _MOST_FRAMES, None
    for thread, top in sys._current_frames().items():  # noqa: SLF001 - documented; see below
        running.update(map(id, _calls(top)))
        stacks.append(Stack(thread, _frames(top, min(_DEEPEST, left))))
        left -= len(stacks[-1].frames)
    del top  # one of them is the frame of this call, which would hold itself
    return Stacks(tuple(stacks), frozenset(running))


def _frames(top: FrameType, most: int) -> tuple[Frame, ...]:
    theirs = islice((call for call in _calls(top) if not _is_ours(call)), most)
    return tuple(Frame(_name(call), _variables(call)) for call in theirs)


def _calls(top: FrameType | None) -> Iterator[FrameType]:
    while top is not None:
        yield top
        top = top.f_back


def _is_ours(call: FrameType) -> bool:
    module = call.f_globals.get("__name__")
    return isinstance(module, str) and f"{module}.".startswith(f"{_OURS}.")


def _name(call: FrameType) -> str:
    module = call.f_globals.get("__name__")
    name = getattr(call.f_code, "co_qualname", call.f_code.co_name)  # 3.11+
    return f"{module}.{name}" if isinstance(module, str) else name


def _variables(call: FrameType) -> tuple[tuple[str, object], ...]:
    """Return the local variables by name; those of a module are its attributes, and found there."""
    found = call.f_locals
    return () if found is call.f_globals else tuple(found.items())
