"""From the end of a ladder to its verdict: level, score, reason."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core import calibration
from pytest_memguard.core.ladder import Act, Plan, Step, Suspect
from pytest_memguard.core.policies import POLICIES
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    GC_OBJECTS,
    HEAP,
    RSS,
    Holder,
    Level,
    Metric,
    Phase,
    Readings,
    Shape,
    Verdict,
)
from pytest_memguard.core.verdict import holder_kind, judge, length_of, rejudge, score_of

PLAN = Plan(prior=0.02)
UNBOUNDED = Holder("unbounded", "shop.catalog._CACHE")
PLACE = ("full", "exact", "unbounded")


def readings(
    screen: int = 3,
    climb: int = 32,
    confirm: int = 33,
    *,
    metric: Metric = BLOCKS,
    value: Callable[[int], int] = lambda run: 1_000 + run,
) -> Readings:
    """Return readings of one metric, so many of each phase, with the bases of climb and confirmation among them."""
    phases = (Phase.SCREEN,) * screen + (Phase.CLIMB,) * climb + (Phase.CONFIRM,) * confirm
    runs: list[int] = []
    for at, phase in enumerate(phases):
        runs.append(0 if not at else runs[-1] + (phase is phases[at - 1]))
    return Readings((metric,), tuple(runs), phases, array("q", map(value, runs)))


def suspect(
    metric: Metric = BLOCKS, shape: Shape = Shape.EXACT, rate: float = 1.0, *, confirmed: bool = True
) -> Suspect:
    """Return a metric that grew and was confirmed."""
    return Suspect(metric, shape, rate, 62, confirmed)


def stop(end: str, *suspects: Suspect) -> Step:
    """Return a ladder's last answer."""
    return Step(Act.STOP, suspects=suspects, end=end)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Return what replaces the calibrated table: one end, seen in such shares of clean and leaking tests."""

    def use(clean: float, leaking: float) -> None:
        monkeypatch.setattr(calibration, "CLEAN", {PLACE: clean})
        monkeypatch.setattr(calibration, "LEAKING", {PLACE: leaking})

    return use


Table = Callable[[float, float], None]

# -- the score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clean", "leaking", "prior", "score"),
    [
        (0.001, 0.5, 0.02, 91.1),
        (0.0001, 0.5, 0.02, 99.0),
        (0.001, 0.5, 0.002, 50.1),
        (0.5, 0.5, 0.02, 2.0),
        (0.5, 0.0, 0.02, 0.0),
    ],
)
def test_the_formula(table: Table, clean: float, leaking: float, prior: float, score: float) -> None:
    """The score is 100 p B / (p B + 1 - p), B being how much likelier leaking tests end so than clean ones."""
    table(clean, leaking)
    odds = prior * leaking / clean
    actual = score_of(suspect(), readings(), replace(PLAN, prior=prior), UNBOUNDED)

    assert actual == score == round(100 * odds / (odds + 1 - prior), 1)


def test_an_end_that_was_never_counted(table: Table) -> None:
    """An end that the table does not have scores zero."""
    table(0.0001, 0.5)

    assert score_of(suspect(shape=Shape.SLOWING), readings(), PLAN, UNBOUNDED) == 0


def test_growth_that_was_not_confirmed(table: Table) -> None:
    """Without a confirmation the score is 50 at most."""
    table(0.0001, 0.5)

    assert score_of(suspect(confirmed=False), readings(), PLAN, UNBOUNDED) == 50


@pytest.mark.parametrize(("confirm", "length"), [(0, "short"), (10, "short"), (11, "full"), (33, "full")])
def test_length(confirm: int, length: str) -> None:
    """A ladder is short where its confirmation has up to ten readings, as a hurried one has seven."""
    assert length_of(readings(confirm=confirm)) == length


@pytest.mark.parametrize(
    ("metric", "holder", "kind"),
    [
        (BLOCKS, UNBOUNDED, "unbounded"),
        (BLOCKS, Holder("hidden"), "hidden"),
        (BLOCKS, Holder(), "unseen"),
        (FDS, UNBOUNDED, "resource"),
        (HEAP, UNBOUNDED, "sampled"),
    ],
)
def test_holder_kind(metric: Metric, holder: Holder, kind: str) -> None:
    """Resources and sampled counters are classes of their own, whoever the holder of blocks may be."""
    assert holder_kind(suspect(metric), holder) == kind


@pytest.mark.parametrize("length", ["full", "short"])
@pytest.mark.parametrize("shape", [Shape.EXACT, Shape.LINEAR, Shape.LATE], ids=lambda shape: shape.value)
@pytest.mark.parametrize("holder", ["unbounded", "hidden", "native", "resource", "sampled"])
def test_the_table_that_ships(length: str, shape: Shape, holder: str) -> None:
    """The table has an entry for every end that can be confirmed, each a probability above zero."""
    place = (length, shape.value, holder)

    assert 0 < calibration.CLEAN[place] <= 1
    assert 0 < calibration.LEAKING[place] <= 1


# -- the gate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("confidence", "level"), [(91.1, Level.LEAK), (91.2, Level.GROWING)])
def test_both_sides_of_the_threshold(table: Table, confidence: float, level: Level) -> None:
    """Confirmed growth is a leak from the configured score on, and growing below it."""
    table(0.001, 0.5)
    verdict = judge(readings(), replace(PLAN, confidence=confidence), stop("confirmed", suspect()), UNBOUNDED)

    assert (verdict.level, verdict.score, verdict.policy) == (level, 91.1, "calibrated")


@pytest.mark.parametrize(("confirm", "says"), [(7, True), (33, False)])
def test_growth_that_was_cut_short_says_so(confirm: int, says: bool) -> None:  # noqa: FBT001 - drawn
    """What grows for sure, and was followed too shortly to be called a leak, says that and what decides it."""
    plan = replace(PLAN, confidence=99.9999)
    verdict = judge(readings(3, 31, confirm), plan, stop("confirmed", suspect()), UNBOUNDED)

    assert verdict.level is Level.GROWING
    assert verdict.reason.endswith("; cut short, as runs took long: repeated alone it is decided") is says


def test_growth_that_was_not_confirmed_is_no_leak(table: Table) -> None:
    """What was not confirmed is growing, however low the threshold."""
    table(0.0001, 0.5)
    step = stop("growing", suspect(confirmed=False))

    assert judge(readings(), replace(PLAN, confidence=1), step, UNBOUNDED).level is Level.GROWING


def test_the_likeliest_of_several(table: Table) -> None:
    """Of several metrics the one that scores highest decides."""
    table(0.0001, 0.5)
    step = stop("confirmed", suspect(FDS), suspect(BLOCKS))

    assert judge(readings(), PLAN, step, UNBOUNDED).score == 99.0


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_picks_the_gate(table: Table, policy: str) -> None:
    """The configured policy's score is the verdict's, and all the others stand beside it, by name."""
    table(0.001, 0.5)
    verdict = judge(readings(), replace(PLAN, policy=policy), stop("confirmed", suspect()), UNBOUNDED)

    assert [name for name, _ in verdict.policies] == sorted(POLICIES)
    assert (verdict.policy, verdict.score) == (policy, dict(verdict.policies)[policy])


def test_policies_see_the_series(table: Table) -> None:
    """A straight line has a perfect correlation, blocks have no growth in bytes, any is the highest, all the lowest."""
    table(0.001, 0.5)
    scores = dict(judge(readings(), PLAN, stop("confirmed", suspect()), UNBOUNDED).policies)

    assert (scores["correlation"], scores["growth"], scores["calibrated"]) == (100, 0, 91.1)
    assert (scores["any"], scores["all"]) == (100, 0)


def test_policies_see_bytes() -> None:
    """Growth of 10 MiB a reading is all that the policy growth wants."""
    grown = readings(metric=RSS, value=lambda run: run * 10 * 2**20)

    assert dict(judge(grown, PLAN, stop("settled"), Holder()).policies)["growth"] == 100


def test_policies_leave_out_what_is_not_judged() -> None:
    """A metric that the user left out has no say in any policy."""
    plan = replace(PLAN, metrics=("fds",))
    scores = dict(judge(readings(), plan, stop("settled"), Holder()).policies)

    assert set(scores.values()) == {0}


# -- each end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "level"),
    [
        ("clean", Level.CLEAN),
        ("settled", Level.SETTLED),
        ("thawed", Level.SETTLED),
        ("swings", Level.SETTLED),
        ("filled", Level.BOUNDED),
        ("flushed", Level.BOUNDED),
        ("bounded", Level.BOUNDED),
        ("rebound", Level.GROWING),
        ("known", Level.GROWING),
        ("unfollowed", Level.GROWING),
        ("max_runs", Level.GROWING),
        ("growing", Level.GROWING),
    ],
)
def test_each_end_has_its_level(end: str, level: Level) -> None:
    """Each end of a ladder has one level, and a reason."""
    verdict = judge(readings(), PLAN, stop(end, suspect(confirmed=False)), Holder("hidden"))

    assert (verdict.level, bool(verdict.reason)) == (level, True)


@pytest.mark.parametrize(("n", "batch", "repeats"), [(3, 1, 2), (5, 1, 4), (3, 32, 64)])
def test_a_clean_verdict_says_over_how_many_runs(n: int, batch: int, repeats: int) -> None:
    """A clean verdict tells over how many more runs nothing grew, in batches as well."""
    clean = readings(n, 0, 0, value=lambda _: 0)

    assert judge(clean, replace(PLAN, batch=batch), stop("clean"), Holder()) == Verdict(
        Level.CLEAN,
        0,
        f"nothing grew over {repeats} more runs",
        "calibrated",
        tuple((name, 0) for name in sorted(POLICIES)),
    )


def test_clean_verdicts_are_shared() -> None:
    """Ten thousand clean tests have one verdict between them."""
    first, second = (judge(readings(3, 0, 0), PLAN, stop("clean"), Holder()) for _ in range(2))

    assert first is second


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (128, "what grows is shop._SEEN, which holds at most 128"),
        (None, "what grows is shop._SEEN, which has a limit"),
    ],
)
def test_a_bounded_holder_is_named(limit: int | None, reason: str) -> None:
    """A bounded verdict names the holder and its limit, where that is known."""
    verdict = judge(readings(), PLAN, stop("bounded", suspect()), Holder("bounded", "shop._SEEN", limit))

    assert (verdict.level, verdict.score, verdict.reason) == (Level.BOUNDED, 1, reason)


def test_a_known_holder_is_named_with_its_reason() -> None:
    """What a test tool keeps of every run is no leak of what is tested, and is said to be there."""
    verdict = judge(readings(), PLAN, stop("known", suspect()), Holder("known", "tool.SEEN", why="it keeps all"))

    assert (verdict.level, verdict.reason) == (Level.GROWING, "what grows is tool.SEEN: it keeps all")


def test_a_rebound_attribute_is_named() -> None:
    """A chain that the test itself makes is named, and is no leak."""
    verdict = judge(readings(), PLAN, stop("rebound", suspect()), Holder("rebound", "test_shop.price"))

    assert (verdict.level, verdict.score) == (Level.GROWING, 50)
    assert "test_shop.price" in verdict.reason


def test_the_reason_of_a_leak() -> None:
    """A leak's reason tells every confirmed amount with its unit, the shape, the runs and the holder."""
    step = stop("confirmed", suspect(rate=2), suspect(HEAP, Shape.LINEAR, 48.5), suspect(FDS, confirmed=False))

    assert judge(readings(), PLAN, step, UNBOUNDED).reason == (
        "+2 blocks a run, +48.5 B heap a run, exact over 65 more runs, held by shop.catalog._CACHE"
    )


