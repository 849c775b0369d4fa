"""
Names for descriptors, threads, tasks and children.

They hold nothing that differs from run to run or between machines: no numbers of the kernel, no ports that it chose,
no names of temporary files. So one cause has one name.
"""

from __future__ import annotations

import functools
import gc
import os
import re
import stat
import sys
import tempfile
import threading
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import CHILDREN, FDS, TASKS, THREADS
from pytest_memguard.explain import openers
from pytest_memguard.explain.naming import attributes, class_attribute, mro, plain, qualified_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

__all__ = ["LISTINGS", "NAMERS"]

_LONGEST_COMMAND, _LONGEST_CHAIN = 80, 20
#: Ports from here on are chosen by the kernel (Linux; IANA says 49152).
_FIRST_CHOSEN_PORT = 32768
#: What tempfile puts behind "tmp".
_RANDOM_NAME = re.compile(r"(?<![a-zA-Z0-9])tmp[a-z0-9_]{8}(?![a-z0-9_])")
_IN_THE_KERNEL = re.compile(r"(\w+):\[\d+\]")


# -- descriptors -----------------------------------------------------------------------------------------------------


def _descriptors() -> dict[int, str]:
    return {number: _target(number) for number in openers.descriptors()}


def _target(number: int) -> str:
    """Return what a descriptor leads to, with the kernel's number of it, which tells a new one from an older one."""
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - no Path objects for each of a thousand
    except OSError:
        pass
    try:
        status = os.fstat(number)
    except OSError:
        return ""
    return f"{stat.S_IFMT(status.st_mode)}:{status.st_dev}:{status.st_ino}"


def _name_descriptors(numbers: Iterable[int]) -> Iterator[str]:
    sockets: Mapping[int, str] | None = None
    files: Mapping[int, str] | None = None
    for number in numbers:
        kind = _file_kind(number)
        if kind == "socket":
            sockets = _sockets() if sockets is None else sockets
            yield sockets.get(number, "socket")
        elif kind:
            yield kind
        elif sys.platform == "linux":
            yield _name_target(_target(number))
        else:
            files = _files() if files is None else files
            yield files.get(number, "file")


def _file_kind(number: int) -> str:
    try:
        mode = os.fstat(number).st_mode
    except OSError:
        return "closed meanwhile"
    return "socket" if stat.S_ISSOCK(mode) else "pipe" if stat.S_ISFIFO(mode) else ""


def _name_target(target: str) -> str:
    _, anonymous, name = target.partition("anon_inode:")
    if anonymous:
        return name.strip("[]").replace("eventpoll", "epoll")
    numbered = _IN_THE_KERNEL.fullmatch(target)
    if numbered:
        return numbered[1]
    path = target.removesuffix(" (deleted)")
    if path.startswith("/memfd:"):
        return f"memory file {_steady(path.removeprefix('/memfd:'))}"
    return f"{_steady_path(path)}{target[len(path) :]}"


def _sockets() -> dict[int, str]:
    # From the kernel's tables: a socket object around a copy of the descriptor might change its blocking mode.
    import psutil  # noqa: PLC0415 - heavy; only where something stays

    try:
        found = psutil.Process().net_connections(kind="all")
    except (psutil.Error, OSError):
        return {}
    return {connection.fd: _name_socket(connection) for connection in found}


def _name_socket(connection: Any) -> str:  # noqa: ANN401 - psutil comes without types
    local, remote = connection.laddr, connection.raddr
    if connection.family.name == "AF_UNIX":
        path = local or remote
        return f"unix socket {_steady_path(path)}" if path else "unix socket"
    kind = "udp socket" if connection.type.name == "SOCK_DGRAM" else "socket"
    if connection.status == "LISTEN":
        return f"{kind} listening on {_address(local)}"
    if remote:
        is_served = remote.port >= _FIRST_CHOSEN_PORT > local.port
        return f"{kind} at {_address(local)}" if is_served else f"{kind} to {_address(remote)}"
    return f"{kind} at {_address(local)}" if local and local.port else kind


