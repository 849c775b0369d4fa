"""Where tests put clocks of their own in the place of the real ones: freezegun, mocks."""

from __future__ import annotations

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
