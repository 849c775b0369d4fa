"""Bringing the process to rest: garbage, freezing, caches, finalizers, threads that end."""

from __future__ import annotations

import fnmatch
import gc
import re
import sys
import threading
import time
import typing
import urllib.parse
import warnings
import weakref
from collections.abc import Iterator

import pytest

from pytest_memguard.core.clocks import Clocks
from pytest_memguard.engine import settle


class Node:
    """An object that can be part of a cycle."""

    def __init__(self) -> None:
        self.me = self


def is_frozen(node: Node) -> bool:
    """Tell whether the collector leaves *node* alone; no count tells, as CPython 3.12 freezes what is immortal."""
    return all(one is not node for one in gc.get_objects())


class Phoenix:
    """An object in a cycle whose end makes another one, as often as *lives* says."""

    born = 0

    def __init__(self, lives: int) -> None:
        self.me, self.lives = self, lives
        type(self).born += 1

    def __del__(self) -> None:
        if self.lives:
            Phoenix(self.lives - 1)


@pytest.fixture(autouse=True)
def _no_collections_of_its_own() -> Iterator[None]:
    gc.collect()
    gc.disable()
    Phoenix.born = 0
    yield
    while gc.collect():  # a phoenix with lives left
        pass
    gc.enable()


@pytest.fixture
def _nothing_else_thaws(monkeypatch: pytest.MonkeyPatch) -> None:
    # The heap of all tests is large: while it stays frozen, a collection of the "whole" heap is quick.
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


# -- collections -----------------------------------------------------------------------------------------------------


def test_collect_frees_cycles() -> None:
    """A cycle that nothing refers to is gone after a collection."""
    gone = weakref.ref(Node())
    assert gone() is not None
    settle.collect()

    assert gone() is None


@pytest.mark.parametrize(("lives", "born"), [(0, 1), (1, 2), (9, 4)])
def test_collect_frees_what_finalizers_leave(lives: int, born: int) -> None:
    """What finalizers leave is collected as well, up to three times in all."""
    Phoenix(lives)
    settle.collect()

    assert Phoenix.born == born


def test_frozen_objects_are_not_collected() -> None:
    """Within the freeze, what was born before is no garbage, and what was born since is."""
    older = Node()
    older_gone = weakref.ref(older)
    with settle.frozen():
        del older
        newer_gone = weakref.ref(Node())
        settle.collect()
        seen = (older_gone() is None, newer_gone() is None)

    assert seen == (False, True)


