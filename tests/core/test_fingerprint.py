"""One name for a cause: what it depends on, and what it must not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.fingerprint import (
    chief_site,
    fingerprint,
    holder_fingerprint,
    is_telling,
    loose_fingerprint,
    of_finding,
    resource_fingerprint,
    suspects,
)
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    THREADS,
    Estimate,
    Finding,
    Holder,
    Hop,
    RetentionPath,
    Shape,
    Site,
    Trend,
)

ROOT = Hop("module", "shop.catalog", "module")
OWNER = Hop("attribute", ".INDEX", "shop.catalog.Index")
CACHE = Hop("attribute", "._found", "dict", grows_per_run=1.0, suspect=True)
ENTRY = Hop("item", "['query 7']", "shop.catalog.Product", suspect=True)
SITE = Site("/home/me/shop/catalog.py", 12, "Index.search", 64.0, 2.0)


def path(*hops: Hop) -> RetentionPath:
    """Return a path of *hops*."""
    return RetentionPath(hops, "text for people")


def grown(metric: object = BLOCKS, **changes: object) -> Finding:
    """Return a finding."""
    finding = Finding(metric, Trend(Shape.EXACT, Estimate(1.0, 1.0, 1.0), 9), 9.0)  # type: ignore[arg-type]
    return replace(finding, **changes)


HELD = path(ROOT, OWNER, CACHE, ENTRY)
NATIVE = path(Hop("native", "C code", "native"), Hop("reference", "...", "method", suspect=True))


# -- a path ----------------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_short() -> None:
    """A fingerprint is 16 hexadecimal digits."""
    digits = fingerprint(HELD)

    assert len(digits) == 16
    assert int(digits, 16) >= 0


def test_a_fingerprint_is_for_ever() -> None:
    """A fingerprint that stands in somebody's file must still be made by later versions."""
    assert fingerprint(HELD) == "dea9eb51ade51d0e"
    assert loose_fingerprint(SITE, BLOCKS) == "77be52bf6c2dbdcf"
    assert resource_fingerprint(FDS, ["/tmp/x/a1.log"], []) == "3e138dc3fab83bda"  # noqa: S108 - a name
    assert holder_fingerprint(BLOCKS, Holder("unbounded", "shop.KEPT")) == "2ab2b84012184dfe"


@pytest.mark.parametrize(
    "same",
    [
        path(ROOT, OWNER, CACHE, replace(ENTRY, name="['another query']", type="str")),
        path(ROOT, OWNER, CACHE),
        path(ROOT, OWNER, replace(CACHE, grows_per_run=7.0), ENTRY),
        path(ROOT, Hop("reference", "", "tuple"), OWNER, CACHE, ENTRY),
        path(ROOT, OWNER, replace(CACHE, type="builtins.dict"), ENTRY),
        replace(HELD, text="other words"),
    ],
    ids=["other entry", "no entry", "other rate", "another way to it", "other spelling", "other text"],
)
def test_one_cause(same: RetentionPath) -> None:
    """What is put into the container, how fast, and on which way it was found does not matter."""
    assert fingerprint(same) == fingerprint(HELD)


@pytest.mark.parametrize(
    "other",
    [
        path(replace(ROOT, name="shop.orders"), OWNER, CACHE, ENTRY),
        path(ROOT, replace(OWNER, type="shop.catalog.Other"), CACHE, ENTRY),
        path(ROOT, OWNER, replace(CACHE, name="._seen"), ENTRY),
        path(ROOT, OWNER, replace(CACHE, type="list"), ENTRY),
        path(ROOT, OWNER, replace(CACHE, kind="cell"), ENTRY),
    ],
    ids=["module", "owner", "name", "type", "kind"],
)
def test_other_causes(other: RetentionPath) -> None:
    """Another module, owner, attribute, type or kind of edge is another cause."""
    assert fingerprint(other) != fingerprint(HELD)


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("thread", "Thread-3 (work)", "Thread-12 (work)"),
        ("frame", "test_search[1-a]", "test_search[2-b]"),
        ("item", "['/tmp/pytest-of-me/pytest-7/test_a0/x.log']", "['/tmp/pytest-of-ci/popen-gw1/test_a1/x.log']"),
        ("item", "['550e8400-e29b-41d4-a716-446655440000']", "['67e55044-10b1-426f-9247-bb680e5fe0c8']"),
        ("item", "['<attrs generated init shop.Row-1>']", "['<attrs generated init shop.Row-2>']"),
        ("item", "[<Cart object at 0x7f3a9c10>]", "[<Cart object at 0x55d2aab0>]"),
        ("cache", "shop.price (/a/shop.py:3)", "shop.price (/b/c/shop.py:17)"),
        ("cell", "make.<locals>.<listcomp>.seen", "make.seen"),
        ("attribute", ".tb_next x 240", ".tb_next x 17"),
        ("task", "Task-5", "Task-77"),
    ],
)
def test_names_that_differ_from_run_to_run(kind: str, one: str, two: str) -> None:
    """Numbers, addresses, folders, lines, parameters and generated keys are no part of a name."""
    assert fingerprint(path(Hop(kind, one, "list"))) == fingerprint(path(Hop(kind, two, "list")))


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("module", "shop.v1.KEPT", "shop.v2.KEPT"),
        ("attribute", ".sha256", ".sha512"),
        ("item", "['orders']", "['carts']"),
        ("cache", "shop.price (shop.py:3)", "shop.rebate (shop.py:3)"),
    ],
)
def test_names_that_differ_from_place_to_place(kind: str, one: str, two: str) -> None:
    """A number in a name that somebody wrote is part of it."""
    assert fingerprint(path(Hop(kind, one, "list"))) != fingerprint(path(Hop(kind, two, "list")))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("pathlib.PosixPath", "pathlib._local.PosixPath"),
        ("builtins.dict", "dict"),
        ("_contextvars.Context", "contextvars.Context"),
        ("shop.make.<locals>.Row1", "shop.make.<locals>.Row22"),
    ],
)
def test_types_that_are_named_in_two_ways(one: str, two: str) -> None:
    """Versions of Python name some types differently."""
    assert fingerprint(path(Hop("attribute", ".x", one))) == fingerprint(path(Hop("attribute", ".x", two)))


