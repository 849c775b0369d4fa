"""One line on the terminal while a test is measured for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL
from pytest_memguard.renderers import terminal

if TYPE_CHECKING:
    from types import TracebackType

    import pytest
    from typing_extensions import Self

    from pytest_memguard.core.values import Phase

__all__ = ["StatusLine"]

#: Shorter measurements say nothing.
_SILENT_S = 2.0
_INTERVAL_S = 0.5


class StatusLine:
    """Says which test is on which rung, once its measurement has taken two seconds; only on a terminal."""

    def __init__(self, config: pytest.Config, nodeid: str) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._shows = self._reporter is not None and self._reporter.isatty and config.get_verbosity() >= 0
        self._nodeid = nodeid
        self._next_s = 0.0
        self._shown = 0

    def __enter__(self) -> Self:
        """Begin to wait."""
        self._next_s = REAL.seconds() + _SILENT_S
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the line."""
        if self._shown:
            self._reporter._tw.write("\r" + " " * self._shown + "\r", flush=True)  # noqa: SLF001 - no public way

    def notice(self, runs: int, phase: Phase) -> None:
        """Show the line if it is time."""
        if not self._shows or REAL.seconds() < self._next_s:
            return
        self._next_s = REAL.seconds() + _INTERVAL_S
        line = terminal.status(self._nodeid, runs, phase)
        self._reporter._tw.write("\r" + line.ljust(self._shown), flush=True)  # noqa: SLF001 - see above
        self._shown = len(line)
