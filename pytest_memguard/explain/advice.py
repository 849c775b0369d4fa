"""
What to do about a leak: one sentence for the pattern that its explanation shows, and the page that repairs it.

Rules are asked from specific to general; the first that recognises something answers:

    resources    a task, child process, thread or descriptor stays
    nobody       no Python object refers to what stays
    owners       a traceback, logger, at-exit list, context, event loop, weak map or cache keeps it
    survivors    wrappers, classes, connections or listeners stay
    containers   a dictionary, list or set grows
    the rest     strings that the interpreter keeps, memory of C, and what nobody recognised
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING

from pytest_memguard.explain.evidence import LEAST, Evidence, cut, gather, public, sort_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_memguard.core.values import Explanation, Holder, Site

__all__ = ["INTERNED", "PAGES", "advise"]

#: Where the pages lie, each named after its pattern: ``fix-unbounded-dict.md``.
PAGES = "docs/how-to"
#: Stands among the types that stay where the interpreter keeps each string that is interned.
INTERNED = "str (interned, never freed)"

_NATIVE_METRICS = frozenset({"heap", "mapped", "rss", "uss"})
_WEAK_MAPS = re.compile(r"\bweakref\.(WeakKeyDictionary|WeakValueDictionary|finalize)\b")
_EXECUTORS = re.compile(r"concurrent\.futures\.\w+\.(ThreadPoolExecutor|ProcessPoolExecutor)$")
_HANDLES = re.compile(r"^asyncio\.events\.(Timer)?Handle$|^sched\.Event$")
_METACLASSES = re.compile(r"^type$|Meta$|Metaclass$|\bEnumType$")
_CALLABLES = frozenset({"function", "method", "functools.partial", "builtin_function_or_method", "weakref.WeakMethod"})
_LISTENING = re.compile(
    r"listener|callback|handler|observer|subscri|receiver|watcher|hook|signal|slot|(^|_)on_", re.IGNORECASE
)
_CACHING = re.compile(r"cache|memo", re.IGNORECASE)
#: Types that are to be closed: those of the standard library, and what is called so elsewhere.
_FILES = re.compile(r"^io\.(FileIO|Buffered\w+|TextIOWrapper)$|^tempfile\.|^mmap\.mmap$|^zipfile\.|^tarfile\.")
_CONNECTIONS = re.compile(
    r"^(sqlite3|socket|ssl|http\.client|ftplib|smtplib|imaplib|poplib)\.|(Connection|Cursor|ClientSession|Transport)$"
)


def advise(
    explanation: Explanation, holder: Holder, metrics: Sequence[str], amounts: Mapping[str, float] | None = None
) -> str:
    """
    Say what to do about a leak.

    Args:
        explanation: What the extra pass found; may be empty.
        holder: What the holder check found.
        metrics: Names of the metrics that grow.
        amounts: By how much each of them grows a run, where known.

    Returns:
        One sentence for the pattern that was recognised, with the page that shows its repair; a general one where
        none was. Names in it come from outside.

    """
    evidence = gather(explanation, holder, metrics, amounts or {})
    return next(filter(None, (rule(evidence) for rule in _RULES)))


def _see(page: str, sentence: str) -> str:
    return f"{sentence} - {PAGES}/fix-{page}.md"


# -- resources -------------------------------------------------------------------------------------------------------


def _task(seen: Evidence) -> str:
    are_kept = seen.stays(_TASKS) and seen.stays(_COROUTINES) and not seen.tasks_done
    if "tasks" not in seen.metrics and not are_kept:
        return ""
    return _see(
        "pending-task",
        f"asyncio tasks stay pending{_such_as(seen, 'tasks')}: cancel and await each of them, or start them in a "
        "TaskGroup",
    )


_TASKS, _COROUTINES = re.compile(r"\basyncio\.(tasks\.)?Task$"), re.compile(r"^coroutine$")


def _child(seen: Evidence) -> str:
    if "children" not in seen.metrics or seen.meets(_EXECUTORS):
        return ""
    return _see(
        "child-process",
        f"child processes are not waited for{_such_as(seen, 'children')}: call wait() or communicate(), or start them "
        "with subprocess.run or `with Popen(...)`",
    )


def _thread(seen: Evidence) -> str:
    names = seen.names.get("threads", ())
    if _is_executor(seen, names):
        return _see("executor", "an executor is never shut down: make it in a `with` block, or call shutdown() on it")
    if "threads" not in seen.metrics or _is_of_an_object(seen):
        return ""
    if seen.meets(_TIMERS) or seen.is_made_by(_TIMER_CALL):
        return _see("timer", "a timer is started and runs on: cancel() it, and join() it, when it is no longer needed")
    return _see("thread", f"threads are not ended{_such_as(seen, 'threads')}: tell each of them to end, then join() it")


def _is_of_an_object(seen: Evidence) -> bool:
    """Whether the threads are C code's, and so end with an object that is known to be kept."""
    names = seen.names.get("threads", ())
    return bool(names) and seen.grown is not None and all(name.startswith(_NATIVE_THREAD) for name in names)


