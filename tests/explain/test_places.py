"""Whose code a line is, and what a stack looks like as a site."""

from __future__ import annotations

import asyncio.tasks
import json.decoder
import linecache
import os
import tempfile
from pathlib import Path

import pluggy
import pytest

from pytest_memguard.core.values import Site
from pytest_memguard.explain import allocations
from pytest_memguard.explain.places import Places

SHOP = """\
import json


class Shop:
    @property
    def total(self):
        return [
            one
            for one in self.cart
        ]

    class Cart:
        async def add(self, item):
            return (lambda:
                item)


def outer():
    def inner():
        pass
    return inner
"""
TASKS, DECODER = asyncio.tasks.__file__, json.decoder.__file__
PLUGGY, PYTEST = pluggy.__file__, pytest.__file__


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """Write the module of a project."""
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    return str(file)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Know the files of that project."""
    return Places(root=str(tmp_path))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (1, "<module>"),
        (4, "Shop"),
        (5, "Shop.total"),
        (9, "Shop.total"),
        (13, "Shop.Cart.add"),
        (14, "Shop.Cart.add"),
        (15, "Shop.Cart.add.<locals>.<lambda>"),
        (18, "outer"),
        (19, "outer.<locals>.inner"),
        (20, "outer.<locals>.inner"),
        (21, "outer"),
        (99, "<module>"),
    ],
)
def test_functions_are_named_from_the_source(places: Places, shop: str, line: int, name: str) -> None:
    """Every line has the qualified name that Python gives its function, decorators included."""
    assert places.function(shop, line) == name


def test_source_is_shown_without_its_indent(places: Places, shop: str) -> None:
    """A line is shown as it is written, an absurd line number as nothing."""
    assert places.source(shop, 14) == "return (lambda:"
    assert [places.source(shop, line) for line in (0, -1, 10**9)] == ["", "", ""]


def test_long_lines_are_cut(places: Places, tmp_path: Path) -> None:
    """A line that a program wrote does not fill the screen."""
    file = tmp_path / "table.py"
    file.write_text(f"TABLE = {'x' * 500!r}\n")

    assert len(places.source(str(file), 1)) == 160


@pytest.mark.parametrize(
    "content",
    [
        b"def broken(:\n",
        b"\x00\n",
        b"# coding: nonsense\n",
        b"\xff\xfe\n",
        b"(" * 5_000 + b"\n",
        b"-" * 100_000 + b"1\n",
    ],
    ids=["syntax", "null", "coding", "bytes", "brackets", "deep"],
)
def test_broken_source_has_no_names(places: Places, tmp_path: Path, content: bytes) -> None:
    """A file that Python would not read, or no longer reads, gives a name all the same."""
    file = tmp_path / "broken.py"
    file.write_bytes(content)

    assert places.function(str(file), 1) in ("?", "<module>")


def test_source_that_warns(places: Places, tmp_path: Path) -> None:
    """A warning about the user's source, an error here, is no reason not to read it."""
    file = tmp_path / "odd.py"
    file.write_text("def odd():\n    return '\\d'\n")

    assert places.function(str(file), 2) == "odd"


def test_missing_source_has_no_names(places: Places, tmp_path: Path) -> None:
    """What is not there, or is a folder, is named by a question mark."""
    assert places.function(str(tmp_path / "gone.py"), 1) == "?"
    assert places.function(str(tmp_path), 1) == "?"
    assert places.source("<made up>", 1) == ""


def test_huge_source_is_not_parsed(places: Places, tmp_path: Path) -> None:
    """A table of megabytes would take seconds to parse."""
    file = tmp_path / "huge.py"
    file.write_text("x = 1\n" * 400_000)

    assert places.function(str(file), 1) == "?"


