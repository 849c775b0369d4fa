"""The end that asks: connects to the agent of a process, and calls its commands."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_memguard.agent import folders
from pytest_memguard.agent.server import PROTOCOL
from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Client", "connect", "find"]

_USUAL_S = 5.0
_AGAIN_S = 0.01
#: Those that walk the heap take as long as it is large.
_LONG_S = {"gc": 60.0, "trim": 60.0, "trace": 60.0, "types": 120.0, "sites": 120.0, "path": 120.0, "snapshot": 900.0}
#: Over the longest answer that an agent gives.
_MOST_ANSWER = 2 << 20
_RECEIVE_BYTES = 1 << 16


class Client:
    """
    A connection to one agent.

    Args:
        path: Its socket.
        token: What it wants to hear.
        timeout_s: Longest wait for an answer; None for what is usual of each command.

    Raises:
        CouldNotRun: nobody listens, the token is wrong, or the agent is of another version.

    """

    def __init__(self, path: str, token: str, *, timeout_s: float | None = None) -> None:
        self.path = path
        self._token = token
        self._timeout_s = timeout_s
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s or _USUAL_S)
        try:
            self._connect()
            self.hello = self.call("ping")
        except OSError as error:
            self.close()
            raise CouldNotRun(f"{path}: no agent answers: {error.strerror or error}") from error
        except CouldNotRun:
            self.close()
            raise

    def _connect(self) -> None:
        """Connect; raises OSError. Where many wait already, the system does not let us wait with a timeout."""
        deadline_s = time.monotonic() + (self._timeout_s or _USUAL_S)
        while True:
            try:
                return self._socket.connect(self.path)
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(_AGAIN_S)

    @property
    def pid(self) -> int:
        """The process that the agent is in."""
        return int(self.hello["pid"])

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON has
        """
        Return what the agent answers to *command*.

        Raises:
            CouldNotRun: the process ended, the agent did not answer in time, or it says that it cannot do it.

        """
        request = {"protocol": PROTOCOL, "token": self._token, "command": command, **arguments}
        try:
            self._socket.settimeout(self._timeout_s or _LONG_S.get(command, _USUAL_S))
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._line())
        except TimeoutError as error:
            self.close()
            raise CouldNotRun(f"{self.path}: no answer to {command}: the process stands still, or is busy") from error
        except (OSError, ValueError) as error:
            self.close()
            reason = "it ended, or does not take this token" if not isinstance(error, ValueError) else str(error)
            raise CouldNotRun(f"{self.path}: the agent does not answer {command}: {reason}") from error
        if not answer.get("ok"):
            raise CouldNotRun(f"{self.path}: {command}: {answer.get('error')}")
        result: dict[str, Any] = answer["result"]
        return result

    def _line(self) -> bytes:
        """Return the next line; raises OSError where the other end is closed."""
        while b"\n" not in self._buffer:
            came = self._socket.recv(_RECEIVE_BYTES)
            if not came:
                raise ConnectionResetError
            self._buffer += came
            if len(self._buffer) > _MOST_ANSWER:
                raise ValueError("its answer does not end")
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def connect(pid: int, *, timeout_s: float | None = None) -> Client:
    """
    Return a connection to the agent in process *pid*.

    Raises:
        CouldNotRun: there is none that this user can reach.

    """
    path = find(pid)
    if path is None:
        raise CouldNotRun(
            f"process {pid} has no memguard agent: start it with `memguard exec -- COMMAND`, "
            "or call pytest_memguard.agent.start() in it"
        )
    return Client(path, folders.read_token(os.path.dirname(path)), timeout_s=timeout_s)  # noqa: PTH120 - a plain text


def find(pid: int, folder: str | None = None) -> str | None:
    """Return the socket of process *pid*, in *folder* or wherever agents of this user are; None where there is none."""
    places = [folder] if folder else [*_of_environment(pid), *_of_user()]
    return next((path for place in places if os.path.exists(path := folders.socket_path(place, pid))), None)  # noqa: PTH110 - see connect


def _of_environment(pid: int) -> Iterator[str]:
    """Yield the folder that the process was started with."""
    import psutil  # noqa: PLC0415 - a client that is given a path does not need it

    with suppress(psutil.Error, OSError):
        folder = psutil.Process(pid).environ().get(folders.FOLDER)
        if folder:
            yield folder


def _of_user() -> Iterator[str]:
    for root in folders.roots():
        with suppress(OSError):
            yield from sorted(entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
