"""Where agents and those who ask them meet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_memguard.agent import folders
from pytest_memguard.errors import CouldNotRun


def test_a_new_folder(home: Path) -> None:
    """It is below the root of this user, and its token is random."""
    first, second = folders.create(), folders.create()

    assert Path(first[0]).parent == home / f"memguard-{os.geteuid()}"
    assert first[1] != second[1]
    assert len(first[1]) == 32


def test_a_root_that_others_can_enter(home: Path) -> None:
    """What somebody else may have put there is refused, a link too."""
    root = home / f"memguard-{os.geteuid()}"
    root.symlink_to(home)

    with pytest.raises(CouldNotRun, match="0700"):
        folders.create()


def test_a_root_that_cannot_be_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which folder, and why."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "missing"))

    with pytest.raises(CouldNotRun, match="missing"):
        folders.create()


def test_a_folder_is_removed_with_what_agents_left(home: Path) -> None:
    """Sockets, snapshots and the token go; with anything else in it the folder stays."""
    folder, _ = folders.create()
    Path(folder, "1.sock").touch()
    Path(folder, "1-1.heapsnapshot").touch()
    other, _ = folders.create()
    Path(other, "mine.txt").touch()
    folders.remove(folder)
    folders.remove(other)

    assert not Path(folder).exists()
    assert [entry.name for entry in Path(other).iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("pid", "age_s", "stays"),
    [(os.getpid(), 600, True), (2**22 + 1, 600, False), (2**22 + 1, 30, True)],
    ids=["ours", "gone, old", "gone, young"],
)
def test_what_killed_processes_left_is_swept(home: Path, pid: int, age_s: float, stays: bool) -> None:  # noqa: FBT001 - a table
    """A folder goes when none of its processes is there any more, and it is not just being made."""
    folder, _ = folders.create()
    Path(folder, f"{pid}.sock").touch()
    made_s = Path(folder).stat().st_mtime - age_s
    os.utime(folder, (made_s, made_s))
    folders.sweep()

    assert Path(folder).exists() is stays


def test_a_token_that_cannot_be_read(home: Path) -> None:
    """Where there is none, it is empty, and no agent answers to that."""
    assert folders.read_token(str(home)) == ""