_NATIVE_THREAD = "native thread"
_TIMERS, _TIMER_CALL = re.compile(r"^threading\.Timer$"), re.compile(r"\bTimer\(")


def _is_executor(seen: Evidence, thread_names: Iterable[str]) -> bool:
    is_worker = any(name.startswith("ThreadPoolExecutor") for name in thread_names)
    return is_worker or bool(seen.meets(_EXECUTORS) and seen.metrics & {"threads", "children"})


def _descriptor(seen: Evidence) -> str:
    if "fds" not in seen.metrics or _is_of_an_object(seen):
        return ""
    names = seen.names.get("fds", ())
    is_socket = any(_SOCKETS.match(name) for name in names)
    if is_socket and any(name in ("epoll", "kqueue") for name in names):
        return _see("unclosed-connection", "an event loop is never closed: use asyncio.run or Runner, or close() it")
    if is_socket or seen.stays(_CONNECTIONS):
        return _see(
            "unclosed-connection",
            f"connections stay open{_such_as(seen, 'fds')}: close() them, or open them in a `with` block",
        )
    return _see(
        "unclosed-file", f"files stay open{_such_as(seen, 'fds')}: close() them, or open them in a `with` block"
    )


_SOCKETS = re.compile(r"(udp |unix )?socket\b")


def _such_as(seen: Evidence, metric: str) -> str:
    names = seen.names.get(metric, ())
    return f" (such as {cut(names[0])})" if names else ""


def _lost(seen: Evidence) -> str:
    if not seen.unheld or seen.holder.kind not in ("hidden", "native") or INTERNED in seen.types:
        return ""
    called = next(filter(None, map(_callee, seen.sites)), "")
    made = f"is made{_made_at(seen)}" if seen.sites else "stays"
    return _see(
        "lost-reference",
        f"no Python object seems to refer to what {made}{called and f' ({cut(called)})'}: C code lost a reference to "
        "it, or keeps it: upgrade that package or report it, and accept the leak until then",
    )


def _callee(site: Site) -> str:
    """Return what the line of a site calls, as its stack says."""
    called = _CALLS.match(site.traceback[1]) if len(site.traceback) > 1 else None
    return called[1] if called else ""


_CALLS = re.compile(r"calls (?:\d+ frames? )?(.+)$")


# -- owners ----------------------------------------------------------------------------------------------------------


def _exception(seen: Evidence) -> str:
    if not seen.passes("traceback") and not seen.stays(_TRACEBACKS):
        return ""
    where = f" in {seen.container}" if seen.container else ""
    return _see(
        "exception",
        f"exceptions are kept{where}, and with each its traceback and the variables of all its functions: keep "
        "traceback.format_exc(), or drop it with error.with_traceback(None)",
    )


_TRACEBACKS = re.compile(r"^traceback$")


def _logging(seen: Evidence) -> str:
    on_logger = any(public(hop.type) == "logging.Logger" for hop in seen.path[: seen.at])
    if seen.root != "logging" and not on_logger and not seen.container.startswith("logging."):
        return ""
    if seen.stays(_LOGGERS) and not seen.stays(_LOG_HANDLERS):
        return _see("logging-handler", "loggers are made under ever new names and never dropped: give them fixed names")
    return _see(
        "logging-handler",
        "a logging handler is added again each time: add it once, or take it away with removeHandler() and close() it",
    )


_LOGGERS, _LOG_HANDLERS = re.compile(r"^logging\.Logger$"), re.compile(r"Handler$")


def _at_exit(seen: Evidence) -> str:
    if seen.root != "atexit":
        return ""
    return _see(
        "atexit",
        "callbacks for the end of the program pile up: atexit.unregister() them when their owner is done, or register "
        "one for all",
    )


def _context(seen: Evidence) -> str:
    at = next((at for at, hop in enumerate(seen.path) if hop.kind == "context"), -1)
    if at >= 0 and seen.grown is not None and _VARIABLES.match(seen.grown.type):
        return _see(
            "context-variable",
            "context variables are made anew each time and set: make each of them once, at the top of a module, and "
            "reset(token) what set() returned",
        )
    # A tuple does not grow: the variable is set to a longer one each time.
    if at < 0 or (seen.grown is not None and seen.grown.type != "tuple"):
        return ""
    return _see("context-variable", f"{seen.name_of(at)} is set and never reset: reset(token) what set() returned")


