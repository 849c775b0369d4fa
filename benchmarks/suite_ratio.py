"""
How much longer a suite takes under ``pytest --memguard`` than with the same number of plain repeats.

A synthetic suite of 400 tests (functions of 0.2 to 1 ms, fixtures, tmp_path, parametrized, unittest, classes) is run

    once        as it is,
    3 times     each test three times in a row by pytest's own protocol, reports and all, as pytest-repeat does it,
    memguard    ``--memguard`` in quick mode, which runs a clean test three times as well.

Start-up is taken off: the same command on a suite of one test that skips, so nearly all is imported and nothing is
measured. Beside wall time stands CPU time, which neighbours on the same cores disturb less, and the CPU time of
pytest's run loop alone, where it is no help to memguard that the plain run has three times as many tests to collect.

Target: memguard / 3 times <= 1.15.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from statistics import median
from textwrap import dedent

from rounds import (
    ALL_PLUGINS,
    BARE,
    MEMGUARD,
    MEMORY,
    arguments,
    in_turn,
    judged,
    keep,
    pytest_command,
    ratio,
    run,
    show,
    with_path,
)

TARGET = 1.15

_HELP = """
def work(size):
    table = {str(number): [number] for number in range(size)}
    return sum(len(key) + value[0] for key, value in table.items())
"""

_REPEAT_PLUGIN = '''
"""Run each test three times, one run after the other, as pytest-repeat does."""
import pytest


@pytest.fixture
def repeat_number(request):
    return request.param


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("repeat_number")
    metafunc.parametrize("repeat_number", range(3), indirect=True, ids="{}-3".format)


def pytest_collection_modifyitems(items):
    # Methods of a TestCase cannot be parametrized.
    items[:] = [one for item in items for one in _copies(item)]


def _copies(item):
    if not hasattr(item, "addSubTest"):
        return [item]
    return [item] + [type(item).from_parent(item.parent, name=item.name, callobj=item.obj) for _ in range(2)]
'''

_CLOCK_PLUGIN = '''
"""Print the CPU seconds spent inside the run loop."""
import time

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session):
    began = time.process_time()
    result = yield
    session.config.loop_s = time.process_time() - began
    return result


def pytest_unconfigure(config):
    print("loop_s", getattr(config, "loop_s", 0.0), "tests", config.pluginmanager.get_plugin("session").testscollected)
'''


def write_suite(folder: Path, tests: int, work: float) -> None:
    """Write *tests* tests of six kinds into *folder*; *work* scales how long their bodies take."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "helping.py").write_text(_HELP, encoding="utf-8")
    kinds = (_functions, _fixtures, _folders, _parameters, _testcases, _classes)
    shares = (0.3, 0.2, 0.15, 0.15, 0.1, 0.1)
    for kind, share in zip(kinds, shares, strict=True):
        for part in range(2):
            text = kind(round(tests * share / 2), work)
            name = f"test_{kind.__name__.strip('_')}_{part}.py"
            (folder / name).write_text(f"import pytest\nfrom helping import work\n\n\n{text}", encoding="utf-8")


def _size(number: int, work: float) -> int:
    """Return what ``work`` takes for 0.2 to 1 ms on a core of 3 GHz."""
    return int((700 + 2800 * (number * 7 % 11) / 10) * work)


def _functions(count: int, work: float) -> str:
    return "\n\n".join(f"def test_{n}():\n    assert work({_size(n, work)}) >= 0\n" for n in range(count))


def _fixtures(count: int, work: float) -> str:
    head = dedent("""
        @pytest.fixture(scope="module")
        def shared():
            yield {"size": 3}


        @pytest.fixture
        def box(shared):
            held = [dict(shared)]
            yield held
            held.clear()


        @pytest.fixture
        def patched(monkeypatch, box):
            monkeypatch.setenv("BOX", str(len(box)))
            return box
    """)
    tests = (
        f"def test_{n}({'patched' if n % 2 else 'box'}, shared):\n    assert work({_size(n, work)}) >= 0\n"
        for n in range(count)
    )
    return head + "\n\n" + "\n\n".join(tests)


def _folders(count: int, work: float) -> str:
    return "\n\n".join(
        f"def test_{n}(tmp_path):\n    (tmp_path / 'a.txt').write_text('a')\n    assert work({_size(n, work)}) >= 0\n"
        for n in range(count)
    )


def _parameters(count: int, work: float) -> str:
    sizes = [_size(n, work) for n in range(count)]
    return f"@pytest.mark.parametrize('size', {sizes})\ndef test_sizes(size):\n    assert work(size) >= 0\n"


def _testcases(count: int, work: float) -> str:
    head = "import unittest\n\n\nclass TestCases(unittest.TestCase):\n    def setUp(self):\n        self.held = [1]\n\n"
    return head + "\n".join(
        f"    def test_{n}(self):\n        self.assertGreaterEqual(work({_size(n, work)}), 0)\n" for n in range(count)
    )


