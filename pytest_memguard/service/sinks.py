"""
Where alerts go: log, callback, webhook, StatsD, OpenTelemetry.

Each sink has a queue with a bound and one thread, which starts with the first alert. So whoever sends an alert never
waits and never sees an error, and a sink that hangs holds up no other.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pytest_memguard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.service.alerts import Alert

__all__ = ["Courier", "OpenTelemetry", "Sink", "StatsD", "Webhook", "to_callback", "to_logging"]

_log = logging.getLogger("pytest_memguard.service")
_QUEUE = 100
_RECOVERED = "recovered"
_LOG_LEVELS = {_RECOVERED: logging.INFO, "warning": logging.WARNING}
#: What a server says when it may well take the same request a little later.
_LATER = {408, 425, 429, 500, 502, 503, 504}


class Sink(Protocol):
    """Somewhere that alerts go; it neither waits nor raises."""

    def __call__(self, alert: Alert) -> None:
        """Take *alert*, and return at once."""

    def close(self, timeout_s: float) -> None:
        """Deliver what still waits, for so many seconds at most, and end."""


class Courier:
    """
    Delivers alerts in a thread of its own.

    Args:
        deliver: Takes an alert; may wait, and may raise.
        name: Of the thread, and in the log.
        queue: How many alerts may wait; beyond it the oldest is dropped.

    Attributes:
        dropped: Alerts that found no room, or no thread.
        failed: Alerts that could not be delivered.

    """

    def __init__(self, deliver: Callable[[Alert], None], name: str, queue: int = _QUEUE) -> None:
        self._deliver = deliver
        self._name = name
        self.dropped = 0
        self.failed = 0
        self.closing = threading.Event()
        self._waiting: deque[Alert] = deque(maxlen=queue)
        self._renew()

    def __call__(self, alert: Alert) -> None:
        """Queue *alert*."""
        if os.getpid() != self._pid:
            self._waiting.clear()  # they are the parent's to deliver
            self._renew()
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(alert)
        self._wake.set()
        self._ensure_thread()

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, for so many seconds at most."""
        self.closing.set()
        self._wake.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(timeout_s)

    def _renew(self) -> None:
        """Begin anew in this process: a fork takes neither threads along nor locks in a known state."""
        self._pid = os.getpid()
        self._wake = threading.Event()
        self.closing = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def _ensure_thread(self) -> None:
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(target=self._run, name=f"memguard-{self._name}", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no memory, or no thread left: the very state that alerts are about
                self._thread = None
                self.dropped += 1

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._deliver_one(self._waiting.popleft())
            if self.closing.is_set():
                return

    def _deliver_one(self, alert: Alert) -> None:
        try:
            self._deliver(alert)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a sink, the service goes on
            self.failed += 1
            _log.warning("alert %s (%s) was not delivered to %s: %s", alert.kind, alert.level, self._name, error)


def to_logging(logger: logging.Logger | None = None) -> Courier:
    """Return a sink that logs: a recovery as info, a warning as such, the rest as errors."""
    log = logger if logger is not None else logging.getLogger("pytest_memguard.alerts")

    def deliver(alert: Alert) -> None:
        level = _LOG_LEVELS.get(alert.level, logging.ERROR)
        log.log(level, "%s: %s", alert.kind, alert.text, extra={"memguard": as_json(alert)})

    return Courier(deliver, "log")


def to_callback(callback: Callable[[Alert], object]) -> Courier:
    """Return a sink that calls *callback* with each alert, in a thread."""

    def deliver(alert: Alert) -> None:
        callback(alert)

    return Courier(deliver, "callback")


def as_json(alert: Alert) -> dict[str, Any]:
    """Return *alert* as JSON can hold it; a number that is not finite becomes null."""
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in alert.values.items()
    }
    return {"kind": alert.kind, "level": alert.level, "text": alert.text, "values": values, "at": alert.at}


