"""Result documents on disk, and what they say of where they were made."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import sys
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import Distribution, distributions, version
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from pytest_memguard import store
from pytest_memguard.core.document import dumps
from pytest_memguard.core.ladder import Plan
from pytest_memguard.core.values import BLOCKS, METRICS, Level, Phase, Readings, RunResult, SubjectResult, Unit, Verdict
from pytest_memguard.errors import DocumentError

CI_VARIABLES = (
    "GITHUB_SHA", "GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_SHA", "CI_COMMIT_BRANCH",
)  # fmt: skip
RESULT = RunResult(
    "2026-01-02T03:04:05Z",
    1.5,
    results=(
        SubjectResult(
            "tests/test_a.py::test_ä[\udcff]",
            "test",
            Verdict(Level.CLEAN, 0.0, "nothing grew"),
            readings=Readings((BLOCKS,), (0, 1), (Phase.SCREEN,) * 2, array("q", [7, 7])),
            plan=Plan(),
        ),
    ),
)


def refusal(act: Callable[[], object]) -> str:
    """Return the one line that something is refused with."""
    with pytest.raises(DocumentError) as caught:
        act()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return [entry.name for entry in folder.iterdir()]


def full_disk(*_: object) -> None:
    """Stand in for a step that finds no space left."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# -- writing and reading ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memguard.json", "memguard.json.gz"])
def test_there_and_back(tmp_path: Path, name: str) -> None:
    """What was written is read again, and nothing else lies in the folder."""
    path = tmp_path / name
    store.write(RESULT, path)

    assert store.read(path) == RESULT
    assert names_in(tmp_path) == [name]


def test_plain_text(tmp_path: Path) -> None:
    """A document is the text that the core makes."""
    path = tmp_path / "memguard.json"
    store.write(RESULT, path)

    assert path.read_text(encoding="ascii") == dumps(RESULT)


def test_compressed_alike(tmp_path: Path) -> None:
    """A suffix of .gz compresses, and the same result gives the same bytes whatever the time is."""
    path = tmp_path / "memguard.json.gz"
    store.write(RESULT, path)
    content = path.read_bytes()

    assert gzip.decompress(content).decode() == dumps(RESULT)
    assert content[4:8] == bytes(4)


@pytest.mark.parametrize("name", ["memguard.json", "memguard.gz"])
def test_compression_is_known_by_content(tmp_path: Path, name: str) -> None:
    """A file that was packed or unpacked by hand, and kept its name, is read all the same."""
    path = tmp_path / name
    path.write_bytes(dumps(RESULT).encode() if name.endswith(".gz") else gzip.compress(dumps(RESULT).encode()))

    assert store.read(path) == RESULT


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    """A file that an editor has saved again is read."""
    path = tmp_path / "memguard.json"
    path.write_text(dumps(RESULT), encoding="utf-8-sig")

    assert store.read(path) == RESULT


def test_permissions_are_those_of_other_files(tmp_path: Path) -> None:
    """Who may read any new file may read the document too."""
    path, other = tmp_path / "memguard.json", tmp_path / "other"
    store.write(RESULT, path)
    other.touch()

    assert path.stat().st_mode == other.stat().st_mode


def test_written_over(tmp_path: Path) -> None:
    """An older document is replaced, and one that is open stays as it was for who reads it."""
    path = tmp_path / "memguard.json"
    path.write_text("old")
    with path.open() as reader:
        if sys.platform == "win32":
            reader.close()
        store.write(RESULT, path)

        assert reader.closed or reader.read() == "old"
    assert store.read(path) == RESULT


def test_a_name_as_long_as_they_may_be(tmp_path: Path) -> None:
    """The temporary file needs no longer name than the document."""
    path = tmp_path / f"{'m' * 250}.json"
    store.write(RESULT, path)

    assert store.read(path) == RESULT


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Where the name is a link, the file that it leads to is replaced."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    store.write(RESULT, link)

    assert link.is_symlink()
    assert store.read(real) == RESULT


