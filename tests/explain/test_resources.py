"""What stays open or running: it is made on demand, named, and found at the line that made it."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard.core.values import Site
from pytest_memguard.explain import openers, resource_names
from pytest_memguard.explain.resources import Resources

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel by name")

RUNS = 3
HERE = Path(__file__).name
KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    for kept in KEPT:
        kept()
    KEPT.clear()
    assert sys.getprofile() is None
    assert threading.getprofile() is None


def look(
    run: Callable[[], object], metric: str, budget_s: float = 2.0
) -> tuple[tuple[str, ...], tuple[Site, ...], list[str]]:
    """Return the names of what some runs leave of one metric, and the sites of what one of them left."""
    resources = Resources({metric}, root=str(Path(__file__).parent), budget_s=budget_s)
    resources.begin()
    with resources.following():
        run()
    for _ in range(RUNS - 1):
        run()
    names, makers = resources.finish(RUNS)
    return dict(names).get(metric, ()), dict(makers).get(metric, ()), resources.notes


def source_of(sites: tuple[Site, ...]) -> list[str]:
    """Return the lines themselves."""
    assert {site.file for site in sites} <= {HERE}
    return [site.source for site in sites]


# -- descriptors -----------------------------------------------------------------------------------------------------


def open_null() -> None:
    """Open what everybody may."""
    number = os.open(os.devnull, os.O_RDONLY)
    KEPT.append(lambda: os.close(number))


def open_temporary() -> None:
    """Open temporary."""
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it is the leak
    KEPT.append(file.close)


def open_pipe() -> None:
    """Open pipe."""
    one, other = os.pipe()
    KEPT.extend([lambda: os.close(one), lambda: os.close(other)])


def open_pair() -> None:
    """Open pair."""
    one, other = socket.socketpair()
    KEPT.extend([one.close, other.close])


def open_server() -> None:
    """Open server."""
    server = socket.create_server(("127.0.0.1", 0))
    KEPT.append(server.close)


def open_udp() -> None:
    """Open udp."""
    one = socket.socket(type=socket.SOCK_DGRAM)
    KEPT.append(one.close)


def open_epoll() -> None:
    """Open epoll."""
    poll = select.epoll()
    KEPT.append(poll.close)


def open_and_close() -> None:
    """Open and close."""
    with Path(os.devnull).open(encoding="utf-8"):
        pass


@linux_only
@pytest.mark.parametrize(
    ("run", "name", "source"),
    [
        (open_null, "/dev/null", "number = os.open(os.devnull, os.O_RDONLY)"),
        (open_temporary, "/tmp/tmp*", "file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it is the leak"),  # noqa: S108
        (open_pipe, "pipe", "one, other = os.pipe()"),
        (open_pair, "unix socket", "one, other = socket.socketpair()"),
        (open_server, "socket listening on 127.0.0.1", 'server = socket.create_server(("127.0.0.1", 0))'),
        (open_udp, "socket", "one = socket.socket(type=socket.SOCK_DGRAM)"),
        (open_epoll, "epoll", "poll = select.epoll()"),
    ],
)
def test_descriptors_are_named_and_found(run: Callable[[], None], name: str, source: str) -> None:
    """What a descriptor leads to is named without numbers, and the line that opened it is found."""
    names, sites, notes = look(run, "fds")

    assert names == (name,)
    assert source_of(sites) == [source]
    assert sites[0].function == run.__name__
    assert notes == []


@linux_only
def test_how_many_a_run() -> None:
    """Each descriptor that a line opens counts."""
    _, sites, _ = look(open_pipe, "fds")

    assert [site.blocks_per_run for site in sites] == [2.0]


@linux_only
def test_a_connection_is_named_by_its_peer() -> None:
    """The port that the kernel chose is left out, one that was agreed on is not."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect() -> None:
            one = socket.create_connection(server.getsockname())
            KEPT.append(one.close)

        assert look(connect, "fds")[0] == ("socket to 127.0.0.1",)


