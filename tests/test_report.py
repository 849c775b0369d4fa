"""A page from a session, and from documents: ``--memguard-html`` and ``memguard report -o``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_memguard import cli, store
from pytest_memguard.core.values import RunResult
from pytest_memguard.renderers import html

Captured = pytest.CaptureFixture[str]

_SUITE = """
KEPT = []

def test_leaks():
    KEPT.append(bytearray(100))

def test_clean():
    pass
"""


@pytest.fixture
def stored(tmp_path: Path, sample: RunResult) -> Path:
    """Return a document on disk."""
    path = tmp_path / "run.json"
    store.write(sample, path)
    return path


# -- pytest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["here", "xdist"])
def test_a_session_writes_its_page(tmp_path: Path, workers: list[str]) -> None:
    """With --memguard-html a session ends with a page, the same as its document gives."""
    (tmp_path / "test_it.py").write_text(_SUITE, encoding="utf-8")
    (tmp_path / "pytest.ini").touch()
    files = ["--memguard-html=out.html", "--memguard-json=out.json"]
    command = [sys.executable, "-m", "pytest", "--memguard", "-q", "-p", "no:cacheprovider", *files, *workers]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    page = (tmp_path / "out.html").read_text(encoding="utf-8")

    assert run.returncode == 1
    assert "<strong>Leak.</strong> 1 of 2 tests keeps" in page
    assert "test_it.KEPT" in page
    assert page == html.render(store.read(tmp_path / "out.json"))


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that vanishes while the tests run is told at the end: they have passed, the session has not."""
    (tmp_path / "test_it.py").write_text("def test():\n    import os\n    os.path.isdir('gone') and os.rmdir('gone')\n")
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "gone").mkdir()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--memguard",
        "-q",
        "-p",
        "no:cacheprovider",
        "--memguard-html=gone/a.html",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "a.html cannot be written: No such file or directory" in run.stdout
    assert "1 passed" in run.stdout
    assert run.returncode == 4


# -- memguard report -------------------------------------------------------------------------------------------------


def test_a_document_becomes_a_page(stored: Path, sample: RunResult, capsys: Captured) -> None:
    """With -o the page is written, and the exit code tells of the leak."""
    target = stored.with_name("out.html")
    code = cli.main(["report", str(stored), "-o", str(target)])

    assert (code, capsys.readouterr()) == (1, (f"written to {target}\n", ""))
    assert target.read_text(encoding="utf-8") == html.pages([("run.json", sample)])


def test_documents_of_the_same_name(stored: Path, sample: RunResult) -> None:
    """Of several documents each is named, with its folder where names are the same."""
    other = stored.parent / "py314" / "run.json"
    other.parent.mkdir()
    store.write(sample, other)
    target = stored.with_name("out.html")
    cli.main(["report", str(stored), str(other), "-o", str(target)])

    names = [f"{stored.parent.name}/run.json", "py314/run.json"]
    assert target.read_text(encoding="utf-8") == html.pages([(name, sample) for name in names])


def test_another_format(stored: Path, sample: RunResult, capsys: Captured) -> None:
    """With --format the text is printed, a page as well."""
    cli.main(["report", str(stored), "--format", "html"])

    assert capsys.readouterr().out == html.pages([("run.json", sample)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "htm"], "--format = 'htm' is no renderer; did you mean 'html'?"),
        (["--format", "qqq"], "--format = 'qqq' is no renderer; there are "),
        (["--format", "html", "--json"], "--json and --format contradict each other; give one of them"),
        (["-o", "nowhere/out.html"], "out.html cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_done(
    stored: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    """A wrong name or place ends with exit code 2 and one line that says what is wrong."""
    monkeypatch.chdir(stored.parent)
    code = cli.main(["report", "run.json", *arguments])
    out, err = capsys.readouterr()

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


@pytest.mark.parametrize("content", [b'{"schema": "memguard-result/1"', b'{"schema": "memguard-result/9"}', b"NaN"])
def test_a_bad_document_leaves_the_old_page(stored: Path, capsys: Captured, content: bytes) -> None:
    """A document that is cut short, of the future or no document ends with one line, and the old page stands."""
    target = stored.with_name("out.html")
    target.write_text("old", encoding="utf-8")
    bad = stored.with_name("bad.json")
    bad.write_bytes(content)
    code = cli.main(["report", str(stored), str(bad), "-o", str(target)])
    out, err = capsys.readouterr()

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "bad.json cannot be read" in err
    assert target.read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in stored.parent.iterdir()) == ["bad.json", "out.html", "run.json"]
