"""A tree of processes, read from outside and from inside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_memguard.agent import outside
from pytest_memguard.agent.outside import ProcessReading, Tree, TreeReading, _Counts, _FileCounts, _Purse, label
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from tests.agent.conftest import Service, Started, WaitFor


class Clock:
    """A clock that goes on by half a second each time it is asked."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        self.now_s += 0.5
        return self.now_s


def test_a_process_with_an_agent(service: Service) -> None:
    """All counters are known: those of the kernel, and by the agent those of the interpreter."""
    tree = Tree(service.process.pid, folder=service.folder)
    found = tree.sample().processes[0]
    tree.close()

    assert found.pid == service.process.pid
    assert found.name == "python -c"
    assert found.has_agent
    for name in ("rss_bytes", "uss_bytes", "heap_bytes", "mapped_bytes", "blocks", "fds", "threads"):
        assert getattr(found, name) > 0
    assert len(found.collections) == 3


def test_the_agent_is_found_without_its_folder(service: Service) -> None:
    """The number of the process is enough."""
    tree = Tree(service.process.pid)
    found = tree.sample().processes[0]
    tree.close()

    assert found.has_agent


def test_a_process_without_an_agent(wait_for: WaitFor) -> None:
    """The counters of the kernel are known, and the others say that they are not."""
    with subprocess.Popen(["sleep", "60"]) as process:  # noqa: S607 - any program
        tree = Tree(process.pid)
        wait_for(lambda: tree.sample().processes[0].rss_bytes > 0)  # its first page may not have been counted yet
        found = tree.sample().processes[0]
        process.kill()

    assert found.rss_bytes > 0
    assert (found.blocks, found.heap_bytes, found.collections, found.has_agent) == (None, None, (), False)


def test_files_and_psutil_say_the_same(service: Service) -> None:
    """The quick way and the one of other platforms read the same counters."""
    pid = service.process.pid
    quick, slow = _FileCounts(pid).read(), _Counts(psutil.Process(pid)).read()

    assert quick is not None
    assert slow is not None
    assert quick[1:] == slow[1:]
    assert quick[0] == pytest.approx(slow[0], rel=0.05)


NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"a) Z (b")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_name_with_brackets(started: Started) -> None:
    """A name that looks like other fields does not confuse."""
    with started(NAMED) as service:
        assert service.line() == "ready"
        found = _FileCounts(service.process.pid).read()

    assert found is not None
    assert found[0] > 2**20


FORKING = """
import os, sys, warnings
warnings.simplefilter("ignore")
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.read(reading, 1)
    os._exit(0)
print(child, flush=True)
sys.stdin.readline()
os.write(writing, b"x")
os.waitpid(child, 0)
print("gone", flush=True)
sys.stdin.read()
"""


def test_a_tree(started: Started, wait_for: WaitFor) -> None:
    """Children are read with their parent, each by its own agent, and leave when they end."""
    with started(FORKING) as service:
        child = int(service.line())
        wait_for(Path(f"{service.folder}/{child}.sock").exists)
        tree = Tree(service.process.pid, folder=service.folder, clock=Clock())
        both = tree.sample()
        assert service.process.stdin is not None
        service.process.stdin.write("\n")
        service.process.stdin.flush()
        assert service.line() == "gone"
        one = tree.sample()
        tree.close()

    assert [process.pid for process in both.processes] == [service.process.pid, child]
    assert all(process.has_agent for process in both.processes)
    assert [process.pid for process in one.processes] == [service.process.pid]


STARTING = """
import subprocess, sys
sys.stdin.readline()
subprocess.Popen(["sleep", "60"])
print(1, flush=True)
sys.stdin.read()
"""


def test_a_child_that_comes_later_is_seen(started: Started) -> None:
    """New processes are looked for about once a second."""
    with started(STARTING) as service:
        tree = Tree(service.process.pid, folder=service.folder, clock=Clock())
        counts = [len(tree.sample().processes)]
        assert service.process.stdin is not None
        service.process.stdin.write("\n")
        service.process.stdin.flush()
        service.line()
        counts += [len(tree.sample().processes) for _ in range(2)]
        tree.close()

    assert counts == [1, 1, 2]


