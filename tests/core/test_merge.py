"""Sessions of one commit are made one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.core.merge import merge
from pytest_memguard.core.values import Control, Level, RunResult, SubjectResult, Verdict
from pytest_memguard.errors import DocumentError


def run(number: int, python: str = "3.13.1", sha: str = "abc", seconds: float = 1.0) -> RunResult:
    """Return a session with one result."""
    result = SubjectResult(f"test_shop.py::test_{number}", "test", Verdict(Level.CLEAN, 0.0, "nothing grew"))
    commit: dict[str, Any] | None = {"sha": sha} if sha else None
    environment = {"python": python, "platform": "Linux-6"}
    control = {"blocks": Control(float(number))}
    return RunResult(f"2026-01-0{number}", seconds, environment, commit, {}, control, (result,), seconds, seconds)


def test_shards() -> None:
    """Results stand one after the other; the session began with the first and took as long as the longest."""
    merged = merge([run(2, seconds=3.0), run(1, sha="")])

    assert [one.id[-1] for one in merged.results] == ["2", "1"]
    assert (merged.started_at, merged.duration_s, merged.repeat_s) == ("2026-01-01", 3.0, 4.0)
    assert merged.environment == {"python": "3.13.1", "platform": "Linux-6"}
    assert merged.commit == {"sha": "abc"}


def test_matrix() -> None:
    """Of several environments all keys are told."""
    merged = merge([run(1), run(2, "3.12.4"), run(3, "3.12.9")])

    assert merged.environment == {"python": "3.13.1", "platform": "Linux-6", "merged": ["linux-cp312", "linux-cp313"]}


def test_refused() -> None:
    """Two commits are to be compared, and the same shard twice is a mistake."""
    with pytest.raises(DocumentError, match="different commits, abc and def; compare them instead"):
        merge([run(1), run(2, sha="def")])
    with pytest.raises(DocumentError, match="the session of 2026-01-01 is there twice"):
        merge([run(1), run(1)])


#: Seconds that floats add exactly, in any order.
RUNS = st.builds(
    run, st.just(1), st.sampled_from(["3.12", "3.13", "3.14"]), st.sampled_from(["", "abc"]), st.integers(1, 99)
)


@given(st.tuples(RUNS, RUNS, RUNS))
def test_associative(runs: tuple[RunResult, RunResult, RunResult]) -> None:
    """It is no matter what is merged first."""
    one, two, three = (_numbered(each, number) for number, each in enumerate(runs, 1))

    assert merge([merge([one, two]), three]) == merge([one, merge([two, three])]) == merge([one, two, three])


def _numbered(each: RunResult, number: int) -> RunResult:
    sha = (each.commit or {}).get("sha", "")
    return run(number, each.environment["python"], sha, each.repeat_s)
