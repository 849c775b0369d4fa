"""Locks that a forked child can use: no thread of the parent holds one at the moment of the fork."""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["fork_safe_lock"]

_all: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_of_all = threading.Lock()
_held: list[threading.RLock] = []


def fork_safe_lock() -> threading.RLock:
    """
    Return a lock that is taken before each fork and given back after it, on both sides.

    Without that, a child forked while another thread holds the lock waits for it forever, or finds what the lock
    guards half changed.
    """
    lock = threading.RLock()
    with _of_all:
        _all.add(lock)
    return lock


def _before_fork() -> None:
    _of_all.acquire()
    _held.extend(_all)
    for lock in _held:
        lock.acquire()


def _after_fork() -> None:
    for lock in _held:
        lock.release()
    _held.clear()
    _of_all.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
