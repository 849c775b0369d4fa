"""Programs whose heap is looked at, each in a process of its own: that of the tests is large and in motion."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import heap
from pytest_memguard.heap.loaded import HeapSnapshot

#: Runs a program that writes snapshots, and returns what it printed as JSON.
Program = Callable[[str], Any]

PLANTED = """
import gc, json, os, sys, threading
from pytest_memguard import heap

class Session:
    def __init__(self, number):
        self.number, self.payload = number, bytearray(2048)

class Slotted:
    __slots__ = ("left", "right")
    def __init__(self):
        self.left = ["left"]

def make(secret):
    def inner():
        return secret
    return inner

def generate(local):
    yield local

SESSIONS = {f"user-{number}": Session(number) for number in range(20)}
SLOTTED, CLOSURE, GENERATOR = Slotted(), make(["enclosed"]), generate(["suspended"])
next(GENERATOR)

class Cached:
    cache = {"key-of-a-cache": "hunter2-in-a-cache"}
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that runs a program in *tmp_path*, after the planted objects."""

    def run(text: str) -> Any:  # noqa: ANN401 - whatever the program printed
        script = tmp_path / "program.py"
        script.write_text(PLANTED + text, encoding="utf-8")
        command = [sys.executable, "-W", "error", str(script)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (done.stderr, done.returncode) == ("", 0)
        return json.loads(done.stdout) if done.stdout else None

    return run


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with snapshots of one process: a, then b with 1,000 sessions more, then values."""
    folder = tmp_path_factory.mktemp("planted")
    text = """
heap.write("a.heapsnapshot")
SESSIONS.update({f"user-{number}": Session(number) for number in range(20, 1020)})
heap.write("b.heapsnapshot")
heap.write("values.heapsnapshot", values=True)
"""
    (folder / "program.py").write_text(PLANTED + text, encoding="utf-8")
    subprocess.run([sys.executable, "program.py"], cwd=folder, check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def before(planted: Path) -> HeapSnapshot:
    """Return the first snapshot."""
    return heap.read(planted / "a.heapsnapshot")


@pytest.fixture(scope="session")
def after(planted: Path) -> HeapSnapshot:
    """Return the second snapshot."""
    return heap.read(planted / "b.heapsnapshot")
