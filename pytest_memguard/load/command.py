"""
The engine for any other program: k6, wrk, oha, vegeta, or a script.

    LoadSpec(url, engine="command", command=("wrk", "-c", "{connections}", "-d", "{duration_s}", "--latency", "{url}"))

In its arguments ``{url}``, ``{connections}``, ``{duration_s}`` and ``{rate}`` stand for those of the load. What the
program prints is read where it is one of those, or one JSON object ``{"requests": n, "errors": n}``.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_memguard.errors import ConfigError, CouldNotRun
from pytest_memguard.load.processes import output_of, stopped
from pytest_memguard.load.result import LoadResult, SecondCounts
from pytest_memguard.load.smooth import Smooth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.load.profile import LoadSpec

__all__ = ["Command", "Told", "told"]

_LOOK_S = 0.1
_THRESHOLD_MISSED = 99  # of k6: it ran, and its own limits were not kept
_END_S = 30.0  # beyond the duration and one timeout
_MOST_OUTPUT = 64 << 20


class Told(NamedTuple):
    """What a program told of its run: counts, and percentiles in seconds by per cent."""

    requests: int
    errors: Mapping[str, int]
    stated: tuple[tuple[float, float], ...] = ()


class Command:
    """
    Load by another program; one object a run.

    Args:
        spec: With ``command``, the program and its arguments.
        count: Returns how many requests the service has completed, by its own count; what ``completed`` and the
            counts of a second come from, as most programs say nothing before their end.

    Raises:
        ConfigError: there is no URL, or an argument has a placeholder that does not exist.
    """

    def __init__(self, spec: LoadSpec, count: Callable[[], int] | None = None) -> None:
        if not spec.url:
            raise ConfigError("LoadSpec: url is missing; give the URL of the service")
        self.spec = spec
        self.started = 0
        self._completed = Smooth()
        self._count = count or (lambda: 0)
        self._arguments = [_filled(word, spec) for word in spec.command]
        self._seconds: list[SecondCounts] = []

    async def run(
        self, on_second: Callable[[SecondCounts], object] | None = None, stop: asyncio.Event | None = None
    ) -> LoadResult:
        """
        Run the program to its end, and return what it told.

        Raises:
            CouldNotRun: it cannot be started, ended in an error, or told nothing that can be read.
        """
        with tempfile.TemporaryDirectory(prefix="memguard-command-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            began, started_at = time.monotonic(), time.time()
            process = self._start(folder)
            try:
                why = await self._watch(process, began, on_second, stop or asyncio.Event())
            finally:
                stopped([process])
                self._completed.end()
            output = _read(folder / "out.log")
            self._judge(process.returncode, why, folder)
        return self._result(output, started_at, time.monotonic() - began, why)

    @property
    def completed(self) -> int:
        """Requests completed until now, or rather until a second or two ago."""
        return int(self._completed)

    @property
    def _name(self) -> str:
        return Path(self._arguments[0]).name

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        with (folder / "out.log").open("wb") as out, (folder / "err.log").open("wb") as err:
            try:
                return subprocess.Popen(  # noqa: S603 - the program that the user named
                    self._arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
            except OSError as error:
                raise CouldNotRun(f"{self._arguments[0]!r} cannot be started ({error.strerror or error})") from error

    async def _watch(
        self,
        process: subprocess.Popen[bytes],
        began: float,
        on_second: Callable[[SecondCounts], object] | None,
        stop: asyncio.Event,
    ) -> str:
        """Wait for the program's end; return why it was ended before, if it was."""
        base = before = self._count()
        longest_s = self.spec.duration_s + self.spec.timeout_s + _END_S
        while process.poll() is None:
            await asyncio.sleep(_LOOK_S)
            elapsed_s = time.monotonic() - began
            if elapsed_s >= len(self._seconds) + 1:
                now = self._count()
                self.started = now - base
                self._completed.tell(now - base)
                self._seconds.append(SecondCounts(len(self._seconds), now - before, now - before, 0))
                before = now
                if on_second:
                    on_second(self._seconds[-1])
            if stop.is_set():
                return "stopped"
            if elapsed_s > longest_s:
                raise CouldNotRun(f"{self._name} did not end within {longest_s:g} s; is its own duration longer?")
        self.started = self._count() - base
        self._completed.tell(self.started)
        return ""

    def _judge(self, code: int, why: str, folder: Path) -> None:
        if why or code in {0, _THRESHOLD_MISSED}:
            return
        words = output_of(folder / "err.log") or output_of(folder / "out.log") or "no word of why"
        raise CouldNotRun(f"{self._name} ended with {code}: {words}")

    def _result(self, output: str, started_at: float, duration_s: float, why: str) -> LoadResult:
        found = told(output)
        if found is None and not (why or self.completed):
            raise CouldNotRun(f"{self._name} printed nothing that says how many requests it sent; let it print JSON")
        found = found or Told(self.completed, {})
        return LoadResult(
            engine=self._name,
            model="open" if self.spec.rate else "closed",
            url=self.spec.public_url,
            started_at=started_at,
            duration_s=duration_s,
            started=found.requests,
            requests=found.requests,
            completed=self.completed or found.requests - sum(_unanswered(found.errors)),
            errors=dict(found.errors),
            stated=found.stated,
            seconds=tuple(self._seconds),
            stopped=why,
        )


