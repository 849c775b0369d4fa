"""
Starts a service of a scenario with the agent inside, waits until it is ready, and ends it with all that it started.

    with Service(spec) as service:
        service.sample()          # the counters of each of its processes

Between us and the service stands a keeper (``keeper.py``), a small process that ends it whatever becomes of us.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from pytest_memguard.agent import client, folders
from pytest_memguard.agent.launch import environment
from pytest_memguard.agent.outside import Tree, TreeReading, label
from pytest_memguard.core.units import duration
from pytest_memguard.errors import CouldNotRun
from pytest_memguard.renderers.terminal import plain
from pytest_memguard.scenario.keeper import KEPT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from pytest_memguard.scenario.spec import ServiceSpec

__all__ = ["Service", "new_mark"]

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_START_S = 20.0  # of the keeper; a machine under load takes its time
_KILL_S = 15.0  # beyond the time from TERM to KILL
_ASK_S = 2.0  # for one try of the ready URL
_LOOK_S = 0.05
_GOOD_BELOW = 400  # RFC 9110: errors begin here
_LAST_LINES = 6
_MOST_LINE = 300
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})
_numbers = count(1)


def new_mark() -> str:
    """Return a new mark for all processes of one run."""
    return os.urandom(8).hex()


class Service:
    """
    A running service, once entered.

    Args:
        spec: What to start.
        url: Where it will be asked; it is ready when it listens there, if it has no ready URL.
        mark: Of the run that it belongs to, by which its processes are known; None for one of its own.

    Attributes:
        folder: Where the agents of its processes listen; empty without agents.
        ready_after_s: How long it took to get ready.
        notes: What is odd about it, a sentence each.

    """

    def __init__(self, spec: ServiceSpec, *, url: str = "", mark: str | None = None) -> None:
        self.spec = spec
        self.folder = ""
        self.ready_after_s = 0.0
        self.notes: list[str] = []
        self._url = url
        self._mark = f"{mark or new_mark()}:{next(_numbers)}"
        self._token = ""
        self._keeper: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._events: dict[str, dict[str, Any]] = {}
        self._tree: Tree | None = None
        self._tree_root = 0

    def __enter__(self) -> Self:
        """
        Start it, and wait until it is ready.

        Raises:
            CouldNotRun: it cannot be started, ended at once, or did not get ready; it is gone then.

        """
        if sys.platform == "win32":
            raise CouldNotRun("scenarios need a POSIX system: start the service yourself, and use `memguard load`")
        try:
            self._refuse_used_port()
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- while it runs ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name in the scenario."""
        return self.spec.name

    @property
    def run_mark(self) -> str:
        """The mark of the run that it belongs to."""
        return self._mark.partition(":")[0]

    @property
    def pid(self) -> int:
        """The process that was started."""
        return int(self._events["started"]["pid"])

    @property
    def died(self) -> str:
        """How it ended by itself, in words; empty as long as it runs."""
        self._hear()
        if "lost" in self._events:
            return "the process that keeps it was killed, and it was ended"
        ended = self._events.get("exit")
        if ended is None or (ended["code"] == 0 and "empty" not in self._events):
            return ""
        return f"it {_how(ended['code'])}{self._last_words(ended)}"

    def sample(self) -> TreeReading:
        """
        Return the counters of each of its processes.

        Raises:
            CouldNotRun: it has ended.

        """
        if self._tree is None:
            raise CouldNotRun(f"{self.name} does not run")
        reading = self._tree.sample()
        return TreeReading(reading.time_s, tuple(one for one in reading.processes if one.pid != self._tree_root))

    def pids(self) -> tuple[int, ...]:
        """Return the numbers of its processes."""
        return tuple(one.pid for one in self.sample().processes)

    def clients(self) -> Iterator[client.Client]:
        """Yield a connection to the agent of each of its processes, open as long as it is looked at."""
        for pid in self.pids() if self.folder else ():
            path = client.find(pid, self.folder)
            if path is not None:
                with suppress(CouldNotRun), client.Client(path, self._token) as found:
                    yield found

    def last_words(self) -> str:
        """Return the end of what it has written."""
        self._hear()
        known = self._events.get("gone") or self._events.get("exit")
        if known is None and self._say("tail"):
            self._events.pop("tail", None)
            self._hear(until="tail", timeout_s=_ASK_S)
            known = self._events.get("tail")
        return str(known["tail"]) if known else ""

    def stop(self) -> bool:
        """End it with all that it has started, and return whether something had to be killed."""
        keeper = self._keeper
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        if keeper is not None:
            with _no_interrupt():
                self._end(keeper)
            self._keeper = None
        if self.folder:
            folders.remove(self.folder)
            self.folder = ""
        return bool(self._events.get("gone", {}).get("killed"))

    # -- start --------------------------------------------------------------------------------------------------------

    def _refuse_used_port(self) -> None:
        host, port = _address(self.spec.ready_url or self._url)
        if host in _LOCAL and _listens(host, port):
            raise CouldNotRun(
                f"{self.name}: port {port} is in use by {_owner(port)}, so the service could not listen there; "
                "end it, or let the scenario choose a free port with ${MEMGUARD_PORT}"
            )

    def _start(self) -> None:
        environ = {**os.environ, **dict(self.spec.env), KEPT: self._mark}
        if self.spec.memory_limit_bytes:
            environ.setdefault("MEMORY_LIMIT", str(self.spec.memory_limit_bytes))
        if self.spec.agent:
            folders.sweep()
            self.folder, self._token = folders.create()
            environ |= environment(self.folder, self._token, environ)
        order = {"command": self.spec.command, "env": environ, "cwd": self.spec.cwd or None, "kept": self._mark}
        self._keeper = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._say(json.dumps(order))
        began_s = time.monotonic()
        while not {"started", "failed", "lost"} & self._events.keys() and time.monotonic() < began_s + _START_S:
            self._hear(timeout_s=_LOOK_S)
        if "started" not in self._events:
            reason = self._events.get("failed", {}).get("reason") or "its keeper did not start"
            raise CouldNotRun(f"{self.name}: {plain(self.spec.command[0])} cannot be started: {reason}")
        self._tree_root = self._keeper.pid
        self._tree = Tree(self._keeper.pid, folder=self.folder or None)

    def _wait_until_ready(self) -> None:
        began_s = time.monotonic()
        why = ""
        while time.monotonic() < began_s + self.spec.ready_timeout_s:
            self._hear(timeout_s=_LOOK_S)
            if self.died:
                raise CouldNotRun(f"{self.name}: before it was ready {self.died}")
            why = self._why_not_ready()
            if not why:
                self.ready_after_s = time.monotonic() - began_s
                self._note_oddities()
                return
        waited = duration(self.spec.ready_timeout_s)
        words = _shortened(self.last_words())
        raise CouldNotRun(
            f"{self.name} was not ready within {waited}: {why}{self._where_it_listens()}"
            f"{f'; its last words: {words}' if words else ''}"
        )

    def _why_not_ready(self) -> str:
        """Return why it is not ready yet; empty where it is."""
        if self.spec.ready_url:
            return _refusal(self.spec.ready_url)
        host, port = _address(self._url)
        if host:
            return "" if _listens(host, port) else f"nothing listens at {host}:{port}"
        if self.folder:
            return "" if client.find(self.pid, self.folder) else "its agent does not answer; is it a Python program?"
        return ""

    def _note_oddities(self) -> None:
        if "exit" in self._events:
            self.notes.append("the command ended and left the service in the background; run it in the foreground")

    def _where_it_listens(self) -> str:
        with suppress(CouldNotRun, psutil.Error, OSError):
            found = sorted({f"{address.ip}:{address.port}" for address in self._listening()})
            return f"; it listens at {', '.join(found)} instead" if found else "; it listens nowhere"
        return ""

    def _listening(self) -> Iterator[Any]:
        for pid in self.pids():
            with suppress(psutil.Error):
                for one in psutil.Process(pid).net_connections("tcp"):
                    if one.status == psutil.CONN_LISTEN:
                        yield one.laddr

    # -- the keeper ---------------------------------------------------------------------------------------------------

    def _say(self, line: str) -> bool:
        """Tell the keeper; return whether it is there."""
        if self._keeper is None or self._keeper.stdin is None:
            return False
        with suppress(OSError, ValueError):
            self._keeper.stdin.write(line.encode() + b"\n")
            self._keeper.stdin.flush()
            return True
        return False

    def _hear(self, *, timeout_s: float = 0.0, until: str = "") -> None:
        """Take what the keeper has told; with *until* wait for that event, at most *timeout_s*."""
        if self._keeper is None or self._keeper.stdout is None or "lost" in self._events:
            return
        end_s = time.monotonic() + timeout_s
        source = self._keeper.stdout.fileno()
        while True:
            ready, _, _ = select.select([source], [], [], max(0.0, end_s - time.monotonic()))
            if ready:
                came = os.read(source, 1 << 16)
                if not came:
                    self._events.setdefault("lost" if "gone" not in self._events else "gone", {})
                    return
                *lines, self._heard = (self._heard + came).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    self._events[event.pop("event")] = event
            if time.monotonic() >= end_s or (ready and not until) or until in self._events:
                return

    def _end(self, keeper: subprocess.Popen[bytes]) -> None:
        grace_s = self.spec.stop_timeout_s
        if self._say(f"stop {grace_s:g}"):
            self._hear(until="gone", timeout_s=grace_s + _KILL_S)
        with suppress(OSError):
            if keeper.stdin is not None:
                keeper.stdin.close()
        try:
            keeper.wait(1.0 if "gone" in self._events else _KILL_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        if keeper.stdout is not None:
            keeper.stdout.close()
        if "gone" not in self._events:
            _kill_marked(self._mark)

    def _last_words(self, ended: dict[str, Any]) -> str:
        words = _shortened(str(ended.get("tail", "")))
        return f"; its last words: {words}" if words else ", without a word"


# -- looking --------------------------------------------------------------------------------------------------------


def _address(url: str) -> tuple[str, int]:
    if not url:
        return "", 0
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), _ASK_S):
        return True
    return False


