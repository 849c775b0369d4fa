"""The memory limit: the smallest of those that hold, and how much of it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service import limits
from pytest_memguard.service.limits import MemoryLimit, memory_limit, size, used_bytes

MIB = 2**20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
_UNLIMITED = "9223372036854771712"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a machine without control groups."""
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_rlimit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process have no limits of its own, whatever the shell set."""
    monkeypatch.setattr(limits, "_process_limits", lambda: iter(()))


def group(root: Path, line: str, folder: str, **files: str) -> Path:
    """Put the process into a control group with these files."""
    with (root / "proc/self/cgroup").open("a") as lines:
        lines.write(f"{line}\n")
    place = root / "sys/fs/cgroup" / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / f"memory.{name}").write_text(text)
    return place


def test_cgroup_v2(root: Path) -> None:
    """The file memory.max of the process's group is the limit."""
    place = group(root, "0::/app", "app", max="536870912\n")

    assert memory_limit({}, root=root) == MemoryLimit(512 * MIB, "cgroup v2", place)


def test_a_parent_group_may_be_tighter(root: Path) -> None:
    """Of a group and those above it the smallest limit holds."""
    group(root, "0::/pod/app", "pod/app", max="max\n")
    (place := root / "sys/fs/cgroup/pod").joinpath("memory.max").write_text("1048576")

    assert memory_limit({}, root=root) == MemoryLimit(MIB, "cgroup v2", place)


def test_a_container_sees_its_own_group_at_the_top(root: Path) -> None:
    """The path may be the host's, unknown inside the container, where the group is mounted as the root."""
    group(root, "4:memory:/docker/0123", "memory", limit_in_bytes=str(256 * MIB))

    assert memory_limit({}, root=root).bytes == 256 * MIB
    assert memory_limit({}, root=root).source == "cgroup v1"


@pytest.mark.parametrize("text", ["max\n", _UNLIMITED, "0", "", "many"])
def test_no_limit_of_a_group(root: Path, text: str) -> None:
    """No limit, an unreadable one, or zero is none: the host's memory is the limit then."""
    group(root, "0::/", "", max=text)

    assert memory_limit({}, root=root) == MemoryLimit(psutil.virtual_memory().total, "host")


def test_the_environment(root: Path) -> None:
    """MEMORY_LIMIT is a limit, where it is below the others."""
    group(root, "0::/", "", max=str(512 * MIB))

    assert memory_limit({"MEMORY_LIMIT": "256 MiB"}, root=root) == MemoryLimit(256 * MIB, "MEMORY_LIMIT")
    assert memory_limit({"MEMORY_LIMIT": "1Gi"}, root=root).source == "cgroup v2"
    assert memory_limit({"MEMORY_LIMIT": "  "}, root=root).source == "cgroup v2"


def test_the_smallest_of_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of the process itself count too; the smallest of all kinds holds."""
    group(root, "0::/", "", max=str(512 * MIB))
    monkeypatch.setattr(limits, "_process_limits", lambda: iter([MemoryLimit(300 * MIB, "RLIMIT_AS")]))

    assert memory_limit({"MEMORY_LIMIT": "400 MiB"}, root=root) == MemoryLimit(300 * MIB, "RLIMIT_AS")


@pytest.mark.parametrize(
    ("text", "count"), [("536870912", 512 * MIB), ("512Mi", 512 * MIB), ("512 MiB", 512 * MIB), ("1.5G", 1536 * MIB)]
)
def test_sizes(text: str, count: int) -> None:
    """Bytes, our own words and those of Kubernetes are sizes."""
    assert size(text, "x") == count


@pytest.mark.parametrize("text", ["lots", "-1", "0", "512Qi", "1e9", "9999999999999 TiB"])
def test_no_sizes(text: str) -> None:
    """What is no size above zero is refused, with its place and an example."""
    with pytest.raises(ConfigError, match=r"^environment: MEMORY_LIMIT = .*(write|must be)"):
        memory_limit({"MEMORY_LIMIT": text})


# How much of it is used


def test_a_group_counts_what_it_cannot_give_back(root: Path) -> None:
    """Of the group's memory, the pages of files and the caches of file systems are not counted: they go first."""
    place = group(
        root, "0::/", "", max="1000", current="900\n",
        stat="anon 500\nactive_file 100\ninactive_file 200\nslab_reclaimable 50\nfile 300\n",
    )  # fmt: skip

    assert used_bytes(MemoryLimit(1000, "cgroup v2", place), 7) == 550


def test_a_group_of_version_1(root: Path) -> None:
    """The first version has other names, and its totals are those with the groups below."""
    place = group(
        root, "4:memory:/", "memory", usage_in_bytes="900",
        stat="active_file 1\ntotal_active_file 100\ntotal_inactive_file 200\n",
    )  # fmt: skip

    assert used_bytes(MemoryLimit(1000, "cgroup v1", place), 7) == 600


def test_a_group_that_tells_less(root: Path) -> None:
    """Without memory.stat all its memory counts; without memory.current, this process's."""
    place = group(root, "0::/", "", current="900")

    assert used_bytes(MemoryLimit(1000, "cgroup v2", place), 7) == 900
    assert used_bytes(MemoryLimit(1000, "cgroup v2", place / "gone"), 7) == 7


def test_each_rlimit_counts_in_its_own_way() -> None:
    """A limit of data counts what is mapped, other limits the resident memory."""
    assert used_bytes(MemoryLimit(1000, "RLIMIT_DATA"), 7, 40) == 40
    assert used_bytes(MemoryLimit(1000, "RLIMIT_DATA"), 7, None) == 7
    assert used_bytes(MemoryLimit(1000, "host"), 7, 40) == 7
    assert used_bytes(MemoryLimit(1000, "MEMORY_LIMIT"), 7, 40) == 7


@LINUX
def test_the_address_space() -> None:
    """Against a limit of the address space all that is mapped counts."""
    mapped = psutil.Process().memory_info().vms

    assert used_bytes(MemoryLimit(1000, "RLIMIT_AS"), 7) == pytest.approx(mapped, rel=0.05)


@LINUX
@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_real_rlimit(name: str) -> None:
    """A process started under a limit finds it."""
    script = (
        f"import resource; resource.setrlimit(resource.{name}, ({600 * MIB}, {600 * MIB}))\n"
        "from pytest_memguard.service.limits import memory_limit\n"
        "print(memory_limit({}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)

    assert done.stdout.strip() == f"MemoryLimit(bytes={600 * MIB}, source='{name}', group=None)"