@pytest.mark.parametrize(
    ("one", "two"),
    [("shop.Cart", "shop.Order"), ("shop.Cart", "store.Cart"), ("shop.a.<locals>.Row", "shop.b.<locals>.Row")],
)
def test_types_that_are_two(one: str, two: str) -> None:
    """Classes of one name in two places are two."""
    assert fingerprint(path(Hop("attribute", ".x", one))) != fingerprint(path(Hop("attribute", ".x", two)))


def test_suspects_end_at_what_grows() -> None:
    """Below the first container that grows there is no suspect; where none is marked, all are."""
    unmarked = [replace(hop, suspect=False) for hop in HELD.hops]

    assert suspects(HELD) == (CACHE,)
    assert suspects(path(*unmarked)) == tuple(unmarked[:3])
    assert suspects(path(ROOT, ENTRY)) == (ENTRY,)
    assert suspects(path()) == ()


def test_what_grows_above_the_suspects() -> None:
    """Where the hop above the first suspect grows, what is below it was put into it."""
    variable = Hop("context", "contextvar SPANS", "tuple", 1.0)
    spans = [path(variable, Hop("element", "[...]", kind, suspect=True)) for kind in ("shop.Span", "int")]

    assert suspects(spans[0]) == (variable,)
    assert fingerprint(spans[0]) == fingerprint(spans[1])
    assert fingerprint(path(replace(variable, name="contextvar OTHER"), *spans[0].hops[1:])) != fingerprint(spans[0])


GROWS = Hop("attribute", ".x", "dict", 1.0, suspect=True)


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        ((Hop("module", "shop.catalog", "module"), GROWS), True),
        ((Hop("module", "shop.KEPT", "list", 1.0, suspect=True),), True),
        ((Hop("class", "shop.Model", "type"), GROWS), True),
        ((Hop("thread", "MainThread", "thread"), Hop("local", "work.self", "shop.Worker", suspect=True)), True),
        ((Hop("context", "contextvar SPANS", "tuple", 1.0), Hop("element", "[...]", "int", suspect=True)), True),
        ((Hop("logging", "logger shop", "shop.Logger"), GROWS), True),
        ((Hop("logging", "logger root", "logging.RootLogger"), GROWS), False),
        ((Hop("module", "logging", "module"), GROWS), False),
        ((Hop("module", "linecache.cache", "dict", 1.0, suspect=True),), False),
        ((Hop("native", "C code", "native"), Hop("reference", "...", "method", suspect=True)), False),
        ((Hop("thread", "thread Thread", "thread"), Hop("local", "wait.self", "threading.Event", suspect=True)), False),
        ((Hop("atexit", "atexit", "atexit", 1.0), Hop("reference", "callback", "shop.Close", suspect=True)), False),
        ((), False),
    ],
)
def test_telling(hops: tuple[Hop, ...], expected: bool) -> None:  # noqa: FBT001 - a column
    """A path that goes through Python alone does not say whose the leak is."""
    assert is_telling(path(*hops)) is expected


@given(st.text(max_size=500), st.text(max_size=500))
def test_any_name_has_a_fingerprint(name: str, kind: str) -> None:
    """Whatever an object is called, there is a fingerprint, and the same one again."""
    odd = path(Hop(kind, name, name, suspect=True), Hop("cell", name + "\ud800", name))

    assert fingerprint(odd) == fingerprint(odd)
    assert len(fingerprint(odd)) == 16


