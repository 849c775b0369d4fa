"""What the endpoints answer: pure of any server, and shared by the ASGI and the WSGI middleware."""

from __future__ import annotations

import dataclasses
import enum
import hmac
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from pytest_memguard.errors import ConfigError, MemguardError
from pytest_memguard.service.peers import near
from pytest_memguard.service.settings import SHORTEST_TOKEN

if TYPE_CHECKING:
    from pytest_memguard.service.guard import Guard

__all__ = [
    "BODY_LIMIT_BYTES",
    "Response",
    "answer",
    "bearer",
    "error",
    "may_ask",
    "not_found",
    "shed",
    "within",
]

_log = logging.getLogger(__name__)

#: A body holds one name, if anything.
BODY_LIMIT_BYTES = 4096
_MOST_FIELDS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, headers and body, as bytes that every server takes."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def reason(self) -> str:
        """The status with its phrase, as WSGI wants it."""
        return f"{self.status} {_PHRASES[self.status]}"


_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class _Refused(Exception):  # noqa: N818 - names what happened
    """The request cannot be answered; the status says why."""

    def __init__(self, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


def within(prefix: str, path: str) -> str | None:
    """Return the part of *path* behind *prefix*, or nothing where it lies elsewhere."""
    if not prefix or not path.startswith(prefix):
        return None
    rest = path[len(prefix) :]
    return rest if not rest or rest.startswith("/") else None


def bearer(authorization: str | bytes | None) -> bytes:
    """Return the token of an ``Authorization: Bearer`` header; empty where there is none."""
    text = authorization.encode("latin-1", "replace") if isinstance(authorization, str) else authorization or b""
    scheme, _, token = text.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def may_ask(guard: Guard, token: bytes, peer: str | None) -> bool:
    """
    Whether the endpoints exist for who asks: a token is set and given, and *peer* is near enough.

    The comparison takes the same time wherever the tokens differ.
    """
    secret = (guard.settings.token or "").encode()
    same = hmac.compare_digest(secret, token)
    return len(secret) >= SHORTEST_TOKEN and near(peer, guard.settings.allowed_peers) and same


def answer(  # noqa: PLR0913, PLR0917 - the parts of a request
    guard: Guard,
    method: str,
    path: str,
    query: str | bytes = "",
    token: bytes = b"",
    peer: str | None = None,
    body: bytes = b"",
) -> Response:
    """
    Answer a request to an endpoint.

    Collecting, cleaning up and taking a snapshot take long: call this in a thread where an event loop runs.

    Args:
        guard: What is asked.
        method: ``GET``, ``POST`` or ``DELETE``; ``HEAD`` is answered like ``GET``.
        path: What follows the prefix, as in ``/caches/users``.
        query: Without its question mark.
        token: What the client gave.
        peer: Address of the connection; nothing for a unix socket.
        body: JSON object or nothing.
    """
    if not may_ask(guard, token, peer):
        return not_found()
    try:
        handler, name = _find("GET" if method == "HEAD" else method, path.rstrip("/"))
        return handler(guard, name or _fields(query, body).get("name", ""))
    except _Refused as refused:
        return error(refused.status, str(refused), *refused.headers)
    except ConfigError as wrong:
        return error(400, str(wrong))
    except MemguardError as wrong:
        return error(409, str(wrong))
    except Exception:  # noqa: BLE001 - whatever it is, the service goes on
        _log.exception("memguard could not answer")
        return error(500, "memguard could not answer; the log of the service says why")


def not_found() -> Response:
    """Return the answer to whoever may not ask, and for what is not there: they cannot be told apart."""
    return error(404, "not found")


def shed(level: str, retry_after_s: float) -> Response:
    """Return the answer to a request that is turned away while memory is short."""
    wait_s = max(1, math.ceil(retry_after_s))
    text = {"error": "short of memory, please try again later", "status": level, "retryAfter": wait_s}
    return _json(503, text, (b"Retry-After", str(wait_s).encode()))


def error(status: int, text: str, *headers: tuple[bytes, bytes]) -> Response:
    """Return an answer that says what was wrong."""
    return _json(status, {"error": text}, *headers)


def _json(status: int, content: object, *headers: tuple[bytes, bytes]) -> Response:
    return _response(status, json.dumps(_plain(content), allow_nan=False).encode(), b"application/json", *headers)


def _response(status: int, body: bytes, kind: bytes, *headers: tuple[bytes, bytes]) -> Response:
    usual = (
        (b"Content-Type", kind),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    )
    return Response(status, (*usual, *headers), body)


def _plain(value: object) -> object:
    """Return *value* as JSON knows it: names as in JavaScript, and nothing for what is no finite number."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if dataclasses.is_dataclass(value):
        return {_camel(field.name): _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join({"s": "Seconds"}.get(part, part.capitalize()) for part in rest)


def _fields(query: str | bytes, body: bytes) -> dict[str, str]:
    """Return the fields of the query and of the body, which wins."""
    text = query.decode("latin-1") if isinstance(query, bytes) else query
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as wrong:
        raise _Refused(400, f"the query has more than {_MOST_FIELDS} fields") from wrong
    if body.strip():
        fields.update(_object(body))
    return fields


def _object(body: bytes) -> dict[str, str]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise _Refused(400, "the body is not JSON") from wrong
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise _Refused(400, 'the body must be an object of text, as in {"name": "before"}')
    return content


def _health(guard: Guard, _: str) -> Response:
    return _json(200, guard.health())


def _metrics(guard: Guard, _: str) -> Response:
    try:
        from pytest_memguard.service.metrics import exposition  # noqa: PLC0415 - an extra, for those who ask for it

        body, kind = exposition(guard)
    except ImportError as missing:
        raise ConfigError(f'metrics need {missing.name}: pip install "pytest-memguard[service]"') from missing
    return _response(200, body, kind.encode())


def _leak_detection(guard: Guard, _: str) -> Response:
    return _json(200, guard.detect())


def _gc(guard: Guard, _: str) -> Response:
    outcome = guard.collect()
    return _json(200, {"status": guard.level, "outcome": outcome})


def _emergency(guard: Guard, _: str) -> Response:
    outcomes = guard.emergency()
    return _json(200, {"status": guard.level, "outcomes": outcomes})


def _snapshot(guard: Guard, name: str) -> Response:
    name = name or time.strftime("snapshot-%Y%m%d-%H%M%S", time.gmtime())
    try:
        path = guard.snapshot(name)
        size_bytes = path.stat().st_size
    except FileExistsError as there:
        raise _Refused(409, f"there is a snapshot {name!r} already") from there
    except OSError as wrong:
        raise _Refused(409, f"the snapshot could not be written: {wrong.strerror or type(wrong).__name__}") from wrong
    return _json(200, {"name": name, "file": path.name, "bytes": size_bytes})


def _caches(guard: Guard, _: str) -> Response:
    return _json(200, {"caches": guard.caches.statistics()})


def _clear(guard: Guard, name: str) -> Response:
    try:
        cleared = guard.caches.clear(name)
    except KeyError as unknown:
        raise _Refused(404, f"there is no cache {name[:64]!r}") from unknown
    return _json(200, {"cache": name, "cleared": cleared})


def _clear_all(guard: Guard, _: str) -> Response:
    return _json(200, {"cleared": guard.caches.clear_all()})


_Handler = Callable[["Guard", str], Response]
_HANDLERS: Mapping[str, Mapping[str, _Handler]] = {
    "/health": {"GET": _health},
    "/metrics": {"GET": _metrics},
    "/leak-detection": {"GET": _leak_detection},
    "/gc": {"POST": _gc},
    "/emergency-cleanup": {"POST": _emergency},
    "/snapshot": {"POST": _snapshot},
    "/caches": {"GET": _caches, "DELETE": _clear_all},
}
_ONE_CACHE: Mapping[str, _Handler] = {"DELETE": _clear}
_CACHE = "/caches/"


def _find(method: str, path: str) -> tuple[_Handler, str]:
    """Return who answers, and the name that the path ends with."""
    name = path[len(_CACHE) :] if path.startswith(_CACHE) else ""
    methods = _ONE_CACHE if name else _HANDLERS.get(path)
    if methods is None:
        raise _Refused(404, "not found")
    if method not in methods:
        allowed = ", ".join(sorted(methods))
        raise _Refused(405, f"this takes {allowed}", (b"Allow", allowed.encode()))
    return methods[method], name
