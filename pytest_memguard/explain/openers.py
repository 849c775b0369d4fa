"""
What opened a descriptor, started a thread or a child, made a task: the stack of the moment at which it appeared.

One run is followed by a profile function, which asks the kernel at each call and return how many there are. That sees
what C code opens, too, and leaves a debugger's or coverage's trace function alone.
"""

from __future__ import annotations

import dis
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL
from pytest_memguard.core.values import CHILDREN, FDS, TASKS, THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, FrameType

    from pytest_memguard.explain.places import Line

__all__ = ["Openers", "Stack", "active_threads", "children", "descriptors", "threads"]

_FD_FOLDERS = ("/proc/self/fd", "/dev/fd")
_TASK = "/proc/self/task"
#: C functions after which there may be a child more.
_FORKS = frozenset(
    {"fork", "forkpty", "fork_exec", "posix_spawn", "posix_spawnp", "spawnv", "spawnve", "CreateProcess"}
)
#: C functions after which there is a thread more, even if one that had ended before goes at that moment.
_STARTS = frozenset({"start_new_thread", "start_joinable_thread"})
_DEEPEST = 40
#: The clock is read once for so many events.
_BETWEEN_CLOCKS = 256

Stack = tuple["Line", ...]


# -- what there is ---------------------------------------------------------------------------------------------------


def descriptors() -> frozenset[int]:
    """Return the open descriptors; none where the platform has no folder of them."""
    folder = _fd_folder()
    if folder is None:
        return frozenset()
    found = set()
    for name in os.listdir(folder):  # noqa: PTH208 - asked at each call of the test
        try:
            os.fstat(int(name))
        except OSError:  # the one that listed the folder
            continue
        found.add(int(name))
    return frozenset(found)


def active_threads() -> dict[int, Any]:
    """Return the threads that ``threading`` knows, by its own numbers."""
    active: dict[int, Any] = threading._active  # type: ignore[attr-defined] # noqa: SLF001 - enumerate takes a lock
    return active


def threads() -> frozenset[int]:
    """Return the kernel's numbers of all threads, native ones included; of Python's threads where there is no /proc."""
    try:
        return frozenset(map(int, os.listdir(_TASK)))  # noqa: PTH208 - see above
    except OSError:
        active = list(active_threads().values())
        return frozenset(filter(None, (getattr(thread, "native_id", None) for thread in active)))


def children() -> frozenset[int]:
    """Return the process numbers of all children, zombies included."""
    import psutil  # noqa: PLC0415 - heavy; only where something stays

    try:
        return frozenset(child.pid for child in psutil.Process().children())
    except psutil.Error:
        return frozenset()


def _fd_folder() -> str | None:
    return next((folder for folder in _FD_FOLDERS if os.path.isdir(folder)), None)  # noqa: PTH112 - see above


def _fd_counter() -> Callable[[], int] | None:
    """Return what counts descriptors: since Linux 6.2 the size of the folder is their number."""
    folder = _fd_folder()
    if folder is None:
        return None
    if os.stat(folder).st_size == len(descriptors()):  # noqa: PTH116 - see above
        stat = os.stat
        return lambda: stat(folder).st_size
    return lambda: len(os.listdir(folder)) - 1  # noqa: PTH208 - see above


def _thread_counter() -> Callable[[], int]:
    try:
        os.stat(_TASK)  # noqa: PTH116 - see above
    except OSError:
        return active_threads().__len__
    stat = os.stat
    return lambda: stat(_TASK).st_nlink


# -- following a run -------------------------------------------------------------------------------------------------


