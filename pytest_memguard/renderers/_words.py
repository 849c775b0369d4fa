"""
Words, widths and amounts: what every text for people is put together from.

Whatever comes from outside goes through ``plain``: a test's id, a path or a socket's name must not be able to move
the cursor.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width

from pytest_memguard.core.causes import rate_of
from pytest_memguard.core.units import Unit, amount, duration, signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.core.values import Metric, SubjectResult

__all__ = [
    "LONGEST_NAME", "LONGEST_NOUN", "MOST_PARTS", "aligned", "an_hour", "columns_of", "counted", "counted_kinds",
    "growth_text", "joined", "length_text", "limit_text", "noun_in_full", "noun_of", "nouns_of", "per", "plain",
    "rate_of", "score_text", "short_name", "shortened",
]  # fmt: skip

#: Names longer than this are shortened in the middle, so that numbers beside them stay in sight.
LONGEST_NAME = 56
LONGEST_NOUN = 23
MOST_PARTS = 3
_HOUR_S = 3600
_PER = {"run": "a run", "request": "a request", "second": "a second"}
#: Kind of a result -> one, many.
_KINDS = {
    "test": ("test", "tests"),
    "callable": ("callable", "callables"),
    "scenario": ("service", "services"),
    "process": ("process", "processes"),
}

#: Metric -> one of it, many of it, and in full. Those in bytes are called by their short name where room is scarce.
_NOUNS = {
    "blocks": ("block", "blocks", "blocks of Python memory"),
    "gc_objects": ("object", "objects", "Python objects"),
    "container_items": ("item", "items", "items in containers"),
    "fds": ("fd", "fds", "open file descriptors"),
    "threads": ("thread", "threads", "running threads"),
    "children": ("child", "children", "child processes"),
    "tasks": ("task", "tasks", "pending asyncio tasks"),
    "heap": ("heap", "heap", "native heap"),
    "mapped": ("mapped", "mapped", "mapped memory"),
    "rss": ("RSS", "RSS", "resident memory"),
    "uss": ("USS", "USS", "memory of its own"),
    "traced": ("traced", "traced", "traced memory"),
    "requests": ("request", "requests", "requests completed"),
}


# -- text from outside -----------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Return *text* on one line, with everything that does not simply print escaped as in a string literal."""
    if text.isprintable():
        return text
    folded = re.sub(r"[\r\n]+\s*|\t", " ", text)
    return "".join(char if char.isprintable() else _escaped(char) for char in folded)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def columns_of(text: str) -> int:
    """Return how many columns *text* takes: letters of East Asia take two, accents that combine none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)


def shortened(text: str, most: int) -> str:
    """Return *text*, made to fit *most* columns by leaving out its middle."""
    cut = text
    for kept in range(most - 3, -1, -1):
        if columns_of(cut) <= most:
            break
        cut = text[: kept // 2] + "..." + text[len(text) - (kept - kept // 2) :]
    return cut


def short_name(text: str, most: int = LONGEST_NAME) -> str:
    """Return a name from outside, safe to print and no longer than *most* columns."""
    return shortened(plain(text), most)


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line a row, the cells of a column under each other."""
    rows = list(rows)
    widths = [max(map(columns_of, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns_of(text))


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, as in "1 run" or "2 entries"."""
    return f"{amount(number, Unit.COUNT)} {one if number == 1 else many or one + 's'}"


# -- amounts ---------------------------------------------------------------------------------------------------------


def noun_of(metric: Metric, number: str = "") -> str:
    """Return what is counted, in the form that goes with the text of its *number*."""
    one, many, _ = _NOUNS.get(metric.name, (metric.name.replace("_", " "),) * 3)
    return short_name(one if number == "+1" else many, LONGEST_NOUN)


def noun_in_full(metric: Metric) -> str:
    """Return what is counted, for a reader who does not know the metric."""
    return short_name(_NOUNS.get(metric.name, (metric.name.replace("_", " "),))[-1], LONGEST_NOUN)


def per(x_unit: str) -> str:
    """Return what growth is counted over, as in "a run"."""
    return _PER.get(x_unit, f"a {short_name(x_unit, LONGEST_NOUN)}")


def an_hour(rates: Iterable[tuple[Metric, float]], x_unit: str) -> str:
    """Return in brackets what growth a second comes to in an hour, which people can picture; else nothing."""
    if x_unit != "second":
        return ""
    return f" ({joined([signed(round(rate * _HOUR_S), metric.unit) for metric, rate in rates])} an hour)"


def growth_text(metric: Metric, rate: float, *, in_full: bool = False) -> str:
    """Return growth by *rate* with its noun, as in "+7 blocks"; a size's noun may be given in full."""
    number = signed(rate, metric.unit)
    noun = noun_in_full(metric) if in_full and metric.unit is Unit.BYTE else noun_of(metric, number)
    return f"{number} {noun}"


def joined(parts: Sequence[str], most: int = MOST_PARTS) -> str:
    """Return the first *most* parts, and how many more there are."""
    rest = len(parts) - most
    return ", ".join(parts[:most]) + (f" and {amount(rest, Unit.COUNT)} more" if rest > 0 else "")


def length_text(result: SubjectResult) -> str:
    """Return over how much growth was seen, as in "over 63 more runs"."""
    if result.x_unit == "second":
        return f"over {duration(result.duration_s)}"
    requests = result.x_unit == "request"
    return f"over {counted(result.runs, 'request') if requests else counted(result.runs - 1, 'more run')}"


def nouns_of(results: Iterable[SubjectResult], *, many: bool = True) -> str:
    """Return what *results* are, as in "tests and services"; tests where there is none."""
    kinds = dict.fromkeys(one.kind for one in results)
    return _listed([_KINDS[kind][many] for kind in _KINDS if kind in kinds]) or "tests"


def counted_kinds(results: Sequence[SubjectResult], *, of: Sequence[SubjectResult] = ()) -> str:
    """Return how many there are of each kind, as in "2 tests and 1 service", or "1 of 2 tests" *of* so many."""
    parts = []
    for kind, (one, many) in _KINDS.items():
        number = sum(result.kind == kind for result in results)
        total = sum(result.kind == kind for result in of)
        if number and of:
            parts.append(f"{amount(number, Unit.COUNT)} of {counted(total, one, many)}")
        elif number:
            parts.append(counted(number, one, many))
    return _listed(parts) or "0 tests"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def score_text(result: SubjectResult) -> str:
    """Return the score, rounded down: what stands below the line must not read as if it were on it."""
    return amount(int(result.verdict.score), Unit.COUNT)


def limit_text(limit: int | None) -> str:
    """Return what there is to say about a bounded holder."""
    return "which has a limit" if limit is None else f"at most {counted(limit, 'entry', 'entries')}"
