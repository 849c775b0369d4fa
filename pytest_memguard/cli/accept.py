"""
Accept a leak for a while.

It no longer fails its tests until the day is over, and is reported apart. The entry is appended to a file that belongs
beside the tests in version control.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.accepted import FILE_NAME, Entry, appended, load
from pytest_memguard.core.causes import causes
from pytest_memguard.errors import ConfigError, DocumentError
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_memguard.core.values import Cause

__all__ = ["add_arguments", "run"]

_DAYS = 90
_MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("document", type=Path, metavar="RUN.json", help="the result document that has it, plain or .gz")
    parser.add_argument("fingerprint", metavar="FINGERPRINT", help="of the cause, or the first digits of it")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why it is accepted, for people")
    parser.add_argument("--until", metavar="DATE", help=f"last day, as in 2027-01-31 (default: {_DAYS} days from now)")
    parser.add_argument("--at-most", default="", metavar="GROWTH", help="as in '64 B/run' or '2/run' (default: any)")
    file = f"the file that gets the entry (default: {FILE_NAME})"
    parser.add_argument("--file", type=Path, default=Path(FILE_NAME), metavar="FILE", help=file)


def run(options: argparse.Namespace) -> int:
    """Append the entry, and say so."""
    today = datetime.now().astimezone().date()
    cause = _cause(causes(store.read(options.document).results), options.fingerprint, options.document)
    entry = Entry(options.reason, _until(options.until, today), cause.fingerprint, at_most=options.at_most)
    _refuse_second(entry, options.file, today)
    _append(entry, options.file, f"{plain(cause.text)} ({_tests(cause)})")
    print(f"accepted until {entry.until} in {options.file}: {plain(cause.text)} ({_tests(cause)})")
    return 0


def _cause(found: Sequence[Cause], digits: str, document: Path) -> Cause:
    """Return the one cause whose fingerprint is, or begins with, *digits*."""
    meant = [cause for cause in found if cause.fingerprint == digits] or [
        cause for cause in found if digits and cause.fingerprint.startswith(digits.lower())
    ]
    if len(meant) == 1:
        return meant[0]
    if not found:
        raise ConfigError(f"{plain(str(document))} has no cause that could be accepted")
    problem = "begins the fingerprints of several causes" if meant else "is the fingerprint of no cause"
    raise ConfigError(f"{plain(digits)!r} {problem} in {plain(str(document))}; there are:\n{_list(meant or found)}")


def _list(found: Sequence[Cause]) -> str:
    lines = [f"  {cause.fingerprint}  {plain(cause.text)} ({_tests(cause)})" for cause in found[:_MOST_SHOWN]]
    rest = len(found) - len(lines)
    return "\n".join([*lines, f"  ... and {rest} more"] if rest else lines)


def _tests(cause: Cause) -> str:
    first, *others = cause.results
    return plain(first) + (f" and {len(others)} more" if others else "")


def _until(text: str | None, today: date) -> date:
    if text is None:
        return today + timedelta(days=_DAYS)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--until = {text!r} is not a date; write one as in 2027-01-31") from None
    if day < today:
        raise ConfigError(f"--until = {text!r} is over; write a day from {today} on")
    return day


def _refuse_second(entry: Entry, file: Path, today: date) -> None:
    for other in load(file).entries:
        if other.fingerprint == entry.fingerprint and today <= other.until:
            place = f"{plain(str(file))}: entry {other.number}"
            raise ConfigError(f"{place} accepts {entry.fingerprint} until {other.until} already; change it there")


def _append(entry: Entry, file: Path, comment: str) -> None:
    try:
        before = file.read_bytes().decode("utf-8-sig") if file.exists() else ""
        store.write_whole(file, appended(before, entry, file.name, comment=comment).encode())
    except OSError as error:
        raise ConfigError(f"{plain(str(file))} cannot be written: {error.strerror}") from error
    except DocumentError as error:
        raise ConfigError(f"{plain(str(file))} cannot be written: {error}") from error
