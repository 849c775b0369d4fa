"""The footprint in the page: what each step takes and keeps, and what changed since it was saved."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_memguard.core.values import RunResult
from pytest_memguard.renderers import html

IDLE = {"RSS": "42.2 MiB", "blocks": "190608"}
ITEMS = {"requests": "100", "RSS": "42.3 MiB", "blocks": "191476", "kept": "+251.0 KiB"}


def section(**settings: Any) -> str:  # noqa: ANN401 - as a document has it
    """Return the part of the page that tells of the footprint, without markup, one line a row."""
    page = html.render(RunResult("2026-01-02T03:04:05+00:00", 1.0, settings=settings))
    found = re.search(r"<details open><summary>Footprint:.*?</details>", page, re.DOTALL)
    rows = re.sub(r"<(tr|p|div)\b[^>]*>", "\n", (found[0] if found else "").replace("\n", " "))
    text = re.sub(r"<[^>]+>", "", re.sub(r"<t[hd]\b[^>]*>", " | ", rows))
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def test_a_table() -> None:
    """A row a step, a column an amount; what was not read has a dash."""
    lines = section(footprint={"idle": IDLE, "GET /api/items": ITEMS}).splitlines()

    assert [line for line in lines if "|" in line] == [
        "| After | requests | RSS | blocks | kept",
        "| idle | - | 42.2 MiB | 190608 | -",
        "| GET /api/items | 100 | 42.3 MiB | 191476 | +251.0 KiB",
    ]


def test_what_the_columns_are() -> None:
    """A reader is told what takes and keeps mean, and how often it was measured."""
    said = section(footprint={"idle": IDLE}, **{"footprint measured": 3})

    assert "What a step keeps" in said
    assert "Measured 3 times: medians" in said


def test_texts_of_earlier_documents() -> None:
    """A step that is told in one text still is."""
    assert "| idle | RSS 32.0 MiB" in section(footprint={"idle": "RSS 32.0 MiB"})


def compared(*changes: dict[str, Any], refused: str = "") -> str:
    """Return the section with what a comparison found."""
    found = {"refused": refused, "notes": ["the first was measured once only"], "changes": list(changes)}
    return section(footprint={"idle": IDLE}, **{"footprint compared": found})


def change(kind: str, metric: str, unit: str, before: float, after: float) -> dict[str, Any]:
    """Return a change as a document holds it."""
    return {"kind": kind, "step": "idle", "metric": metric, "unit": unit, "before": before, "after": after}


def test_what_changed() -> None:
    """What became worse or better is told with both amounts, the worse first; what stayed is not."""
    said = compared(
        change("better", "fds", "count", 12, 9),
        change("known", "rss", "byte", 2**25, 2**25),
        change("worse", "kept_blocks", "count", 100, 700),
    )

    assert [line for line in said.splitlines() if line.startswith(("| worse", "| better", "| known"))] == [
        "| worse | idle | kept blocks | 100 | 700",
        "| better | idle | fds | 12 | 9",
    ]
    assert "Note: the first was measured once only." in said


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ("the scenario has changed", "Not compared with the saved one: the scenario has changed."),
        ("", "As it was saved: none of 1 amounts has changed."),
    ],
)
def test_nothing_changed(refused: str, says: str) -> None:
    """That nothing changed is said, and so is why nothing was compared."""
    assert says in compared(change("known", "rss", "byte", 2**25, 2**25), refused=refused)


def test_settings_do_not_say_it_again() -> None:
    """What has a place of its own is not among the settings."""
    page = html.render(
        RunResult("2026-01-02T03:04:05+00:00", 1.0, settings={"footprint": {"idle": IDLE}, "footprint compared": {}})
    )

    assert "<summary>Settings" not in page


@pytest.mark.parametrize("odd", [7, [], {}, {"idle": 7}, {"idle": {"RSS": None}}, {"idle": []}])
def test_whatever_a_document_holds(odd: object) -> None:
    """A footprint that is none does no harm."""
    assert section(footprint=odd, **{"footprint compared": odd}).count("Footprint:") <= 1
