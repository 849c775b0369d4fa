"""
Leaks that somebody has accepted for a while: ``memguard-accepted.toml`` in pytest's root folder.

    [[accepted]]
    fingerprint = "3f2a9c0d11e84b70"        # or both: site = "pool.py:Pool.get", type = "vendorlib.Conn"
    reason = "upstream issue 123"
    until = 2027-01-31
    at_most = "64 B/run"                    # may be left out

An accepted leak does not fail its test until the day is over or it grows faster; it is reported apart.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pytest_memguard.config import ACCEPTED_FILE as FILE_NAME
from pytest_memguard.config import nearest, shown
from pytest_memguard.core.toml import parse
from pytest_memguard.core.units import Unit, amount, parse_allowance
from pytest_memguard.core.values import Finding
from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_memguard.core.values import Site, SubjectResult

__all__ = ["FILE_NAME", "Accepted", "Entry", "appended", "load"]

_FINGERPRINT = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One accepted leak.

    Attributes:
        reason: Why it is accepted, for people.
        until: The last day on which it is.
        fingerprint: Whose findings are accepted; or else
        site: ``file.py:function`` that allocates it, and
        type: the type of what stays, qualified or not.
        at_most: Most growth a run, as in ``64 B/run`` or ``2/run``; empty for any.
        number: Position in the file, from 1.

    """

    reason: str
    until: date
    fingerprint: str = ""
    site: str = ""
    type: str = ""
    at_most: str = ""
    number: int = 1

    @property
    def label(self) -> str:
        """What it accepts, for people."""
        return self.fingerprint or f"{self.type} of {self.site}"

    def covers(self, finding: Finding) -> bool:
        """Whether *finding* is what was accepted, however fast it grows."""
        if self.fingerprint:
            return finding.fingerprint == self.fingerprint
        is_there = any(_is_at(self.site, site) for site in finding.sites)
        return is_there and any(_ends_with(one.type, self.type) for one in finding.types)

    def exceeded_by(self, findings: Iterable[Finding]) -> Finding | None:
        """Return the first of *findings* that grows faster than was accepted; what is counted otherwise may."""
        if not self.at_most:
            return None
        most, unit = _read_allowance(self.at_most)
        return next((one for one in findings if one.metric.unit is unit and one.trend.slope.point > most), None)


@dataclass(frozen=True, slots=True)
class Accepted:
    """All accepted leaks of one file; none where there is no file."""

    entries: tuple[Entry, ...] = ()
    file: str = FILE_NAME

    def match(self, found: SubjectResult | Finding, today: date) -> Entry | None:
        """
        Return the entry that accepts *found*; None where it is not accepted, or no longer, or not so much of it.

        A result is accepted if all that is known of its growth is: then the entry of its first finding is returned.
        """
        entries = [self._entry_of(findings, today) for findings in _parts(found)]
        return entries[0] if entries and None not in entries else None

    def refusal(self, found: SubjectResult | Finding, today: date) -> str:
        """Return why *found* was accepted once and is not now, a sentence; empty where there is no such entry."""
        refused = [findings for findings in _parts(found) if self._entry_of(findings, today) is None]
        for findings in refused:
            for entry in self.entries:
                if entry.covers(findings[0]):
                    return self._why(entry, findings, today)
        return ""

    def unused(self, results: Iterable[SubjectResult]) -> tuple[str, ...]:
        """Return a line for each entry that none of *results*, a whole suite, has any use for."""
        findings = [finding for result in results for finding in result.findings]
        idle = [entry for entry in self.entries if not any(entry.covers(finding) for finding in findings)]
        return tuple(f"{self._place(entry)}: {entry.label} was not found; remove the entry" for entry in idle)

    def expired(self, today: date) -> tuple[str, ...]:
        """Return a line for each entry whose last day is over."""
        over = [entry for entry in self.entries if today > entry.until]
        return tuple(
            f"{self._place(entry)}: {entry.label} was accepted until {entry.until}; repair it or accept it anew"
            for entry in over
        )

    def _entry_of(self, findings: Sequence[Finding], today: date) -> Entry | None:
        """Return the entry that accepts the first of *findings*; what nothing is known of counts as part of it."""
        valid = (entry for entry in self.entries if today <= entry.until and entry.covers(findings[0]))
        return next((entry for entry in valid if entry.exceeded_by(findings) is None), None)

    def _why(self, entry: Entry, findings: Sequence[Finding], today: date) -> str:
        faster = entry.exceeded_by(findings)
        if faster is None or today > entry.until:
            return f"it was accepted until {entry.until} ({self._place(entry)}: {entry.reason})"
        rate = amount(faster.trend.slope.point, faster.metric.unit)
        return f"it grows by {rate} a run, accepted is {entry.at_most} ({self._place(entry)})"

    def _place(self, entry: Entry) -> str:
        return f"{self.file}: entry {entry.number}"


def _parts(found: SubjectResult | Finding) -> list[list[Finding]]:
    """Return each finding that an entry could name, with those behind it that no entry could."""
    findings = [found] if isinstance(found, Finding) else list(found.findings)
    unknown = [one for one in findings if not (one.fingerprint or one.sites)]
    return [[one, *unknown] for one in findings if one.fingerprint or one.sites]


