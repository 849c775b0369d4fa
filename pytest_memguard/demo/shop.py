"""The business of the demo: items, users and sessions of a small shop, in a real SQLite that lives in memory."""

from __future__ import annotations

import secrets
import sqlite3
import time
from typing import Any

__all__ = ["MOST_ROWS", "SESSION_AGE_S", "Shop"]

#: Each table keeps its newest rows: a shop that keeps all that a load driver orders would be a leak of its own.
MOST_ROWS = 1000
SESSION_AGE_S = 1800.0

_SCHEMA = """
CREATE TABLE items (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL);
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    ends_s REAL NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user);
"""
_WARES = ("tea", "teapot", "mug", "spoon", "honey", "lemon", "kettle", "tray")

Row = dict[str, Any]


class Shop:
    """
    Everything that the shop knows; each method is one short statement or two.

    What is asked for by a number or a name that nobody has is None.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(f"PRAGMA foreign_keys = ON;{_SCHEMA}")
        for number in range(100):
            self.add_item(f"{_WARES[number % len(_WARES)]} {number + 1}", 100 + 7 * number)
        for name in ("Ada", "Grace", "Barbara"):
            self.add_user(name)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def items(self, words: str, limit: int) -> list[Row]:
        """Return the newest items whose name contains *words*."""
        sql = "SELECT * FROM items WHERE instr(lower(name), lower(?)) ORDER BY id DESC LIMIT ?"
        return [dict(row) for row in self._database.execute(sql, (words, limit))]

    def item(self, number: int) -> Row | None:
        """Return one item."""
        return self._one("SELECT * FROM items WHERE id = ?", number)

    def add_item(self, name: str, cents: int) -> Row:
        """Add an item, and drop the oldest where there are too many."""
        number = self._insert("INSERT INTO items (name, cents) VALUES (?, ?)", name, cents)
        self._database.execute("DELETE FROM items WHERE id <= ?", (number - MOST_ROWS,))
        return {"id": number, "name": name, "cents": cents}

    def delete_item(self, number: int) -> bool:
        """Delete one item, and return whether it was there."""
        return self._database.execute("DELETE FROM items WHERE id = ?", (number,)).rowcount > 0

    def users(self, limit: int) -> list[Row]:
        """Return the newest users."""
        return [dict(row) for row in self._database.execute("SELECT * FROM users ORDER BY id DESC LIMIT ?", (limit,))]

    def user(self, number: int) -> Row | None:
        """Return one user."""
        return self._one("SELECT * FROM users WHERE id = ?", number)

    def add_user(self, name: str) -> Row:
        """Add a user, and drop the oldest where there are too many; the first three stay."""
        number = self._insert("INSERT INTO users (name) VALUES (?)", name)
        self._database.execute("DELETE FROM users WHERE id <= ? AND id > 3", (number - MOST_ROWS,))
        return {"id": number, "name": name}

    def begin_session(self, user: int) -> Row | None:
        """Begin a session of a user, and end those that are too old or too many."""
        if self.user(user) is None:
            return None
        name = secrets.token_hex(16)
        now_s = time.time()
        sql = "INSERT INTO sessions (id, user, ends_s) VALUES (?, ?, ?)"
        number = self._insert(sql, name, user, now_s + SESSION_AGE_S)
        self._database.execute("DELETE FROM sessions WHERE number <= ? OR ends_s < ?", (number - MOST_ROWS, now_s))
        return {"id": name, "user": user}

    def session(self, name: str) -> Row | None:
        """Return one session that has not ended."""
        return self._one("SELECT id, user FROM sessions WHERE id = ? AND ends_s >= ?", name, time.time())

    def end_session(self, name: str) -> bool:
        """End one session, and return whether it was there."""
        return self._database.execute("DELETE FROM sessions WHERE id = ?", (name,)).rowcount > 0

    def _one(self, sql: str, *values: object) -> Row | None:
        row = self._database.execute(sql, values).fetchone()
        return None if row is None else dict(row)

    def _insert(self, sql: str, *values: object) -> int:
        return int(self._database.execute(sql, values).lastrowid or 0)
