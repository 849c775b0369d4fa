"""
Write a heap snapshot, to be opened in Chrome DevTools or memlab, or to be compared by memguard diff.

TARGET is a script, which is run to its end, or the number of a process that has memguard's agent (memguard exec). With
--call a function is called instead, and what it returns is kept until the snapshot was taken. Arguments that begin with
a dash come behind --, at the end. String values and keys are left out unless --values is given. --every takes one after
the other while the program runs; -o is a folder then.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import traceback
import tracemalloc
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard import heap
from pytest_memguard.core.units import Unit, amount, duration, parse_size
from pytest_memguard.errors import ConfigError, CouldNotRun, MemguardError
from pytest_memguard.heap.continuous import KEEP
from pytest_memguard.heap.taking import MAX_MEMORY_BYTES, MAX_OBJECTS, MAX_SECONDS
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

__all__ = ["add_arguments", "run"]

_ENDINGS = (".heapsnapshot", ".heapsnapshot.gz")
_FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    target = "a script and its arguments, or the number of a process; with --call the function's arguments"
    parser.add_argument("target", nargs="*", metavar="TARGET", help=target)
    parser.add_argument("--call", metavar="MODULE:FUNCTION", help="call this instead of running a script")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="x.heapsnapshot, or with .gz")
    parser.add_argument("--values", action="store_true", help="write string values and keys: they may be secrets")
    frames = f"trace allocations, with stacks of so many calls ({_FRAMES}); slows the program down"
    parser.add_argument("--trace", nargs="?", type=int, const=_FRAMES, metavar="CALLS", help=frames)
    parser.add_argument("--every", type=float, metavar="SECONDS", help="take one so often while the program runs")
    parser.add_argument("--keep", type=int, default=KEEP, metavar="N", help=f"with --every: how many stay ({KEEP})")
    most = f"most objects ({MAX_OBJECTS})"
    parser.add_argument("--max-objects", type=int, default=MAX_OBJECTS, metavar="N", help=most)
    longest = f"longest walk in seconds ({MAX_SECONDS:g})"
    parser.add_argument("--max-seconds", type=float, default=MAX_SECONDS, metavar="S", help=longest)
    memory = f"memory that the copy may need ({amount(MAX_MEMORY_BYTES, Unit.BYTE)})"
    parser.add_argument("--max-memory", default=str(MAX_MEMORY_BYTES), metavar="SIZE", help=memory)
    parser.add_argument("--no-fork", action="store_true", help="stand still for it instead of taking it in a copy")
    parser.add_argument("--json", action="store_true", help="say what was written as JSON")


def run(options: argparse.Namespace) -> int:
    """Take the snapshot, and say what it is."""
    _check(options)
    if options.call is None and options.target[0].isdecimal():
        _say(_of_process(int(options.target[0]), options), options)
        return 0
    with _traced(options.trace), _repeated(options), _ended_program(options):
        if options.every is None:
            gc.collect()
            _say(asdict(heap.write(options.output, fork=not options.no_fork, **_settings(options))), options)
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.call is None and not options.target:
        raise ConfigError("write either TARGET, a script or the number of a process, or --call MODULE:FUNCTION")
    if options.every is None and not options.output.name.endswith(_ENDINGS):
        raise ConfigError(f"--output = {str(options.output)!r}: its name must end with {' or '.join(_ENDINGS)}")
    for name in ("max_objects", "max_seconds", "trace"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')} = {value}: write a number above 0")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "values": options.values,
        "max_objects": options.max_objects,
        "max_seconds": options.max_seconds,
        "max_memory_bytes": parse_size(options.max_memory),
    }


# -- what is run -----------------------------------------------------------------------------------------------------


@contextmanager
def _traced(calls: int | None) -> Iterator[None]:
    if calls is None:
        yield
        return
    tracemalloc.start(calls)
    try:
        yield
    finally:
        tracemalloc.stop()


def _repeated(options: argparse.Namespace) -> AbstractContextManager[object]:
    """Return what takes a snapshot every so often, and says each; nothing without --every."""
    if options.every is None:
        return nullcontext()

    def said(summary: heap.Summary | MemguardError) -> None:
        if isinstance(summary, MemguardError):
            sys.stderr.write(f"memguard: {summary}\n")
        else:
            _say(asdict(summary), options)

    settings = {**_settings(options), "fork": not options.no_fork}
    return heap.Continuous(options.output, options.every, keep=options.keep, said=said, **settings)


@contextmanager
def _ended_program(options: argparse.Namespace) -> Iterator[None]:
    """Run the script or the function to its end, and keep what it leaves during the body of the ``with``."""
    if options.call is not None:
        kept = _guarded(options.call, _function(options.call), *options.target)
        yield
        del kept
        return
    script = options.target[0]
    before, arguments = sys.modules["__main__"], sys.argv
    module = sys.modules["__main__"] = ModuleType("__main__")
    sys.argv = options.target
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        _guarded(script, _run_script, script, module)
        yield
    finally:
        sys.path.pop(0)
        sys.argv, sys.modules["__main__"] = arguments, before


def _run_script(target: str, module: ModuleType) -> None:
    code = compile(Path(target).read_bytes(), target, "exec")
    module.__file__ = target
    exec(code, vars(module))  # noqa: S102 - to run it is what was asked for


def _function(given: str) -> Callable[..., object]:
    name, colon, function = given.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as text
    try:
        found: object = import_module(name)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--call = {given!r} cannot be found: {error}; write MODULE:FUNCTION") from error
    finally:
        sys.path.pop(0)
    if not colon or not callable(found):
        raise ConfigError(f"--call = {given!r} is no function; write MODULE:FUNCTION")
    return found


def _guarded(name: str, function: Callable[..., object], *arguments: Any) -> object:  # noqa: ANN401 - of the function
    """Call the user's code; SystemExit is one of the ways to end."""
    try:
        return function(*arguments)
    except SystemExit:
        return None
    except OSError as error:
        if error.filename == name:
            raise ConfigError(f"{plain(name)} cannot be read: {error.strerror}") from error
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> CouldNotRun:
    sys.stderr.write("".join(traceback.format_exception(error)))
    return CouldNotRun(f"{plain(name)} failed with {type(error).__name__}: no snapshot was taken")