# -- what cannot be written ------------------------------------------------------------------------------------------


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A folder that cannot be written to is named with the reason."""
    blocker = tmp_path / "file"
    blocker.touch()
    path = blocker / "memguard.json"

    assert refusal(lambda: store.write(RESULT, path)) == f"{path} cannot be written: {os.strerror(errno.ENOTDIR)}"
    assert names_in(tmp_path) == ["file"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """No folder is made: a wrong path is to be seen."""
    path = tmp_path / "none" / "memguard.json"

    assert refusal(lambda: store.write(RESULT, path)) == f"{path} cannot be written: {os.strerror(errno.ENOENT)}"
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["folder", "fifo"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    """A folder, a pipe or a device (``/dev/null``) is not replaced by a file."""
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif hasattr(os, "mkfifo"):
        os.mkfifo(path)
    else:
        pytest.skip("there are no named pipes")
    kind = path.stat().st_mode

    assert refusal(lambda: store.write(RESULT, path)) == f"{path} cannot be written: it is not a regular file"
    assert path.stat().st_mode == kind
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("step", ["replace", "write"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step fails, the older document is still whole and no temporary file is left."""
    path = tmp_path / "memguard.json"
    path.write_text("old")
    if step == "replace":
        monkeypatch.setattr(os, "replace", full_disk)
    else:
        monkeypatch.setattr(Path, "open", half_open)

    message = refusal(lambda: store.write(RESULT, path))
    monkeypatch.undo()

    assert message == f"{path} cannot be written: {os.strerror(errno.ENOSPC)}"
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["memguard.json"]


class HalfFile(io.FileIO):
    """A file that takes ten bytes and no more."""

    def write(self, content: Any) -> int:  # noqa: ANN401 - as the base has it
        """Write what there is room for, and fail."""
        super().write(content[:10])
        full_disk()
        return 10


def half_open(path: Path, mode: str) -> HalfFile:
    """Stand in for ``Path.open`` where the disk is nearly full."""
    return HalfFile(path, mode)


def test_ten_thousand_tests_are_15_mb_at_most(tmp_path: Path) -> None:
    """With all that a session reads and long names, 200 of them of 65 runs; compressed they are a megabyte."""
    metrics = tuple(metric for name, metric in METRICS.items() if name not in {"container_items", "uss", "traced"})

    def measured(number: int, runs: int) -> SubjectResult:
        row = [10**8 if metric.unit is Unit.BYTE else 600_000 if metric == BLOCKS else 12 for metric in metrics]
        values = array("q", [value + run for run in range(runs) for value in row])
        scores = tuple((name, 0.0) for name in ("all", "any", "calibrated", "correlation", "growth", "points"))
        return SubjectResult(
            f"tests/unit/test_module_{number // 50}.py::test_{number}[case-{number}]",
            "test",
            Verdict(Level.CLEAN, 0.0, "nothing grew over 2 more runs", policies=scores),
            runs=runs,
            duration_s=0.0011208050018467475,
            first_run_s=0.00024234800366684794,
            file=f"tests/unit/test_module_{number // 50}.py",
            line=number % 500,
            readings=Readings(metrics, tuple(range(runs)), (Phase.SCREEN,) * runs, values),
            plan=Plan(),
        )

    session = replace(RESULT, results=tuple(measured(number, 3 if number % 50 else 65) for number in range(10_000)))
    for name in ("a.json", "a.json.gz"):
        store.write(session, tmp_path / name)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.json", "a.json.gz")]

    assert len(metrics) == 9
    assert sizes[0] <= 15_000_000
    assert sizes[1] <= 1_000_000


def test_several_save_at_once(tmp_path: Path) -> None:
    """Whoever reads while others write finds one whole document, and nothing lies about in the end."""
    path = tmp_path / "memguard.json"
    sessions = [replace(RESULT, duration_s=float(number)) for number in range(4)]
    store.write(sessions[0], path)

    def save(session: RunResult) -> None:
        for _ in range(25):
            store.write(session, path)
            store.save_baseline(session, "main", tmp_path)

    with ThreadPoolExecutor(4) as writers:
        saving = [writers.submit(save, session) for session in sessions]
        seen = {store.read(path).duration_s for _ in range(100)}
        for one in saving:
            one.result()
    (kept,) = (tmp_path / ".memguard" / "baselines" / "main").iterdir()

    assert seen <= {0.0, 1.0, 2.0, 3.0}
    assert store.read(path) in sessions
    assert len(store.read(kept).results) == 1
    assert sorted(names_in(tmp_path)) == [".memguard", "memguard.json"]


