"""Retention paths as values and as text: which hop grows, which are suspect, and what people read."""

from __future__ import annotations

import gc
from itertools import pairwise
from types import AsyncGeneratorType, CoroutineType, GeneratorType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

from pytest_memguard.core.values import Hop, RetentionPath
from pytest_memguard.explain.edges import Step, is_plain
from pytest_memguard.explain.growth import newest, newest_keys
from pytest_memguard.explain.holders import own_limit
from pytest_memguard.explain.naming import (
    LRU,
    is_a,
    length,
    lru_name,
    plain,
    qualified_name,
    text_of,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from pytest_memguard.explain.holders import Grown

__all__ = ["fitted", "path_of", "type_of"]

#: What a terminal shows of a path.
_MOST_LINES, _COLUMNS, _MARK_AT = 8, 88, 46
_GROWS = "<- grows"
_WORDS = {"cell": "closure ", "default": "default ", "local": "local ", "cache": "cached "}
_COROUTINES = {
    id(GeneratorType): "generator", id(CoroutineType): "coroutine", id(AsyncGeneratorType): "async generator"
}  # fmt: skip


def path_of(
    steps: Sequence[Step], gains: Mapping[int, float], born: Container[int], grown: Grown | None = None
) -> RetentionPath:
    """
    Return a path for people and programs.

    Args:
        steps: From the root down.
        gains: Entries a run of the containers that grow, by identity.
        born: Identities of what was born in the runs.
        grown: What is known of the container that grew.

    """
    growing = _growing(steps, gains)
    first, last = _suspects(steps, born)
    hops = tuple(
        Hop(step.kind, step.name, type_of(step), growing.get(at, 0.0), suspect=first <= at <= last)
        for at, step in enumerate(steps)
    )
    return RetentionPath(hops, _text(steps, growing, grown))


def _growing(steps: Sequence[Step], gains: Mapping[int, float]) -> dict[int, float]:
    """Return the first step that leads to something that grows, with its entries a run."""
    for at, step in enumerate(steps):
        gain = max((gains[one] for one in (id(step.one), *step.via) if one in gains), default=0.0)
        if gain:
            return {at: gain}
    return {}


def _suspects(steps: Sequence[Step], born: Container[int]) -> tuple[int, int]:
    """
    Return the first and the last step that may be the leak.

    LeakCanary's rule: below the last object that is known to be meant to live, which is the root, a class, or an older
    object with a meaning of its own; down to the first that is known to have leaked, since it was born in the runs.
    """
    first_born = next((at for at, step in enumerate(steps) if at and id(step.one) in born), len(steps) - 1)
    known = [at for at, step in enumerate(steps[:first_born]) if not at or not is_plain(step.one)]
    return min(known[-1] + 1 if known else 0, first_born), first_born


def type_of(step: Step) -> str:
    """Return the type that a hop shows of where a step leads to: a thread or a frame is no object that is kept."""
    if step.one is None or step.kind in ("thread", "frame"):
        return step.kind
    return "module" if step.kind == "module" else type_name(step.one)


# -- text ------------------------------------------------------------------------------------------------------------


def _text(steps: Sequence[Step], growing: Mapping[int, float], grown: Grown | None) -> str:
    lines = []
    for at, step in enumerate(steps):
        gain = growing.get(at, 0.0)
        block = [_line(step, at, gain)]
        if is_a(step.one, LRU):
            block.append(f"      of {lru_name(step.one)}")
        if gain:
            block += _details(step, grown)
        lines.append(block)
    return "\n".join(_short(line) for line in fitted(lines, next(iter(growing), 0)))


def _line(step: Step, at: int, gain: float) -> str:
    if not at:
        line = _root_text(step)
    else:
        what = _object_text(step.one)
        times = f" x {step.times}" if step.times > 1 else ""
        edge = f"  {_WORDS.get(step.kind, '')}{step.name}{times}: "
        room = _COLUMNS - len(edge) - (len(_GROWS) + len(_gain_text(gain)) + 4 if gain else 0)
        line = edge + (what if len(what) <= room else _without_packages(what))
    if gain:
        line = f"{_short(f'{line}, {_gain_text(gain)}', _COLUMNS - len(_GROWS) - 2).ljust(_MARK_AT)}  {_GROWS}"
    return line


def _without_packages(text: str) -> str:
    """Return a name without what stands between its first package and its last part."""
    word, _, name = text.rpartition(" ")
    first, _, rest = name.partition(".")
    last = rest.rpartition(".")[2]
    return f"{word} {first}...{last}".strip() if rest.count(".") else text


def _root_text(step: Step) -> str:
    if step.text:
        return step.text
    if step.kind == "class":
        return f"class {step.name}"
    if step.kind in ("context", "fixture") and step.one is not None:
        return f"{step.name}: {_object_text(step.one)}"
    return step.name


def _gain_text(gain: float) -> str:
    return f"+{gain:.0f} a run" if gain == round(gain) else f"+{gain:.2g} a run"


def _object_text(one: Any) -> str:  # noqa: ANN401 - any object at all
    word = _COROUTINES.get(id(type(one)))
    if word:
        return f"{word} {plain(one.__qualname__)}"
    if is_a(one, LRU):
        limit = own_limit(one)
        return f"lru_cache, {'no limit' if limit is None else f'limit {limit}'}, {length(one)} entries"
    if is_a(one, ReferenceType):
        return "weak reference"
    return text_of(one)


def _details(step: Step, grown: Grown | None) -> list[str]:
    if grown is None:
        return []
    lines = []
    keys = newest_keys(grown)
    if keys:
        word = "for example" if is_a(step.one, set) else "newest"
        lines.append(f"      {word}: {', '.join(keys)}")
    if qualified_name(type(step.one)) == "weakref.WeakKeyDictionary" and _holds_key(grown):
        lines.append("      its values hold their keys, so no entry ever goes")
    return lines


def _holds_key(grown: Grown) -> bool:
    """Whether the newest value of a weak dictionary refers to its key, directly or through a few others."""
    for key, value in newest(grown)[:1]:
        target = ReferenceType.__call__(key) if is_a(key, ReferenceType) else None
        if target is None:
            continue
        seen, front = {id(value)}, [value]
        for _ in range(4):
            if id(target) in seen:
                return True
            front = [one for one in gc.get_referents(*front) if id(one) not in seen and not is_a(one, type, ModuleType)]
            front = front[:1_000]
            seen.update(map(id, front))
        return id(target) in seen
    return False


def fitted(blocks: list[list[str]], at: int) -> list[str]:
    """
    Return the lines of a path, those in the middle left out where they are too many.

    Root, what grows and the end stay.

    Args:
        blocks: Lines of each hop.
        at: The hop that grows; 0 where none does.

    """
    lines = [line for block in blocks for line in block]
    if len(lines) <= _MOST_LINES:
        return lines
    must = {0, at, min(at + 1, len(blocks) - 1), len(blocks) - 1}
    order = [*range(at, -1, -1), *range(at, len(blocks))]
    for one in order:
        size = sum(len(blocks[k]) for k in must | {one}) + _gaps(must | {one}, len(blocks))
        if size <= _MOST_LINES:
            must.add(one)
    kept: list[str] = []
    previous = -1
    for one in sorted(must):
        if one - previous > 1:
            kept.append(f"  ... {one - previous - 1} more")
        kept += blocks[one]
        previous = one
    return kept


def _gaps(places: set[int], _count: int) -> int:
    ordered = sorted(places)
    return sum(after - before > 1 for before, after in pairwise(ordered))


def _short(line: str, columns: int = _COLUMNS) -> str:
    plain_line = "".join(one if one.isprintable() else "?" for one in line)
    return plain_line if len(plain_line) <= columns else f"{plain_line[: columns - 3]}..."
