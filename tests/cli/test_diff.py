"""``memguard diff``: two snapshots in, text or JSON and an exit code out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_memguard import cli
from pytest_memguard.heap.layout import META

Captured = pytest.CaptureFixture[str]


def snapshot(path: Path, carts: int, *, traced: bool = False) -> None:
    """Write the heap of a shop whose module holds a list of so many carts of 40 bytes."""
    nodes = [9, 0, 1, 0, 1, 0, 0, 3, 1, 3, 100, 1, 0, 0, 3, 2, 5, 56 + 8 * carts, carts, 0, 0]
    edges: list[int] = [2, 4, 7, 2, 4, 14]
    for number in range(carts):
        nodes += [3, 3, 7 + 2 * number, 40, 0, 2 * traced, 0]
        edges += [1, number, 7 * (3 + number)]
    header = {"meta": META, "node_count": 3 + carts, "edge_count": 2 + carts, "trace_function_count": 2}
    whole: dict[str, Any] = {
        "snapshot": header, "nodes": nodes, "edges": edges,
        "trace_function_infos": [0, 0, 0, 0, 0, 0, 1, 5, 6, 1, 12, 0], "trace_tree": [1, 0, 0, 0, [2, 1, 1, 1, []]],
        "samples": [], "locations": [],
        "strings": ["", "module shop", "list", "shop.Cart\x1b[31m", "CARTS", "Cart.fill", "/src/shop.py"],
    }  # fmt: skip
    path.write_text(json.dumps(whole), encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with snapshots of 2 and of 30 carts."""
    monkeypatch.chdir(tmp_path)
    snapshot(tmp_path / "few.heapsnapshot", 2, traced=True)
    snapshot(tmp_path / "many.heapsnapshot", 30, traced=True)
    return tmp_path


def test_text(capsys: Captured) -> None:
    """The whole text: where it hangs, types, lines; what came from the file cannot move the cursor."""
    code = cli.main(["diff", "few.heapsnapshot", "many.heapsnapshot"])

    assert code == 0
    assert capsys.readouterr().out == (
        "memguard: +28 objects, +1.3 KiB (from 4 objects, 252 B)\n"
        "where it hangs, with all that it keeps alive:\n"
        "        +28     +1.1 KiB  module shop .CARTS: list [*]: shop.Cart\\x1b[31m\n"
        "types:\n"
        "        +28     +1.1 KiB  shop.Cart\\x1b[31m\n"
        "          0       +224 B  list\n"
        "lines that allocate:\n"
        "        +28     +1.1 KiB  /src/shop.py:12 in Cart.fill\n"
    )


def test_nothing_grew(capsys: Captured) -> None:
    """What shrank or stayed is not listed."""
    assert cli.main(["diff", "many.heapsnapshot", "few.heapsnapshot"]) == 0
    assert capsys.readouterr().out == "memguard: -28 objects, -1.3 KiB (from 32 objects, 1.6 KiB)\n"


def test_json_to_a_file(folder: Path, capsys: Captured) -> None:
    """--json has all numbers, and -o writes them to a file."""
    assert cli.main(["diff", "few.heapsnapshot", "many.heapsnapshot", "--json", "-o", "diff.json"]) == 0
    found = json.loads((folder / "diff.json").read_text(encoding="utf-8"))

    assert capsys.readouterr().out == ""
    assert found["schema"] == "memguard-heapdiff/1"
    assert found["growth"] == {"count": 28, "bytes": 28 * 48}
    assert found["sites"] == [
        {
            "file": "/src/shop.py", "line": 12, "function": "Cart.fill", "count": 28, "bytes": 1120,
            "count_before": 2, "count_after": 30, "bytes_before": 80, "bytes_after": 1200,
        }
    ]  # fmt: skip


def test_the_longest_tables(capsys: Captured) -> None:
    """--top cuts the tables, and says that it did."""
    cli.main(["diff", "few.heapsnapshot", "many.heapsnapshot", "--top", "1"])

    assert "  ... and 1 more\n" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "code"), [("1344", 0), ("1343", 1), ("0", 1), ("1KiB", 1)])
def test_growth_that_is_allowed(limit: str, code: int) -> None:
    """--max-growth is the most that is no regression."""
    assert cli.main(["diff", "few.heapsnapshot", "many.heapsnapshot", "--max-growth", limit]) == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none", "many.heapsnapshot"], "none cannot be read: No such file or directory"),
        (["few.heapsnapshot", "many.heapsnapshot", "--max-growth", "x"], "'x' is not a size"),
        (["few.heapsnapshot", "many.heapsnapshot", "-o", "none/x"], "none/x cannot be written: No such file"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: Captured) -> None:
    """One line says what is wrong, and the exit code is 2."""
    assert cli.main(["diff", *arguments]) == 2
    assert words in capsys.readouterr().err
