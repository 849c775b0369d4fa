"""After which statement native memory grows: on a heap that the tests make, and on the real one."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_memguard.core.values import Site
from pytest_memguard.explain import statements
from pytest_memguard.explain.statements import growing_statements

SHOP = """\
import asyncio
import functools
import json

HEAP = [0]
CALLS = [0]


def native(size):
    HEAP[0] += size


class Buffer:
    def __init__(self, size):
        self.size = size
        HEAP[0] += size

    def __del__(self):
        HEAP[0] -= self.size


def plain():
    native(1)
    native(-1)
    native(4096)
    return 1


def held():
    buffer = Buffer(100_000)
    native(4096)
    return buffer.size


def held_and_kept():
    buffer = (Buffer(100_000), native(4096))
    return buffer[0].size


def loop():
    for _ in range(10):
        native(100)
    else:
        native(-1000)
        native(500)


def with_block():
    with open(__file__) as file:
        file.read()
        native(700)


def every_fifth():
    CALLS[0] += 1
    if CALLS[0] % 5 == 0:
        native(5000)


def outer():
    x = 1
    middle()
    return x


def middle():
    y = 2
    inner()
    return y


def inner():
    native(900)


def through_library():
    functools.reduce(lambda a, b: native(300), [1, 2])


def recursive(depth=3):
    if depth:
        return recursive(depth - 1)
    native(800)


async def waits():
    await asyncio.sleep(0)
    await fetch()
    await asyncio.sleep(0)


async def fetch():
    await asyncio.sleep(0)
    native(600)


async def waits_for_others():
    task = asyncio.ensure_future(fetch())
    await asyncio.sleep(0.001)
    await task


def counts_to(n):
    for number in range(n):
        yield number
        native(10)


def generates():
    return sum(counts_to(5))


def raises():
    try:
        native(400)
        raise ValueError
    except ValueError:
        pass


def parses():
    json.loads("[1, 2]"); native(200)


def clean():
    native(50)
    native(-50)


def busy():
    for _ in range(100_000):
        pass
"""

#: A budget that no machine uses up, however much else it does.
LONG_S = 600.0


@pytest.fixture
def shop(tmp_path: Path) -> types.ModuleType:
    """Import a project's module whose native heap is a number."""
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("shop", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Take coverage's trace function off for a moment, and see that ours is gone."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    left = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    assert left == (None, None)


def look(
    shop: types.ModuleType, name: str, *, budget_s: float = LONG_S, notes: list[str] | None = None
) -> tuple[Site, ...]:
    """Return the lines that the heap grows on when a function of the project runs."""
    function = getattr(shop, name)

    def run() -> None:
        made = function()
        if asyncio.iscoroutine(made):
            asyncio.run(made)

    root = str(Path(shop.__file__ or "").parent)
    return growing_statements(run, function.__code__, lambda: shop.HEAP[0], root=root, budget_s=budget_s, notes=notes)


def found(sites: tuple[Site, ...]) -> list[tuple[str, str, float]]:
    """Return function, source and bytes of each line."""
    return [(site.function, site.source, site.bytes_per_run) for site in sites]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", [("native", "HEAP[0] += size", 4096)]),
        ("held", [("native", "HEAP[0] += size", 4096)]),
        ("with_block", [("native", "HEAP[0] += size", 700)]),
        ("outer", [("native", "HEAP[0] += size", 900)]),
        ("raises", [("native", "HEAP[0] += size", 400)]),
        ("clean", []),
    ],
)
def test_the_innermost_line_is_found(shop: types.ModuleType, name: str, expected: list[object]) -> None:
    """Functions of the user's that a line calls are searched, some levels deep."""
    assert found(look(shop, name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", ("plain", "native(4096)", 4096)),
        ("held", ("held", "native(4096)", 4096)),
        ("held_and_kept", ("held_and_kept", "buffer = (Buffer(100_000), native(4096))", 4096)),
        ("with_block", ("with_block", "native(700)", 700)),
        ("every_fifth", ("every_fifth", "native(5000)", pytest.approx(1000, rel=0.5))),
        ("outer", ("outer", "middle()", 900)),
        ("through_library", ("through_library", "functools.reduce(lambda a, b: native(300), [1, 2])", 300)),
        ("recursive", ("recursive", "native(800)", 800)),
        ("waits", ("waits", "await fetch()", 600)),
        ("waits_for_others", ("waits_for_others", "await asyncio.sleep(0.001)", 600)),
        ("generates", ("generates", "return sum(counts_to(5))", 50)),
    ],
)
def test_the_line_of_the_test_is_found(
    shop: types.ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[str, str, float]
) -> None:
    """Of all lines of the test's own function, the one that keeps native memory is named, whatever others hold."""
    monkeypatch.setattr(statements, "_DEEPEST", 0)

    assert expected in found(look(shop, name))


