"""
Start the demo: a web service that leaks on purpose.

Every common leak is a switch that is off, leaky or fixed; each request of the shop (/api/items, /api/users,
/api/sessions) exercises those that are not off. The environment sets the rest: PORT, HEAP_SNAPSHOT_DIR, MAX_HEAP_SIZE,
GC_INTERVAL, MEMORY_WARNING_THRESHOLD, MEMORY_CRITICAL_THRESHOLD, MEMORY_EMERGENCY_THRESHOLD,
MEMORY_MONITORING_INTERVAL, MEMORY_LEAK_DETECTION, PROACTIVE_GC_ENABLED, CACHE_MAX_SIZE, CACHE_TTL.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from typing import TYPE_CHECKING

from pytest_memguard.errors import ConfigError, CouldNotRun

if TYPE_CHECKING:
    import argparse
    import socket
    from collections.abc import Iterable, Sequence

    from pytest_memguard.demo.settings import DemoSettings
    from pytest_memguard.demo.switches import Mode

__all__ = ["add_arguments", "run"]

_GRACE_S = 3
_DESCRIPTORS = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Teach *parser* the arguments."""
    names = "names of leaks, with commas between them"
    parser.add_argument(
        "--leak", action="append", default=[], metavar="NAME[,NAME]", help=f"leaky from the start: {names}"
    )
    parser.add_argument(
        "--fixed", action="append", default=[], metavar="NAME[,NAME]", help=f"fixed from the start: {names}"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", help="0 for any that is free (default: PORT, or 8000)")
    parser.add_argument(
        "--unguarded", action="store_true", help="without the guard: nothing watches, nothing is turned away"
    )
    parser.add_argument("--list", action="store_true", help="list the leaks, and end")


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to end."""
    try:
        import uvicorn  # noqa: PLC0415 - an extra

        from pytest_memguard.demo.app import build  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith(__package__.partition(".")[0]):
            raise
        raise ConfigError(f'memguard serve needs {missing.name}: pip install "pytest-memguard[harness]"') from missing
    if options.list:
        return _list()
    settings = _settings(options)
    listening = _listen(options.host, settings.port)
    _allow_descriptors()
    app = build(settings, ending=lambda: server.should_exit)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GRACE_S))
    host, port = listening.getsockname()[:2]
    print(f"memguard demo at http://{host}:{port} (the API: /openapi.json; the leaks: /api/leaks)", flush=True)
    with listening:
        server.run(sockets=[listening])
    return 0


def _settings(options: argparse.Namespace) -> DemoSettings:
    from pytest_memguard.demo.settings import DemoSettings, port  # noqa: PLC0415 - see run
    from pytest_memguard.demo.switches import Mode  # noqa: PLC0415 - see run

    leaky, fixed = _modes("--leak", options.leak, Mode.LEAKY), _modes("--fixed", options.fixed, Mode.FIXED)
    for name in leaky.keys() & fixed.keys():
        raise ConfigError(f"{name} cannot be leaky and fixed at once; name it with --leak or with --fixed")
    settings = DemoSettings.from_environment(guarded=not options.unguarded, modes={**leaky, **fixed})
    return settings if options.port is None else dataclasses.replace(settings, port=port(options.port, "--port"))


def _modes(option: str, given: Iterable[str], mode: Mode) -> dict[str, Mode]:
    from pytest_memguard.demo.leaks import LEAKS  # noqa: PLC0415 - see run

    known = [leak.name for leak in LEAKS]
    names = [name.strip() for part in given for name in part.split(",")]
    for name in names:
        if name not in known:
            raise ConfigError(f"{option} = {name!r} is no leak{_meant(name, known)}; there are: {', '.join(known)}")
    return dict.fromkeys(names, mode)


def _meant(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _list() -> int:
    from pytest_memguard.demo.switches import Switches  # noqa: PLC0415 - see run

    for switch in Switches().states():
        print(f"{switch.name:17} {switch.grows:8} {switch.why.splitlines()[0]}")
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket here, so that a port in use is one clear line."""
    import socket  # noqa: PLC0415 - only to serve

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, as asyncio turns Nagle's delay off only where it is: without, each answer takes 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise CouldNotRun(f"cannot listen at {host}:{port}: {error}; choose another --port") from error
    return listening


def _allow_descriptors() -> None:
    """Raise the soft limit of descriptors: two of the leaks keep some hundreds, and the service must stay reachable."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
