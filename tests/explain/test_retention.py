"""Who holds what stays: a leak of each kind is made, and what a stranger reads of it."""

from __future__ import annotations

import atexit
import contextvars
import gc
import linecache
import logging
import signal
import sys
import threading
import types
import weakref
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_memguard.explain import growth, retention
from pytest_memguard.explain.births import Births
from pytest_memguard.explain.holders import ContainerCheck
from pytest_memguard.explain.roots import at_no_referrer

RUNS = 7

COMMON = """
import asyncio, atexit, collections, contextvars, functools, itertools, linecache, logging, os, queue, signal, sys
import threading, weakref

COUNT = itertools.count()

class Session:
    def __init__(self):
        self.payload = bytearray(1000)

    def on_event(self, *_):
        return self
"""


def look(leak: Callable[[], object], *, home: str = "", runs: int = RUNS) -> retention.Survey:
    """Explain what some runs of *leak* leave, as the extra pass does."""
    leak()
    leak()
    gc.collect()
    gc.freeze()
    check = ContainerCheck(home)
    births = Births()
    try:
        check.begin()
        with births.followed():
            for run in range(runs):
                births.run_begins(may_be_last=run + 1 == runs)
                leak()
                gc.collect()
        earlier = births.earlier_runs
        newborn, youngest = births.told_apart(gc.get_objects())
        grown = growth.containers_that_grew(check, runs)
        return retention.survey(
            newborn, grown, runs=runs, youngest=youngest, earlier_runs=earlier, home=home, deadline_s=600.0
        )
    finally:
        check.close()
        gc.unfreeze()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a module from text, with what leaks use imported."""
    made: list[Any] = []

    def make(text: str, name: str = "shop") -> Any:  # noqa: ANN401
        module = types.ModuleType(name)
        exec(compile(COMMON + text, f"{name}.py", "exec"), vars(module))  # noqa: S102 - the text is ours
        monkeypatch.setitem(sys.modules, name, module)
        made.append(module)
        return module

    yield make
    for module in made:
        vars(module).clear()


def text_of(found: retention.Survey) -> str:
    """Return the text of the first path, without the spaces that align it."""
    return "\n".join(" ".join(line.split()) for line in found.paths[0].text.splitlines())


LEAKS = {
    "list": (
        "KEPT = []\ndef leak(): KEPT.append(Session())",
        "module shop\n.KEPT: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "listener": (
        """
class Listener:
    def __init__(self, callback): self.callback = callback
LISTENERS = []
def leak(): LISTENERS.append(Listener(Session().on_event))
""",
        (
            "module shop\n.LISTENERS: list, +1 a run <- grows\n[...]: shop.Listener\n"
            ".callback: bound method shop.Session.on_event\n.__self__: shop.Session"
        ),
    ),
    "dict of dicts": (
        "CACHE = {'users': {}}\ndef leak(): CACHE['users'][f'user-{next(COUNT)}'] = Session()",
        (
            "module shop\n.CACHE: dict\n['users']: dict, +1 a run <- grows\nnewest: 'user-8', 'user-7', 'user-6'\n"
            "[...]: shop.Session"
        ),
    ),
    "set": (
        "KEPT = set()\ndef leak(): KEPT.add(Session())",
        "module shop\n.KEPT: set, +1 a run <- grows\n[...]: shop.Session",
    ),
    "lru_cache on a method": (
        """
class Shop:
    @functools.lru_cache(maxsize=None)
    def price(self, key): return Session()
def leak(): Shop().price(1)
""",
        (
            "class shop.Shop\n.price: lru_cache, no limit, 9 entries, +1 a run <- grows\n"
            "of shop.Shop.price (shop.py:15)\n"
            "newest: (<Shop>, 1)\ncached [...]: shop.Session"
        ),
    ),
    "lru_cache with a limit": (
        "@functools.lru_cache(maxsize=1000)\ndef price(key): return Session()\ndef leak(): price(next(COUNT))",
        (
            "module shop\n.price: lru_cache, limit 1000, 9 entries, +1 a run <- grows\nof shop.price (shop.py:13)\n"
            "cached [...]: shop.Session"
        ),
    ),
    "exception with its traceback": (
        """
