"""
Templates and what goes with them: where they are, how text gets into them, and what a page may run.

Everything that a template writes is escaped twice over: what does not simply print becomes visible (``plain``), and
what has a meaning in HTML loses it (autoescape). A number must have been made into text before (core/units.py).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_memguard.renderers._words import plain

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["asset", "folder", "page", "policy"]

_NAME = "report_templates"
_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """
    Return where the templates are: inside the package (from a wheel), else beside it (a checkout, editable).

    Raises:
        FileNotFoundError: in neither place, so that the installation is broken.

    """
    for place in (_PACKAGE / _NAME, _PACKAGE.parent / _NAME):
        if (place / "page.html").is_file():
            return place
    raise FileNotFoundError(f"{_NAME} is neither in {_PACKAGE.name} nor beside it: install the package again")


def page(name: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return the page that the template *name* makes of these values."""
    return _environment().get_template(name).render(**values)


@cache
def asset(*names: str) -> Markup:
    """Return the text of script or style files, one after the other, as a page holds it."""
    return Markup("\n".join((folder() / name).read_text(encoding="utf-8").strip() for name in names))  # noqa: S704 - ours


def policy(*, scripts: tuple[Markup, ...], styles: tuple[Markup, ...]) -> str:
    """Return the Content-Security-Policy of a page that runs and shows these, and fetches nothing."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts)) or chr(39) + 'none' + chr(39)}",
            f"style-src {' '.join(map(_hash, styles))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    import jinja2  # noqa: PLC0415 - only where a page is made

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: object) -> object:
    """Return what a template writes for *value*."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"{value!r} is not text; make it into text before a template shows it")