def test_ctrl_c_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt is not swallowed, and leaves nothing behind either."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(RESULT, tmp_path / "memguard.json")

    assert names_in(tmp_path) == []


def test_a_result_that_json_cannot_hold(tmp_path: Path) -> None:
    """The message names the file and the place in it; nothing is written."""
    path = tmp_path / "memguard.json"
    broken = RunResult("", float("nan"))

    assert refusal(lambda: store.write(broken, path)) == f"{path} cannot be written: duration_s: nan is not a number"
    assert names_in(tmp_path) == []


def test_an_odd_path_is_named_on_one_line() -> None:
    """A name that no system takes is refused like others, however it looks."""
    path = Path("a\nb\0c.json")

    assert refusal(lambda: store.write(RESULT, path)).startswith(f"{str(path)!r} cannot be written: ")
    assert refusal(lambda: store.read(path)).startswith(f"{str(path)!r} cannot be read: ")


# -- what cannot be read ---------------------------------------------------------------------------------------------

PACKED = gzip.compress(dumps(RESULT).encode(), mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "this is not JSON, or was cut short: Expecting value at line 1, column 1"),
        (dumps(RESULT).encode()[:50], "this is not JSON, or was cut short: "),
        (b"\x89PNG\r\n\x1a\n", "this is not UTF-8 text"),
        (b'{"version": "2.1.0", "runs": []}', "schema: missing; this is not a document of pytest-memguard"),
        (b'{"schema": "memguard-result/2"}', "schema: 'memguard-result/2' is not 'memguard-result/1'; a newer "),
        (PACKED[:-20], "this is damaged or was cut short: "),
        (PACKED[:3], "this is damaged or was cut short: "),
        (PACKED[:30] + b"\xff\xff\xff\xff" + PACKED[34:], "this is damaged or was cut short: "),
        (PACKED[:-8] + bytes(8), "this is damaged or was cut short: "),
    ],
    ids=["empty", "cut", "image", "foreign", "newer", "packed cut", "packed head", "packed damaged", "packed sum"],
)
def test_not_read(tmp_path: Path, content: bytes, reason: str) -> None:
    """What is damaged or something else is refused in one line with the file's name."""
    path = tmp_path / "memguard.json"
    path.write_bytes(content)

    assert refusal(lambda: store.read(path)).startswith(f"{path} cannot be read: {reason}")