ERRORS = []
def fail(session): raise ValueError
def leak():
    session = Session()
    try: fail(session)
    except ValueError as error: ERRORS.append(error)
""",
        (
            "module shop\n.ERRORS: list, +1 a run <- grows\n[...]: ValueError\n.__traceback__: traceback\n"
            ".tb_frame: frame\nlocal leak.session: shop.Session"
        ),
    ),
    "frame deep within a traceback": (
        """
ERRORS = []
def fail(depth):
    if depth: fail(depth - 1)
    else:
        session = Session()
        raise ValueError
def leak():
    try: fail(240)
    except ValueError as error: ERRORS.append(error)
""",
        None,
    ),
    "chain of exceptions": (
        """
class Keeper:
    last = None
def leak():
    try: raise ValueError from Keeper.last
    except ValueError as error: Keeper.last = error.with_traceback(None)
""",
        "class shop.Keeper\n.last: ValueError\n.__cause__ x 6: ValueError, +1 a run <- grows",
    ),
    "threading.local": (
        "LOCAL = threading.local()\nLOCAL.calls = []\ndef leak(): LOCAL.calls.append(Session())",
        "module shop\n.LOCAL: threading.local\n.calls: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "context variable": (
        "CURRENT = contextvars.ContextVar('current', default=())\ndef leak(): CURRENT.set([*CURRENT.get(), Session()])",
        "contextvar current: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "chain in a context variable": (
        """
CURRENT = contextvars.ContextVar('current', default=None)
class Span:
    def __init__(self, parent): self.parent, self.session = parent, Session()
def leak(): CURRENT.set(Span(CURRENT.get()))
""",
        "contextvar current: shop.Span\n.parent x 6: shop.Span, +1 a run <- grows",
    ),
    "pending task": (
        """
LOOP, TASKS = asyncio.new_event_loop(), set()
async def poll(session): await asyncio.Event().wait()
def leak():
    async def main():
        TASKS.add(asyncio.ensure_future(poll(Session())))
        await asyncio.sleep(0)
    LOOP.run_until_complete(main())
def close():
    for task in TASKS: task.cancel()
    LOOP.run_until_complete(asyncio.sleep(0))
    LOOP.close()
""",
        (
            "module shop\n.TASKS: set, +1 a run <- grows\n[...]: _asyncio.Task\n._coro: coroutine poll\n"
            "local poll.session: shop.Session"
        ),
    ),
    "scheduled callback": (
        """
LOOP = asyncio.new_event_loop()
def leak(): LOOP.call_later(1000, Session().on_event)
def close(): LOOP.close()
""",
        (
            "module shop\n.LOOP: asyncio.unix_events._UnixSelectorEventLoop\n._scheduled: list, +1 a run <- grows\n"
            "[...]: asyncio.events.TimerHandle\n._callback: bound method shop.Session.on_event\n.__self__: shop.Session"
        ),
    ),
    "callback of a weak reference": (
        """
class Kept: pass
KEPT, REFERENCES = Kept(), []
def leak():
    session = Session()
    REFERENCES.append(weakref.ref(KEPT, lambda _: session))
""",
        (
            "module shop\n.REFERENCES: list, +1 a run <- grows\n[...]: weak reference\n"
            "callback: function shop.leak.<locals>.<lambda>\nclosure shop.leak.<locals>.<lambda>.session: shop.Session"
        ),
    ),
    "weak dictionary whose value holds the key": (
        """
NOTES = weakref.WeakKeyDictionary()
class Note:
    def __init__(self, owner): self.owner = owner
def leak():
    session = Session()
    NOTES[session] = Note(session)
""",
        (
            "module shop\n.NOTES: weakref.WeakKeyDictionary, +1 a run <- grows\n"
            "its values hold their keys, so no entry ever goes\n[...]: shop.Note\n.owner: shop.Session"
        ),
    ),
    "key of a weak value dictionary": (
        """
class Kept: pass
KEPT, CACHE = Kept(), weakref.WeakValueDictionary()
def leak(): CACHE[(next(COUNT), Session())] = KEPT
""",
        (
            "module shop\n.CACHE: weakref.WeakValueDictionary, +1 a run <- grows\nnewest: (8, <Session>),"
            " (7, <Session>), (6, <Session>)\n[...] (key): tuple\n[...]: shop.Session"
        ),
    ),
    "logging handler": (
        """
