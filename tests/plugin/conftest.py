"""A project in, what came of it out: every session of pytest is a process of its own, as measuring needs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, Protocol
from xml.etree import ElementTree as ET

import pytest

TRAPS = Path(__file__).parents[2] / "fixtures" / "traps"
#: The family that holds properties of tests.
_OLD_FAMILY = "junit_family=xunit1"
#: The one kind of leak that the tests here need: two blocks a run, exactly.
LEAK = """
    KEPT = []

    def leak():
        KEPT.append(bytearray(100))
"""


@dataclass(frozen=True)
class Session:
    """What one session of pytest left behind."""

    folder: Path
    returncode: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The result document."""
        document: dict[str, Any] = json.loads((self.folder / "memguard.json").read_text(encoding="ascii"))
        return document

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The results by the last part of their ids, each of which must be there once."""
        results = self.document["results"]
        by_name = {result["id"].split("::", 1)[1]: result for result in results}
        assert len(by_name) == len(results)
        return by_name

    def verdict(self, name: str) -> str:
        """Return the verdict on one test."""
        verdict: str = self.results[name]["verdict"]
        return verdict

    def reason(self, name: str) -> str:
        """Return the reason of one verdict."""
        reason: str = self.results[name]["reason"]
        return reason

    @property
    def junit(self) -> ET.Element:
        """The JUnit report."""
        return ET.parse(self.folder / "junit.xml").getroot()  # noqa: S314 - pytest wrote it

    @property
    def outcomes(self) -> dict[str, list[str]]:
        """The kind of every record in the JUnit report, by file, class and name of the test."""
        found: dict[str, list[str]] = {}
        for case in self.junit.iter("testcase"):
            kinds = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
            name = f"{case.get('classname')}.{case.get('name')}".split(".", 1)[1]
            found.setdefault(name, []).append("/".join(kinds) or "passed")
        return found

    def outcome(self, name: str) -> str:
        """Return the only outcome of one test: passed, failure, error or skipped."""
        (outcome,) = self.outcomes[name]
        return outcome

    @property
    def tally(self) -> Counter[str]:
        """The words of pytest's last line, such as "2 failed, 1 passed", by number; without the duration."""
        lines = [line for line in self.stdout.splitlines() if re.search(r"^=* ?[0-9].* in [0-9.]+s", line)]
        words = lines[-1].strip("= ").rpartition(" in ")[0] if lines else ""
        parts = [part.split(" ", 1) for part in words.split(", ") if part]
        return Counter({word: int(number) for number, word in parts})


class RunProject(Protocol):
    """Runs pytest on a project; see ``run_project``."""

    def __call__(
        self,
        project: Mapping[str, str] | Path | Session,
        *arguments: str,
        plugins: Sequence[str] | None = ...,
        environ: Mapping[str, str] = ...,
        stdin: str = ...,
        document: bool = ...,
    ) -> Session:
        """Run it."""


@pytest.fixture(scope="session")
def traps() -> Path:
    """Return the folder of the trap suites."""
    return TRAPS


@pytest.fixture(scope="session")
def run_project(tmp_path_factory: pytest.TempPathFactory) -> RunProject:
    """
    Return a function that runs pytest in a folder of its own.

    Its *project* is a folder or a file to copy, sources by file name, where ``leak()`` is known already, or a session
    whose folder is used again. Besides memguard only *plugins* are loaded, by the names of their entry points; all
    that are installed where that is None. The result document is written unless *document* is False.
    """

    def run(
        project: Mapping[str, str] | Path | Session,
        *arguments: str,
        plugins: Sequence[str] | None = (),
        environ: Mapping[str, str] | None = None,
        stdin: str = "",
        document: bool = True,
    ) -> Session:
        folder = project.folder if isinstance(project, Session) else tmp_path_factory.mktemp("project")
        if not isinstance(project, Session):
            _write(project, folder)
        options = [f"--junitxml={folder / 'junit.xml'}", f"--basetemp={folder / 'temporary'}", "-o", _OLD_FAMILY]
        options += [option for name in ("memguard", *plugins) for option in ("-p", name)] if plugins is not None else []
        if document:
            options.append(f"--memguard-json={folder / 'memguard.json'}")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, *arguments],
            cwd=folder,
            env=_environment(environ or {}, loads_all=plugins is None),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return Session(folder, done.returncode, done.stdout, done.stderr)

    return run


def _write(project: Mapping[str, str] | Path, folder: Path) -> None:
    if isinstance(project, Path) and project.is_file():
        project = {project.name: project.read_text(encoding="utf-8")}
    if isinstance(project, Path):
        shutil.copytree(project, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        return
    if not {"pytest.ini", "pyproject.toml"} & set(project):
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    for name, source in project.items():
        head = dedent(LEAK) if "leak()" in source and "__future__" not in source else ""
        (folder / name).write_text(head + dedent(source), encoding="utf-8")


def _environment(more: Mapping[str, str], *, loads_all: bool) -> dict[str, str]:
    """Return this process's environment without what belongs to the session that runs here."""
    foreign = ("MEMGUARD_", "PYTEST_", "COV_", "HYPOTHESIS_", "GITHUB_", "GITLAB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    if not loads_all:
        kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}
