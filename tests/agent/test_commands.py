"""What an agent can be asked, and what it answers."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.agent import commands as module
from pytest_memguard.agent import counters
from pytest_memguard.agent.client import Client
from pytest_memguard.agent.commands import commands
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from tests.agent.conftest import Service, Started


class Parcel:
    """Something that can be counted and looked for."""


KEPT: list[Parcel] = []
BY_KEY: dict[str, Parcel] = {}


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what asks the commands of this process; nothing is traced or kept afterwards."""
    gc.collect()  # parcels of other tests
    known = commands(str(tmp_path))
    yield lambda name, **request: known[name](request)
    tracemalloc.stop()
    KEPT.clear()
    BY_KEY.clear()


def name_of(kind: type) -> str:
    """Return a type's name as the agent has it."""
    return f"{kind.__module__}.{kind.__qualname__}"


# -- counters --------------------------------------------------------------------------------------------------------


def test_the_counters(ask: Callable[..., Any]) -> None:
    """Each counter that this platform has is a whole number above zero."""
    found = ask("stats")

    for name in ("blocks", "heap_bytes", "rss_bytes", "mapped_bytes", "fds", "threads"):
        assert found[name] > 0
    assert len(found["gc_collections"]) == 3
    assert "traced_bytes" not in found


def test_traced_bytes_are_there_while_tracing(ask: Callable[..., Any]) -> None:
    """Where allocations are traced, what they hold is read as well."""
    ask("trace", frames=3)

    assert ask("stats")["traced_bytes"] >= 0


def test_counters_that_nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc and without glibc the rest is still read."""
    monkeypatch.setattr(counters, "_HAS_PROC", False)
    monkeypatch.setattr(counters, "_mallinfo", lambda: None)
    found = counters.read_counters()

    assert [found[name] for name in ("rss_bytes", "heap_bytes", "fds", "threads")] == [None] * 4
    assert found["blocks"] > 0


def test_a_collection(ask: Callable[..., Any]) -> None:
    """Cyclic garbage is freed, and how long that took is said."""
    gc.collect()
    circle: list[Any] = []
    circle.append(circle)
    del circle
    found = ask("gc", passes=2)

    assert found["freed"] >= 1
    assert found["pause_s"] > 0


def test_a_trim(ask: Callable[..., Any]) -> None:
    """The heap is trimmed where that can be asked for."""
    assert ask("trim")["released"] in (True, False, None)


# -- allocations -----------------------------------------------------------------------------------------------------


def test_sites_and_what_they_gained(ask: Callable[..., Any]) -> None:
    """The line that allocated since the last look comes first, innermost frame first, with its bytes."""
    ask("trace", frames=5)
    ask("sites", remember=True)
    kept = [bytearray(1000) for _ in range(100)]
    rows = ask("sites", difference=True, limit=3)["rows"]
    file, line = rows[0]["frames"][0]

    assert file == __file__
    assert "bytearray(1000)" in Path(__file__).read_text(encoding="utf-8").splitlines()[line - 1]
    assert rows[0]["bytes"] >= len(kept) * 1000


def test_sites_leave_the_agent_out(ask: Callable[..., Any]) -> None:
    """What the agent itself allocates is not what anybody looks for."""
    ask("trace", frames=8)
    ask("types")
    files = [file for row in ask("sites", limit=1000)["rows"] for file, _ in row["frames"]]

    assert not [file for file in files if "pytest_memguard/agent/" in file]


def test_sites_without_tracing(ask: Callable[..., Any]) -> None:
    """Who asks for sites without having switched tracing on is told so."""
    with pytest.raises(CouldNotRun, match="trace first"):
        ask("sites")


def test_tracing_is_switched_off_again(ask: Callable[..., Any]) -> None:
    """The agent stops what it has started."""
    assert ask("trace", frames=2) == {"tracing": True, "frames": 2, "note": ""}
    assert ask("trace", on=False) == {"tracing": False, "frames": 0, "note": ""}


def test_tracing_of_the_service_is_left_alone(ask: Callable[..., Any]) -> None:
    """A service that traces by itself goes on with its own setting."""
    tracemalloc.start(1)
    for on in (True, False):
        found = ask("trace", on=on, frames=9)

        assert (found["tracing"], found["frames"]) == (True, 1)
        assert "own setting" in found["note"]


# -- types -----------------------------------------------------------------------------------------------------------


def test_types_and_what_they_gained(ask: Callable[..., Any]) -> None:
    """A difference has what came since the last look that was to be remembered."""
    everything = ask("types", remember=True, limit=1000)
    KEPT.extend(Parcel() for _ in range(50))
    rows = {row["type"]: row["count"] for row in ask("types", difference=True, limit=1000)["rows"]}

    assert everything["total"] > 1000
    assert rows[name_of(Parcel)] == 50


def test_a_difference_needs_something_to_compare_with(ask: Callable[..., Any]) -> None:
    """Without an earlier look there is no difference, and it says what to do."""
    with pytest.raises(CouldNotRun, match="remember"):
        ask("types", difference=True)


def test_types_with_faulty_sizes(ask: Callable[..., Any]) -> None:
    """A class whose ``__sizeof__`` fails is counted all the same."""

    class Faulty:
        def __init__(self) -> None:
            self.itself = self

        def __sizeof__(self) -> int:
            raise RuntimeError("no size")

    kept = Faulty()
    rows = {row["type"] for row in ask("types", limit=1000)["rows"]}
    sizes = module._size(kept)

    assert rows
    assert sizes == 0


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        ("types", {"limit": 0}),
        ("types", {"limit": 1001}),
        ("types", {"limit": "5"}),
        ("types", {"limit": True}),
        ("types", {"difference": 1}),
        ("gc", {"passes": 6}),
        ("trace", {"frames": 65}),
        ("trace", {"frames": 0}),
        ("trace", {"on": "yes"}),
        ("path", {}),
        ("path", {"type": 7}),
        ("path", {"type": "builtins.dict", "newest": 0}),
        ("path", {"gained": 0}),
        ("path", {"type": "a" * 301}),
        ("path", {"type": "builtins.dict", "budget_s": 0}),
        ("path", {"type": "builtins.dict", "budget_s": 601}),
        ("snapshot", {"max_seconds": -1}),
        ("snapshot", {"max_objects": 0}),
        ("snapshot", {"values": "no"}),
    ],
)
def test_arguments_have_limits(ask: Callable[..., Any], command: str, request_: dict[str, Any]) -> None:
    """An argument of the wrong kind or beyond its limits is refused with its name."""
    with pytest.raises(CouldNotRun):
        ask(command, **request_)


@pytest.mark.parametrize(
    ("command", "request_"), [("types", {"limit": 1}), ("types", {"limit": 1000}), ("gc", {"passes": 5})]
)
def test_arguments_at_their_limits(ask: Callable[..., Any], command: str, request_: dict[str, Any]) -> None:
    """What is just within is answered."""
    assert ask(command, **request_)


# -- paths -----------------------------------------------------------------------------------------------------------


def edges(found: dict[str, Any]) -> list[str]:
    """Return the hops of a path in words."""
    return [f"{hop['kind']} {hop['name']}: {hop['type']}" for hop in found["hops"]]


def gained(found: dict[str, Any]) -> list[int]:
    """Return what each hop has gained."""
    return [hop["gained"] for hop in found["hops"]]


def test_a_path_from_a_module(ask: Callable[..., Any]) -> None:
    """It leads from the module's name down to the object."""
    KEPT.append(Parcel())
    found = ask("path", type=name_of(Parcel))

    assert edges(found) == [f"module {__name__}: module", "attribute .KEPT: list", f"element [...]: {name_of(Parcel)}"]
    assert (found["count"], found["why"]) == (1, "")


