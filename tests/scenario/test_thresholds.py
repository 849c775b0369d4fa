"""Limits in the manner of k6."""

from __future__ import annotations

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.scenario.thresholds import Patience, breaches, parse


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("growth<64B/request", "growth", 64),
        ("growth < 1 KiB", "growth", 1024),
        ("blocks<0.5/request", "blocks", 0.5),
        ("p(95)<250ms", "p(95)", 0.25),
        ("p(99.9)<=1.5s", "p(99.9)", 1.5),
        ("errors<1%", "errors", 0.01),
        ("errors<0.02", "errors", 0.02),
        ("rss<300MiB", "rss", 300 * 2**20),
        ("rate>=90", "rate", 90),
    ],
)
def test_parse(text: str, name: str, limit: float) -> None:
    """A limit is read into base units."""
    one = parse(text)

    assert (one.name, one.limit) == (name, pytest.approx(limit))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("grow<64B", "did you mean 'growth'?"),
        ("growth=64B", "write one as in 'growth<64B/request'"),
        ("growth<64 apples", "is not a size"),
        ("p(95)<250", "is not a time; write one as in '250ms'"),
        ("p(0)<1s", "above 0 and up to 100"),
        ("errors<200%", "more than all"),
        ("rate>-1", "is not a number of 0 or more"),
        ("rate>inf", "is not a number of 0 or more"),
        (7, "is not a limit"),
    ],
)
def test_parse_refuses(text: object, part: str) -> None:
    """What is no limit is refused, with what would be one."""
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [("rss<100B", 99, 100), ("rss<=100B", 100, 101), ("rate>10", 11, 10), ("rate>=10", 10, 9)],
)
def test_holds(text: str, good: float, bad: float) -> None:
    """Each relation is kept on its one side, and not on the other."""
    one = parse(text)

    assert (one.holds(good), one.holds(bad)) == (True, False)


def test_breaches() -> None:
    """What is beyond a limit, and what was not measured, is told with the value."""
    limits = [parse("rss<1KiB"), parse("p(95)<250ms"), parse("errors<1%"), parse("growth<64B")]

    found = breaches(limits, {"rss": 2048, "p(95)": 0.1, "growth": 65})

    assert list(map(str, found)) == [
        "rss<1KiB: it was 2.0 KiB",
        "errors<1%: it could not be measured",
        "growth<64B: it was 65 B/request",
    ]


def test_patience() -> None:
    """A run is ended only for a limit that was not kept all the while."""
    patience = Patience([parse("rss<10B", 5.0), parse("errors<1%")])

    assert patience.look({"rss": 11}, 0.0) is None
    assert patience.look({"rss": 9, "errors": 1}, 3.0) is None
    assert patience.look({"rss": 11}, 4.0) is None
    assert patience.look({"rss": 11}, 8.9) is None
    assert str(patience.look({"rss": 12}, 9.0)) == "rss<10B: it was 12 B"