@pytest.mark.parametrize("freeze", [True, False])
def test_collect_all_frees_frozen_objects(freeze: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A collection of the whole heap frees what was frozen, and freezes what is left if it is asked to."""
    older, kept = Node(), Node()
    gone = weakref.ref(older)
    with settle.frozen():
        del older
        settle.collect_all(freeze=freeze)
        frozen = is_frozen(kept)

    assert (gone() is None, frozen) == (True, freeze)


@pytest.mark.usefixtures("_nothing_else_thaws")
def test_collect_all_looks_twice() -> None:
    """A collection of the whole heap that finds something is made once more, as it is dear."""
    Phoenix(9)
    settle.collect_all(freeze=False)
    born = Phoenix.born
    settle.collect_all(freeze=False)

    assert (born, Phoenix.born) == (3, 5)


@pytest.mark.usefixtures("_nothing_else_thaws")
def test_collect_all_looks_once_where_there_is_nothing() -> None:
    """A collection of the whole heap that finds nothing is made once."""
    settle.collect_all(freeze=False)
    made = sum(generation["collections"] for generation in gc.get_stats())
    settle.collect_all(freeze=False)

    assert sum(generation["collections"] for generation in gc.get_stats()) - made == 1


def test_frozen_ends_with_an_error() -> None:
    """The heap is thawed when what was measured raises."""
    kept = Node()
    with pytest.raises(KeyError), settle.frozen():
        raise KeyError

    assert not is_frozen(kept)


def test_the_type_cache_can_be_cleared() -> None:
    """Clearing the cache of attribute names works on every interpreter, if only by doing nothing."""
    settle.clear_type_cache()
    settle._nothing()

    assert callable(settle.clear_type_cache)


# -- finalizers ------------------------------------------------------------------------------------------------------


class Loud:
    """An object whose end warns and fails."""

    def __del__(self) -> None:
        warnings.warn("not closed", ResourceWarning, stacklevel=1)
        raise KeyError("in a finalizer")


def test_what_finalizers_say_does_not_get_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a collection of ours, what finalizers warn or raise is dropped; afterwards all is as before."""
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with settle.quiet_finalizers():
            Loud()
        quiet = (len(heard), len(warned))
        Loud()

    assert quiet == (0, 0)
    assert (len(heard), len(warned)) == (1, 1)


def test_the_hook_comes_back_after_an_error() -> None:
    """The hook for what finalizers raise is put back although the collection failed."""
    hook = sys.unraisablehook
    with pytest.raises(KeyError), settle.quiet_finalizers():
        raise KeyError

    assert sys.unraisablehook is hook


# -- caches ----------------------------------------------------------------------------------------------------------


def test_purge_empties_the_caches_of_the_standard_library() -> None:
    """Patterns, file patterns, date formats and typing's own caches are empty after a purge."""
    import _strptime

    re.compile("pattern [of] this test")
    fnmatch.fnmatch("name", "n?me [of] this test")
    time.strptime("2026-01-01", "%Y-%m-%d")
    urllib.parse.urlsplit("http://localhost/of/this/test")
    settle.purge()

    assert len(re._cache) == 0
    assert len(_strptime._regex_cache) == 0
    assert fnmatch._compile_pattern.cache_info().currsize == 0
    assert {info().currsize for info in cache_infos()} == {0}


def cache_infos() -> Iterator[typing.Any]:
    """Yield what tells the sizes of typing's caches."""
    for clear in typing._cleanups:  # type: ignore[attr-defined]
        info = getattr(clear.__self__, "cache_info", None)
        if info is not None:
            yield info


def test_purge_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that nobody has imported have no caches, and are not imported for it."""
    for name in ("_strptime", "_struct", "fnmatch", "glob", "inspect", "struct", "tokenize", "typing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    settle.purge()

    assert "_strptime" not in sys.modules
    assert "tokenize" not in sys.modules


# -- threads ---------------------------------------------------------------------------------------------------------


def test_wait_for_threads_that_end() -> None:
    """Waiting ends as soon as the count is back where it was."""
    counts = iter([5, 4, 3, 3, 3])
    settle.wait_for_threads(lambda: next(counts), settled=3, grace_s=60)

    assert list(counts) == [3, 3]


def test_wait_for_a_thread_that_stays() -> None:
    """A thread that stays is waited for no longer than the grace."""
    asked = []
    settle.wait_for_threads(lambda: len(asked.append(None) or asked), settled=0, grace_s=0.004)

    assert 2 <= len(asked) <= 8


def test_wait_for_a_real_thread() -> None:
    """A thread that was told to end is gone after the wait."""
    before, go = threading.active_count(), threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    go.set()
    settle.wait_for_threads(threading.active_count, settled=before, grace_s=10)

    assert threading.active_count() == before


def test_waiting_ends_where_the_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that stays is not waited for without end though no time passes, and though nothing sleeps."""
    monkeypatch.setattr(settle, "REAL", Clocks(seconds=lambda: 0.0, sleep=lambda _: None))
    asked: list[None] = []
    settle.wait_for_threads(lambda: len(asked.append(None) or asked), settled=0, grace_s=0.004)  # type: ignore[func-returns-value] # None

    assert len(asked) == 5


def test_waiting_does_not_hear_of_replaced_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests put in the place of the functions of ``time`` is not called."""
    for name in ("perf_counter", "monotonic", "sleep"):
        monkeypatch.setattr(time, name, None)
    asked: list[None] = []
    settle.wait_for_threads(lambda: len(asked.append(None) or asked), settled=0, grace_s=0.004)  # type: ignore[func-returns-value] # None

    assert 2 <= len(asked) <= 8