def test_lines_that_give_back_are_counted(shop: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a loop takes, a line that gives it back leaves the loop too large for the growth of a run."""
    monkeypatch.setattr(statements, "_DEEPEST", 0)

    assert found(look(shop, "loop")) == [("loop", "native(500)", 500)]


def test_the_way_from_the_test_is_shown(shop: types.ModuleType, tmp_path: Path) -> None:
    """A line deep inside comes with those that led to it."""
    [site] = look(shop, "outer")

    assert [line.rpartition(" ")[2] for line in site.traceback] == ["native", "inner", "middle", "outer"]
    assert (site.file, site.blocks_per_run) == ("shop.py", 0.0)


def test_a_coroutine_of_a_library_is_followed(shop: types.ModuleType) -> None:
    """The line that waits stands for what grows meanwhile, and so does the coroutine that it waits for."""
    [site] = look(shop, "waits")

    assert (site.function, site.source) in [("fetch", "native(600)"), ("native", "HEAP[0] += size")]


def test_functions_in_c_are_named(shop: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the line calls in C stands in the traceback, what every line calls does not."""
    monkeypatch.setattr(statements, "_DEEPEST", 0)
    monkeypatch.setattr(statements, "_EVERYWHERE", statements._EVERYWHERE - {"builtins"})
    [site] = look(shop, "with_block")
    monkeypatch.undo()
    monkeypatch.setattr(statements, "_DEEPEST", 0)
    [plain] = look(shop, "plain")

    assert site.traceback == (f"shop.py:{site.line} with_block",)
    assert plain.traceback == (f"shop.py:{plain.line} plain",)


class Stack(list[int]):
    """A container that does not want to be looked at."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        raise AssertionError("asked")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (sys.intern, ("sys", "sys.intern")),
        (len, ("builtins", "builtins.len")),
        ([].append, ("builtins", "list.append")),
        (Stack().append, ("test_statements", "test_statements.Stack.append")),
        (str.upper, ("builtins", "str.upper")),
        (dict.fromkeys, ("builtins", "type.fromkeys")),
        (ctypes.sizeof, ("_ctypes", "_ctypes.sizeof")),
        (time.struct_time.__reduce__, ("time", "time.struct_time.__reduce__")),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_names_of_functions_in_c(function: Callable[..., object], name: tuple[str, str]) -> None:
    """A function in C is named by its module, a method by its class."""
    module, full = statements._name_of(function)

    assert (module.replace("tests", "test_statements"), full.replace("tests.explain.", "")) == name


def test_foreign_functions_come_first() -> None:
    """What a package brings is a likelier culprit than the standard library."""
    counted = statements.Counter({("_json", "_json.scanstring"): 9, ("_shop", "_shop.make"): 1})

    assert statements._foreign_first(counted) == ["_shop.make"]
    del counted["_shop", "_shop.make"]
    assert statements._foreign_first(counted) == ["_json.scanstring"]


# -- other tracers, and other surprises ------------------------------------------------------------------------------


def test_a_debugger_stays_on(shop: types.ModuleType) -> None:
    """Who traces already is left alone, and reads why there is no line."""
    notes: list[str] = []

    def trace(_frame: object, _event: str, _arg: object) -> None:
        pass

    sys.settrace(trace)
    sites = look(shop, "plain", notes=notes)
    left = sys.gettrace()
    sys.settrace(None)

    assert (left, sites) == (trace, ())
    assert notes == ["a debugger or coverage traces the test: the statement that native memory grows on was not sought"]


def test_a_profiler_stays_on(shop: types.ModuleType) -> None:
    """Who profiles is left alone: the line is found, and what it calls is not."""

    def profile(_frame: object, _event: str, _arg: object) -> None:
        pass

    sys.setprofile(profile)
    sites = look(shop, "plain")
    left = sys.getprofile()
    sys.setprofile(None)

    assert left is profile
    assert len(sites) == 1


@pytest.mark.parametrize("run_number", [1, 8])
def test_a_run_that_raises(shop: types.ModuleType, run_number: int) -> None:
    """Trace and profile function are taken off when a run fails, in the first part and in the second."""
    runs = []

    def run() -> None:
        runs.append(1)
        shop.plain()
        if len(runs) == run_number:
            raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        growing_statements(run, shop.plain.__code__, lambda: shop.HEAP[0], budget_s=LONG_S)
    left = sys.gettrace(), sys.getprofile()

    assert len(runs) >= run_number
    assert left == (None, None)


def test_a_test_that_traces_itself(shop: types.ModuleType) -> None:
    """What the test puts on stays on."""

    def trace(_frame: object, _event: str, _arg: object) -> None:
        pass

    def run() -> None:
        sys.settrace(trace)

    growing_statements(run, shop.plain.__code__, lambda: shop.HEAP[0], budget_s=LONG_S)
    left = sys.gettrace()
    sys.settrace(None)

    assert left is trace


def test_a_test_that_takes_too_long(shop: types.ModuleType) -> None:
    """Where reading between lines costs too much, it ends, and a note says so."""
    notes: list[str] = []
    sites = look(shop, "busy", budget_s=0.0, notes=notes)

    assert sites == ()
    assert set(notes) == {"the statement that native memory grows on was not sought to the end: it took too long"}


def test_a_function_that_is_never_called(shop: types.ModuleType) -> None:
    """Growth elsewhere has no line."""
    assert (
        growing_statements(lambda: shop.native(100), shop.plain.__code__, lambda: shop.HEAP[0], budget_s=LONG_S) == ()
    )


def test_a_line_that_is_nobodys(shop: types.ModuleType) -> None:
    """A test that is installed with the library is shown all the same."""
    code = shop.plain.__code__.replace(co_filename="<string>")
    function = types.FunctionType(code, vars(shop))
    sites = growing_statements(function, code, lambda: shop.HEAP[0], budget_s=LONG_S)

    assert [(site.file, site.bytes_per_run) for site in sites] == [("shop.py", 4096)] or sites[0].file == "<string>"


@pytest.mark.skipif(sys.platform != "linux", reason="calls the C library")
def test_a_real_leak_in_c() -> None:
    """Memory that C code takes and does not give back is found at the line that called it."""
    psutil = pytest.importorskip("psutil")
    if not hasattr(psutil, "heap_info"):
        pytest.skip("this C library does not tell")
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]

    def leak() -> None:
        one = library.malloc(50_000)
        other = library.malloc(8_000)
        library.free(one)
        assert other

    def read() -> int:
        heap = psutil.heap_info()
        return int(heap.heap_used + heap.mmap_used)

    [site] = growing_statements(leak, leak.__code__, read, home_file=__file__, budget_s=LONG_S)

    assert site.source == "other = library.malloc(8_000)"
    assert 8_000 <= site.bytes_per_run <= 9_000
