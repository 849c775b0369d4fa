"""The guard as WSGI middleware: any framework, or none."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from pytest_memguard.service.costs import Sample
from pytest_memguard.service.endpoints import BODY_LIMIT_BYTES, answer, bearer, error, may_ask, not_found
from pytest_memguard.service.gate import HEALTH_PATHS, PREFIX, Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
        self._gate: Gate[_Response] = Gate(guard, prefix, health_paths, settings, _Response)

    @property
    def guard(self) -> Guard:
        """What watches."""
        return self._gate.guard

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request, as the application would; without a call more where nothing is due but to count it."""
        gate = self._gate
        sampler = gate.sampler
        if (
            not gate.steady
            or gate.guard.shedding
            or gate.watched in environ.get("PATH_INFO", "")
            or perf_counter() >= sampler.next_s
        ):
            return self._attend(environ, start_response)
        sampler.began += 1
        try:
            return self._app(environ, start_response)
        except MemoryError:
            gate.guard.alarm()
            raise
        finally:
            sampler.ended += 1

    def _attend(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request with which there is more to do than to count it."""
        gate = self._gate
        if not gate.started:
            gate.start()
        path = environ.get("PATH_INFO", "")
        if gate.concerns(path):
            endpoint = gate.endpoint(path)
            response = gate.turned_away(path) if endpoint is None else self._answer(environ, endpoint)
            if response is not None:
                return _respond(environ, start_response, response)
        if gate.shows_headers:
            start_response = _with_headers(start_response, gate)
        sample = gate.sampler.enter()
        try:
            return self._serve(environ, start_response, sample)
        except MemoryError:
            gate.guard.alarm()
            raise

    def _serve(self, environ: Environ, start_response: StartResponse, sample: _Response | None) -> Iterable[bytes]:
        gate = self._gate
        if sample is not None:
            return sample.serve(self._app, gate, environ, start_response)
        try:
            return self._app(environ, start_response)
        finally:
            gate.sampler.leave(None)

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


def _with_headers(start_response: StartResponse, gate: Gate[_Response]) -> StartResponse:
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


class _Response(Sample):
    """
    The response as the application gives it, and the sample that ends when the server has closed it.

    One object that is there before the first reading, so that the second one does not take it for what the application
    has kept.
    """

    __slots__ = ("chunks", "environ", "found", "gate", "route")

    def serve(
        self, app: Application, gate: Gate[_Response], environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application."""
        self.gate = gate
        self.environ: Environ | None = environ
        self.found = True
        self.route: str | None = None
        self.chunks: Iterable[bytes] = ()

        def start_and_note(status: str, *more: object) -> object:
            self.found = not status.startswith("404")
            self.route = _route(environ)
            return start_response(status, *more)

        try:
            chunks = app(environ, start_and_note)
        except BaseException:
            self.end()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(chunks, wrapper):  # the server sends it without reading it
            self.end()
            return chunks
        self.chunks = chunks
        if hasattr(chunks, "__len__"):
            self.__class__ = _SizedResponse  # a server that sees one chunk knows the length of the body
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        """Close the response, let go of it, and measure."""
        chunks, self.chunks = self.chunks, ()
        try:
            if hasattr(chunks, "close"):
                chunks.close()
        finally:
            del chunks
            self.end()

    def end(self) -> None:
        """Measure once, and count."""
        environ, self.environ = self.environ, None
        if environ is None:
            return
        cost_bytes = self.gate.sampler.leave(self)
        if cost_bytes is not None:
            method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
            self.gate.count(cost_bytes, method, path, self.route, found=self.found)


class _SizedResponse(_Response):
    """A response of a known number of chunks; of no others may a server think so."""

    __slots__ = ()

    def __len__(self) -> int:
        chunks: Any = self.chunks
        return len(chunks)


def _route(environ: Environ) -> str | None:
    """Return the route that Flask has found, as in ``/users/<int:id>``; it is there until Flask has answered."""
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    return rule if isinstance(rule, str) else None