class Address:
    """An address as psutil gives it."""

    def __init__(self, port: int) -> None:
        self.ip, self.port = "10.0.0.1", port


class Named:
    """A constant of the socket module, and a connection as psutil gives it."""

    def __init__(self, name: str = "", **attributes: object) -> None:
        self.name = name
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("kind", "status", "local", "remote", "name"),
    [
        ("SOCK_STREAM", "ESTABLISHED", Address(40_000), Address(443), "socket to 10.0.0.1:443"),
        ("SOCK_STREAM", "ESTABLISHED", Address(40_000), Address(40_001), "socket to 10.0.0.1"),
        ("SOCK_STREAM", "CLOSE_WAIT", Address(8000), Address(40_001), "socket at 10.0.0.1:8000"),
        ("SOCK_STREAM", "LISTEN", Address(8000), (), "socket listening on 10.0.0.1:8000"),
        ("SOCK_DGRAM", "NONE", Address(53), (), "udp socket at 10.0.0.1:53"),
        ("SOCK_DGRAM", "NONE", Address(0), (), "udp socket"),
        ("SOCK_STREAM", "NONE", (), (), "socket"),
    ],
)
def test_sockets_by_address(kind: str, status: str, local: object, remote: object, name: str) -> None:
    """Who serves is named by its own port, who asks by that of the other."""
    one = Named(family=Named("AF_INET"), type=Named(kind), status=status, laddr=local, raddr=remote)

    assert resource_names._name_socket(one) == name


def test_unix_sockets_by_path() -> None:
    """A unix socket has a path at one of its sides, or none."""
    for local, remote, name in [("/run/x", "", "unix socket /run/x"), ("", "/run/y", "unix socket /run/y")]:
        one = Named(family=Named("AF_UNIX"), type=Named("SOCK_STREAM"), laddr=local, raddr=remote)

        assert resource_names._name_socket(one) == name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("anon_inode:[eventpoll]", "epoll"),
        ("anon_inode:inotify", "inotify"),
        ("pidfd:[123]", "pidfd"),
        ("/memfd:tmpab12cd34 (deleted)", "memory file tmp*"),
        ("/var/log/app.log", "/var/log/app.log"),
        ("/var/log/app.log (deleted)", "/var/log/app.log (deleted)"),
        ("/tmp/#1234 (deleted)", "/tmp/unnamed file (deleted)"),  # noqa: S108 - nothing is opened
        ("/tmp/pytest-of-me/pytest-7/test_x0/app.log", "/tmp/.../app.log"),  # noqa: S108 - see above
        ("/dev/pts/7", "/dev/pts"),
    ],
)
def test_targets_are_steady(monkeypatch: pytest.MonkeyPatch, target: str, name: str) -> None:
    """What a link of /proc says loses what differs from run to run."""
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # noqa: S108 - the usual one

    assert resource_names._name_target(target) == name


def test_nothing_stays() -> None:
    """What is closed again has neither name nor site."""
    for metric in ("fds", "threads", "children", "tasks"):
        assert look(open_and_close, metric) == ((), (), [])


@linux_only
def test_what_is_replaced_does_not_stay() -> None:
    """A descriptor that takes the place of another is not one more."""
    open_null()
    resources = Resources({"fds"})
    resources.begin()
    KEPT.pop()()
    open_pipe()
    KEPT.pop()()

    assert resources.finish(1) == ((), ())


@linux_only
def test_what_came_once_is_left_out() -> None:
    """A log file that is opened for good does not stand beside what comes with each run."""
    once: list[int] = []

    def run() -> None:
        open_null()
        if not once:
            once.append(1)
            open_epoll()

    assert look(run, "fds")[0] == ("/dev/null",)


@linux_only
def test_where_the_kernel_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.2 the folder has no size, and is listed."""
    monkeypatch.setattr(openers, "_fd_counter", lambda: lambda: len(os.listdir("/proc/self/fd")) - 1)  # noqa: PTH208

    assert source_of(look(open_pipe, "fds")[1]) == ["one, other = os.pipe()"]


def test_where_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that does not list descriptors has no names of them."""
    monkeypatch.setattr(openers, "_fd_folder", lambda: None)

    assert look(open_pipe, "fds") == ((), (), [])


