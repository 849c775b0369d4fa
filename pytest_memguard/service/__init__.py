"""
A guard for a web service in production: it watches the memory of its own process, and defends it.

    from pytest_memguard.service import watch

    app = watch(app)  # an ASGI or a WSGI application

Runs without pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_memguard.service.asgi import MemguardASGI
    from pytest_memguard.service.caches import Caches
    from pytest_memguard.service.guard import Guard, watch
    from pytest_memguard.service.pool import ObjectPool
    from pytest_memguard.service.wsgi import MemguardWSGI

__all__ = ["Caches", "Guard", "MemguardASGI", "MemguardWSGI", "ObjectPool", "watch"]

_PLACES = {
    "Caches": "caches",
    "Guard": "guard",
    "MemguardASGI": "asgi",
    "MemguardWSGI": "wsgi",
    "ObjectPool": "pool",
    "watch": "guard",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a service pays for what it uses."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only where a name is used

    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
