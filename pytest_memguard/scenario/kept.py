"""Where footprints are kept, beside their scenarios, and their reader and writer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard import store
from pytest_memguard.core.document import parse
from pytest_memguard.core.environment import environment_key
from pytest_memguard.errors import DocumentError
from pytest_memguard.renderers.terminal import plain
from pytest_memguard.scenario import footprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.scenario.footprint import Footprint
    from pytest_memguard.scenario.spec import Scenario

__all__ = ["folder_of", "place_of", "read", "write"]


def folder_of(scenario: Scenario) -> Path:
    """Return the folder of a scenario: that of its file, or the current one."""
    return scenario.path.absolute().parent if scenario.path else Path.cwd()


def place_of(scenario: Scenario, environment: Mapping[str, Any]) -> Path:
    """Return where the footprint of a scenario is kept: by its name and the key of the environment."""
    return folder_of(scenario) / store.FOLDER / "footprints" / scenario.name / f"{environment_key(environment)}.json"


def read(path: Path) -> Footprint:
    """
    Return the footprint in a file.

    Raises:
        DocumentError: it cannot be read, or is none; one line says why.

    """
    try:
        return footprint.from_dict(parse(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, DocumentError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DocumentError(f"{plain(str(path))} cannot be read: {reason}") from error


def write(found: Footprint, path: Path) -> None:
    """
    Write a footprint, whole or not at all; its folder is made.

    Raises:
        DocumentError: it cannot be written, and what was there before is still there.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.write_whole(path, footprint.dumps(found).encode("ascii"))
    except (OSError, ValueError, DocumentError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DocumentError(f"{plain(str(path))} cannot be written: {reason}") from error
