"""
One short name for a cause, the same in every run, process, xdist worker and minor version of Python.

    path      who holds it: root, the suspect edges down to the container that grows, and their types
    site      where it is allocated: function and file
    resource  what is opened or started, and where
    holder    the container that the holder check named

What differs from run to run stays out: addresses, line numbers, indexes, keys of what grows, numbers in generated
names, parameters of tests, folders.
"""

from __future__ import annotations

import hashlib
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.core.values import Finding, Holder, Hop, Metric, RetentionPath, Site

__all__ = [
    "MEMORY", "chief_site", "fingerprint", "holder_fingerprint", "is_telling", "loose_fingerprint", "of_finding",
    "resource_fingerprint", "suspects",
]  # fmt: skip

_DIGITS = 16
#: All metrics of memory see the same leak, so one word stands for them in a fingerprint.
MEMORY = "memory"

#: Names of these edges are written in a source file; what else has a name got it while the program ran.
_WRITTEN = frozenset({"attribute", "cache", "cell", "class", "default", "function", "local", "method", "module"})
#: Roots that are places in source files, and those of one moment.
_PLACES = ("module", "class")
_PASSING = ("frame", "native", "task", "thread")
#: Whatever is longer is text that a program made; searching it for patterns takes long.
_LONGEST = 400

_ADDRESS = re.compile(r"\b0x[0-9a-f]+", re.IGNORECASE)
_FOLDERS = re.compile(r"(?:[A-Za-z]:)?(?:[^\s'\"()<>\\/]*[\\/])+")
#: Of a source line, or of the links of a folded chain (``.tb_next x 240``).
_LINE = re.compile(r":\d+\b|\bline \d+| x ?\d+\b")
_PARAMETERS = re.compile(r"(\btest\w*|::\w+)\[.*\]")
#: A UUID or another hash: eight or more hexadecimal digits, a decimal one among them.
_HASH = re.compile(r"(?<![0-9a-z])(?=[a-f]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*(?![0-9a-z])", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"\d{4,}")
_NUMBER = re.compile(r"\d+")
#: Comprehensions are functions of their own up to Python 3.11 only.
_INLINED = re.compile(r"(?:\.?<locals>)?\.?<(?:listcomp|dictcomp|setcomp|genexpr)>")


def of_finding(finding: Finding, holder: Holder) -> str:
    """
    Return the best fingerprint that a finding has: of its first path, else of its chief site, else of the holder.

    A path through Python and its standard library alone comes after the site, as all kinds of leaks share those.
    Resources are told by what made them instead. Empty where nothing is known of the cause.
    """
    if finding.metric.resource:
        return resource_fingerprint(finding.metric, finding.names, finding.sites)
    if finding.paths and finding.paths[0].hops and (is_telling(finding.paths[0]) or not finding.sites):
        return fingerprint(finding.paths[0])
    if finding.sites:
        return loose_fingerprint(chief_site(finding.sites), finding.metric)
    return holder_fingerprint(finding.metric, holder)


def fingerprint(path: RetentionPath) -> str:
    """
    Return the fingerprint of a retention path: its root, and each suspect hop down to the first that grows.

    What lies below a container that grows is what was put into it, and may differ from test to test.
    """
    fixed, owner, chosen = _told_by(path)
    parts = [("root", _name(hop), "") for hop in fixed]
    parts += [("owner", "", _type(hop.type)) for hop in owner]
    return _hash("path", *(part for hop in parts for part in hop), *_described(chosen))


def is_telling(path: RetentionPath) -> bool:
    """Whether a path says whose the leak is: it goes through something that is no part of Python itself."""
    fixed, owner, chosen = _told_by(path)
    if any(hop.kind == "context" for hop in (*fixed, *chosen)):
        return True
    names = [hop.name for hop in (*fixed, *chosen) if hop.kind in _PLACES]
    names += [hop.type for hop in (*owner, *chosen) if "." in hop.type]
    return any(name.partition(".")[0] not in sys.stdlib_module_names for name in names)


