"""The one line that wraps an application: which middleware it takes, and what it starts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pytest_memguard.errors import ConfigError
from pytest_memguard.service import watch, watching
from pytest_memguard.service.caches import Caches


async def _asgi(scope: object, receive: object, send: object) -> None: ...


class _AsgiObject:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


def _asgi_plain(scope: object, receive: object, send: object) -> None: ...


def _wsgi(environ: object, start_response: object) -> list[bytes]:
    return []


class _WsgiObject:
    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        return []


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (_asgi, "asgi"), (_AsgiObject(), "asgi"), (_asgi_plain, "asgi"), (_wsgi, "wsgi"), (_WsgiObject(), "wsgi"),
        (_AsgiObject().__call__, "asgi"),
    ],
)  # fmt: skip
def test_applications_are_told_apart(app: Callable[..., object], kind: str) -> None:
    """Functions and objects of both kinds."""
    assert watching._interface(app) == kind


def test_frameworks_are_told_apart() -> None:
    """Starlette and FastAPI are ASGI, Flask is WSGI."""
    fastapi, flask, starlette = (
        pytest.importorskip(name, reason="not installed here")
        for name in ("fastapi", "flask", "starlette.applications")
    )

    assert watching._interface(starlette.Starlette()) == "asgi"
    assert watching._interface(fastapi.FastAPI()) == "asgi"
    assert watching._interface(flask.Flask("x")) == "wsgi"


@pytest.mark.parametrize(("app", "name"), [(_asgi, "MemguardASGI"), (_wsgi, "MemguardWSGI")])
def test_watching_an_application(app: Callable[..., object], name: str) -> None:
    """It is wrapped in the middleware of its kind, with a guard that runs."""
    wrapped = watch(app, environ={}, limit_bytes="1 GiB", interval_s=3600)
    try:
        assert type(wrapped).__name__ == name
        assert wrapped.guard._monitor.running
        assert wrapped.guard.limit.bytes == 2**30
    finally:
        wrapped.guard.stop()


def test_watching_without_an_application() -> None:
    """The guard alone, with its parts and its settings."""
    caches = Caches()
    guard = watch(environ={"MEMGUARD_INTERVAL_S": "3600", "MEMGUARD_LIMIT_BYTES": "1 GiB"}, caches=caches)
    try:
        assert guard._monitor.running
        assert guard.caches is caches
        assert guard.settings.interval_s == 3600
    finally:
        guard.stop()


def test_what_is_no_application() -> None:
    """Before anything is started."""
    threads = threading.active_count()

    with pytest.raises(ConfigError, match="5 is no application: it cannot be called"):
        watch(5)
    with pytest.raises(ConfigError, match="warnin is not a setting"):
        watch(_wsgi, warnin=0.5)
    assert threading.active_count() == threads