def _is_at(place: str, site: Site) -> bool:
    file, _, function = place.rpartition(":")
    is_file = f"/{site.file}".replace("\\", "/").endswith("/" + file.replace("\\", "/"))
    return is_file and _ends_with(site.function, function)


def _ends_with(qualified: str, name: str) -> bool:
    return f".{qualified}".endswith(f".{name}")


# -- reading ---------------------------------------------------------------------------------------------------------


def load(path: Path) -> Accepted:
    """
    Return what is accepted by the file at *path*; nothing where there is none.

    Raises:
        ConfigError: one line that names file, entry, key, value and what would be right.

    """
    file = path.name or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return Accepted(file=file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text") from error
    return Accepted(_entries(text, file), file)


def _entries(text: str, file: str) -> tuple[Entry, ...]:
    try:
        content = parse(text)
    except ValueError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    for key in content:
        if key != "accepted":
            advice = nearest(key, ["accepted"]) or "; entries begin with [[accepted]]"
            raise ConfigError(f"{file}: {shown(key)} is not known{advice}")
    tables = content.get("accepted", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ConfigError(f"{file}: accepted = {shown(tables)} is not a list of tables; write [[accepted]]")
    return tuple(_entry(table, at, f"{file}: entry {at}") for at, table in enumerate(tables, 1))


def _entry(table: Mapping[str, object], number: int, where: str) -> Entry:
    for key in table:
        if key not in _READERS:
            advice = nearest(key, _READERS) or f"; write one of {', '.join(_READERS)}"
            raise ConfigError(f"{where}: {shown(key)} is not a key of an entry{advice}")
    values = {key: _value(key, value, where) for key, value in table.items()}
    for key, example in (("reason", '"upstream issue 123"'), ("until", "2027-01-31")):
        if key not in values:
            raise ConfigError(f"{where}: {key} is missing; write it as in {key} = {example}")
    if {"fingerprint"} != (given := values.keys() & {"fingerprint", "site", "type"}) != {"site", "type"}:
        has = f"has {' and '.join(sorted(given))}" if given else "has neither"
        raise ConfigError(f"{where}: it needs a fingerprint, or a site and a type, and {has}")
    return Entry(**values, number=number)


def _value(key: str, value: object, where: str) -> Any:  # noqa: ANN401 - whatever that field holds
    try:
        return _READERS[key](value)
    except ValueError as wrong:
        raise ConfigError(f"{where}: {key} = {shown(value)} {wrong}") from None


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("is not text; write some, in quotes")


def _fingerprint(value: object) -> str:
    if isinstance(value, str) and _FINGERPRINT.fullmatch(value):
        return value
    raise ValueError("is not a fingerprint; copy it from the result document, all of its digits")


def _site(value: object) -> str:
    file, _, function = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if file.strip() and function.strip() and not function.strip().isdecimal():
        return f"{file.strip()}:{function.strip()}"
    raise ValueError("is not a site; write file and function, as in 'pool.py:Pool.get'")


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("is not a date; write one without quotes, as in 2027-01-31")


def _allowance(value: object) -> str:
    try:
        _read_allowance(value)
    except ConfigError:
        raise ValueError("is not a growth; write it as in '64 B/run' or '2/run'") from None
    return str(value)


def _read_allowance(value: Any) -> tuple[float, Unit]:  # noqa: ANN401 - text or a number, or an error
    """Return a growth a run and its unit: a number alone counts objects, blocks or descriptors."""
    try:
        return parse_allowance(value, Unit.COUNT), Unit.COUNT
    except ConfigError:
        return parse_allowance(value, Unit.BYTE), Unit.BYTE


_READERS: Mapping[str, Callable[[object], object]] = {
    "fingerprint": _fingerprint,
    "site": _site,
    "type": _text,
    "reason": _text,
    "until": _day,
    "at_most": _allowance,
}


# -- writing ---------------------------------------------------------------------------------------------------------


def appended(text: str, entry: Entry, file: str = FILE_NAME, *, comment: str = "") -> str:
    """
    Return the *text* of a file with *entry* at its end, and a comment of one line above it.

    Raises:
        ConfigError: the file or the entry is wrong, or entries are written so that none can be appended.

    """
    _entries(text, file)
    newline = "\r\n" if "\r\n" in text else "\n"
    before = text.rstrip() + newline * 2 if text.strip() else ""
    whole = before + newline.join(_lines(entry, comment)) + newline
    try:
        parse(whole)
    except ValueError as error:
        raise ConfigError(f"{file}: no entry can be appended: {error}; write entries as [[accepted]]") from error
    _entries(whole, file)
    return whole


def _lines(entry: Entry, comment: str) -> list[str]:
    values = {key: getattr(entry, key) for key in _READERS}
    lines = [f"# {comment}"] if comment else []
    lines.append("[[accepted]]")
    return [*lines, *(f"{key} = {_quoted(value)}" for key, value in values.items() if value)]


def _quoted(value: object) -> str:
    """Return a value as TOML writes it: text as JSON does, but for DEL and half surrogate pairs."""
    if isinstance(value, date):
        return value.isoformat()
    whole = str(value).encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
