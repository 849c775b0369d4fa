"""
Where retention paths begin: what lives because the interpreter, a thread or the runner holds it.

Only names and identities are kept here, no object.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the half of signal that is in C
import gc
import signal
import sys
import threading
from contextvars import Context, copy_context
from dataclasses import replace
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.edges import Step, frame_locals
from pytest_memguard.explain.naming import (
    LRU,
    attributes,
    class_module,
    is_a,
    mro,
    namespace_name,
    plain,
    qualified_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ALL", "FIXTURE", "HOME", "LATE", "Roots", "at_no_referrer", "defines", "home_of", "is_machinery", "is_user_type",
    "runs_tests",
]  # fmt: skip

#: How good a root is: any, one that other roots are preferred to, the subject's own module.
ALL, LATE, HOME = 0, 1, 2
#: What runs tests holds everything for a while, and is no culprit.
_MACHINERY = frozenset({"_pytest", "pytest", "pluggy", "pytest_memguard", "xdist", "execnet"})
#: Within it, what is itself tested: the service that leaks on purpose.
_SUBJECT = "pytest_memguard.demo"
#: It holds what a fixture gave for as long as its scope lasts: a name that the user knows.
FIXTURE = "_pytest.fixtures.FixtureDef"
_MOST_FRAMES = 500
_LARGEST_SOURCE = 2_000_000
_LONGEST_HOOKS = 100_000
#: Functions that the standard library registers with os.register_at_fork, or with codecs.register.
_FORK_MODULES = frozenset({"logging", "random", "threading", "concurrent.futures.thread"})


class Roots:
    """
    The roots of this moment.

    Args:
        home: Name of the module that the subject itself stands in.
        thread: Identity of the thread that runs the subject; None for the one that asks.

    """

    def __init__(self, home: str, thread: int | None = None) -> None:
        self.home = home
        self.modules = dict(_modules())
        self._places: dict[int, tuple[Step, ...]] = {}
        for identity, places in (*_stacks(thread or threading.get_ident()), *_signal_handlers(), *_context()):
            self._places.setdefault(identity, places)

    def knows(self, one: object) -> bool:
        """Whether a frame, a signal or a context variable refers to *one* itself."""
        return id(one) in self._places

    def find(self, one: Any) -> tuple[int, tuple[Step, ...]] | None:  # noqa: ANN401 - any object at all
        """Return how good a root *one* is, and the steps that lead to it; None where it is none."""
        if id(one) in self._places:
            places = self._places[id(one)]
            # The first of two leads to a frame, which has no name of its own.
            steps = (*places[:-1], replace(places[-1], one=one))
            return (LATE if places[0].kind == "frame" else ALL), steps
        if id(one) in self.modules:
            return self._module(self.modules[id(one)], one)
        if is_a(one, ModuleType):
            return self._module(namespace_name(one), one)
        if is_a(one, type):
            return self._goodness(class_module(one)), (Step("class", qualified_name(one), one),)
        named = _named_root(one)
        return (LATE if named.kind == "fixture" else ALL, (named,)) if named is not None else None

    def _module(self, name: str, one: Any) -> tuple[int, tuple[Step, ...]]:  # noqa: ANN401 - a module or its dictionary
        return self._goodness(name), (Step("module", name, one, text=f"module {name}"),)

    def _goodness(self, module: str) -> int:
        return HOME if module == self.home else ALL


def _named_root(one: Any) -> Step | None:  # noqa: ANN401 - any object at all
    names = {qualified_name(kind) for kind in mro(type(one))}
    if "logging.Logger" in names:
        return Step("logging", f"logger {plain(attributes(one).get('name'))}", one)
    if "threading.Thread" in names:
        return Step("thread", thread_name(one), one)
    if FIXTURE in names:
        return Step("fixture", f"fixture {plain(attributes(one).get('argname'))}", one)
    return None


def thread_name(thread: object) -> str:
    """Return the name of a thread, without the number that a nameless one is given."""
    name = plain(attributes(thread).get("_name"))
    head, _, tail = name.partition("-")
    number, _, target = tail.partition(" ")
    return f"thread {' '.join(filter(None, [head, target]))}" if number.isdecimal() else f"thread {name}"


def is_machinery(one: Any) -> bool:  # noqa: ANN401 - any object at all
    """Whether *one* belongs to what runs the tests."""
    kind = type(one)
    if kind is FunctionType:
        return runs_tests(plain(one.__module__))
    if kind is FrameType:
        return runs_tests(plain(one.f_globals.get("__name__")))
    if kind is MethodType:
        return is_machinery(one.__self__)
    if is_a(one, ModuleType):
        return runs_tests(namespace_name(one))
    return runs_tests(class_module(one if is_a(one, type) else kind))


def runs_tests(module: str) -> bool:
    """Whether a module belongs to what runs the tests."""
    return module.partition(".")[0] in _MACHINERY and not module.startswith(_SUBJECT)


def is_user_type(kind: type) -> bool:
    """Whether a class is neither Python's own, nor of its standard library, nor of what runs the tests."""
    module = class_module(kind)
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and not runs_tests(module) and top != "builtins"