@linux_only
def test_numbers_that_are_used_again() -> None:
    """What the followed run opened and closed does not stand for what a later one opens."""
    resources = Resources({"fds"})
    resources.begin()
    with resources.following():
        open_null()
        KEPT.pop()()
    open_pipe()
    names, makers = resources.finish(2)

    assert (names, makers) == ((("fds", ("pipe",)),), ())


# -- threads ---------------------------------------------------------------------------------------------------------


class Worker(threading.Thread):
    """A thread that brings its own code."""

    def __init__(self, end: threading.Event) -> None:
        super().__init__(daemon=True)
        self.end = end

    def run(self) -> None:
        """Wait for the end."""
        self.end.wait()


class Hostile(threading.Thread):
    """A thread that does not want to be looked at."""

    def __getattribute__(self, name: str) -> object:
        if name == "name" and sys._getframe(1).f_globals["__name__"].startswith("pytest_memguard"):
            raise AssertionError("asked")
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        raise AssertionError("printed")

    __str__ = __repr__


def wait_for(end: threading.Event) -> None:
    """Wait until the test is over."""
    end.wait()


class Waiter:
    """Something that can be called."""

    def __init__(self, end: threading.Event) -> None:
        self.end = end

    def __call__(self) -> None:
        """Wait until the test is over."""
        self.end.wait()


def start(make: Callable[[threading.Event], threading.Thread]) -> None:
    """Start a thread that waits until the test is over."""
    end = threading.Event()
    thread = make(end)
    thread.start()
    KEPT.append(lambda: (end.set(), thread.join()))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda end: threading.Thread(target=wait_for, args=(end,), name="p-12"), "p-N (test_resources.wait_for)"),
        (lambda end: threading.Thread(target=end.wait), "Thread-N (threading.Event.wait)"),
        (Worker, "Thread-N (test_resources.Worker.run)"),
        (lambda end: Hostile(target=end.wait, name="h"), "h (threading.Event.wait)"),
        (lambda end: threading.Thread(target=partial(wait_for, end), name="p"), "p (test_resources.wait_for)"),
        (lambda end: threading.Thread(target=Waiter(end), name="w"), "w (test_resources.Waiter)"),
    ],
    ids=["function", "method", "class", "hostile", "partial", "object"],
)
def test_threads_are_named_and_found(make: Callable[[threading.Event], threading.Thread], name: str) -> None:
    """A thread has its name without numbers, what it runs, and the line that started it."""
    names, sites, notes = look(lambda: start(make), "threads")

    assert [one.replace("tests.explain.", "") for one in names] == [name]
    assert source_of(sites) == ["thread.start()"]
    assert notes == []


def test_a_timer_is_named_by_what_it_will_call() -> None:
    """A timer's class says nothing, its function all."""

    def make(end: threading.Event) -> threading.Thread:
        timer = threading.Timer(60, wait_for, (end,))
        KEPT.append(timer.cancel)
        return timer

    [name] = look(lambda: start(make), "threads")[0]

    assert name.endswith("test_resources.wait_for)")


@linux_only
def test_a_thread_that_threading_does_not_know() -> None:
    """What was started below ``threading`` is named by its first function."""

    def run() -> None:
        began, end, ended = threading.Event(), threading.Event(), threading.Event()

        def wait_below() -> None:
            began.set()
            end.wait()
            ended.set()

        _thread.start_new_thread(wait_below, ())
        began.wait()
        KEPT.append(lambda: (end.set(), ended.wait()))

    names, sites, _ = look(run, "threads")

    assert len(names) == 1
    assert names[0].endswith(".wait_below)")
    assert source_of(sites) == ["_thread.start_new_thread(wait_below, ())"]


