"""
The end that listens: one thread, one unix socket, a JSON object a line in each direction.

    {"protocol": 1, "token": "...", "command": "stats"}  ->  {"ok": true, "result": {...}, "seconds": 0.0002}
                                                         ->  {"ok": false, "error": "..."}

Whoever is of another user or does not know the token is not answered at all. The thread uses what lies below
``socket``, ``select`` and ``threading``, so that a service may replace these (gevent does).
"""

from __future__ import annotations

import _socket
import atexit
import json
import os
import sys
import time
from _operator import _compare_digest  # hmac's own, without the 2 MB that hmac and hashlib take
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_memguard.agent import folders
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROTOCOL", "Agent", "start"]

PROTOCOL = 1
#: No command needs more than a few hundred bytes.
_MOST_REQUEST = 64 * 1024
_MOST_ANSWER = 1 << 20
#: One monitor, one harness, and some room for whoever asks once.
_MOST_CONNECTIONS, _MOST_WAITING = 8, 64
#: Who has not asked anything by then is gone, or never meant to.
_SILENCE_S = 5.0
#: Who does not take an answer by then will not.
_SEND_S = 5.0
_RECEIVE_BYTES = 1 << 16
_PAUSE_S = 0.1
_READABLE = 1  # POLLIN, everywhere
#: Longest path of a socket: 108 bytes on Linux, 104 on macOS, with the zero at its end.
_MOST_PATH = 103


def start(folder: str | None = None) -> str:
    """Listen in this process and in each that it forks; see ``pytest_memguard.agent.start``."""
    if _listening.agent is not None and _listening.agent.pid == os.getpid():
        return _listening.agent.path
    if not hasattr(_socket, "AF_UNIX") or not hasattr(os, "geteuid"):
        raise CouldNotRun("the agent needs unix sockets, which this platform does not have")
    made = ""
    folder = folder or os.environ.get(folders.FOLDER)
    if folder:
        folders.require_private(folder)
        token = folders.read_token(folder) or os.environ.get(folders.TOKEN)
        if os.environ.get(folders.OWNER) == str(os.getpid()) and folder == os.environ.get(folders.FOLDER):
            made = folder
        if not token:
            raise CouldNotRun(f"{folder} has no token: it was not made by memguard; call start() without a folder")
    else:
        folder, token = folders.create()
        made = folder
    agent = Agent(folder, token)
    agent.listen()
    _listening.take(agent, made)
    return agent.path


class _Listening:
    """The agent of this process, and what has to happen when the process is copied and when it ends."""

    def __init__(self) -> None:
        self.agent: Agent | None = None
        self._made = ""
        self._maker = 0
        self._is_hooked = False

    def take(self, agent: Agent, made: str) -> None:
        """Keep *agent*; *made* is its folder where that was made for it."""
        self.agent, self._made, self._maker = agent, made, os.getpid()
        if not self._is_hooked:
            self._is_hooked = True
            atexit.register(self.end)
            os.register_at_fork(after_in_child=self.be_born)

    def be_born(self) -> None:
        """Begin anew in a forked child, which has a copy of the socket and no thread; not where heap made the copy."""
        before, self.agent = self.agent, None
        if before is None:
            return
        before.forget()
        forking = sys.modules.get("pytest_memguard.heap.forking")
        if forking is not None and forking.is_forking():
            return
        agent = Agent(before.folder, before.token)
        with suppress(OSError, RuntimeError, CouldNotRun):  # the service goes on, whatever becomes of its agent
            agent.listen()
            self.agent = agent

    def end(self) -> None:
        """Leave nothing behind when the process ends."""
        if self.agent is None:
            return
        with suppress(OSError):
            os.unlink(self.agent.path)  # noqa: PTH108 - the interpreter is ending
        if self._made and self._maker == os.getpid():
            folders.remove(self._made)


