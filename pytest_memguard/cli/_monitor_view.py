"""How a watched tree of processes is shown: live in a terminal, else a line a reading."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pytest_memguard.cli._watching import History, Indicator
from pytest_memguard.core.units import Unit, amount, signed
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    from pytest_memguard.agent.outside import ProcessReading, TreeReading

__all__ = ["LiveView", "PlainView", "Silence", "View", "line", "view"]

_FIELDS = (
    ("rss", "rss_bytes", Unit.BYTE),
    ("uss", "uss_bytes", Unit.BYTE),
    ("heap", "heap_bytes", Unit.BYTE),
    ("blocks", "blocks", Unit.COUNT),
    ("fds", "fds", Unit.COUNT),
    ("threads", "threads", Unit.COUNT),
)
_COLORS = {Indicator.HEALTHY: "green", Indicator.WARNING: "yellow", Indicator.CRITICAL: "bold red"}
_MOST_ROWS = 12
#: To draw costs more than to read; more often than this nobody looks.
_DRAW_EVERY_S = 0.5
_LINE_EVERY_S = 1.0
_UNKNOWN = "-"


class View(Protocol):
    """Shows readings as they come."""

    def show(self, reading: TreeReading, history: History, elapsed_s: float) -> None:
        """Show *reading*, and what became of the first one."""

    def say(self, text: str) -> None:
        """Show a line that the watched command has written."""

    def close(self) -> None:
        """End."""


class Silence:
    """Shows nothing."""

    def show(self, reading: TreeReading, history: History, elapsed_s: float) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """End."""


class PlainView:
    """A line a reading, a second apart at least."""

    def __init__(self, file: TextIO, every_s: float = _LINE_EVERY_S) -> None:
        self._file = file
        self._every_s = every_s
        self._next_s = 0.0

    def show(self, reading: TreeReading, history: History, elapsed_s: float) -> None:
        """Write the line."""
        if elapsed_s < self._next_s:
            return
        # A wait may end a little early, and a line that is skipped leaves a hole of a second.
        self._next_s = elapsed_s + 0.9 * self._every_s
        print(line(reading, history, elapsed_s), file=self._file, flush=True)

    def say(self, text: str) -> None:
        """Pass it on."""
        print(plain(text), file=self._file, flush=True)

    def close(self) -> None:
        """End."""


def line(reading: TreeReading, history: History, elapsed_s: float) -> str:
    """Return a reading of a tree on one line."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    cells = [f"{minutes:02d}:{seconds:02d}"]
    for name, field, unit in _FIELDS:
        value = reading.total(field)
        grown = f" ({signed(history.grown_bytes, unit)})" if name == "rss" and history.first else ""
        cells.append(f"{name} {_UNKNOWN if value is None else amount(value, unit)}{grown}")
    cells.append(f"gc {_collections(reading.processes)}")
    cells.append(f"processes {len(reading.processes)}")
    return "  ".join([*cells, history.indicator.value])


def _collections(processes: tuple[ProcessReading, ...]) -> str:
    """Return how often the collector ran in full, of all processes that tell."""
    found = [one.collections[-1] for one in processes if one.collections]
    return str(sum(found)) if found else _UNKNOWN


class LiveView:
    """A table that is drawn anew, with rich."""

    def __init__(self, name: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.live import Live  # noqa: PLC0415 - see above

        self._name = plain(name)
        self._console = Console(stderr=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()
        self._next_s = 0.0

    def show(self, reading: TreeReading, history: History, elapsed_s: float) -> None:
        """Draw the table, if the last one is old enough."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _DRAW_EVERY_S
            self._live.update(self._table(reading, history, elapsed_s), refresh=True)

    def say(self, text: str) -> None:
        """Write it above the table."""
        self._console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last table as it is."""
        self._live.stop()

    def _table(self, reading: TreeReading, history: History, elapsed_s: float) -> Any:  # noqa: ANN401 - of the extra
        from rich.table import Table  # noqa: PLC0415 - see __init__
        from rich.text import Text  # noqa: PLC0415 - see __init__

        indicator = history.indicator
        grown = signed(history.grown_bytes, Unit.BYTE)
        title = f"{self._name}   {elapsed_s:.0f} s   {grown} resident   "
        table = Table(title=Text.assemble(title, (indicator.value, _COLORS[indicator])), title_justify="left")
        for name in ("pid", "process"):
            table.add_column(name)
        for name in (*(name for name, _, _ in _FIELDS), "gc"):
            table.add_column(name, justify="right")
        for one in reading.processes[:_MOST_ROWS]:
            table.add_row(str(one.pid), Text(plain(one.name)), *_cells(one))
        rest = len(reading.processes) - _MOST_ROWS
        if rest > 0:
            table.add_row("", f"and {rest} more")
        if len(reading.processes) > 1:
            table.add_section()
            totals = [_shown(reading.total(field), unit) for _, field, unit in _FIELDS]
            table.add_row("", "together", *totals, _collections(reading.processes))
        return table


def _cells(one: ProcessReading) -> list[str]:
    return [*(_shown(getattr(one, field), unit) for _, field, unit in _FIELDS), _collections((one,))]


def _shown(value: int | None, unit: Unit) -> str:
    return _UNKNOWN if value is None else amount(value, unit)


def view(name: str, *, is_plain: bool) -> View:
    """Return a live view where the output is a terminal and rich is there, else plain lines."""
    if is_plain or not sys.stdout.isatty():
        return PlainView(sys.stdout)
    try:
        return LiveView(name)
    except ModuleNotFoundError:
        sys.stderr.write('memguard: a live view needs rich: pip install "pytest-memguard[harness]"\n')
        return PlainView(sys.stdout)