class Openers:
    """
    Follows runs, and remembers for each thing that appears where that was.

    Args:
        metrics: Names of the metrics to follow; each costs a microsecond a call.
        budget_s: After this the run goes on unfollowed.

    """

    def __init__(self, metrics: frozenset[str], *, budget_s: float = 2.0) -> None:
        self.notes: list[str] = []
        self.runs = 0
        self._made: dict[str, dict[int, Stack]] = {name: {} for name in metrics}
        self._budget_s = budget_s

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow what runs inside, in this thread and in those that it starts; for one run."""
        self.runs += 1
        if sys.getprofile() is not None:
            self.notes.append("a profiler is on: what opened or started it was not followed")
            yield
            return
        hook = _Hook(self._made, self._budget_s)
        for_threads = threading.getprofile()
        threading.setprofile(hook)
        sys.setprofile(hook)
        try:
            yield
        finally:
            if sys.getprofile() is hook:
                sys.setprofile(None)
            elif hook.is_on:
                hook.why_off = "the test profiles itself"
            hook.is_on = False
            if threading.getprofile() is hook:
                threading.setprofile(for_threads)
            if hook.why_off:
                self.notes.append(f"what opened or started it was not followed to the end: {hook.why_off}")
            hook.forget()

    def stacks(self, metric: str) -> Mapping[int, Stack]:
        """Return the stack, innermost line first, by number of the descriptor, thread or child, or id of the task."""
        return self._made.get(metric, {})

    def forget(self) -> None:
        """Let go of all stacks."""
        for made in self._made.values():
            made.clear()


class _Hook:
    """The profile function; it takes itself off in each thread once it is not wanted any more."""

    def __init__(self, made: dict[str, dict[int, Stack]], budget_s: float) -> None:
        self.is_on, self.why_off = True, ""
        self._made = made
        self._pid = os.getpid()
        self._events = 0
        self._deadline_s = REAL.seconds() + budget_s
        fds = _fd_counter() if FDS.name in made else None
        self._listings: dict[str, Callable[[], frozenset[int]]] = {}
        self._counters: list[tuple[str, Callable[[], int]]] = []
        if fds is not None:
            self._listings[FDS.name] = descriptors
            self._counters.append((FDS.name, fds))
        if THREADS.name in made:
            self._listings[THREADS.name] = threads
            self._counters.append((THREADS.name, _thread_counter()))
        if CHILDREN.name in made:
            self._listings[CHILDREN.name] = children
        self._known = {name: (listing(), self._count(name)) for name, listing in self._listings.items()}
        # By identity: code is compared, and hashed, by all that it consists of.
        self._creates_tasks = set(map(id, _task_makers())) if TASKS.name in made else set()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:  # noqa: ANN401 - what sys.setprofile gives
        if not self.is_on:
            sys.setprofile(None)
            return
        try:
            self._look(frame, event, arg)
        except Exception as error:  # noqa: BLE001 - it would come out of the user's code
            self._stop(type(error).__name__)

    def forget(self) -> None:
        """Let go of all but the switch: a thread that waits for ever keeps the hook."""
        self._made, self._listings, self._known = {}, {}, {}
        self._counters, self._creates_tasks = [], set()

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:  # noqa: ANN401 - see above
        for name, count in self._counters:
            if count() != self._known[name][1]:
                self._note(name, frame, event)
        if event == "c_return" and arg.__name__ in _FORKS:
            self._forked(frame, event)
        elif event == "c_return" and arg.__name__ in _STARTS and THREADS.name in self._listings:
            self._note(THREADS.name, frame, event)
        elif event == "return" and id(frame.f_code) in self._creates_tasks and arg is not None:
            self._made[TASKS.name][id(arg)] = _stack(frame, event)
        self._events += 1
        if self._events % _BETWEEN_CLOCKS == 0 and REAL.seconds() > self._deadline_s:
            self._stop("it took too long")

    def _forked(self, frame: FrameType, event: str) -> None:
        if os.getpid() != self._pid:
            self._stop("")
        elif CHILDREN.name in self._listings:
            self._note(CHILDREN.name, frame, event)

    def _note(self, name: str, frame: FrameType, event: str) -> None:
        now, made = self._listings[name](), self._made[name]
        before = self._known[name][0]
        if name == THREADS.name and threading.get_native_id() in now - before:
            return  # a new thread that sees itself; who started it will see it, too
        stack = _stack(frame, event) if now - before else ()
        for number in before - now:
            made.pop(number, None)
        for number in now - before:
            made[number] = stack
        self._known[name] = (now, self._count(name))

    def _count(self, name: str) -> int:
        return next((count() for one, count in self._counters if one == name), 0)

    def _stop(self, why: str) -> None:
        self.is_on, self.why_off = False, why
        sys.setprofile(None)


def _task_makers() -> frozenset[CodeType]:
    """Return the code of asyncio's functions that return a new task: its class in C is called without an event."""
    makers = (
        ("asyncio.base_events", "BaseEventLoop"),
        ("asyncio.tasks", None),
        ("asyncio.taskgroups", "TaskGroup"),
    )
    found = set()
    for module_name, class_name in makers:
        module = sys.modules.get(module_name)
        owner = getattr(module, class_name, None) if class_name else module
        for name in ("create_task", "ensure_future"):
            code = getattr(getattr(owner, name, None), "__code__", None)
            if code is not None:
                found.add(code)
    return frozenset(found)


def _stack(frame: FrameType, event: str) -> Stack:
    lines: list[Line] = []
    at: FrameType | None = frame
    if event == "call":  # it was there before the function began
        at = frame.f_back
    while at is not None and len(lines) < _DEEPEST:
        lines.append((at.f_code.co_filename, at.f_lineno or at.f_code.co_firstlineno))
        at = at.f_back
    if lines and event in ("c_call", "return"):
        lines[0] = (lines[0][0], _line_of_call_before(frame) or lines[0][1])
    return tuple(lines)


def _line_of_call_before(frame: FrameType) -> int:
    """
    Return the line of the call before the present instruction.

    Making an object of a class in C, as in ``select.epoll()``, is no event: what it opened is seen at the next one.
    """
    line, found = 0, 0
    for instruction in dis.get_instructions(frame.f_code):
        line = _start_of_line(instruction, line)
        if instruction.offset >= frame.f_lasti:
            break
        if instruction.opname.startswith("CALL"):
            found = line
    return found


def _start_of_line(instruction: Any, line: int) -> int:  # noqa: ANN401 - its fields differ between versions
    if sys.version_info >= (3, 13):
        return instruction.line_number or line
    return instruction.starts_line or line
