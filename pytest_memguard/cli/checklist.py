"""
Print the checklist against memory leaks.

Questions for a review, by topic: what to look for, why it leaks, what to write instead, and the page of the manual that
shows both forms. As markdown it can be pasted into a pull request.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from pytest_memguard.cli.compare import write_text
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["ITEMS", "Item", "add_arguments", "run"]

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Item:
    """
    One thing to check.

    Attributes:
        topic: Listeners, timers, ...
        check: A question; the answer "yes" is the good one.
        why: What happens if the answer is "no".
        fix: What to write.
        page: The page of the manual.

    """

    topic: str
    check: str
    why: str
    fix: str
    page: str


def _item(topic: str, page: str, check: str, why: str, fix: str) -> Item:
    return Item(topic, check, why, fix, f"docs/how-to/fix-{page}.md")


ITEMS = (
    _item(
        "listeners",
        "listener",
        "Is every listener and subscription removed when its owner is done, on errors and reconnects too?",
        "Whoever is listened to lives long, and keeps each bound method and with it the object behind it.",
        "Connect and disconnect in one `with` block, or hold listeners by weakref.WeakMethod.",
    ),
    _item(
        "listeners",
        "logging-handler",
        "Is a logging handler added once, and not at every request or every set-up?",
        "Loggers live as long as the program; each handler stays, and every message is written once more.",
        "Configure logging once at the start; remove and close a handler that is for a while.",
    ),
    _item(
        "listeners",
        "atexit",
        "Is what was registered with atexit unregistered once it was cleaned up by hand?",
        "atexit keeps the callback and its object until the process ends.",
        "Call atexit.unregister() in close(), or use weakref.finalize.",
    ),
    _item(
        "timers",
        "timer",
        "Is every timer cancelled when what it is for is over?",
        "A threading.Timer is a thread that keeps its function and arguments until it is due.",
        "Call cancel() in close() or in a finally clause, and join it.",
    ),
    _item(
        "timers",
        "scheduled-callback",
        "Is every call_later() and call_at() handle cancelled when its answer came early?",
        "The event loop keeps each handle, its callback and what that refers to until the time has come.",
        "Keep the handle and cancel it, or use asyncio.timeout().",
    ),
    _item(
        "caches",
        "cache-without-limit",
        "Does every cache have a limit on its size, and, where keys come from outside, a time to live?",
        "Each new key adds an entry, and nothing ever takes one away.",
        "Use lru_cache(maxsize=...), or Caches of pytest_memguard.service with a size and a time to live.",
    ),
    _item(
        "caches",
        "cache-on-method",
        "Is no method decorated with functools.cache or lru_cache?",
        "The cache belongs to the class and its keys hold self: every instance stays.",
        "Keep the results in the instance, or use caches.cached() of pytest_memguard.service.",
    ),
    _item(
        "caches",
        "unbounded-dict",
        "Does every dictionary, list and set at module or class level shrink as well as grow?",
        "What a module holds lives as long as the process: sessions, request logs, results by id.",
        "Delete entries when they are done, or use a deque(maxlen=...) or a bounded cache.",
    ),
    _item(
        "caches",
        "weak-map",
        "Does no value in a WeakKeyDictionary refer to its own key?",
        "A value is held strongly; one that holds its key keeps the entry forever.",
        "Let the value refer to its key weakly, or keep it as an attribute of the key.",
    ),
    _item(
        "streams",
        "unclosed-file",
        "Is every file, pipe and stream opened in a `with` block, or closed in a finally clause?",
        "The descriptor stays open until the object is freed, and a process has about a thousand.",
        "Write `with open(...)`, `async with`, or contextlib.closing().",
    ),
    _item(
        "streams",
        "child-process",
        "Is every child process waited for, and are its pipes closed?",
        "A child that nobody waits for stays as a zombie, and its pipes stay open.",
        "Use subprocess.run(), or Popen in a `with` block.",
    ),
    _item(
        "tasks",
        "pending-task",
        "Is every task awaited or cancelled, and is there an end to everything that it waits for?",
        "A pending task keeps its coroutine, the frames and all their variables.",
        "Use asyncio.TaskGroup and timeouts; cancel and await what is left at the end.",
    ),
    _item(
        "tasks",
        "context-variable",
        "Is every context variable that a request sets reset by its token?",
        "The context of a thread or a long task keeps the value until another one is set.",
        "Call variable.reset(token) in a finally clause.",
    ),
    _item(
        "closures",
        "scheduled-callback",
        "Do callbacks and inner functions that live long leave large variables around them alone?",
        "A closure keeps every variable of the outer function that it names, as long as somebody keeps the closure.",
        "Hand over the small value that is needed as an argument, and drop the callback when it is done.",
    ),
    _item(
        "closures",
        "wrapped-again",
        "Are functions wrapped or patched once, and put back after?",
        "Each wrapper keeps the one before it, in a chain that grows with every set-up.",
        "Wrap at import, or keep the original and restore it.",
    ),
    _item(
        "closures",
        "exception",
        "Is no exception kept after it was handled?",
        "It holds its traceback, and that all frames with their variables.",
        "Keep its text, or call traceback.clear_frames() or with_traceback(None) first.",
    ),
    _item(
        "closures",
        "class-in-function",
        "Are classes made once, and not inside functions that are called often?",
        "A class is about a kilobyte of cycles, and its base classes and registries know it.",
        "Define it at module level, or cache the function that makes it.",
    ),
    _item(
        "connections",
        "unclosed-connection",
        "Does every connection, cursor and client session go back or get closed on every path, errors included?",
        "Each holds a socket, buffers, and a place in a pool or in the server.",
        "Use `with pool.connection()`, one client session for the program, and contextlib.closing() for the rest.",
    ),
    _item(
        "connections",
        "unbounded-set",
        "Is a client that is gone taken out of every list of clients, such as those of WebSockets?",
        "A broadcast list keeps each connection with its buffers, whether anybody is at the other end or not.",
        "Discard it in the finally clause of its handler.",
    ),
    _item(
        "threads",
        "thread",
        "Does every thread have an end, somebody who joins it, and no thread-local that outlives its use?",
        "A thread keeps its stack, its frames and its locals; one that is no daemon keeps the process as well.",
        "Give it an Event to stop at, set it, and join.",
    ),
    _item(
        "threads",
        "executor",
        "Is every executor shut down, or the only one of the program?",
        "Its threads wait for work forever.",
        "Use it in a `with` block, or share one and shut it down at the end.",
    ),
)
_TOPICS = tuple(dict.fromkeys(item.topic for item in ITEMS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("topic", nargs="*", metavar="TOPIC", help=f"{', '.join(_TOPICS)} (default: all)")
    parser.add_argument("--format", choices=[*_FORMATS], default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this file instead of printing")


def run(options: argparse.Namespace) -> int:
    """Print the items of the topics asked for."""
    for topic in options.topic:
        if topic not in _TOPICS:
            raise ConfigError(f"{topic!r:.60} is no topic; there are {', '.join(_TOPICS)}")
    items = [item for item in ITEMS if not options.topic or item.topic in options.topic]
    write_text(_FORMATS[options.format](items), options.output)
    return 0


def _text(items: Sequence[Item]) -> str:
    return "\n\n".join(
        "\n\n".join([topic.upper(), *map(_paragraph, of_topic)])
        for topic, of_topic in groupby(items, key=lambda item: item.topic)
    )


def _paragraph(item: Item) -> str:
    lines = [("[ ] ", item.check), ("    why  ", item.why), ("    fix  ", item.fix), ("    see  ", item.page)]
    return "\n".join(fill(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) for head, text in lines)


def _markdown(items: Sequence[Item]) -> str:
    lines = ["# Checklist against memory leaks"]
    for topic, of_topic in groupby(items, key=lambda item: item.topic):
        lines += ["", f"## {topic.capitalize()}", ""]
        for item in of_topic:
            lines.append(f"- [ ] **{item.check}**")
            lines.append(f"  {item.why} {item.fix} [More]({item.page})")
    return "\n".join(lines)


def _json(items: Sequence[Item]) -> str:
    return json.dumps({"schema": "memguard-checklist/1", "items": [asdict(item) for item in items]}, indent=2)


_FORMATS = {"text": _text, "markdown": _markdown, "json": _json}
