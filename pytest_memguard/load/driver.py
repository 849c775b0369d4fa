"""
The built-in engine: one process, one event loop, aiohttp.

    result = await Driver(LoadSpec("http://127.0.0.1:8000/", rate=200)).run()

A connection is a task that takes the next request as soon as it is free. In the open model the request has been due
since its time on the clock, and its latency counts from there: a service that stalls is not forgiven the requests that
had to wait for it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, repeat
from socket import gaierror
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import ConfigError
from pytest_memguard.load.latency import Histogram
from pytest_memguard.load.request import Template, cycle
from pytest_memguard.load.result import LoadResult, RouteResult, SecondCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import ClientResponse, ClientSession

    from pytest_memguard.load.profile import LoadSpec, Route

__all__ = ["Driver"]

_BACK_OFF_S = 0.1  # after a connection that failed, so that a service that is gone is not asked in a busy loop
_GRACE_S = 0.5  # for answers that are on their way when the run is stopped
_GIVE_UP_AFTER = 10  # failed connections without a single answer, and at least one for each connection
_REMEMBER_NAMES_S = 300
_WHOLE_BODY = 1 << 20  # larger answers are read in pieces and dropped

#: Failures in which no request reached a service; they have no latency.
_NEVER_SENT = frozenset({"refused", "host not found", "unreachable", "TLS"})


@dataclass(slots=True)
class _Shot:
    """One route, ready to be sent, and what came of it."""

    route: Route
    url: Template
    headers: tuple[tuple[str, Template], ...]
    body: Template | None
    fixed_headers: dict[str, str] | None
    fixed_body: bytes | None
    latency: Histogram = field(default_factory=Histogram)
    requests: int = 0
    errors: int = 0

    @classmethod
    def of(cls, route: Route) -> _Shot:
        headers = tuple((name, Template(value)) for name, value in route.headers)
        body = None if route.body is None else Template(route.body)
        constant = all(value.constant for _name, value in headers)
        fixed_body = body.text.encode() if body and body.constant else None
        return cls(route, Template(route.path), headers, body, dict(route.headers) if constant else None, fixed_body)

    def headers_of(self, n: int) -> dict[str, str]:
        if self.fixed_headers is not None:
            return self.fixed_headers
        return {name: value.fill(n) for name, value in self.headers}

    def body_of(self, n: int) -> bytes | None:
        if self.body is None or self.fixed_body is not None:
            return self.fixed_body
        return self.body.fill(n).encode()

    def expects(self, status: int) -> bool:
        expected = self.route.expect
        return status in expected if expected else status < 400  # noqa: PLR2004 - RFC 9110: errors begin here


class Driver:
    """
    Load from this process; one object a run.

    ``started`` and ``completed`` may be read at any moment, from any thread.

    Raises:
        ConfigError: there is no URL, or no aiohttp.
    """

    def __init__(self, spec: LoadSpec) -> None:
        if not spec.url:
            raise ConfigError("LoadSpec: url is missing; give the URL of the service")
        try:
            import aiohttp  # noqa: F401, PLC0415 - an extra, and 27 MB where nobody loads
        except ImportError:
            raise ConfigError('memguard load needs aiohttp: pip install "pytest-memguard[harness]"') from None
        self.spec = spec
        self.started = 0
        self.completed = 0
        self.failed = 0
        self._shots = tuple(_Shot.of(route) for route in spec.mix)
        self._order = cycle([shot.route.weight for shot in self._shots])
        self._numbers = count()
        self._due: Iterator[float | None] = self._due_times()
        self._errors: dict[str, int] = {}
        self._seconds: list[SecondCounts] = []
        self._seen = (0, 0, 0)
        self._requests = self._received_bytes = self._unsent = 0
        self._stopped = ""
        self._halt = asyncio.Event()

    @property
    def latency(self) -> Histogram:
        """The latencies until now."""
        return sum((shot.latency for shot in self._shots), Histogram())

    async def run(
        self, on_second: Callable[[SecondCounts], object] | None = None, stop: asyncio.Event | None = None
    ) -> LoadResult:
        """
        Send the load, and return what was measured.

        Args:
            on_second: Called after each second; what it raises ends the run and is raised here.
            stop: Set it, and the run ends within half a second; the result says so and holds what was measured.
        """
        started_at = time.time()
        async with self._session() as session:
            self._began_s = time.perf_counter()
            crew = [asyncio.create_task(self._send(session, self.spec.joins_s(i))) for i in range(self._crew_size)]
            ticks = asyncio.create_task(self._tick(on_second))
            stopper = asyncio.create_task(self._obey(stop or asyncio.Event()))
            try:
                await self._until_over(crew, ticks)
                duration_s = self._elapsed_s
                self._count_unsent(duration_s)
                self._emit(on_second)
            finally:
                await _end(*crew, ticks, stopper)
        return self._result(started_at, duration_s)

    @property
    def _crew_size(self) -> int:
        return min(self.spec.connections, self.spec.requests or self.spec.connections)

    @property
    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._began_s

    def _session(self) -> ClientSession:
        import aiohttp  # noqa: PLC0415 - see above

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, force_close=not self.spec.keep_alive, ssl=self.spec.verify_tls, ttl_dns_cache=_REMEMBER_NAMES_S
            ),
            timeout=aiohttp.ClientTimeout(total=self.spec.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    def _due_times(self) -> Iterator[float | None]:
        """Yield for each request when it is due; None where that is whenever a connection is free."""
        if self.spec.rate:
            return self.spec.arrivals()
        return repeat(None, self.spec.requests) if self.spec.requests else repeat(None)

    async def _until_over(self, crew: list[asyncio.Task[None]], ticks: asyncio.Task[None]) -> None:
        work = asyncio.gather(*crew)
        halted = asyncio.create_task(self._halt.wait())
        try:
            ends: set[asyncio.Future[Any]] = {work, halted, ticks}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if ticks.done():
                await ticks  # raises what on_second raised
            if halted.done() and self.started > self._requests:
                await asyncio.wait({work}, timeout=_GRACE_S)
            if work.done():
                await work
        finally:
            work.cancel()
            await _end(halted)
            with suppress(asyncio.CancelledError, Exception):  # it was raised above where it was one of ours
                await work

    async def _obey(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopped = self._stopped or "stopped"
        self._halt.set()

    async def _send(self, session: ClientSession, joins_s: float) -> None:
        """Be one connection: take requests until there are no more."""
        if not self.spec.rate:
            await asyncio.sleep(joins_s)
        for due_s in self._due:
            if due_s is not None and due_s > self._elapsed_s:
                await asyncio.sleep(due_s - self._elapsed_s)
            if self._halt.is_set() or self._elapsed_s >= self.spec.duration_s:
                if due_s is not None and due_s <= self._elapsed_s:
                    self._unsent += 1
                return
            sent_s = time.perf_counter()
            await self._request(session, next(self._numbers), sent_s if due_s is None else self._began_s + due_s)

    async def _request(self, session: ClientSession, n: int, since_s: float) -> None:
        shot = self._shots[self._order[n % len(self._order)]]
        self.started += 1
        kind = ""
        try:
            async with session.request(
                shot.route.method,
                shot.url.fill(n),
                headers=shot.headers_of(n),
                data=shot.body_of(n),
                allow_redirects=self.spec.redirects > 0,
                max_redirects=self.spec.redirects,
            ) as answer:
                self._received_bytes += await _read(answer)
                if not shot.expects(answer.status):
                    kind = f"status {answer.status}"
        except Exception as error:  # noqa: BLE001 - whatever a service does is a result, not our end
            kind = _kind_of(error)
            self._count(shot, kind)
            if kind not in _NEVER_SENT:
                shot.latency.record(time.perf_counter() - since_s)
            await self._back_off()
            return
        shot.latency.record(time.perf_counter() - since_s)
        self.completed += 1
        self._count(shot, kind)

    def _count(self, shot: _Shot, kind: str) -> None:
        """Count a request that has ended, with the kind of its failure."""
        self._requests += 1
        shot.requests += 1
        if kind:
            self.failed += 1
            shot.errors += 1
            self._errors[kind] = self._errors.get(kind, 0) + 1
        if self._requests == self.spec.requests:
            self._halt.set()

    async def _back_off(self) -> None:
        """Wait before the next try, or give up where there never was an answer."""
        if not self.completed and self.failed >= max(_GIVE_UP_AFTER, self.spec.connections):
            kinds = ", ".join(sorted(self._errors))
            self._stopped = f"gave up: none of the first {self.failed} requests was answered ({kinds})"
            self._halt.set()
        await asyncio.sleep(_BACK_OFF_S)

    async def _tick(self, on_second: Callable[[SecondCounts], object] | None) -> None:
        for second in count(1):
            await asyncio.sleep(max(0.0, second - self._elapsed_s))
            self._emit(on_second)

    def _emit(self, on_second: Callable[[SecondCounts], object] | None) -> None:
        """Close a second: count what has happened since the last one was closed."""
        now = (self.started, self.completed, self.failed)
        since = tuple(after - before for after, before in zip(now, self._seen, strict=True))
        full = len(self._seconds) + 1 <= self._elapsed_s
        if not full and not any(since):
            return  # the rest of a second at the end, in which nothing happened
        self._seen = now
        self._seconds.append(SecondCounts(len(self._seconds), *since))
        if on_second:
            on_second(self._seconds[-1])

    def _count_unsent(self, until_s: float) -> None:
        """Count the requests of the open model that were due and that no connection was free for."""
        for due_s in self._due if self.spec.rate else ():
            if due_s is None or due_s > until_s:
                return
            self._unsent += 1

    def _result(self, started_at: float, duration_s: float) -> LoadResult:
        return LoadResult(
            engine="builtin",
            model="open" if self.spec.rate else "closed",
            url=self.spec.public_url,
            started_at=started_at,
            duration_s=duration_s,
            started=self.started,
            requests=self._requests,
            completed=self.completed,
            unsent=self._unsent,
            errors=dict(sorted(self._errors.items(), key=lambda kind: -kind[1])),
            latency=self.latency,
            seconds=tuple(self._seconds),
            routes=tuple(RouteResult(one.route.name, one.requests, one.errors, one.latency) for one in self._shots),
            received_bytes=self._received_bytes,
            stopped=self._stopped,
        )


async def _read(answer: ClientResponse) -> int:
    """Read the body to its end, and return its size."""
    length = answer.content_length
    if length is not None and length <= _WHOLE_BODY:
        return len(await answer.read())
    size = 0
    async for piece in answer.content.iter_any():
        size += len(piece)
    return size


def _kind_of(error: Exception) -> str:
    """Return what went wrong with a request, in a word or two."""
    import aiohttp  # noqa: PLC0415 - see Driver

    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        if isinstance(error.os_error, gaierror):
            return "host not found"
        return "refused" if isinstance(error.os_error, ConnectionRefusedError) else "unreachable"
    kinds: tuple[tuple[str, tuple[type[Exception], ...]], ...] = (
        ("timeout", (asyncio.TimeoutError, TimeoutError)),
        ("TLS", (aiohttp.ClientSSLError, ssl.SSLError)),
        ("redirect loop", (aiohttp.TooManyRedirects,)),
        ("not HTTP", (aiohttp.ClientResponseError, aiohttp.InvalidURL)),
        ("cut", (aiohttp.ClientPayloadError, aiohttp.ServerConnectionError, OSError)),
    )
    return next((kind for kind, types in kinds if isinstance(error, types)), f"other ({type(error).__name__})")


async def _end(*tasks: asyncio.Task[object]) -> None:
    """Cancel what still runs, and see that it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
