"""The advice for every pattern, from explanations made by hand, and for what could be taken for it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_memguard.core.values import Explanation, Holder, Hop, RetentionPath, Site, TypeGrowth
from pytest_memguard.explain.advice import INTERNED, advise

ROOT = Path(__file__).parents[2]
HIDDEN = Holder("hidden")


def path(*hops: Hop) -> RetentionPath:
    """Return a path of these hops, all but the first two of them suspect."""
    return RetentionPath(hops, " -> ".join(hop.name for hop in hops))


def root(kind: str, name: str, of_type: str, grows: float = 0.0) -> Hop:
    """Return the first hop of a path."""
    return Hop(kind, name, of_type, grows, suspect=grows > 0)


def hop(kind: str, name: str, of_type: str, grows: float = 0.0) -> Hop:
    """Return another hop."""
    return Hop(kind, name, of_type, grows, suspect=True)


def types(**counts: float) -> tuple[TypeGrowth, ...]:
    """Return types that stay; two underscores stand for a dot."""
    return tuple(TypeGrowth(name.replace("__", "."), count, 64 * count) for name, count in counts.items())


def explained(*hops: Hop, **counts: float) -> Explanation:
    """Return an explanation with one path, and with types that stay."""
    return Explanation(paths=(path(*hops),) if hops else (), types=types(**counts))


def resource(metric: str, *names: str, **counts: float) -> Explanation:
    """Return the explanation of a resource that stays."""
    return Explanation(names=((metric, names),), types=types(**counts))


def page(text: str) -> str:
    """Return the pattern whose page an advice ends with."""
    found = re.search(r" - docs/how-to/(?:fix-)?([\w-]+)\.md$", text)
    assert found is not None, text
    return found[1]


DICT = root("module", "shop.CACHE", "dict", 1)
LIST = root("module", "shop.KEPT", "list", 1)
LISTENERS = (root("module", "shop.BUS", "shop.Bus"), hop("attribute", ".listeners", "list", 1))
LRU = "functools._lru_cache_wrapper"

PATTERNS = {
    "unbounded-dict": [
        explained(DICT, hop("item", "['ab']", "shop.Cart"), shop__Cart=1),
        # What a context variable holds is never set again, it grows.
        explained(root("context", "contextvar ROWS", "dict", 1), hop("item", "[...]", "shop.Cart")),
        explained(root("class", "shop.Cart.known", "collections.OrderedDict", 1)),
        explained(root("module", "shop.STORE", "shop.Store"), hop("attribute", "._rows", "dict", 1)),
        # A cache returned it, once.
        explained(
            root("module", "shop.table", LRU), hop("cache", "[...]", "dict", 1), hop("item", "[...]", "shop.Cart")
        ),
        # A container of its own making, of which nothing more is known.
        explained(root("module", "shop", "module"), hop("attribute", ".SEEN", "shop.Seen", 1)),
        # The connection is one, what grows is what it knows.
        explained(root("module", "shop.CONNECTION", "shop.Connection"), hop("attribute", ".answers", "dict", 1)),
    ],
    "unbounded-list": [
        explained(LIST, hop("element", "[...]", "shop.Cart"), shop__Cart=1),
        explained(root("module", "shop.LATEST", "collections.deque", 1)),
        explained(root("function", "shop.add", "function"), hop("default", "shop.add(items=)", "list", 1)),
        # An attribute that chains: a list by hand.
        explained(root("module", "shop.FIRST", "shop.Node"), hop("attribute", ".next", "shop.Node", 1), shop__Node=1),
        # A weak map that does not grow is only on the way.
        explained(
            root("module", "shop.NOTES", "weakref.WeakKeyDictionary"),
            hop("item", "[...]", "list", 1),
            hop("element", "[...]", "shop.Note"),
        ),
        # Functions would be wrappers if no container grew.
        explained(root("module", "shop.MEMO_OF_CALLS", "list", 1), hop("element", "[...]", "function"), function=1),
    ],
    "unbounded-set": [
        explained(root("module", "shop.SEEN", "set", 1)),
        explained(root("module", "shop.count", "function"), hop("cell", "shop.count.seen", "set", 1)),
    ],
    "cache-on-method": [
        explained(root("class", "shop.Prices.price", LRU, 1), hop("cache", "[...]", "shop.Prices"), shop__Prices=1),
    ],
    "cache-without-limit": [
        explained(root("module", "shop.parse", LRU, 1), hop("cache", "[...]", "shop.Query"), shop__Query=1),
        # A static method: the class does not stay.
        explained(root("class", "shop.Prices.parse", LRU, 1), hop("cache", "[...]", "shop.Query"), shop__Query=1),
    ],
    "listener": [
        explained(*LISTENERS, hop("element", "[...]", "method"), hop("method", ".__self__", "shop.Cart"), method=1),
        explained(*LISTENERS, hop("element", "[...]", "shop.Cart"), shop__Cart=1),
        explained(LIST, hop("element", "[...]", "functools.partial")),
        # One closure in a list is no wrapper of a wrapper.
        explained(LIST, hop("element", "[...]", "function"), hop("cell", "cart", "shop.Cart"), function=1, cell=1),
    ],
    "timer": [
        resource("threads", "Thread-N", threading__Timer=1),
        Explanation(
            paths=(
                path(root("native", "C code", "native"), hop("reference", "...", "method")),
                path(root("module", "threading", "module"), hop("attribute", "._active", "dict", 1),
                     hop("item", "[...]", "threading.Timer")),
            ),
            names=(("threads", ("Thread-N (shop.Order.drop)",)),),
        ),
        Explanation(
            sites=(Site("shop/order.py", 14, "Order", 500, 30, source="self.late = threading.Timer(60, self.drop)"),),
            makers=(("threads", (Site("shop/order.py", 16, "Order", 0, 1, source="self.late.start()"),)),),
        ),
    ],
    "scheduled-callback": [
        explained(
            root("module", "shop.LOOP", "asyncio.unix_events._UnixSelectorEventLoop"),
            hop("attribute", "._scheduled", "list", 1),
            hop("element", "[...]", "asyncio.events.TimerHandle"),
        ),
        explained(sched__Event=1),
    ],
    "thread": [
        resource("threads", "printer"),
        resource("threads", "printer", shop__Timer=1),
    ],
    "executor": [
        resource("threads", "ThreadPoolExecutor-N_N (concurrent.futures.thread._worker)"),
        resource("children", "python", concurrent__futures__process__ProcessPoolExecutor=1),
    ],
    "pending-task": [
        resource("tasks", "watch"),
        # From 3.14 on tasks are not counted.
        explained(_asyncio__Task=1, coroutine=1),
    ],
    "context-variable": [
        # Ever new variables: the tree of all of them grows.
        explained(root("context", "current context", "contextvars.Context"),
                  hop("context", "contextvar", "hamt_bitmap_node", 1)),
        explained(root("context", "contextvar SPANS", "tuple"), hop("element", "[...]", "shop.Span"), shop__Span=1),
        explained(
            root("thread", "thread MainThread", "Context"),
            hop("context", "contextvar SPANS", "tuple", 1),
            hop("element", "[...]", "shop.Span"),
        ),
    ],
    "exception": [
        explained(LIST, hop("element", "[...]", "LookupError"), hop("traceback", ".__traceback__", "traceback")),
        explained(DICT, hop("item", "['ab']", "ValueError"), ValueError=1, traceback=2, frame=2),
        explained(traceback=1, frame=1),
    ],
    "logging-handler": [
        explained(root("logging", "logger shop", "logging.Logger"), hop("attribute", ".handlers", "list", 1)),
        explained(
            root("module", "shop.LOG", "logging.Logger"),
            hop("attribute", ".handlers", "list", 1),
            logging__NullHandler=1,
        ),
        explained(root("module", "logging.Logger.manager.loggerDict", "dict", 1), logging__Logger=1),
    ],
    "unclosed-file": [
        resource("fds", "/tmp/receipt.txt"),  # noqa: S108 - a name only
        resource("fds", "/srv/socket.txt"),
        explained(LIST, hop("element", "[...]", "_io.TextIOWrapper"), _io__TextIOWrapper=1),
    ],
    "unclosed-connection": [
        resource("fds", "socket to 10.0.0.1:5432"),
        resource("fds", "unix socket", "epoll"),
        resource("fds", "/var/shop.db", sqlite3__Connection=1),
        explained(LIST, hop("element", "[...]", "sqlite3.Connection"), sqlite3__Connection=1),
        explained(LIST, hop("element", "[...]", "driver.Cursor"), driver__Cursor=1),
        # Each of them has a cache of its own.
        explained(
            LIST,
            hop("element", "[...]", "sqlite3.Connection"),
            hop("reference", "...", LRU),
            hop("cache", "[...]", "sqlite3.Statement"),
            sqlite3__Connection=1,
        ),
        # Others stay in larger numbers, so that it is not among the types.
        explained(LIST, hop("element", "[...]", "sqlite3.Connection"), cell=2, function=2),
    ],
    "weak-map": [
        explained(
            root("module", "shop.NOTES", "weakref.WeakKeyDictionary", 1),
            hop("item", "[...]", "shop.Note"),
        ),
        explained(root("class", "weakref.finalize._registry", "dict", 1)),
        explained(root("module", "shop.X", "weakref"), hop("callback", "(callback)", "function")),
    ],
    "class-in-function": [
        explained(root("class", "shop.Model.registry", "dict", 1), hop("item", "['Row']", "type"), type=1),
        explained(LIST, hop("element", "[...]", "abc.ABCMeta")),
        explained(root("module", "linecache.cache", "dict", 1), hop("item", "['<generated>']", "tuple")),
    ],
    "wrapped-again": [
        explained(
            root("module", "shop.WRITERS", "dict"),
            hop("item", "['text']", "function"),
            hop("cell", "shop.traced.<locals>.wrapper.writer", "function"),
            hop("cell", "shop.traced.<locals>.wrapper.writer", "function"),
            function=1,
            cell=1,
        ),
        explained(root("module", "shop.write", "function"), hop("attribute", ".__wrapped__", "function", 1)),
        explained(root("module", "shop.APP", "shop.Tracer"), hop("attribute", ".app", "shop.Tracer", 1)),
        explained(function=1, cell=1, tuple=1),
    ],
    "atexit": [
        explained(root("atexit", "atexit", "method"), hop("method", ".__self__", "shop.Journal"), method=1),
    ],
    "child-process": [
        resource("children", "sleep 60", subprocess__Popen=1),
        # Its pipes stay with it.
        Explanation(names=(("fds", ("pipe",)), ("children", ("cat",)))),
    ],
    "lost-reference": [
        Explanation(unheld=True),
        replace(explained(list=5), unheld=True),
        # What C code keeps may be of any type.
        replace(explained(root("native", "C code", "traceback"), traceback=1), unheld=True),
    ],
    "native": [
        explained(root("native", "held by C", "shop.Cart"), shop__Cart=1),
    ],
}  # fmt: skip
CASES = [
    pytest.param(pattern, explanation, id=f"{pattern}-{at}")
    for pattern, explanations in PATTERNS.items()
    for at, explanation in enumerate(explanations)
]


@pytest.mark.parametrize(("pattern", "explanation"), CASES)
def test_pattern_is_recognised(pattern: str, explanation: Explanation) -> None:
    """Each explanation leads to the page of its pattern."""
    metrics = ["blocks", *(metric for metric, _ in explanation.makers)]

    assert page(advise(explanation, HIDDEN, metrics)) == pattern


@pytest.mark.parametrize(("pattern", "explanation"), CASES)
def test_advice_is_one_short_sentence(pattern: str, explanation: Explanation) -> None:
    """An advice fits three lines of a failing test."""
    text = advise(explanation, HIDDEN, ["blocks"])

    assert text.isprintable()
    assert len(text) <= 270


@pytest.mark.parametrize("pattern", [*PATTERNS, "README"])
def test_page_exists(pattern: str) -> None:
    """No advice leads nowhere."""
    name = pattern if pattern == "README" else f"fix-{pattern}"

    assert (ROOT / "docs" / "how-to" / f"{name}.md").is_file()


@pytest.mark.parametrize(
    ("metric", "pattern"),
    [
        ("tasks", "pending-task"),
        ("children", "child-process"),
        ("threads", "thread"),
        ("fds", "unclosed-file"),
        ("heap", "native"),
    ],
)
def test_metric_alone_is_enough(metric: str, pattern: str) -> None:
    """Where nothing else is known, the metric that grows says what stays."""
    assert page(advise(Explanation(), Holder(), [metric])) == pattern


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("shop.CACHE", "README"),  # which sort of container it is, nobody said
        ("shop.Prices.price (shop.py:15)", "cache-on-method"),
        ("shop.parse (shop.py:15)", "cache-without-limit"),
        ("shop.build.<locals>.parse (shop.py:15)", "cache-without-limit"),
        ("shop.Bus.listeners", "listener"),
        ("logging._handlerList", "logging-handler"),
        ("weakref.WeakKeyDictionary.data", "weak-map"),
        ("asyncio.unix_events._UnixSelectorEventLoop._scheduled", "scheduled-callback"),
    ],
)
def test_holder_alone_is_enough(name: str, pattern: str) -> None:
    """Where the extra pass found nothing, the holder check's name is read."""
    assert page(advise(Explanation(), Holder("unbounded", name, None, 1.0), ["blocks"])) == pattern