def _told_by(path: RetentionPath) -> tuple[tuple[Hop, ...], tuple[Hop, ...], tuple[Hop, ...]]:
    """Return the root, the owner of the first suspect, and the suspects; the first two where they are worth it."""
    chosen = suspects(path)
    at = path.hops.index(chosen[0]) if chosen else 0
    # Hops above the suspects depend on which of many ways was found, and so does a root that comes and goes.
    fixed = [hop for hop in path.hops[:1] if hop.kind not in _PASSING and at]
    return tuple(fixed), path.hops[max(0, at - 1) : at], chosen


def suspects(path: RetentionPath) -> tuple[Hop, ...]:
    """
    Return the suspect hops of a path, or all where none is marked, down to the first that grows.

    Where that is the hop above the first suspect one, such as a context variable, it is the only one.
    """
    marked = [at for at, hop in enumerate(path.hops) if hop.suspect] or list(range(len(path.hops)))
    if marked and marked[0] and path.hops[marked[0] - 1].grows_per_run > 0:
        return (path.hops[marked[0] - 1],)
    last = next((at for at in marked if path.hops[at].grows_per_run > 0), len(path.hops))
    return tuple(path.hops[at] for at in marked if at <= last)


def chief_site(sites: Sequence[Site]) -> Site:
    """
    Return the first site of the function that keeps most, all of its lines together; tests come last.

    Single lines change places from one version of Python to the next, with the sizes of objects; and what tests have
    in common is what they call.
    """
    kept: dict[tuple[str, str], tuple[float, float]] = {}
    for site in sites:
        size, blocks = kept.get((site.file, site.function), (0.0, 0.0))
        kept[site.file, site.function] = (size - site.bytes_per_run, blocks - site.blocks_per_run)
    order = {
        place: (place[1].rpartition(".")[2].startswith("test"), *amounts, *place) for place, amounts in kept.items()
    }
    return min(sites, key=lambda site: order[site.file, site.function])


def loose_fingerprint(site: Site, metric: Metric) -> str:
    """Return a fingerprint of an allocation site: its function and the name of its file."""
    return _hash("site", _sort(metric), _function(site.function), _file(site.file))


def resource_fingerprint(metric: Metric, names: Iterable[str], makers: Sequence[Site]) -> str:
    """
    Return a fingerprint of resources that stayed: of what made most of them, else of their names.

    Empty where neither is known.
    """
    if makers:
        return loose_fingerprint(chief_site(makers), metric)
    unlike = sorted({_generated(name) for name in names})
    return _hash("resource", _sort(metric), *unlike) if unlike else ""


def holder_fingerprint(metric: Metric, holder: Holder) -> str:
    """Return a fingerprint of what the holder check named; empty where it named nothing."""
    return _hash("holder", _sort(metric), holder.kind, _written(holder.name)) if holder.name else ""


# -- parts -----------------------------------------------------------------------------------------------------------


def _hash(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:_DIGITS]


def _sort(metric: Metric) -> str:
    return metric.name if metric.resource else MEMORY


def _described(hops: Iterable[Hop]) -> list[str]:
    return [part for hop in hops for part in (hop.kind, _name(hop), _type(hop.type))]


def _name(hop: Hop) -> str:
    return _written(hop.name) if hop.kind in _WRITTEN else _generated(hop.name)


def _written(name: str) -> str:
    """Return a name of a source file without what points into the file, or was added when the program ran."""
    plain = _ADDRESS.sub("#", _PARAMETERS.sub(r"\1", _INLINED.sub("", name[:_LONGEST])))
    return _LONG_NUMBER.sub("#", _HASH.sub("#", _LINE.sub("", _FOLDERS.sub("", plain))))


def _generated(name: str) -> str:
    """Return a name that a program made without its numbers."""
    return _NUMBER.sub("#", _written(name))


def _type(name: str) -> str:
    """
    Return a qualified type as every version of Python would name it, without the numbers of generated classes.

    ``pathlib._local.PosixPath`` is ``pathlib.PosixPath`` on 3.12, and C types stand in modules with an underscore.
    """
    module, _, own = _generated(name).partition(".<locals>")[0].rpartition(".")
    first, *rest = module.split(".")
    public = [first.lstrip("_"), *(part for part in rest if not part.startswith("_"))]
    local = name.rpartition("<locals>.")[2] if "<locals>." in name else ""
    return ".".join(filter(None, [*public, own, _generated(local)])).removeprefix("builtins.")


def _function(name: str) -> str:
    return _written(name.replace(".<locals>", ""))


def _file(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