class Webhook(Courier):
    """
    Posts alerts as JSON.

    Args:
        url: Where to, http or https.
        timeout_s: For each step of an attempt.
        retries: Further attempts after one that failed, or was answered with 408, 425, 429 or 5xx (but 501).
        backoff_s: Wait before the first of them; each is twice as long as the one before.
        headers: Sent along, such as ``Authorization``.

    Raises:
        ConfigError: not such a URL, or a number that makes no sense.

    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 5.0,
        retries: int = 3,
        *,
        backoff_s: float = 0.5,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        _require_url(url)
        if not timeout_s > 0:
            raise ConfigError(f"webhook: timeout_s is {timeout_s!r}; it must be more than 0")
        if retries < 0 or not backoff_s >= 0:
            raise ConfigError(f"webhook: retries is {retries!r} and backoff_s {backoff_s!r}; they must be 0 or more")
        super().__init__(self._post, "webhook")
        self._url, self._timeout_s = url, timeout_s
        self._retries, self._backoff_s = retries, backoff_s
        self._headers = {"Content-Type": "application/json", **(headers or {})}

    def _post(self, alert: Alert) -> None:
        body = json.dumps({**as_json(alert), "host": socket.gethostname(), "pid": os.getpid()}).encode()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                self._attempt(body)
            except (OSError, ValueError) as error:  # URLError, HTTPError and timeouts are OSErrors
                if last or not _may_work_later(error):
                    raise
            else:
                return
            self.closing.wait(self._backoff_s * 2**attempt)

    def _attempt(self, body: bytes) -> None:
        from urllib.request import Request, urlopen  # noqa: PLC0415 - 350 KiB, for those who have a webhook

        request = Request(self._url, body, self._headers, method="POST")  # noqa: S310 - checked above
        with urlopen(request, timeout=self._timeout_s):  # noqa: S310 - see above
            return


def _require_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, AttributeError):
        complete = False
    if not complete or not url.isprintable() or " " in url:
        raise ConfigError(f"webhook: {url!r} is not a URL to post to; write one as in 'https://example.com/alerts'")


def _may_work_later(error: Exception) -> bool:
    from urllib.error import HTTPError  # noqa: PLC0415 - see Webhook

    if not isinstance(error, HTTPError):
        return isinstance(error, OSError)
    with contextlib.suppress(OSError):
        error.close()
    return error.code in _LATER


class StatsD(Courier):
    """
    Sends the state of each kind of alert (1, or 0 when it is over) and its numbers as gauges, over UDP.

    Args:
        address: Host and port, as in ``localhost:8125``; the port may be left out.
        dog: Send the level as a tag, as DogStatsD knows them.
        prefix: Of all names.

    Raises:
        ConfigError: not an address.

    """

    def __init__(self, address: str = "localhost:8125", *, dog: bool = False, prefix: str = "memguard") -> None:
        super().__init__(self._emit, "statsd")
        host, _, port = address.rpartition(":") if ":" in address else (address, ":", "8125")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(f"statsd: {address!r} is not an address; write host and port, as in 'localhost:8125'")
        self._address = host.strip("[]"), int(port)
        self._dog, self._prefix = dog, prefix

    def _emit(self, alert: Alert) -> None:
        name = f"{self._prefix}.alert.{alert.kind}"
        gauges: dict[str, float] = {name: float(alert.level != _RECOVERED)}
        for key, value in alert.values.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                gauges[f"{name}.{key}"] = value
        tags = f"|#level:{alert.level}" if self._dog else ""
        lines = "\n".join(f"{_plain_name(key)}:{value:.15g}|g{tags}" for key, value in gauges.items())
        family, kind, protocol, _, target = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sender:
            sender.sendto(lines.encode(), target)


def _plain_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


class OpenTelemetry(Courier):
    """
    Counts alerts in ``memguard.alerts``, with kind and level as attributes, and sets ``memguard.alert.*`` gauges.

    Args:
        meter: Of OpenTelemetry; None for one of the application's own provider. Where that was never set and
            ``OTEL_EXPORTER_OTLP_ENDPOINT`` is, a provider is made that exports over OTLP.

    Raises:
        ConfigError: OpenTelemetry is not installed.

    """

    def __init__(self, meter: Any = None) -> None:  # noqa: ANN401 - the package is an extra
        super().__init__(self._record, "opentelemetry")
        meter = meter if meter is not None else _meter()
        self._counter = meter.create_counter("memguard.alerts", description="Alerts of the memory guard")
        self._meter = meter
        self._gauges: dict[str, Any] = {}

    def _record(self, alert: Alert) -> None:
        self._counter.add(1, {"kind": alert.kind, "level": alert.level})
        self._set(f"memguard.alert.{alert.kind}", float(alert.level != _RECOVERED))
        for key, value in alert.values.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._set(f"memguard.alert.{alert.kind}.{key}", float(value))

    def _set(self, name: str, value: float) -> None:
        if name not in self._gauges:
            self._gauges[name] = self._meter.create_gauge(name)
        self._gauges[name].set(value)


def _meter() -> Any:  # noqa: ANN401 - the package is an extra
    try:
        from opentelemetry import metrics  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError('alerts to OpenTelemetry need it: pip install "pytest-memguard[otel]"') from error
    provider = metrics.get_meter_provider()
    if not isinstance(provider, MeterProvider) and _has_endpoint():
        provider = _otlp_provider()
    return provider.get_meter("pytest_memguard")


def _has_endpoint() -> bool:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def _otlp_provider() -> Any:  # noqa: ANN401 - the package is an extra
    """Return a provider that exports over OTLP; it reads its endpoint and headers from the environment itself."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415 - an extra

    return MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