def test_generated_source_is_read(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library generates and tells linecache about has names; a lazy entry is left alone."""
    lines = ["def __init__(self):\n", "    pass\n"]
    monkeypatch.setitem(linecache.cache, "<generated>", (22, None, lines, "<generated>"))
    monkeypatch.setitem(linecache.cache, "<lazy>", (lambda: 1 / 0,))  # type: ignore[arg-type]

    assert places.function("<generated>", 2) == "__init__"
    assert places.function("<lazy>", 1) == "?"


def test_whose_code_it_is(places: Places, shop: str) -> None:
    """Own is what is neither installed, nor of Python, nor of this package."""
    files = [shop, "/elsewhere/lib.py", TASKS, PLUGGY, PYTEST, allocations.__file__, "<string>", "<frozen os>"]

    assert [places.is_own(file) for file in files] == [True, True, False, False, False, False, False, False]


def test_the_file_of_the_test_is_always_own() -> None:
    """Tests that are installed along with a library are the user's, if they are what is run."""
    assert Places(home_file=DECODER).is_own(DECODER)
    assert Places().is_own("<doctest shop.Shop[0]>")


def test_an_environment_inside_the_project_is_not_own(places: Places, tmp_path: Path) -> None:
    """What is installed below the project is a library, named from its package on."""
    file = str(tmp_path / ".venv" / "lib" / "site-packages" / "lib" / "core.py")

    assert not places.is_own(file)
    assert places.shown(file) == "lib/core.py"


def test_files_are_shown_without_what_differs_between_machines(places: Places, shop: str) -> None:
    """A file of the project stands below it, one of the standard library or a package in that."""
    assert [places.shown(file) for file in (shop, TASKS, PLUGGY, "<frozen os>")] == [
        "shop.py",
        "asyncio/tasks.py",
        "pluggy/__init__.py",
        "<frozen os>",
    ]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_project_behind_a_link() -> None:
    """A file is found below the project by the real path, too."""
    with tempfile.TemporaryDirectory() as folder:
        real = Path(folder).resolve() / "real"
        real.mkdir()
        link = Path(folder) / "link"
        link.symlink_to(real)
        places = Places(root=str(link))

        assert places.shown(str(real / "shop.py")) == "shop.py"
        assert places.shown(str(link / "shop.py")) == "shop.py"


def test_a_stack_becomes_a_site(places: Places, shop: str) -> None:
    """The innermost own line comes first, then what it calls, then its callers; pytest and what is above are cut."""
    inner = [(DECODER, 1), (DECODER, 2), (TASKS, 3)]
    stack = [*inner, (shop, 20), (TASKS, 4), (shop, 15), (TASKS, 5), (PLUGGY, 6), (shop, 1)]

    assert places.site(stack, bytes_per_run=64.0, blocks_per_run=1.0) == Site(
        "shop.py",
        20,
        "outer.<locals>.inner",
        64.0,
        1.0,
        (
            "shop.py:20 outer.<locals>.inner",
            "calls 3 frames in asyncio, json",
            "... 1 frame in asyncio",
            "shop.py:15 Shop.Cart.add.<locals>.<lambda>",
        ),
        "pass",
    )


def test_many_libraries_are_folded(places: Places, shop: str) -> None:
    """Three names tell where a call went."""
    stack = [("<frozen importlib._bootstrap>", 1), ("<string>", 1), (DECODER, 1), (TASKS, 1), (shop, 1)]
    site = places.site(stack)

    assert site is not None
    assert site.traceback[1] == "calls 4 frames in asyncio, json, generated code, ..."


@pytest.mark.parametrize(
    ("stack", "at"),
    [
        ([], None),
        ([(PLUGGY, 1)], None),
        ([(allocations.__file__, 1), ("/own.py", 1)], None),
        ([(TASKS, 1), (PLUGGY, 1), ("/own.py", 1)], 0),
        ([(TASKS, 1), (DECODER, 1)], 0),
        ([(PYTEST, 1), ("/own.py", 1)], 1),
        ([(PYTEST, 1), (TASKS, 1), ("/own.py", 1)], 2),
        ([(PYTEST, 1), (TASKS, 1)], None),
    ],
)
def test_which_line_stands_for_a_stack(places: Places, stack: list[tuple[str, int]], at: int | None) -> None:
    """What pytest allocates for the user is the user's; what it or this package allocates on its own is nobody's."""
    assert places.user_line(stack) == at