def _address(address: Any) -> str:  # noqa: ANN401 - see above
    return f"{address.ip}:{address.port}" if 0 < address.port < _FIRST_CHOSEN_PORT else str(address.ip)


def _files() -> dict[int, str]:
    import psutil  # noqa: PLC0415 - heavy; only where something stays

    try:
        return {file.fd: _steady_path(file.path) for file in psutil.Process().open_files()}
    except (psutil.Error, OSError):
        return {}


def _steady_path(path: str) -> str:
    """Return a path without what differs between runs, if it is a temporary one."""
    folder = tempfile.gettempdir()
    for temporary in (folder, os.path.realpath(folder), "/tmp"):  # noqa: S108 - the usual one, behind the user's own
        if path.startswith(temporary + os.sep):
            between, _, name = path[len(temporary) + 1 :].rpartition(os.sep)
            return f"{temporary}/{'.../' if between else ''}{_steady(name)}"
    return "/dev/pts" if path.startswith("/dev/pts/") else path


def _steady(name: str) -> str:
    return "unnamed file" if re.fullmatch(r"#\d+", name) else _RANDOM_NAME.sub("tmp*", name)


# -- threads ---------------------------------------------------------------------------------------------------------


def _threads() -> dict[int, str]:
    return dict.fromkeys(openers.threads(), "")


def _name_threads(numbers: Iterable[int]) -> Iterator[str]:
    known = {attributes(thread).get("_native_id"): thread for thread in list(openers.active_threads().values())}
    unknown = _unknown_threads()
    for number in numbers:
        if number in known:
            yield _name_thread(known[number])
        elif unknown:  # which is which cannot be told, and need not: all of them are named
            yield f"thread without a name ({unknown.pop()})"
        else:
            yield _name_native_thread(number)


def _unknown_threads() -> list[str]:
    """Return where threads began that run Python code, but were not started by ``threading``."""
    frames = sys._current_frames()  # noqa: SLF001 - documented, underscore and all
    return [_first_function(frame) for identity, frame in frames.items() if identity not in openers.active_threads()]


def _first_function(frame: FrameType) -> str:
    while frame.f_back is not None:
        frame = frame.f_back
    return f"{plain(frame.f_globals.get('__name__'))}.{frame.f_code.co_name}"


def _name_thread(thread: object) -> str:
    names = attributes(thread)
    name = re.sub(r"\d+", "N", plain(names.get("_name")))
    does = _callable_name(names.get("_target")) or _own_run(thread, names)
    return f"{re.sub(r' [(].*[)]$', '', name)} ({does})" if does else name


def _own_run(thread: object, names: Mapping[str, Any]) -> str:
    kind = type(thread)
    if threading.Timer in mro(kind):
        return _callable_name(names.get("function"))
    return "" if class_attribute(kind, "run") is threading.Thread.run else f"{qualified_name(kind)}.run"


def _callable_name(target: Any) -> str:  # noqa: ANN401 - whatever a thread may call
    while type(target) is functools.partial:
        target = target.func
    if type(target) is MethodType:
        target = target.__func__
    if type(target) is FunctionType:
        return f"{plain(target.__module__)}.{plain(target.__qualname__)}"
    return "" if target is None else qualified_name(type(target))