class Handler(logging.NullHandler):
    def __init__(self):
        super().__init__()
        self.session = Session()
def leak(): logging.getLogger('shop').addHandler(Handler())
def close(): logging.getLogger('shop').handlers.clear()
""",
        "logger shop\n.handlers: list, +1 a run <- grows\n[...]: shop.Handler\n.session: shop.Session",
    ),
    "class attribute": (
        "class Registry:\n    seen = []\ndef leak(): Registry.seen.append(Session())",
        "class shop.Registry\n.seen: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "instance attribute": (
        """
class Registry:
    def __init__(self): self.seen = []
REGISTRY = Registry()
def leak(): REGISTRY.seen.append(Session())
""",
        "module shop\n.REGISTRY: shop.Registry\n.seen: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "slot": (
        """
class Registry:
    __slots__ = ('seen',)
    def __init__(self): self.seen = []
REGISTRY = Registry()
def leak(): REGISTRY.seen.append(Session())
""",
        "module shop\n.REGISTRY: shop.Registry\n.seen: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "list that is made anew": (
        "KEPT = []\ndef leak():\n    global KEPT\n    KEPT = [*KEPT, Session()]",
        "module shop\n.KEPT: list, +1 a run <- grows\n[...]: shop.Session",
    ),
    "linked list": (
        """
class Node:
    def __init__(self, previous): self.previous = previous
HEAD = None
def leak():
    global HEAD
    HEAD = Node(HEAD)
""",
        "module shop\n.HEAD: shop.Node\n.previous x 6: shop.Node, +1 a run <- grows",
    ),
    "closure": (
        """
def make():
    seen = []
    def on_event(): seen.append(Session())
    return on_event
leak = make()
""",
        (
            "module shop\n.leak: function shop.make.<locals>.on_event\n"
            "closure shop.make.<locals>.on_event.seen: list, +1 a run <- grows\n[...]: shop.Session"
        ),
    ),
    "default argument": (
        "def handle(event, seen=[]): seen.append(Session())\ndef leak(): handle(1)",
        (
            "module shop\n.handle: function shop.handle\ndefault shop.handle(seen=): list, +1 a run <- grows\n"
            "[...]: shop.Session"
        ),
    ),
    "default argument by keyword": (
        "def handle(*, seen=[]): seen.append(Session())\ndef leak(): handle()",
        (
            "module shop\n.handle: function shop.handle\ndefault shop.handle(seen=): list, +1 a run <- grows\n"
            "[...]: shop.Session"
        ),
    ),
    "partial": (
        "HOOKS = []\ndef leak(): HOOKS.append(functools.partial(print, Session()))",
        "module shop\n.HOOKS: list, +1 a run <- grows\n[...]: functools.partial\n.args: tuple\n[...]: shop.Session",
    ),
    "generator": (
        """
GENERATORS = []
def rows(session):
    yield 1
    yield session
def leak():
    one = rows(Session())
    next(one)
    GENERATORS.append(one)
""",
        "module shop\n.GENERATORS: list, +1 a run <- grows\n[...]: generator rows\nlocal rows.session: shop.Session",
    ),
    "defaultdict of an instance in a set": (
        """
class Shop:
    def __init__(self): self.by_user = collections.defaultdict(list)
SHOPS = {Shop()}
def leak():
    for shop in SHOPS: shop.by_user['anna'].append(Session())
""",
        (
            "module shop\n.SHOPS: set\n[...]: shop.Shop\n.by_user: collections.defaultdict\n"
            "['anna']: list, +1 a run <- grows\n[...]: shop.Session"
        ),
    ),
    "only texts": (
        "SEEN = {}\ndef leak(): SEEN[f'generated <{next(COUNT)}>'] = 'x'",
        (
            "module shop\n.SEEN: dict, +1 a run <- grows\nnewest: 'generated <8>', 'generated <7>', 'generated <6>'\n"
            "[...]: str"
        ),
    ),
    "class made in a function": (
        """
CLASSES = []
def leak():
    class Made(Session): pass
    CLASSES.append(Made)
