"""
A run in GitHub's Markdown: a comment on a pull request, or the summary of a step.

The first line is a hidden marker, by which the comment is found again and replaced. Whatever comes from outside stands
in code, where no name is a link, a mention or a tag.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from pytest_memguard.core.units import Unit, amount
from pytest_memguard.core.values import Level
from pytest_memguard.renderers._comparison import change_counts, change_growth, run_label
from pytest_memguard.renderers._words import counted, counted_kinds, nouns_of, plain, shortened
from pytest_memguard.renderers.notices import changed, growing, notices
from pytest_memguard.renderers.terminal import failure, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.core.values import Change, Comparison, RunResult
    from pytest_memguard.renderers.notices import Notice, Place

__all__ = [
    "COMMENT_BYTES",
    "MARKER",
    "SUMMARY_BYTES",
    "code",
    "comparison",
    "fence",
    "fitted",
    "render",
    "step_summary",
]

MARKER = "<!-- memguard -->"
#: A comment may have 65,536 characters, of which none has less than a byte; the rest is for a longer marker.
COMMENT_BYTES = 65_000
#: A step's summary above 1 MiB is lost as a whole, and others write to it as well.
SUMMARY_BYTES = 200_000
_MOST_ROWS = 50
_LONGEST_CELL, _LONGEST_HEAD = 120, 200
#: The reader of a summary has no terminal; lines are as wide as a page.
_WIDTH = 110
#: All signs that may mean something, but those of paths, names and amounts; a dot makes a link after "www".
_SIGNS = re.compile(r"[^\w\s./,=+-]|(?<=www)\.|_", re.IGNORECASE)
_KINDS = {"new": ":red_circle:", "worse": ":red_circle:", "better": ":green_circle:", "gone": ":green_circle:"}
_MARKS = {Level.LEAK: ":red_circle:", Level.GROWING: ":orange_circle:"}


def render(result: RunResult) -> str:
    """Return what fits a comment on a pull request: verdict, a row a cause, each in full as far as there is room."""
    return _rendered(result, COMMENT_BYTES)


def step_summary(result: RunResult) -> str:
    """Return the same for the summary of a step, which has more room."""
    return _rendered(result, SUMMARY_BYTES)


def comparison(comparison: Comparison) -> str:
    """Return a comment that says what is new, worse, known, better and gone; what is new or worse in full."""
    found = changed(comparison)
    told = [one for one in found if one.status in ("new", "worse")]
    sides = f"From {code(run_label(comparison.before))} to {code(run_label(comparison.after))}"
    notes = "\n".join(f"- {code(note)}" for note in comparison.notes[:_MOST_ROWS])
    places = {one.fingerprint: one.places[0] for one in found if one.places}
    rows = [_change(change, places.get(change.fingerprint)) for change in comparison.changes]
    head = ["| | growth | cause | tests | allocated at |", "| --- | --- | --- | ---: | --- |"]
    table = _rows(head, rows, COMMENT_BYTES // 2) if rows else ""
    parts = [MARKER, f"## memguard: {change_counts(comparison)}", sides, table, notes]
    return fitted(parts, map(_in_full, told), [], COMMENT_BYTES, len(told))


def _change(change: Change, place: Place | None) -> str:
    where = code(f"{place.file}:{place.line}") if place else ""
    cells = [code(change_growth(change)), code(change.text), str(len(change.results)), where]
    return f"| {_KINDS.get(change.kind, '')} {change.kind} | {' | '.join(cells)} |"


def _rendered(result: RunResult, most: int) -> str:
    found = notices(result)
    table = _table(found, nouns_of(growing(result.results)), most // 2)
    head = [MARKER, f"## {_verdict(result, found)}", _circumstances(result), table]
    tail = [_folded("All of it", summary(result, width=_WIDTH))] if result.results else []
    return fitted(head, map(_in_full, found), tail, most, len(found))


def _verdict(result: RunResult, found: Sequence[Notice]) -> str:
    """Return the verdict in a sentence: how many leaks of how many causes, or that there is none."""
    grown = growing(result.results)
    leaks = [one for one in grown if one.verdict.level is Level.LEAK]
    unanswered = (Level.UNMEASURED, Level.SKIPPED)
    checked = [one for one in result.results if one.verdict.level not in unanswered]
    total = counted_kinds(checked)
    number = sum(one.known for one in found)
    known = f" ({amount(number, Unit.COUNT)} known)" if number else ""
    if leaks:
        causes = counted(sum(one.level is Level.LEAK for one in found), "cause")
        return f"memguard: {counted_kinds(leaks, of=checked)} leak, {causes}{known}"
    if grown:
        return f"memguard: no leak, but memory grows in {counted_kinds(grown, of=checked)}{known}"
    return f"memguard: no leak found in {total}" if result.results else "memguard: nothing was checked"


def _circumstances(result: RunResult) -> str:
    """Return where and of which commit, as far as the document knows."""
    environment, commit = result.environment, result.commit or {}
    parts = [
        " ".join(str(environment[key]) for key in ("implementation", "python") if environment.get(key)),
        str(environment.get("platform") or ""),
        f"commit {str(commit['sha'])[:10]}{' with changes' if commit.get('dirty') else ''}"
        if commit.get("sha")
        else "",
    ]
    return ", ".join(code(part) for part in parts if part)


# -- one cause -------------------------------------------------------------------------------------------------------


def _table(found: Sequence[Notice], nouns: str, most: int) -> str:
    """Return a row a cause, in *most* bytes; empty without any."""
    head = [f"| | what | cause | {nouns} | allocated at |", "| --- | --- | --- | ---: | --- |"]
    return _rows(head, [_row(one) for one in found], most) if found else ""


def _rows(head: Sequence[str], rows: Sequence[str], most: int) -> str:
    """Return a table of as many rows as fit in *most* bytes, and how many are left out."""
    kept, room = list(head), most
    for row in rows[:_MOST_ROWS]:
        room -= _size(row)
        if room < 0:
            break
        kept.append(row)
    rest = len(rows) - len(kept) + len(head)
    return "\n".join(kept) + (f"\n\n... and {counted(rest, 'more cause')}" if rest else "")


def _row(notice: Notice) -> str:
    place = notice.places[0] if notice.places else None
    mark = ":white_circle: known" if notice.known else _MARKS[notice.level]
    where = code(f"{place.file}:{place.line}") if place else ""
    status = f" {notice.status}" if notice.status in ("new", "worse") and not notice.known else ""
    return f"| {mark}{status} | {code(notice.title)} | {code(notice.text)} | {len(notice.results)} | {where} |"


def _in_full(notice: Notice) -> str:
    """Return the text of the failing test that is measured again in the least time, folded."""
    head = html.escape(shortened(f"{notice.text} - {notice.tests}", _LONGEST_HEAD))
    return _folded(f"<code>{head}</code>", failure(notice.example))


def _folded(head: str, text: str) -> str:
    return f"<details><summary>{head}</summary>\n\n{fence(text)}\n\n</details>"


# -- text from outside -----------------------------------------------------------------------------------------------


def code(text: str) -> str:
    """
    Return *text* as code on one line.

    A code span could be ended by its own sign, and a row of a table by a bar in it; an entity ends nothing. Names in
    ``<code>`` notify nobody and refer to no issue.
    """
    line = shortened(plain(text), _LONGEST_CELL)
    return f"<code>{_SIGNS.sub(_entity, line)}</code>"


def _entity(sign: re.Match[str]) -> str:
    return f"&#{ord(sign[0])};"


def fence(text: str) -> str:
    """Return lines as a block of code; what is in them cannot end it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def fitted(head: Iterable[str], blocks: Iterable[str], tail: Sequence[str], most: int, number: int) -> str:
    """Return head, as many of *number* blocks as leave the whole at *most* bytes of UTF-8, and the tail if it fits."""
    kept = [part for part in head if part]
    room = most - sum(map(_size, kept)) - _size(_left_out(number))
    shown = 0
    for block in blocks:
        if _size(block) > room:
            break
        room -= _size(block)
        kept.append(block)
        shown += 1
    if shown < number:
        kept.append(_left_out(number - shown))
    kept += [part for part in tail if shown == number and _size(part) <= room]
    return "\n\n".join(kept) + "\n"


def _left_out(number: int) -> str:
    return f"... and {counted(number, 'more cause')} in full in the report"


def _size(part: str) -> int:
    return len(part.encode()) + len("\n\n")
