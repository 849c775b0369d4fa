"""
Make the table of what explanations name, from result documents: what leaks, what is printed, and whether it is right.

    python benchmarks/explained_table.py --holders CASES RESULTS   LeakBench: the holder that case.toml names
    python benchmarks/explained_table.py --module NAME RESULT.json  every leak: a site, path or resource of that module

CASES is the folder with the cases, RESULTS the folder where its runner keeps ``CASE-leaky.json``. A holder counts as
named if the name of an attribute or a class in case.toml's ``holder`` (a word with an underscore or a capital inside),
or the call that opened it, stands in a path or in the name of what stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

_WORD = re.compile(r"\b[A-Za-z][a-z]*[A-Z]\w+|\b\w*_\w+|\b\w+(?:\.\w+){2,}|\blinecache\b|\bpipe\b")
#: Types that many paths have.
_COMMON = frozenset({"lru_cache"})

_Row = tuple[str, str, str, bool]


def main() -> int:
    """Print the table."""
    kind, first, *rest = sys.argv[1:]
    rows = list(_holders(Path(first), Path(rest[0])) if kind == "--holders" else _of_module(first, Path(rest[0])))
    print("| case | truth | printed | named |\n| --- | --- | --- | --- |")
    for case, truth, printed, right in rows:
        print(f"| {case} | {_cell(truth)} | {_cell(printed)} | {'yes' if right else '**no**'} |")
    print(f"\nnamed: {sum(right for *_, right in rows)}/{len(rows)}")
    return 0


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _holders(cases: Path, results: Path) -> Iterator[_Row]:
    for file in sorted(cases.glob("*/case.toml")):
        truth = tomllib.loads(file.read_text(encoding="utf-8")).get("holder")
        if truth:
            document = json.loads((results / f"{file.parent.name}-leaky.json").read_text(encoding="utf-8"))
            leaks = [result for result in document["results"] if result["verdict"] == "leak"]
            printed = "; ".join(_printed(result) for result in leaks)
            words = set(_WORD.findall(truth)) - _COMMON
            yield file.parent.name, truth, printed, any(word in printed for word in words)


def _of_module(module: str, document: Path) -> Iterator[_Row]:
    for result in json.loads(document.read_text(encoding="utf-8"))["results"]:
        if result["id"].rpartition("::")[2].startswith("test_leak"):
            named = [
                text
                for finding in result["findings"]
                for text in (*(f"{site['file']}:{site['line']}" for site in finding["sites"]), *_texts(finding))
                if module in text
            ]
            shown = named[0] if named else _printed(result)
            yield result["id"].rpartition("::")[2].removeprefix("test_"), result["verdict"], shown, bool(named)


def _printed(result: dict) -> str:
    texts = dict.fromkeys(text for finding in result["findings"] for text in _texts(finding))
    return "; ".join(texts)[:300]


def _texts(finding: dict) -> list[str]:
    paths = [" ".join(path["text"].split()) for path in finding["paths"][:1]]
    return [*finding["names"], *paths]


if __name__ == "__main__":
    sys.exit(main())
