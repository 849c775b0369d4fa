"""
A guard for a web service in production: it watches the memory of its own process, and defends it.

    from pytest_memguard.service import watch

    app = watch(app, token="...")  # an ASGI or a WSGI application; settings here, or as MEMGUARD_<KEY>
    app.guard.health()  # and detect(), metrics(), collect(), snapshot("before")

    @app.guard.caches.cached("prices", size=500, ttl_s=60)  # bounded, and cut when memory is short
    def price(item): ...

`watch()` alone returns the guard of a process that serves nothing. Runs without pytest; needs the extra ``[service]``.
All settings and endpoints: docs/reference/service-guard.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_memguard.service.asgi import MemguardASGI
    from pytest_memguard.service.caches import Caches
    from pytest_memguard.service.guard import Guard
    from pytest_memguard.service.pool import ObjectPool
    from pytest_memguard.service.watching import watch
    from pytest_memguard.service.wsgi import MemguardWSGI

__all__ = ["Caches", "Guard", "MemguardASGI", "MemguardWSGI", "ObjectPool", "watch"]

_PLACES = {
    "Caches": "caches",
    "Guard": "guard",
    "MemguardASGI": "asgi",
    "MemguardWSGI": "wsgi",
    "ObjectPool": "pool",
    "watch": "watching",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a service pays for what it uses."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only where a name is used

    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
