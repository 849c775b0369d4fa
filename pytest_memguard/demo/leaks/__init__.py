"""The leaks, each with its repair, by family."""

from __future__ import annotations

from pytest_memguard.demo.leaks._leak import MANY, PAYLOAD_BYTES, Leak, Visit
from pytest_memguard.demo.leaks.containers import (
    Closure,
    CyclicCache,
    MethodCache,
    ModuleList,
    RequestLog,
    Sessions,
    UnboundedCache,
)
from pytest_memguard.demo.leaks.listeners import EventListener, LoggingHandler, Reconnect, Subscription
from pytest_memguard.demo.leaks.resources import Database, ExceptionTraceback, NativeBuffer, OpenFile, WorkerThread
from pytest_memguard.demo.leaks.waiting import ContextVariable, PendingTask, Timer, WebSockets

__all__ = ["LEAKS", "MANY", "PAYLOAD_BYTES", "Leak", "Visit"]

#: All of them, in the order in which people meet them.
LEAKS: tuple[type[Leak], ...] = (
    ModuleList, RequestLog, EventListener, Closure, Timer, UnboundedCache, MethodCache, PendingTask, WebSockets,
    Database, OpenFile, Subscription, CyclicCache, ContextVariable, ExceptionTraceback, LoggingHandler, WorkerThread,
    NativeBuffer, Sessions, Reconnect,
)  # fmt: skip
