"""In which line of a file a key stands, for messages: found by reading the text once more, as no parser tells."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Path", "json_lines", "line_of", "toml_lines"]

Path = tuple["str | int", ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_INLINE_KEY = re.compile(rf"[{{,]\s*({_DOTTED})\s*=")
_LONG_STRINGS = ('"""', "'''")
_JSON_SIGN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,\n]')


def toml_lines(text: str) -> dict[Path, int]:
    """Return the line of each table and key of *text*, by its path; entries of ``[[a]]`` have their number in it."""
    lines: dict[Path, int] = {}
    table: Path = ()
    entries: Counter[Path] = Counter()
    for number, line in _plain_lines(text):
        header = _HEADER.match(line)
        if header:
            table = _numbered(_parts(header[2]), entries)
            if header[1] == "[[":
                entries[table] += 1
                table = (*table, entries[table] - 1)
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            path = (*table, *_parts(key[1]))
            lines.setdefault(path, number)
            for inner in _INLINE_KEY.finditer(line, key.end()):
                lines.setdefault((*path, *_parts(inner[1])), number)
    return lines


def json_lines(text: str) -> dict[Path, int]:
    """Return the line of each key of a JSON text, by its path."""
    lines: dict[Path, int] = {}
    number, path, last = 1, [], ""
    for sign in _JSON_SIGN.findall(text):
        if sign == "\n":
            number += 1
        elif sign in "{[":
            path.append(last or 0)
            last = ""
        elif sign in "}]":
            path = path[:-1]
        elif sign == ",":
            last = ""
        elif sign != ":":
            last = json.loads(sign)
            lines.setdefault((*path[1:], last), number)
    return lines


def line_of(path: Path, lines: Mapping[Path, int]) -> int:
    """Return the line of *path*, or of what it is in; 0 where nothing of it is known."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 0


def _plain_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that do not begin inside a string."""
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not inside:
            yield number, line
        inside = _still_inside(line, inside)


def _still_inside(line: str, inside: str) -> str:
    """Return the quotes of the long string that *line* ends in."""
    at = 0
    while at < len(line):
        if inside:
            end = line.find(inside, at)
            if end < 0:
                return inside
            at, inside = end + 3, ""
        else:
            found = [(place, quotes) for quotes in _LONG_STRINGS if (place := line.find(quotes, at)) >= 0]
            if not found:
                return ""
            at, inside = min(found)
            at += 3
    return inside


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))


def _numbered(path: Path, entries: Counter[Path]) -> Path:
    """Return *path* with the number of the entry that each list of tables in it has reached."""
    found: Path = ()
    for part in path[:-1]:
        found = (*found, part)
        if entries[found]:
            found = (*found, entries[found] - 1)
    return (*found, *path[-1:])