def test_another_process() -> None:
    """Another process, whose hashes of text are others, makes the same fingerprint."""
    program = (
        "from pytest_memguard.core.fingerprint import *\n"
        "from pytest_memguard.core.values import *\n"
        "print(fingerprint(RetentionPath((Hop('module', 'shop.KEPT', 'dict', 1.0, True),), '')))\n"
        "print(resource_fingerprint(THREADS, {'a', 'b', 'c', 'd'}, ()))"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(2)]
    here = fingerprint(path(Hop("module", "shop.KEPT", "dict", 1.0, suspect=True)))

    assert runs[0] == runs[1]
    assert runs[0].decode().split()[0] == here


# -- what else there is ----------------------------------------------------------------------------------------------


def test_a_site() -> None:
    """A site is its function and its file: neither line, nor folder, nor which metric of memory saw it."""
    other = Site("C:\\work\\shop\\catalog.py", 99, "Index.search", 1.0, 1.0)

    assert loose_fingerprint(other, HEAP) == loose_fingerprint(SITE, BLOCKS)
    assert loose_fingerprint(replace(SITE, function="Index.add"), BLOCKS) != loose_fingerprint(SITE, BLOCKS)
    assert loose_fingerprint(replace(SITE, file="orders.py"), BLOCKS) != loose_fingerprint(SITE, BLOCKS)
    assert loose_fingerprint(SITE, FDS) != loose_fingerprint(SITE, BLOCKS)


def test_the_chief_site() -> None:
    """The function that keeps most is the chief site, whatever its single lines keep; names decide what is equal."""
    lines = [Site("a.py", 1, "make", 50.0, 1.0), Site("a.py", 9, "use", 60.0, 1.0), Site("a.py", 2, "make", 20.0, 1.0)]
    makers = [Site("a.py", 1, "one", 0.0, 1.0), Site("c.py", 1, "one", 0.0, 2.0), Site("b.py", 1, "one", 0.0, 2.0)]

    assert chief_site(lines) == lines[0]
    assert chief_site(makers) == makers[2]
    assert resource_fingerprint(FDS, (), makers) == loose_fingerprint(makers[2], FDS)


def test_what_tests_have_in_common() -> None:
    """A test is the chief site of its leak only where no other function is."""
    sites = [Site("test_a.py", 1, "TestShop.test_a", 500.0, 9.0), Site("shop.py", 9, "Cart.__init__", 60.0, 1.0)]

    assert chief_site(sites) == sites[1]
    assert chief_site(sites[:1]) == sites[0]


def test_a_comprehension_is_part_of_its_function() -> None:
    """Up to Python 3.11 comprehensions were functions of their own."""
    older = replace(SITE, function="Index.search.<locals>.<listcomp>")

    assert loose_fingerprint(older, BLOCKS) == loose_fingerprint(SITE, BLOCKS)


def test_a_resource() -> None:
    """A resource is told by its maker, else by its names without numbers, in any order and number."""
    of_names = resource_fingerprint(THREADS, ["Thread-1 (work)", "poll"], ())

    assert resource_fingerprint(THREADS, ["x"], [SITE]) == loose_fingerprint(SITE, THREADS)
    assert resource_fingerprint(THREADS, ["poll", "Thread-7 (work)", "Thread-8 (work)"], ()) == of_names
    assert resource_fingerprint(FDS, ["Thread-1 (work)", "poll"], ()) != of_names
    assert resource_fingerprint(THREADS, (), ()) == ""


def test_a_holder() -> None:
    """A holder is told by kind and name; one without a name is none."""
    assert holder_fingerprint(BLOCKS, Holder("unbounded", "shop.price (shop.py:3)")) == holder_fingerprint(
        HEAP, Holder("unbounded", "shop.price (shop.py:30)", grew=2.0)
    )
    assert holder_fingerprint(BLOCKS, Holder("native")) == ""


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (grown(paths=(HELD,), sites=(SITE,)), fingerprint(HELD)),
        (grown(HEAP, paths=(HELD,)), fingerprint(HELD)),
        (grown(paths=(path(),), sites=(SITE,)), loose_fingerprint(SITE, BLOCKS)),
        (grown(paths=(NATIVE,), sites=(SITE,)), loose_fingerprint(SITE, BLOCKS)),
        (grown(paths=(NATIVE,)), fingerprint(NATIVE)),
        (grown(), holder_fingerprint(BLOCKS, Holder("unbounded", "shop.KEPT"))),
        (grown(FDS, paths=(HELD,), names=("a.log",)), resource_fingerprint(FDS, ["a.log"], ())),
        (grown(FDS, sites=(SITE,), names=("a.log",)), loose_fingerprint(SITE, FDS)),
        (grown(FDS), ""),
    ],
    ids=["path", "path of bytes", "site", "path of Python", "nothing better", "holder", "names", "maker", "nothing"],
)
def test_the_best_there_is(finding: Finding, expected: str) -> None:
    """A finding's path comes before its site, and that before the holder; a resource is told by its maker."""
    assert of_finding(finding, Holder("unbounded", "shop.KEPT")) == expected
