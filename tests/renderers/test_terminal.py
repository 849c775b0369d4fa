"""What a terminal shows: a failing test, the end of a session, the line in between."""

from __future__ import annotations

import ast
from array import array
from dataclasses import replace
from math import inf
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.units import Unit
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    METRICS,
    THREADS,
    Control,
    Estimate,
    Finding,
    Holder,
    Hop,
    Level,
    Metric,
    Phase,
    Readings,
    RetentionPath,
    RunResult,
    Shape,
    Site,
    SubjectResult,
    Trend,
    TypeGrowth,
    Verdict,
)
from pytest_memguard.marks import read_no_leak
from pytest_memguard.renderers._words import columns_of
from pytest_memguard.renderers.terminal import failure, plain, short, status, summary

RUNS = (0, 1, 2, 2, 18, 33, 33, 49, 65)
PHASES = (Phase.SCREEN,) * 3 + (Phase.CLIMB,) * 3 + (Phase.CONFIRM,) * 3
HOSTILE = "t.py::\x1b[31mred\x1b[0m\u202egnp\ud800\r\n  x"
HARMLESS = r"t.py::\x1b[31mred\x1b[0m\u202egnp\ud800 x"


def readings(**rates: float) -> Readings:
    """Return a whole ladder of readings that grow by *rates* a run."""
    values = [int(1000 + run * rate) for run in RUNS for rate in rates.values()]
    return Readings(tuple(METRICS[name] for name in rates), RUNS, PHASES, array("q", values))


def finding(metric: Metric, rate: float, shape: Shape = Shape.EXACT, spread: float = 0.0) -> Finding:
    """Return a metric that grows by *rate* a run, give or take *spread*."""
    return Finding(metric, Trend(shape, Estimate(rate, rate - spread, rate + spread), 33), total=rate * 65)


def result(
    *findings: Finding,
    name: str = "tests/test_shop.py::test_search",
    level: Level = Level.LEAK,
    score: float = 99.4,
    reason: str = "it grew",
    holder: Holder = Holder(),  # noqa: B008 - frozen
) -> SubjectResult:
    """Return one test's result after 66 runs."""
    return SubjectResult(name, "test", Verdict(level, score, reason), runs=66, findings=findings, holder=holder)


def session(*results: SubjectResult, repeat_s: float = 3.2, plain_s: float = 1.1) -> RunResult:
    """Return a session of *results*."""
    return RunResult("2026-01-01T00:00:00+00:00", 5.0, results=results, repeat_s=repeat_s, plain_s=plain_s)


def many(level: Level, number: int, reason: str = "because") -> list[SubjectResult]:
    """Return *number* results without findings."""
    return [result(name=f"test_{level.value}.py::test_{at:02}", level=level, reason=reason) for at in range(number)]


def text(block: str) -> str:
    """Return an expected text without the indentation that it has in this file."""
    return dedent(block).strip("\n")


def line_of(label: str, whole: str) -> str:
    """Return what stands behind *label* in a failing test's text."""
    return next(line.removeprefix(label).strip() for line in whole.splitlines() if line.startswith(label))


PYTHON_LEAK = replace(
    result(finding(BLOCKS, 7.0), finding(HEAP, 1126.0), holder=Holder("unbounded", "shop.catalog._CACHE", grew=1.0)),
    readings=readings(blocks=7, heap=1126),
)


# -- a failing test --------------------------------------------------------------------------------------------------