def test_a_path_does_not_show_keys(ask: Callable[..., Any]) -> None:
    """Keys of dictionaries may be secrets, so they stay where they are."""
    BY_KEY["token_of_somebody"] = Parcel()
    found = ask("path", type=name_of(Parcel))

    assert edges(found)[1:] == ["attribute .BY_KEY: dict", f"item [...]: {name_of(Parcel)}"]


def test_a_path_tells_which_container_grew(ask: Callable[..., Any]) -> None:
    """Entries that a container has gained since types were remembered are told with each hop."""
    KEPT.extend(Parcel() for _ in range(20))
    ask("types", remember=True, limit=1)
    KEPT.extend(Parcel() for _ in range(30))

    assert gained(ask("path", type=name_of(Parcel))) == [0, 30, 0]


def test_a_short_container_has_gained_at_least(ask: Callable[..., Any]) -> None:
    """One that had fewer than 16 entries may have had 16, for all that is known."""
    ask("types", remember=True, limit=1)
    KEPT.extend(Parcel() for _ in range(30))

    assert gained(ask("path", type=name_of(Parcel))) == [0, 14, 0]


def test_nothing_has_gained_where_nothing_is_remembered(ask: Callable[..., Any]) -> None:
    """A first path tells nothing of growth."""
    KEPT.extend(Parcel() for _ in range(30))

    found = ask("path", type=name_of(Parcel))

    assert found["why"] == ""
    assert gained(found) == [0, 0, 0]


def test_a_path_through_the_container_that_grew(ask: Callable[..., Any]) -> None:
    """Of several holders the one that grew is told, and the way from it down."""
    single = Parcel()
    BY_KEY["single"] = single
    ask("types", remember=True, limit=1)
    KEPT.extend({"of": (Parcel(), n)} for n in range(40))  # type: ignore[misc] # any list will do
    found = ask("path", type=name_of(Parcel), gained=20)

    assert edges(found)[1:] == ["attribute .KEPT: list", "element [...]: dict", "item [...]: tuple",
                                f"element [...]: {name_of(Parcel)}"]  # fmt: skip
    assert gained(found) == [0, 24, 0, 0, 0]


