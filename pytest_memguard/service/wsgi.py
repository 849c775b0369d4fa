"""The guard as WSGI middleware: any framework, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_memguard.service.endpoints import BODY_LIMIT_BYTES, answer, bearer, error, may_ask, not_found, within
from pytest_memguard.service.gate import HEALTH_PATHS, PREFIX, Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_memguard.service.costs import Sample
    from pytest_memguard.service.endpoints import Response
    from pytest_memguard.service.guard import Guard

    Environ = dict[str, Any]
    StartResponse = Callable[..., Any]
    Application = Callable[[Environ, StartResponse], Iterable[bytes]]

__all__ = ["MemguardWSGI"]


class MemguardWSGI:
    """
    Watches a WSGI application, turns requests away while memory is short, and answers under *prefix* for who may ask.

    The guard starts with the first request, so in each worker; it stops with the process. Responses pass untouched, but
    for the headers of ``expose_headers``.

    Args:
        app: The application.
        guard: A guard of its own is made, from *settings* and ``MEMGUARD_*``, where none is given.
        prefix: Path of the endpoints; empty for none.
        health_paths: Answered also while requests are turned away, and so is what lies below them.
        settings: Fields of ``GuardSettings``.

    Raises:
        ConfigError: A setting is wrong.

    """

    def __init__(
        self,
        app: Application,
        guard: Guard | None = None,
        *,
        prefix: str = PREFIX,
        health_paths: Iterable[str] = HEALTH_PATHS,
        **settings: Any,  # noqa: ANN401 - each of the type of its setting, and checked there
    ) -> None:
        self._app = app
        self._gate = Gate(guard, prefix, health_paths, settings)

    @property
    def guard(self) -> Guard:
        """What watches."""
        return self._gate.guard

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request, as the application would."""
        gate = self._gate
        if not gate.started:
            gate.start()
        path = environ.get("PATH_INFO", "")
        endpoint = within(gate.prefix, path)
        response = self._answer(environ, endpoint) if endpoint is not None else gate.turned_away(path)
        if response is not None:
            return _respond(environ, start_response, response)
        if gate.shows_headers:
            start_response = _with_headers(start_response, gate)
        sample = gate.sampler.enter()
        if sample is not None:
            return _measured(self._app, gate, sample, environ, start_response)
        try:
            return self._app(environ, start_response)
        finally:
            gate.sampler.leave(None)
            gate.count_unmeasured()

    def _answer(self, environ: Environ, path: str) -> Response:
        token = bearer(environ.get("HTTP_AUTHORIZATION"))
        peer = environ.get("REMOTE_ADDR")
        if not may_ask(self.guard, token, peer):
            return not_found()
        method = environ["REQUEST_METHOD"]
        body = _body(environ) if method == "POST" else b""
        if not isinstance(body, bytes):
            return body
        path = path.encode("latin-1").decode(errors="replace")
        return answer(self.guard, method, path, environ.get("QUERY_STRING", ""), token=token, peer=peer, body=body)


def _respond(environ: Environ, start_response: StartResponse, response: Response) -> list[bytes]:
    start_response(response.reason, [(name.decode(), value.decode()) for name, value in response.headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]


def _with_headers(start_response: StartResponse, gate: Gate) -> StartResponse:
    def start_with_headers(status: str, headers: list[tuple[str, str]], *more: object) -> object:
        shown = [(name.decode(), value.decode()) for name, value in gate.headers()]
        return start_response(status, [*headers, *shown], *more)

    return start_with_headers


def _body(environ: Environ) -> bytes | Response:
    """Return the body, or the answer to one that is too large."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or len(length) > 9 or int(length) > BODY_LIMIT_BYTES:  # noqa: PLR2004 - digits of a size
        return error(413, f"the body must not be longer than {BODY_LIMIT_BYTES} bytes")
    body: bytes = environ["wsgi.input"].read(int(length))
    return body


class _Request:
    """A request that is being measured, until the server has closed its response."""

    def __init__(self, gate: Gate, sample: Sample, environ: Environ) -> None:
        self._gate = gate
        self._sample = sample
        self._environ = environ
        self.found = True

    def end(self) -> None:
        """Measure, and count."""
        cost_bytes = self._gate.sampler.leave(self._sample)
        if cost_bytes is None:
            self._gate.count_unmeasured()
            return
        method, path = self._environ["REQUEST_METHOD"], self._environ.get("PATH_INFO", "")
        self._gate.count(cost_bytes, method, path, _route(self._environ), found=self.found)


def _route(environ: Environ) -> str | None:
    """Return the route that Flask has found, as in ``/users/<int:id>``."""
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    return rule if isinstance(rule, str) else None


def _measured(
    app: Application, gate: Gate, sample: Sample, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    request = _Request(gate, sample, environ)

    def start_and_note(status: str, *more: object) -> object:
        request.found = not status.startswith("404")
        return start_response(status, *more)

    try:
        chunks = app(environ, start_and_note)
    except BaseException:
        request.end()
        raise
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(chunks, wrapper):  # the server sends it without reading it
        request.end()
        return chunks
    return (_SizedChunks if hasattr(chunks, "__len__") else _Chunks)(chunks, request)


class _Chunks:
    """The response as the application gives it, and an end of the request behind it."""

    def __init__(self, chunks: Iterable[bytes], request: _Request) -> None:
        self._chunks: Iterable[bytes] | None = chunks
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks or ())

    def close(self) -> None:
        """Close the response, let go of it, and measure."""
        chunks, self._chunks = self._chunks, None
        if chunks is None:
            return
        try:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        finally:
            close = chunks = None
            self._request.end()


class _SizedChunks(_Chunks):
    """Chunks whose number is known, from which servers conclude the length of the body."""

    def __len__(self) -> int:
        return len(self._chunks)  # type: ignore[arg-type] # made of what has a length
