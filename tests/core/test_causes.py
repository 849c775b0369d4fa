"""Results are folded into causes."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from pytest_memguard.core.causes import causes, cheapest, expected_loss, growth_of, loss_of, rate_of
from pytest_memguard.core.fingerprint import of_finding
from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    MAPPED,
    THREADS,
    Estimate,
    Finding,
    Holder,
    Hop,
    Level,
    Metric,
    RetentionPath,
    Shape,
    Site,
    SubjectResult,
    Trend,
    Verdict,
)

KEPT = Holder("unbounded", "shop.catalog._CACHE", grew=1.0)
SITE = Site("shop/net.py", 12, "Client.connect", 0.0, 1.0)
PATH = RetentionPath(
    (
        Hop("module", "shop.INDEX", "shop.Index"),
        Hop("attribute", ".seen", "dict", 1.0, suspect=True),
        Hop("item", "['x']", "int", suspect=True),
    ),
    "x",
)
NATIVE = RetentionPath(
    (Hop("native", "C code", "native"), Hop("reference", "...", "method", suspect=True)),
    "x",
)


def grown(metric: Metric, rate: float, name: str = "aa", **changes: object) -> Finding:
    """Return a finding of *rate* a run with the fingerprint *name*."""
    finding = Finding(metric, Trend(Shape.EXACT, Estimate(rate, rate, rate), 9), rate * 9, fingerprint=name)
    return replace(finding, **changes)


def result(name: str, *findings: Finding, level: Level = Level.LEAK, **changes: object) -> SubjectResult:
    """Return the result of a test that leaks with a score of 50."""
    full = SubjectResult(
        f"test_shop.py::{name}", "test", Verdict(level, 50.0, "it grew"), runs=10, first_run_s=0.1, findings=findings,
        holder=KEPT,
    )  # fmt: skip
    return replace(full, **changes)


def test_nothing() -> None:
    """No results have no cause."""
    assert causes(()) == ()


def test_fifty_tests_that_leak_through_one_cache() -> None:
    """They are one cause: how many, how much together, and how the cheapest is repeated."""
    results = [
        result(f"test_{at:02}", grown(BLOCKS, 2.0), grown(HEAP, 100.0), first_run_s=1.0 - at / 100) for at in range(50)
    ]
    (cause,) = causes(results)

    assert cause.text == "shop.catalog._CACHE"
    assert cause.results == tuple(one.id for one in results)
    assert cause.growth == ((HEAP, 5000.0), (BLOCKS, 100.0))
    assert (cause.metric, cause.per_run) == (HEAP, 5000.0)
    assert cause.reproducer == "pytest test_shop.py::test_49 --memguard"
    assert cause.loss_bytes == 0.5 * (5000 + 64 * 100)


@pytest.mark.parametrize("level", list(Level))
def test_only_what_leaks_or_grows(level: Level) -> None:
    """Growth that stopped, or has a limit, has no cause."""
    assert len(causes([result("test_a", grown(BLOCKS, 1.0), level=level)])) == (level in (Level.LEAK, Level.GROWING))


def test_what_is_not_known_is_no_cause() -> None:
    """Two tests of whose growth nothing is known need not leak for one reason."""
    assert causes([result(name, grown(BLOCKS, 1.0, "")) for name in ("test_a", "test_b")]) == ()


def test_two_causes_of_one_test() -> None:
    """A test may leak in two places, and each may be shared with others."""
    first = result("test_a", grown(BLOCKS, 1.0, "aa"), grown(HEAP, 10.0, "bb"))
    second = result("test_b", grown(BLOCKS, 5.0, "aa"))
    found = causes([first, second])

    assert [(one.fingerprint, one.results) for one in found] == [("aa", (first.id, second.id)), ("bb", (first.id,))]


def test_resources_come_first_then_the_dearest() -> None:
    """Descriptors and threads run out long before memory does; among the rest bytes count."""
    names = [
        one.fingerprint
        for one in causes(
            [
                result("test_a", grown(BLOCKS, 2.0, "blocks")),
                result("test_b", grown(HEAP, 1e9, "gigabyte")),
                result("test_c", grown(FDS, 1.0, "fd")),
                result("test_d", grown(THREADS, 2.0, "threads")),
                result("test_e", grown(BLOCKS, 2.0, "also blocks")),
            ]
        )
    ]

    assert names == ["threads", "fd", "gigabyte", "also blocks", "blocks"]


def test_a_test_that_was_measured_twice() -> None:
    """A test of two workers or shards is named once, and counts as often as it was measured."""
    (cause,) = causes([result("test_a", grown(BLOCKS, 1.0))] * 2 + [result("test_a", grown(BLOCKS, 1.0))])

    assert cause.results == ("test_shop.py::test_a",)


def test_the_order_of_results_does_not_matter() -> None:
    """Workers send their results in any order; text and command do not depend on it."""
    one = result("test_a", grown(BLOCKS, 1.0), holder=Holder("unbounded", "shop.A"))
    two = result("test_b", grown(BLOCKS, 1.0), holder=Holder("unbounded", "shop.B"))
    there, back = causes([one, two])[0], causes([two, one])[0]

    assert replace(back, results=there.results) == there
    assert there.text == "shop.A"


@pytest.mark.parametrize(
    ("finding", "holder", "expected"),
    [
        (grown(BLOCKS, 1.0, paths=(PATH,)), KEPT, "shop.catalog._CACHE"),
        (grown(BLOCKS, 1.0, paths=(PATH,)), Holder("hidden"), "shop.INDEX.seen"),
        (grown(BLOCKS, 1.0, paths=(NATIVE,), sites=(SITE,)), Holder(), "allocated in Client.connect (shop/net.py:12)"),
        (grown(BLOCKS, 1.0, paths=(NATIVE,)), Holder(), "C code -> ..."),
        (grown(BLOCKS, 1.0, sites=(SITE,)), Holder("native"), "allocated in Client.connect (shop/net.py:12)"),
        (grown(BLOCKS, 1.0), Holder("rebound", "test_a.value"), "test_a.value"),
        (grown(BLOCKS, 1.0), Holder(), "it grew"),
        (grown(FDS, 1.0, sites=(SITE,)), KEPT, "opened in Client.connect (shop/net.py:12)"),
        (grown(THREADS, 1.0, sites=(SITE,)), KEPT, "started in Client.connect (shop/net.py:12)"),
        (grown(FDS, 1.0, names=("a", "a", "b", "c")), KEPT, "a"),
    ],
)
def test_text(finding: Finding, holder: Holder, expected: str) -> None:
    """A cause is called by its holder, path, site or names; a resource never by the holder of something else."""
    (cause,) = causes([result("test_a", finding, holder=holder)])

    assert cause.text == expected


def test_text_of_a_path_with_other_edges() -> None:
    """Where names do not make one expression, an arrow stands between them."""
    path = RetentionPath(
        (Hop("thread", "Thread-1", "threading.Thread"), Hop("frame", "work", "frame"), Hop("item", "['x']", "list", 1)),
        "",
    )
    (cause,) = causes([result("test_a", grown(BLOCKS, 1.0, paths=(path,)), holder=Holder())])

    assert cause.text == "Thread-1 -> work['x']"


def test_the_cheapest() -> None:
    """A test comes before what cannot be chosen by its id; then time counts, then the name."""
    one, two = result("test_a"), result("test_b", first_run_s=0.01)

    assert cheapest([one, two]) is two
    assert cheapest([replace(two, kind="callable"), one]) is one
    assert cheapest([result("test_b"), one]) is one


def test_only_tests_can_be_repeated_by_their_id() -> None:
    """There is no command for a callable; ids that a shell would read otherwise are quoted."""
    (without,) = causes([result("test_a", grown(BLOCKS, 1.0), kind="callable")])
    (quoted,) = causes([result("test_a[x y]", grown(BLOCKS, 1.0))])

    assert without.reproducer == ""
    assert quoted.reproducer == "pytest 'test_shop.py::test_a[x y]' --memguard"


def test_tests_and_services_with_one_cause() -> None:
    """Growth a run and growth a request do not add up: the tests tell it, and all of them are named."""
    service = replace(result("shop", grown(HEAP, 500.0)), kind="scenario", id="shop", file="shop.toml")
    (cause,) = causes([service, result("test_a", grown(HEAP, 100.0)), result("test_b", grown(HEAP, 20.0))])

    assert (cause.x_unit, cause.growth) == ("run", ((HEAP, 120.0),))
    assert cause.results == ("shop", "test_shop.py::test_a", "test_shop.py::test_b")
    assert cause.loss_bytes == 60.0


def test_processes_of_one_service_add_up() -> None:
    """Two workers that leak the same lose both amounts with each request."""
    service = replace(result("shop", grown(HEAP, 500.0), grown(HEAP, 300.0)), kind="scenario", file="a b.toml")
    (cause,) = causes([service])

    assert (cause.x_unit, cause.growth, cause.loss_bytes) == ("request", ((HEAP, 800.0),), 400.0)
    assert cause.reproducer == "memguard soak 'a b.toml'"
    assert growth_of(service) == ((HEAP, 800.0),)


def test_rates_of_what_has_no_slope() -> None:
    """Growth that came too rarely for a slope is its mean over the runs, the requests or the seconds."""
    late = replace(grown(HEAP, 0.0), total=900.0)
    test = result("test_a", late)

    assert rate_of(late, test) == 100.0
    assert rate_of(late, replace(test, kind="scenario")) == 90.0
    assert rate_of(late, replace(test, kind="scenario", runs=0, duration_s=450.0)) == 2.0
    assert rate_of(late, replace(test, kind="process", duration_s=450.0)) == 2.0


def test_loss() -> None:
    """Sizes that see the same bytes count once; objects and resources have a price."""
    assert loss_of({HEAP: 100.0, MAPPED: 90.0, BLOCKS: 1.0, FDS: 1.0}) == 100 + 64 + 65536
    assert loss_of({}) == 0
    assert expected_loss(result("test_a", grown(HEAP, 100.0), grown(BLOCKS, 1.0))) == 82.0
    assert expected_loss(result("test_a")) == 0


def test_rate() -> None:
    """Growth that comes too rarely for a slope is told by its mean."""
    rare = grown(BLOCKS, 0.0, total=18.0)

    assert rate_of(rare, result("test_a", rare)) == 2.0
    assert rate_of(grown(BLOCKS, 3.0, total=18.0), result("test_a")) == 3.0


def test_numbers_beyond_all_bounds() -> None:
    """Sums of what a document may hold stay numbers that a document can hold."""
    mine = Metric("gpu", Unit.BYTE, exact=True)
    huge = [result(f"test_{at}", grown(mine, 1.7e308), grown(FDS, 1e308)) for at in range(3)]
    (cause,) = causes([*huge, result("test_x", grown(FDS, 2**80), level=Level.GROWING)])

    assert all(0 < rate < inf for _, rate in cause.growth)
    assert 0 < cause.loss_bytes < inf
    assert 0 < expected_loss(huge[0]) < inf


def test_fingerprints_fold() -> None:
    """Two tests that put different things into one container have one cause."""
    entries = (Hop("item", f"['{key}']", kind, suspect=True) for key, kind in (("a 1", "int"), ("b", "shop.Cart")))
    paths = [RetentionPath((*PATH.hops[:2], entry), "") for entry in entries]
    findings = [grown(BLOCKS, 1.0, paths=(path,)) for path in paths]
    results = [
        result(f"test_{at}", replace(finding, fingerprint=of_finding(finding, KEPT)))
        for at, finding in enumerate(findings)
    ]

    assert [len(cause.results) for cause in causes(results)] == [2]
