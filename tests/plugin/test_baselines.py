"""Baselines in whole sessions: kept, compared with, and what fails then."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

LEAKY = """
    import shop

    def test_old():
        shop.OLD.append(bytearray(100))

    def test_clean():
        pass
"""
SHOP = "OLD, NEW = [], []\n"
GROWN = """
    import shop

    def test_renamed():
        shop.OLD.append(bytearray(100))

    def test_new():
        shop.NEW.append(bytearray(100))

    def test_clean():
        pass
"""
WORSE = """
    import shop

    def test_old():
        shop.OLD.extend([bytearray(100), bytearray(100), bytearray(100)])

    def test_clean():
        pass
"""
FILES = {
    "shop.py": SHOP,
    "conftest.py": "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\n",
}


def rewritten(session: Session, source: str) -> Session:
    """Return *session* with its tests replaced."""
    (session.folder / "test_shop.py").write_text(dedent(source), encoding="utf-8")
    return session


@pytest.fixture(scope="module")
def kept(run_project: RunProject) -> Session:
    """Return a session that was kept as baseline "main"."""
    return run_project({**FILES, "test_shop.py": LEAKY}, "--memguard", "--memguard-save=main")


@pytest.fixture
def again(kept: Session, run_project: RunProject) -> RunProject:
    """Return a function that runs other tests in that folder."""

    def run(source: str, *arguments: str, **more: object) -> Session:
        return run_project(rewritten(kept, source), "--memguard", *arguments, **more)

    return run  # type: ignore[return-value]


def baseline_file(session: Session) -> Path:
    """Return the only file of the baseline "main"."""
    (path,) = (session.folder / ".memguard" / "baselines" / "main").iterdir()
    return path


def statuses(session: Session) -> dict[str, list[str]]:
    """Return the statuses of the findings by test."""
    return {
        name: [finding["status"] for finding in one["findings"]]
        for name, one in session.results.items()
        if one["findings"]
    }


def test_kept(kept: Session) -> None:
    """The baseline is small, sorted and readable, and holds the leak but no clean test; that it was kept is said."""
    text = baseline_file(kept).read_text(encoding="ascii")
    content = json.loads(text)
    (leak,) = content["leaks"]

    assert content["schema"] == "memguard-baseline/1"
    assert content["files"] == {"test_shop.py": 2}
    assert (leak["text"], leak["verdict"]) == ("shop.OLD", "leak")
    assert list(leak["tests"]) == ["test_shop.py::test_old"]
    assert text == json.dumps(content, indent=2, sort_keys=True) + "\n"
    assert "test_clean" not in text
    assert str(kept.folder) not in text
    assert f"baseline main of 2 tests kept in .memguard/baselines/main/{baseline_file(kept).name}" in kept.stdout
    assert kept.returncode == 1


def test_known(again: RunProject) -> None:
    """A leak that the baseline knows does not fail; it is still reported."""
    session = again(LEAKY, "--memguard-baseline=main")

    assert session.returncode == 0
    assert statuses(session) == {"test_old": ["known"]}
    assert ": 1 known" in session.stdout
    assert "known" in session.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_new(again: RunProject, workers: tuple[str, ...]) -> None:
    """Only the new leak fails, whatever the test of the old one is called; under xdist as well."""
    plugins = ("xdist",) if workers else ()

    session = again(GROWN, "--memguard-baseline=main", "--memguard-fail-on=new", *workers, plugins=plugins)

    assert session.returncode == 1
    assert session.tally == {"failed": 1, "passed": 2}
    assert statuses(session) == {"test_renamed": ["known"], "test_new": ["new"]}
    assert ": 1 new, 1 known" in session.stdout


@pytest.mark.parametrize(("fail_on", "code"), [("leak", 1), ("new", 0), ("never", 0)])
def test_worse(again: RunProject, fail_on: str, code: int) -> None:
    """A leak that grows faster fails, but where only new ones do; that it is worse is said."""
    session = again(WORSE, "--memguard-baseline=main", f"--memguard-fail-on={fail_on}")

    assert session.returncode == code
    assert set(statuses(session)["test_old"]) == {"worse"}
    assert ": 1 worse" in session.stdout


def test_gone(again: RunProject) -> None:
    """A leak that is gone is said to be."""
    session = again("def test_old(): pass", "--memguard-baseline=main")

    assert "gone since then: shop.OLD" in session.stdout


def test_foreign(kept: Session, run_project: RunProject) -> None:
    """A baseline of another suite is used, but not without a word."""
    session = run_project(
        {"test_bank.py": "def test_x(): pass"}, "--memguard", f"--memguard-baseline={baseline_file(kept)}"
    )

    assert "they are of different suites" in session.stdout


def test_document_as_baseline(again: RunProject, kept: Session) -> None:
    """A result document serves as baseline, too."""
    again(LEAKY)
    document = kept.folder / "base.json"
    document.write_bytes((kept.folder / "memguard.json").read_bytes())

    session = again(LEAKY, "--memguard-baseline=base.json")

    assert session.returncode == 0


def test_missing(again: RunProject) -> None:
    """A baseline that is not there is refused at once, with the nearest name."""
    session = again(LEAKY, "--memguard-baseline=mian")

    assert session.returncode == 4
    assert "--memguard-baseline = 'mian' is not there; did you mean 'main'?" in session.stderr


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_first_of_its_name(run_project: RunProject, workers: tuple[str, ...]) -> None:
    """A baseline that the session itself keeps may be missing the first time; every leak is new then."""
    arguments = ("--memguard", "--memguard-baseline=m", "--memguard-save=m", "--memguard-fail-on=new", *workers)
    plugins = ("xdist",) if workers else ()

    first = run_project({"test_a.py": "def test_x(): leak()"}, *arguments, plugins=plugins)
    found = statuses(first)
    second = run_project(first, *arguments, plugins=plugins)

    assert (first.returncode, second.returncode) == (1, 0)
    assert "there is no baseline m yet: every leak is new" in first.stdout
    assert [set(one["test_x"]) for one in (found, statuses(second))] == [{"new"}, {"known"}]


def test_new_without_baseline(run_project: RunProject) -> None:
    """What is new can only be told from a baseline."""
    session = run_project({"test_a.py": "def test_x(): pass"}, "--memguard", "--memguard-fail-on=new")

    assert session.returncode == 4
    assert "needs a baseline; name one with --memguard-baseline" in session.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cut short"),
        ("[]", "is not an object"),
        ('{"schema": "memguard-baseline/2"}', "a newer pytest-memguard wrote it; update"),
        ('{"schema": "other/1"}', "is not a document of pytest-memguard"),
        ('{"schema": "memguard-baseline/1", "saved_at": NaN}', "is not a number"),
        ('{"schema": "memguard-baseline/1"}', "saved_at"),
    ],
)
def test_bad_baseline(again: RunProject, kept: Session, content: str, words: str) -> None:
    """A baseline that cannot be read is refused at once, on one line, and left as it is."""
    path = kept.folder / "bad.json"
    path.write_text(content, encoding="ascii")

    session = again(LEAKY, "--memguard-baseline=bad.json")

    assert session.returncode == 4
    assert words in session.stderr
    assert path.read_text(encoding="ascii") == content


@pytest.mark.parametrize(
    ("source", "arguments", "words"),
    [
        ("def test_a(): assert False\ndef test_b(): pass", ("-x",), "the session was cut short"),
        ("def test_a(): assert False", (), "nothing was measured"),
    ],
)
def test_not_kept(again: RunProject, kept: Session, source: str, arguments: tuple[str, ...], words: str) -> None:
    """What was cut short or measured nothing does not take the place of a baseline."""
    before = baseline_file(kept).read_bytes()

    session = again(source, "--memguard-save=main", *arguments)

    assert f"baseline main is not kept: {words}" in session.stdout
    assert baseline_file(kept).read_bytes() == before


def test_not_writable(run_project: RunProject) -> None:
    """Where the folder is a file, one line says so, the file stays, and the session has not passed."""
    project = {"test_a.py": "def test_x(): pass", ".memguard": "mine"}

    session = run_project(project, "--memguard", "--memguard-save=main")

    assert session.returncode == 4
    assert "cannot be written" in session.stdout
    assert (session.folder / ".memguard").read_text(encoding="utf-8") == "mine"


def test_fixture(again: RunProject) -> None:
    """A callable that the fixture measures is compared as well."""
    source = """
        import shop

        def test_old(memguard):
            memguard.check(lambda: shop.OLD.append(bytearray(100)))
    """

    assert again(source, "--memguard-baseline=main").returncode == 0