# -- another process -------------------------------------------------------------------------------------------------


def _of_process(process: int, options: argparse.Namespace) -> dict[str, Any]:
    """
    Ask the agent in another process for a snapshot, and put the file where it is wanted.

    Raises:
        CouldNotRun: there is no such process, no agent in it, or the agent cannot do it.

    """
    try:
        client = import_module("pytest_memguard.agent.client").connect(process)
    except (ImportError, AttributeError, OSError, MemguardError) as error:
        raise CouldNotRun(
            f"process {process} has no memguard agent that answers: start it with `memguard exec -- COMMAND`"
        ) from error
    settings = {**_settings(options), "fork": not options.no_fork, "compress": options.output.suffix == ".gz"}
    answer: dict[str, Any] = client.call("snapshot", **settings)
    client.close()
    try:
        shutil.move(answer["path"], options.output)
    except OSError as error:
        raise CouldNotRun(f"{plain(str(options.output))} cannot be written: {error.strerror}") from error
    return {**answer, "path": options.output}


# -- what is said ----------------------------------------------------------------------------------------------------


def _say(summary: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({**summary, "path": str(summary["path"])}), flush=True)
        return
    print("\n".join(_lines(summary)), flush=True)


def _lines(summary: dict[str, Any]) -> Sequence[str]:
    size, pause = amount(summary["bytes"], Unit.BYTE), duration(summary["pause_s"])
    what = f"{summary['objects']} objects, {summary['edges']} references, {size}"
    lines = [f"{plain(str(summary['path']))}: {what}; paused {pause}, took {duration(summary['duration_s'])}"]
    lines += [f"  not all of it: {summary['partial']}"] * bool(summary["partial"])
    lines += [f"  {summary['note']}"] * bool(summary["note"])
    return lines
