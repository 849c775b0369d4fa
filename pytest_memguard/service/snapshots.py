"""Where a guard's heap snapshots lie, and under which names."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from pytest_memguard.errors import ConfigError, DocumentError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["take"]

_LONGEST_NAME = 64
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def take(folder: Path, name: str) -> Path:
    """
    Write a heap snapshot, without values, and return where it lies.

    Args:
        folder: Made where it is not there, for its owner alone.
        name: Up to 64 letters, digits, ``-``, ``_`` and inner dots; no path.

    Raises:
        ConfigError: *name* is none of these.
        FileExistsError: There is one of that name.
        DocumentError: It, or the folder, cannot be written.
        CouldNotRun: It could not be taken.

    """
    path = folder / f"{_checked(name)}.heapsnapshot"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DocumentError(f"guard: snapshot_dir = {str(folder)!r} cannot be made ({error.strerror})") from error
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    from pytest_memguard import heap  # noqa: PLC0415 - only where one is asked for

    heap.write(path)
    return path


def _checked(name: str) -> str:
    if len(name) <= _LONGEST_NAME and _SAFE_NAME.fullmatch(name) and name[0] not in "-_":
        return name
    raise ConfigError(
        f"snapshot name {name!r:.100} is not safe; write up to {_LONGEST_NAME} letters, digits, '-', '_' and inner "
        "dots, the first a letter or digit"
    )
