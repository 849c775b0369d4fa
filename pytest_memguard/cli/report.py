"""
Show what result documents say.

Several documents (shards, Python versions) are shown as one; a page (-o) shows each by itself, with a selector. The
exit code is 1 if there is a leak in them.
"""

from __future__ import annotations

import functools
import operator
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memguard import store
from pytest_memguard.ci import service_of
from pytest_memguard.config import nearest
from pytest_memguard.core import document
from pytest_memguard.core.values import Level
from pytest_memguard.errors import ConfigError
from pytest_memguard.renderers import terminal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_memguard.core.values import RunResult

__all__ = ["add_arguments", "below_repository", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    parser.add_argument("documents", nargs="+", type=Path, metavar="RUN.json", help="result documents, plain or .gz")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it there, as a page in HTML")
    parser.add_argument("--format", metavar="NAME", help="html, terminal, or another renderer by its name")
    verbose = "name what settled and what was not measured"
    parser.add_argument("-v", "--verbose", action="count", default=0, help=verbose)
    parser.add_argument("--json", action="store_true", help="the merged document instead")


def run(options: argparse.Namespace) -> int:
    """Print or write the text, and tell by the exit code whether there is a leak."""
    if options.json and options.format:
        raise ConfigError("--json and --format contradict each other; give one of them")
    results = [store.read(path) for path in options.documents]
    text = _text(options, results)
    if options.output is None:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        store.write_text(text, options.output)
        print(f"written to {terminal.plain(str(options.output))}")
    return int(any(one.verdict.level is Level.LEAK for result in results for one in result.results))


def _text(options: argparse.Namespace, results: Sequence[RunResult]) -> str:
    kind = options.format or ("terminal" if options.output is None else "html")
    if options.json:
        return document.dumps(_merged(results))
    if kind == "terminal":
        return _for_terminal(_merged(results), options.verbose)
    if kind == "html":
        from pytest_memguard.renderers import html  # noqa: PLC0415 - the templates' engine, where a page is made

        return html.pages(list(zip(_names(options.documents), results, strict=True)))
    from pytest_memguard import registry  # noqa: PLC0415 - the hooks, where a name is to be looked up

    renderers = registry.renderers()
    if kind not in renderers:
        hint = nearest(kind, renderers) or f"; there are {', '.join(sorted(renderers))}"
        raise ConfigError(f"--format = {kind!r} is no renderer{hint}")
    return renderers[kind](below_repository(_merged(results)))


def below_repository(result: RunResult) -> RunResult:
    """Return *result* with its files named from the top of the repository on, where a CI service tells which it is."""
    from pytest_memguard.renderers.notices import rebased  # noqa: PLC0415 - only for what points into files

    return rebased(result, service_of(os.environ).folder_of(Path.cwd()))


def _merged(results: Sequence[RunResult]) -> RunResult:
    return functools.reduce(operator.add, results)


def _for_terminal(merged: RunResult, verbosity: int) -> str:
    """Return the summary, then the text of each leak."""
    leaks = [result for result in merged.results if result.verdict.level is Level.LEAK]
    return "\n\n".join(filter(None, [terminal.summary(merged, verbosity=verbosity), *map(terminal.failure, leaks)]))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the name of each file, with its folder where another file has the same name."""
    often = Counter(path.name for path in paths)
    return [path.name if often[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]
