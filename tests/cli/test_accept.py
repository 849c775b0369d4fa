"""``memguard accept``: a document and a fingerprint in, an entry of the file out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from pytest_memguard import cli, store
from pytest_memguard.accepted import FILE_NAME, Entry, load
from pytest_memguard.core.values import (
    BLOCKS,
    Estimate,
    Finding,
    Holder,
    Level,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)

Captured = pytest.CaptureFixture[str]
CACHE, PRICES = "c0ffee0000000001", "c0ffee0000000002"


def leak(name: str, fingerprint: str, holder: str) -> SubjectResult:
    """Return a leaking test."""
    finding = Finding(BLOCKS, Trend(Shape.EXACT, Estimate(7, 7, 7), 33), 455, fingerprint)
    return SubjectResult(
        f"test_shop.py::{name}", "test", Verdict(Level.LEAK, 99.4, "it grew"), runs=66, findings=(finding,),
        holder=Holder("unbounded", holder),
    )  # fmt: skip


LEAKS = (
    leak("test_a", CACHE, "shop._CACHE"),
    leak("test_b", CACHE, "shop._CACHE"),
    leak("test_c", PRICES, "shop.PRICES"),
)


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a document with three leaks and two causes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    store.write(RunResult("2026-01-02T03:04:05Z", 1.5, results=LEAKS), tmp_path / "run.json")
    return "run.json"


def today() -> date:
    """Return the day as the command sees it."""
    return datetime.now().astimezone().date()


def test_accept(document: str, capsys: Captured) -> None:
    """The entry says what, why and until when; a comment above it says what that is for people."""
    code = cli.main(["accept", document, CACHE, "--reason", "upstream 123", "--until", "2999-01-31"])

    assert code == 0
    assert capsys.readouterr() == (
        f"accepted until 2999-01-31 in {FILE_NAME}: shop._CACHE (test_shop.py::test_a and 1 more)\n", ""
    )  # fmt: skip
    assert Path(FILE_NAME).read_text(encoding="utf-8") == (
        "# shop._CACHE (test_shop.py::test_a and 1 more)\n"
        "[[accepted]]\n"
        f'fingerprint = "{CACHE}"\n'
        'reason = "upstream 123"\n'
        "until = 2999-01-31\n"
    )


def test_accept_for_a_quarter(document: str) -> None:
    """Without a day it is ninety days, both for a leak and for its growth whatever it is."""
    before = today()
    cli.main(["accept", document, CACHE, "--reason", "r"])
    (entry,) = load(Path(FILE_NAME)).entries

    assert before + timedelta(days=90) <= entry.until <= today() + timedelta(days=90)
    assert entry.at_most == ""


def test_accept_one_more(document: str) -> None:
    """Entries are appended, with a limit where one is given; today is a day on which they are valid."""
    cli.main(["accept", document, CACHE, "--reason", "r"])
    first = load(Path(FILE_NAME)).entries[0]
    code = cli.main(
        ["accept", document, PRICES, "--reason", "s", "--until", str(today()), "--at-most", "7/run"],
    )

    assert code == 0
    assert load(Path(FILE_NAME)).entries == (first, Entry("s", today(), PRICES, at_most="7/run", number=2))


@pytest.mark.parametrize("digits", ["c0ffee0000000002", "C0FFEE0000000002"])
def test_the_first_digits_are_enough(document: str, digits: str) -> None:
    """A fingerprint may be cut short, as long as one cause begins so."""
    cli.main(["accept", document, digits, "--reason", "r", "--file", "other.toml"])

    assert load(Path("other.toml")).entries[0].fingerprint == PRICES


def refused(capsys: Captured, *arguments: str) -> str:
    """Return what a command says that ends with exit code 2."""
    code = cli.main(["accept", *arguments])
    out, err = capsys.readouterr()

    assert (code, out) == (2, "")
    return err


def test_an_unknown_fingerprint(document: str, capsys: Captured) -> None:
    """The fingerprints that the document has are listed, with what they are."""
    assert refused(capsys, document, "feed", "--reason", "r") == (
        "memguard: 'feed' is the fingerprint of no cause in run.json; there are:\n"
        f"  {CACHE}  shop._CACHE (test_shop.py::test_a and 1 more)\n"
        f"  {PRICES}  shop.PRICES (test_shop.py::test_c)\n"
    )
    assert not Path(FILE_NAME).exists()


@pytest.mark.parametrize("digits", ["c0ffee", ""])
def test_too_few_digits(document: str, capsys: Captured, digits: str) -> None:
    """Digits that several fingerprints begin with accept none of them; neither do none."""
    said = refused(capsys, document, digits, "--reason", "r")

    assert said.count("\n") == 3
    assert ("begins the fingerprints of several causes" in said) is bool(digits)


def test_many_causes(tmp_path: Path, capsys: Captured) -> None:
    """Of many causes twenty are listed."""
    leaks = [leak(f"test_{at:02}", f"{at:016x}", "x") for at in range(30)]
    store.write(RunResult("2026-01-02T03:04:05Z", 1.5, results=tuple(leaks)), tmp_path / "many.json")
    said = refused(capsys, str(tmp_path / "many.json"), "feed", "--reason", "r")

    assert len(said.splitlines()) == 22
    assert said.endswith("  ... and 10 more\n")


def test_no_cause(tmp_path: Path, capsys: Captured) -> None:
    """A document without a leak has nothing to accept."""
    clean = replace(LEAKS[0], verdict=Verdict(Level.CLEAN, 0.0, ""))
    store.write(RunResult("2026-01-02T03:04:05Z", 1.5, results=(clean,)), tmp_path / "clean.json")

    assert "clean.json has no cause that could be accepted" in refused(
        capsys, str(tmp_path / "clean.json"), CACHE, "--reason", "r"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--until", "soon"], "--until = 'soon' is not a date; write one as in 2027-01-31"),
        (["--until", "2020-01-01"], "--until = '2020-01-01' is over; write a day from "),
        (["--at-most", "much"], "entry 1: at_most = 'much' is not a growth"),
        (["--reason", " "], "entry 1: reason = ' ' is not text"),
        (["--file", "nowhere/x.toml"], "nowhere/x.toml cannot be written: No such file or directory"),
        (["--file", "."], ".: cannot be read (Is a directory)"),
    ],
)
def test_what_cannot_be_accepted(document: str, capsys: Captured, more: list[str], message: str) -> None:
    """A wrong argument ends with exit code 2 and one line; nothing is written."""
    said = refused(capsys, document, CACHE, "--reason", "r", *more)

    assert message in said
    assert said.count("\n") == 1
    assert not Path(FILE_NAME).exists()


def test_accepted_already(document: str, capsys: Captured) -> None:
    """A leak is accepted once; its entry is changed by hand, unless its day is over."""
    Path(FILE_NAME).write_text(
        f'[[accepted]]\nfingerprint = "{CACHE}"\nreason = "r"\nuntil = 2020-01-01\n', encoding="utf-8"
    )
    anew = cli.main(["accept", document, CACHE, "--reason", "r", "--until", "2999-01-31"])
    capsys.readouterr()

    assert anew == 0
    assert refused(capsys, document, CACHE, "--reason", "r") == (
        f"memguard: {FILE_NAME}: entry 2 accepts {CACHE} until 2999-01-31 already; change it there\n"
    )


def test_a_file_that_is_wrong(document: str, capsys: Captured) -> None:
    """A wrong file stays as it is."""
    Path(FILE_NAME).write_text("[[accept]]\n", encoding="utf-8")

    assert "did you mean 'accepted'?" in refused(capsys, document, CACHE, "--reason", "r")
    assert Path(FILE_NAME).read_text(encoding="utf-8") == "[[accept]]\n"


def test_a_reason_is_required(document: str) -> None:
    """Nobody accepts a leak without saying why."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["accept", document, CACHE])

    assert ended.value.code == 2
