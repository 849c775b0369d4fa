"""``memguard snapshot``: scripts, functions and processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_memguard import cli, heap
from pytest_memguard.errors import ConfigError, CouldNotRun

Captured = pytest.CaptureFixture[str]
SCRIPT = """
import sys
class Cart: pass
MADE = [bytearray(1000 + number) for number in range(int(sys.argv[1]))]
CARTS = [Cart() for _ in range(int(sys.argv[1]))]
if __name__ == "__main__" and sys.argv[2:] == ["--exit"]: sys.exit(3)
if sys.argv[2:] == ["--raise"]: raise RuntimeError("on purpose")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a script and a module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "shop_of_snapshots.py").write_text(
        "class Cart: pass\ndef fill(count='3'): return [Cart() for _ in range(int(count))]\n", encoding="utf-8"
    )
    return tmp_path


def memguard(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, whose heap is small."""
    program = "import sys; from pytest_memguard.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_script(folder: Path) -> None:
    """The script is run with its arguments, and what it left is found below __main__."""
    done = memguard("snapshot", "script.py", "42", "-o", "x.heapsnapshot.gz")
    found = heap.read(folder / "x.heapsnapshot.gz")
    cart = next(node for node in range(len(found)) if found.name(node) == "__main__.Cart")

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith("x.heapsnapshot.gz: ")
    assert " objects, " in done.stdout
    assert "; paused " in done.stdout
    assert found.types()["__main__.Cart"].count == 42
    assert found.path(cart)[2:-2] == ("(modules)", "__main__", "module __main__", "CARTS", "list")


def test_a_function_as_json(folder: Path) -> None:
    """A function is called with arguments, and what it returns is kept meanwhile."""
    done = memguard("snapshot", "--call", "shop_of_snapshots:fill", "7", "--json", "-o", "x.heapsnapshot")
    said = json.loads(done.stdout)

    assert (done.stderr, done.returncode) == ("", 0)
    assert said["path"] == "x.heapsnapshot"
    assert said["bytes"] == (folder / "x.heapsnapshot").stat().st_size
    assert heap.read(folder / "x.heapsnapshot").types()["shop_of_snapshots.Cart"].count == 7


def test_without_a_copy(folder: Path) -> None:
    """--no-fork stands still for it, and that is said."""
    done = memguard("snapshot", "script.py", "1", "--no-fork", "--max-objects", "1000", "-o", "x.heapsnapshot")

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.endswith("taken in the process itself, which stood still: no copy was wanted\n")


def test_every_so_often(folder: Path) -> None:
    """--every takes one after the other while the program runs, and keeps the latest."""
    (folder / "slow.py").write_text(
        "import glob, time\nend = time.monotonic() + 30\n"
        "while len(glob.glob('many/*.gz')) < 2 and time.monotonic() < end: time.sleep(0.01)\n",
        encoding="utf-8",
    )
    done = memguard("snapshot", "slow.py", "--every", "0.01", "--keep", "2", "--max-objects", "1000", "-o", "many")
    files = sorted(file.name for file in (folder / "many").iterdir())

    assert (done.stderr, done.returncode) == ("", 0)
    assert len(files) == 2
    assert done.stdout.count("not all of it: stopped at 1000 objects") >= 2


def test_traced(folder: Path) -> None:
    """--trace tells the lines that allocate, and a script that ends itself is a script that ended."""
    done = memguard("snapshot", "--trace", "2", "-o", "x.heapsnapshot", "--", "script.py", "42", "--exit")
    sites = heap.read(folder / "x.heapsnapshot").sites()

    assert (done.stderr, done.returncode) == ("", 0)
    assert max(total.count for site, total in sites.items() if site.file == "script.py") >= 42


def test_a_script_that_fails(folder: Path) -> None:
    """Its traceback is shown, there is no snapshot, and the exit code says that it could not run."""
    done = memguard("snapshot", "-o", "x.heapsnapshot", "--", "script.py", "1", "--raise")

    assert done.returncode == 4
    assert 'File "script.py", line 7' in done.stderr
    assert done.stderr.endswith("memguard: script.py failed with RuntimeError: no snapshot was taken\n")
    assert not (folder / "x.heapsnapshot").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "x.heapsnapshot"], "write either TARGET"),
        (["script.py", "-o", "x.json"], "its name must end with .heapsnapshot or .heapsnapshot.gz"),
        (["none.py", "-o", "x.heapsnapshot"], "none.py cannot be read: No such file or directory"),
        (["--call", "none:f", "-o", "x.heapsnapshot"], "--call = 'none:f' cannot be found: No module named 'none'"),
        (["--call", "json:none", "-o", "x.heapsnapshot"], "--call = 'json:none' cannot be found"),
        (["--call", "json", "-o", "x.heapsnapshot"], "--call = 'json'"),
        (["script.py", "--max-objects", "0", "-o", "x.heapsnapshot"], "--max-objects = 0: write a number above 0"),
        (["script.py", "1", "--max-memory", "much", "-o", "x.heapsnapshot"], "'much' is not a size"),
        (["script.py", "1", "-o", "none/x.heapsnapshot"], "none/x.heapsnapshot cannot be written: No such file"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: Captured) -> None:
    """One line says what is wrong, and the exit code is 2."""
    code = cli.main(["snapshot", "--no-fork", *arguments])
    said = capsys.readouterr()

    assert (code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1


# -- another process -------------------------------------------------------------------------------------------------


def agent(monkeypatch: pytest.MonkeyPatch, connect: Callable[[int], object]) -> None:
    """Put a double in the place of the agent's client."""
    monkeypatch.setitem(sys.modules, "pytest_memguard.agent.client", SimpleNamespace(connect=connect))


def test_another_process(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The agent takes it in its own folder, and the file comes to where it is wanted."""
    asked: list[Any] = []

    def call(command: str, **settings: object) -> dict[str, Any]:
        asked.append((command, settings["values"], settings["max_objects"], settings["compress"]))
        (folder / "agents").write_text("a snapshot", encoding="ascii")
        numbers = {"objects": 1, "edges": 2, "bytes": 10, "pause_s": 0.001, "duration_s": 0.002}
        return {**numbers, "partial": "", "note": "", "path": str(folder / "agents")}

    agent(monkeypatch, lambda process: SimpleNamespace(call=call, close=lambda: None) if process == 1234 else None)
    code = cli.main(["snapshot", "1234", "-o", "x.heapsnapshot.gz", "--max-objects", "5"])

    assert code == 0
    assert asked == [("snapshot", False, 5, True)]
    assert capsys.readouterr().out == "x.heapsnapshot.gz: 1 objects, 2 references, 10 B; paused 1 ms, took 2 ms\n"
    assert (folder / "x.heapsnapshot.gz").read_text(encoding="ascii") == "a snapshot"


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(), FileNotFoundError(), CouldNotRun("none"), ConfigError("x")]
)
def test_a_process_without_agent(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It says how to start the process so that it has one."""

    def connect(_: int) -> None:
        raise error

    agent(monkeypatch, connect)
    code = cli.main(["snapshot", str(os.getpid()), "-o", "x.heapsnapshot"])
    words = f"process {os.getpid()} has no memguard agent that answers: start it with `memguard exec -- COMMAND`"

    assert (code, capsys.readouterr().err) == (4, f"memguard: {words}\n")
