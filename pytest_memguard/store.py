"""
Result documents on disk, and what they say of where they were made: the only reader and writer of them.

A document is written whole or not at all: into a file beside its place, which then takes that place.
"""

from __future__ import annotations

import gzip
import os
import platform
import re
import subprocess
import sysconfig
import zlib
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import baseline, document
from pytest_memguard.core.environment import environment_key
from pytest_memguard.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution

    from pytest_memguard.core.values import RunResult

__all__ = [
    "FOLDER", "baseline_names", "commit_of", "environment", "find_baseline", "loads", "memory_limit", "read",
    "save_baseline", "write", "write_whole",
]  # fmt: skip

#: Below the root folder of the suite; baselines in it belong in version control.
FOLDER = ".memguard"

_GZIP_MAGIC = b"\x1f\x8b"
#: The usual one: ten thousand results take 0.1 s, where gzip's own default of 9 gains little.
_GZIP_LEVEL = 6
_GIT_TIMEOUT_S = 2.0
_PROC_CGROUP = Path("/proc/self/cgroup")
_CGROUP = Path("/sys/fs/cgroup")
#: What version 1 shows where there is no limit is 2**63 less a page; no machine has an exbibyte.
_NO_LIMIT = 2**60
#: name-version.dist-info, name-version.egg-info, name-version-py3.10.egg-info; not what pip left half removed (~name).
_FOLDER = re.compile(r"([A-Za-z0-9][^-]*)-([0-9][^-]*)(?:-py[0-9.]+)?\.(?:dist|egg)-info")


# -- files -----------------------------------------------------------------------------------------------------------


def write(result: RunResult, path: Path) -> None:
    """
    Write the document of *result*; compressed where *path* ends in ``.gz``.

    Raises:
        DocumentError: it cannot be written, and what was there before is still there; one line says why.

    """
    try:
        content = document.dumps(result).encode("ascii")
        if path.suffix == ".gz":
            content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
        write_whole(path, content)
    except (DocumentError, OSError, ValueError) as error:
        raise DocumentError(f"{_shown(path)} cannot be written: {_reason(error)}") from error


def write_text(text: str, path: Path) -> None:
    """
    Write *text*, as a renderer made it, to *path*: whole, or not at all.

    Raises:
        DocumentError: it cannot be written, and what was there before is still there; one line says why.

    """
    try:
        write_whole(path, text.encode(errors="backslashreplace"))
    except (DocumentError, OSError, ValueError) as error:
        raise DocumentError(f"{_shown(path)} cannot be written: {_reason(error)}") from error


def read(path: Path, *, outline: bool = False) -> RunResult:
    """
    Return the result that the document at *path* holds, compressed or not; of a baseline what it stands for.

    An *outline* has no readings of tests, which are most of a document, and is read in half the time.

    Raises:
        DocumentError: it cannot be read, was cut short, or is no such document; one line says why.

    """
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        return loads(content.decode("utf-8-sig"), outline=outline)
    except (DocumentError, OSError, EOFError, ValueError, MemoryError, zlib.error) as error:
        raise DocumentError(f"{_shown(path)} cannot be read: {_reason(error)}") from error


def loads(text: str, *, outline: bool = False) -> RunResult:
    """
    Return the result that a document or a baseline holds; see ``read``.

    Raises:
        DocumentError: *text* was cut short, or is neither; one line says why.

    """
    found = document.parse(text)
    is_baseline = isinstance(found, dict) and str(found.get("schema")).startswith("memguard-baseline/")
    if is_baseline:
        return baseline.from_dict(found)
    return document.from_dict(document.outlined(found) if outline else found)


def write_whole(path: Path, content: bytes) -> None:
    """
    Write *content* to *path*, or to what a link of that name points to: whole, or not at all.

    Raises:
        DocumentError: there is something at *path* that is no file.
        OSError: it cannot be written; what was there before is still there.

    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise DocumentError("it is not a regular file")
    # Not tempfile: that makes files which only their owner may read, and a short name fits where path's own just fits.
    temporary = path.with_name(f".memguard-{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        os.replace(temporary, path)  # noqa: PTH105 - known by this name as the step that is atomic
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return "this is not UTF-8 text"
    if isinstance(error, MemoryError):
        return "it is too large for the memory that is left"
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
        return f"this is damaged or was cut short: {error}"
    return str(error)


def _shown(path: Path) -> str:
    """Return *path* for a message, on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


# -- baselines -------------------------------------------------------------------------------------------------------


def save_baseline(result: RunResult, name: str, root: Path) -> Path:
    """
    Keep what *result* leaks as baseline *name* of its environment below *root*, and return its file.

    Raises:
        DocumentError: it cannot be written, and what was there before is still there; one line says why.

    """
    path = _baselines(root) / name / f"{environment_key(result.environment)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, baseline.dumps(result).encode("ascii"))
    except (DocumentError, OSError, ValueError) as error:
        raise DocumentError(f"{_shown(path)} cannot be written: {_reason(error)}") from error
    return path