@pytest.mark.parametrize(
    ("called", "named"),
    [("calls shop.pack", " (shop.pack)"), ("calls 2 frames in shop, codec", " (in shop, codec)"), ("shop.py:3 f", "")],
)
def test_lost_reference_names_what_is_called(called: str, named: str) -> None:
    """The function in C, or the packages below the line, are named."""
    site = Site("test_shop.py", 7, "test", 64, 1, ("test_shop.py:7 test", called))

    text = advise(Explanation((site,), unheld=True), HIDDEN, ["blocks"])

    assert text.startswith(f"no Python object seems to refer to what is made at test_shop.py:7{named}: C code lost")
    assert len(text) <= 270


@pytest.mark.parametrize(
    "holder", [Holder("unbounded", "shop.KEPT", None, 1.0), Holder("rebound", "shop.f", None, 1.0)]
)
def test_lost_reference_is_none_where_a_holder_is_known(holder: Holder) -> None:
    """C code is not accused of what a container holds."""
    assert page(advise(Explanation(unheld=True), holder, ["blocks"])) != "lost-reference"


@pytest.mark.parametrize(("heap", "pattern"), [(4609.0, "native"), (4607.0, "README")])
def test_bytes_rank_native_memory(heap: float, pattern: str) -> None:
    """Where nine tenths of the bytes are C's, beside one block of at most 512, the advice is about those."""
    amounts = {"blocks": 1.0, "heap": heap}

    assert page(advise(Explanation(), HIDDEN, list(amounts), amounts)) == pattern