def _owner(port: int) -> str:
    """Return who listens at *port*, for people."""
    with suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return f"{label(psutil.Process(one.pid))} (process {one.pid})"
    return "another process"


def _refusal(url: str) -> str:
    """Ask *url*, and return why that is not good yet; empty where it is."""
    parts = urlsplit(url)
    host, port = _address(url)
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(host, port, timeout=_ASK_S, context=ssl._create_unverified_context())  # noqa: S323, SLF001 - a service under test has any certificate
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=_ASK_S)
    )
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        status = connection.getresponse().status
    except ConnectionRefusedError:
        return f"nothing listens at {host}:{port}"
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{url} does not answer ({reason})"
    finally:
        connection.close()
    return "" if status < _GOOD_BELOW else f"{url} answers with status {status}"


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


def _shortened(text: str) -> str:
    """Return the last lines of *text* on one, fit for a terminal."""
    lines = [plain(line.strip())[:_MOST_LINE] for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-_LAST_LINES:])


def _kill_marked(mark: str) -> None:
    """Kill what is left of a service whose keeper could not end it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(KEPT) == mark:
                process.kill()


class _no_interrupt:  # noqa: N801 - used as a function
    """Let nothing interrupt the end of a service: a second Ctrl-C would leave half of it."""

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        with suppress(ValueError):  # only the main thread may
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
