"""The action and the workflows of this project: what they run is pinned, and no text from outside becomes code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
ACTION = ROOT / ".github" / "actions" / "memguard" / "action.yml"
FILES = (ACTION, *sorted((ROOT / ".github" / "workflows").glob("*.yml")))
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


# -- the action at work ----------------------------------------------------------------------------------------------

#: Answers for two earlier runs, of which the second has a document, and keeps the bodies of comments.
GH = """
    #!/usr/bin/env bash
    echo "$*" >>"$JOB/gh.log"
    case "$1 $2" in
      "run list") printf '11\n12\n' ;;
      "run download") [[ $3 == 12 && -f $JOB/earlier.json ]] && cp "$JOB/earlier.json" "$FOLDER/base/memguard.json" ;;
      *) [[ $* != *--method* ]] || cp "$FOLDER/body.md" "$JOB/comment.md" ;;
    esac
"""
SUITE = """
    KEPT = []

    def test_keeps():
        KEPT.append(bytearray(100))
"""


@dataclass(frozen=True)
class Job:
    """One run of the action's scripts, in turn, as a runner does it: a file for outputs, bash with -eo pipefail."""

    folder: Path

    def step(self, number: int, **variables: str) -> tuple[int, dict[str, str], str]:
        """Run a script; return its exit code, its outputs and what it printed."""
        outputs = self.folder / f"outputs-{number}"
        outputs.touch()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        environment = {
            **kept,
            "PATH": os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), kept["PATH"]]),
            "JOB": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_REPOSITORY": "me/shop",
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_WORKSPACE": str(self.folder / "shop"),
            "RUNNER_TEMP": str(self.folder),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "pytest_memguard.plugin",
            **variables,
        }
        script = scripts_of(ACTION)[number]
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=self.folder / "shop", env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        lines = outputs.read_text(encoding="utf-8").splitlines()
        return done.returncode, dict(line.split("=", 1) for line in lines), done.stdout + done.stderr

    def run(self, command: str, *, compare: bool) -> tuple[int, dict[str, str], str]:
        """Run all scripts; return the exit code of the last, all outputs, and what all printed."""
        found: dict[str, str] = {"document": ""}
        printed = []

        def after(number: int, **variables: str) -> int:
            code, outputs, text = self.step(number, **variables)
            found.update(outputs)
            printed.append(text)
            return code

        name, folder = {"NAME": "tests"}, {"FOLDER": str(self.folder / "memguard-tests")}
        assert after(0, **name) == 0
        base = ""
        if compare:
            assert after(1, BASE="main", WORKFLOW_REF="me/shop/.github/workflows/leaks.yml@x", **folder, **name) == 0
            base = found.pop("document", "")
            found["document"] = ""
        assert after(2, COMMAND=command, MEMGUARD_BASELINE=base, MEMGUARD_JSON=folder["FOLDER"] + "/memguard.json") == 0
        assert after(3, BASE_DOCUMENT=base, CLI="memguard", **folder, **name) == 0
        if found["document"]:
            assert after(4, MARKER="<!-- memguard:tests -->", NUMBER="7", **folder) == 0
        return after(5, CODE=found["exit-code"], DOCUMENT=found["document"]), found, "".join(printed)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Return a job of a project whose one test leaks."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for gh is a script that Windows would not start")
    (tmp_path / "bin").mkdir()
    gh = tmp_path / "bin" / "gh"
    gh.write_text(dedent(GH).lstrip(), encoding="utf-8")
    gh.chmod(0o755)
    memguard = tmp_path / "bin" / "memguard"
    memguard.write_text(
        f"#!{sys.executable}\nimport sys\nfrom pytest_memguard.cli import main\nsys.exit(main())\n", encoding="utf-8"
    )
    memguard.chmod(0o755)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "test_shop.py").write_text(dedent(SUITE), encoding="utf-8")
    (tmp_path / "shop" / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n", encoding="utf-8")
    return Job(tmp_path)


def test_the_action_tells_a_leak_then_knows_it(job: Job) -> None:
    """A leak fails the job with everything rendered; with it in the base branch's document the next job passes."""
    command = f"{sys.executable} -m pytest --memguard"
    first, found, printed = job.run(command, compare=True)
    (job.folder / "earlier.json").write_bytes(Path(found["document"]).read_bytes())
    body = (job.folder / "comment.md").read_text(encoding="utf-8")
    second, _, again = job.run(command, compare=True)
    known = (job.folder / "comment.md").read_text(encoding="utf-8")

    assert first == 1
    assert "::notice title=memguard::no earlier result of the base branch was found" in printed
    assert "::error file=test_shop.py,line=5" in printed
    assert Path(found["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(json.loads(Path(found["sarif"]).read_text(encoding="utf-8"))["runs"][0]["results"]) == 1
    assert body.startswith("<!-- memguard:tests -->\n")
    assert second == 0
    assert "::error" not in again
    assert known.startswith("<!-- memguard:tests -->\n")
    assert "1 known" in known


def test_the_action_without_a_document(job: Job) -> None:
    """A command that measures nothing fails the job, although it ended well; another code is kept."""
    assert job.run("true", compare=False)[0] == 4
    assert job.run("exit 5", compare=False)[0] == 5


def test_the_action_refuses_an_odd_name(job: Job) -> None:
    """A name that would leave its folder or end a line is refused."""
    codes = [job.step(0, NAME=name)[0] for name in ("../x", "a\nb=c", "", "-x", "a" * 101, "py3.10")]

    assert codes == [2, 2, 2, 2, 2, 0]
