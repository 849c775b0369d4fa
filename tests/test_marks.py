from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memguard.config import Settings
from pytest_memguard.core.values import METRICS, Unit
from pytest_memguard.errors import ConfigError
from pytest_memguard.marks import (
    MarkSettings,
    for_test,
    read_limit_memory,
    read_no_cycles,
    read_no_leak,
    read_skip,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = "tests/test_shop.py::test_cart"
BYTE_METRICS = tuple(name for name, metric in METRICS.items() if metric.unit is Unit.BYTE)
COUNT_METRICS = tuple(name for name, metric in METRICS.items() if metric.unit is Unit.COUNT)


def refusal(make: Callable[[], object]) -> str:
    """Return the one line that a wrong marker is refused with."""
    with pytest.raises(ConfigError) as caught:
        make()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def clear() -> None:
    """Do nothing: a reset for the tests below."""


def test_a_bare_marker_says_nothing() -> None:
    """no_leak without arguments leaves every setting to the session."""
    mark = read_no_leak((), {}, HERE)

    assert mark == MarkSettings(
        mode=None,
        confidence=None,
        policy=None,
        max_runs=None,
        allow=(),
        metrics=(),
        reset=None,
        only_if_passed=True,
    )


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"mode": "deep"}, MarkSettings(mode="deep")),
        ({"mode": None}, MarkSettings()),
        ({"confidence": 100}, MarkSettings(confidence=100.0)),
        ({"confidence": 0.5}, MarkSettings(confidence=0.5)),
        ({"policy": "growth"}, MarkSettings(policy="growth")),
        ({"max_runs": 2}, MarkSettings(max_runs=2)),
        ({"metrics": ["blocks"]}, MarkSettings(metrics=("blocks",))),
        ({"metrics": ("rss", "fds", "rss")}, MarkSettings(metrics=("rss", "fds"))),
        ({"metrics": {"rss", "fds"}}, MarkSettings(metrics=("fds", "rss"))),
        ({"reset": clear}, MarkSettings(reset=clear)),
        ({"reset": dict}, MarkSettings(reset=dict)),
        ({"only_if_passed": False}, MarkSettings(only_if_passed=False)),
        ({"only_if_passed": True}, MarkSettings(only_if_passed=True)),
    ],
)
def test_an_argument_of_no_leak_is_read(kwargs: dict[str, Any], expected: MarkSettings) -> None:
    """Valid arguments arrive checked, and None counts as not given."""
    mark = read_no_leak((), kwargs, HERE)

    assert mark == expected


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"mode": "standart"},
            "no_leak: mode = 'standart' is none of 'quick', 'standard', 'deep', 'native'; did you mean 'standard'?",
        ),
        ({"confidence": 0}, "no_leak: confidence = 0 is not a number above 0 and up to 100"),
        ({"confidence": 100.5}, "no_leak: confidence = 100.5 is not a number above 0 and up to 100"),
        ({"confidence": math.nan}, "no_leak: confidence = nan is not a number above 0 and up to 100"),
        ({"confidence": "95"}, "no_leak: confidence = '95' is not a number above 0 and up to 100"),
        ({"max_runs": 1}, "no_leak: max_runs = 1 is not a whole number of 2 or more"),
        ({"max_runs": True}, "no_leak: max_runs = True is not a whole number of 2 or more"),
        ({"confidense": 9}, "no_leak does not take confidense=9; did you mean 'confidence'?"),
        (
            {"zzz": None},
            (
                "no_leak does not take zzz=None; write one of mode, confidence, policy, max_runs, allow, metrics, "
                "reset, only_if_passed"
            ),
        ),
        ({"reset": 3}, "no_leak: reset = 3 is not callable; give a function without arguments"),
        ({"only_if_passed": 1}, "no_leak: only_if_passed = 1 is neither True nor False"),
        ({"only_if_passed": "true"}, "no_leak: only_if_passed = 'true' is neither True nor False"),
        ({"metrics": ["blok"]}, "no_leak: metrics: 'blok' is not a metric; did you mean 'blocks'?"),
        (
            {"metrics": ["zzz"]},
            f"no_leak: metrics: 'zzz' is not a metric; write one of {', '.join(METRICS)}",
        ),
        ({"metrics": [["rss"]]}, "no_leak: metrics: ['rss'] is not a metric; did you mean 'rss'?"),
        (
            {"metrics": "rss"},
            "no_leak: metrics = 'rss' is not a list of metrics; write one or more, as in ['blocks']",
        ),
        ({"metrics": []}, "no_leak: metrics = [] is not a list of metrics; write one or more, as in ['blocks']"),
        ({"metrics": 3}, "no_leak: metrics = 3 is not a list of metrics; write one or more, as in ['blocks']"),
    ],
)
def test_a_wrong_argument_of_no_leak_is_refused(kwargs: dict[str, Any], message: str) -> None:
    """One line names the test, the argument, its value and what would be right."""
    text = refusal(lambda: read_no_leak((), kwargs, HERE))

    assert text == f"{HERE}: {message}"


