"""
The CI service that this runs in, as its environment tells: where its repository lies, and where its summary goes.

Nothing is sent anywhere: GitHub reads commands from the output of a step, and a file that it names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Service", "append_summary", "service_of"]

#: A summary above 1 MiB is lost as a whole; the rest of it is left to what else writes there.
_LARGEST_SUMMARY = 1_000_000


@dataclass(frozen=True, slots=True)
class Service:
    """
    What is known of the service.

    Attributes:
        name: ``github``, ``gitlab``, or nothing.
        workspace: Folder of the repository; empty where it is not told.
        summary: File that the summary of the step is appended to; empty where there is none.

    """

    name: str = ""
    workspace: str = ""
    summary: str = ""

    def folder_of(self, project: Path) -> str:
        """Return the folder of *project* below the repository, with slashes; empty where it is no part of it."""
        if not self.workspace:
            return ""
        try:
            below = Path(os.path.realpath(project)).relative_to(os.path.realpath(self.workspace))
        except ValueError:
            return ""
        return "" if below == Path() else below.as_posix()


def service_of(environ: Mapping[str, str]) -> Service:
    """Return the service that *environ* belongs to."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return Service("github", environ.get("GITHUB_WORKSPACE", ""), environ.get("GITHUB_STEP_SUMMARY", ""))
    if environ.get("GITLAB_CI") == "true":
        return Service("gitlab", environ.get("CI_PROJECT_DIR", ""))
    return Service()


def append_summary(path: Path, text: str) -> str:
    """Append *text* to the summary of a step; return why that was not possible, or nothing."""
    content = text.encode()
    try:
        before = path.stat().st_size if path.exists() else 0
        if before + len(content) > _LARGEST_SUMMARY:
            return "the summary of this step has no room left, so nothing was added to it"
        with path.open("ab") as file:
            file.write(b"\n" * bool(before) + content)
    except (OSError, ValueError) as error:
        return f"the summary of this step cannot be written: {getattr(error, 'strerror', None) or error}"
    return ""