def test_the_reason_of_growth_that_was_not_confirmed() -> None:
    """Where nothing was confirmed, all suspects are told, and a holder that is not unbounded is not blamed."""
    step = stop("growing", suspect(GC_OBJECTS, Shape.LATE, confirmed=False))

    assert judge(readings(), PLAN, step, Holder("hidden")).reason == "+1 gc objects a run, late over 65 more runs"


def test_growth_without_suspects() -> None:
    """An end without suspects still has a reason."""
    verdict = judge(readings(), PLAN, stop("growing"), Holder())

    assert (verdict.level, verdict.score) == (Level.GROWING, 0)
    assert verdict.reason == "it grew, but too little to follow within max_runs"


# -- cut short -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grown", [readings(1, 0, 0), readings(3, 0, 0), readings(3, 1, 0)])
def test_a_failure_before_the_climb(grown: Readings) -> None:
    """A measurement that was cut short in its screen says nothing about memory, but why it ended."""
    step = Step(Act.RUN, suspects=(suspect(confirmed=False),))

    assert judge(grown, PLAN, step, Holder(), "run 3 raised KeyError") == Verdict(
        Level.UNMEASURED, 0, "run 3 raised KeyError", "calibrated"
    )


def test_a_failure_while_it_grew() -> None:
    """A measurement that was cut short while it climbed is growing, undecided."""
    step = Step(Act.RUN, suspects=(suspect(confirmed=False),))
    verdict = judge(readings(3, 2, 0), PLAN, step, Holder(), "over the budget of 30 s after 5 runs")

    assert (verdict.level, verdict.score) == (Level.GROWING, 50)
    assert verdict.reason == "it still grew when this ended: over the budget of 30 s after 5 runs"


def test_a_failure_after_it_had_settled() -> None:
    """A measurement that was cut short with nothing suspected is not measured."""
    assert judge(readings(3, 9, 0), PLAN, Step(Act.RUN), Holder(), "run 9 failed").level is Level.UNMEASURED


@given(st.integers(1, 12), st.booleans())
def test_a_stored_clean_test_is_judged_alike(n: int, curious: bool) -> None:  # noqa: FBT001 - drawn
    """Flat readings that were stored are clean again, or not yet decided and then growing without a score."""
    verdict = rejudge(readings(n, 0, 0, value=lambda _: 7), replace(PLAN, curious=curious), Holder())

    assert verdict.level is (Level.CLEAN if n > PLAN.screen else Level.GROWING)
