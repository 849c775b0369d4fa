"""A comparison and a history as text: the whole of it."""

from __future__ import annotations

from dataclasses import replace

from pytest_memguard.core.past import CauseTrend, Point
from pytest_memguard.core.values import BLOCKS, FDS, RSS, Change, Comparison, RunResult
from pytest_memguard.renderers import history
from pytest_memguard.renderers.terminal import comparison

BEFORE = RunResult("2026-01-02T03:04:05Z", 1.0, commit={"sha": "a" * 40, "time": "2026-01-01T00:00:00Z"})
AFTER = replace(BEFORE, commit={"sha": "b" * 40, "dirty": True})
NEW = Change("c0ffee", "shop.\x1bOLD", "new", None, 7, BLOCKS, ("t::a", "t::b", "t::c", "t::d"))
CHANGES = (
    NEW,
    replace(NEW, kind="new", verdict="growing", metric=FDS, after=1, results=("t::a",)),
    replace(NEW, kind="new", fingerprint="", after=None, text="it grew", results=()),
    replace(NEW, kind="worse", before=7, after=70, results=("t::a",)),
    Change("", "footprint of serve", "worse", 2**20, 2**22, RSS, ("serve",), "footprint"),
    replace(NEW, kind="known", before=7, results=("t::a",)),
    replace(NEW, kind="gone", before=7, after=None, results=("t::a",)),
)


def test_comparison() -> None:
    """Each change has its kind, growth, fingerprint, holder and tests; notes come last."""
    text = comparison(Comparison(CHANGES, ("mind the\ngap",), BEFORE, AFTER))

    assert text.splitlines() == [
        (
            "memguard: 3 new, 2 worse, 1 known, 1 gone, "
            "from aaaaaaaaaa (2026-01-01) to bbbbbbbbbb with changes (2026-01-02)"
        ),
        "  new    +7 blocks a run  [c0ffee]",
        "         shop.\\x1bOLD",
        "         in t::a, t::b, t::c and 1 more",
        "  new    +1 fd a run, not sure to be a leak  [c0ffee]",
        "         shop.\\x1bOLD",
        "         in t::a",
        "  new    growth that nothing is known of",
        "         it grew",
        "  worse  +7 -> +70 blocks a run  [c0ffee]",
        "         shop.\\x1bOLD",
        "         in t::a",
        "  worse  1.0 MiB -> 4.0 MiB resident memory",
        "         footprint of serve",
        "         in serve",
        "  known  +7 blocks a run  [c0ffee]",
        "         shop.\\x1bOLD",
        "         in t::a",
        "  gone   was +7 blocks a run  [c0ffee]",
        "         shop.\\x1bOLD",
        "         in t::a",
        "note: mind the gap",
    ]


def test_empty() -> None:
    """Nothing in common is not the same as no leak."""
    assert comparison(Comparison((), (), BEFORE, BEFORE)).startswith("memguard: no leak in either, from")
    undecided = Comparison((), (), BEFORE, BEFORE, decided=False)
    assert comparison(undecided).startswith("memguard: nothing that could be compared, from")


def trend(*rates: float | None, **changes: object) -> CauseTrend:
    """Return a trend with these rates."""
    points = tuple(Point(f"2026-01-0{day}", f"{day:040x}", rate) for day, rate in enumerate(rates, 1))
    whole = CauseTrend("c0ffee", "shop.OLD", BLOCKS, points, ("t.py::a b",))
    return replace(whole, **changes)


def test_history() -> None:
    """A cause that is there has its sparkline, the first bad commit, and the lines that find it."""
    points = trend(0.0, None, 1.0, 8.0).points

    text = history.text([trend(0.0, None, 1.0, 8.0, first_bad=points[2], last_good=points[0])], 4)

    assert text.splitlines() == [
        "memguard: 4 commits, 1 cause, 1 still there",
        "  · ▂█  +8 blocks a run  shop.OLD  [c0ffee]",
        (
            "    first bad commit: 0000000000 (2026-01-03); last good: 0000000000 (2026-01-01); "
            "1 commit between not measured"
        ),
        "    in t.py::a b",
        f"    git bisect start {3:040x} {1:040x}",
        (
            "    git bisect run sh -c 'pytest -q '\"'\"'t.py::a b'\"'\"' --memguard --memguard-fail-on=leak; "
            "case $? in 0) exit 0;; 1) exit 1;; *) exit 125;; esac'"
        ),
    ]


def test_history_page() -> None:
    """The page has the chart and the numbers, escapes names, and asks for nothing."""
    odd = trend(0.0, None, 1e-9, text="<script>\x1b", first_bad=Point("2026", "", 1.0))

    page = history.page([odd], 3)

    assert "&lt;script&gt;\\x1b" in page
    assert "<script" not in page
    assert "not measured" in page
    assert "by other metrics" in page
    assert "http://" not in page
    assert "https://" not in page


def test_no_bisect() -> None:
    """What is no commit never reaches a command line."""
    points = trend(0.0, 1.0).points
    evil = replace(points[1], sha="a; rm -rf x")
    dirty = replace(points[1], dirty=True)

    found = [
        history.bisect_lines(trend(first_bad=bad, last_good=good, tests=tests))
        for bad, good, tests in (
            (evil, points[0], ("t::a",)), (dirty, points[0], ("t::a",)), (points[1], None, ("t::a",)),
            (points[1], points[0], ("t.py",)), (points[1], points[0], ("t::a\x1b",)),
        )
    ]  # fmt: skip

    assert found == [[], [], [], [], []]
