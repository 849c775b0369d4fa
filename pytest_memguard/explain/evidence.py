"""What an explanation shows, in the form in which rules ask for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_memguard.core.values import Explanation, Holder, Hop, RetentionPath, Site

__all__ = ["LEAST", "Evidence", "cut", "gather", "public", "sort_of"]

#: A type that stays in every second run at least belongs to the leak.
LEAST = 0.5
_LONGEST = 60
#: What is larger is no block of Python's own, but the C library's: there bytes tell.
_LARGEST_BLOCK, _MOSTLY = 512, 0.9
#: Edges whose names say all: that of a variable begins with its function's.
_WHOLE = frozenset({"cell", "context", "default", "local"})
#: Edges from a container to what is in it.
_ENTRIES = frozenset({"item", "element", "cache"})
#: It has no values, and drops what dies: no holder, whatever it is called by.
_WEAK_SET = re.compile(r"\bWeakSet\b")
_SORTS = {
    "set": re.compile(r"set$|Set$"),
    "list": re.compile(r"list$|List$|\bdeque$|\btuple$|\bbytearray$|\barray$"),
    "dict": re.compile(r"dict$|Dict$|Dictionary$|\bCounter$|mappingproxy$|ChainMap$"),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the rules look at; type names without the underscore of modules in C."""

    path: tuple[Hop, ...]
    at: int
    met: frozenset[str]
    types: Mapping[str, float]
    metrics: frozenset[str]
    names: Mapping[str, tuple[str, ...]]
    sites: tuple[Site, ...]
    makers: tuple[Site, ...]
    holder: Holder
    tasks_done: bool = False
    unheld: bool = False
    is_mostly_native: bool = False

    @property
    def root(self) -> str:
        """The kind of the root; empty without a path."""
        return self.path[0].kind if self.path else ""

    @property
    def grown(self) -> Hop | None:
        """The container that grows."""
        return self.path[self.at] if self.at >= 0 else None

    @property
    def entry(self) -> Hop | None:
        """The first hop below the container that grows."""
        return self.path[self.at + 1] if 0 <= self.at < len(self.path) - 1 else None

    @property
    def is_chain(self) -> bool:
        """Whether what grows is no container, but a chain of objects that each hold the next."""
        if self.grown is None or sort_of(self.grown.type) or (self.entry and self.entry.kind in _ENTRIES):
            return False
        # Links that repeat are folded, up to three at once.
        return any(hop.type == self.grown.type for hop in self.path[max(0, self.at - 3) : self.at])

    @property
    def container(self) -> str:
        """What the container that grows is called; empty where none is known."""
        if self.grown is not None:
            return self.name_of(self.at)
        is_named = self.holder.kind in ("unbounded", "bounded") and not _WEAK_SET.search(self.holder.name)
        return cut(self.holder.name) if is_named else ""

    def name_of(self, at: int) -> str:
        """Return what the object at the end of one hop is called, from the last hop on that has a name of its own."""
        start = max((n for n, hop in enumerate(self.path[: at + 1]) if hop.kind in _WHOLE), default=0)
        return cut("".join(_joined(hop.name) for hop in self.path[start : at + 1]).lstrip())

    def stays(self, pattern: re.Pattern[str]) -> str:
        """Return the type that stays in most numbers, of those that match; empty where none does."""
        found = [name for name, count in self.types.items() if count >= LEAST and pattern.search(name)]
        return max(found, key=self.types.__getitem__, default="")

    def meets(self, pattern: re.Pattern[str]) -> bool:
        """Whether a type that matches stays, or stands on any of the paths."""
        return bool(self.stays(pattern)) or any(map(pattern.search, self.met))

    def is_made_by(self, pattern: re.Pattern[str]) -> bool:
        """Whether a source line that makes what stays matches."""
        return any(pattern.search(site.source) for site in (*self.makers, *self.sites))

    def passes(self, *kinds: str) -> bool:
        """Whether the path takes an edge of such a kind."""
        return any(hop.kind in kinds for hop in self.path)


def gather(explanation: Explanation, holder: Holder, metrics: Iterable[str], amounts: Mapping[str, float]) -> Evidence:
    """Return what speaks for one pattern or another; *metrics* are the names of those that grow, *amounts* how much."""
    path = _best(explanation.paths)
    names = {metric: found for metric, found in explanation.names if found}
    types: dict[str, float] = {}
    for growth in explanation.types:
        name = public(growth.type)
        types[name] = types.get(name, 0.0) + growth.count_per_run
    grown = [at for at, hop in enumerate(path) if hop.grows_per_run > 0]
    suspect = [at for at in grown if path[at].suspect]
    at = next(iter(suspect or grown), -1)
    met = frozenset(public(hop.type) for one in explanation.paths for hop in one.hops)
    makers = tuple(site for _, sites in explanation.makers for site in sites)
    return Evidence(
        path, at, met, types, frozenset({*metrics, *names}), names, explanation.sites, makers, holder,
        explanation.tasks_done, explanation.unheld, _is_mostly_native(amounts, explanation),
    )  # fmt: skip


def _is_mostly_native(amounts: Mapping[str, float], explanation: Explanation) -> bool:
    """Whether C code's memory is most of the bytes, however large the blocks and the objects that stay may be."""
    blocks = amounts.get("blocks", 0.0) * _LARGEST_BLOCK
    python = max(blocks, sum(growth.bytes_per_run for growth in explanation.types))
    return bool(blocks) and amounts.get("heap", 0.0) >= _MOSTLY * (amounts.get("heap", 0.0) + python)


def _joined(name: str) -> str:
    """Return the name of an edge as it follows another one: an attribute or an entry at once, a word after a space."""
    return name if name.startswith((".", "[")) else f" {name}"


def _best(paths: Sequence[RetentionPath]) -> tuple[Hop, ...]:
    """Return the first path on which something grows, else the first."""
    growing = (path.hops for path in paths if any(hop.grows_per_run > 0 for hop in path.hops))
    return next(growing, paths[0].hops if paths else ())


def public(name: str) -> str:
    """Return the name of a type without the underscore that modules in C have."""
    return name.removeprefix("builtins.").lstrip("_")


def sort_of(container: str) -> str:
    """Return which sort of container a type is: dict, list or set; empty where its name does not tell."""
    return next((sort for sort, pattern in _SORTS.items() if pattern.search(container)), "")


def cut(name: str) -> str:
    """Return a name that is short enough for a sentence."""
    keep = (_LONGEST - 3) // 2
    return name if len(name) <= _LONGEST else f"{name[:keep]}...{name[-keep:]}"