""",
        "module shop\n.CLASSES: list, +1 a run <- grows\n[...]: class shop.leak.<locals>.Made",
    ),
    "function that wraps its former self": (
        """
def hook(): pass
def leak():
    global hook
    former, session = hook, Session()
    def hook(): former(), session
""",
        None,
    ),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_what_is_said_of_a_leak(make: Callable[..., Any], kind: str) -> None:
    """The path leads from a name in the source to the survivor, and shows what grows."""
    text, expected = LEAKS[kind]
    module = make(text)
    try:
        found = look(module.leak)
    finally:
        getattr(module, "close", lambda: None)()

    if expected is not None:
        assert text_of(found) == expected
    lines = found.paths[0].text.splitlines()
    assert len(lines) <= 8
    assert max(map(len, lines)) <= 88
    assert "<- grows" in found.paths[0].text
    assert "0x" not in found.paths[0].text
    assert any(hop.suspect for hop in found.paths[0].hops)
    assert found.notes == ()


def test_atexit(make: Callable[..., Any]) -> None:
    """A callback that runs at the end of the process is held by atexit, which no collector sees."""
    module = make(
        """
CALLBACKS = []
def leak(): CALLBACKS.append(weakref.ref(atexit.register(Session().on_event).__self__))
"""
    )
    try:
        found = look(module.leak)
    finally:
        for reference in module.CALLBACKS:
            atexit.unregister(reference().on_event)

    assert "atexit, +1 a run <- grows\ncallback: bound method shop.Session.on_event" in [
        "\n".join(" ".join(line.split()) for line in path.text.splitlines()[:2]) for path in found.paths
    ]


def test_a_signal_handler(make: Callable[..., Any]) -> None:
    """A handler that wraps the one before it is held by the signal."""
    module = make(
        """
class Chained:
    def __init__(self, former): self.former = former
    def __call__(self, *_): pass
def leak(): signal.signal(signal.SIGUSR1, Chained(signal.getsignal(signal.SIGUSR1)))
"""
    )
    before = signal.getsignal(signal.SIGUSR1)
    try:
        found = look(module.leak)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert text_of(found) == "handler of SIGUSR1\n.former x 6: shop.Chained, +1 a run <- grows"


def test_c_code(make: Callable[..., Any]) -> None:
    """What only C code refers to is said to be held by it."""
    ctypes = pytest.importorskip("ctypes")
    module = make("def leak(): hold(Session())")
    held: list[int] = []

    def hold(one: object) -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
        held.append(id(one))

    module.hold = hold
    found = look(module.leak)
    for address in held:
        ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))

    texts = [path.text.splitlines() for path in found.paths]
    assert ["C code, which the garbage collector does not see into", "  ...: shop.Session"] in texts


@pytest.mark.parametrize(
    ("container", "point"),
    [
        ("weakref.WeakSet()", "KEPT.add(one)"),
        ("weakref.WeakValueDictionary()", "KEPT[next(COUNT)] = one"),
        ("weakref.WeakKeyDictionary()", "KEPT[one] = next(COUNT)"),
        ("[]", "KEPT.append(weakref.ref(one))"),
    ],
)
def test_what_only_points_holds_nothing(make: Callable[..., Any], container: str, point: str) -> None:
    """A container of weak references is never named, beside what holds their targets."""
    module = make(
        f"""
class Ring:
    pass

KEPT, RING = {container}, None
def leak():
    global RING
    one = Ring()
    one.before, RING = RING, one
    {point}
"""
    )

    found = look(module.leak)

    assert [path.hops[0].name for path in found.paths] == ["shop"]
    assert "RING" in found.paths[0].text


def test_what_only_points_is_no_path(make: Callable[..., Any]) -> None:
    """Where nobody is found who holds what stays, a weak map of it is not named instead."""
    ctypes = pytest.importorskip("ctypes")
    module = make(
        """
KEPT = weakref.WeakValueDictionary()
def leak():
    one = KEPT[next(COUNT)] = {COUNT}
    lose(one)
