"""
Say what changed between two sessions.

BASE and HEAD are result documents, or baselines by name (.memguard/baselines/NAME) or path. The exit code is 1 if
something fails by --fail-on, and 3 if there was nothing to compare: a baseline of another suite, or nothing measured.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.cli.report import below_repository
from pytest_memguard.config import nearest
from pytest_memguard.core.compare import FAIL_ON, compare, failing, to_dict
from pytest_memguard.core.environment import environment_key
from pytest_memguard.errors import ConfigError, DocumentError
from pytest_memguard.renderers.terminal import plain

if TYPE_CHECKING:
    import argparse

    from pytest_memguard.core.values import Comparison, RunResult

__all__ = ["add_arguments", "run", "write_text"]

_CLEAN, _CHANGED, _UNDECIDED = 0, 1, 3
_FORMATS = {"text": "terminal", "markdown": "markdown", "github": "github", "html": "html"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("base", metavar="BASE", help="the earlier session: a document, or a baseline by name or path")
    parser.add_argument("head", metavar="HEAD", help="the later session")
    fail_on = "what fails: new leaks; also worse ones (default: worse); any leak at all, accepted or not"
    parser.add_argument("--fail-on", choices=[*FAIL_ON], default="worse", help=fail_on)
    parser.add_argument("--format", choices=[*_FORMATS, "json"], default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to this file instead of printing")
    undecided = "what it means if nothing can be compared (default: fail, exit code 3)"
    parser.add_argument("--undecided", choices=["pass", "fail"], default="fail", help=undecided)


def run(options: argparse.Namespace) -> int:
    """Print the comparison, and say by the exit code what it means."""
    outline = options.format != "html"  # a page draws the readings; all else is said without them
    head = _read(options.head, "unknown", outline=outline)
    found = compare(_read(options.base, environment_key(head.environment), outline=outline), head)
    write_text(_text(found, options.format), options.output)
    if failing(found, options.fail_on):
        return _CHANGED
    return _CLEAN if found.decided or options.undecided == "pass" else _UNDECIDED


def _read(given: str, key: str, *, outline: bool) -> RunResult:
    here = Path.cwd()
    path = store.find_baseline(given, key, here, here)
    if path is None:
        near = nearest(given, store.baseline_names(here))
        raise ConfigError(f"{plain(given)!r} is neither a file nor a baseline in .memguard/baselines{near}")
    return store.read(path, outline=outline)


def _text(found: Comparison, name: str) -> str:
    if name == "json":
        return json.dumps(to_dict(found), indent=2)
    module = importlib.import_module(f"pytest_memguard.renderers.{_FORMATS[name]}")
    render = getattr(module, "comparison", None)
    if render is None:
        raise ConfigError(f"--format = {name!r} cannot show a comparison in this version; write text, markdown or json")
    text: str = render(replace(found, before=below_repository(found.before), after=below_repository(found.after)))
    return text


def write_text(text: str, path: Path | None) -> None:
    """
    Print *text*, or write it to *path*: whole, or not at all.

    Raises:
        DocumentError: it cannot be written, and what was there before is still there.

    """
    whole = text.rstrip("\n") + "\n" if text else ""
    if path is None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(whole.encode(encoding, "backslashreplace").decode(encoding))
        return
    try:
        store.write_whole(path, whole.encode("utf-8", "backslashreplace"))
    except (DocumentError, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DocumentError(f"{plain(str(path))} cannot be written: {reason}") from error