def test_a_native_thread_is_named_by_the_kernel() -> None:
    """A thread without Python is named by what the kernel calls it; one that is gone, by its kind."""
    if sys.platform == "linux":
        assert resource_names._name_native_thread(os.getpid()).startswith("native thread ")
    assert resource_names._name_native_thread(0) == "native thread"


def test_threads_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere Python's own threads are what can be followed."""
    monkeypatch.setattr(openers, "_TASK", "/nowhere")
    names, sites, _ = look(lambda: start(Worker), "threads")

    assert len(names) == 1
    assert source_of(sites) == ["thread.start()"]


# -- tasks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Make a loop that outlives the runs."""
    made = asyncio.new_event_loop()
    yield made
    pending = asyncio.all_tasks(made)
    for task in pending:
        task.cancel()
    made.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    made.close()


async def fetch() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


async def worker() -> None:
    """Wait for who waits for ever."""
    await fetch()


class Task(asyncio.Task):  # type: ignore[type-arg] # not generic up to 3.8, and never asked
    """A task that does not want to be looked at."""

    def done(self) -> bool:
        """Complain if asked by the explanation."""
        if sys._getframe(1).f_globals["__name__"].startswith("pytest_memguard"):
            raise AssertionError("asked")
        return super().done()

    get_coro = done  # type: ignore[assignment]


@pytest.mark.parametrize("is_hostile", [False, True])
def test_tasks_are_named_and_found(loop: asyncio.AbstractEventLoop, is_hostile: bool) -> None:  # noqa: FBT001
    """A pending task is named by its chain of coroutines, and found where it was made."""
    if is_hostile:
        loop.set_task_factory(lambda loop, coro, **given: Task(coro, loop=loop, **given))

    async def spawn() -> None:
        task = asyncio.create_task(worker())
        KEPT.append(lambda: task)
        await asyncio.sleep(0)

    names, sites, _ = look(lambda: loop.run_until_complete(spawn()), "tasks")

    assert len(names) == 1
    assert [name.rpartition(".")[2] for name in names[0].split(" -> ")] == ["worker", "fetch", "wait"]
    assert source_of(sites) == ["task = asyncio.create_task(worker())"]


def test_chains_end_somewhere() -> None:
    """Generators, asynchronous generators and odd awaitables are links of a chain, too."""

    class Odd:
        def __await__(self) -> Iterator[None]:
            return iter([None])

    async def wait_for_odd() -> None:
        await Odd()

    def generate() -> Iterator[Any]:
        yield from wait_for_odd().__await__()

    async def generate_async() -> AsyncIterator[int]:
        await Odd()
        yield 1

    waiting = wait_for_odd()
    waiting.send(None)
    generator = generate()
    next(generator)
    asynchronous = generate_async()
    step = asynchronous.__anext__()
    step.send(None)
    chains = [resource_names._name_chain(one) for one in (waiting, generator, asynchronous, 1, None)]
    waiting.close()
    generator.close()
    with contextlib.suppress(StopIteration):
        step.send(None)
    with contextlib.suppress(StopIteration):
        asynchronous.aclose().send(None)

    assert [chain.rpartition("<locals>.")[2] for chain in chains] == [
        "wait_for_odd -> list_iterator",
        "generate -> coroutine_wrapper",
        "generate_async -> list_iterator",
        "int",
        "",
    ]


# -- children --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="starts what POSIX has")
def test_children_are_named_and_found() -> None:
    """A child that still runs is named by its command line."""

    def run() -> None:
        child = subprocess.Popen(["/bin/sleep", "60"])
        KEPT.append(lambda: (child.kill(), child.wait()))

    names, sites, _ = look(run, "children")

    assert names == ("sleep N",)
    assert source_of(sites) == ['child = subprocess.Popen(["/bin/sleep", "60"])']


@linux_only
def test_zombies_are_named() -> None:
    """A child that ended and was not waited for is said to be one."""

    def run() -> None:
        child = os.posix_spawn("/bin/true", ["/bin/true"], {})
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        KEPT.append(lambda: os.waitpid(child, 0))

    names, sites, _ = look(run, "children")

    assert names == ("true (ended, but never waited for)",)
    assert source_of(sites) == ['child = os.posix_spawn("/bin/true", ["/bin/true"], {})']


