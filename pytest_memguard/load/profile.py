"""
What to send and when: one frozen value, made from a scenario's section ``[load]`` or from Python.

Two models. *Closed*, where no rate is given: each connection sends its next request when the answer to the last one is
there. *Open*, with a rate: requests become due by the clock, whatever the service does.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import count
from math import sqrt
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pytest_memguard.config import nearest, one_of, shown
from pytest_memguard.errors import ConfigError
from pytest_memguard.load.readers import flag, number, whole
from pytest_memguard.load.request import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["ENGINES", "KEYS", "LoadSpec", "Route", "default_ramp_up_s"]

ENGINES = ("builtin", "locust", "command")

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_MOST_CONNECTIONS = 10_000  # one process has a few descriptors more than that, at best
_MOST_WORKERS = 256
_HIGHEST_RATE = 1_000_000.0
_LONGEST_S = 366 * 86_400.0
_MOST_ROUTES = 500  # so that every route has its turn in a cycle
_HEAVIEST = 1_000_000_000
_RAMP_UP_S = 5.0
_PYTHON = "LoadSpec: "  # the place of a value that was given in Python


@dataclass(frozen=True, slots=True)
class Route:
    """
    One kind of request.

    Attributes:
        path: From the root of the service, or below the path of the URL; may have placeholders, as header values and
            the body may (``request.Template``).
        weight: How often among the others, as in 3 to 1.
        name: What it is counted under; empty means method and path.
        headers: For this route, over those of all.
        expect: The statuses that are no error; empty means all below 400.

    """

    path: str
    method: str = "GET"
    weight: float = 1
    name: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    expect: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """The name under which the route is counted."""
        return self.name or f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """
    The load of one run, valid.

    Attributes:
        url: Where the service is; empty in a scenario that learns it later (``at``).
        routes: Empty means the URL itself.
        rate: Requests a second, open model; None means closed.
        connections: Most requests at once.
        duration_s: With the ramp-up, without the wait for the last answers.
        ramp_up_s: Over which connections or rate grow to their full number; None: a tenth, at most 5 s.
        requests: Stop after so many, if the time is not over before.
        timeout_s: For one request, from its connection to the end of its answer.
        redirects: Most that are followed for one request; 0 takes the redirect for the answer.
        locust: The interpreter that has Locust, for that engine.
        workers: Processes of Locust on this machine.
        command: Program and arguments, for that engine.

    Raises:
        ConfigError: a value that cannot be.
    """

    url: str = ""
    routes: tuple[Route, ...] = ()
    rate: float | None = None
    connections: int = 10
    duration_s: float = 60.0
    ramp_up_s: float | None = None
    requests: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    method: str = "GET"
    timeout_s: float = 10.0
    keep_alive: bool = True
    verify_tls: bool = True
    redirects: int = 10
    engine: str = "builtin"
    locust: str | None = None
    workers: int = 2
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in KEYS:
            value = getattr(self, key)
            if value is not None:
                object.__setattr__(self, key, _checked(key, value, _PYTHON + key))
        conflict = _conflict(self)
        if conflict:
            raise ConfigError(_PYTHON + conflict)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], where: str = "[load]") -> LoadSpec:
        """
        Return the load that a plain dict describes, as a TOML or JSON file holds it.

        Args:
            mapping: Values by the names of the fields. ``routes`` is a list of paths ("/a", "POST /b") and tables
                (the fields of ``Route``), or a table of weights by path; a body may be a table, which is sent as JSON.
            where: File and section, the start of every message, as in ``shop.toml: [load]``.

        Raises:
            ConfigError: one line that names place, key and value, and what would be right.
        """
        values = {}
        for key, value in mapping.items():
            if key not in KEYS:
                other = nearest(key, KEYS) or "; write one of " + ", ".join(KEYS)
                raise ConfigError(f"{where} {key} is not a setting of a load{other}")
            values[key] = _checked(key, value, f"{where} {key}")
        if isinstance(mapping.get("body"), (dict, list)):
            values["headers"] = _with_json(values.get("headers", ()))
        try:
            return cls(**values)
        except ConfigError as error:  # each value is right, so they are not together
            raise ConfigError(f"{where} {str(error).removeprefix(_PYTHON)}") from None

    def at(self, url: str) -> LoadSpec:
        """Return the same load for the service at *url*."""
        return replace(self, url=url)

    @property
    def ramp_s(self) -> float:
        """Seconds until the load is whole."""
        return default_ramp_up_s(self.duration_s) if self.ramp_up_s is None else self.ramp_up_s

    @property
    def public_url(self) -> str:
        """The URL without name and password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def mix(self) -> tuple[Route, ...]:
        """The routes with whole URLs for paths, and with the headers and the body of all; at least one."""
        parts = urlsplit(self.url)
        path = parts.path or "/"
        routes = self.routes or (Route(urlunsplit(("", "", path, parts.query, "")), self.method),)
        base = urlunsplit((parts.scheme, parts.netloc, path.rstrip("/") if self.routes else "", "", ""))
        return tuple(
            replace(
                route,
                path=base + route.path,
                name=route.title,
                headers=tuple((dict(self.headers) | dict(route.headers)).items()),
                body=self.body if route.body is None else route.body,
            )
            for route in routes
        )

    def joins_s(self, connection: int) -> float:
        """Return when connection number *connection* begins, in seconds from the start."""
        return self.ramp_s * connection / self.connections

    def arrivals(self) -> Iterator[float]:
        """
        Yield when each request is due in the open model, in seconds from the start.

        The rate grows evenly over the ramp-up, then stays: request n is due when the area under the rate is n.
        """
        rate, ramp_s = self.rate or 0.0, self.ramp_s
        in_ramp = rate * ramp_s / 2
        for n in count():
            due = sqrt(2 * n * ramp_s / rate) if n < in_ramp else ramp_s + (n - in_ramp) / rate
            if due >= self.duration_s or n == self.requests:
                return
            yield due