"""
    )
    module.lose = lambda one: ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))

    found = look(module.leak)
    for one in list(module.KEPT.values()):
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(one))

    assert not [path.text for path in found.paths if "KEPT" in path.text]


@pytest.mark.parametrize(
    ("container", "keep"),
    [
        ("weakref.WeakKeyDictionary()", "KEPT[one] = [one]"),
        ("[]", "KEPT.append(weakref.ref(one, lambda _, one=one: None))"),
        ("[]", "KEPT.append(weakref.ref(one))\n    del one"),
    ],
    ids=["values", "callbacks", "references"],
)
def test_weak_references_that_hold(make: Callable[..., Any], container: str, keep: str) -> None:
    """Their container is named where a value or callback holds the target, or nothing but the references stays."""
    module = make(f"KEPT = {container}\ndef leak():\n    one = Session()\n    {keep}")

    found = look(module.leak)

    assert "KEPT" in found.paths[0].text
    assert "+1 a run" in found.paths[0].text


@pytest.mark.parametrize("kept", ["Session()", "[COUNT]", "{COUNT}", "(COUNT, [])"])
def test_what_nobody_refers_to(make: Callable[..., Any], kept: str) -> None:
    """Objects with a reference too many are unheld, whatever their type."""
    ctypes = pytest.importorskip("ctypes")
    module = make(f"def leak(): lose({kept})")
    lost = array("Q")  # no container that grows

    def lose(one: object) -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
        lost.append(id(one))

    module.lose = lose
    found = look(module.leak)
    for address in lost:
        ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))

    assert found.unheld


@pytest.mark.parametrize(
    "text",
    [
        "KEPT = []\ndef leak(): KEPT.append([COUNT])",
        "KEPT = ()\ndef leak():\n    global KEPT\n    KEPT = (*KEPT, [COUNT])",
        "KEPT = Session()\ndef leak():\n    KEPT.former = [COUNT, getattr(KEPT, 'former', None)]",
        "KEPT = Session()\ndef leak(): setattr(KEPT, f'n{next(COUNT)}', [COUNT])",
        "KEPT = collections.deque()\ndef leak(): KEPT.append((COUNT, []))",
        "KEPT = queue.SimpleQueue()\ndef leak(): KEPT.put([COUNT])",
        "KEPT = contextvars.ContextVar('kept')\ndef leak(): KEPT.set([COUNT, KEPT.get(None)])",
        "def leak(): atexit.register([COUNT].append, 1)",
        "def leak(): pass",
    ],
)
def test_what_a_python_object_refers_to(make: Callable[..., Any], text: str) -> None:
    """C code is not accused of what any object in Python holds."""
    assert not look(make(text).leak).unheld


def test_what_another_thread_holds_on_its_stack(make: Callable[..., Any]) -> None:
    """C code is not accused of the variables of threads that run."""
    module = make(
        """
END, BEGUN = threading.Event(), queue.SimpleQueue()
def serve():
    row = [COUNT]
    BEGUN.put(1)
    END.wait()
def leak():
    threading.Thread(target=serve, daemon=True).start()
    BEGUN.get()
"""
    )

    found = look(module.leak)
    module.END.set()

    assert not found.unheld


@pytest.mark.parametrize("where", ["variable", "threading.local"])
def test_another_thread(make: Callable[..., Any], where: str) -> None:
    """What another thread keeps is named by the thread and its variable, or by the threading.local."""
    module = make(
        f"""
QUEUE, LOCAL = queue.Queue(), threading.local()
def serve():
    seen = []
    {"LOCAL.seen = seen; del seen" if where == "threading.local" else ""}
    while QUEUE.get():
        ({"LOCAL." if where == "threading.local" else ""}seen).append(Session())
        QUEUE.task_done()
def leak():
    QUEUE.put(1)
    QUEUE.join()
"""
    )
    thread = threading.Thread(target=module.serve)
    thread.start()
    try:
        found = look(module.leak)
    finally:
        module.QUEUE.put(0)
        thread.join()

    root = (
        "module shop\n.LOCAL: threading.local\n."
        if where == "threading.local"
        else "thread Thread (serve)\nlocal serve."
    )
    assert text_of(found) == f"{root}seen: list, +1 a run <- grows\n[...]: shop.Session"


def test_threads_that_stay(make: Callable[..., Any]) -> None:
    """Threads that do not end are held by threading, and hold the object that they work for."""
    module = make(
        """