@linux_only
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forks_are_named() -> None:
    """A fork is said to be one, and is not followed itself."""

    def run() -> None:
        child = os.fork()
        if child == 0:
            signal.pause()
        KEPT.append(lambda: (os.kill(child, signal.SIGKILL), os.waitpid(child, 0)))

    names, sites, _ = look(run, "children")

    assert names == ("a fork of the test's own process",)
    assert source_of(sites) == ["child = os.fork()"]


# -- the user's own profiler, and other surprises --------------------------------------------------------------------


def test_the_users_profiler_stays_on() -> None:
    """Who profiles goes on, and reads why there is no line."""
    seen: list[str] = []

    def profile(_frame: object, event: str, _arg: object) -> None:
        seen.append(event)

    sys.setprofile(profile)
    try:
        names, sites, notes = look(open_null, "fds")
        left = sys.getprofile()
    finally:
        sys.setprofile(None)

    assert left is profile
    assert (len(names), sites) == (sys.platform != "win32", ())
    assert notes == ["a profiler is on: what opened or started it was not followed"]
    assert seen


def test_the_profiler_of_the_users_threads_comes_back() -> None:
    """What new threads are profiled with is put back."""

    def profile(_frame: object, _event: str, _arg: object) -> None:
        pass

    threading.setprofile(profile)
    try:
        look(open_null, "fds")
        left = threading.getprofile()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type] # None takes it off

    assert left is profile


def test_a_test_that_profiles_itself() -> None:
    """What the test put on stays on, and a note tells of what was not seen."""

    def profile(_frame: object, _event: str, _arg: object) -> None:
        pass

    def run() -> None:
        sys.setprofile(profile)

    try:
        notes = look(run, "fds")[2]
        left = sys.getprofile()
    finally:
        sys.setprofile(None)

    assert left is profile
    assert notes[0] == "what opened or started it was not followed to the end: the test profiles itself"


def test_a_run_that_raises() -> None:
    """The profile function is taken off when a run fails."""
    resources = Resources()
    resources.begin()
    with pytest.raises(ZeroDivisionError), resources.following():
        raise ZeroDivisionError
    left = sys.getprofile()

    assert left is None
    assert resources.finish(1) == ((), ())


def test_a_run_that_takes_too_long() -> None:
    """Where following costs too much, the run goes on without."""

    def run() -> None:
        for _ in range(2_000):
            len(())
        open_null()

    names, sites, notes = look(run, "fds", budget_s=0.0)

    assert (len(names), sites) == (sys.platform != "win32", ())
    assert notes == ["what opened or started it was not followed to the end: it took too long"]


def test_a_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in the profile function does not come out of the test."""
    monkeypatch.setattr(openers, "_stack", lambda _frame, _event: 1 / 0)
    notes = look(open_null, "fds")[2]

    assert notes == ["what opened or started it was not followed to the end: ZeroDivisionError"]


def test_a_thread_that_stays_lets_go_of_what_followed_it() -> None:
    """A thread that was started in the followed run is not followed for ever, and holds nothing."""
    seen: list[object] = []
    go, end = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        seen.append(sys.getprofile())
        end.set()

    thread = threading.Thread(target=work)
    resources = Resources({"fds", "threads"})
    resources.begin()
    with resources.following():
        thread.start()
    resources.finish(1)
    go.set()
    thread.join()

    assert end.is_set()
    assert seen == [None]


def test_a_hundred_thousand_calls_take_less_than_two_seconds() -> None:
    """A busy test can be followed."""

    def run() -> None:
        for _ in range(50_000):
            len(())
        open_null()

    began = time.process_time()
    _, sites, notes = look(run, "fds", budget_s=60.0)  # that is by the clock, and a busy machine is slow

    assert time.process_time() - began < 2.0
    assert notes == []
    assert len(sites) == (sys.platform == "linux")