def default_ramp_up_s(duration_s: float) -> float:
    """Return the ramp-up of a run whose ramp-up nobody chose: a tenth of it, at most 5 s."""
    return min(_RAMP_UP_S, duration_s / 10)


def _conflict(spec: LoadSpec) -> str:
    """Return which values are right alone and wrong together; empty where none are."""
    if spec.ramp_s > spec.duration_s:
        return f"ramp_up_s = {spec.ramp_s:g} is longer than duration_s = {spec.duration_s:g}"
    if spec.routes and urlsplit(spec.url).query:
        return f"url = {shown(spec.public_url)} has a query; write it into the paths of the routes"
    if spec.engine == "locust" and not spec.locust:
        return "engine = 'locust' needs locust, the path of the Python that has Locust"
    if spec.engine == "command" and not spec.command:
        return "engine = 'command' needs command, the program and its arguments"
    return ""


def _checked(key: str, value: object, where: str) -> Any:  # noqa: ANN401 - each key has its own type
    try:
        return _READERS[key](value)
    except ValueError as wrong:
        text = str(wrong)
        raise ConfigError(f"{where}{text}" if text.startswith("[") else f"{where} = {shown(value)} {text}") from None


def _with_json(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if any(name.lower() == "content-type" for name, _value in headers):
        return headers
    return (*headers, ("Content-Type", "application/json"))


# Each reader returns a valid value, or raises ValueError with what is wrong; a text that starts with "[" names a part.


def _url(value: object) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError("is not a URL; write one as in http://127.0.0.1:8000/")
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises where it is no port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not the URL of a service; write one as in http://127.0.0.1:8000/")
    return urlunsplit(parts._replace(fragment=""))


_PAIR = 2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, dict):
        return tuple(_header(name, text) for name, text in value.items())
    if isinstance(value, (tuple, list)) and all(
        isinstance(pair, (tuple, list)) and len(pair) == _PAIR for pair in value
    ):
        return tuple(_header(name, text) for name, text in value)
    raise ValueError("is not a table of headers; write { Accept = 'text/html' }")


def _header(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"[{name!r}] is not the name of a header")
    if not isinstance(value, str) or any(sign in value for sign in "\r\n\0"):
        raise ValueError(f"[{name!r}] = {shown(value)} is not a header's text, which is one line")
    Template(value)
    return name, value