class Agent:
    """
    One listening socket and the thread behind it.

    Args:
        folder: Where the socket is made, by the number of this process.
        token: What each request must have.
        commands: What can be asked, by name; takes the request, returns what JSON has.

    """

    def __init__(
        self, folder: str, token: str, commands: dict[str, Callable[[dict[str, Any]], Any]] | None = None
    ) -> None:
        self.folder = folder
        self.token = token
        self.pid = os.getpid()
        self.path = folders.socket_path(folder, self.pid)
        self._commands = commands
        self._listener: _socket.socket | None = None
        self._connections: dict[int, _Connection] = {}

    def listen(self) -> None:
        """
        Make the socket, and start the thread.

        Raises:
            CouldNotRun: the path is too long for a socket, or the socket cannot be made.

        """
        if len(os.fsencode(self.path)) > _MOST_PATH:
            raise CouldNotRun(f"{self.path} is too long for a socket: give a folder with a shorter path")
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108 - left by a process of the same number, or by this one before exec
            listener.bind(self.path)
            os.chmod(self.path, 0o600)  # noqa: PTH101 - as the other calls here
        except OSError as error:
            listener.close()
            raise CouldNotRun(f"{self.path}: the agent cannot listen there: {error.strerror}") from error
        listener.listen(_MOST_WAITING)
        listener.settimeout(0)
        self._listener = listener
        _untouched("_thread", "start_new_thread")(self._serve, ())

    def forget(self) -> None:
        """Close the copies that a forked child has: the parent's ends must close when the parent closes them."""
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        if self._listener is not None:
            self._listener.close()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        listener = self._listener
        assert listener is not None  # noqa: S101 - listen has made it
        poll = _untouched("select", "poll")()
        poll.register(listener.fileno(), _READABLE)
        while True:
            waiting_ms = int(_SILENCE_S * 500) if self._connections else None
            try:
                ready = poll.poll(waiting_ms)
                for descriptor, _ in ready:
                    if descriptor == listener.fileno():
                        self._accept(listener, poll)
                    elif descriptor in self._connections:
                        self._hear(self._connections[descriptor], poll)
                self._drop_silent(poll)
            except Exception:  # noqa: BLE001 - out of memory or of descriptors: the next request may be answered
                _untouched("time", "sleep")(_PAUSE_S)

    def _accept(self, listener: _socket.socket, poll: Any) -> None:  # noqa: ANN401 - select.poll has no public type
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept calls
        except (BlockingIOError, InterruptedError):
            return
        peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        if not _is_of_this_user(peer):
            peer.close()
            return
        peer.settimeout(_SEND_S)
        while len(self._connections) >= _MOST_CONNECTIONS:
            self._close(min(self._connections.values(), key=lambda one: (one.proven, one.heard_s)), poll)
        self._connections[descriptor] = _Connection(peer)
        poll.register(descriptor, _READABLE)

    def _hear(self, connection: _Connection, poll: Any) -> None:  # noqa: ANN401 - see _accept
        """Take what came, and answer each whole line; half a line waits for its rest."""
        try:
            lines = connection.receive()
            for line in lines:
                connection.socket.sendall(self._answer(line))
                connection.proven = True
        except (_Refused, OSError):
            self._close(connection, poll)

    def _drop_silent(self, poll: Any) -> None:  # noqa: ANN401 - see _accept
        """Close connections that never asked, or are in the middle of a line for too long."""
        now_s = time.monotonic()
        for connection in tuple(self._connections.values()):
            if (connection.buffer or not connection.proven) and now_s - connection.heard_s > _SILENCE_S:
                self._close(connection, poll)

    def _close(self, connection: _Connection, poll: Any) -> None:  # noqa: ANN401 - see _accept
        descriptor = connection.socket.fileno()
        self._connections.pop(descriptor, None)
        with suppress(KeyError, ValueError, OSError):
            poll.unregister(descriptor)
        connection.socket.close()

    # -- a request ---------------------------------------------------------------------------------------------------

    def _answer(self, line: bytes) -> bytes:
        """
        Return the answer to one line.

        Raises:
            _Refused: it does not have the token.

        """
        request = _parsed(line)
        token = request.get("token")
        if not isinstance(token, str) or not _compare_digest(token.encode(errors="replace"), self.token.encode()):
            raise _Refused
        began = time.perf_counter()
        try:
            answer = {"ok": True, "result": self._result(request)}
        except Exception as error:  # noqa: BLE001 - whatever a walk over foreign objects raises, it is told
            answer = {"ok": False, "error": _words(error)}
        answer["seconds"] = round(time.perf_counter() - began, 6)
        return _encoded(answer)

    def _result(self, request: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the command answers
        if request.get("protocol") != PROTOCOL:
            raise CouldNotRun(f"this agent speaks protocol {PROTOCOL}; use the memguard of the same version")
        name = request.get("command")
        commands = self._all_commands()
        if name not in commands:
            raise CouldNotRun(f"{str(name)[:40]!r} is no command; there are: {', '.join(commands)}")
        return commands[name](request)

    def _all_commands(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        if self._commands is None:
            from pytest_memguard.agent.commands import commands  # noqa: PLC0415 - when the first one asks

            self._commands = commands(self.folder)
        return self._commands


class _Refused(Exception):  # noqa: N818 - what happens to the peer, not an error of ours
    """The peer is not to be answered."""


class _Connection:
    """One peer: what came from it and is no whole line yet, and when it was last heard."""

    __slots__ = ("buffer", "heard_s", "proven", "socket")

    def __init__(self, peer: _socket.socket) -> None:
        self.socket = peer
        self.buffer = b""
        self.heard_s = time.monotonic()
        self.proven = False

    def receive(self) -> list[bytes]:
        """
        Return the lines that are whole now.

        Raises:
            _Refused: the peer has closed its end, or its line is too long.

        """
        came = self.socket.recv(_RECEIVE_BYTES)
        if not came:
            raise _Refused
        *lines, rest = (self.buffer + came).split(b"\n")
        if len(rest) > _MOST_REQUEST or any(len(line) > _MOST_REQUEST for line in lines):
            raise _Refused
        if not self.buffer or lines:
            self.heard_s = time.monotonic()
        self.buffer = rest
        return lines


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise _Refused from None
    if not isinstance(request, dict):
        raise _Refused
    return request


def _encoded(answer: dict[str, Any]) -> bytes:
    """Return *answer* as a line, with as many rows of its result as fit."""
    while True:
        line = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
        if len(line) <= _MOST_ANSWER:
            return line
        rows = answer["result"].get("rows") if isinstance(answer.get("result"), dict) else None
        if not rows:
            return b'{"ok":false,"error":"the answer is too long; ask for less"}\n'
        answer["result"].update(rows=rows[: len(rows) // 2], truncated=True)


def _words(error: Exception) -> str:
    return str(error)[:500] if isinstance(error, CouldNotRun) else f"{type(error).__name__}: {error}"[:500]


def _is_of_this_user(peer: _socket.socket) -> bool:
    """Whether the peer is of this user, or root; where the system does not tell, the folder keeps others out."""
    if not hasattr(_socket, "SO_PEERCRED"):
        return True
    credentials = peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder) in (os.geteuid(), 0)


def _untouched(module: str, name: str) -> Any:  # noqa: ANN401 - whatever has that name
    """Return a function of the standard library as it was before gevent replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(import_module(module), name) if monkey is None else monkey.get_original(module, name)


_listening = _Listening()
