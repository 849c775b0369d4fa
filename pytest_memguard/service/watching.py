"""The one line: a guard, and the application behind the middleware that suits it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError
from pytest_memguard.service.guard import Guard
from pytest_memguard.service.settings import GuardSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["watch"]


def watch(app: Any = None, *, environ: Mapping[str, str] = os.environ, **settings: Any) -> Any:  # noqa: ANN401 - any app
    """
    Start a guard, and wrap *app* in the middleware that suits it.

    Args:
        app: An ASGI or a WSGI application; None for a guard alone.
        environ: Where ``MEMGUARD_<KEY>`` are looked up.
        settings: Settings by name, stronger than the environment; ``caches``, ``alerts``, ``actions`` and ``requests``
            are those of ``Guard``, ``prefix`` and ``health_paths`` those of the middleware.

    Returns:
        The wrapped application; the guard where there is none.

    Raises:
        ConfigError: A setting is not valid, or *app* is no application.

    """
    parts = _taken(settings, "caches", "alerts", "actions", "requests")
    options = {} if app is None else _taken(settings, "prefix", "health_paths")
    kind = None if app is None else _interface(app)
    guard = Guard(GuardSettings.from_environment(environ, **settings), **parts)
    guard.start()
    if kind is None:
        return guard
    if kind == "asgi":
        from pytest_memguard.service.asgi import MemguardASGI  # noqa: PLC0415 - one of the two

        return MemguardASGI(app, guard, **options)
    from pytest_memguard.service.wsgi import MemguardWSGI  # noqa: PLC0415 - one of the two

    return MemguardWSGI(app, guard, **options)


def _taken(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given.pop(name) for name in names if name in given}


def _interface(app: object) -> str:
    """Return ``asgi`` or ``wsgi``: the first is a coroutine function, or takes three arguments."""
    import inspect  # noqa: PLC0415 - once a process

    if not callable(app):
        raise ConfigError(f"{app!r:.100} is no application: it cannot be called")
    call = app if inspect.isroutine(app) else type(app).__call__
    if inspect.iscoroutinefunction(inspect.unwrap(call)):
        return "asgi"
    try:
        inspect.signature(app).bind(None, None, None)
    except (TypeError, ValueError):
        return "wsgi"
    return "asgi"
