"""TOML text -> plain dicts, on every supported version of Python."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["parse"]


def parse(text: str) -> dict[str, Any]:
    """
    Return what *text* holds.

    Raises:
        ValueError: it is not TOML, or holds what no value can (a number of thousands of digits, tables without end).

    """
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - only where a file is read
    else:
        import tomli as tomllib  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - 3.10 alone has it
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return content