#: The tree in which a context keeps the values of its variables.
_VARIABLES = re.compile(r"hamt\b|hamt_")


def _scheduled(seen: Evidence) -> str:
    is_handle = any(_HANDLES.search(public(hop.type)) for hop in seen.path)
    if not is_handle and not seen.stays(_HANDLES) and not seen.container.endswith("._scheduled"):
        return ""
    return _see(
        "scheduled-callback",
        "callbacks are scheduled for later and never cancelled: keep the handle that call_later() returns, and "
        "cancel() it",
    )


def _weak(seen: Evidence) -> str:
    if any(hop.kind == "callback" for hop in seen.path):
        return _see(
            "weak-map",
            "the callback of a weak reference holds what it waits for: let it hold the id or a weak reference",
        )
    hops = seen.path if seen.grown is None else (seen.grown,)
    found = next(filter(None, (_WEAK_MAPS.search(public(hop.type)) for hop in hops)), None)
    found = found or _WEAK_MAPS.search(seen.container)
    if found is None:
        return ""
    if found[1] == "finalize":
        return _see(
            "weak-map", "weakref.finalize() is given the object it waits for: give it only what the clean-up needs"
        )
    return _see(
        "weak-map",
        f"the values of {seen.container or found[0]} hold their own keys, so no entry ever dies: let the value hold a "
        "weak reference, or put it on the key as an attribute",
    )


def _cache(seen: Evidence) -> str:
    name = _cache_name(seen)
    if not name:
        return ""
    if seen.holder.kind == "bounded":
        return _see("cache-without-limit", f"{name} is a cache that is not full yet: give it a smaller maxsize")
    if _is_method(name, seen.types):
        return _see(
            "cache-on-method",
            f"{name} is a cache on a method, whose keys hold every instance: use functools.cached_property, or cache a "
            "function of plain values",
        )
    return _see(
        "cache-without-limit", f"{name} is a cache without a limit: give it a maxsize, or call cache_clear() when done"
    )


def _cache_name(seen: Evidence) -> str:
    # Below a container that grows a cache is one of many; above it, it holds the container once.
    hops = seen.path if seen.grown is None else (seen.grown,)
    at = next((seen.path.index(hop) for hop in hops if "lru_cache_wrapper" in hop.type), -1)
    if _PLACE.search(seen.holder.name) and (at >= 0 or not seen.path):
        return cut(_PLACE.sub("", seen.holder.name))
    return seen.name_of(at) if at >= 0 else ""


#: The holder check names a cache by its function, with the place of that.
_PLACE = re.compile(r" \([^()]+:\d+\)$")


def _is_method(name: str, types: Mapping[str, float]) -> bool:
    """Whether the cache belongs to a class whose instances stay; whatever looks like a class where none are known."""
    owner = name.rpartition(".")[0]
    looks_so = owner.rpartition(".")[2].lstrip("_")[:1].isupper()
    return types.get(public(owner), 0.0) >= LEAST or (looks_so and not types)


# -- survivors -------------------------------------------------------------------------------------------------------


def _wrapped(seen: Evidence) -> str:
    at = _first_wrapper(seen)
    name = seen.name_of(max(0, at - 1)) if at >= 0 else seen.holder.name
    by_types = not seen.path and seen.holder.kind == "hidden" and seen.stays(_FUNCTIONS) and seen.stays(_CELLS)
    if at < 0 and seen.holder.kind != "rebound" and not by_types:
        return ""
    return _see(
        "wrapped-again",
        f"{cut(name) or 'a function'} is wrapped again each time, each wrapper around the one before: put back what "
        "was there, or look whether it is wrapped already",
    )


_FUNCTIONS, _CELLS = re.compile(r"^function$"), re.compile(r"^cell$")


def _first_wrapper(seen: Evidence) -> int:
    """Return the hop from a wrapper to what it wraps, in a chain of them; -1 where there is none."""
    if seen.is_chain and not _LINKED.search(seen.path[seen.at].name):
        return seen.at
    links = [at for at, hop in enumerate(seen.path) if hop.kind == "cell" or hop.name == ".__wrapped__"]
    return links[0] if seen.grown is None and len(links) > 1 else -1


#: Names that link the items of a list, rather than what wraps to what is wrapped.
_LINKED = re.compile(r"next|prev|parent|tail|head|link", re.IGNORECASE)


def _class(seen: Evidence) -> str:
    if seen.container.startswith("linecache.cache"):
        return _see("class-in-function", "code is generated anew each time, as for a class: make it once and keep it")
    if not seen.stays(_METACLASSES) and not (seen.entry and _METACLASSES.search(public(seen.entry.type))):
        return ""
    where = f" and kept in {seen.container}" if seen.container else ""
    return _see(
        "class-in-function",
        f"classes are made anew each time{where}: make each of them once, at the top of a module or behind a bounded "
        "cache",
    )