END = threading.Event()
class Server:
    def serve(self): END.wait()
def leak(): threading.Thread(target=Server().serve).start()
"""
    )
    before = threading.enumerate()
    try:
        found = look(module.leak)
    finally:
        module.END.set()
        for thread in set(threading.enumerate()) - set(before):
            thread.join()

    assert text_of(found) == (
        "module threading\n._active: dict, +1 a run <- grows\n[...]: threading.Thread\n"
        "._target: bound method shop.Server.serve\n.__self__: shop.Server"
    )


def test_a_running_frame() -> None:
    """What a variable of a calling function holds is named by the function and the variable."""

    class Kept:
        pass

    seen: list[Kept] = []
    found = look(lambda: seen.append(Kept()))

    assert found.paths[0].hops[-2].grows_per_run == 1
    assert "seen" in found.paths[0].hops[-2].name


def test_linecache(make: Callable[..., Any]) -> None:
    """Generated source that linecache keeps is named by its file name, which tells who made it."""
    module = make(
        "def leak(): linecache.cache[f'<generated init Row-{next(COUNT)}>'] = (1, None, ['a', 'b'], 'x')",
    )
    try:
        found = look(module.leak)
    finally:
        for key in [key for key in linecache.cache if key.startswith("<generated")]:
            del linecache.cache[key]

    assert text_of(found).startswith(
        "module linecache\n.cache: dict, +1 a run <- grows\nnewest: '<generated init Row-8>'"
    )


# -- what is replaced ------------------------------------------------------------------------------------------------

REPLACED = """
class Option: pass
SETTINGS = {}
KEPT = []
def leak():
    SETTINGS.clear()
    SETTINGS.update((number, Option()) for number in range(13))
    KEPT.append(Session())
"""


def test_what_each_run_replaces_does_not_stay(make: Callable[..., Any]) -> None:
    """Neither types nor paths are those of objects that the next run replaces, be they as many as the runs leave."""
    found = look(make(REPLACED).leak)

    assert [one.type for one in found.types] == ["shop.Session", "bytearray"]
    assert [one.count_per_run for one in found.types] == [1.0, 1.0]
    assert [path.text for path in found.paths] == [found.paths[0].text]
    assert text_of(found) == "module shop\n.KEPT: list, +1 a run <- grows\n[...]: shop.Session"


def test_a_container_that_each_run_makes_anew(make: Callable[..., Any]) -> None:
    """What is replaced by something longer each time holds what stays, and is what grows."""
    found = look(make("KEPT = ()\ndef leak():\n    global KEPT\n    KEPT = (*KEPT, Session())").leak)

    assert (found.types[0].type, found.types[0].count_per_run) == ("shop.Session", 1.0)
    assert text_of(found) == "module shop\n.KEPT: tuple, +1 a run <- grows\n[...]: shop.Session"


def test_many_a_run(make: Callable[..., Any]) -> None:
    """Amounts are those of the runs that are counted, texts of containers included."""
    found = look(make("KEPT = {}\ndef leak(): KEPT.update((f'{next(COUNT)} x', Session()) for _ in range(50))").leak)

    assert {one.type: one.count_per_run for one in found.types} == {
        "shop.Session": 50.0, "bytearray": 50.0, "str": 50.0,
    }  # fmt: skip
    assert found.paths[0].hops[1].grows_per_run == 50


# -- which root ------------------------------------------------------------------------------------------------------


def test_the_module_that_imports_it_is_no_culprit(make: Callable[..., Any]) -> None:
    """A container of another module, which the test's module imports, is named by its own module."""
    shop = make("KEPT = []\ndef leak(): KEPT.append(Session())")
    home = make("def test(): pass", "a_test_module")
    home.KEPT = shop.KEPT
    found = look(shop.leak, home="a_test_module")

    assert found.paths[0].hops[0].name == "shop"


def test_the_module_that_defines_a_name(make: Callable[..., Any], tmp_path: Any) -> None:  # noqa: ANN401
    """Of several modules with a name, the one whose source assigns it is named."""
    shop = make("KEPT = []\ndef leak(): KEPT.append(Session())")
    other = make("", "another")
    other.KEPT = shop.KEPT
    (tmp_path / "shop.py").write_text("import x\nKEPT = []\n")
    (tmp_path / "another.py").write_text("from shop import KEPT\n")
    shop.__file__, other.__file__ = str(tmp_path / "shop.py"), str(tmp_path / "another.py")

    assert look(shop.leak).paths[0].hops[0].name == "shop"