def test_bytes_of_a_container_are_not_native() -> None:
    """A container that grows is named, however large what it holds is."""
    amounts = {"blocks": 1.0, "heap": 100_000.0}

    assert page(advise(explained(DICT), HIDDEN, list(amounts), amounts)) == "unbounded-dict"


def test_done_tasks_are_not_pending() -> None:
    """Who keeps tasks that are done is told what else is kept with them."""
    kept = explained(
        DICT, hop("item", "['ab']", "ValueError"), hop("traceback", ".__traceback__", "traceback"), _asyncio__Task=1,
        coroutine=1,
    )  # fmt: skip

    assert page(advise(kept, HIDDEN, ["blocks"])) == "pending-task"
    assert page(advise(replace(kept, tasks_done=True), HIDDEN, ["blocks"])) == "exception"


@pytest.mark.parametrize(
    ("name", "pattern"), [("native thread python", "weak-map"), ("Thread-N", "thread")], ids=["native", "Python"]
)
def test_native_threads_end_with_their_object(name: str, pattern: str) -> None:
    """Nobody can end a thread of C code: what keeps its object is to let go of it."""
    owners = root("module", "shop.RESOLVERS", "weakref.WeakKeyDictionary", 1)
    kept = replace(explained(owners, hop("item", "[...]", "tuple")), names=(("threads", (name,)), ("fds", ("epoll",))))

    assert page(advise(kept, HIDDEN, ["blocks", "threads", "fds"])) == pattern