def _connection(seen: Evidence) -> str:
    for pattern, page in ((_CONNECTIONS, "unclosed-connection"), (_FILES, "unclosed-file")):
        kept = public(seen.entry.type) if seen.entry is not None else ""
        kind = kept if pattern.search(kept) else seen.stays(pattern)
        if kind:
            where = f" in {seen.container}" if seen.container else ""
            return _see(page, f"{cut(kind)} stays open{where}: close() it, or open it in a `with` block")
    return ""


def _listener(seen: Evidence) -> str:
    if not seen.container or _CACHING.search(seen.container):
        return ""
    attribute = seen.container.rpartition(".")[2]
    kept = public(seen.entry.type) if seen.entry is not None else ""
    if kept not in _CALLABLES and not _LISTENING.search(attribute):
        return ""
    return _see(
        "listener",
        f"listeners are added to {seen.container} and never removed: remove each when its owner is done, or hold it by "
        "a weak reference",
    )


# -- containers ------------------------------------------------------------------------------------------------------


def _container(seen: Evidence) -> str:
    if not seen.container:
        return ""
    if seen.is_chain:
        return _see("unbounded-list", f"{seen.container} is a chain without a limit: {_REPAIRS['list']}")
    if seen.grown is None:
        return f"{seen.container} has no limit: bound it, or take out what is done - {PAGES}/README.md"
    by_edge = "list" if seen.entry is not None and seen.entry.kind == "element" else "dict"
    sort = sort_of(seen.grown.type) or by_edge
    if any(hop.kind == "default" for hop in seen.path[: seen.at + 1]):
        return _see(
            f"unbounded-{sort}",
            f"{seen.container} is a default value, made once for all calls: make the {sort} inside of the function",
        )
    return _see(f"unbounded-{sort}", f"{seen.container} is a {sort} without a limit: {_REPAIRS[sort]}")


_REPAIRS = {
    "dict": "bound it (functools.lru_cache(maxsize=...)), or drop entries when done",
    "list": "bound it (collections.deque(maxlen=...)), or take out what is done",
    "set": "take out what is done (discard() in a finally)",
}


# -- the rest --------------------------------------------------------------------------------------------------------


def _interned(seen: Evidence) -> str:
    strings = seen.types.get(INTERNED, 0.0)
    # Whoever keeps other blocks as well is still to be found.
    if not strings or seen.path or len(seen.types) > 1 or sum(map(_BLOCKS, seen.sites)) >= strings + LEAST:
        return ""
    return (
        "strings are interned that are new in each run, such as names for setattr() or parts of paths, and this Python "
        f"never frees those: use 3.12.7 or later (with the GIL), or names that come again - {PAGES}/README.md"
    )


_BLOCKS = attrgetter("blocks_per_run")


def _native(seen: Evidence) -> str:
    if seen.root == "native":
        return _see("native", "something in C holds it: call what releases it there (close(), free(), clear())")
    if seen.is_mostly_native and seen.holder.kind == "hidden" and not seen.path:
        return _see(
            "native",
            f"nearly all that stays is memory of C{_made_at(seen)}: release it where it is made (close(), free(), a "
            "`with` block), or upgrade what allocates it",
        )
    only_native = bool(seen.metrics) and seen.metrics <= _NATIVE_METRICS and not seen.types
    if seen.holder.kind != "native" and not only_native:
        return ""
    return _see(
        "native",
        f"memory of C stays, and no Python object does{_made_at(seen)}: release it where it is made (close(), free(), "
        "a `with` block)",
    )


def _unknown(seen: Evidence) -> str:
    if seen.path:
        first = next((at for at, hop in enumerate(seen.path) if hop.suspect), 0)
        return (
            f"what stays hangs on {seen.name_of(first)}: cut the path at one of its edges, or look whether it is "
            f"one of the usual leaks - {PAGES}/README.md"
        )
    return (
        f"look for what keeps what is made{_made_at(seen) or ' here'}: a container, a callback or a closure that lives "
        f"longer - {PAGES}/README.md"
    )


def _made_at(seen: Evidence) -> str:
    site = next(iter(seen.sites), None)
    return f" at {cut(site.file)}:{site.line}" if site is not None else ""


_RULES: tuple[Callable[[Evidence], str], ...] = (
    _task, _child, _thread, _descriptor, _lost,
    _exception, _logging, _at_exit, _context, _scheduled, _weak, _cache,
    _wrapped, _class, _connection, _listener,
    _container, _interned, _native, _unknown,
)  # fmt: skip