def _filled(word: str, spec: LoadSpec) -> str:
    values = {
        "url": spec.url,
        "connections": str(spec.connections),
        "duration_s": f"{spec.duration_s:g}",
        "rate": f"{spec.rate or 0:g}",
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ConfigError(f"command: {word!r} has {found[0]}, which is none of {', '.join(values)}")
        return values[found[1]]

    return re.sub(r"\{([a-z_]+)\}", value, word)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST_OUTPUT).decode(errors="replace")


def _unanswered(errors: Mapping[str, int]) -> list[int]:
    return [number for kind, number in errors.items() if not kind.startswith("status")]


# What each program prints; a reader returns None where it is not that program's.


def told(output: str) -> Told | None:
    """Return what the output of a program says of its run; None where it says nothing that is known."""
    with suppress(ValueError, RecursionError):
        content = json.loads(output[output.find("{") :] if "{" in output else output)
        if isinstance(content, dict):
            with suppress(KeyError, TypeError, AttributeError):
                return _from_json(content)
    return _wrk(output)


def _from_json(content: dict[str, Any]) -> Told | None:
    if "statusCodeDistribution" in content:
        return _oha(content)
    if "latencies" in content and "status_codes" in content:
        return _vegeta(content)
    if "metrics" in content:
        return _k6(content["metrics"])
    return Told(int(content["requests"]), {"failed": int(content.get("errors", 0))} if content.get("errors") else {})


def _statuses(counts: Mapping[str, int]) -> dict[str, int]:
    return {f"status {status}": int(number) for status, number in counts.items() if int(status) >= 400}  # noqa: PLR2004 - errors begin here


def _oha(content: dict[str, Any]) -> Told:
    statuses = content["statusCodeDistribution"]
    broken = content.get("errorDistribution") or {}
    wanted = {50.0: "p50", 90.0: "p90", 95.0: "p95", 99.0: "p99", 99.9: "p99.9"}
    latencies = content.get("latencyPercentiles") or {}
    stated = tuple(
        (per_cent, float(latencies[key])) for per_cent, key in wanted.items() if latencies.get(key) is not None
    )
    requests = sum(map(int, statuses.values())) + sum(map(int, broken.values()))
    return Told(requests, _statuses(statuses) | {kind: int(number) for kind, number in broken.items()}, stated)


def _vegeta(content: dict[str, Any]) -> Told:
    statuses = dict(content["status_codes"])
    unanswered = int(statuses.pop("0", 0))
    wanted = {50.0: "50th", 90.0: "90th", 95.0: "95th", 99.0: "99th"}
    stated = tuple((per_cent, content["latencies"][key] / 1e9) for per_cent, key in wanted.items())
    return Told(
        int(content["requests"]), _statuses(statuses) | ({"no answer": unanswered} if unanswered else {}), stated
    )


def _k6(metrics: dict[str, Any]) -> Told:
    """Read ``--summary-export``, or what ``handleSummary`` prints, where the numbers are one level deeper."""
    values = {name: metric.get("values", metric) for name, metric in metrics.items()}
    failed, took = values.get("http_req_failed", {}), values.get("http_req_duration", {})
    wanted = {50.0: "med", 90.0: "p(90)", 95.0: "p(95)", 99.0: "p(99)", 99.9: "p(99.9)"}
    stated = tuple((per_cent, took[key] / 1000) for per_cent, key in wanted.items() if key in took)
    errors = int(failed.get("passes", 0))  # of the check "it failed"
    return Told(int(values["http_reqs"]["count"]), {"failed": errors} if errors else {}, stated)


_WRK_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def _wrk(output: str) -> Told | None:
    requests = re.search(r"^\s*(\d+) requests in ", output, re.MULTILINE)
    if not requests:
        return None
    errors: dict[str, int] = {}
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    for kind, number in zip(("refused", "cut", "cut", "timeout"), broken.groups() if broken else (), strict=False):
        if int(number):
            errors[kind] = errors.get(kind, 0) + int(number)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if bad:
        errors["status 4xx or 5xx"] = int(bad[1])
    found = re.findall(r"^\s*([\d.]+)%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    stated = tuple((float(per_cent), float(number) * _WRK_UNITS[unit]) for per_cent, number, unit in found)
    return Told(int(requests[1]) + sum(_unanswered(errors)), errors, stated)
