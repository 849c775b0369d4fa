"""
Holders whose growth says nothing about the tested code: reports, statistics and records of test tools.

The list is ``known_holders.toml``; what it may hold is said there. What grows there is reported apart, and fails no
test.
"""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard.core.fingerprint import suspects
from pytest_memguard.core.toml import parse
from pytest_memguard.core.values import KnownHolder, RetentionPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["known_holder", "known_holders", "version"]

_FILE = Path(__file__).with_name("known_holders.toml")
#: Below its owner's name: the levels of containers in it, and where a function stands.
_SUFFIX = re.compile(r"(?:\[\.\.\.\])+$| \([^()]*\)$")
_ENTRIES = ("item", "element")
#: What holds attributes of its owner for each thread is not the owner.
_TRANSPARENT = frozenset({"threading.local", "_thread._local"})


@functools.cache
def _read() -> tuple[int, tuple[KnownHolder, ...]]:
    content = parse(_FILE.read_text(encoding="utf-8"))
    return content["version"], tuple(KnownHolder(**entry) for entry in content["holder"])


def version() -> int:
    """Return the version of the list that ships with the package."""
    return _read()[0]


def known_holders() -> tuple[KnownHolder, ...]:
    """Return the list that ships with the package."""
    return _read()[1]


def known_holder(held_by: str | RetentionPath, more: Iterable[KnownHolder] = ()) -> KnownHolder | None:
    """
    Return the known holder that keeps what grew; None where it is none of them.

    Args:
        held_by: The name that the holder check gave, or a retention path. Of a path only the container that grows
            counts: a known holder further up does not excuse what somebody else has put below it.
        more: Others' lists, which come first.

    """
    names = {held_by} if isinstance(held_by, str) else set(_names(held_by))
    plain = {_SUFFIX.sub("", name) for name in names}
    everybody = (*more, *known_holders())
    return next((one for one in everybody if any(fnmatchcase(name, one.name) for name in plain)), None)


def _names(path: RetentionPath) -> Iterator[str]:
    """Yield the names of the first suspect container that grows: from its root, and by the type of its owner."""
    chosen = suspects(path)
    if not chosen:
        return
    at = path.hops.index(chosen[-1])
    while at and path.hops[at].kind in _ENTRIES:
        at -= 1
    hop = path.hops[at]
    if at == 0:
        yield hop.name
    elif hop.name.startswith("."):
        owners = [owner for owner in path.hops[:at] if owner.type not in _TRANSPARENT] or path.hops[at - 1 : at]
        owner = owners[-1]
        # A module is called by its own name, everything else by its type.
        yield (owner.name if owner.type == "module" else owner.type) + hop.name