def find_baseline(given: str, key: str, root: Path, folder: Path) -> Path | None:
    """
    Return the file that *given*, a name or a path, stands for; None where there is none.

    Args:
        given: The name of a baseline, or the path of a baseline or of a result document.
        key: The environment to compare: of several files of one baseline the one made in the most similar place.
        root: Where ``.memguard`` is.
        folder: Where relative paths begin.

    """
    path = folder / os.path.expanduser(given)  # noqa: PTH111 - Path.expanduser raises where there is no home
    has_path = given.endswith((".json", ".gz")) or "/" in given or os.sep in given
    places = [path] if has_path else [_baselines(root) / given, path]
    for place in places:
        with suppress(OSError, ValueError):
            if place.is_dir():
                files = sorted(place.glob("*.json"), key=lambda file: (-_likeness(file.stem, key), file.name))
                if files:
                    return files[0]
            elif place.exists():
                return place
    return None


def baseline_names(root: Path) -> tuple[str, ...]:
    """Return the names of the baselines below *root*."""
    try:
        return tuple(sorted(entry.name for entry in _baselines(root).iterdir() if any(entry.glob("*.json"))))
    except OSError:
        return ()


def _baselines(root: Path) -> Path:
    return root / FOLDER / "baselines"


def _likeness(key: str, other: str) -> int:
    """Return how many parts of two environment keys are the same, the whole above all."""
    parts = set(other.split("-"))
    return 100 * (key == other) + sum(part in parts for part in key.split("-"))


# -- where it was made -----------------------------------------------------------------------------------------------


def environment() -> dict[str, Any]:
    """Return what the results may depend on, as the document holds it; None where the platform does not tell."""
    packages = _packages()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()}-{platform.release()}",  # platform.platform() starts a process (uname -p)
        "machine": platform.machine(),
        "libc": _libc(),
        "allocator": _allocator(),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "cpu_count": os.cpu_count(),
        "pytest": packages.get("pytest"),
        "memory_limit_bytes": memory_limit(),
        "packages": packages,
    }


def commit_of(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """
    Return ``sha``, ``branch``, ``dirty`` and ``time`` of what is checked out in *folder*.

    CI's own variables come first, as what it checks out is no branch; git tells the rest, where it can within 2 s an
    answer. What neither knows is None; so is the whole where there is no commit.
    """
    sha, time = _git_commit(folder)
    sha = _variable("GITHUB_SHA", "CI_COMMIT_SHA") or sha
    if not sha:
        return None
    branch = _variable("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_BRANCH")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "sha": sha,
        "branch": branch or _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD") or None,
        "dirty": None if changes is None else bool(changes),
        "time": time or None,
    }


def _variable(*names: str) -> str:
    """Return the first of these variables that is set and not empty."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def _git_commit(folder: str | os.PathLike[str]) -> tuple[str, str]:
    shown = _git(folder, "log", "-1", "--no-show-signature", "--format=%H %cI") or ""
    sha, _, time = shown.partition(" ")
    return sha, time


def _git(folder: str | os.PathLike[str], *arguments: str) -> str | None:
    """Return what git says, None where it says nothing; takes no lock and asks no question."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            # A file monitor would outlive git, with its end of the pipe.
            ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments],  # noqa: S607 - the user's own git
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def _libc() -> str | None:
    """Return name and version of the C library, as in ``glibc2.36``; None where it does not tell."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "") or None
    except (AttributeError, OSError, ValueError):
        return None


def _allocator() -> str:
    """Return what serves small objects, and what replaces the C library's own allocator."""
    loaded = re.findall(r"(jemalloc|tcmalloc|mimalloc)", os.environ.get("LD_PRELOAD", ""))
    python = _variable("PYTHONMALLOC") or ("mimalloc" if sysconfig.get_config_var("Py_GIL_DISABLED") else "pymalloc")
    return "+".join([python, *dict.fromkeys(loaded)])


def memory_limit() -> int | None:
    """Return the least limit of the control groups that this process is in, version 2 or 1; None without one."""
    limits = [limit for file in _limit_files() if (limit := _limit_in(file)) is not None]
    return min(limits, default=None)


def _limit_files() -> Iterator[Path]:
    """Yield where a limit may stand: in the group of this process and in each above it."""
    try:
        lines = _PROC_CGROUP.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        controllers, _, place = line.partition(":")[2].partition(":")
        if not controllers:
            root, name = _CGROUP, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUP / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / place.lstrip("/")
        yield from (folder / name for folder in (group, *group.parents) if folder.is_relative_to(root))


def _limit_in(file: Path) -> int | None:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
    return limit if limit < _NO_LIMIT else None


def _packages() -> dict[str, str]:
    """Return name and version of each distribution, by name; of two, that which an import finds first."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name, version = _name_and_version(distribution)
        if name and version:
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Return both from the folder's name: reading each METADATA takes a second for a few hundred of them."""
    folder = getattr(getattr(distribution, "_path", None), "name", "")
    match = _FOLDER.fullmatch(folder)
    if match:
        return _normalised(match[1]), match[2]
    if folder.startswith("~"):
        return "", ""
    try:
        return _normalised(distribution.metadata["Name"]), distribution.version
    except Exception:  # noqa: BLE001 - whatever a foreign finder raises, one package less is no reason to fail
        return "", ""


def _normalised(name: str) -> str:
    """Return *name* as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
