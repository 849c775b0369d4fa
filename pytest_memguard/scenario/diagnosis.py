"""What the agents tell of growth: where it is allocated, what it is, and who holds it, over some more requests."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.units import signed
from pytest_memguard.core.values import Explanation, Hop, RetentionPath, Site, TypeGrowth, Unit
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.explain.paths import fitted
from pytest_memguard.explain.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_memguard.agent.client import Client

__all__ = ["begin", "finish"]

_MOST = 10
_ASKED = 100
#: Of what comes in a request, so little is the noise of caches and buffers.
_LEAST_COUNT, _LEAST_BYTES = 0.25, 16.0
#: Whatever leaks brings some of these with it; what is said of them says nothing.
_COMMON = frozenset({"builtins.dict", "builtins.list", "builtins.tuple", "builtins.cell", "builtins.set"})
#: Classes and weak sets bring these, whatever leaks; their holder is a cache of the interpreter.
_REFERENCE = "weakref.ReferenceType"
#: Who looks is not what is looked for.
_OWN = ("tracemalloc.", "pytest_memguard.agent.")
_MOST_SOUGHT, _PATH_S = 3, 3.0


def begin(client: Client, frames: int) -> None:
    """
    Trace allocations from now on, and remember what there is.

    Raises:
        CouldNotRun: the agent did not answer.

    """
    client.call("types", remember=True, limit=1)  # loads what it needs before that is traced
    client.call("gc", passes=2)
    client.call("trace", on=True, frames=frames)
    client.call("sites", remember=True, limit=1)
    client.call("types", remember=True, limit=1)  # last, as the others bring modules of their own


def finish(client: Client, requests: float, root: str) -> Explanation:
    """
    Return what came since ``begin``, a request, and stop tracing; empty with a note where the agent did not answer.

    Args:
        client: The agent of one process.
        requests: Completed since.
        root: The folder of the service, for the names of files.

    """
    try:
        client.call("gc", passes=2)
        sites = client.call("sites", difference=True, limit=_ASKED)["rows"]
        client.call("trace", on=False)
        types = client.call("types", difference=True, limit=_ASKED)["rows"]
        grown = tuple(_types(types, max(1.0, requests)))
        paths = tuple(_paths(client, grown, max(1.0, requests)))
    except CouldNotRun as error:
        return Explanation(notes=(f"what grows could not be found out: {error}",))
    notes = () if requests else ("no request came while allocations were traced, so amounts are totals",)
    return Explanation(tuple(_sites(sites, max(1.0, requests), root)), grown, paths, notes=notes)


def stop(clients: Iterable[Client]) -> None:
    """Stop tracing, where somebody still does."""
    for client in clients:
        with suppress(CouldNotRun):
            client.call("trace", on=False)


def _sites(rows: Sequence[Mapping[str, Any]], requests: float, root: str) -> Iterator[Site]:
    places = Places(root=root)
    found = []
    for row in rows:
        size, count = row["bytes"] / requests, row["count"] / requests
        if count < _LEAST_COUNT and size < _LEAST_BYTES:
            continue
        stack = [(str(file), int(line)) for file, line in row["frames"]]
        site = places.site(stack, bytes_per_run=size, blocks_per_run=count)
        if site is None and stack:
            file, line = stack[0]
            site = Site(places.shown(file), line, places.function(file, line), size, count)
        if site is not None:
            is_own = any(places.is_own(file) for file, _ in stack)
            found.append((is_own, site))
    found.sort(key=lambda one: (one[0], one[1].bytes_per_run), reverse=True)
    yield from _merged(site for _, site in found)


def _merged(sites: Iterable[Site]) -> Iterator[Site]:
    """Yield one site a line: several stacks may lead to it."""
    lines: dict[tuple[str, int], Site] = {}
    for site in sites:
        key = site.file, site.line
        known = lines.get(key)
        lines[key] = site if known is None else _added(known, site)
    yield from tuple(lines.values())[:_MOST]


def _added(one: Site, other: Site) -> Site:
    return Site(
        one.file,
        one.line,
        one.function,
        one.bytes_per_run + other.bytes_per_run,
        one.blocks_per_run + other.blocks_per_run,
        one.traceback,
        one.source,
    )


def _types(rows: Sequence[Mapping[str, Any]], requests: float) -> Iterator[TypeGrowth]:
    found = [
        TypeGrowth(str(row["type"]), row["count"] / requests, row["bytes"] / requests)
        for row in rows
        if row["count"] / requests >= _LEAST_COUNT and not str(row["type"]).startswith(_OWN)
    ]
    found.sort(key=lambda one: (_rank(one.type), -one.count_per_run))
    yield from found[:_MOST]


def _rank(kind: str) -> int:
    """Return how little a type tells: one of no library of Python's tells most, a weak reference next to nothing."""
    if kind == _REFERENCE:
        return 4
    if kind in _COMMON:
        return 3
    library = kind.partition(".")[0]
    return 2 if library == "builtins" else int(library in sys.stdlib_module_names)


def _paths(client: Client, types: Sequence[TypeGrowth], requests: float) -> Iterator[RetentionPath]:
    """Yield the path to an object of the type that tells most; else to what a container keeps that grew."""
    gained = max(1, round(_LEAST_COUNT * requests))
    wanted = [one for one in types if one.type != _REFERENCE][:_MOST_SOUGHT]
    asked: list[dict[str, Any]] = [
        {"type": one.type, "newest": max(1, round(one.count_per_run * requests))} for one in wanted
    ]
    for request in [*asked, {}]:
        found = client.call("path", **request, gained=gained, budget_s=_PATH_S)
        # Timers of connections and the like are gone again by now: they are not what stays.
        if found["hops"] and found["count"] >= request.get("newest", 0):
            hops = tuple(_hops(found["hops"], requests))
            grown = next((at for at, hop in enumerate(hops) if hop.grows_per_run), 0)
            yield RetentionPath(hops, "\n".join(fitted([[_line(at, hop)] for at, hop in enumerate(hops)], grown)))
            return


def _hops(found: Sequence[Mapping[str, Any]], requests: float) -> Iterator[Hop]:
    """Yield the hops; suspect are the first container that grows with the requests, and what lies in it."""
    enough = _LEAST_COUNT * requests
    grown = next((at for at, hop in enumerate(found) if hop["gained"] >= enough), len(found))
    for at, hop in enumerate(found):
        each = hop["gained"] / requests if at == grown else 0.0
        yield Hop(hop["kind"], hop["name"], hop["type"], each, suspect=at in (grown, grown + 1))


def _line(at: int, hop: Hop) -> str:
    if not at:
        return f"{hop.kind} {hop.name}" if hop.kind in ("module", "class") else hop.name
    line = f"  {hop.name}: {hop.type}"
    grows = f"{line}, {signed(hop.grows_per_run, Unit.COUNT)} a request"
    return f"{grows:<45} <- grows" if hop.grows_per_run else line
