"""Which environments may be compared: the key of what a document says of the place where it was made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["environment_key"]

_UNFIT = re.compile(r"[^A-Za-z0-9_.+]+")
_LONGEST = 60


def environment_key(environment: Mapping[str, Any]) -> str:
    """
    Return the key of an environment, fit for a file name, as in ``linux-x86_64-cp313-glibc2.36-pymalloc``.

    It has what the size of objects and of the process depends on: system, architecture, interpreter and its build, C
    library and allocator; neither the machine's name nor patch versions. ``unknown`` where nothing is told.
    """
    merged = environment.get("merged")
    if isinstance(merged, list) and merged:
        return "+".join(sorted({_fit(key) for key in merged if isinstance(key, str)}))[: 2 * _LONGEST] or "unknown"
    system = str(environment.get("platform") or "").partition("-")[0].lower()
    parts = [system, environment.get("machine"), _interpreter(environment)]
    parts += [environment.get("libc"), environment.get("allocator")]
    return "-".join(_fit(part) for part in parts if part and isinstance(part, str)) or "unknown"


def _interpreter(environment: Mapping[str, Any]) -> str:
    major, _, rest = str(environment.get("python") or "").partition(".")
    minor = re.match(r"\d+", rest)
    if not minor:
        return ""
    name = str(environment.get("implementation") or "")
    build = "t" if environment.get("free_threaded") is True else ""
    return f"{'cp' if name in ('CPython', '') else name.lower()}{major}{minor[0]}{build}"


def _fit(part: str) -> str:
    return _UNFIT.sub("_", part)[:_LONGEST].strip(".")
