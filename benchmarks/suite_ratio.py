"""
How much longer a suite takes under ``pytest --memguard`` than with the same number of plain repeats.

A synthetic suite of 400 tests (functions of 0.2 to 1 ms, fixtures, tmp_path, parametrized, unittest, classes) is run

    once        as it is,
    3 times     each test three times in a row by pytest's own protocol, reports and all, as pytest-repeat does it,
    memguard    ``--memguard`` in quick mode, which runs a clean test three times as well.

Start-up is taken off: the same command on a suite of one test that skips, so that all is imported but nothing is
measured. Beside it stands the time inside pytest's run loop alone, where three times as many tests to collect do not
help memguard.

Target: memguard / 3 times <= 1.15.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from textwrap import dedent

from rounds import ALL_PLUGINS, BARE, MEMGUARD, MEMORY, arguments, in_turn, judged, keep, pytest_command, ratio, run, show, with_path

TARGET = 1.15

_HELP = '''
def work(size):
    table = {str(number): [number] for number in range(size)}
    return sum(len(key) + value[0] for key, value in table.items())
'''

REPEAT_PLUGIN = '''
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

CLOCK_PLUGIN = '''
"""Print the seconds spent inside the run loop."""
import time

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session):
    began = time.perf_counter()
    result = yield
    session.config.loop_s = time.perf_counter() - began
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
    head = dedent('''
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
    ''')
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
    head = "class TestClass:\n    @pytest.fixture(autouse=True)\n    def around(self):\n        self.held = []\n        yield\n\n"
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
    write_suite(folder / "empty", 0, 0)
    skips = "import pytest\n\n\ndef test_skips():\n    pytest.skip('nothing to measure')\n"
    (folder / "empty" / "test_skips.py").write_text(skips, encoding="utf-8")
    (folder / "repeat_plugin.py").write_text(REPEAT_PLUGIN, encoding="utf-8")
    (folder / "clock_plugin.py").write_text(CLOCK_PLUGIN, encoding="utf-8")
    loops: dict[str, list[float]] = {}
    off = ("-p", "no:memguard") if options.all_plugins else ()
    switches = {
        "once": off,
        "3 times": (*off, "-p", "repeat_plugin"),
        "memguard": ("--memguard",) if options.all_plugins else (*MEMGUARD, "--memguard"),
    }
    environment = {**(ALL_PLUGINS if options.all_plugins else BARE), **with_path(folder)}

    def measured(suite: str, variant: str) -> float:
        number = sum(map(len, loops.values()))
        basetemp = folder / f"tmp-{suite}-{variant.replace(' ', '')}-{number}"
        command = pytest_command("-p", "clock_plugin", "--basetemp", str(basetemp), *switches[variant])
        child = run(command, folder / suite, environment)
        if suite == "suite":
            line = next(line for line in child.output.splitlines() if line.startswith("loop_s"))
            loops.setdefault(variant, []).append(float(line.split()[1]))
            assert int(line.split()[3]) == options.tests * (3 if variant == "3 times" else 1), child.output
        return child.wall_s

    variants = {
        f"{suite} {variant}": lambda suite=suite, variant=variant: measured(suite, variant)
        for variant in switches
        for suite in ("empty", "suite")
    }
    readings = in_turn(variants, options.rounds)
    wall = {
        variant: [
            whole - start
            for whole, start in zip(readings[f"suite {variant}"], readings[f"empty {variant}"], strict=True)
        ]
        for variant in switches
    }
    loop = {variant: values[1:] for variant, values in loops.items()}  # without the round that does not count
    rows = [
        (
            variant,
            f"{median(readings[f'empty {variant}']) * 1e3:.0f}",
            f"{median(wall[variant]) * 1e3:.0f}",
            f"{ratio(wall[variant], wall['once'])[0]:.2f}",
            f"{ratio(wall[variant], wall['3 times'])[0]:.3f}",
            f"{median(loop[variant]) * 1e3:.0f}",
            f"{ratio(loop[variant], loop['3 times'])[0]:.3f}",
            f"{median(loop[variant]) / options.tests * 1e6:.0f}",
        )
        for variant in switches
    ]
    header = ("variant", "start ms", "suite ms", "x once", "x 3 times", "loop ms", "x 3 times", "us a test")
    show(f"{options.tests} tests, median of {options.rounds} rounds", header, rows)
    for label, values in (("suite", wall), ("run loop", loop)):
        middle, low, high = ratio(values["memguard"], values["3 times"])
        print(f"{label}: memguard / 3 times = {middle:.3f} ({low:.3f}-{high:.3f}), {judged(middle, TARGET)} ({TARGET})")
    figures = {"target": TARGET, "tests": options.tests, "wall_s": readings, "suite_s": wall, "loop_s": loop}
    keep(options.json, "suite_ratio", figures)


if __name__ == "__main__":
    sys.exit(main())