# -- what is in no object's attributes -------------------------------------------------------------------------------


def _modules() -> Iterator[tuple[int, str]]:
    for name, module in list(sys.modules.items()):
        if is_a(module, ModuleType):
            yield id(attributes(module)), plain(name)


_Place = tuple[int, tuple[Step, ...]]


def _stacks(own: int) -> Iterator[_Place]:
    """Yield the local variables of all running frames, except of those that run the test; *own* thread's by frame."""
    active: dict[Any, Any] = getattr(threading, "_active", {})
    for ident, top in sys._current_frames().items():  # noqa: SLF001 - public in all but its name
        root = None
        if ident != own:
            thread = active.get(ident)
            root = Step("thread", thread_name(thread) if thread is not None else "thread", None)
        frame: FrameType | None = top
        for _ in range(_MOST_FRAMES):
            if frame is None:
                break
            if not is_machinery(frame):
                yield from _locals(frame, root)
            frame = frame.f_back


def _locals(frame: FrameType, root: Step | None) -> Iterator[_Place]:
    if frame.f_locals is frame.f_globals:
        return
    name = plain(frame.f_code.co_name)
    first = root or Step("frame", f"{plain(frame.f_globals.get('__name__'))}.{name}", None, text=f"running {name}()")
    for variable, value in frame_locals(frame):
        yield id(value), (first, Step("local", f"{name}.{variable}", None))


def _signal_handlers() -> Iterator[_Place]:
    for number in signal.Signals:
        try:
            # Not that of the module signal: it compares what it gets with the members of an enumeration.
            handler = _signal.getsignal(int(number))
        except (OSError, ValueError):
            continue
        if handler is not None and type(handler) is not int:
            yield id(handler), (Step("signal", f"handler of {number.name}", None),)


def _context() -> Iterator[_Place]:
    for variable, value in copy_context().items():
        yield id(value), (Step("context", f"contextvar {plain(variable.name)}", None),)


# -- which of several modules ----------------------------------------------------------------------------------------


def home_of(one: Any) -> str:  # noqa: ANN401 - any object at all
    """Return the name of the module that a function, a class or the class of an object stands in."""
    if type(one) is FunctionType:
        return plain(one.__module__)
    if is_a(one, LRU):
        return plain(attributes(one).get("__module__"))
    return class_module(one if is_a(one, type) else type(one))


def defines(module: str, attribute: str) -> bool:
    """Whether the source of a module assigns a global name; a module that only imports it does not."""
    file = attributes(sys.modules.get(module)).get("__file__")
    if type(file) is not str or not file.endswith(".py"):
        return False
    try:
        with open(file, encoding="utf-8", errors="replace") as source:  # noqa: PTH123 - as in co_filename
            text = source.read(_LARGEST_SOURCE)
    except OSError:
        return False
    return any(
        line.startswith(attribute) and line[len(attribute) :].lstrip()[:1] in ("=", ":") for line in text.splitlines()
    )


def at_no_referrer(one: Any) -> tuple[Step, ...]:  # noqa: ANN401 - any object at all
    """Return the steps to an object that lives, although nothing that the collector sees refers to it."""
    name = qualified_name(type(one))
    if name in ("_asyncio.Task", "asyncio.tasks.Task"):
        return (Step("task", "task", one),)
    if type(one) is Context:
        return (Step("context", "current context", one),)
    if type(one) is list:
        # Not one[:n]: C code may have made it and not filled it yet, and reading such an item ends the process.
        modules = set(map(_module_of, gc.get_referents(one)[:_MOST_FRAMES])) if len(one) <= _LONGEST_HOOKS else set()
        if modules & _FORK_MODULES:
            return (Step("interpreter", "os.register_at_fork", None), Step("reference", "hooks", one))
        if "encodings" in modules:
            return (Step("interpreter", "codecs.register", None), Step("reference", "functions", one))
    native = Step("native", "C code", None, text="C code, which the garbage collector does not see into")
    return (native, Step("reference", "...", one))


def _module_of(hook: Any) -> str:  # noqa: ANN401 - any callable at all
    if type(hook) is FunctionType:
        return plain(hook.__module__)
    return class_module(type(hook.__self__ if type(hook) is MethodType else hook))
