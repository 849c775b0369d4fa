"""Where tests put clocks and a file system of their own in the place of the real ones: freezegun, mocks, pyfakefs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import RunProject, Session

#: Like freezegun: the functions of ``time``, and all that modules have imported of them.
_FREEZER = """
    import sys, time
    from contextlib import contextmanager

    REAL = [time.perf_counter, time.monotonic, time.time]
    OTHERS = ("threading", "queue", "freezer")

    def stopped():
        return 1308873600.0

    @contextmanager
    def frozen():
        changed = []
        for module in [one for one in list(sys.modules.values()) if getattr(one, "__name__", "") not in OTHERS]:
            for name, value in list(vars(module).items()):
                if any(value is one for one in REAL):
                    changed.append((module, name, value))
                    setattr(module, name, stopped)
        try:
            yield
        finally:
            for change in changed:
                setattr(*change)
"""
#: Like pyfakefs: ``os`` in every module, and ``open``.
_FALSE_FILES = """
    import builtins, os, sys, types
    from contextlib import contextmanager
    from unittest import mock

    def gone(path, *arguments, **options):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    def nothing(path):
        return False

    false_os = types.ModuleType("os")
    vars(false_os).update(vars(os))
    vars(false_os).update(open=gone, listdir=gone, stat=gone)
    false_os.path = types.SimpleNamespace(**{**vars(os.path), "exists": nothing, "isdir": nothing})

    @contextmanager
    def replaced():
        real = builtins.open

        def opened(path, *arguments, **options):
            return (gone if str(path).startswith("/proc") else real)(path, *arguments, **options)

        rooms = ("pytest_memguard.", "psutil")
        modules = [module for name, module in sys.modules.items() if name.startswith(rooms) and hasattr(module, "os")]
        with mock.patch.object(builtins, "open", opened):
            for module in modules:
                module.os = false_os
            try:
                yield
            finally:
                for module in modules:
                    module.os = os
"""


def leaks(session: Session) -> dict[str, bool | str]:
    """Return by name whether each test leaks; the reason of what could not be measured."""
    found = {name: (result["verdict"], result["reason"]) for name, result in session.results.items()}
    known = {"leak": True, "clean": False, "settled": False}
    return {name: known.get(verdict, reason) for name, (verdict, reason) in found.items()}


@pytest.mark.parametrize("scope", ["function", "class", "module"])
def test_a_frozen_clock(run_project: RunProject, scope: str) -> None:
    """A clock that a fixture stops, and sets, says nothing of how long a test took, and holds nothing up."""
    source = f"""
        import threading

        import pytest

        from freezer import frozen

        EVENT = threading.Event()

        @pytest.fixture(scope="{scope}", autouse=True)
        def clock():
            with frozen():
                yield

        class TestIt:
            def test_clean(self): pass
            def test_leak(self): leak()
            def test_thread(self): threading.Thread(target=EVENT.wait, daemon=True).start()
    """
    session = run_project({"test_it.py": source, "freezer.py": _FREEZER}, "--memguard", "--memguard-fail-on=never")

    assert leaks(session) == {"TestIt::test_clean": False, "TestIt::test_leak": True, "TestIt::test_thread": True}
    assert 0 < session.document["summary"]["plain_s"] < 60
    assert 0 < session.document["duration_s"] < 100


@pytest.mark.parametrize("scope", ["function", "class"])
def test_a_clock_that_fails(run_project: RunProject, scope: str) -> None:
    """Functions of ``time`` that raise end neither the session nor the measurement."""
    source = f"""
        from unittest import mock

        import pytest

        @pytest.fixture(scope="{scope}", autouse=True)
        def clock():
            with mock.patch.multiple("time", perf_counter=None, monotonic=None, thread_time=None, sleep=None):
                yield

        class TestIt:
            def test_clean(self): pass
            def test_leak(self): leak()
    """
    session = run_project({"test_it.py": source}, "--memguard", "--memguard-fail-on=never")

    assert session.returncode == 0
    assert leaks(session) == {"TestIt::test_clean": False, "TestIt::test_leak": True}


def test_a_mistake_of_ours_costs_the_measurement(run_project: RunProject) -> None:
    """An error before the first repeat is told as the reason, and the session goes on."""
    conftest = """
        from pytest_memguard.plugin import repeat

        def broken(item):
            raise RuntimeError("of ours")

        repeat.can_repeat = broken
    """
    source = "def test_first(): pass\ndef test_second(): pass"
    session = run_project({"conftest.py": conftest, "test_it.py": source}, "--memguard")

    assert session.tally == {"passed": 2}
    assert session.reason("test_second") == "memguard itself failed with RuntimeError: of ours"


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")  # noqa: PTH110 - as in the probe
@pytest.mark.parametrize("scope", ["function", "module"])
def test_a_false_file_system(run_project: RunProject, scope: str) -> None:
    """A file system that a fixture replaces, /proc with it, is no obstacle to what is read from the real one."""
    source = f"""
        import pytest

        from files import replaced

        @pytest.fixture(scope="{scope}", autouse=True)
        def files():
            with replaced():
                yield

        def test_clean(): pass
        def test_leak(): leak()
        def test_files():
            with pytest.raises(FileNotFoundError):
                open("/proc/self/statm")
    """
    session = run_project({"test_it.py": source, "files.py": _FALSE_FILES}, "--memguard", "--memguard-fail-on=never")

    assert session.tally == {"passed": 3}
    assert leaks(session) == {"test_clean": False, "test_leak": True, "test_files": False}
