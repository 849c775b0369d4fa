"""Snapshots every so often and on a signal; only the latest stay."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import heap
from pytest_memguard.errors import ConfigError, DocumentError

FEW = {"max_objects": 200}
needs_signal = pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="this platform has no SIGUSR2")


def names(folder: Path) -> list[str]:
    """Return the files of a folder, the oldest first."""
    return sorted(file.name for file in folder.iterdir())


def test_the_oldest_go(tmp_path: Path) -> None:
    """Of all that were taken the latest stay, as many as asked for; other files are left alone."""
    (tmp_path / "heap-1-20200101T000000.000000.heapsnapshot.gz").write_text("another process's", encoding="ascii")
    (tmp_path / "notes").write_text("mine", encoding="ascii")
    taking = heap.Continuous(tmp_path, 60, keep=2, **FEW)
    taken = [taking.take().path.name for _ in range(4)]

    assert names(tmp_path) == sorted(["heap-1-20200101T000000.000000.heapsnapshot.gz", "notes", *taken[-2:]])


def test_every_so_often(tmp_path: Path) -> None:
    """A thread takes one after the other until it is stopped, and tells of each."""
    said: list[Any] = []
    third = threading.Event()

    def hear(summary: object) -> None:
        said.append(summary)
        if len(said) == 3:
            third.set()

    with heap.Continuous(tmp_path / "new", 0.01, keep=2, said=hear, **FEW):
        assert third.wait(20)
    taken = len(said)

    assert names(tmp_path / "new") == [summary.path.name for summary in said[-2:]]
    assert len(said) == taken
    assert [thread.name for thread in threading.enumerate() if thread.name == "memguard-heap"] == []


def test_an_error_is_told_and_the_next_one_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full once does not end it."""
    said: list[Any] = []
    second = threading.Event()
    answers = iter([DocumentError("the disk is full"), "a summary"])

    def take(_: object) -> object:
        answer = next(answers, "more")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hear(summary: object) -> None:
        said.append(summary)
        if len(said) == 2:
            second.set()

    monkeypatch.setattr(heap.Continuous, "take", take)
    with heap.Continuous(tmp_path, 0.01, said=hear):
        assert second.wait(20)

    assert [str(one) for one in said[:2]] == ["the disk is full", "a summary"]


@pytest.mark.parametrize(
    ("every_s", "keep", "words"),
    [(0, 1, "every_s = 0: write a number of seconds above 0"), (1, 0, "keep = 0: write how many snapshots stay")],
)
def test_settings_that_are_wrong(every_s: float, keep: int, words: str, tmp_path: Path) -> None:
    """They are refused at once."""
    with pytest.raises(ConfigError, match=words):
        heap.Continuous(tmp_path, every_s, keep=keep)


@needs_signal
def test_on_a_signal_also_in_workers(program: Callable[[str], Any]) -> None:
    """A signal to a process is a snapshot of it; a forked worker answers for itself."""
    counts = program(
        """
import signal, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pathlib import Path
taking = heap.on_signal("asked", max_objects=200)
def one_more(pid):
    os.kill(pid, signal.SIGUSR2)
    end = time.monotonic() + 20
    while not list(Path("asked").glob(f"heap-{pid}-*.gz")) and time.monotonic() < end:
        time.sleep(0.01)
    return len(list(Path("asked").glob(f"heap-{pid}-*.gz")))
mine = one_more(os.getpid())
reading, writing = os.pipe()
ready, say_ready = os.pipe()
child = os.fork()
if child == 0:
    os.write(say_ready, b"x")  # Python forgets signals that come while a child begins
    os.read(reading, 1)
    os._exit(0)
os.read(ready, 1)
theirs = one_more(child)
os.write(writing, b"x")
os.waitpid(child, 0)
taking.stop()
print(json.dumps([mine, theirs]))
"""
    )

    assert counts == [1, 1]


@needs_signal
def test_a_signal_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own handler is not replaced."""
    monkeypatch.setattr(signal, "getsignal", lambda _: print)

    with pytest.raises(ConfigError, match="SIGUSR2 is in use by this program already"):
        heap.on_signal(tmp_path)


@needs_signal
def test_a_handler_is_set_in_the_main_thread(tmp_path: Path) -> None:
    """Elsewhere it is refused, with the reason."""
    said: list[BaseException] = []

    def ask() -> None:
        try:
            heap.on_signal(tmp_path)
        except ConfigError as error:
            said.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

    assert "in the main thread only" in str(said[0])


def test_a_platform_without_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has none: it says what to do instead."""
    monkeypatch.delattr(signal, "SIGUSR2", raising=False)

    with pytest.raises(ConfigError, match=f"{sys.platform} has no SIGUSR2: call heap.write"):
        heap.on_signal(tmp_path)
