"""
The agent: answers from inside a process what cannot be seen from outside, to this user only.

    from pytest_memguard import agent

    agent.start()                    # in the service; or start it with `memguard exec -- COMMAND`

Nothing listens unless it is started. It needs the standard library alone, has one thread, and no command of it runs
code or names a file.
"""

from __future__ import annotations

__all__ = ["start"]


def start(folder: str | None = None) -> str:
    """
    Listen in this process and in each that it forks, and return the path of the socket; harmless where it listens.

    Args:
        folder: Where the socket goes, a folder that only this user can enter; None for MEMGUARD_AGENT_FOLDER, or
            a new one below that of this user.

    Raises:
        CouldNotRun: the folder is open to others, its path is too long for a socket, or the system has no such
            sockets.

    """
    from pytest_memguard.agent import server  # noqa: PLC0415 - a client needs none of it

    return server.start(folder)
