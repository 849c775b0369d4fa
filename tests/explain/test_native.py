"""Native stacks, where memray is installed; and a word where it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard.explain import native
from pytest_memguard.explain.native import native_stacks
from pytest_memguard.explain.places import Places

LEAK = """\
#include <stdlib.h>
#include <string.h>
void leak_block(size_t size) { memset(malloc(size), 1, size); }
"""
TEST = """\
import ctypes
from pathlib import Path

library = ctypes.CDLL(str(Path(__file__).with_name("leak.so")))
library.leak_block.argtypes = [ctypes.c_size_t]


def test_leak():
    library.leak_block(8192)
"""


def test_without_memray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for native stacks without having memray reads what to install."""
    monkeypatch.setattr(native, "find_spec", lambda _name: None)
    notes: list[str] = []

    assert native_stacks("test_shop.py::test_leak", notes=notes) == ()
    assert notes == ["native stacks need memray: pip install memray"]


def fake(monkeypatch: pytest.MonkeyPatch, *answers: Exception | tuple[int, str, str]) -> list[list[str]]:
    """Answer for the other processes."""
    commands: list[list[str]] = []
    left = list(answers)

    def run(command: list[str], _folder: object, _timeout_s: float) -> subprocess.CompletedProcess[str]:
        commands.append(list(command))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if "-o" in command:
            Path(command[command.index("-o") + 1]).write_bytes(b"")
            document = next(word for word in command if word.startswith("--memguard-json=")).partition("=")[2]
            Path(document).write_text('{"results": [{"runs": 10}]}')
        return subprocess.CompletedProcess(command, *answer)

    monkeypatch.setattr(native, "find_spec", lambda _name: True)
    monkeypatch.setattr(native, "_run", run)
    return commands


def test_stacks_become_sites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user's line comes first, what it reaches in C next, by the run."""
    file = tmp_path / "test_shop.py"
    file.write_text(TEST)
    stack = f'["leak_block", "/src/leak.c", 3], ["ffi_call", "<unknown>", 0], ["test_leak", "{file}", 9]'
    records = f'[{{"bytes": 81920, "blocks": 10, "stack": [{stack}]}}]'
    commands = fake(monkeypatch, (0, "", ""), (0, records, ""))
    [site] = native_stacks("test_shop.py::test_leak", root=str(tmp_path))

    assert (site.file, site.line, site.function) == ("test_shop.py", 9, "test_leak")
    assert (site.bytes_per_run, site.blocks_per_run) == (8192.0, 1.0)
    assert site.traceback == ("test_shop.py:9 test_leak", "in C: leak_block (leak.c:3)")
    assert commands[0][1:4] == ["-m", "memray", "run"]
    assert commands[1][-1] == "8"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([OSError("no such file")], "no such file"),
        ([subprocess.TimeoutExpired("memray", 1)], "it took too long"),
        ([(0, "", ""), (1, "", "Traceback\nOSError: not a memray file\n")], "OSError: not a memray file"),
        ([(0, "", ""), (0, "no JSON", "")], "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_goes_wrong_is_a_note(monkeypatch: pytest.MonkeyPatch, answers: list[Any], words: str) -> None:
    """Whatever the other process does, there is a word for it."""
    fake(monkeypatch, *answers)
    notes: list[str] = []

    assert native_stacks("test_shop.py::test_leak", notes=notes) == ()
    assert notes == [f"memray gave no native stacks: {words}"]


def test_what_is_not_the_users_is_left_out() -> None:
    """Stacks without a line of the user's, and those in C alone, say nothing."""
    records = [
        {"bytes": 1, "blocks": 1, "stack": stack} for stack in ([], [["f", "x.c", 1]], [["g", "<frozen os>", 1]])
    ]

    assert native._sites(records, 1, Places()) == ()


def test_an_unreadable_document(tmp_path: Path) -> None:
    """Where the number of runs is unknown, it is one."""
    document = tmp_path / "memguard.json"
    for text in ("", "{}", '{"results": []}', '{"results": [{"runs": null}]}'):
        document.write_text(text)

        assert native._runs(document) == 1
    assert native._runs(tmp_path / "gone.json") == 1


@pytest.mark.skipif(find_spec("memray") is None or not shutil.which("cc"), reason="needs memray and a C compiler")
def test_a_real_leak_in_c(tmp_path: Path) -> None:
    """The function in C that keeps memory is named."""
    (tmp_path / "leak.c").write_text(LEAK)
    (tmp_path / "test_shop.py").write_text(TEST)
    build = ["cc", "-g", "-O1", "-fno-builtin", "-shared", "-fPIC", "leak.c", "-o", "leak.so"]
    subprocess.run(build, cwd=tmp_path, check=True)
    notes: list[str] = []
    sites = native_stacks("test_shop.py::test_leak", folder=str(tmp_path), root=str(tmp_path), notes=notes)

    assert notes == []
    assert sites[0].source == "library.leak_block(8192)"
    assert sites[0].traceback[1].startswith("in C: leak_block (leak.c:3)")
    assert 8000 < sites[0].bytes_per_run < 9000
    assert sys.modules.get("memray") is None
