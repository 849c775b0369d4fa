"""The history file: added to by several at once, made again when lost, left alone where it is not ours."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_memguard import history
from pytest_memguard.core.values import (
    BLOCKS,
    Estimate,
    Finding,
    Level,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)
from pytest_memguard.errors import DocumentError

#: Adds ten sessions, one at a time, to the history that is named.
WRITER = """
import sys
from pathlib import Path
from pytest_memguard import history
from pytest_memguard.core.values import RunResult
for number in range(10):
    history.add(Path(sys.argv[1]), [RunResult(f"2026-01-01T00:00:{number:02}", 1.0, {"machine": sys.argv[2]})])
"""


def run(day: int, rate: float = 7.0, **changes: object) -> RunResult:
    """Return the session of a day, with a leak and a clean test."""
    finding = Finding(BLOCKS, Trend(Shape.EXACT, Estimate(rate, rate, rate), 33), 9 * rate, "aa")
    leak = SubjectResult("test_a.py::test_\ud800x", "test", Verdict(Level.LEAK, 99.0, "it grew"), findings=(finding,))
    clean = SubjectResult("test_a.py::test_y", "test", Verdict(Level.CLEAN, 0.0, "no"))
    commit = {"sha": f"{day:08x}", "branch": "main", "dirty": False, "time": f"2026-01-{day:02}T12:00:00+02:00"}
    session = RunResult("2026-02-01T00:00:00Z", 1.0, {"machine": "x86_64"}, commit, results=(leak, clean))
    return replace(session, **changes)


def test_there_and_back(tmp_path: Path) -> None:
    """What is added is read, the oldest commit first; the same session counts once."""
    path = tmp_path / "new" / "history.sqlite"

    added = history.add(path, [run(2), run(1), run(2)])
    again = history.add(path, [run(1), run(3)])
    first, *others = history.read(path)

    assert (added, again, len(others)) == (2, 1, 2)
    assert (first.time, first.sha, first.branch, first.dirty) == ("2026-01-01T10:00:00", "00000001", "main", False)
    assert first.environment == "x86_64"
    (leak,) = first.leaks
    assert (leak.fingerprint, leak.text, leak.rates) == ("aa", "it grew", {"blocks": 7})
    assert leak.tests == ("test_a.py::test_\ud800x",)
    assert {history.number_of(name) for name in ("test_a.py::test_\ud800x", "test_a.py::test_y")} == first.measured


def test_without_commit(tmp_path: Path) -> None:
    """A session of no commit stands at its own time."""
    history.add(tmp_path / "h", [run(1, commit=None)])

    assert [(one.time, one.sha) for one in history.read(tmp_path / "h")] == [("2026-02-01T00:00:00", "")]


def test_two_writers(tmp_path: Path) -> None:
    """Several processes may add at once, and make the file at once; nothing is lost."""
    path = tmp_path / "history.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    codes = [writer.wait(timeout=60) for writer in writers]

    assert codes == [0, 0, 0]
    assert len(history.read(path)) == 30


def test_newer(tmp_path: Path) -> None:
    """A history of a newer version is refused, and left as it is; it does not count as damaged."""
    path = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.execute(f"PRAGMA user_version = {history.VERSION + 1}")
    before = path.read_bytes()

    for act in (lambda: history.read(path), lambda: history.add(path, [run(1)])):
        with pytest.raises(DocumentError, match="is of version 2: a newer pytest-memguard wrote it; update"):
            act()

    assert not history.is_damaged(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"no database, but long enough to be looked at" * 30, b"SQLite format 3\0" + b"x" * 5000]
)
def test_damaged(tmp_path: Path, content: bytes) -> None:
    """What is no database is refused on one line; it can be set aside, which keeps it."""
    path = tmp_path / "history.sqlite"
    path.write_bytes(content)

    with pytest.raises(DocumentError, match=r"history\.sqlite cannot be read: "):
        history.read(path)
    with pytest.raises(DocumentError, match=r"history\.sqlite cannot be written: "):
        history.add(path, [run(1)])
    assert path.read_bytes() == content
    assert history.is_damaged(path)

    aside = history.set_aside(path)
    assert (aside.name, aside.read_bytes(), path.exists()) == ("history.sqlite.damaged-1", content, False)


def test_cut_short(tmp_path: Path) -> None:
    """A history that lost its end is damaged."""
    path = tmp_path / "history.sqlite"
    history.add(path, [run(day) for day in range(1, 29)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    assert history.is_damaged(path)


def test_empty(tmp_path: Path) -> None:
    """A file that another session is about to fill is not damaged, and is not taken from it; it can be added to."""
    path = tmp_path / "history.sqlite"
    path.touch()
    before = history.is_there(path), history.is_damaged(path)
    history.add(path, [run(1)])

    assert before == (False, False)
    assert history.is_there(path)
    assert [one.sha for one in history.read(path)] == ["00000001"]


def test_sound(tmp_path: Path) -> None:
    """Neither a sound history nor a missing one is damaged."""
    path = tmp_path / "history.sqlite"
    missing = history.is_damaged(path)
    history.add(path, [run(1)])

    assert (missing, history.is_damaged(path)) == (False, False)


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room, one line says so, and what was there is still there."""
    path = tmp_path / "history.sqlite"
    history.add(path, [run(1)])
    connect = history._connect

    def connect_full(place: Path, *, read_only: bool = False) -> sqlite3.Connection:
        connection = connect(place, read_only=read_only)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(history, "_connect", connect_full)
        with pytest.raises(DocumentError, match="cannot be written: database or disk is full"):
            history.add(path, [run(day) for day in range(2, 29)])

    assert [one.sha for one in history.read(path)] == ["00000001"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only(tmp_path: Path) -> None:
    """A history in a folder that may not be written to can be read, and not added to."""
    path = tmp_path / "history.sqlite"
    history.add(path, [run(1)])
    path.chmod(0o444)
    tmp_path.chmod(0o555)

    assert len(history.read(path)) == 1
    with pytest.raises(DocumentError, match="cannot be written"):
        history.add(path, [run(2)])


def test_in_place_of_a_folder(tmp_path: Path) -> None:
    """A file where the folder should be is said to be."""
    (tmp_path / "file").write_text("mine")

    with pytest.raises(DocumentError, match="cannot be written"):
        history.add(tmp_path / "file" / "history.sqlite", [run(1)])
