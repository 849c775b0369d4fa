"""The action and the workflows of this project: what they run is pinned, and no text from outside becomes code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
ACTION = ROOT / ".github" / "actions" / "memguard" / "action.yml"
FILES = (ACTION, ROOT / ".github" / "workflows" / "memguard.yml")
#: A step's script: all lines below "run: |" that are indented further.
_SCRIPT = re.compile(r"^(?P<indent> *)run: \|\n(?P<lines>(?:(?P=indent)  .*\n|\n)+)", re.MULTILINE)

pytestmark = pytest.mark.skipif(not ACTION.exists(), reason="the source distribution has no CI")


def scripts_of(path: Path) -> list[str]:
    """Return the scripts of all steps."""
    return [dedent(match["lines"]) for match in _SCRIPT.finditer(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """Each action of somebody else is named by its commit, with the version beside it."""
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))

    assert used
    for one in used:
        assert one.startswith("./") or re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_expression_is_part_of_a_script(path: Path) -> None:
    """Whatever a branch or an input is called, it reaches a script as a variable."""
    assert [script for script in scripts_of(path) if "${{" in script] == []
    assert re.findall(r"run: .*\$\{\{.*", path.read_text(encoding="utf-8")) == []


def test_scripts_are_bash() -> None:
    """Every script of the action can be read by bash."""
    scripts = scripts_of(ACTION)

    assert len(scripts) == 6
    for script in scripts:
        done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, check=False)  # noqa: S607
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["ci-github.md", "ci-gitlab.md"])
def test_pages_name_inputs_that_there_are(name: str) -> None:
    """What a page gives to the action is one of its inputs."""
    page = (ROOT / "docs" / "how-to" / name).read_text(encoding="utf-8")
    inputs = set(
        re.findall(r"^  ([\w-]+):$", ACTION.read_text(encoding="utf-8").partition("outputs:")[0], re.MULTILINE)
    )
    blocks = re.findall(r"actions/memguard@.*\n\s+with:\n((?:\s{10,}.*\n)+)", page)

    assert inputs >= {"command", "name", "compare", "comment"}
    for block in blocks:
        assert set(re.findall(r"^\s{10}([\w-]+):", block, re.MULTILINE)) <= inputs