def test_native_threads_of_nobody_are_threads() -> None:
    """Where no container grows that keeps their object, they are what stays."""
    assert page(advise(resource("threads", "native thread python"), HIDDEN, ["threads"])) == "thread"


def test_weak_set_is_no_holder() -> None:
    """A set of weak references has no values that could hold their keys, and no limit of its own."""
    kept = Holder("unbounded", "_weakrefset.WeakSet.data", None, 1.0)
    text = advise(explained(root("module", "shop.ALL", "_weakrefset.WeakSet", 1)), HIDDEN, ["blocks"])

    assert "keys" not in text
    assert "WeakSet" not in advise(Explanation(), kept, ["blocks"])


def test_names_stand_in_the_sentence() -> None:
    """What is found is named: the container, the resource."""
    container = advise(explained(*LISTENERS, hop("element", "[...]", "method")), HIDDEN, ["blocks"])
    thread = advise(resource("threads", "printer"), HIDDEN, ["threads"])

    assert "shop.BUS.listeners" in container
    assert "(such as printer)" in thread


def test_words_of_a_path_stand_apart() -> None:
    """An edge that is a word follows the name of the root after a space."""
    hooks = explained(
        root("interpreter", "os.register_at_fork", "None"),
        hop("reference", "hooks", "list", 1),
        hop("element", "[...]", "method"),
    )

    assert "added to os.register_at_fork hooks and" in advise(hooks, HIDDEN, ["blocks"])


