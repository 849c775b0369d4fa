"""
Annotations of GitHub Actions: a workflow command a cause, which shows beside the line that allocates.

A step may make ten errors and ten warnings; what is above eight is left to the step summary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.core.units import Unit, amount
from pytest_memguard.core.values import Level
from pytest_memguard.renderers._words import counted, plain, shortened
from pytest_memguard.renderers.notices import changed, notices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.core.values import Comparison, RunResult
    from pytest_memguard.renderers.notices import Notice

__all__ = ["MOST", "commands", "comparison", "render"]

#: Of the ten errors that a step may make, two are left to others.
MOST = 8
_TOOL = "memguard"
_LONGEST_TITLE, _LONGEST_LINE = 200, 1000


def render(result: RunResult) -> str:
    """Return the annotations of what leaks or grows and was not accepted; empty where nothing does."""
    return commands([notice for notice in notices(result) if not notice.known])


def comparison(comparison: Comparison) -> str:
    """Return the annotations of what is new or worse; empty where nothing is."""
    return commands(
        [notice for notice in changed(comparison) if notice.status in ("new", "worse") and not notice.known]
    )


def commands(found: Sequence[Notice]) -> str:
    """Return a command a notice, eight at most, and one that counts the others."""
    lines = [_of_notice(notice) for notice in found[:MOST]]
    rest = len(found) - len(lines)
    if rest:
        pointer = f"{counted(rest, 'more cause')} of growth not shown here: see the summary of this job, or the report"
        lines.append(_command("notice", {"title": _TOOL}, pointer))
    return "\n".join(lines)


def _of_notice(notice: Notice) -> str:
    place = notice.places[0] if notice.places else None
    where = {"file": plain(place.file), "line": amount(place.line, Unit.COUNT)} if place else {}
    level = "error" if notice.level is Level.LEAK else "warning"
    status = f"{notice.status.capitalize()}: " if notice.status else ""
    title = shortened(f"{status}{notice.title}", _LONGEST_TITLE)
    return _command(level, {**where, "title": title}, _message(notice))


def _message(notice: Notice) -> str:
    lines = [
        notice.text,
        f"in {notice.tests}",
        notice.advice,
        f"repeat: {notice.reproducer}" if notice.reproducer else "",
        f"fingerprint: {notice.fingerprint}",
    ]
    return "\n".join(shortened(line, _LONGEST_LINE) for line in lines if line)


def _command(name: str, properties: Mapping[str, str], message: str) -> str:
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(message)}"


def _data(text: str) -> str:
    """Return *text* as the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return *text* as a property of a workflow command, where two more characters have a meaning."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