_LIMITED = """
import resource, sys
from pathlib import Path
from pytest_memguard import store
from pytest_memguard.errors import DocumentError
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
try:
    store.read(Path(sys.argv[1]))
except DocumentError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the memory of a process cannot be limited so")
def test_too_large(tmp_path: Path) -> None:
    """A document of 200 MB that the memory does not hold is refused in one line, like others."""
    path = tmp_path / "memguard.json.gz"
    path.write_bytes(gzip.compress(b'{"schema":"memguard-result/1","x":"' + bytes(200_000_000), 1))

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == f"{path} cannot be read: it is too large for the memory that is left\n"


@pytest.mark.parametrize(("name", "code"), [("none.json", errno.ENOENT), ("", errno.EISDIR)])
def test_no_file_to_read(tmp_path: Path, name: str, code: int) -> None:
    """What is not there, or a folder, is refused with the reason."""
    path = tmp_path / name
    text = refusal(lambda: store.read(path))

    assert text == f"{path} cannot be read: {os.strerror(code)}" or sys.platform == "win32"


# -- the commit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a git that works in a new repository, with nobody's settings and outside of CI."""
    for name in (*CI_VARIABLES, *(name for name in os.environ if name.startswith("GIT_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+01:00")
    # A folder above that is a repository is not this test's.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return run


@pytest.fixture
def committed(git: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """Return the git of a repository with one commit on branch ``topic``."""
    git("init", "--quiet")
    git("checkout", "--quiet", "-b", "topic")
    (tmp_path / "a.py").write_text("a = 1\n")
    git("add", "a.py")
    git("commit", "--quiet", "-m", "Add a")
    return git


def test_commit(committed: Callable[..., str], tmp_path: Path) -> None:
    """Outside of CI git tells all."""
    assert store.commit_of(tmp_path) == {
        "sha": committed("rev-parse", "HEAD"),
        "branch": "topic",
        "dirty": False,
        "time": "2026-01-02T03:04:05+01:00",
    }


def test_a_folder_below(committed: Callable[..., str], tmp_path: Path) -> None:
    """A folder inside of the repository will do, as text too."""
    (tmp_path / "below").mkdir()

    assert store.commit_of(str(tmp_path / "below")) == store.commit_of(tmp_path) is not None


@pytest.mark.parametrize(("name", "dirty"), [("a.py", True), ("memguard.json", False)])
def test_dirty(committed: Callable[..., str], tmp_path: Path, name: str, dirty: bool) -> None:  # noqa: FBT001 - a table
    """A tracked file that has changed makes a commit dirty; a report beside them does not."""
    (tmp_path / name).write_text("changed")
    found = store.commit_of(tmp_path)

    assert found is not None
    assert found["dirty"] is dirty


def test_detached(committed: Callable[..., str], tmp_path: Path) -> None:
    """What CI checks out is often no branch."""
    committed("checkout", "--quiet", "--detach")
    found = store.commit_of(tmp_path)

    assert found is not None
    assert found["branch"] is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GITHUB_SHA": "c0ffee", "GITHUB_REF_NAME": "main"}, ("c0ffee", "main")),
        ({"GITHUB_SHA": "c0ffee", "GITHUB_HEAD_REF": "fix", "GITHUB_REF_NAME": "7/merge"}, ("c0ffee", "fix")),
        ({"GITHUB_SHA": "c0ffee", "GITHUB_HEAD_REF": "", "GITHUB_REF_NAME": "main"}, ("c0ffee", "main")),
        ({"CI_COMMIT_SHA": "beef", "CI_COMMIT_BRANCH": "main"}, ("beef", "main")),
        ({"CI_COMMIT_SHA": "beef"}, ("beef", "topic")),
    ],
    ids=["push", "pull request", "empty", "gitlab", "gitlab tag"],
)
@pytest.mark.usefixtures("committed")
def test_commit_in_ci(
    tmp_path: Path, variables: dict[str, str], expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI's own variables come before git; git tells the rest."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert store.commit_of(tmp_path) == {
        "sha": expected[0],
        "branch": expected[1],
        "dirty": False,
        "time": "2026-01-02T03:04:05+01:00",
    }


def test_no_repository(git: Callable[..., str], tmp_path: Path) -> None:
    """Without a repository there is no commit; nor in one without any."""
    before = store.commit_of(tmp_path)
    git("init", "--quiet")

    assert before is None
    assert store.commit_of(tmp_path) is None


def test_ci_without_git(git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no git, CI's variables are all that is known."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("GITHUB_SHA", "c0ffee")

    assert store.commit_of(tmp_path) == {"sha": "c0ffee", "branch": None, "dirty": None, "time": None}


@pytest.mark.parametrize("folder", ["none", "a\0b"])
def test_no_folder(git: Callable[..., str], tmp_path: Path, folder: str) -> None:
    """A folder that is not there is no failure."""
    assert store.commit_of(tmp_path / folder) is None


def test_a_git_that_hangs(committed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that does not answer in time is given up."""
    monkeypatch.setattr(store, "_GIT_TIMEOUT_S", 0.0)

    assert store.commit_of(tmp_path) is None


# -- the environment -------------------------------------------------------------------------------------------------


def test_environment() -> None:
    """The environment is that of this interpreter."""
    found = store.environment()

    assert list(found) == [
        "python", "implementation", "platform", "machine", "libc", "allocator", "free_threaded", "cpu_count", "pytest",
        "memory_limit_bytes", "packages",
    ]  # fmt: skip
    assert found["python"].startswith("{}.{}.{}".format(*sys.version_info))
    assert found["implementation"].lower() == sys.implementation.name
    assert found["pytest"] == pytest.__version__
    assert found["cpu_count"] == os.cpu_count()


def test_packages_are_what_their_metadata_say() -> None:
    """Names and versions from folders are those that reading each METADATA gives, by normalised name, sorted."""
    expected: dict[str, str] = {}
    for distribution in distributions():
        expected.setdefault(store._normalised(distribution.metadata["Name"]), distribution.version)
    found = store.environment()["packages"]

    assert found == expected
    assert list(found) == sorted(found)
    assert found["pytest-memguard"] == version("pytest-memguard")


def test_odd_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are normalised, metadata is read where the folder does not tell, what is broken is left out."""
    for folder in (
        "My.Odd_Name-1.0+local.dist-info",
        "old-2.1-py3.10.egg-info",
        "~half-1.0.dist-info",
        "broken.egg-info",
        "no-version.dist-info",
    ):
        (tmp_path / folder).mkdir()
    (tmp_path / "developed.egg-info").mkdir()
    (tmp_path / "developed.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: Developed\nVersion: 3.0\n")
    monkeypatch.setattr(store, "distributions", lambda: distributions(path=[str(tmp_path)]))

    assert store.environment()["packages"] == {"developed": "3.0", "my-odd-name": "1.0+local", "old": "2.1"}


def test_the_package_that_an_import_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two versions the first on the path counts."""
    for place, folder in (("first", "a-2.0.dist-info"), ("second", "a-1.0.dist-info")):
        (tmp_path / place / folder).mkdir(parents=True)
    paths = [str(tmp_path / "first"), str(tmp_path / "second")]
    monkeypatch.setattr(store, "distributions", lambda: distributions(path=paths))

    assert store.environment()["packages"] == {"a": "2.0"}


def test_a_distribution_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder of another kind is asked by the public names."""

    class Frozen(Distribution):
        def read_text(self, filename: str) -> str | None:
            return "Metadata-Version: 2.1\nName: In_Memory\nVersion: 4.0\n" if filename == "METADATA" else None

        def locate_file(self, path: object) -> Path:
            return Path(str(path))

    monkeypatch.setattr(store, "distributions", lambda: [Frozen()])

    assert store.environment()["packages"] == {"in-memory": "4.0"}


def test_a_hundred_packages_are_listed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred packages take less than 30 ms: no METADATA is read."""
    for number in range(100):
        (tmp_path / f"package_{number}-1.{number}.dist-info").mkdir()
    monkeypatch.setattr(store, "distributions", lambda: distributions(path=[str(tmp_path)]))
    times = []
    for _ in range(3):
        began = process_time()
        count = len(store.environment()["packages"])
        times.append(process_time() - began)

    assert count == 100
    assert min(times) < 0.03


# -- the memory limit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"memory.max": "1048576"}, 1048576),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {}, None),
        ("0::/pod/box", {"pod/box/memory.max": "max", "pod/memory.max": "5000", "memory.max": "9000"}, 5000),
        ("0::/pod/box", {"pod/box/memory.max": "700\n", "pod/memory.max": "5000"}, 700),
        ("0::/of/the/host", {"memory.max": "4096"}, 4096),
        ("0::/../other", {"memory.max": "4096"}, 4096),
        ("4:memory:/box\n0::/", {"memory/box/memory.limit_in_bytes": "6000"}, 6000),
        ("4:cpu,memory:/box", {"memory/box/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("4:cpu:/box", {"memory/box/memory.limit_in_bytes": "6000"}, None),
        ("nonsense", {}, None),
    ],
)
def test_memory_limit(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least limit of the control groups counts: of the process's own, and of those above it."""
    (tmp_path / "cgroup").write_text(groups + "\n")
    for name, content in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setattr(store, "_PROC_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(store, "_CGROUP", tmp_path / "fs")

    assert store.environment()["memory_limit_bytes"] == limit


def test_no_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems have none."""
    monkeypatch.setattr(store, "_PROC_CGROUP", tmp_path / "none")

    assert store.environment()["memory_limit_bytes"] is None