def test_a_process_that_is_not_there() -> None:
    """It says so."""
    with pytest.raises(CouldNotRun, match="no process"):
        Tree(2**22 + 1)


def test_a_process_that_ends(started: Started) -> None:
    """So does one that ends meanwhile, though its parent has not asked for its exit code."""
    with started("import sys; sys.stdin.read()") as service:
        tree = Tree(service.process.pid, folder=service.folder)
        tree.sample()
        service.process.kill()
        os.waitid(os.P_PID, service.process.pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(CouldNotRun, match="has ended"):
            tree.sample()
        tree.close()


def test_another_process_of_the_same_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that was started at another time is not the one that was watched."""
    stat = tmp_path / "stat"
    fields = "S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 {} 1000 50 0"
    counts = _FileCounts(os.getpid())
    counts._stat = str(stat)
    stat.write_text(f"7 (python) {fields.format(111)}")
    before = counts.read()
    stat.write_text(f"7 (python) {fields.format(222)}")

    assert before is not None
    assert before[:2] == (50 * os.sysconf("SC_PAGE_SIZE"), 3)
    assert counts.read() is None


def test_a_process_that_stands_still(service: Service, wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds up the reading for a moment only, and is heard again when it goes on."""
    monkeypatch.setattr(outside, "_PATIENCE_S", 0.05)
    process = psutil.Process(service.process.pid)
    tree = Tree(service.process.pid, folder=service.folder, clock=Clock())
    tree.sample()
    os.kill(service.process.pid, signal.SIGSTOP)
    wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
    still = tree.sample().processes[0]
    os.kill(service.process.pid, signal.SIGCONT)
    wait_for(lambda: tree.sample().processes[0].has_agent)
    tree.close()

    assert still.rss_bytes > 0
    assert not still.has_agent


def test_the_dear_reading_is_taken_in_turn() -> None:
    """Each process is read once at first; then one at a time, the oldest first, when the last cost is paid."""
    purse = _Purse()
    for pid in (1, 2):
        assert purse.may(pid, 10.0)
        purse.spend(pid, 10.0 + pid, 0.01)

    assert [purse.may(pid, 16.9) for pid in (1, 2)] == [False, False]
    assert [purse.may(pid, 17.1) for pid in (1, 2)] == [True, False]
    purse.spend(1, 17.1, 0.01)
    assert [purse.may(pid, 30.0) for pid in (1, 2)] == [False, True]
    purse.forget(2)
    assert purse.may(1, 30.0)


def test_the_sum_of_a_tree() -> None:
    """A sum is of those that tell; of nobody there is none."""
    reading = TreeReading(0.0, (ProcessReading(1, 0.0, "a", 10, blocks=5), ProcessReading(2, 0.0, "b", 20)))

    assert reading.total("rss_bytes") == 30
    assert reading.total("blocks") == 5
    assert reading.total("heap_bytes") is None


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["/usr/bin/python3.13", "-X", "dev", "-m", "uvicorn", "app:app"], "python -m uvicorn"),
        (["python", "/srv/app.py", "--token=secret"], "python app.py"),
        (["python", "-c", "secret = 1"], "python -c"),
        (["python"], "python"),
        (["/usr/sbin/nginx", "-g", "daemon off"], "nginx"),
        ([], "kthreadd"),
    ],
)
def test_names(arguments: list[str], name: str) -> None:
    """A process is named by what was started, without its arguments: these may be secrets."""
    process: Any = SimpleNamespace(pid=7, cmdline=lambda: arguments, name=lambda: "kthreadd")

    assert label(process) == name


def test_a_process_that_may_not_be_looked_at() -> None:
    """It is called by its number."""

    def refuse() -> list[str]:
        raise psutil.AccessDenied(7)

    assert label(SimpleNamespace(pid=7, cmdline=refuse)) == "process 7"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user() -> None:
    """What this user may not see is not known; the rest is read."""
    program = f"""
import os
from pytest_memguard.agent.outside import Tree
os.setgid(65534); os.setuid(65534)
found = Tree({os.getpid()}).sample().processes[0]
print(found.rss_bytes > 0, found.threads > 0, found.fds, found.uss_bytes)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout == "True True None None\n", done.stderr