def test_a_python_leak_with_its_holder() -> None:
    """A leak says how sure, how much, what, held by whom, how it was read, how to repeat and how to accept it."""
    actual = failure(PYTHON_LEAK)

    assert actual == text("""
        leak, 99 of 100
        +7 blocks, +1.1 KiB native heap a run, over 65 more runs
        exactly the same amount every run

        grew      blocks of Python memory  +7 a run        +455 in all
                  native heap              +1.1 KiB a run  +71.5 KiB in all
        held by   shop.catalog._CACHE, which has no limit: +1 entry a run

        readings                    blocks  heap
                  screen   2 runs   +14     +2.2 KiB
                  climb    31 runs  +217    +34.1 KiB
                  confirm  32 runs  +224    +35.2 KiB
        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"blocks": "7/run", "heap": "1.1 KiB/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


def test_a_native_leak() -> None:
    """A leak in C code points there, and shows the interval of its estimate."""
    leak = result(finding(HEAP, 4100.4, Shape.LINEAR, spread=90.0), holder=Holder("native"), score=95.0)

    actual = failure(replace(leak, readings=readings(blocks=0, heap=4100)))

    assert actual == text("""
        leak, 95 of 100
        +4.0 KiB native heap a run, over 65 more runs
        in step with the number of runs

        grew      native heap  +4.0 KiB a run  +260.3 KiB in all (3.9 KiB to 4.1 KiB a run)
        held by   nothing that the garbage collector sees has grown: look in C code

        readings                    heap
                  screen   2 runs   +8.0 KiB
                  climb    31 runs  +124.1 KiB
                  confirm  32 runs  +128.1 KiB
        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"heap": "4.1 KiB/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


def test_a_leak_of_descriptors() -> None:
    """A resource is named one by one, and nobody is sent to C code for it."""
    grown = replace(finding(FDS, 1.0), names=("/tmp/a.log", "socket:[4711]", "/tmp/a.log", "p" * 60, "q"))  # noqa: S108

    actual = failure(replace(result(grown, holder=Holder("native")), readings=readings(fds=1)))

    assert actual == text("""
        leak, 99 of 100
        +1 fd a run, over 65 more runs
        exactly the same amount every run

        grew      open file descriptors  +1 a run  +65 in all: /tmp/a.log, socket:[4711] and 2 more
        held by   no Python object: look for what is opened or started, and not closed or joined

        readings                    fds
                  screen   2 runs   +2
                  climb    31 runs  +31
                  confirm  32 runs  +32
        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"fds": "1/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


def test_growth_that_was_cut_short() -> None:
    """Growth that is no leak yet says why it ended, by which policy it was scored, and shows each metric's shape."""
    verdict = Verdict(Level.GROWING, 50.0, "it still grew", policy="points")
    grown = result(finding(BLOCKS, 0.2, Shape.LATE), finding(THREADS, 1.0), holder=Holder("hidden"))

    actual = failure(replace(grown, verdict=verdict, runs=20, stopped="over the budget of 30 s after 20 runs"))

    assert actual == text("""
        growing, 50 of 100 by the policy points
        +0.2 blocks, +1 thread a run, over 19 more runs
        blocks: not evenly, but it does not slow down; threads: exactly the same amount every run
        it ended early: over the budget of 30 s after 20 runs

        grew      blocks of Python memory  +0.2 a run  +13 in all
                  running threads          +1 a run    +65 in all
        held by   objects stay, nothing found keeps them

        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"blocks": "0.2/run", "threads": "1/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


def test_growth_without_a_finding() -> None:
    """Where no metric was followed, the reason says what there is to say."""
    actual = failure(result(level=Level.GROWING, score=50.0, reason="it grew, but too little"))

    assert actual == text("""
        growing, 50 of 100
        it grew, but too little

        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.memguard_skip(reason="...")
    """)


def test_sites_types_paths_and_advice() -> None:
    """What the explanation found is shown, each once, and cut so that all of it fits one screen."""
    sites = tuple(Site(f"/home/{'x' * 60}/catalog.py", line, "price", 512.0, 1.0) for line in (3, 12, 40, 77))
    path = RetentionPath((), "module shop.catalog\n  ._CACHE: dict, +1 entry a run\n    ['a\x1b']: Cart")
    hops = RetentionPath((Hop("module", "shop", "module"), Hop("attribute", "_LOG", "list")), "")
    grown = replace(
        finding(BLOCKS, 7.0),
        sites=sites,
        types=(TypeGrowth("shop.cart.Cart", 1.0, 48.0), TypeGrowth("builtins.dict", 2.0, 464.0)),
        paths=(path, hops),
        advice="Give the cache a limit, or clear it when the shop closes: the keys of a search never come back.",
    )
    leak = replace(PYTHON_LEAK, findings=(grown, replace(grown, metric=HEAP)))

    actual = failure(leak)

    assert actual == text(r"""
        leak, 99 of 100
        +7 blocks, +7 B native heap a run, over 65 more runs
        exactly the same amount every run

        grew      blocks of Python memory  +7 a run    +455 in all
                  native heap              +7 B a run  +455 B in all
        held by   shop.catalog._CACHE, which has no limit: +1 entry a run
        made at   /home/xxxxxxxxxxxxxxxxxxxx...xxxxxxxx/catalog.py:3 price  +512 B, +1 block a run
                  ... and 3 more
        types     shop.cart.Cart  +48 B, +1 object a run
        path      module shop.catalog
                    ._CACHE: dict, +1 entry a run
                      ['a\x1b']: Cart
                  shop -> _LOG
        advice    Give the cache a limit, or clear it when the shop closes: the keys of a search never come
                  back.

        readings                    blocks  heap
                  screen   2 runs   +14     +2.2 KiB
                  climb    31 runs  +217    +34.1 KiB
                  confirm  32 runs  +224    +35.2 KiB
        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"blocks": "7/run", "heap": "7 B/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


def test_a_path_in_full() -> None:
    """Where there is room, a path keeps its lines and their indentation, and one without text lists its hops."""
    path = RetentionPath((), "module shop.catalog\n  ._CACHE: dict\n    ['a\x1b']: Cart")
    hops = RetentionPath((Hop("module", "shop", "module"), Hop("attribute", "_LOG", "list")), "")

    actual = failure(result(replace(finding(BLOCKS, 7.0), paths=(path, hops))))

    assert actual == text(r"""
        leak, 99 of 100
        +7 blocks a run, over 65 more runs
        exactly the same amount every run

        grew      blocks of Python memory  +7 a run  +455 in all
        path      module shop.catalog
                    ._CACHE: dict
                      ['a\x1b']: Cart
                  shop -> _LOG

        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"blocks": "7/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (Holder("bounded", "shop.price", 128, 1.0), "shop.price, at most 128 entries: +1 entry a run"),
        (Holder("bounded", "shop.price", 1, 0.5), "shop.price, at most 1 entry: +0.5 entries a run"),
        (Holder("bounded", "shop.price"), "shop.price, which has a limit"),
        (Holder("unbounded", "a\nb", grew=2.0), "a b, which has no limit: +2 entries a run"),
        (Holder("unbounded", "x" * 99), f"{'x' * 26}...{'x' * 27}, which has no limit"),
    ],
)
def test_holders(holder: Holder, expected: str) -> None:
    """A holder is named with its limit and what it gains."""
    actual = failure(result(finding(BLOCKS, 7.0), holder=holder))

    assert line_of("held by", actual) == expected


@pytest.mark.parametrize("holder", [Holder(), Holder("unbounded"), Holder("looking")])
def test_unknown_holders(holder: Holder) -> None:
    """Where nobody looked, nothing is said."""
    actual = failure(result(finding(BLOCKS, 7.0), holder=holder))

    assert "held by" not in actual


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b"), "a, b"),
        (("a", "b", "c"), "a, b, c"),
        (("a", "b", "c", "d"), "a, b, c and 1 more"),
        (("a" * 99, "b"), f"{'a' * 21}...{'a' * 10} and 1 more"),
        (("a\x1b[2J",), r"a\x1b[2J"),
    ],
)
def test_names_of_resources(names: tuple[str, ...], expected: str) -> None:
    """As many names stand beside a resource as fit its line."""
    actual = failure(result(replace(finding(FDS, 1.0), names=names)))

    assert line_of("grew", actual) == f"open file descriptors  +1 a run  +65 in all: {expected}"


@pytest.mark.parametrize(
    ("name", "rerun", "expected"),
    [
        ("t.py::t[a b]", "", "pytest 't.py::t[a b]' --memguard"),
        ("t.py::t", "tox -- t.py", "tox -- t.py"),
        ("t.py::t", "x" * 91, "pytest t.py::t --memguard"),
        (f"t.py::t[{'x::y' * 19}]", "", f"pytest --memguard \\\n  't.py::t[{'x::y' * 19}]'"),
        (f"t.py::t[{'x::y' * 30}]", "", "pytest t.py::t --memguard"),
        ("t.py::t[\x1b]", "", "pytest t.py::t --memguard"),
        (f"t.py::{'x' * 66}", "", f"pytest t.py::{'x' * 66} --memguard"),
        (f"t.py::{'x' * 67}", "", f"pytest --memguard \\\n  t.py::{'x' * 67}"),
        (f"t.py::{'x' * 82}", "", f"pytest --memguard \\\n  t.py::{'x' * 82}"),
        (f"t.py::TestX::{'x' * 83}", "", "pytest t.py::TestX --memguard"),
        (f"t.py::{'x' * 83}", "", "pytest t.py --memguard"),
        (f"{'d' * 99}.py::t", "", f"pytest {'d' * 36}...{'d' * 27}.py::t --memguard"),
    ],
)
def test_how_to_repeat_it(name: str, rerun: str, expected: str) -> None:
    """The command can be pasted: an id that does not fit gives way to its function, then to its file."""
    whole = failure(result(finding(BLOCKS, 7.0), name=name), rerun=rerun)
    actual = whole[whole.index("repeat") + 10 : whole.index("\naccept")].replace("\n" + " " * 10, "\n")

    assert actual == expected


@given(st.sampled_from([BLOCKS, HEAP, FDS]), st.floats(0.01, 2.0**50), st.floats(0, 1000))
def test_what_is_accepted_covers_the_growth(metric: Metric, rate: float, spread: float) -> None:
    """The marker that is offered is valid, and allows the growth up to the end of its interval."""
    actual = line_of("accept", failure(result(finding(metric, rate, spread=spread))))

    call = ast.parse(actual.removeprefix("@"), mode="eval").body
    assert isinstance(call, ast.Call)
    allowed = read_no_leak((), {"allow": ast.literal_eval(call.keywords[0].value)}, "here").allow
    assert rate + spread <= dict(allowed)[metric.name] <= max(1.0, (rate + spread) * 1.15 + 1)


def test_an_open_interval_is_not_shown() -> None:
    """Too few readings for an interval leave the estimate alone, and the acceptance at the estimate."""
    actual = failure(result(finding(BLOCKS, 2.5, Shape.LINEAR, spread=inf)))

    assert line_of("grew", actual) == "blocks of Python memory  +2.5 a run  +162.5 in all"
    assert line_of("accept", actual) == '@pytest.mark.no_leak(allow={"blocks": "3/run"})'


def test_growth_too_rare_for_a_slope() -> None:
    """Where the median of slopes is zero, the mean over all runs is shown."""
    rare = replace(finding(BLOCKS, 0.0, Shape.LATE), total=13)

    actual = short(result(rare))

    assert actual == "+0.2 blocks a run (leak 99)"


def test_every_metric_at_once() -> None:
    """A test in which everything grows still fits one screen, and its marker is folded between metrics."""
    leak = replace(
        result(*(finding(metric, 37.5) for metric in METRICS.values()), holder=Holder("hidden")),
        readings=readings(**dict.fromkeys(METRICS, 37.0)),
    )

    actual = failure(leak)

    assert actual == text("""
        leak, 99 of 100
        +37.5 blocks, +37.5 objects, +37.5 items and 9 more a run, over 65 more runs
        exactly the same amount every run

        grew      blocks of Python memory  +37.5 a run    +2437.5 in all
                  Python objects           +37.5 a run    +2437.5 in all
                  items in containers      +37.5 a run    +2437.5 in all
                  open file descriptors    +37.5 a run    +2437.5 in all
                  running threads          +37.5 a run    +2437.5 in all
                  child processes          +37.5 a run    +2437.5 in all
                  pending asyncio tasks    +37.5 a run    +2437.5 in all
                  ... and 5 more
        held by   objects stay, nothing found keeps them

        readings                    blocks  objects  items  fds
                  screen   2 runs   +74     +74      +74    +74
                  climb    31 runs  +1147   +1147    +1147  +1147
                  confirm  32 runs  +1184   +1184    +1184  +1184
        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.no_leak(allow={"blocks": "38/run", "gc_objects": "38/run",
                      "container_items": "38/run", "fds": "38/run", "threads": "38/run",
                      "children": "38/run", "tasks": "38/run", "heap": "38 B/run", "mapped": "38 B/run",
                      "rss": "38 B/run", "uss": "38 B/run", "traced": "38 B/run"})
                  or @pytest.mark.memguard_skip(reason="...")
    """)


def test_a_metric_of_a_plugin() -> None:
    """A metric that others add is called by its name, and no marker is offered that would be refused."""
    gpu = Metric("gpu_memory\x1b", Unit.BYTE, exact=True)

    actual = failure(result(finding(gpu, 2048.0)))

    assert actual == text(r"""
        leak, 99 of 100
        +2.0 KiB gpu memory\x1b a run, over 65 more runs
        exactly the same amount every run

        grew      gpu memory\x1b  +2.0 KiB a run  +130.0 KiB in all

        repeat    pytest tests/test_shop.py::test_search --memguard
        accept    @pytest.mark.memguard_skip(reason="...")
    """)


@given(st.text(max_size=300), st.sampled_from([BLOCKS, HEAP, FDS]))
def test_a_screen_is_never_exceeded(outside: str, metric: Metric) -> None:
    """Whatever a test, a file or a holder is called, the text keeps to 24 printable lines of 100 columns."""
    grown = replace(
        finding(metric, 7.0, Shape.LATE, spread=2.0),
        names=(outside, "x", "y", "z"),
        sites=(Site(outside, 1, outside, 1.0, 1.0),) * 2,
        types=(TypeGrowth(outside, 1.0, 1.0),),
        paths=(RetentionPath((), outside),),
        advice=outside,
    )
    leak = result(grown, name=outside, reason=outside, holder=Holder("unbounded", outside))

    lines = failure(replace(leak, stopped=outside), rerun=outside).split("\n")

    assert len(lines) <= 24
    assert all(line.isprintable() for line in lines)
    assert max(map(columns_of, lines)) <= 100


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (PYTHON_LEAK, "+7 blocks, +1.1 KiB heap a run (leak 99)"),
        (result(finding(FDS, 1.0)), "+1 fd a run (leak 99)"),
        (result(level=Level.GROWING, score=50.0, reason="a\nb"), "a b (growing 50)"),
        (
            result(*(finding(metric, 2.0) for metric in METRICS.values())),
            "+2 blocks, +2 objects, +2 items and 9 more a run (leak 99)",
        ),
    ],
)
def test_short(one: SubjectResult, expected: str) -> None:
    """One line says how much and how sure."""
    actual = short(one)

    assert actual == expected


# -- the end of the session ------------------------------------------------------------------------------------------


SESSION = replace(
    session(
        PYTHON_LEAK,
        result(finding(FDS, 1.0), name="tests/test_net.py::test_connect", score=96.0),
        result(finding(BLOCKS, 1.0), name="t.py::test_late", level=Level.GROWING, score=50.0),
        result(name="t.py::test_price", level=Level.BOUNDED, holder=Holder("bounded", "shop.price (shop.py:3)", 128)),
        result(name=f"t.py::test_{'x' * 60}", level=Level.BOUNDED, reason="it grew for some runs, then stopped"),
        result(name="t.py::test_import", level=Level.SETTLED, reason="it grew at first and then stopped"),
        *many(Level.CLEAN, 1200),
        *many(Level.UNMEASURED, 2, "over the budget of 30 s after 12 runs"),
        result(name="t.py::test_once", level=Level.UNMEASURED, reason="not repeatable: run 2 failed"),
        *many(Level.SKIPPED, 2),
    ),
    control={
        "heap": Control(0.0, 640.0),
        "blocks": Control(1.0, 1.0),
        "fds": Control(),
        "gpu_memory": Control(0.0, 2.0),
    },
)


def test_summary() -> None:
    """The end of a session counts the verdicts, names what grows, and says what it cost and what it could not see."""
    actual = summary(SESSION)

    assert actual == text("""
        memguard: 1206 tests checked: 2 leak, 1 growing, 2 bounded, 1 settled, 1200 clean; 3 unmeasured, 2 skipped
          leak 96     +1 fd a run               66 runs  tests/test_net.py::test_connect
          leak 99     +7 blocks, 1.1 KiB a run  66 runs  tests/test_shop.py::test_search
          growing 50  +1 block a run            66 runs  t.py::test_late
        bounded:
          t.py::test_price: shop.price (shop.py:3), at most 128 entries
          t.py::test_xxxxxxxx...xxxxxxxxxxxxxxxxxxx: it grew for some runs, then stopped
        not measured:
          2 tests: over the budget of 30 s after 12 runs
          t.py::test_once: not repeatable: run 2 failed
        repeats took 3.2 s, 2.9 x the plain run
        while an empty test ran: native heap moved by up to 640 B, blocks of Python
          memory grew by 1 a run, gpu_memory moved by up to 2
    """)


def test_summary_in_full() -> None:
    """Verbose, what settled, is bounded or could not be measured is named in full."""
    actual = summary(SESSION, verbosity=1)

    assert actual == text(f"""
        memguard: 1206 tests checked: 2 leak, 1 growing, 2 bounded, 1 settled, 1200 clean; 3 unmeasured, 2 skipped
          leak 96     +1 fd a run               66 runs  tests/test_net.py::test_connect
          leak 99     +7 blocks, 1.1 KiB a run  66 runs  tests/test_shop.py::test_search
          growing 50  +1 block a run            66 runs  t.py::test_late
        bounded:
          t.py::test_price: shop.price (shop.py:3), at most 128 entries
          t.py::test_{"x" * 60}: it grew for some runs, then stopped
        settled:
          t.py::test_import: it grew at first and then stopped
        not measured:
          2 tests: over the budget of 30 s after 12 runs
            test_unmeasured.py::test_00
            test_unmeasured.py::test_01
          t.py::test_once: not repeatable: run 2 failed
        repeats took 3.2 s, 2.9 x the plain run
        while an empty test ran: native heap moved by up to 640 B, blocks of Python
          memory grew by 1 a run, gpu_memory moved by up to 2
    """)


def test_quiet_summary() -> None:
    """Quiet, there are the counts and the leaks, and nothing else."""
    actual = summary(SESSION, verbosity=-1)

    assert actual == text("""
        memguard: 1206 tests checked: 2 leak, 1 growing, 2 bounded, 1 settled, 1200 clean; 3 unmeasured, 2 skipped
          leak 96  +1 fd a run               66 runs  tests/test_net.py::test_connect
          leak 99  +7 blocks, 1.1 KiB a run  66 runs  tests/test_shop.py::test_search
    """)


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_an_empty_session(verbosity: int) -> None:
    """A session without results says nothing."""
    actual = summary(session(), verbosity=verbosity)

    assert actual == ""


def test_nothing_checked() -> None:
    """Where no test could be measured the session says so, unless it is to be quiet."""
    nothing = session(*many(Level.UNMEASURED, 2), *many(Level.SKIPPED, 1), repeat_s=0.0)

    assert summary(nothing, verbosity=-1) == ""
    assert summary(nothing) == text("""
        memguard: no test checked; 2 unmeasured, 1 skipped
        not measured:
          2 tests: because
    """)


def test_one_clean_test() -> None:
    """A clean session is one line and its price; without a plain time there is no ratio."""
    actual = summary(session(*many(Level.CLEAN, 1), plain_s=0.0))

    assert actual == text("""
        memguard: 1 test checked: 1 clean
        repeats took 3.2 s
    """)


def test_other_subjects_than_tests() -> None:
    """Callables are not called tests."""
    callables = [replace(one, kind="callable") for one in many(Level.CLEAN, 2)]

    actual = summary(session(*callables, repeat_s=0.0))

    assert actual == "memguard: 2 callables checked: 2 clean"


def test_thirty_leaks() -> None:
    """Of many leaks the twenty dearest are shown, the dearest first."""
    leaks = [result(finding(HEAP, 1024.0 * at), name=f"t.py::test_{at:02}") for at in range(1, 31)]

    actual = summary(session(*leaks, repeat_s=0.0))

    shown = [f"  leak 99  +{at}.0 KiB heap a run  66 runs  t.py::test_{at:02}" for at in range(30, 10, -1)]
    assert actual.split("\n") == ["memguard: 30 tests checked: 30 leak", *shown, "  ... and 10 more"]


def test_the_dearest_first() -> None:
    """A leak costs what it keeps a run times how sure it is; sizes that see the same bytes count once."""
    mapped = METRICS["mapped"]
    results = [
        result(finding(BLOCKS, 16.0), name="blocks, 1024 bytes"),
        result(finding(HEAP, 1000.0), finding(mapped, 1010.0), name="mapped, 1010 bytes"),
        result(finding(HEAP, 1030.0), name="heap, 1030 bytes"),
        result(finding(FDS, 1.0), name="fd, half sure", level=Level.GROWING, score=50.0),
        result(finding(HEAP, 32800.0), name="heap, 32800 bytes"),
        result(name="nothing known", reason="it grew"),
    ]

    actual = summary(session(*results, repeat_s=0.0))

    assert actual == text("""
        memguard: 6 tests checked: 5 leak, 1 growing
          growing 50  +1 fd a run           66 runs  fd, half sure
          leak 99     +32.0 KiB heap a run  66 runs  heap, 32800 bytes
          leak 99     +1.0 KiB heap a run   66 runs  heap, 1030 bytes
          leak 99     +16 blocks a run      66 runs  blocks, 1024 bytes
          leak 99     +1010 B mapped a run  66 runs  mapped, 1010 bytes
          leak 99     it grew               66 runs  nothing known
    """)


def caused(metric: Metric, rate: float, fingerprint: str) -> Finding:
    """Return a metric that grows by *rate* a run, for the cause *fingerprint*."""
    return replace(finding(metric, rate), fingerprint=fingerprint)


def test_each_cause_of_a_test_is_to_be_accepted() -> None:
    """A test whose blocks and descriptors grow for two causes fails until both are accepted."""
    grown = (caused(BLOCKS, 7.0, "c0ffee"), caused(HEAP, 1126.0, "c0ffee"), caused(FDS, 1.0, "beef"))
    text = failure(result(*grown))

    assert text.endswith(
        '\n          or memguard accept RUN.json c0ffee --reason "..."'
        '\n          and memguard accept RUN.json beef --reason "..."'
    )


CACHE = Holder("unbounded", "shop.catalog._CACHE", grew=1.0)
FOLDED = session(
    *(
        replace(
            result(caused(BLOCKS, 7.0, "c0ffee"), caused(HEAP, 1126.0, "c0ffee"), name=f"t.py::test_{at}", score=at,
                   holder=CACHE),
            first_run_s=1.0 if at < 98 else 0.5,
        )
        for at in (96, 97, 98)
    ),
    result(caused(BLOCKS, 1.0, "feed"), name="t.py::test_alone"),
    replace(
        result(caused(BLOCKS, 7.0, "c0ffee"), name="t.py::test_slow", level=Level.GROWING, score=50.0, holder=CACHE),
        first_run_s=9.0,
    ),
    repeat_s=0.0,
)  # fmt: skip


def test_a_cause_of_several() -> None:
    """Tests that leak for one reason are one line, with their growth together and the cheapest way to see it."""
    actual = summary(FOLDED)

    assert actual == text("""
        memguard: 5 tests checked: 4 leak, 1 growing
          leak 98  +28 blocks, 3.3 KiB a run  4 tests  shop.catalog._CACHE
            repeat  pytest t.py::test_98 --memguard
          leak 99  +1 block a run             66 runs  t.py::test_alone
    """)


def test_a_cause_of_several_in_full() -> None:
    """Verbose, all of its tests are named."""
    actual = summary(FOLDED, verbosity=1)

    assert actual == text("""
        memguard: 5 tests checked: 4 leak, 1 growing
          leak 98  +28 blocks, 3.3 KiB a run  4 tests  shop.catalog._CACHE
            repeat  pytest t.py::test_98 --memguard
            t.py::test_96
            t.py::test_97
            t.py::test_98
            t.py::test_slow
          leak 99  +1 block a run             66 runs  t.py::test_alone
    """)


def test_a_cause_of_several_in_a_quiet_session() -> None:
    """Quiet, only the leaks count, and the line is all there is."""
    actual = summary(FOLDED, verbosity=-1)

    assert actual == text("""
        memguard: 5 tests checked: 4 leak, 1 growing
          leak 98  +21 blocks, 3.3 KiB a run  3 tests  shop.catalog._CACHE
          leak 99  +1 block a run             66 runs  t.py::test_alone
    """)


def test_fifty_tests_of_one_cause() -> None:
    """However many tests leak for one reason, the summary is as long."""
    leaks = [result(caused(BLOCKS, 1.0, "aa"), name=f"t.py::test_{at:02}", holder=CACHE) for at in range(50)]

    actual = summary(session(*leaks, repeat_s=0.0))

    assert actual == text("""
        memguard: 50 tests checked: 50 leak
          leak 99  +50 blocks a run  50 tests  shop.catalog._CACHE
            repeat  pytest t.py::test_00 --memguard
    """)


def test_a_test_with_a_cause_of_its_own_as_well() -> None:
    """A test that leaks for a second reason keeps its own line; one of which nothing is known too."""
    shared = replace(caused(FDS, 1.0, "aa"), names=("/tmp/a.log",))  # noqa: S108
    leaks = [
        result(shared, name="t.py::test_a"),
        result(shared, finding(HEAP, 1.0), name="t.py::test_b"),
        result(shared, caused(HEAP, 2048.0, "bb"), name="t.py::test_c"),
        result(finding(HEAP, 512.0), name="t.py::test_d"),
    ]

    actual = summary(session(*leaks, repeat_s=0.0))

    assert actual == text("""
        memguard: 4 tests checked: 4 leak
          leak 99  +3 fds a run          3 tests  /tmp/a.log
            repeat  pytest t.py::test_a --memguard
          leak 99  +1 fd, 2.0 KiB a run  66 runs  t.py::test_c
          leak 99  +512 B heap a run     66 runs  t.py::test_d
    """)


def test_a_cause_of_several_subjects() -> None:
    """Callables have no command, and are not called tests."""
    leaks = [replace(result(caused(BLOCKS, 1.0, "aa"), name=name, holder=CACHE), kind="callable") for name in "ab"]

    actual = summary(session(*leaks, repeat_s=0.0))

    assert actual == text("""
        memguard: 2 callables checked: 2 leak
          leak 99  +2 blocks a run  2 callables  shop.catalog._CACHE
    """)


def test_a_command_that_does_not_fit() -> None:
    """A name that is too long for one line is repeated with its class or file."""
    leaks = [result(caused(BLOCKS, 1.0, "aa"), name=f"t.py::Test{at}::test_{'x' * 80}", holder=CACHE) for at in "ab"]

    actual = summary(session(*leaks, repeat_s=0.0))

    assert actual.endswith("\n    repeat  pytest t.py::Testa --memguard")


def test_many_bounded() -> None:
    """Of many bounded tests ten are named, and all of them where the session is verbose."""
    crowd = session(*many(Level.BOUNDED, 12), repeat_s=0.0)
    named = [f"  test_bounded.py::test_{at:02}: because" for at in range(12)]
    counts = "memguard: 12 tests checked: 12 bounded"

    assert summary(crowd).split("\n") == [counts, "bounded:", *named[:10], "  ... and 2 more"]
    assert summary(crowd, verbosity=1).split("\n") == [counts, "bounded:", *named]


def test_many_reasons() -> None:
    """What was not measured is grouped by reason, the commonest five first, or all of them."""
    groups = [many(Level.UNMEASURED, number, f"reason {number}") for number in range(2, 9)]
    crowd = session(*(one for group in groups for one in group), repeat_s=0.0)

    assert summary(crowd) == text("""
        memguard: no test checked; 35 unmeasured
        not measured:
          8 tests: reason 8
          7 tests: reason 7
          6 tests: reason 6
          5 tests: reason 5
          4 tests: reason 4
          ... and 2 more reasons
    """)
    assert [line for line in summary(crowd, verbosity=1).split("\n") if line.startswith("  2 tests")] == [
        "  2 tests: reason 2"
    ]


def test_hostile_names() -> None:
    """No id, reason or holder can move the cursor, break a line or fail to be encoded."""
    levels = (Level.LEAK, Level.BOUNDED, Level.SETTLED, Level.UNMEASURED)
    results = [result(name=HOSTILE, level=level, reason="a\x9b\u2028b") for level in levels]

    actual = summary(session(*results, repeat_s=0.0), verbosity=1)

    assert actual.encode("ascii").decode() == text(rf"""
        memguard: 3 tests checked: 1 leak, 1 bounded, 1 settled; 1 unmeasured
          leak 99  a\x9b\u2028b  66 runs  {HARMLESS}
        bounded:
          {HARMLESS}: a\x9b\u2028b
        settled:
          {HARMLESS}: a\x9b\u2028b
        not measured:
          {HARMLESS}: a\x9b\u2028b
    """)


@given(st.lists(st.tuples(st.text(max_size=120), st.text(max_size=120), st.sampled_from(Level)), max_size=9))
def test_the_width_of_the_terminal_is_kept(outside: list[tuple[str, str, Level]]) -> None:
    """Whatever tests, reasons and holders are called, no line below the counts is wider than the terminal."""
    results = [result(name=name, reason=reason, level=level) for name, reason, level in outside]
    shared = [
        result(caused(BLOCKS, 7.0, "aa"), name=name, level=level, holder=Holder("unbounded", reason))
        for name, reason, level in outside
    ]

    for lines in (summary(session(*results)).split("\n"), summary(session(*shared)).split("\n")):
        assert all(line.isprintable() and columns_of(line) <= 80 for line in lines[1:])


# -- the line in between, and plain text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("test_x.py::test_y", 79, "memguard: test_x.py::test_y: climb, run 17"),
        ("test_x.py::test_y", 42, "memguard: test_x.py::test_y: climb, run 17"),
        ("test_x.py::test_y", 41, "memguard: test_x...:test_y: climb, run 17"),
        ("t\x1b[2K\ny", 79, r"memguard: t\x1b[2K y: climb, run 17"),
        ("test_x.py::test_y", 20, "memguard: te...t_y: "),
    ],
)
def test_status(name: str, width: int, expected: str) -> None:
    """One line says which test is on which rung, cut to the terminal."""
    actual = status(name, 17, Phase.CLIMB, width=width)

    assert actual == expected


@pytest.mark.parametrize(
    ("outside", "expected"),
    [
        ("", ""),
        ("test_x[a  b]", "test_x[a  b]"),
        ("C:\\x", "C:\\x"),
        ("gr\u00fc\u00df", "gr\u00fc\u00df"),
        ("a\r\n\n  b\tc", "a b c"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("a\x85b\u2029c", r"a\x85b\u2029c"),
    ],
)
def test_plain(outside: str, expected: str) -> None:
    """Text from outside comes out on one line, and what does not simply print comes out escaped."""
    actual = plain(outside)

    assert actual == expected


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_plain_text_can_always_be_printed(outside: str) -> None:
    """Any text, lone surrogates included, becomes printable and can be encoded; and stays as it then is."""
    actual = plain(outside)

    assert actual.isprintable()
    assert actual.encode("utf-8").decode("utf-8") == plain(actual)
