"""
The history: what leaked at which commit, in one SQLite file that several sessions may write at once.

It holds nothing that the documents do not: lost or damaged, it is made again from them.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from array import array
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pytest_memguard.core import baseline
from pytest_memguard.core.environment import environment_key
from pytest_memguard.core.past import Past, PastLeak, sortable
from pytest_memguard.core.values import Level
from pytest_memguard.errors import ConfigError, DocumentError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_memguard.core.values import RunResult

__all__ = ["VERSION", "add", "is_damaged", "is_there", "number_of", "read", "set_aside"]

VERSION = 1
_WAIT_S = 30.0
_UNANSWERED = (Level.UNMEASURED, Level.SKIPPED)
_TABLES = """
CREATE TABLE IF NOT EXISTS suites (digest TEXT PRIMARY KEY, numbers BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS runs (digest TEXT PRIMARY KEY, time TEXT NOT NULL, sha TEXT NOT NULL, branch TEXT NOT NULL,
                                 dirty INTEGER NOT NULL, environment TEXT NOT NULL, suite TEXT NOT NULL,
                                 leaks TEXT NOT NULL)
"""


def number_of(name: str) -> int:
    """Return the number that stands for a test or a file."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def add(path: Path, runs: Iterable[RunResult]) -> int:
    """
    Add sessions to the history at *path*, which is made where there is none; return how many were not in it yet.

    Raises:
        DocumentError: it cannot be written, is damaged, or a newer version wrote it; one line says which.

    """
    rows = [_row(run) for run in runs]
    with _translated(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _check_version(connection, path)
            for table in _TABLES.split(";"):
                connection.execute(table)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            added = 0
            for suite, row in rows:
                connection.execute("INSERT OR IGNORE INTO suites VALUES (?, ?)", suite)
                added += connection.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount
            connection.execute("COMMIT")
    return added


def read(path: Path) -> tuple[Past, ...]:
    """
    Return all sessions of the history at *path*, the oldest first.

    Raises:
        DocumentError: it cannot be read, is damaged, or a newer version wrote it; one line says which.

    """
    with _translated(path, "read"), closing(_connect(path, read_only=True)) as connection:
        _check_version(connection, path)
        suites = {digest: _unpacked(numbers) for digest, numbers in connection.execute("SELECT * FROM suites")}
        found = connection.execute(
            "SELECT time, sha, branch, dirty, environment, leaks, suite FROM runs ORDER BY time, sha, digest"
        )
        return tuple(
            Past(time, sha, branch, bool(dirty), environment, _leaks(leaks), suites.get(suite, frozenset()))
            for time, sha, branch, dirty, environment, leaks, suite in found
        )


def is_there(path: Path) -> bool:
    """Whether there is a file with something in it: one that is just being made is empty, or that a full disk left."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def is_damaged(path: Path) -> bool:
    """Whether the file is there and no history, so that it is to be made again; not if a newer version wrote it."""
    import sqlite3  # noqa: PLC0415 - some builds of Python lack it, and only this command needs it

    if not path.is_file() or not is_there(path):
        return False
    try:
        with closing(_connect(path, read_only=True)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] > VERSION:
                return False
            connection.execute("SELECT count(*) FROM runs").fetchone()
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        return not isinstance(error, sqlite3.OperationalError) or "no such table" in str(error)


def set_aside(path: Path) -> Path:
    """
    Rename a damaged history, so that a new one can take its place, and return its new path.

    Raises:
        DocumentError: it cannot be renamed.

    """
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if not aside.exists():
            try:
                os.replace(path, aside)  # noqa: PTH105 - known by this name as the step that is atomic
            except OSError as error:
                raise DocumentError(f"{path} is damaged and cannot be renamed: {error.strerror}") from error
            return aside
    raise DocumentError(f"{path} is damaged, and so are 999 others beside it")


# -- rows ------------------------------------------------------------------------------------------------------------


def _row(run: RunResult) -> tuple[tuple[str, bytes], tuple[Any, ...]]:
    """Return the rows of a session: of its suite, and of itself."""
    content = baseline.to_dict(run)
    commit = run.commit or {}
    ids = [one.id for one in run.results if one.verdict.level not in _UNANSWERED]
    packed = zlib.compress(array("Q", sorted({number_of(name) for name in ids})).tobytes())
    suite = hashlib.sha256(packed).hexdigest()
    digest = hashlib.sha256(baseline.dumps(run).encode("ascii") + suite.encode("ascii")).hexdigest()
    time = sortable(str(commit.get("time") or run.started_at))
    sha, branch = (_whole(str(commit.get(key) or "")) for key in ("sha", "branch"))
    leaks = json.dumps([_packed(leak) for leak in content["leaks"]], sort_keys=True, separators=(",", ":"))
    dirty = int(commit.get("dirty") is True)
    return (suite, packed), (digest, _whole(time), sha, branch, dirty, environment_key(run.environment), suite, leaks)


def _whole(text: str) -> str:
    """Return *text* as SQLite takes it: without half surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def _packed(leak: Mapping[str, Any]) -> dict[str, Any]:
    rates: dict[str, float] = {}
    for growth in leak["tests"].values():
        for name, (point, _, _) in growth.items():
            rates[name] = max(rates.get(name, point), point)
    return {**{key: leak[key] for key in ("fingerprint", "text", "verdict")}, "rates": rates, "tests": [*leak["tests"]]}


def _leaks(text: str) -> tuple[PastLeak, ...]:
    return tuple(PastLeak(**{**leak, "tests": tuple(leak["tests"])}) for leak in json.loads(text))


def _unpacked(numbers: bytes) -> frozenset[int]:
    unpacked = array("Q")
    unpacked.frombytes(zlib.decompress(numbers))
    return frozenset(unpacked)


# -- the file --------------------------------------------------------------------------------------------------------


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    import sqlite3  # noqa: PLC0415 - see above

    # No write-ahead log: its files would lie beside this one, and network file systems cannot share it.
    mode = "ro" if read_only else "rwc"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=_WAIT_S, isolation_level=None, uri=True)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise DocumentError(f"{path} is of version {version}: a newer pytest-memguard wrote it; update")


@contextmanager
def _translated(path: Path, done: str) -> Iterator[None]:
    try:
        import sqlite3  # noqa: PLC0415 - see above
    except ImportError as error:
        raise ConfigError("this Python was built without sqlite3, so it has no history") from error
    try:
        yield
    except (OSError, sqlite3.Error, zlib.error, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DocumentError(f"{path} cannot be {done}: {reason}") from error
