"""Two commits and more, whole: a leak comes, is accepted, grows worse and goes; every command says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

SHOP = "BASKETS = []\n\ndef buy(times):\n    BASKETS.extend(bytearray(100) for _ in range(times))\n"
TEST = """
    import shop

    def test_{name}():
        shop.buy({times})

    def test_clean():
        pass
"""


@dataclass(frozen=True)
class Story:
    """A repository, and a document of each commit."""

    folder: Path

    def environment(self, when: int = 0) -> dict[str, str]:
        """Return the environment of a command, at a time of its own."""
        foreign = ("MEMGUARD_", "PYTEST_", "COV_", "GITHUB_", "CI_", "GIT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        date = f"2026-01-{when + 1:02}T12:00:00+00:00"
        mine = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": os.devnull}
        names = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        only = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_memguard.plugin"}
        return {**kept, **mine, **names, **only, "PYTHONDONTWRITEBYTECODE": "1", "PATH": path}

    def run(self, *command: str, when: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(when),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def memguard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``memguard``."""
        return self.run(
            sys.executable, "-c", "import sys; from pytest_memguard.cli import main; sys.exit(main())", *arguments
        )

    def commit(self, number: int, name: str, times: int) -> int:
        """Commit a test that keeps so many baskets, measure it, and return the exit code of the session."""
        (self.folder / "test_shop.py").write_text(dedent(TEST.format(name=name, times=times)), encoding="utf-8")
        for command in (("add", "-A"), ("commit", "-qm", f"step {number}")):
            assert self.run("git", *command, when=number).returncode == 0
        document = f"--memguard-json=run{number}.json"
        return self.run(sys.executable, "-m", "pytest", "-q", "--memguard", document, when=number).returncode

    def sha(self, number: int) -> str:
        """Return the commit of a step."""
        sha: str = json.loads((self.folder / f"run{number}.json").read_text(encoding="ascii"))["commit"]["sha"]
        return sha

    def compared(self, before: int, after: int, *options: str) -> tuple[int, dict[str, int]]:
        """Return the exit code of ``compare``, and how many leaks are of which kind."""
        done = self.memguard("compare", f"run{before}.json", f"run{after}.json", "--json", *options)
        counts: dict[str, int] = json.loads(done.stdout)["counts"]
        return done.returncode, {kind: count for kind, count in counts.items() if count}

    def history(self, *options: str) -> dict[str, Any]:
        """Return the history as JSON."""
        done = self.memguard("history", "--json", *options)
        assert done.returncode == 0, done.stderr
        content: dict[str, Any] = json.loads(done.stdout)
        return content


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Return the story: clean, leak introduced, accepted, made worse under another name, fixed."""
    story = Story(tmp_path_factory.mktemp("story"))
    files = {
        "shop.py": SHOP,
        "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\n",
        ".gitignore": "run*.json\n.memguard\n",
        "conftest.py": "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\n",
    }
    for name, text in files.items():
        (story.folder / name).write_text(text, encoding="utf-8")
    assert story.run("git", "init", "-q").returncode == 0
    codes = [story.commit(0, "buy", 0), story.commit(1, "buy", 1)]
    (cause,) = json.loads((story.folder / "run1.json").read_text(encoding="ascii"))["causes"]
    until = (datetime.now().astimezone().date() + timedelta(days=9)).isoformat()
    at_most = "3/run"
    accepted = story.memguard(
        "accept", "run1.json", cause["fingerprint"], "--reason", "later", "--until", until, "--at-most", at_most
    )
    assert accepted.returncode == 0, accepted.stderr
    codes += [story.commit(2, "buy", 1), story.commit(3, "order", 5), story.commit(4, "order", 0)]
    assert codes == [0, 1, 0, 1, 0]
    return story


@pytest.mark.parametrize(
    ("before", "after", "code", "counts"),
    [
        (0, 0, 0, {}),
        (0, 1, 1, {"new": 1}),
        (1, 1, 0, {"known": 1}),
        (1, 2, 0, {"known": 1}),
        (0, 2, 0, {"known": 1}),  # accepted
        (2, 3, 1, {"worse": 1}),  # of another test
        (3, 4, 0, {"gone": 1}),
        (3, 1, 0, {"better": 1}),
    ],
)
def test_compare(story: Story, before: int, after: int, code: int, counts: dict[str, int]) -> None:
    """Each step is told by its kind and by the exit code."""
    assert story.compared(before, after) == (code, counts)


@pytest.mark.parametrize(("fail_on", "codes"), [("new", [1, 0, 0]), ("worse", [1, 1, 0]), ("any", [1, 1, 1])])
def test_fail_on(story: Story, fail_on: str, codes: list[int]) -> None:
    """What fails is chosen."""
    found = [story.compared(*pair, f"--fail-on={fail_on}")[0] for pair in ((0, 1), (2, 3), (1, 2))]

    assert found == codes


def test_compare_text(story: Story) -> None:
    """The text names commits, amounts, who holds it and where."""
    text = story.memguard("compare", "run2.json", "run3.json").stdout

    assert text.startswith(
        f"memguard: 1 worse, from {story.sha(2)[:10]} (2026-01-03) to {story.sha(3)[:10]} (2026-01-04)"
    )
    assert "shop.BASKETS" in text
    assert "in test_shop.py::test_order" in text
    assert " -> " in text


@pytest.mark.parametrize("name", ["markdown", "github", "html"])
def test_compare_formats(story: Story, name: str) -> None:
    """Every format that is offered tells the leak; annotations only what is not gone."""
    done = story.memguard("compare", "run0.json", "run1.json", f"--format={name}")

    assert done.returncode == 1, done.stderr
    assert "BASKETS" in done.stdout


def test_history(story: Story) -> None:
    """The history tells the trend and the first bad commit; it is the same from documents in any order, or twice."""
    documents = [f"run{number}.json" for number in (3, 0, 2, 1)]

    first = story.history("--file=h1.sqlite", *documents)
    again = story.history("--file=h1.sqlite", *reversed(documents))
    (cause,) = first["causes"]

    assert again == first
    assert [point["sha"] for point in cause["points"]] == [story.sha(number) for number in range(4)]
    assert cause["points"][0]["per_run"] == 0
    assert 0 < cause["points"][1]["per_run"] == cause["points"][2]["per_run"] < cause["points"][3]["per_run"]
    assert cause["first_bad"]["sha"] == story.sha(1)
    assert cause["last_good"]["sha"] == story.sha(0)


def test_history_text(story: Story) -> None:
    """Each cause has its sparkline; of one that is gone the last commit that had it is named."""
    documents = [f"run{number}.json" for number in range(5)]

    text = story.memguard("history", "--file=h2.sqlite", *documents).stdout
    page = story.memguard("history", "--file=h2.sqlite", "--format=html").stdout
    late = story.history("--file=h2.sqlite", "--since=2026-01-05")
    by_commit = story.history("--file=h2.sqlite", f"--since={story.sha(3)[:8]}")

    assert "5 commits, 1 cause, 0 still there" in text
    assert "·▂▂█·  gone" in text or "·▃▃█·  gone" in text
    assert f"seen last at {story.sha(3)[:10]} (2026-01-04)" in text
    assert page.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in page
    assert late["causes"] == []
    assert by_commit["commits"] == 2


def test_bisect(story: Story) -> None:
    """The line that is printed finds the commit."""
    (cause,) = story.history("--file=h3.sqlite", "run0.json", "run1.json")["causes"]
    clone = Story(story.folder.parent / "clone")
    shutil.copytree(story.folder, clone.folder, ignore=shutil.ignore_patterns("run*", "*.sqlite"))
    assert clone.run("git", "reset", "-q", "--hard").returncode == 0

    done = [clone.run("sh", "-c", command) for command in cause["bisect"]]

    assert f"{story.sha(1)} is the first" in done[-1].stdout, done
