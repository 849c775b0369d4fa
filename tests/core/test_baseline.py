"""A baseline is what a session leaks: there and back, sorted, and refused where it is none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_memguard.core.baseline import dumps, from_dict, to_dict
from pytest_memguard.core.compare import compare
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    Estimate,
    Finding,
    Level,
    Metric,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Unit,
    Verdict,
)
from pytest_memguard.errors import DocumentError

OWN = Metric("gpu", Unit.BYTE, exact=True, resource=True)


def grown(name: str, rate: float, metric: Metric = BLOCKS) -> Finding:
    """Return a finding of *rate* a run."""
    return Finding(metric, Trend(Shape.EXACT, Estimate(rate, rate, rate), 33), 9 * rate, name)


def result(name: str, *findings: Finding, level: Level = Level.LEAK) -> SubjectResult:
    """Return the result of a test."""
    full = f"test_shop.py::{name}"
    return SubjectResult(full, "test", Verdict(level, 99.0, "it grew"), 10, file="test_shop.py", findings=findings)


def run(*results: SubjectResult) -> RunResult:
    """Return a session."""
    environment = {"python": "3.13.1", "platform": "Linux-6.1.0-13", "cpu_count": 8, "packages": {"a": "1"}}
    return RunResult("2026-01-02T03:04:05+00:00", 1.0, environment, {"sha": "abc"}, results=results)


SHOP = run(
    result("test_b", grown("bb", 7), grown("", 100.0, HEAP)), result("test_a", grown("bb", 1 / 3), grown("aa", 1, FDS)),
    result("test_c", level=Level.CLEAN), result("test_d", level=Level.SKIPPED), result("test_e", grown("", 2)),
    result("test_f", grown("cc", 2, OWN), level=Level.GROWING),
)  # fmt: skip


def test_whole() -> None:
    """It has leaks by fingerprint with their growth a run, and the number of tests measured; nothing that changes."""
    content = to_dict(SHOP)

    assert content == {
        "schema": "memguard-baseline/1",
        "tool": {"name": "pytest-memguard", "version": "unknown"},
        "saved_at": "2026-01-02T03:04:05+00:00",
        "commit": {"sha": "abc"},
        "environment": {"python": "3.13.1", "platform": "Linux"},
        "files": {"test_shop.py": 5},
        "metrics": {"gpu": {"unit": "byte", "exact": True, "resource": True}},
        "leaks": [
            {
                "fingerprint": "", "text": "it grew", "verdict": "leak",
                "tests": {"test_shop.py::test_e": {"blocks": [2, 2, 2]}},
            },
            {
                "fingerprint": "aa", "text": "it grew", "verdict": "leak",
                "tests": {"test_shop.py::test_a": {"fds": [1, 1, 1]}},
            },
            {
                "fingerprint": "bb", "text": "it grew", "verdict": "leak",
                "tests": {
                    "test_shop.py::test_b": {"blocks": [7, 7, 7]},
                    "test_shop.py::test_a": {"blocks": [0.333333, 0.333333, 0.333333]},
                },
            },
            {
                "fingerprint": "cc", "text": "it grew", "verdict": "growing",
                "tests": {"test_shop.py::test_f": {"gpu": [2, 2, 2]}},
            },
        ],
    }  # fmt: skip


def test_order() -> None:
    """The order in which tests ran does not show."""
    assert dumps(replace(SHOP, results=SHOP.results[::-1])) == dumps(SHOP)


def test_there_and_back() -> None:
    """What is read again has the same leaks, and makes the same baseline but for tests that do not leak."""
    again = from_dict(json.loads(dumps(SHOP)))

    assert compare(again, SHOP).changed == ()
    assert to_dict(again)["leaks"] == to_dict(SHOP)["leaks"]


NAMES = st.text(max_size=5)
FINDINGS = st.builds(grown, st.sampled_from(["", "aa", "bb"]), st.floats(0.001, 1e300), st.sampled_from([BLOCKS, HEAP]))
RESULTS = st.builds(
    lambda name, level, found: result(name, *found, level=level),
    NAMES, st.sampled_from(Level), st.lists(FINDINGS, max_size=3),
)  # fmt: skip


@given(st.lists(RESULTS, max_size=4))
@example([result("", grown("", 2.0)), result("", grown("aa", 1.0))])
def test_any(results: list[SubjectResult]) -> None:
    """No session is worse than its own baseline, nor has it anything new; odd names survive."""
    session = run(*results)

    assert compare(from_dict(json.loads(dumps(session))), session).changed == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "memguard-baseline/2"}, "schema: 'memguard-baseline/2' is not 'memguard-baseline/1'; a newer"),
        ({"schema": "other"}, "schema: 'other' is not 'memguard-baseline/1'; this is not a baseline"),
        ({"files": {"a": "many"}}, "files.a: 'many' is not a whole number"),
        ({"leaks": [{"fingerprint": 7}]}, "leaks[0].fingerprint: 7 is not text"),
        (
            {"leaks": [{"fingerprint": "", "text": "", "verdict": "leak", "tests": {"t": {"odd": [1, 1, 1]}}}]},
            "leaks[0].tests: 'odd' is not among the metrics",
        ),
    ],
)
def test_refused(changes: dict[str, object], message: str) -> None:
    """What is wrong is said, and where."""
    with pytest.raises(DocumentError) as caught:
        from_dict({**to_dict(SHOP), **changes})

    assert str(caught.value).startswith(message)


def test_unknown_place() -> None:
    """A session that does not say where it was made has a baseline all the same."""
    assert to_dict(replace(SHOP, environment={}))["environment"] == {}


def test_not_json() -> None:
    """What JSON does not have is refused when it is written, and where it stands is said."""
    with pytest.raises(DocumentError, match=r"commit\.sha: nan is not a number"):
        dumps(replace(SHOP, commit={"sha": float("nan")}))
