"""Many sessions become one trend a cause."""

from __future__ import annotations

import pytest

from pytest_memguard.core.past import CauseTrend, Past, PastLeak, since, sortable, trends

NUMBERS = {"test_a.py::test_x": 1, "test_a.py": 2}
BOTH = frozenset({1})


def past(day: int, rate: float | None = None, *, measured: frozenset[int] = BOTH, **more: object) -> Past:
    """Return the session of a day, with a leak of *rate*."""
    leak = PastLeak("aa", "shop.OLD", "leak", {"blocks": rate or 0.0}, ("test_a.py::test_x",))
    fields = {"sha": f"{day:08x}", "measured": measured, "leaks": () if rate is None else (leak,), **more}
    return Past(f"2026-01-{day:02}T00:00:00", **fields)  # type: ignore[arg-type]


def trend(*sessions: Past) -> CauseTrend:
    """Return the only trend."""
    (found,) = trends(sessions, NUMBERS)
    return found


@pytest.mark.parametrize(
    ("rates", "bad", "good"),
    [
        ([None, 1.0, 1.0], 2, 1),
        ([1.0, 1.0], 1, None),  # from the start
        ([1.0, None, 2.0], 3, 2),  # it came back
        ([None, 1.0, None], None, None),  # gone
    ],
)
def test_first_bad(rates: list[float | None], bad: int | None, good: int | None) -> None:
    """The first bad commit is that of the growth that is still there."""
    found = trend(*(past(day, rate) for day, rate in enumerate(rates, 1)))

    assert found.first_bad == (found.points[bad - 1] if bad else None)
    assert found.last_good == (found.points[good - 1] if good else None)
    assert found.is_there is (bad is not None)


def test_not_measured() -> None:
    """A commit at which its tests were not measured is neither good nor bad."""
    found = trend(past(1), past(2, measured=frozenset()), past(3, 1.0), past(4, measured=frozenset()))

    assert [point.per_run for point in found.points] == [0.0, None, 1.0, None]
    assert (found.first_bad, found.last_good) == (found.points[2], found.points[0])


def test_file_of_a_baseline() -> None:
    """A baseline knows files only; its leaks are seen by them."""
    found = trend(past(1, measured=frozenset({2})), past(2, 1.0))

    assert found.points[0].per_run == 0.0


def test_one_commit() -> None:
    """Sessions of one commit are one point, that of the largest growth; changes to it are another."""
    same = past(1, 2.0)

    found = trend(same, past(1, 5.0, environment="other"), past(1, 9.0, dirty=True))

    assert [(point.per_run, point.label) for point in found.points] == [(5.0, "00000001"), (9.0, "00000001*")]


def test_seen_by_another_metric() -> None:
    """Growth is there, even if it is not told by the metric that is shown."""
    other = PastLeak("aa", "shop.OLD", "leak", {"heap": 64.0}, ("test_a.py::test_x",))

    found = trend(past(1, 2.0), past(2, 2.0), past(3, leaks=(other,)))

    assert found.metric.name == "blocks"
    assert found.points[2].per_run
    assert found.is_there


def test_order() -> None:
    """Sessions may come in any order; what is still there comes first."""
    gone = PastLeak("0", "x", "leak", {"fds": 1.0}, ("test_a.py::test_x",))
    sessions = [past(3, 1.0), past(1, leaks=(gone,)), past(2, 1.0)]

    assert [one.fingerprint for one in trends(sessions, NUMBERS)] == ["aa", "0"]
    assert trends(sessions, NUMBERS) == trends(sessions[::-1], NUMBERS)


def test_without_fingerprint() -> None:
    """What nothing is known of has no trend, as it cannot be known again."""
    unknown = PastLeak("", "it grew", "leak", {"blocks": 1.0}, ("test_a.py::test_x",))

    assert trends([past(1, leaks=(unknown,))], NUMBERS) == ()


@pytest.mark.parametrize(
    ("start", "days"),
    [("2026-01-02", [2, 3]), ("2026-01-02T00:00:01Z", [3]), ("00000003", [3]), ("000", []), ("soon", [])],
)
def test_since(start: str, days: list[int]) -> None:
    """A day, a time or the beginning of a commit; what is none of them finds nothing."""
    found = since([past(3), past(1), past(2)], start)

    assert [int(one.sha, 16) for one in found] == days


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05"),
        ("yesterday", "yesterday"),
    ],
)
def test_sortable(time: str, utc: str) -> None:
    """Times of all zones can be sorted as text."""
    assert sortable(time) == utc