def test_long_names_are_cut() -> None:
    """A name of a thousand letters does not drown the advice."""
    long = root("module", f"shop.{'x' * 1000}.TABLE", "dict", 1)

    text = advise(explained(long), HIDDEN, ["blocks"])

    assert "shop.xxx" in text
    assert "x.TABLE" in text
    assert len(text) < 200


def test_growing_path_is_read_first() -> None:
    """A path on which nothing grows says less than one that grows."""
    still = path(root("atexit", "atexit", "function"))
    growing = path(DICT)

    assert page(advise(Explanation(paths=(still, growing)), HIDDEN, ["blocks"])) == "unbounded-dict"


def test_suspect_that_grows_is_the_container() -> None:
    """Of two containers that grow, the suspect one is named."""
    above = root("module", "shop.ALL", "list")
    above = Hop(above.kind, above.name, above.type, 1.0, suspect=False)

    text = advise(explained(above, hop("attribute", ".by_name", "dict", 1)), HIDDEN, ["blocks"])

    assert text.startswith("shop.ALL.by_name is a dict without a limit")


def test_default_value_is_told_apart() -> None:
    """A list that is a default value is to be made inside of the function."""
    text = advise(
        explained(root("function", "shop.add", "function"), hop("default", "shop.add(items=)", "list", 1)), HIDDEN, []
    )

    assert text.startswith("shop.add(items=) is a default value")


def test_bounded_cache_is_no_cache_without_limit() -> None:
    """A cache that is not full has a limit: it is to be smaller."""
    text = advise(Explanation(), Holder("bounded", "shop.parse (shop.py:3)", 128, 1.0), ["blocks"])

    assert "smaller maxsize" in text


def test_rebound_attribute_is_named() -> None:
    """The holder check names what is wrapped again."""
    text = advise(Explanation(), Holder("rebound", "shop.write", None, 1.0), ["blocks"])

    assert text.startswith("shop.write is wrapped again")


@pytest.mark.parametrize("count", [0.4, 0.5])
def test_type_counts_from_every_second_run(count: float) -> None:
    """A type that stays less often than in every second run does not decide."""
    text = advise(explained(DICT, type=count), HIDDEN, ["blocks"])

    assert page(text) == ("class-in-function" if count >= 0.5 else "unbounded-dict")


def test_native_memory_is_placed() -> None:
    """The line after which native memory grew is in the sentence."""
    site = Site("shop/pictures.py", 12, "load", 20_000, 0)

    text = advise(Explanation(sites=(site,)), Holder("native"), ["heap"])

    assert "shop/pictures.py:12" in text
    assert page(text) == "native"


def test_python_memory_of_nobody_is_not_called_native() -> None:
    """Blocks that stay are objects of Python, whoever holds them."""
    assert page(advise(Explanation(), HIDDEN, ["blocks", "heap"])) == "README"


def interned(blocks: float, *hops: Hop, **counts: float) -> Explanation:
    """Return the explanation of two interned strings a run, and of so many blocks in all."""
    site = Site("shop/cart.py", 7, "add", 140, blocks)
    kept = TypeGrowth(INTERNED, 2.0, 0.0)
    return Explanation((site,), (*types(**counts), kept), (path(*hops),) if hops else ())


def test_strings_that_python_never_frees_are_its_own_doing() -> None:
    """Where nothing but interned strings stays, nobody is told to look for who holds them."""
    text = advise(interned(2.0), HIDDEN, ["blocks"])

    assert "this Python never frees" in text
    assert page(text) == "README"
    assert len(text) <= 270


@pytest.mark.parametrize("more", [interned(2.5), interned(2.0, shop__Cart=1), interned(2.0, LIST)])
def test_what_stays_beside_interned_strings_is_still_to_be_found(more: Explanation) -> None:
    """Other blocks, other types or a container that grows are the code's own doing."""
    assert "never frees" not in advise(more, HIDDEN, ["blocks"])


def test_unknown_pattern_still_helps() -> None:
    """Without a pattern the advice names the root of the path, or else the line."""
    site = Site("shop/cart.py", 7, "add", 64, 1)
    held = advise(explained(root("thread", "thread worker", "shop.Cart")), HIDDEN, ["blocks"])
    made = advise(Explanation(sites=(site,)), HIDDEN, ["blocks"])
    neither = advise(Explanation(), HIDDEN, ["blocks"])

    assert "thread worker" in held
    assert "shop/cart.py:7" in made
    assert page(held) == page(made) == page(neither) == "README"
