"""
Native stacks of what a test allocates and keeps, by memray in a process of its own; only where it is asked for.

memray is no dependency. It sees each malloc with the stack in C above that in Python, at the price of running the test
anew, some times slower, in another process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.places import Places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.core.values import Site

__all__ = ["native_stacks"]

#: What the test is run with: often enough that what stays once is told from what stays each time.
_ARGUMENTS = ("--memguard", "--memguard-mode=deep", "--memguard-fail-on=never", "--memguard-explain=off")
_MOST_SITES, _MOST_NATIVE = 5, 4
#: A stack that did not keep something in this share of the runs, at least, is none of the leak's.
_STEADY = 0.8
#: Run in the other process: this one need not have memray in its memory.
_READER = """
import json, sys
from memray import FileReader
least, merged = int(sys.argv[2]), {}
for record in FileReader(sys.argv[1]).get_leaked_allocation_records(merge_threads=True):
    stack = []
    for frame in record.hybrid_stack_trace(60):
        if "/_pytest/" in frame[1] or "/pluggy/" in frame[1]:
            break  # what runs the test runs it in more than one way
        stack.append(tuple(frame))
    found = merged.setdefault(tuple(stack), {"bytes": 0, "blocks": 0, "stack": stack})
    found["bytes"] += record.size
    found["blocks"] += record.n_allocations
steady = [record for record in merged.values() if record["stack"] and record["blocks"] >= least]
steady.sort(key=lambda record: -record["bytes"])
json.dump(steady[:50], sys.stdout)
"""
#: Between what Python code calls and the function in C behind it.
_GLUE = ("_Py", "Py", "ffi_", "_ctypes", "_call_function_pointer", "<unknown>", "slot_", "vectorcall_", "cfunction_")


def native_stacks(  # noqa: PLR0913 - each is one fact about the test
    node_id: str,
    *,
    folder: str = "",
    root: str = "",
    home_file: str = "",
    timeout_s: float = 120.0,
    arguments: Sequence[str] = _ARGUMENTS,
    notes: list[str] | None = None,
) -> tuple[Site, ...]:
    """
    Return where native memory that stays is allocated, most bytes first, functions in C in the traceback.

    Args:
        node_id: Of the test.
        folder: Where pytest was started.
        root: Folder of the project.
        home_file: File of the test.
        timeout_s: For the whole.
        arguments: Of pytest.
        notes: Where it is said why nothing was found out.

    """
    notes = [] if notes is None else notes
    if find_spec("memray") is None:
        notes.append("native stacks need memray: pip install memray")
        return ()
    with tempfile.TemporaryDirectory(prefix="memguard-") as made:
        try:
            found = _recorded(node_id, Path(made), folder or None, timeout_s, arguments)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            notes.append(f"memray gave no native stacks: {_words(error)}")
            return ()
    places = Places(root=root, home_file=home_file)
    return _sites(*found, places)


def _recorded(
    node_id: str, made: Path, folder: str | None, timeout_s: float, arguments: Sequence[str]
) -> tuple[list[dict[str, Any]], int]:
    """Return what memray recorded, and over how many runs."""
    recording, document = made / "memray.bin", made / "memguard.json"
    command = [sys.executable, "-m", "memray", "run", "--native", "--aggregate", "-q", "-f", "-o", str(recording)]
    command += ["-m", "pytest", node_id, *arguments, f"--memguard-json={document}", "-q", "-p", "no:cacheprovider"]
    ended = _run(command, folder, timeout_s)
    if not recording.exists():
        raise ValueError(_last_line(ended.stderr or ended.stdout))
    runs = _runs(document)
    read = _run([sys.executable, "-c", _READER, str(recording), str(max(1, int(runs * _STEADY)))], folder, timeout_s)
    if read.returncode:
        raise ValueError(_last_line(read.stderr))
    return json.loads(read.stdout), runs


def _run(command: Sequence[str], folder: str | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this interpreter, and the user's own test
        command, cwd=folder, timeout=timeout_s, capture_output=True, text=True, errors="replace", check=False
    )


def _runs(document: Path) -> int:
    """Return how often the test was run, the first time included; 1 where that was not written."""
    try:
        results = json.loads(document.read_text("utf-8"))["results"]
        return max(1, int(results[0]["runs"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return 1


def _sites(records: Sequence[Mapping[str, Any]], runs: int, places: Places) -> tuple[Site, ...]:
    sites = []
    for record in records:
        stack = [(str(name), str(file), int(line)) for name, file, line in record["stack"]]
        python = [(file, line) for _, file, line in stack if _is_python(file)]
        at = places.user_line(python)
        site = places.site(python, bytes_per_run=record["bytes"] / runs, blocks_per_run=record["blocks"] / runs)
        if at is None or site is None or not places.is_own(python[at][0]):
            continue
        native = [_function(*frame) for frame in _leading_native(stack)]
        sites.append(replace(site, traceback=(*site.traceback[:1], *native, *site.traceback[1:])))
    return tuple(sites[:_MOST_SITES])


def _leading_native(stack: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return the innermost functions in C."""
    first = next((at for at, (_, file, _) in enumerate(stack) if _is_python(file)), len(stack))
    return [frame for frame in stack[:first] if not frame[0].startswith(_GLUE)][:_MOST_NATIVE]


def _is_python(file: str) -> bool:
    return file.endswith((".py", ".pyx", ".pxd")) or file.startswith("<frozen ")


def _function(name: str, file: str, line: int) -> str:
    """Return a function in C with its place, if it was built with one."""
    short = file.rpartition("/")[2]
    return f"in C: {name} ({short}:{line})" if line else f"in C: {name} ({short})"


def _words(error: Exception) -> str:
    return "it took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)[:200]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"
