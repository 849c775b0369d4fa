"""``memguard checklist``: what to look for in a review."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_memguard.cli import main
from pytest_memguard.cli.checklist import ITEMS, Item

ROOT = Path(__file__).parents[2]
TOPICS = ["listeners", "timers", "caches", "streams", "tasks", "closures", "connections", "threads"]

Captured = pytest.CaptureFixture[str]


def printed(capsys: Captured, *arguments: str) -> str:
    """Return what the command prints; it must end well."""
    assert main(["checklist", *arguments]) == 0
    return capsys.readouterr().out


def test_topics_are_those_of_a_service() -> None:
    """Every topic has a question, and they come in order."""
    assert list(dict.fromkeys(item.topic for item in ITEMS)) == TOPICS


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.check[:40])
def test_item_is_complete(item: Item) -> None:
    """An item asks a question, gives a reason and a remedy, and its page is there."""
    assert item.check.endswith("?")
    assert item.why.endswith(".")
    assert item.fix.endswith(".")
    assert (ROOT / item.page).is_file()


def test_text(capsys: Captured) -> None:
    """A topic is printed with a box to tick, reason, remedy and page, in lines that fit."""
    shown = printed(capsys, "timers")

    assert shown.splitlines()[:6] == [
        "TIMERS",
        "",
        "[ ] Is every timer cancelled when what it is for is over?",
        "    why  A threading.Timer is a thread that keeps its function and arguments until it is due.",
        "    fix  Call cancel() in close() or in a finally clause, and join it.",
        "    see  docs/how-to/fix-timer.md",
    ]
    assert max(map(len, printed(capsys).splitlines())) <= 100


def test_all_topics_are_printed_by_default(capsys: Captured) -> None:
    """Without a topic, all questions are asked."""
    shown = printed(capsys)

    assert shown.count("[ ]") == len(ITEMS)
    assert [line.lower() for line in shown.splitlines() if line.isupper()] == TOPICS


def test_markdown(capsys: Captured) -> None:
    """As markdown it is a list of tasks, a heading a topic."""
    shown = printed(capsys, "--format", "markdown")

    assert [line[3:].lower() for line in shown.splitlines() if line.startswith("## ")] == TOPICS
    assert shown.count("- [ ] **") == len(ITEMS)
    assert "[More](docs/how-to/fix-listener.md)" in shown


@pytest.mark.parametrize("arguments", [["--format", "json"], ["--json"]])
def test_json(capsys: Captured, arguments: list[str]) -> None:
    """A machine reads all fields of all items."""
    document = json.loads(printed(capsys, *arguments))

    assert document["schema"] == "memguard-checklist/1"
    assert [Item(**item) for item in document["items"]] == list(ITEMS)


def test_several_topics(capsys: Captured) -> None:
    """Topics can be chosen, and come in the order of the list."""
    items = json.loads(printed(capsys, "threads", "timers", "--json"))["items"]

    assert list(dict.fromkeys(item["topic"] for item in items)) == ["timers", "threads"]


def test_file(capsys: Captured, tmp_path: Path) -> None:
    """The list can be written to a file."""
    assert printed(capsys, "--format", "markdown", "-o", str(tmp_path / "list.md")) == ""
    assert (tmp_path / "list.md").read_text(encoding="utf-8").startswith("# Checklist against memory leaks\n")


def test_unknown_topic_is_named(capsys: Captured) -> None:
    """A topic that is not there is refused, with those that are."""
    assert main(["checklist", "timer"]) == 2
    assert capsys.readouterr().err == (f"memguard: 'timer' is no topic; there are {', '.join(TOPICS)}\n")
