"""What a command must be started with so that the agent listens in it, and in each Python that it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard.agent import folders

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["environment"]

_BOOT = str(Path(__file__).with_name("boot"))


def environment(folder: str, token: str, environ: Mapping[str, str] = os.environ, owner: int = 0) -> dict[str, str]:
    """
    Return the variables to add to *environ* for a command whose interpreters shall have the agent.

    An interpreter that ignores its environment (``-I``, ``-E``, a frozen program) does not have it.

    Args:
        folder: Where the sockets go, as ``folders.create`` made it.
        token: Its token.
        environ: What the command would be started with otherwise.
        owner: The process that removes the folder when it ends; 0 where somebody else does.

    """
    before = environ.get("PYTHONPATH", "")
    return {
        folders.FOLDER: folder,
        folders.TOKEN: token,
        **({folders.OWNER: str(owner)} if owner else {}),
        "PYTHONPATH": os.pathsep.join([_BOOT, before]) if before else _BOOT,
    }