def _name_native_thread(number: int) -> str:
    try:
        with open(f"/proc/self/task/{number}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            name = file.read().strip()
    except OSError:
        return "native thread"
    return f"native thread {re.sub(r'[0-9]+', 'N', name)}"


# -- tasks -----------------------------------------------------------------------------------------------------------


def _tasks() -> dict[int, str]:
    return {id(task): "" for task, _ in _pending_tasks()}


def _pending_tasks() -> list[tuple[Any, Any]]:
    """Return each task that is neither done nor cancelled, with the class of asyncio's that knows what it is."""
    asyncio_tasks = sys.modules.get("asyncio.tasks")
    if asyncio_tasks is None:
        return []
    bases = [getattr(asyncio_tasks, name) for name in ("_CTask", "_PyTask") if hasattr(asyncio_tasks, name)]
    found = []
    for task in _known_tasks(asyncio_tasks):
        base = next((base for base in bases if base in mro(type(task))), None)
        if base is not None and not base.done(task):
            found.append((task, base))
    return found


def _known_tasks(asyncio_tasks: object) -> tuple[Any, ...]:
    # From 3.14 on they stand in lists of the interpreter that only a loop's own thread may read.
    if sys.version_info >= (3, 14):
        return tuple(gc.get_objects())
    scheduled = getattr(asyncio_tasks, "_scheduled_tasks", getattr(asyncio_tasks, "_all_tasks", ()))
    return (*scheduled, *getattr(asyncio_tasks, "_eager_tasks", ()))


def _name_tasks(identities: Iterable[int]) -> Iterator[str]:
    pending = {id(task): (task, base) for task, base in _pending_tasks()}
    for identity in identities:
        if identity in pending:
            task, base = pending[identity]
            yield _name_chain(base.get_coro(task))


def _name_chain(waiting: Any) -> str:  # noqa: ANN401 - whatever a task may run
    """Return who waits for whom, down to what is not a coroutine."""
    names: list[str] = []
    while waiting is not None and len(names) < _LONGEST_CHAIN:
        kind = type(waiting)
        if kind not in _AWAITED:
            if not names or kind.__module__ != "_asyncio":  # nearly every chain ends in a future
                names.append(qualified_name(kind))
            break
        prefix, inner = _AWAITED[kind]
        frame = getattr(waiting, f"{prefix}_frame")
        module = "?" if frame is None else plain(frame.f_globals.get("__name__"))
        names.append(f"{module}.{plain(waiting.__qualname__)}")
        waiting = getattr(waiting, f"{prefix}_{inner}")
    return " -> ".join(names)


_AWAITED = {CoroutineType: ("cr", "await"), GeneratorType: ("gi", "yieldfrom"), AsyncGeneratorType: ("ag", "await")}


# -- children --------------------------------------------------------------------------------------------------------


def _children() -> dict[int, str]:
    return dict.fromkeys(openers.children(), "")


def _name_children(numbers: Iterable[int]) -> Iterator[str]:
    import psutil  # noqa: PLC0415 - heavy; only where something stays

    own = psutil.Process().cmdline()
    for number in numbers:
        try:
            yield _name_child(psutil.Process(number), own)
        except psutil.Error:
            yield "ended meanwhile"


def _name_child(child: Any, own: list[str]) -> str:  # noqa: ANN401 - psutil comes without types
    if child.status() == "zombie":
        return f"{child.name()} (ended, but never waited for)"
    command = child.cmdline()
    if command == own:
        return "a fork of the test's own process"
    words = [os.path.basename(command[0]), *map(_steady_path, command[1:])] if command else [child.name()]  # noqa: PTH119
    text = re.sub(r"\d{2,}", "N", " ".join(words))
    return text if len(text) <= _LONGEST_COMMAND else f"{text[: _LONGEST_COMMAND - 3]}..."


#: What there is of a resource: number -> what tells it from a later one of the same number.
LISTINGS: Mapping[str, Callable[[], dict[int, str]]] = {
    FDS.name: _descriptors,
    THREADS.name: _threads,
    TASKS.name: _tasks,
    CHILDREN.name: _children,
}
#: Names of some of them, one each as far as they are still there.
NAMERS: Mapping[str, Callable[[Iterable[int]], Iterator[str]]] = {
    FDS.name: _name_descriptors,
    THREADS.name: _name_threads,
    TASKS.name: _name_tasks,
    CHILDREN.name: _name_children,
}
