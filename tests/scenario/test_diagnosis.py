"""What the agents tell of growth, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_memguard.errors import CouldNotRun
from pytest_memguard.scenario import diagnosis


class Agent:
    """Answers from a table, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:  # noqa: ANN401 - as JSON has it
        self.answers = answers
        self.asked: list[str] = []

    def call(self, command: str, **_: object) -> dict[str, Any]:
        """Return the answer; CouldNotRun where there is none."""
        self.asked.append(command)
        if command not in self.answers:
            raise CouldNotRun(f"{command}: gone")
        answer: dict[str, Any] = self.answers[command]
        return answer


def row(kind: str, count: int) -> dict[str, Any]:
    """Return a row of types."""
    return {"type": kind, "count": count, "bytes": 64 * count}


def finished(**answers: Any) -> Any:  # noqa: ANN401 - an Explanation
    """Return what is made of the answers, over 100 requests."""
    rest = {"gc": {}, "trace": {}, "sites": {"rows": []}, "types": {"rows": []}, "path": {"hops": []}}
    return diagnosis.finish(Agent(**{**rest, **answers}), 100, "/srv")  # type: ignore[arg-type]


def test_begin() -> None:
    """What there is is remembered after all that the tracer brings."""
    agent = Agent(gc={}, trace={}, sites={}, types={})
    diagnosis.begin(agent, 4)  # type: ignore[arg-type]

    assert agent.asked == ["gc", "trace", "sites", "types"]


@pytest.mark.parametrize(("count", "names"), [(24, []), (25, ["shop.Session"])])
def test_types(count: int, names: list[str]) -> None:
    """A type of which one comes in four requests is told, less is noise."""
    assert [one.type for one in finished(types={"rows": [row("shop.Session", count)]}).types] == names


def test_types_of_users_first() -> None:
    """Types of users come before those of Python, and what the tracer makes does not count."""
    rows = [row("builtins.dict", 900), row("tracemalloc.Trace", 900), row("shop.Session", 100)]

    assert [one.type for one in finished(types={"rows": rows}).types] == ["shop.Session", "builtins.dict"]


def test_weak_references_last() -> None:
    """A weak reference comes after all else, as every class brings some."""
    rows = [row("weakref.ReferenceType", 900), row("builtins.dict", 500), row("builtins.bytes", 100)]
    types = [*rows, row("shop.Session", 50)]

    assert [one.type for one in finished(types={"rows": types}).types] == [
        "shop.Session", "builtins.bytes", "builtins.dict", "weakref.ReferenceType",
    ]  # fmt: skip


def test_no_path_to_weak_reference() -> None:
    """Who holds a weak reference is not told: it is a cache of the interpreter."""
    hops = ["class collections.abc.Iterable", ".?: weakref.ReferenceType"]

    assert finished(types={"rows": [row("weakref.ReferenceType", 900)]}, path={"hops": hops}).paths == ()


@pytest.mark.parametrize(("size", "found"), [(1500, 0), (1600, 1)])
def test_sites(size: int, found: int) -> None:
    """A place that keeps sixteen bytes a request is told, less is noise."""
    rows = [{"frames": [["/srv/shop.py", 3]], "bytes": size, "count": 1}]

    assert len(finished(sites={"rows": rows}).sites) == found


def test_sites_of_one_line() -> None:
    """Several stacks to one line are one place."""
    rows = [{"frames": [["/srv/shop.py", 3], ["/srv/app.py", at]], "bytes": 6400, "count": 100} for at in (1, 2)]
    (site,) = finished(sites={"rows": rows}).sites

    assert (site.file, site.line, site.bytes_per_run, site.blocks_per_run) == ("shop.py", 3, 128, 2)


def test_path() -> None:
    """The path to what grows is told, hop by hop."""
    hops = ["module shop", ".KEPT: builtins.list", "[...]: shop.Session"]
    (path,) = finished(types={"rows": [row("shop.Session", 100)]}, path={"hops": hops}).paths

    assert path.text == "module shop .KEPT [...]"
    assert [(hop.kind, hop.name, hop.type) for hop in path.hops] == [
        ("module", "shop", "module"),
        ("attribute", ".KEPT", "builtins.list"),
        ("element", "[...]", "shop.Session"),
    ]


def test_agent_is_gone() -> None:
    """An agent that does not answer any more is a note, not the end of the run."""
    explanation = diagnosis.finish(Agent(gc={}), 100, "")  # type: ignore[arg-type]

    assert explanation.notes == ("what grows could not be found out: sites: gone",)