def test_what_the_collector_does_not_track(ask: Callable[..., Any]) -> None:
    """Without a type the path leads to what the container keeps that grew: texts are no objects of the collector."""
    ask("types", remember=True, limit=1)
    KEPT.extend(f"line {n}" for n in range(400))  # type: ignore[misc] # any list will do
    found = ask("path", gained=300)

    assert edges(found)[1:] == ["attribute .KEPT: list", "element [...]: str"]


def test_a_chain_is_found_from_its_newest_link(ask: Callable[..., Any]) -> None:
    """In a long chain the middle is held too deep; whatever holds the newest link holds them all, one by one."""
    link = None
    for _ in range(200):
        made = Parcel()
        made.before = link  # type: ignore[attr-defined] # a parcel may have any
        link = made
    BY_KEY["newest"] = link  # type: ignore[assignment] # there is one
    del made, link
    found = ask("path", type=name_of(Parcel), newest=100)

    assert edges(found)[1:] == ["attribute .BY_KEY: dict", f"item [...]: {name_of(Parcel)}",
                                f"attribute .before: {name_of(Parcel)}"]  # fmt: skip
    assert gained(found) == [0, 0, 0, 100]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="any thread may load threading from 3.13 on")
def test_who_loads_threading_first(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent does not: a program that it made load threading would wait for it for ever."""
    KEPT.extend(Parcel() for _ in range(30))
    monkeypatch.delitem(sys.modules, "threading")
    ask("types", remember=True, limit=1)
    found = ask("path", type=name_of(Parcel))

    assert (found["hops"], "threading" in sys.modules) == ([], False)
    assert "threading" in found["why"]


class Slotted:
    """Has its attributes in slots."""

    __slots__ = ("inside",)

    def __init__(self, inside: Parcel) -> None:
        self.inside = inside


class Plain:
    """Has its attributes in a dictionary."""

    def __init__(self, inside: Parcel) -> None:
        self.inside = inside


@pytest.mark.parametrize("kind", [Slotted, Plain])
def test_a_path_names_attributes(ask: Callable[..., Any], kind: type[Slotted | Plain]) -> None:
    """The attribute of an instance is named, be it a slot or not."""
    KEPT.append(kind(Parcel()))  # type: ignore[arg-type] # either kind
    found = ask("path", type=name_of(Parcel))

    assert edges(found)[-1] == f"attribute .inside: {name_of(Parcel)}"


def test_a_path_through_a_closure(ask: Callable[..., Any]) -> None:
    """A function that keeps a variable of its maker is shown with the cell."""

    def make() -> Callable[[], Parcel]:
        inside = Parcel()
        return lambda: inside

    KEPT.append(make())  # type: ignore[arg-type] # whatever it makes
    found = ask("path", type=name_of(Parcel))

    assert edges(found)[-1].startswith("cell ")
    assert edges(found)[-1].endswith(f".inside: {name_of(Parcel)}")


def test_an_object_that_only_a_running_function_holds(started: Started) -> None:
    """What no module leads to is a variable of a function that runs."""
    program = """
import sys, threading
class Local: pass
def run():
    one = Local()
    print("ready", flush=True)
    sys.stdin.read()
run()
"""
    with started(program) as service:
        assert service.line() == "ready"
        with Client(service.path, service.token) as client:
            found = client.call("path", type="__main__.Local")

    assert edges(found) == ["frame __main__.run: frame", "local run.one: __main__.Local"]


def test_a_path_of_what_is_not_there(ask: Callable[..., Any]) -> None:
    """A type without an object has no path, and it says so."""
    found = ask("path", type="shop.Nothing")

    assert (found["count"], found["hops"]) == (0, [])
    assert found["why"]


def test_a_path_that_takes_too_long(ask: Callable[..., Any]) -> None:
    """The search ends with its budget, and says what to do instead."""
    KEPT.append(Parcel())
    found = ask("path", type=name_of(Parcel), budget_s=1e-9)

    assert found["hops"] == []
    assert "heap snapshot" in found["why"]


def test_a_path_in_another_process(service: Service) -> None:
    """Over the socket too, with the hidden key of the dictionary in between."""
    with Client(service.path, service.token) as client:
        found = client.call("path", type="__main__.Row")

    assert found["count"] == 10
    assert edges(found)[:2] == ["module __main__: module", "attribute .SESSIONS: list"]
    assert edges(found)[-2:] == ["attribute .rows: dict", "item [...]: __main__.Row"]


# -- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot(service: Service) -> None:
    """It is written into the agent's own folder, under a name that the agent chooses, for this user only."""
    with Client(service.path, service.token) as client:
        found = client.call("snapshot", compress=True, path="/tmp/elsewhere", values=False)  # noqa: S108 - not used
    file = Path(found["path"])

    assert file.parent == Path(service.folder)
    assert file.name.startswith(f"{service.process.pid}-")
    assert file.stat().st_mode & 0o777 == 0o600
    assert found["bytes"] == file.stat().st_size
    assert not Path("/tmp/elsewhere").exists()  # noqa: S108 - see above