def test_an_async_reset_is_refused() -> None:
    """A coroutine function would be called and never run."""

    async def clear_later() -> None: ...

    text = refusal(lambda: read_no_leak((), {"reset": clear_later}, HERE))

    assert text.startswith(f"{HERE}: no_leak: reset = <function ")
    assert text.endswith(" is async and would never run; give a plain function")


def test_no_leak_takes_no_positional_argument() -> None:
    """A mode without its name is refused, with the way to write it."""
    text = refusal(lambda: read_no_leak(("deep",), {}, HERE))

    assert text == f"{HERE}: no_leak('deep') takes named arguments only, as in no_leak(mode='deep')"


@pytest.mark.parametrize(
    ("allow", "names", "allowed"),
    [
        ("64 B/run", BYTE_METRICS, 64.0),
        ("1.5 KiB per run", BYTE_METRICS, 1536.0),
        ("0.5 B/run", BYTE_METRICS, 0.5),
        ("2/run", COUNT_METRICS, 2.0),
        ("2", COUNT_METRICS, 2.0),
        (2, COUNT_METRICS, 2.0),
        (0, COUNT_METRICS, 0.0),
        (0.5, COUNT_METRICS, 0.5),
    ],
)
def test_a_plain_allowance_goes_to_the_metrics_of_its_unit(
    allow: object, names: tuple[str, ...], allowed: float
) -> None:
    """A size applies to every metric in bytes, a bare number to every one that counts."""
    mark = read_no_leak((), {"allow": allow}, HERE)

    assert mark.allow == tuple((name, allowed) for name in names)


def test_a_named_allowance_is_read_in_the_unit_of_its_metric() -> None:
    """A mapping allows each metric its own growth."""
    mark = read_no_leak((), {"allow": {"rss": "64 KB/run", "blocks": "2/run", "heap": 10, "fds": 1}}, HERE)

    assert mark.allow == (("rss", 65536.0), ("blocks", 2.0), ("heap", 10.0), ("fds", 1.0))


def test_an_empty_allowance_allows_nothing() -> None:
    """An empty mapping is the same as none."""
    mark = read_no_leak((), {"allow": {}}, HERE)

    assert mark == MarkSettings()


@pytest.mark.parametrize("allow", ["64 Bananas", "-64 B/run", "-1", "", "lots", -1, math.nan, True, ["64 B"]])
def test_a_plain_allowance_that_is_no_amount_is_refused(allow: object) -> None:
    """Both ways to write an allowance are named."""
    text = refusal(lambda: read_no_leak((), {"allow": allow}, HERE))

    assert text == (
        f"{HERE}: no_leak: allow = {allow!r} is not a growth per run; "
        "write a size as in '64 B/run', a count as in '2/run', or {'metric': amount}"
    )


@pytest.mark.parametrize(
    ("allow", "message"),
    [
        ({"rsss": "1 B"}, "allow: 'rsss' is not a metric; did you mean 'rss'?"),
        ({3: "1 B"}, f"allow: 3 is not a metric; write one of {', '.join(METRICS)}"),
        (
            {"rss": "64 Bananas/run"},
            "allow['rss']: '64 Bananas' is not a size; write a number and B, KiB, MiB or GiB, as in '64 KiB'",
        ),
        (
            {"blocks": "2 B/run"},
            "allow['blocks']: '2 B/run' is not a growth per run; write a number of zero or more, as in '2/run'",
        ),
        ({"rss": None}, "allow['rss'] = None is not a growth per run"),
        ({"rss": ["1 B"]}, "allow['rss'] = ['1 B'] is not a growth per run"),
    ],
)
def test_a_named_allowance_that_is_no_amount_is_refused(allow: object, message: str) -> None:
    """The metric is named, with what its unit asks for."""
    text = refusal(lambda: read_no_leak((), {"allow": allow}, HERE))

    assert text == f"{HERE}: no_leak: {message}"