def _classes(count: int, work: float) -> str:
    head = (
        "class TestClass:\n    @pytest.fixture(autouse=True)\n    def around(self):\n"
        "        self.held = []\n        yield\n\n"
    )
    return head + "\n".join(
        f"    def test_{n}(self):\n        assert work({_size(n, work)}) >= 0\n" for n in range(count)
    )


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--tests", type=int, default=400, help="size of the suite (400)")
    parser.add_argument("--work", type=float, default=1.0, help="scale of the tests' own time (1); 0: empty bodies")
    parser.add_argument("--all-plugins", action="store_true", help="with every plugin that is installed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        _measure(Path(name), options)


def _measure(folder: Path, options) -> None:  # noqa: ANN001 - what argparse makes
    write_suite(folder / "suite", options.tests, options.work)
    (folder / "empty").mkdir()
    (folder / "empty" / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    skips = "import pytest\n\n\ndef test_skips():\n    pytest.skip('nothing to measure')\n"
    (folder / "empty" / "test_skips.py").write_text(skips, encoding="utf-8")
    write_plugins(folder)
    environment = {**(ALL_PLUGINS if options.all_plugins else BARE), **with_path(folder)}
    off = ("-p", "no:memguard") if options.all_plugins else ()
    switches = {
        "once": off,
        "3 times": (*off, "-p", "repeat_plugin"),
        "memguard": ("--memguard",) if options.all_plugins else (*MEMGUARD, "--memguard"),
    }
    cpu: dict[str, list[float]] = {}
    loops: dict[str, list[float]] = {}
    numbers = count()

    def measured(suite: str, variant: str) -> float:
        more = ("-p", "clock_plugin", "--basetemp", str(folder / f"tmp-{next(numbers)}"))
        child = run(pytest_command(*more, *switches[variant]), folder / suite, environment)
        loop_s, tests = clocked(child.output)
        assert tests == (options.tests if suite == "suite" else 1) * (3 if variant == "3 times" else 1), child.output
        cpu.setdefault(f"{suite} {variant}", []).append(child.cpu_s)
        loops.setdefault(f"{suite} {variant}", []).append(loop_s)
        return child.wall_s

    wall = in_turn(
        {
            f"{suite} {variant}": lambda suite=suite, variant=variant: measured(suite, variant)
            for variant in switches
            for suite in ("empty", "suite")
        },
        options.rounds,
    )
    cpu = {name: values[1:] for name, values in cpu.items()}  # without the round that does not count
    loop = {variant: loops[f"suite {variant}"][1:] for variant in switches}
    net_wall, net_cpu = _less_start(wall, switches), _less_start(cpu, switches)
    rows = [
        (
            variant,
            f"{median(wall[f'empty {variant}']) * 1e3:.0f}",
            *_columns(net_wall, variant),
            *_columns(net_cpu, variant),
            *_columns(loop, variant),
            f"{median(loop[variant]) / options.tests * 1e6:.0f}",
        )
        for variant in switches
    ]
    x = "x 3 times"
    header = ("variant", "start ms", "wall ms", x, "CPU ms", x, "loop CPU ms", x, "us a test")
    show(f"{options.tests} tests, median of {options.rounds} rounds", header, rows)
    for label, values in (("wall", net_wall), ("CPU", net_cpu), ("run loop, CPU", loop)):
        middle, low, high = ratio(values["memguard"], values["3 times"])
        print(f"{label}: memguard / 3 times = {middle:.3f} ({low:.3f}-{high:.3f}), {judged(middle, TARGET)} ({TARGET})")
    figures = {"target": TARGET, "tests": options.tests, "wall_s": wall, "cpu_s": cpu, "loop_cpu_s": loop}
    keep(options.json, "suite_ratio", figures)


def write_plugins(folder: Path) -> None:
    """Write the plugins that repeat and that clock into *folder*."""
    (folder / "repeat_plugin.py").write_text(_REPEAT_PLUGIN, encoding="utf-8")
    (folder / "clock_plugin.py").write_text(_CLOCK_PLUGIN, encoding="utf-8")


def clocked(output: str) -> tuple[float, int]:
    """Return what the clock plugin printed: CPU seconds of the run loop, and the number of tests."""
    words = next(line for line in output.splitlines() if line.startswith("loop_s")).split()
    return float(words[1]), int(words[3])


def _less_start(readings: dict[str, list[float]], variants: Iterable[str]) -> dict[str, list[float]]:
    return {
        variant: [
            whole - start
            for whole, start in zip(readings[f"suite {variant}"], readings[f"empty {variant}"], strict=True)
        ]
        for variant in variants
    }


def _columns(values: dict[str, list[float]], variant: str) -> tuple[str, str]:
    return f"{median(values[variant]) * 1e3:.0f}", f"{ratio(values[variant], values['3 times'])[0]:.3f}"


if __name__ == "__main__":
    sys.exit(main())