def test_a_list_of_the_test_itself(make: Callable[..., Any]) -> None:
    """A container in the test's own module is a culprit like any other."""
    home = make("KEPT = []\ndef leak(): KEPT.append(Session())", "a_test_module")
    found = look(home.leak, home="a_test_module")

    assert [hop.name for hop in found.paths[0].hops[:2]] == ["a_test_module", ".KEPT"]


class Basket:
    """What a fixture gives."""

    def __init__(self) -> None:
        self.entries: list[object] = []


@pytest.fixture(scope="module")
def basket() -> Basket:
    """Return something that nobody else holds."""
    return Basket()


def test_the_value_of_a_fixture(request: pytest.FixtureRequest) -> None:
    """What the value of a fixture keeps is named by the fixture, although pytest's own objects hold it."""
    reference = weakref.ref(request.getfixturevalue("basket"))

    def leak() -> None:
        kept = reference()
        if kept is not None:
            kept.entries.append([])

    found = look(leak)

    assert text_of(found) == f"fixture basket: {__name__}.Basket\n.entries: list, +1 a run <- grows\n[...]: list"


# -- suspects --------------------------------------------------------------------------------------------------------


def test_suspect_hops(make: Callable[..., Any]) -> None:
    """Suspect are the hops below the last object that is meant to live, down to the first born in the runs."""
    module = make(LEAKS["defaultdict of an instance in a set"][0])
    found = look(module.leak)

    assert [(hop.name, hop.suspect) for hop in found.paths[0].hops] == [
        ("shop", False),
        (".SHOPS", False),
        ("[...]", False),
        (".by_user", True),
        ("['anna']", True),
        ("[...]", True),
    ]


def test_what_grows(make: Callable[..., Any]) -> None:
    """Only the container that grows has a growth, in entries a run."""
    module = make("KEPT = {'a': []}\ndef leak(): KEPT['a'] += [Session(), Session(), Session()]")
    found = look(module.leak)

    assert [hop.grows_per_run for hop in found.paths[0].hops] == [0, 0, 3, 0]


# -- what it leaves --------------------------------------------------------------------------------------------------


def test_survivors_are_free_to_go(make: Callable[..., Any]) -> None:
    """Nothing that was looked at is kept alive."""
    module = make(LEAKS["listener"][0])
    found = look(module.leak)
    references = [weakref.ref(one) for one in module.LISTENERS]
    module.LISTENERS.clear()
    gc.collect()

    assert found.paths
    assert [one() for one in references] == [None] * len(references)


def test_variables_of_frames_are_free_to_go() -> None:
    """A running frame keeps no copy of the variables that were looked at."""
    one = threading.Event()
    reference = weakref.ref(one)
    look(lambda: None)
    del one

    assert reference() is None


def test_the_collector_is_left_as_it_was(make: Callable[..., Any]) -> None:
    """The collector is on as before, and the heap as frozen as before."""
    module = make(LEAKS["list"][0])
    look(module.leak)

    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_nothing_stays() -> None:
    """Where nothing stays, nothing is said."""
    look(lambda: None)
    found = look(lambda: None)

    assert found.notes == ()
    assert [path for path in found.paths if "test_nothing_stays" in path.text] == []


def test_after_asyncio_has_run(make: Callable[..., Any]) -> None:
    """The collector works on 3.12.1 although the module _asyncio was around: its references are never asked for."""
    module = make("KEPT = []\nasync def main(): KEPT.append(Session())\ndef leak(): asyncio.run(main())")
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    found = look(module.leak)
    gc.collect()

    assert text_of(found).startswith("module shop\n.KEPT: list, +1 a run <- grows")


def test_a_context_is_a_root() -> None:
    """The context that a thread runs in is held by C code, and has a name of its own."""
    (step,) = at_no_referrer(contextvars.copy_context())

    assert (step.kind, step.name) == ("context", "current context")