@pytest.mark.parametrize(
    ("session", "mark", "expected"),
    [
        (Settings(), None, Settings(mode="quick")),
        (Settings(mode="deep"), None, Settings(mode="deep")),
        (Settings(), MarkSettings(), Settings(mode="standard")),
        (Settings(mode="quick"), MarkSettings(), Settings(mode="quick")),
        (Settings(mode="quick"), MarkSettings(mode="native"), Settings(mode="native")),
        (
            Settings(mode="quick", policy="any", max_runs=9, confidence=80),
            MarkSettings(policy="all", max_runs=5, confidence=99),
            Settings(mode="quick", policy="all", max_runs=5, confidence=99),
        ),
        (Settings(policy="any"), MarkSettings(max_runs=5), Settings(mode="standard", policy="any", max_runs=5)),
    ],
)
def test_the_marker_is_the_strongest_layer(session: Settings, mark: MarkSettings | None, expected: Settings) -> None:
    """A marker replaces what it says, and a mode that nobody chose depends on whether there is one."""
    settings = for_test(session, mark)

    assert settings == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [("24 MB", 24 * 2**20), ("1 B", 1), (4096, 4096), ("1.5 KiB", 1536)],
)
def test_a_memory_limit_is_read(size: object, expected: int) -> None:
    """limit_memory takes one size, in bytes afterwards."""
    limit = read_limit_memory((size,), {}, HERE)

    assert limit == expected


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "limit_memory takes exactly one size, as in limit_memory('24 MB')"),
        (("1 MB", "2 MB"), {}, "limit_memory takes exactly one size, as in limit_memory('24 MB')"),
        (("1 MB",), {"strict": True}, "limit_memory takes exactly one size, as in limit_memory('24 MB')"),
        ((), {"limit": "1 MB"}, "limit_memory takes exactly one size, as in limit_memory('24 MB')"),
        ((None,), {}, "limit_memory: None is not a size; write one as in limit_memory('24 MB')"),
        (
            ("64 Bananas",),
            {},
            "limit_memory: '64 Bananas' is not a size; write a number and B, KiB, MiB or GiB, as in '64 KiB'",
        ),
        (("0 B",), {}, "limit_memory: '0 B' leaves nothing to run in; write a size above zero"),
        (("0.5 B",), {}, "limit_memory: '0.5 B' leaves nothing to run in; write a size above zero"),
        ((-1,), {}, "limit_memory: -1 is not a size: it must be zero or more bytes, below 8 EiB"),
    ],
)
def test_a_wrong_memory_limit_is_refused(args: tuple[object, ...], kwargs: dict[str, object], message: str) -> None:
    """None, two, zero and foreign sizes are refused at the start, naming the test."""
    text = refusal(lambda: read_limit_memory(args, kwargs, HERE))

    assert text == f"{HERE}: {message}"


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [((), {}, 0), ((), {"max": 0}, 0), ((), {"max": 3}, 3), ((3,), {}, 3)],
)
def test_a_number_of_cycles_is_read(args: tuple[object, ...], kwargs: dict[str, object], expected: int) -> None:
    """no_cycles allows none unless it says how many."""
    most = read_no_cycles(args, kwargs, HERE)

    assert most == expected


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {"max": -1}, "no_cycles: max = -1 is not a whole number of 0 or more"),
        ((), {"max": 1.0}, "no_cycles: max = 1.0 is not a whole number of 0 or more"),
        ((), {"max": True}, "no_cycles: max = True is not a whole number of 0 or more"),
        ((), {"max": None}, "no_cycles: max = None is not a whole number of 0 or more"),
        (("3",), {}, "no_cycles: max = '3' is not a whole number of 0 or more"),
        ((1, 2), {}, "no_cycles takes one argument, max; 2 are given"),
        ((1,), {"max": 2}, "no_cycles takes one argument, max; 2 are given"),
        ((), {"maxx": 1}, "no_cycles does not take maxx=1; did you mean 'max'?"),
    ],
)
def test_a_wrong_number_of_cycles_is_refused(args: tuple[object, ...], kwargs: dict[str, object], message: str) -> None:
    """Negative, broken and doubled numbers are refused, naming the test."""
    text = refusal(lambda: read_no_cycles(args, kwargs, HERE))

    assert text == f"{HERE}: {message}"


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [((), {}, ""), (("slow",), {}, "slow"), ((), {"reason": "slow"}, "slow")],
)
def test_the_reason_of_a_skip_is_read(args: tuple[object, ...], kwargs: dict[str, object], expected: str) -> None:
    """memguard_skip takes a reason, by position or by name, or none."""
    reason = read_skip(args, kwargs, HERE)

    assert reason == expected


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((3,), {}, "memguard_skip: reason = 3 is not text"),
        (("a", "b"), {}, "memguard_skip takes one argument, reason; 2 are given"),
        ((), {"reson": "a"}, "memguard_skip does not take reson='a'; did you mean 'reason'?"),
    ],
)
def test_a_wrong_reason_of_a_skip_is_refused(args: tuple[object, ...], kwargs: dict[str, object], message: str) -> None:
    """What is no reason is refused, naming the test."""
    text = refusal(lambda: read_skip(args, kwargs, HERE))

    assert text == f"{HERE}: {message}"
