"""Leaks of what the operating system lends: connections, files, threads, native memory, and frames of the stack."""

from __future__ import annotations

import ctypes
import sqlite3
import tempfile
import threading
from array import array
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, ClassVar

from pytest_memguard.core.values import BLOCKS, FDS, HEAP, THREADS
from pytest_memguard.demo.leaks._leak import MANY, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Database", "ExceptionTraceback", "NativeBuffer", "OpenFile", "WorkerThread"]

#: Half of what a process may open by default on macOS and a third of it on Linux, so that it can still be reached.
_MOST_DESCRIPTORS = 320
_MOST_THREADS = 400


class Pool:
    """Connections to a database, lent and given back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.idle: list[sqlite3.Connection] = []
        self.lent: list[sqlite3.Connection] = []

    def borrow(self) -> sqlite3.Connection:
        """Return an idle connection, or a new one where all are lent."""
        connection = self.idle.pop() if self.idle else sqlite3.connect(self._path)
        self.lent.append(connection)
        return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Take a connection back."""
        self.lent.remove(connection)
        self.idle.append(connection)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for as long as the block runs."""
        connection = self.borrow()
        try:
            yield connection
        finally:
            self.give_back(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self.idle, *self.lent):
            connection.close()
        self.idle.clear()
        self.lent.clear()


class Database:
    """
    A connection that is borrowed from a pool and never given back.

    The pool makes a new one where all are lent, so each request opens the database file once more. The repair borrows
    in a ``with`` block, which gives back on every way out.
    """

    name: ClassVar = "database"
    grows: ClassVar = FDS
    page: ClassVar = "docs/how-to/fix-unclosed-connection.md"
    most: ClassVar = _MOST_DESCRIPTORS

    def __init__(self) -> None:
        self._place = _Place("orders.db")
        self._pool: Pool | None = None

    def leaky(self, visit: Visit) -> int:
        """Count the orders of a page, and forget the connection."""
        return _orders(self._opened().borrow(), visit)

    def fixed(self, visit: Visit) -> int:
        """Count the orders of a page, and give the connection back."""
        with self._opened().connection() as connection:
            return _orders(connection, visit)

    def held(self) -> int:
        """Return the number of connections that are lent."""
        return len(self._pool.lent) if self._pool else 0

    def release(self) -> None:
        """Close all connections, and remove the file."""
        if self._pool:
            self._pool.close()
            self._pool = None
        self._place.remove()

    def _opened(self) -> Pool:
        if self._pool is None:
            self._pool = Pool(_created(self._place.path()))
        return self._pool


def _created(path: Path) -> Path:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, path TEXT)")
    connection.close()
    return path


def _orders(connection: sqlite3.Connection, visit: Visit) -> int:
    return int(connection.execute("SELECT count(*) FROM orders WHERE path = ?", (visit.path,)).fetchone()[0])


class _Place:
    """A file in a folder of its own, made when it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def path(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="memguard-demo-")
        return Path(self._folder.name) / self._name

    def remove(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


class OpenFile:
    """
    A file that is read to half, by a generator that nobody ends.

    A generator that is not run to its end keeps its frame, and the frame keeps the open file. The repair closes the
    file in a ``with`` block that does not wait for the reader.
    """

    name: ClassVar = "open-file"
    grows: ClassVar = FDS
    page: ClassVar = "docs/how-to/fix-unclosed-file.md"
    most: ClassVar = _MOST_DESCRIPTORS

    def __init__(self) -> None:
        self._place = _Place("catalogue.txt")
        self.readers: list[Iterator[str]] = []

    def leaky(self, visit: Visit) -> str:
        """Return the first line of the catalogue, and keep the reader for the next one."""
        reader = _lines(self._written(visit))
        self.readers.append(reader)
        return next(reader)

    def fixed(self, visit: Visit) -> str:
        """Return the first line of the catalogue, and close it."""
        with self._written(visit).open(encoding="utf-8") as file:
            return file.readline()

    def held(self) -> int:
        """Return the number of files that are open."""
        return len(self.readers)

    def release(self) -> None:
        """Close all files, and remove the catalogue."""
        for reader in self.readers:
            reader.close()  # type: ignore[attr-defined]  # each is a generator
        self.readers.clear()
        self._place.remove()

    def _written(self, visit: Visit) -> Path:
        path = self._place.path()
        if not path.exists():
            path.write_text(f"{visit.path}\ntea\nmug\n", encoding="utf-8")
        return path


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file


class ExceptionTraceback:
    """
    Exceptions that are kept "to look at later".

    An exception has its traceback, the traceback the frames, and each frame all of its variables. The repair keeps
    the text of the newest ones.
    """

    name: ClassVar = "exception"
    grows: ClassVar = BLOCKS
    page: ClassVar = "docs/how-to/fix-exception.md"
    most: ClassVar = MANY

    def __init__(self) -> None:
        self.failures: list[ValueError] = []
        self.texts: deque[str] = deque(maxlen=32)

    def leaky(self, visit: Visit) -> None:
        """Keep the exception."""
        try:
            _parse(visit)
        except ValueError as error:
            self.failures.append(error)

    def fixed(self, visit: Visit) -> None:
        """Keep what it says."""
        try:
            _parse(visit)
        except ValueError as error:
            self.texts.append(str(error))

    def held(self) -> int:
        """Return the number of exceptions."""
        return len(self.failures)

    def release(self) -> None:
        """Forget all exceptions."""
        self.failures.clear()
        self.texts.clear()


def _parse(visit: Visit) -> int:
    digits = visit.payload.decode() + "?"
    raise ValueError(f"{digits[-9:]!r} is not a number")


class WorkerThread:
    """
    A thread that is started for each request and waits for work that does not come.

    A thread that runs is held by the interpreter and the system, with its stack and all that its target refers to. The
    repair says when there is no more work, and joins.
    """

    name: ClassVar = "thread"
    grows: ClassVar = THREADS
    page: ClassVar = "docs/how-to/fix-thread.md"
    most: ClassVar = _MOST_THREADS

    def __init__(self) -> None:
        self._workers: list[tuple[threading.Thread, SimpleQueue[Visit | None]]] = []

    def leaky(self, visit: Visit) -> None:
        """Start a worker."""
        self._workers.append(_started(visit))

    def fixed(self, visit: Visit) -> None:
        """Start a worker, and end it."""
        _end(*_started(visit))

    def held(self) -> int:
        """Return the number of workers."""
        return len(self._workers)

    def release(self) -> None:
        """End all workers."""
        while self._workers:
            _end(*self._workers.pop())


def _started(visit: Visit) -> tuple[threading.Thread, SimpleQueue[Visit | None]]:
    jobs: SimpleQueue[Visit | None] = SimpleQueue()
    jobs.put(visit)
    thread = threading.Thread(target=_work, args=(jobs,), daemon=True, name=f"worker of {visit.path}"[:80])
    thread.start()
    return thread, jobs


def _work(jobs: SimpleQueue[Visit | None]) -> None:
    while jobs.get() is not None:
        pass


def _end(thread: threading.Thread, jobs: SimpleQueue[Visit | None]) -> None:
    jobs.put(None)
    thread.join()


class NativeBuffer:
    """
    Memory of a C library that nobody gives back.

    No counter of Python sees it: there is an address and nothing else. Only the native heap grows. The repair frees
    what it has allocated, in a ``finally``.
    """

    name: ClassVar = "native-buffer"
    grows: ClassVar = HEAP
    page: ClassVar = "docs/how-to/fix-native.md"
    most: ClassVar = MANY

    _SIZE = 64 * 1024

    def __init__(self) -> None:
        # Packed, so that not one block of Python's is added for an address.
        self.addresses = array("Q")
        self._allocate, self._free = _allocator()

    def leaky(self, visit: Visit) -> None:
        """Draw a picture, and forget it."""
        self.addresses.append(self._picture(visit))

    def fixed(self, visit: Visit) -> None:
        """Draw a picture, and free it."""
        self._free(self._picture(visit))

    def held(self) -> int:
        """Return the number of pictures that were not freed."""
        return len(self.addresses)

    def release(self) -> None:
        """Free all pictures."""
        while self.addresses:
            self._free(self.addresses.pop())

    def _picture(self, visit: Visit) -> int:
        address = self._allocate(self._SIZE)
        if not address:
            raise MemoryError(f"no {self._SIZE} bytes for a picture of {visit.path}")
        ctypes.memset(address, visit.number % 256, self._SIZE)
        return address


def _allocator() -> tuple[Callable[[int], int], Callable[[int], None]]:
    """Return malloc and free as the interpreter knows them, which are there on every platform."""
    allocate = ctypes.pythonapi["PyMem_RawMalloc"]
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    free = ctypes.pythonapi["PyMem_RawFree"]
    free.restype, free.argtypes = None, [ctypes.c_void_p]
    return allocate, free
