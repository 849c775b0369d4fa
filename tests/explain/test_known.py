"""Known holders: what test tools keep, and nothing that tested code can make grow."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import logging
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from pytest_memguard.core.values import Hop, KnownHolder, RetentionPath
from pytest_memguard.explain.holders import ContainerCheck
from pytest_memguard.explain.known import known_holder, known_holders, version

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "known-holders.md"
KEPT_MOCK = mock.MagicMock()


def package_of(held_by: str | RetentionPath) -> str | None:
    """Return whose known holder it is."""
    found = known_holder(held_by)
    return None if found is None else found.package


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("_pytest.terminal.TerminalReporter.stats", "pytest"),
        ("_pytest.terminal.TerminalReporter.stats[...]", "pytest"),
        ("_pytest.terminal.TerminalReporter.stats[...][...]", "pytest"),
        ("_pytest.python.Function._report_sections", "pytest"),
        ("_pytest.fixtures.FixtureDef._finalizers", "pytest"),
        ("coverage.sqldata.CoverageData._file_map", "coverage"),
        ("hypothesis.internal.reflection.eval_cache", "hypothesis"),
        ("hypothesis.internal.scrutineer.should_trace_file (scrutineer.py:30)", "hypothesis"),
        ("pytest_memguard.plugin.guarding.Guarding.results", "pytest-memguard"),
        ("sys.path_importer_cache", "Python"),
        ("unittest.mock.AsyncMock._mock_await_args_list", "Python"),
    ],
)
def test_test_tools_are_known(name: str, package: str) -> None:
    """What a test tool notes of each run is known, in whatever form the holder check names it."""
    assert package_of(name) == package


@pytest.mark.parametrize(
    "name",
    [
        "logging.Manager.loggerDict",
        "linecache.cache",
        "encodings._cache",
        "copyreg.dispatch_table",
        "threading._dangling",
        "unittest.mock.MagicMock.return_value",
        "_pytest.fixtures.FixtureDef.cached_result",
        "_pytest.monkeypatch.MonkeyPatch._setattr",
        "shop.catalog._CACHE",
        "my_coverage.data",
        "tests.test_hypothesis.internal.KEPT",
        "",
    ],
)
def test_tested_code_is_not_known(name: str) -> None:
    """What tested code, or a test itself, can make grow is nowhere known."""
    assert package_of(name) is None


ITEM = Hop("attribute", "._obj", "function")
KEPT = Hop("attribute", ".KEPT", "list", 1.0, suspect=True)


@pytest.mark.parametrize(
    ("hops", "package"),
    [
        ((Hop("module", "sys.path_importer_cache", "dict", 1.0, suspect=True),), "Python"),
        (
            (Hop("module", "sys", "module"), Hop("attribute", ".path_importer_cache", "dict", 1.0, suspect=True)),
            "Python",
        ),
        (
            (
                Hop("frame", "main", "frame"),
                Hop("local", "reporter", "_pytest.terminal.TerminalReporter"),
                Hop("attribute", ".stats", "dict"),
                Hop("item", "['passed']", "list", 1.0, suspect=True),
                Hop("element", "[...]", "_pytest.reports.TestReport", suspect=True),
            ),
            "pytest",
        ),
        ((Hop("local", "session", "_pytest.main.Session"), Hop("attribute", ".items", "list"), ITEM, KEPT), None),
        ((Hop("module", "coverage.hooks", "module"), Hop("item", "['mine']", "shop.Mine"), KEPT), None),
        ((Hop("item", "['passed']", "list", 1.0, suspect=True),), None),
        ((Hop("thread", "Thread-1", "coverage.x"), Hop("cell", "seen", "list", 1.0, suspect=True)), None),
        ((), None),
    ],
    ids=["root", "attribute of a module", "item", "below a known one", "others' module", "items only", "cell", "none"],
)
def test_a_path(hops: tuple[Hop, ...], package: str | None) -> None:
    """Of a path the container that grows is looked at, not what stands above it."""
    assert package_of(RetentionPath(hops, "")) == package


def test_others_come_first() -> None:
    """A list that others add is asked before the one that ships."""
    mine = KnownHolder("sys.*", "mine", "because")

    assert known_holder("sys.path_importer_cache", [mine]) is mine
    assert known_holder("sys.modules", [mine]) is mine
    assert known_holder("coverage.data", [mine]) != mine


def test_the_list_is_documented() -> None:
    """The reference page shows every entry of this version."""
    page = PAGE.read_text(encoding="utf-8")

    assert [one for one in known_holders() if f"| `{one.name}` | {one.package} | {one.why} |" not in page] == []
    assert f"this is version {version()}" in page


def test_the_list_is_well_formed() -> None:
    """Each entry says something, each pattern names a module first, and none stands there twice."""
    holders = known_holders()

    assert all(one.package and one.why for one in holders)
    assert all(one.name.partition(".")[0].isidentifier() for one in holders)
    assert len({one.name for one in holders}) == len(holders)


# -- as the holder check names them ----------------------------------------------------------------------------------


def held_by(run: Callable[[int], object], runs: int = 7) -> str:
    """Return the name that the holder check gives to what grows in some runs."""
    with closing(ContainerCheck()) as check:
        check.begin()
        for at in range(runs):
            run(at)
        name = check.finish(runs).name
    gc.unfreeze()  # Python 3.12 starts with a few frozen objects, and the check leaves the heap as it thinks it was
    return name


def test_a_folder_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing from ever new folders leaves finders behind, which is known."""
    monkeypatch.setattr(sys, "path_importer_cache", dict(sys.path_importer_cache))
    # pytest's own hook compiles a pattern for each folder, of which fnmatch keeps some.
    monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])

    def run(at: int) -> None:
        folder = tmp_path / str(at)
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(folder)])
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module("there_is_no_such_module")

    assert held_by(run) == "sys.path_importer_cache"


def test_a_mock_that_is_kept() -> None:
    """A mock of a module records its calls, which is known."""
    name = held_by(KEPT_MOCK)

    assert package_of(name) == "Python"


def test_a_new_logger() -> None:
    """Loggers of new names are a leak of whoever asks for them."""
    known = set(logging.Logger.manager.loggerDict)
    try:
        name = held_by(lambda at: logging.getLogger(f"memguard.{at}"))
    finally:
        for new in set(logging.Logger.manager.loggerDict) - known:
            del logging.Logger.manager.loggerDict[new]

    assert name == "logging.Manager.loggerDict"
    assert package_of(name) is None
