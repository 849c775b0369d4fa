"""What the agents tell of growth, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_memguard.core.values import Holder
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.explain.advice import advise
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
    rest: dict[str, Any] = {"gc": {}, "trace": {}, "sites": {"rows": []}, "types": {"rows": []}, "path": {"hops": []}}
    return diagnosis.finish(Agent(**{**rest, **answers}), 100, "/srv")  # type: ignore[arg-type]


def test_begin() -> None:
    """What there is is remembered after all that the tracer brings."""
    agent = Agent(gc={}, trace={}, sites={}, types={})
    diagnosis.begin(agent, 4)  # type: ignore[arg-type]

    assert agent.asked == ["types", "gc", "trace", "sites", "types"]


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


def test_types_of_python_later() -> None:
    """What a service has made of its own tells more than the lock that comes with it."""
    rows = [row("_thread.RLock", 200), row("builtins.bytes", 300), row("shop.Handler", 100)]

    assert [one.type for one in finished(types={"rows": rows}).types] == [
        "shop.Handler", "_thread.RLock", "builtins.bytes",
    ]  # fmt: skip


def test_no_path_to_weak_reference() -> None:
    """Who holds a weak reference is not asked: it is a cache of the interpreter."""
    assert asked_for_paths(row("weakref.ReferenceType", 900)) == [{"gained": 25, "budget_s": 3.0}]


@pytest.mark.parametrize(("alive", "paths"), [(99, 0), (100, 1)])
def test_what_is_gone_again(alive: int, paths: int) -> None:
    """Of a type of which fewer are alive than came a moment ago no path is told: a timer of a connection, say."""

    class Passing(Agent):
        def call(self, command: str, **arguments: object) -> dict[str, Any]:
            return super().call(command) if command != "path" or "type" in arguments else {"hops": [], "count": 0}

    answers = {"gc": {}, "trace": {}, "sites": {"rows": []}, "types": {"rows": [row("asyncio.events.Timer", 100)]}}
    agent = Passing(**answers, path={"hops": [SHOP, hop("attribute", ".TIMER", "Timer")], "count": alive})

    assert len(diagnosis.finish(agent, 100, "/srv").paths) == paths  # type: ignore[arg-type]


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


def hop(kind: str, name: str, type_: str, gained: int = 0) -> dict[str, Any]:
    """Return a hop of a path, as the agent tells it."""
    return {"kind": kind, "name": name, "type": type_, "gained": gained}


SHOP, PAGE = hop("module", "shop", "module"), "shop.Page"


def path_to(*hops: dict[str, Any]) -> Any:  # noqa: ANN401 - a RetentionPath
    """Return the path to one of a hundred objects, as the agent tells it."""
    (path,) = finished(types={"rows": [row(PAGE, 100)]}, path={"hops": hops, "count": 100}).paths
    return path


def test_path() -> None:
    """The path to what grows is told, hop by hop."""
    path = path_to(SHOP, hop("attribute", ".KEPT", "list", 100), hop("element", "[...]", PAGE))

    assert [(hop.kind, hop.name, hop.type, hop.grows_per_run, hop.suspect) for hop in path.hops] == [
        ("module", "shop", "module", 0.0, False),
        ("attribute", ".KEPT", "list", 1.0, True),
        ("element", "[...]", "shop.Page", 0.0, True),
    ]
    assert path.text.splitlines() == [
        "module shop",
        "  .KEPT: list, +1 a request                   <- grows",
        "  [...]: shop.Page",
    ]


def test_path_from_a_thread() -> None:
    """A root that is no module is told by its name."""
    path = path_to(hop("thread", "thread worker", "thread"), hop("local", "run.pages", "list", 100))

    assert path.text.splitlines()[0] == "thread worker"


@pytest.mark.parametrize(("gained", "grows"), [(24, 0.0), (25, 0.25)])
def test_container_that_grows(gained: int, grows: float) -> None:
    """A container that gains an entry in four requests grows with them; one that gains less fills for other reasons."""
    path = path_to(SHOP, hop("attribute", ".PAGES", "dict", gained), hop("item", "[...]", PAGE))

    assert [hop.grows_per_run for hop in path.hops] == [0.0, grows, 0.0]


def test_first_container_that_grows() -> None:
    """Of several it is the outermost: what lies in it grows along."""
    path = path_to(
        SHOP,
        hop("attribute", ".BY_NAME", "dict", 100),
        hop("item", "[...]", "list", 100),
        hop("element", "[...]", PAGE),
    )

    assert [(hop.grows_per_run, hop.suspect) for hop in path.hops] == [
        (0.0, False), (1.0, True), (0.0, True), (0.0, False)
    ]  # fmt: skip


def test_asked_for() -> None:
    """The agent is asked for as many of a type as came, at last for whatever gained an entry in four requests."""
    asked = asked_for_paths(row(PAGE, 100))

    assert asked == [
        {"type": PAGE, "newest": 100, "gained": 25, "budget_s": 3.0}, {"gained": 25, "budget_s": 3.0},
    ]  # fmt: skip


def test_asked_for_without_types() -> None:
    """Where no objects of the collector came, it is asked for what the container keeps that grew."""
    assert asked_for_paths() == [{"gained": 25, "budget_s": 3.0}]


def asked_for_paths(*rows: dict[str, Any]) -> list[dict[str, object]]:
    """Return what the agent is asked for where it finds no path."""
    asked: list[dict[str, object]] = []

    class Asked(Agent):
        def call(self, command: str, **arguments: object) -> dict[str, Any]:
            if command == "path":
                asked.append(arguments)
            return super().call(command)

    diagnosis.finish(
        Asked(gc={}, trace={}, sites={"rows": []}, types={"rows": rows}, path={"hops": []}),  # type: ignore[arg-type]
        100,
        "/srv",
    )
    return asked


@pytest.mark.parametrize(
    ("hops", "says"),
    [
        (
            [SHOP, hop("attribute", ".PAGES", "dict", 100), hop("item", "[...]", PAGE)],
            "shop.PAGES is a dict without a limit",
        ),
        (
            [SHOP, hop("attribute", ".SIGNAL", "shop.Signal"), hop("attribute", ".listeners", "list", 100),
             hop("element", "[...]", "method"), hop("method", ".__self__", PAGE)],
            "listeners are added to shop.SIGNAL.listeners and never removed",
        ),
    ],
)  # fmt: skip
def test_advice(hops: list[dict[str, Any]], says: str) -> None:
    """The advice for a service is the one that a test with the same path gets."""
    answers = {"types": {"rows": [row(PAGE, 100)]}, "path": {"hops": hops, "count": 100}}

    assert advise(finished(**answers), Holder(), ("blocks",)).startswith(says)


def test_agent_is_gone() -> None:
    """An agent that does not answer any more is a note, not the end of the run."""
    explanation = diagnosis.finish(Agent(gc={}), 100, "")  # type: ignore[arg-type]

    assert explanation.notes == ("what grows could not be found out: sites: gone",)
