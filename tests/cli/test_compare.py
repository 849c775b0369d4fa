"""``memguard compare``, ``merge`` and ``history``: documents in, text and an exit code out; bad input on one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pytest_memguard import cli, store
from pytest_memguard.core.values import (
    BLOCKS,
    Estimate,
    Finding,
    Level,
    RunResult,
    Shape,
    SubjectResult,
    Trend,
    Verdict,
)

Captured = pytest.CaptureFixture[str]
ODD = "test_a.py::test_<script>\x1b[31m\u202e\ud800\n\"'"


def result(name: str, rate: float = 0.0) -> SubjectResult:
    """Return the result of a test, a leak if it grows."""
    level = Level.LEAK if rate else Level.CLEAN
    findings = (Finding(BLOCKS, Trend(Shape.EXACT, Estimate(rate, rate, rate), 9), 9 * rate, "aa"),) if rate else ()
    return SubjectResult(name, "test", Verdict(level, 99.0, "it grew"), file="test_a.py", findings=findings)


def run(*results: SubjectResult, **changes: object) -> RunResult:
    """Return a session."""
    whole = RunResult("2026-01-02T03:04:05+00:00", 1.0, {"machine": "x86_64", "packages": {}}, results=results)
    return replace(whole, **changes)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with documents of a clean and of a leaking session."""
    monkeypatch.chdir(tmp_path)
    store.write(run(result("test_a.py::test_x")), tmp_path / "clean.json")
    store.write(run(result("test_a.py::test_x", 7)), tmp_path / "leak.json.gz")
    store.write(run(result(ODD, 9), started_at="2026-01-03T00:00:00+00:00"), tmp_path / "odd.json")
    foreign = replace(result("test_z.py::test_z"), file="test_z.py")
    store.write(run(foreign, started_at="2026-01-04T00:00:00+00:00"), tmp_path / "foreign.json")
    return tmp_path


def test_text(capsys: Captured) -> None:
    """The whole text."""
    code = cli.main(["compare", "clean.json", "leak.json.gz"])

    assert code == 1
    assert capsys.readouterr().out == (
        "memguard: 1 new, from the session of 2026-01-02 to the session of 2026-01-02\n"
        "  new    +7 blocks a run  [aa]\n"
        "         it grew\n"
        "         in test_a.py::test_x\n"
    )


def test_baseline(folder: Path, capsys: Captured) -> None:
    """A baseline is found by name; of several environments the most similar is taken, and the difference is said."""
    store.save_baseline(run(result("test_a.py::test_x", 7), environment={"machine": "arm64"}), "main", folder)

    assert cli.main(["compare", "main", "leak.json.gz"]) == 0
    assert "note: the environments differ (arm64 and x86_64)" in capsys.readouterr().out

    store.save_baseline(run(result("test_a.py::test_x", 7)), "main", folder)
    assert cli.main(["compare", "main", "leak.json.gz"]) == 0
    assert "note" not in capsys.readouterr().out


@pytest.mark.parametrize(("undecided", "code"), [((), 3), (("--undecided=fail",), 3), (("--undecided=pass",), 0)])
def test_undecided(undecided: tuple[str, ...], code: int, capsys: Captured) -> None:
    """A baseline of another suite is not a pass."""
    assert cli.main(["compare", "foreign.json", "clean.json", *undecided]) == code
    assert "note: the two have no test, no file and no leak in common" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["text", "json", "markdown", "github", "html"])
def test_odd_names(name: str, folder: Path) -> None:
    """Names that would move the cursor or end a line do neither; a file is written that is UTF-8."""
    code = cli.main(["compare", "clean.json", "odd.json", f"--format={name}", "-o", "out"])

    text = (folder / "out").read_text(encoding="utf-8")
    assert code == 1
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (b'{"schema": "memguard-result/1", "tool"', "cut short"),
        (b"\x1f\x8b\x08\x00", "damaged or was cut short"),
        (b'{"schema": "memguard-result/9"}', "a newer pytest-memguard wrote it; update"),
        (b'{"schema": "sarif"}', "is not a document of pytest-memguard"),
        (b'{"schema": "memguard-result/1", "duration_s": NaN}', "duration_s: nan is not a number"),
        (b'{"schema": "memguard-baseline/1", "leaks": 7}', "cannot be read"),
        (b"\xff\xfe", "this is not UTF-8 text"),
        (b"[" * 100_000, "this is not JSON"),
    ],
)
@pytest.mark.parametrize(
    "command", [["compare", "bad"], ["compare", "bad", "clean.json"], ["merge", "bad"], ["history", "bad"]]
)
def test_bad_documents(content: bytes, words: str, command: list[str], folder: Path, capsys: Captured) -> None:
    """A document that cannot be read ends every command with one line and code 2, and is left as it is."""
    (folder / "bad").write_bytes(content)
    more = {"merge": ["-o", "out.json"], "compare": ["clean.json"]}.get(command[0], [])

    code = cli.main([*command, *(more if len(command) == 2 else [])])

    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("memguard: ")
    assert error.count("\n") == 1
    assert words in error
    assert (folder / "bad").read_bytes() == content
    assert not {"out.json", ".memguard"} & {path.name for path in folder.iterdir()}


