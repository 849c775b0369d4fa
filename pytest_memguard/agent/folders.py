"""
Where agents and those who talk to them meet: a folder that only this user can enter, with a token and the sockets.

    <root>/<name>/token         what must be known to be answered
    <root>/<name>/<pid>.sock    a process
"""
# ruff: noqa: PTH102, PTH106, PTH108, PTH116, PTH118, PTH123, PTH208 - each program that has the agent imports this,
# and pathlib would take 10 ms of its start

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_memguard.errors import CouldNotRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "FOLDER",
    "OWNER",
    "TOKEN",
    "create",
    "read_token",
    "remove",
    "require_private",
    "roots",
    "socket_path",
    "sweep",
]

#: The variables that tell a process where to listen, and what to ask for.
FOLDER, TOKEN = "MEMGUARD_AGENT_FOLDER", "MEMGUARD_AGENT_TOKEN"
#: The number of the process that removes the folder when it ends.
OWNER = "MEMGUARD_AGENT_OWNER"

_TOKEN_FILE = "token"  # noqa: S105 - the name of a file
_TOKEN_BYTES = 16
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ENDINGS = (".sock", ".heapsnapshot", ".heapsnapshot.gz", ".py", ".error")


def roots(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return where folders of agents may be, the one for new ones first."""
    bases = [environ.get("XDG_RUNTIME_DIR"), environ.get("TMPDIR"), "/tmp"]  # noqa: S108 - made 0700, and checked
    return tuple(dict.fromkeys(os.path.join(base, f"memguard-{os.geteuid()}") for base in bases if base))


def create(token: str = "") -> tuple[str, str]:
    """
    Make a new folder for agents, and return it and its token: *token*, or a random one.

    Raises:
        CouldNotRun: none can be made, or what is there is open to others.

    """
    root = roots()[0]
    folder = f"{root}/{os.urandom(4).hex()}"
    token = token or os.urandom(_TOKEN_BYTES).hex()
    try:
        with suppress(FileExistsError):
            os.mkdir(root, 0o700)
        require_private(root)
        os.mkdir(folder, 0o700)
        descriptor = os.open(f"{folder}/{_TOKEN_FILE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, token.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CouldNotRun(f"{folder} cannot be made for the agent: {error.strerror}") from error
    return folder, token


def require_private(folder: str) -> None:
    """
    Check that nobody else can enter *folder*.

    Raises:
        CouldNotRun: others can, it is another user's, or there is none.

    """
    try:
        found = os.lstat(folder)
    except OSError as error:
        raise CouldNotRun(f"{folder} cannot be used for the agent: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _FOR_OTHERS:
        raise CouldNotRun(f"{folder} must be a folder of this user with mode 0700: the agent listens there")


def socket_path(folder: str, pid: int) -> str:
    """Return the socket of process *pid*."""
    return f"{folder}/{pid}.sock"


def read_token(folder: str) -> str:
    """Return the token of *folder*; empty where there is none that can be read."""
    with suppress(OSError, ValueError), open(f"{folder}/{_TOKEN_FILE}", encoding="ascii") as file:
        return file.read().strip()
    return ""


def remove(folder: str) -> None:
    """Remove what agents left in *folder*, and the folder if nothing else is in it."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name == _TOKEN_FILE or name.endswith(_ENDINGS):
                with suppress(OSError):
                    os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def sweep() -> None:
    """Remove folders of this user whose processes are all gone: they were killed."""
    for root in roots():
        for folder in _private_folders(root):
            if not any(_exists(pid) for pid in _pids(folder)) and _is_old(folder):
                remove(folder)


def _private_folders(root: str) -> Iterator[str]:
    with suppress(OSError, CouldNotRun):
        require_private(root)
        yield from (entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))


def _pids(folder: str) -> Iterator[int]:
    with suppress(OSError):
        stems = [name[:-5] for name in os.listdir(folder) if name.endswith(".sock")]
        yield from (int(stem) for stem in stems if stem.isdecimal())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_old(folder: str) -> bool:
    """Whether *folder* was made a minute ago or more: a new one has no socket yet."""
    import time  # noqa: PLC0415 - only where there are leftovers

    with suppress(OSError):
        return time.time() - os.stat(folder).st_mtime > 60  # noqa: PLR2004 - the minute
    return False
