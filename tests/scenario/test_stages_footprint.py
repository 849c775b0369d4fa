"""Footprints: their file, and what counts as a change."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_memguard.errors import DocumentError
from pytest_memguard.scenario.footprint import (
    Footprint,
    Range,
    Step,
    compare,
    dumps,
    from_dict,
)

MIB = 2**20


def footprint(**after: float | tuple[float, float, float]) -> Footprint:
    """Return a footprint of one step; an amount alone is that of every run."""
    ranges = {
        name: Range(*given) if isinstance(given, tuple) else Range(given, given, given) for name, given in after.items()
    }
    environment = {"python": "3.13.0", "platform": "Linux-6.1", "machine": "x86_64", "libc": "glibc2.36"}
    return Footprint("shop", "0123", 3, (Step("idle", ranges),), "2026-01-02T03:04:05+00:00", "1.2.3", environment)


def kinds(before: Footprint, after: Footprint) -> list[str]:
    """Return the kind of each change."""
    return [change.kind for change in compare(before, after).changes]


def test_file_is_the_same_footprint_again() -> None:
    """What was written is read as it was; of the platform only its name stays."""
    saved = footprint(rss=(30e6, 29e6, 31e6), blocks=1000)
    read = from_dict(json.loads(dumps(saved)))

    assert read == replace(saved, environment={**saved.environment, "platform": "Linux"})
    assert read.key == saved.key == "linux-x86_64-cp313-glibc2.36"


def test_file_has_one_amount_a_line() -> None:
    """The file is read in a pull request: each amount is a line of its own."""
    assert '    "rss": [30000000, 29000000, 31000000]' in dumps(footprint(rss=(30e6, 29e6, 31e6))).splitlines()


def test_file_of_a_usual_scenario_is_small() -> None:
    """Seven steps with all amounts take less than 4 KiB."""
    after = footprint(rss=3e7, uss=3e7, heap=9e6, blocks=2e5, fds=12, threads=3, kept=1e6, kept_blocks=2e3)
    steps = tuple(replace(after.steps[0], name=f"GET /api/route-{number}") for number in range(7))

    assert len(dumps(replace(after, steps=steps))) < 4096


@pytest.mark.parametrize(
    ("metric", "before", "same", "worse"),
    [
        ("rss", 100 * MIB, 110 * MIB - 1, 110 * MIB),
        ("rss", 1 * MIB, 2 * MIB - 1, 2 * MIB),
        ("uss", 100 * MIB, 110 * MIB - 1, 110 * MIB),
        ("heap", 100 * MIB, 105 * MIB - 1, 105 * MIB),
        ("heap", 1 * MIB, MIB + 2**18 - 1, MIB + 2**18),
        ("blocks", 100_000, 104_999, 105_000),
        ("blocks", 1000, 1999, 2000),
        ("kept", 0, 2**14 - 1, 2**14),
        ("kept", MIB, 1.1 * MIB - 1, 1.1 * MIB + 1),
        ("kept_blocks", 10, 209, 210),
        ("fds", 12, 12, 13),
        ("threads", 3, 3, 4),
    ],
)
def test_change_is_one_from_both_limits_on(metric: str, before: float, same: float, worse: float) -> None:
    """An amount is worse from its share and its least amount on, and better the other way round."""
    was = footprint(**{metric: before})

    assert kinds(was, footprint(**{metric: same})) == ["known"]
    assert kinds(was, footprint(**{metric: worse})) == ["worse"]


def test_less_is_better() -> None:
    """What takes less is told as well."""
    assert kinds(footprint(rss=100 * MIB), footprint(rss=50 * MIB)) == ["better"]


def test_ranges_that_overlap_are_no_change() -> None:
    """As long as one run of either could have been one of the other, nothing has changed."""
    before = footprint(rss=(100 * MIB, 90 * MIB, 130 * MIB))

    assert kinds(before, footprint(rss=(150 * MIB, 130 * MIB, 160 * MIB))) == ["known"]
    assert kinds(before, footprint(rss=(150 * MIB, 131 * MIB, 160 * MIB))) == ["worse"]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"scenario": "bank"}, "it is of the scenario 'bank', and this is 'shop'"),
        ({"hash": "4567"}, "the scenario has changed since (its hash was 4567, and is 0123)"),
        ({"environment": {"python": "3.12.1"}}, "it is of another environment (cp312, and this is"),
    ],
)
def test_what_differs_in_kind_is_refused(other: dict[str, object], why: str) -> None:
    """Another scenario, another load, another environment: the reason is told, and nothing is compared."""
    now = footprint(rss=1)
    found = compare(replace(now, **other), now)  # type: ignore[arg-type] # fields by name

    assert found.refused.startswith(why)
    assert found.changes == ()


def test_steps_that_only_one_has_are_told() -> None:
    """A step that came or went is not compared, and not passed over."""
    before, after = footprint(rss=1), footprint(rss=1)
    found = compare(before, replace(after, steps=(Step("import", {}),)))

    assert found.changes == ()
    assert found.notes == ("steps that are no longer there: idle", "steps that are new: import")


def test_single_run_is_told() -> None:
    """A spread that is not known is not taken for none in silence."""
    assert compare(replace(footprint(rss=1), runs=1), footprint(rss=1)).notes == (
        "one of the two was measured once only, so its spread is not known",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "schema: None is not 'memguard-footprint/1'; this is no footprint; `memguard baseline` makes one"),
        ({"schema": "memguard-footprint/2"}, "a newer pytest-memguard wrote it; update"),
        ({"schema": "memguard-footprint/1"}, "tool: missing"),
        ([], "the document: [] is not"),
    ],
)
def test_other_content_is_refused(content: object, message: str) -> None:
    """What is no footprint is refused with the place."""
    with pytest.raises(DocumentError) as caught:
        from_dict(content)
    assert message in str(caught.value)