def _body(value: object) -> str:
    if isinstance(value, (dict, list)):
        with suppress(TypeError, ValueError):
            value = json.dumps(value)
    if not isinstance(value, str):
        raise ValueError("is neither text nor a table that can be sent as JSON")  # noqa: TRY004 - readers raise this alone
    Template(value)
    return value


def _path(value: object) -> str:
    if isinstance(value, str) and value.startswith(("/", "?")) and value.isprintable() and "#" not in value:
        Template(value)
        if " " not in re.sub(r"\{\{.*?\}\}", "", value):
            return value
    raise ValueError("is not a path; write one that starts with '/' and has no spaces")


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise ValueError("is not text of one line")


def _statuses(value: object) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(map(whole(100, 599), value))
    raise ValueError("is not a list of statuses, as in [200, 404]")


def _command(value: object) -> tuple[str, ...]:
    if isinstance(value, (tuple, list)) and all(isinstance(word, str) and "\0" not in word for word in value):
        return tuple(value)
    raise ValueError("is not a list of program and arguments, as in ['wrk', '-d', '{duration_s}', '{url}']")


_ROUTE_READERS: Mapping[str, Callable[[object], Any]] = {
    "path": _path,
    "method": one_of(_METHODS),
    "weight": number(0, _HEAVIEST),
    "name": _text,
    "headers": _headers,
    "body": _body,
    "expect": _statuses,
}


def _routes(value: object) -> tuple[Route, ...]:
    if isinstance(value, dict):
        value = [{"path": path, "weight": weight} for path, weight in value.items()]
    if not isinstance(value, (tuple, list)):
        right = "write [[load.routes]] with path = '/...', or ['/a', 'POST /b']"
        raise ValueError(f"is not a list of routes; {right}")  # noqa: TRY004 - readers raise this alone
    if len(value) > _MOST_ROUTES:
        raise ValueError(f"has {len(value)} routes; {_MOST_ROUTES} is the most")
    return tuple(_route(entry, f"[{at}]") for at, entry in enumerate(value))


def _route(entry: object, where: str) -> Route:
    if isinstance(entry, Route):
        entry = {field.name: getattr(entry, field.name) for field in fields(entry)}
        entry = {key: value for key, value in entry.items() if value not in ("", None)}
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, dict) or "path" not in entry:
        raise ValueError(f"{where} = {shown(entry)} is not a route; it needs a path")
    method, space, path = str(entry["path"]).partition(" ")
    if space and method in _METHODS:
        entry = {"method": method} | entry | {"path": path}
    values = {}
    for key, value in entry.items():
        if key not in _ROUTE_READERS:
            raise ValueError(f"{where}.{key} is not a setting of a route{nearest(key, _ROUTE_READERS)}")
        try:
            values[key] = _ROUTE_READERS[key](value)
        except ValueError as wrong:
            text = str(wrong)
            middle = "" if text.startswith("[") else f" = {shown(value)} "
            raise ValueError(f"{where}.{key}{middle}{text}") from None
    if isinstance(entry.get("body"), (dict, list)):
        values["headers"] = _with_json(values.get("headers", ()))
    return Route(**values)


_READERS: Mapping[str, Callable[[object], Any]] = {
    "url": _url,
    "routes": _routes,
    "rate": number(0, _HIGHEST_RATE),
    "connections": whole(1, _MOST_CONNECTIONS),
    "duration_s": number(0, _LONGEST_S),
    "ramp_up_s": number(0, _LONGEST_S, or_low=True),
    "requests": whole(1, sys.maxsize),
    "headers": _headers,
    "body": _body,
    "method": one_of(_METHODS),
    "timeout_s": number(0, _LONGEST_S),
    "keep_alive": flag,
    "verify_tls": flag,
    "redirects": whole(0, 100),
    "engine": one_of(ENGINES),
    "locust": _text,
    "workers": whole(1, _MOST_WORKERS),
    "command": _command,
}
KEYS = tuple(_READERS)