def test_missing(folder: Path, capsys: Captured) -> None:
    """A file or a baseline that is not there is said to be missing, with the nearest name."""
    store.save_baseline(run(), "main", folder)

    assert cli.main(["compare", "mian", "clean.json"]) == 2
    assert capsys.readouterr().err == (
        "memguard: 'mian' is neither a file nor a baseline in .memguard/baselines; did you mean 'main'?\n"
    )


def test_output_not_writable(folder: Path, capsys: Captured) -> None:
    """An output that is no file is refused."""
    assert cli.main(["compare", "clean.json", "leak.json.gz", "-o", str(folder)]) == 2
    assert capsys.readouterr().err == f"memguard: {folder} cannot be written: it is not a regular file\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("comparison", ["compare", "clean.json", "odd.json", "--json"]), ("history", ["history", "odd.json", "--json"])],
)
def test_schema(name: str, arguments: list[str], capsys: Captured) -> None:
    """What a machine may read is valid against its schema, which is one."""
    cli.main(arguments)

    check(name, capsys.readouterr().out)


def test_schema_of_baseline(folder: Path) -> None:
    """A baseline is valid against its schema."""
    session = run(result("test_a.py::test_x", 7), result(ODD), commit={"sha": "abc", "dirty": None})

    check("baseline", store.save_baseline(session, "main", folder).read_text(encoding="ascii"))


def check(name: str, text: str) -> None:
    """Validate a document."""
    schema = json.loads((Path(__file__).parents[2] / f"docs/reference/{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(text))


# -- merge -----------------------------------------------------------------------------------------------------------


def test_merge(folder: Path, capsys: Captured) -> None:
    """Shards become one document."""
    assert cli.main(["merge", "clean.json", "odd.json", "-o", "all.json.gz"]) == 0
    assert capsys.readouterr().out == "2 results of 2 documents in all.json.gz\n"
    assert [one.id for one in store.read(folder / "all.json.gz").results] == ["test_a.py::test_x", ODD]


def test_merge_twice(capsys: Captured) -> None:
    """A shard that is named twice is a mistake."""
    assert cli.main(["merge", "clean.json", "clean.json", "-o", "all.json"]) == 2
    assert capsys.readouterr().err == "memguard: the session of 2026-01-02T03:04:05+00:00 is there twice\n"


# -- history ---------------------------------------------------------------------------------------------------------


def test_history(capsys: Captured) -> None:
    """The whole text; without a commit the time stands for it, and nothing can be bisected."""
    assert cli.main(["history", "clean.json", "odd.json"]) == 0
    assert capsys.readouterr().out == (
        "memguard: 2 commits, 1 cause, 1 still there\n"
        "   █  +9 blocks a run  it grew  [aa]\n"
        "    first bad commit: 2026-01-03T00:00:00 (2026-01-03), the first that measured it\n"
        "    in test_a.py::test_<script>\\x1b[31m\\u202e\\ud800 \"'\n"
    )


@pytest.mark.parametrize("name", ["text", "json", "html"])
def test_history_odd_names(name: str, folder: Path) -> None:
    """Names from outside are escaped, whatever is written."""
    assert cli.main(["history", "odd.json", f"--format={name}", "-o", "out"]) == 0

    text = (folder / "out").read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & set(text)
    assert name != "html" or "<script" not in text


def test_history_lost(folder: Path, capsys: Captured) -> None:
    """A lost history is made again from the documents that are named and from the baselines."""
    store.save_baseline(run(result("test_a.py::test_x", 7), started_at="2026-01-01T00:00:00Z"), "main", folder)

    assert cli.main(["history"]) == 2
    assert "there is no history in .memguard/history.sqlite; name result documents" in capsys.readouterr().err
    assert cli.main(["history", "clean.json"]) == 0
    assert "█·  gone  it grew  [aa]" in capsys.readouterr().out


def test_history_damaged(folder: Path, capsys: Captured) -> None:
    """A damaged history is left alone until documents are named; then it is set aside and made again."""
    path = folder / ".memguard" / "history.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"damaged " * 999)

    assert cli.main(["history"]) == 2
    assert "is damaged; name result documents to make it again" in capsys.readouterr().err
    assert cli.main(["history", "leak.json.gz"]) == 0
    assert "was damaged, is now history.sqlite.damaged-1, and is made again" in capsys.readouterr().err
    assert path.with_name("history.sqlite.damaged-1").read_bytes() == b"damaged " * 999
    assert cli.main(["history"]) == 0


def test_history_since(capsys: Captured) -> None:
    """What is no date and no commit is refused."""
    assert cli.main(["history", "clean.json", "--since=soon"]) == 2
    assert "--since = 'soon' is no date or commit" in capsys.readouterr().err
    assert cli.main(["history", "--since=2026-01-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commits"] == 1
