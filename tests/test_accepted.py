"""Leaks that somebody has accepted: what is covered, for how long, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.accepted import FILE_NAME, Accepted, Entry, appended, load
from pytest_memguard.core.values import (
    BLOCKS,
    FDS,
    HEAP,
    Estimate,
    Finding,
    Level,
    Metric,
    Shape,
    Site,
    SubjectResult,
    Trend,
    TypeGrowth,
    Verdict,
)
from pytest_memguard.errors import ConfigError

LAST = date(2027, 1, 31)
BEFORE, AFTER = date(2026, 12, 1), date(2027, 2, 1)
POOL = Entry("upstream 123", LAST, "3f2a9c0d11e84b70")
SITE = Entry("upstream 124", LAST, site="pool.py:Pool.get", type="Conn", number=2)


def grown(metric: Metric = BLOCKS, rate: float = 2.0, fingerprint: str = POOL.fingerprint) -> Finding:
    """Return a finding."""
    return Finding(metric, Trend(Shape.EXACT, Estimate(rate, rate, rate), 9), rate * 9, fingerprint)


AT_SITE = replace(
    grown(fingerprint="other"),
    sites=(Site("shop/cart.py", 3, "add", 1.0, 1.0), Site("/x/vendorlib/pool.py", 12, "Pool.get", 64.0, 1.0)),
    types=(TypeGrowth("dict", 1.0, 64.0), TypeGrowth("vendorlib.pool.Conn", 1.0, 48.0)),
)


def result(*findings: Finding) -> SubjectResult:
    """Return a leaking test."""
    return SubjectResult("test_shop.py::test_a", "test", Verdict(Level.LEAK, 99.0, "it grew"), 10, findings=findings)


def written(folder: Path, text: str) -> Path:
    """Return a file that holds *text*."""
    path = folder / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return path


# -- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "expected"), [(BEFORE, POOL), (LAST, POOL), (AFTER, None)], ids=["before", "the last day", "after"]
)
def test_until(today: date, expected: Entry | None) -> None:
    """A leak is accepted up to the last day, that day included."""
    assert Accepted((POOL,)).match(result(grown()), today) == expected
    assert Accepted((POOL,)).match(grown(), today) == expected


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (grown(), POOL),
        (grown(HEAP), POOL),
        (grown(fingerprint="3f2a9c0d11e84b7"), None),
        (grown(fingerprint=""), None),
        (AT_SITE, SITE),
        (replace(AT_SITE, types=()), None),
        (replace(AT_SITE, types=(TypeGrowth("XConn", 1.0, 1.0),)), None),
        (replace(AT_SITE, sites=()), None),
        (replace(AT_SITE, sites=(Site("my_pool.py", 1, "Pool.get", 1.0, 1.0),)), None),
        (replace(AT_SITE, sites=(Site("pool.py", 99, "vendor.Pool.get", 1.0, 1.0),)), SITE),
        (replace(AT_SITE, sites=(Site("C:\\x\\pool.py", 1, "Pool.get", 1.0, 1.0),)), SITE),
        (replace(AT_SITE, sites=(Site("pool.py", 1, "Pool.put", 1.0, 1.0),)), None),
    ],
)
def test_covered(finding: Finding, expected: Entry | None) -> None:
    """An entry covers its fingerprint whole, or its site together with its type, wherever the project lies."""
    assert Accepted((POOL, SITE)).match(finding, BEFORE) == expected


def test_a_result_is_accepted_as_a_whole() -> None:
    """One leak that nobody accepted is enough; growth of which nothing is known belongs to what is known."""
    accepted = Accepted((POOL, SITE))

    assert accepted.match(result(grown(), grown(HEAP)), BEFORE) == POOL
    assert accepted.match(result(grown(), AT_SITE), BEFORE) == POOL
    assert accepted.match(result(grown(), grown(FDS, fingerprint="fd")), BEFORE) is None
    assert accepted.match(result(grown(), grown(HEAP, fingerprint="")), BEFORE) == POOL
    assert accepted.match(result(grown(fingerprint="")), BEFORE) is None
    assert accepted.match(result(), BEFORE) is None


@pytest.mark.parametrize(
    ("at_most", "finding", "accepts"),
    [
        ("64 B/run", grown(HEAP, 64.0), True),
        ("64 B/run", grown(HEAP, 64.1), False),
        ("64 B/run", grown(BLOCKS, 1e6), True),
        ("2/run", grown(BLOCKS, 2.0), True),
        ("2/run", grown(BLOCKS, 2.1), False),
        ("2", grown(BLOCKS, 2.1), False),
        ("2/run", grown(HEAP, 1e6), True),
        ("", grown(HEAP, 1e6), True),
    ],
)
def test_at_most(at_most: str, finding: Finding, accepts: bool) -> None:  # noqa: FBT001 - a column
    """A leak that grows faster than was accepted is not accepted; counts do not limit bytes, nor the reverse."""
    entry = replace(POOL, at_most=at_most)

    assert (Accepted((entry,)).match(finding, BEFORE) == entry) is accepts


def test_at_most_counts_what_is_not_known() -> None:
    """Bytes of which nothing is known count as those of the leak beside them."""
    entry = replace(POOL, at_most="64 B/run")
    leak = result(grown(), grown(HEAP, 100.0, fingerprint=""))

    assert Accepted((entry,)).match(leak, BEFORE) is None
    assert Accepted((entry,)).refusal(leak, BEFORE) == (
        "it grows by 100 B a run, accepted is 64 B/run (memguard-accepted.toml: entry 1)"
    )


def test_a_second_entry_may_accept_what_the_first_does_not() -> None:
    """An entry that is over, or too narrow, does not stand in the way of another."""
    over = replace(POOL, until=date(2026, 1, 1))

    assert Accepted((over, POOL)).match(grown(), BEFORE) == POOL
    assert Accepted((replace(POOL, at_most="1/run"), POOL)).match(grown(), BEFORE) == POOL


# -- what is said of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "today", "expected"),
    [
        (POOL, BEFORE, ""),
        (replace(POOL, fingerprint="feedfeed"), AFTER, ""),
        (POOL, AFTER, "it was accepted until 2027-01-31 (memguard-accepted.toml: entry 1: upstream 123)"),
        (
            replace(POOL, at_most="1/run"), BEFORE,
            "it grows by 2 a run, accepted is 1/run (memguard-accepted.toml: entry 1)",
        ),
        (
            replace(POOL, at_most="1/run"), AFTER,
            "it was accepted until 2027-01-31 (memguard-accepted.toml: entry 1: upstream 123)",
        ),
    ],
    ids=["accepted", "never", "over", "faster", "over and faster"],
)  # fmt: skip
def test_refusal(entry: Entry, today: date, expected: str) -> None:
    """What was accepted once and fails now says why."""
    assert Accepted((entry,)).refusal(result(grown()), today) == expected


def test_unused() -> None:
    """An entry that nothing needs is named, also where it is over; one whose leak grew faster is still needed."""
    entries = (replace(POOL, at_most="1/run"), SITE, replace(POOL, fingerprint="feedfeed", until=BEFORE, number=3))
    results = [result(grown())]

    assert Accepted(entries).unused(results) == (
        "memguard-accepted.toml: entry 2: Conn of pool.py:Pool.get was not found; remove the entry",
        "memguard-accepted.toml: entry 3: feedfeed was not found; remove the entry",
    )
    assert Accepted(entries[:1]).unused(results) == ()


def test_expired() -> None:
    """An entry whose day is over is named."""
    assert Accepted((POOL,), "other.toml").expired(LAST) == ()
    assert Accepted((POOL,), "other.toml").expired(AFTER) == (
        "other.toml: entry 1: 3f2a9c0d11e84b70 was accepted until 2027-01-31; repair it or accept it anew",
    )


# -- reading ---------------------------------------------------------------------------------------------------------


def test_load(tmp_path: Path) -> None:
    """Entries are read in order; a byte order mark does no harm."""
    text = """\ufeff
        [[accepted]]
        fingerprint = "3f2a9c0d11e84b70"
        reason = "upstream 123"
        until = 2027-01-31

        [[accepted]]
        site = "pool.py:Pool.get"
        type = "Conn"
        reason = "upstream 124"
        until = 2027-01-31
        at_most = 2
    """

    assert load(written(tmp_path, text)) == Accepted((POOL, replace(SITE, at_most="2")), FILE_NAME)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "accepted = []"])
def test_nothing_accepted(tmp_path: Path, text: str) -> None:
    """An empty file accepts nothing, and neither does none."""
    assert load(written(tmp_path, text)) == Accepted()
    assert load(tmp_path / "elsewhere" / FILE_NAME) == Accepted()


VALID = {"fingerprint": '"c0ffee"', "reason": '"r"', "until": "2027-01-31"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"until": '"2027-01-31"'}, "until = '2027-01-31' is not a date; write one without quotes, as in 2027-01-31"),
        (
            {"until": "2027-01-31T00:00:00"},
            "until = datetime.datetime(2027, 1, 31, 0, 0) is not a date; write one without quotes, as in 2027-01-31",
        ),
        ({"until": ""}, "until is missing; write it as in until = 2027-01-31"),
        ({"reason": ""}, 'reason is missing; write it as in reason = "upstream issue 123"'),
        ({"reason": '" "'}, "reason = ' ' is not text; write some, in quotes"),
        ({"reason": "5"}, "reason = 5 is not text; write some, in quotes"),
        (
            {"fingerprint": '"c0ffeE"'},
            "fingerprint = 'c0ffeE' is not a fingerprint; copy it from the result document, all of its digits",
        ),
        (
            {"fingerprint": "12345678"},
            "fingerprint = 12345678 is not a fingerprint; copy it from the result document, all of its digits",
        ),
        (
            {"fingerprint": "", "site": '"pool.py"', "type": '"X"'},
            "site = 'pool.py' is not a site; write file and function, as in 'pool.py:Pool.get'",
        ),
        (
            {"fingerprint": "", "site": '"pool.py:12"', "type": '"X"'},
            "site = 'pool.py:12' is not a site; write file and function, as in 'pool.py:Pool.get'",
        ),
        ({"fingerprint": "", "site": "1"}, "site = 1 is not a site; write file and function, as in 'pool.py:Pool.get'"),
        ({"fingerprint": ""}, "it needs a fingerprint, or a site and a type, and has neither"),
        (
            {"fingerprint": "", "site": '"a.py:b"'},
            "it needs a fingerprint, or a site and a type, and has site",
        ),
        ({"type": '"X"'}, "it needs a fingerprint, or a site and a type, and has fingerprint and type"),
        ({"at_most": '"much"'}, "at_most = 'much' is not a growth; write it as in '64 B/run' or '2/run'"),
        ({"at_most": "-1"}, "at_most = -1 is not a growth; write it as in '64 B/run' or '2/run'"),
        ({"at_most": "true"}, "at_most = True is not a growth; write it as in '64 B/run' or '2/run'"),
        ({"untill": "2027-01-31"}, "'untill' is not a key of an entry; did you mean 'until'?"),
        (
            {"x": "1"},
            "'x' is not a key of an entry; write one of fingerprint, site, type, reason, until, at_most",
        ),
    ],
)
def test_an_entry_that_is_wrong(tmp_path: Path, changes: dict[str, str], problem: str) -> None:
    """A wrong entry is refused in one line that names file, entry, key, value and what would be right."""
    tables = [VALID, {**VALID, **changes}]
    text = "".join(
        "[[accepted]]\n" + "".join(f"{key} = {value}\n" for key, value in table.items() if value) for table in tables
    )
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))

    assert str(caught.value) == f"memguard-accepted.toml: entry 2: {problem}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[accept]]\n", "'accept' is not known; did you mean 'accepted'?"),
        ("[[x]]\n", "'x' is not known; entries begin with [[accepted]]"),
        ("[accepted]\na = 1\n", "accepted = {'a': 1} is not a list of tables; write [[accepted]]"),
        ("accepted = [1]\n", "accepted = [1] is not a list of tables; write [[accepted]]"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    """A file with anything else in it is refused."""
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))

    assert str(caught.value) == f"memguard-accepted.toml: {problem}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """What is no TOML, no text or no file is refused, not passed over."""
    folder, latin = tmp_path / "folder.toml", tmp_path / "latin.toml"
    folder.mkdir()
    latin.write_bytes(b"# gr\xfcn")

    with pytest.raises(ConfigError, match=r"^memguard-accepted\.toml: not valid TOML: Invalid value"):
        load(written(tmp_path, "accepted ="))
    with pytest.raises(ConfigError, match=r"^folder\.toml: cannot be read \("):
        load(folder)
    with pytest.raises(ConfigError, match=r"^latin\.toml: not UTF-8 text$"):
        load(latin)


# -- writing ---------------------------------------------------------------------------------------------------------


def test_append_to_nothing() -> None:
    """The first entry makes a file."""
    assert appended("", POOL, comment="shop.pool._CACHE (test_a)") == (
        "# shop.pool._CACHE (test_a)\n"
        "[[accepted]]\n"
        'fingerprint = "3f2a9c0d11e84b70"\n'
        'reason = "upstream 123"\n'
        "until = 2027-01-31\n"
    )


def test_append_to_others(tmp_path: Path) -> None:
    """What stands in the file stays as it is, its line ends included."""
    text = "# ours\r\n" + appended("", POOL).replace("\n", "\r\n") + "\r\n\r\n"
    whole = appended(text, replace(SITE, at_most="64 B/run"))

    assert whole.startswith(text.rstrip())
    assert whole.count("\n") == whole.count("\r\n")
    assert load(written(tmp_path, whole)).entries == (POOL, replace(SITE, at_most="64 B/run"))


@pytest.mark.parametrize(
    ("text", "entry", "message"),
    [
        ("accepted = []", POOL, "no entry can be appended: .*; write entries as"),
        ("[[accept]]", POOL, "'accept' is not known"),
        ("", replace(POOL, reason=" "), "entry 1: reason = ' ' is not text"),
        ("", replace(POOL, at_most="x"), "entry 1: at_most = 'x' is not a growth"),
    ],
)
def test_not_appended(text: str, entry: Entry, message: str) -> None:
    """Nothing is appended to a file that is wrong or would be."""
    with pytest.raises(ConfigError, match=message):
        appended(text, entry)


@given(st.text(min_size=1).filter(str.strip))
def test_any_reason_can_be_read_back(tmp_path_factory: pytest.TempPathFactory, reason: str) -> None:
    """Quotes, line ends and control characters of a reason survive."""
    path = written(tmp_path_factory.getbasetemp(), "")
    path.write_bytes(appended("", replace(POOL, reason=reason)).encode())

    assert load(path).entries[0].reason == reason.strip()


def test_half_a_surrogate_pair_is_no_text() -> None:
    """What a terminal could not decode does not spoil the file."""
    assert 'reason = "a?b"' in appended("", replace(POOL, reason="a\udcffb"))
